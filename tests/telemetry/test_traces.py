"""Traces of runs: who hangs below whom, over waits, processes, failures and children."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode

import dataflows_sdk as df
from dataflows_sdk.core.ids import new_id
from dataflows_sdk.errors import RunFailed, RunQuarantined
from dataflows_sdk.telemetry import trace_id
from dataflows_sdk.telemetry.traces import base_name, span_context

from ..conftest import MakeContext, wait_until
from . import traced_child
from .conftest import Watch, own, parent, trace_of

FAST = df.Retry(3, initial_delay="1ms", jitter=False)
Watched = Callable[..., Any]


def declare(fn: Callable[..., Any]) -> df.Workflow:
    return df.Workflow(fn.__name__, fn)


def current() -> int:
    return trace.get_current_span().get_span_context().span_id


# --- one run ----------------------------------------------------------------------------------------------


def test_a_run_is_a_trace(watched: Watched, watch: Watch) -> None:
    seen: dict[str, int] = {}

    def in_a_thread(number: int) -> int:
        seen["thread"] = current()
        return number + 1

    async def on_the_loop(number: int) -> int:
        await asyncio.sleep(0)
        seen["loop"] = current()
        return number + 1

    async def both(event: Any, step: df.Step) -> int:
        seen["workflow"] = current()
        one = await step.run("blocking", in_a_thread, 1)
        two = await step.run("async", on_the_loop, one)
        seen["after"] = current()
        return two

    run = watched().run(declare(both))
    assert run.result() == 3
    root, activation = watch.span("run both"), watch.span("activation")
    blocking, awaited = watch.span("step blocking"), watch.span("step async")
    assert {trace_of(span) for span in watch.spans()} == {trace_id(run.id)}
    assert root.parent is None
    assert [parent(span) for span in (activation, blocking, awaited)] == [own(root)] * 3
    assert seen == {
        "thread": own(blocking), "loop": own(awaited), "workflow": own(activation), "after": own(activation),
    }  # fmt: skip
    assert root.attributes is not None
    assert blocking.attributes is not None
    assert root.attributes["dataflows.run.id"] == run.id
    assert root.attributes["dataflows.workflow"] == "both"
    assert root.attributes["dataflows.run.status"] == "succeeded"
    assert blocking.attributes["dataflows.step.key"] == "blocking"
    assert (blocking.attributes["dataflows.attempt"], blocking.attributes["dataflows.step.outcome"]) == (1, "completed")
    for span in watch.spans():
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time, span.name  # type: ignore[operator]
        assert span.status.status_code is StatusCode.UNSET


def test_a_blocking_workflow_its_steps_branches_and_transactions(watched: Watched, watch: Watch) -> None:
    seen: dict[str, int] = {}

    def note(name: str) -> str:
        seen[name] = current()
        return name

    async def awaited(name: str) -> str:
        return note(name)

    def scoped(name: str, step: df.SyncStep) -> str:
        return step.run("inner", note, name)  # type: ignore[no-any-return]

    def insert(connection: Any) -> None:
        note("transaction")

    def blocking(event: Any, step: df.SyncStep) -> None:
        note("workflow")
        step.run("own thread", note, "own thread")
        step.run("loop", awaited, "loop")
        step.run("timed", note, "timed", timeout="10s")
        step.map("each", note, ["a", "b"])
        step.map("scope", scoped, ["c"])
        step.transaction("insert", insert)

    watched().run(declare(blocking)).result()
    root = watch.span("run blocking")
    assert seen["workflow"] == own(watch.span("activation"))
    for name in ("own thread", "loop", "timed", "insert"):
        span = watch.span(f"step {name}")
        assert parent(span) == own(root)
        assert seen["transaction" if name == "insert" else name] == own(span)
    each = watch.spans("step each")
    assert {own(span) for span in each} == {seen["a"], seen["b"]}
    assert {span.attributes["dataflows.step.key"] for span in each} == {"each[0]", "each[1]"}  # type: ignore[index]
    inner = watch.span("step inner")
    assert (own(inner), parent(inner)) == (seen["c"], own(root))
    assert inner.attributes is not None
    assert inner.attributes["dataflows.step.key"] == "scope[0]/inner"


def test_spans_of_the_user_nest_on_both_sides(watched: Watched, watch: Watch) -> None:
    tracer = watch.provider.get_tracer("mine")

    def work() -> None:
        with tracer.start_as_current_span("query"):
            pass

    async def phases(event: Any, step: df.Step) -> None:
        with tracer.start_as_current_span("phase"):
            await step.run("work", work)

    watched().run(declare(phases)).result()
    query, step, phase = watch.span("query"), watch.span("step work"), watch.span("phase")
    assert parent(query) == own(step)
    assert parent(step) == own(phase)
    assert parent(phase) == own(watch.span("activation"))


@pytest.fixture
def address() -> Iterator[str]:
    class Ok(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((self.headers["traceparent"] or "").encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ok)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_instrumented_libraries_nest_below_the_step(watched: Watched, watch: Watch, address: str) -> None:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    def blocking() -> str:
        with httpx.Client() as client:
            HTTPXClientInstrumentor.instrument_client(client, tracer_provider=watch.provider)
            return client.get(address).text

    async def awaiting() -> str:
        async with httpx.AsyncClient() as client:
            HTTPXClientInstrumentor.instrument_client(client, tracer_provider=watch.provider)
            return (await client.get(address)).text

    async def calls(event: Any, step: df.Step) -> list[str]:
        return [await step.run("blocking", blocking), await step.run("awaiting", awaiting)]

    run = watched().run(declare(calls))
    told = [span_context(each) for each in run.result()]
    gets = watch.spans("GET")
    assert [parent(span) for span in gets] == [own(watch.span("step blocking")), own(watch.span("step awaiting"))]
    assert [each.span_id for each in told if each is not None] == [own(span) for span in gets]


# --- failures ---------------------------------------------------------------------------------------------


def test_each_attempt_is_a_span_with_its_error(watched: Watched, watch: Watch, make_ctx: MakeContext) -> None:
    calls = 0

    def flaky() -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionError(f"no answer, password is {'hunter2-and-more'}")
        return calls

    async def retried(event: Any, step: df.Step) -> int:
        return await step.run("flaky", flaky, retry=FAST)  # type: ignore[no-any-return]

    ctx = watched(redactor=df.Redactor("hunter2-and-more"))
    assert ctx.run(declare(retried)).result() == 3
    spans = watch.spans("step flaky")
    assert [span.attributes["dataflows.attempt"] for span in spans] == [1, 2, 3]  # type: ignore[index]
    outcomes = [span.attributes["dataflows.step.outcome"] for span in spans]  # type: ignore[index]
    assert outcomes == ["retrying", "retrying", "completed"]
    codes = [span.status.status_code for span in spans]
    assert codes == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    (event,) = spans[0].events
    assert event.attributes is not None
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ConnectionError"
    assert "no answer" in str(event.attributes["exception.message"])
    assert "in flaky" in str(event.attributes["exception.stacktrace"])
    assert "hunter2" not in spans[0].to_json()
    assert watch.span("run retried").status.status_code is StatusCode.UNSET


def test_the_token_of_a_connection_stands_in_no_span(
    watched: Watched, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", "an-encryption-key-of-tests-0123456789abcdef")
    ctx = watched()
    ctx.service_client("traced", auth="api_key")
    connection = ctx.connections.create("traced", user_id="u", api_key="planted-4f81c2-token")

    def refused() -> None:
        raise ConnectionError(f"GET https://x.test/?key={connection.token().reveal()} was refused")

    async def leaks(event: Any, step: df.Step) -> None:
        await step.run("refused", refused, retry=df.NO_RETRY)

    with pytest.raises(RunFailed):
        ctx.run(declare(leaks)).result()
    spans = watch.spans()
    assert any("was refused" in span.to_json() for span in spans)
    assert not any("planted-4f81c2" in span.to_json() for span in spans)


def test_a_failed_run_its_compensation_and_a_value_that_cannot_be_stored(watched: Watched, watch: Watch) -> None:
    def boom() -> None:
        raise ValueError("broken")

    async def fails(event: Any, step: df.Step) -> None:
        await step.run("first", lambda: 1, undo=lambda value: None)
        await step.run("boom", boom, retry=df.NO_RETRY)

    async def odd(event: Any, step: df.Step) -> None:
        await step.run("odd", lambda: object(), retry=df.NO_RETRY)

    ctx = watched()
    with pytest.raises(RunFailed):
        ctx.run(declare(fails)).result()
    root = watch.span("run fails")
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "ValueError: broken")
    assert root.attributes is not None
    assert root.attributes["error.type"] == "ValueError"
    assert parent(watch.span("step undo first")) == own(root)
    with pytest.raises(RunFailed):
        ctx.run(declare(odd)).result()
    span = watch.span("step odd")
    assert span.status.status_code is StatusCode.ERROR
    assert "NotSerializableError" in (span.status.description or "")


def test_a_cancelled_run(watched: Watched, watch: Watch) -> None:
    begun = threading.Event()

    async def long() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def cancelled(event: Any, step: df.Step) -> None:
        await step.run("long", long)

    run = watched().start(declare(cancelled))
    assert begun.wait(10)
    run.cancel("enough")
    assert run.wait("10s").status == "cancelled"
    root, step = watch.span("run cancelled"), watch.span("step long")
    assert root.attributes is not None
    assert step.attributes is not None
    assert root.attributes["dataflows.run.status"] == "cancelled"
    assert step.attributes["dataflows.step.outcome"] == "interrupted"
    assert step.status.status_code is StatusCode.UNSET


def test_a_run_that_was_quarantined_and_resumed_has_two_spans(
    watched: Watched, watch: Watch, database_url: str
) -> None:
    async def before(event: Any, step: df.Step) -> int:
        await step.run("old", lambda: 1)
        await step.wait_for_event("go")
        return 1

    async def after(event: Any, step: df.Step) -> int:
        await step.run("new", lambda: 2)
        return 2

    ctx = watched(linger="0s")
    old, new = df.Workflow("changing", before), df.Workflow("changing", after)
    run = ctx.start(old)
    wait_until(lambda: run.refresh().status == "waiting", "it waits")
    ctx.register(new)
    run.send_event("go")
    with pytest.raises(RunQuarantined):
        run.result("10s")
    first = watch.span("run changing")
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes is not None
    assert first.attributes["error.type"] == "changed-code"
    ctx.register(old)
    run.resume()
    assert run.result("10s") == 1
    wait_until(lambda: len(watch.spans("run changing")) == 2, "the second life has a span")
    second = watch.spans("run changing")[1]
    assert own(first) != own(second)
    assert trace_of(first) == trace_of(second)
    assert second.start_time >= first.end_time  # type: ignore[operator]
    assert parent(watch.span("wait go")) == own(second)


# --- waits, replays, processes ----------------------------------------------------------------------------


async def waits(event: Any, step: df.Step) -> str:
    await step.run("before", lambda: 1)
    await step.sleep("nap", "300ms")
    answer = await step.wait_for_event("approval", timeout="1h")
    missed = await step.wait_for_event("missed", timeout="1ms")
    await step.run("after", lambda: 2)
    return f"{answer} {missed}"


WAITS = ["activation", "run waits", "sleep nap", "step after", "step before", "wait approval", "wait missed"]


def test_waits_are_spans_however_often_the_run_was_let_go_of(watched: Watched, watch: Watch) -> None:
    ctx = watched(linger="0s")
    run = ctx.start(df.Workflow("waits", waits))
    wait_until(lambda: run.refresh().status == "waiting", "it waits for the approval")
    time.sleep(0.1)
    run.send_event("approval", "yes")
    assert run.result("10s") == "yes None"
    watch.span("run waits")
    names = watch.names()
    assert names.count("activation") >= 3
    assert sorted({*names}) == WAITS
    once = [name for name in names if name != "activation"]
    assert once == WAITS[1:], "something was told twice"
    nap, approval, root = watch.span("sleep nap"), watch.span("wait approval"), watch.span("run waits")
    assert 0.29e9 < nap.end_time - nap.start_time < 2e9  # type: ignore[operator]
    assert approval.end_time - approval.start_time > 0.09e9  # type: ignore[operator]
    assert {parent(span) for span in watch.spans() if span is not root} == {own(root)}
    assert watch.span("wait missed").attributes["dataflows.step.outcome"] == "timed_out"  # type: ignore[index]
    ends = [span.attributes["dataflows.activation.end"] for span in watch.spans("activation")]  # type: ignore[index]
    assert set(ends[:-1]) == {"suspended"}
    assert ends[-1] == "succeeded"
    assert root.start_time <= watch.spans("activation")[0].start_time  # type: ignore[operator]


def test_a_run_that_is_replayed_after_every_step_tells_each_once(watched: Watched, watch: Watch) -> None:
    async def child(event: Any, step: df.Step) -> int:
        return await step.run("own", lambda: 7)  # type: ignore[no-any-return]

    inner = df.Workflow("inner", child)

    async def outer(event: Any, step: df.Step) -> int:
        total = sum(await step.map("each", abs, [-1, -2]))
        await step.now()
        total += await step.invoke("sub", inner)
        await step.send_event("hello", event.payload, "hello")
        await step.emit("news", "news")
        return total  # type: ignore[no-any-return]

    async def listens(event: Any, step: df.Step) -> None:
        await step.wait_for_event("hello")

    ctx = watched(always_replay=True)
    other = ctx.start(declare(listens))
    run = ctx.run(declare(outer), other.id)
    assert run.result() == 10
    other.result("10s")
    watch.span("run listens")
    spans = [span for span in watch.spans() if span.name != "activation"]
    assert sorted(span.name for span in spans) == [
        "child sub", "emit news", "run inner", "run listens", "run outer", "send hello",
        "step each", "step each", "step own", "wait hello",
    ]  # fmt: skip
    assert len(watch.spans("activation")) > 6
    assert len({own(span) for span in watch.spans()}) == len(watch.spans())


def test_a_second_context_goes_on_with_the_trace(make_ctx: MakeContext, database_url: str) -> None:
    first, second = Watch(), Watch()
    workflow = df.Workflow("waits", waits)
    ctx = make_ctx(telemetry=first.settings(), linger="0s")
    run_id = ctx.start(workflow).id
    wait_until(lambda: ctx.get(run_id).status == "waiting", "it waits")
    ctx.close()
    later = make_ctx(telemetry=second.settings())
    later.register(workflow)
    run = later.get(run_id)
    run.send_event("approval", "yes")
    assert run.result("10s") == "yes None"
    root = second.span("run waits")
    assert sorted({*first.names()}) == ["activation", "sleep nap", "step before"]
    assert sorted({*second.names()}) == ["activation", "run waits", "step after", "wait approval", "wait missed"]
    assert {parent(span) for watch in (first, second) for span in watch.spans() if span is not root} == {own(root)}
    assert root.start_time <= first.spans()[0].start_time  # type: ignore[operator]


def test_a_run_whose_process_was_killed_is_still_one_trace(
    make_ctx: MakeContext, watch: Watch, database_url: str, tmp_path: Path
) -> None:
    told = tmp_path / "spans"
    process = subprocess.Popen([sys.executable, traced_child.__file__, database_url, str(told)], env={**os.environ})
    try:
        wait_until(lambda: told.exists() and "step one" in told.read_text(), "the first step was told", 30)
        wait_until((tmp_path / "spans.two").exists, "the second step began", 30)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    ctx = make_ctx(telemetry=watch.settings(), lease="1s")
    ctx.register(traced_child.killed)
    run = ctx.get(traced_child.ID)
    assert run.result("20s") == "done"
    root = watch.span("run traced-killed")
    before = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(span["name"], int(span["parent_id"], 16)) for span in before] == [("step one", own(root))]
    assert int(before[0]["context"]["trace_id"], 16) == int(trace_id(run.id), 16)
    assert watch.names() == ["activation", "run traced-killed", "step two"]
    activation = watch.span("activation")
    assert activation.attributes is not None
    assert (activation.attributes["dataflows.activation"], activation.attributes["dataflows.run.crashes"]) == (2, 1)


def test_nothing_is_told_by_a_dry_replay(watched: Watched, watch: Watch) -> None:
    async def plain(event: Any, step: df.Step) -> int:
        return await step.run("one", lambda: 1)  # type: ignore[no-any-return]

    ctx = watched()
    run = ctx.run(declare(plain))
    watch.span("run plain")
    before = watch.names()
    assert run.replay().ok
    assert watch.names() == before


# --- who started it ---------------------------------------------------------------------------------------


def test_children_hang_below_the_step_that_started_them(watched: Watched, watch: Watch) -> None:
    async def grandchild(event: Any, step: df.Step) -> int:
        await step.sleep("nap", "50ms")
        return await step.run("deep", lambda: 1)  # type: ignore[no-any-return]

    lower = declare(grandchild)

    def child(event: Any, step: df.SyncStep) -> int:
        return step.invoke("lower", lower)  # type: ignore[no-any-return]

    middle = declare(child)

    async def top(event: Any, step: df.Step) -> int:
        await step.invoke("aside", lower, detach=True)
        return await step.invoke("middle", middle)  # type: ignore[no-any-return]

    run = watched(linger="0s").run(declare(top))
    assert run.result() == 1
    wait_until(lambda: len(watch.spans("run grandchild")) == 2, "both grandchildren are over")
    assert {trace_of(span) for span in watch.spans()} == {trace_id(run.id)}
    assert parent(watch.span("child middle")) == own(watch.span("run top"))
    assert parent(watch.span("run child")) == own(watch.span("child middle"))
    assert parent(watch.span("child lower")) == own(watch.span("run child"))
    below = {parent(span) for span in watch.spans("run grandchild")}
    assert below == {own(watch.span("child lower")), own(watch.span("run top"))}
    assert {parent(span) for span in watch.spans("step deep")} == {own(s) for s in watch.spans("run grandchild")}


async def simple(event: Any, step: df.Step) -> int:
    return await step.run("one", lambda: 1)  # type: ignore[no-any-return]


async def in_two_parts(event: Any, step: df.Step) -> None:
    await step.sleep("nap", "20ms")
    await step.run("one", lambda: 1)


@pytest.mark.parametrize("way", ["start", "astart", "start_many", "connection"])
def test_a_run_belongs_to_the_span_that_started_it(watched: Watched, watch: Watch, way: str) -> None:
    ctx = watched(linger="0s")
    workflow = declare(in_two_parts)
    ctx.register(workflow)
    with watch.provider.get_tracer("web").start_as_current_span("request"):
        if way == "start":
            run = ctx.start(workflow)
        elif way == "astart":
            run = asyncio.run(ctx.astart(workflow))
        elif way == "start_many":
            (run,) = ctx.start_many(workflow, [None])
        else:
            with ctx._database.connection() as connection, connection.transaction():
                run = ctx.start(workflow, connection=connection)
    run.result("10s")
    request, root = watch.span("request"), watch.span("run in_two_parts")
    assert parent(root) == own(request)
    assert {trace_of(span) for span in watch.spans()} == {trace_of(request)}
    assert parent(watch.span("step one")) == parent(watch.span("sleep nap")) == own(root)
    # the next run is nobody's
    assert watch.provider.get_tracer("web")
    other = ctx.run(declare(simple))
    assert trace_of(watch.span("run simple")) == trace_id(other.id)


def test_a_run_that_is_started_by_a_step_belongs_to_it(watched: Watched, watch: Watch) -> None:
    ctx = watched()
    other = declare(simple)

    def start() -> str:
        return ctx.start(other).id  # type: ignore[no-any-return]

    async def starts(event: Any, step: df.Step) -> str:
        return await step.run("start", start)  # type: ignore[no-any-return]

    ctx.get(ctx.run(declare(starts)).result()).result("10s")
    assert parent(watch.span("run simple")) == own(watch.span("step start"))


def test_a_run_may_have_a_trace_of_its_own_with_a_link(watched: Watched, watch: Watch) -> None:
    ctx = watched({"callers": "link"})
    with watch.provider.get_tracer("web").start_as_current_span("request") as request:
        run = ctx.run(declare(simple))
    root = watch.span("run simple")
    assert trace_of(root) == trace_id(run.id)
    assert root.parent is None
    assert [link.context.span_id for link in root.links] == [request.get_span_context().span_id]


def test_a_fork_links_to_its_origin(watched: Watched, watch: Watch) -> None:
    ctx = watched()
    with watch.provider.get_tracer("web").start_as_current_span("request"):
        run = ctx.run(declare(simple))
    root = watch.span("run simple")
    fork = run.fork(at="one")
    fork.result("10s")
    wait_until(lambda: len(watch.spans("run simple")) == 2, "the fork has a span")
    second = watch.spans("run simple")[1]
    assert trace_of(second) == trace_id(fork.id)
    assert [(f"{link.context.trace_id:032x}", link.context.span_id) for link in second.links] == [
        (trace_of(root), own(root))
    ]


# --- sampling and ids -------------------------------------------------------------------------------------


def test_a_sampled_run_is_whole_and_another_one_is_not_there(make_ctx: MakeContext) -> None:
    watch = Watch(sampler=ParentBased(TraceIdRatioBased(0.5)))
    ctx = make_ctx(telemetry=watch.settings(), linger="0s")
    workflow = declare(in_two_parts)
    runs = ctx.start_many(workflow, [None] * 40)
    for run in runs:
        run.result("20s")
    kept = {trace_of(span) for span in watch.spans()}
    assert 4 < len(kept) < 36
    assert kept <= {trace_id(run.id) for run in runs}
    wait_until(lambda: len(watch.spans("run in_two_parts")) == len(kept), "all have ended")
    for kept_id in kept:
        mine = [span for span in watch.spans() if trace_of(span) == kept_id]
        assert {span.name for span in mine} == {"activation", "run in_two_parts", "sleep nap", "step one"}


def test_ids_follow_from_the_run() -> None:
    runs = [new_id() for _ in range(400)]
    traces = [trace_id(run) for run in runs]
    assert len(set(traces)) == 400
    assert [trace_id(run) for run in runs] == traces
    assert all(trace[:16] == run.replace("-", "")[:16] for run, trace in zip(runs, traces, strict=True))
    low = sum(int(trace[16:], 16) < 1 << 63 for trace in traces)
    assert 140 < low < 260, "a sampler by ratio would not get its share"


def test_names_of_spans_stay_few() -> None:
    assert [base_name(name) for name in ("fetch", "fetch[7]", "a[b", "[x]")] == ["fetch", "fetch", "a[b", "[x]"]


@pytest.mark.parametrize("text", [None, "", "00-0-0-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", 7])
def test_what_names_no_span_is_nobody(text: Any) -> None:
    assert span_context(text) is None
