"""Records of the log say where they come from, and code that is replayed says nothing twice."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import RunFailed
from dataflows_sdk.logs import place
from dataflows_sdk.telemetry import trace_id

from ..conftest import MakeContext, wait_until
from .conftest import Watch, own

FAST = df.Retry(3, initial_delay="1ms", jitter=False)
log = logging.getLogger("shop")


@pytest.fixture
def lines() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """``lines("shop")``: what that logger said, as JSON."""
    stream = io.StringIO()
    before = logging.getLogger().level
    handler = df.configure_logging(json=True, stream=stream)
    yield lambda name: [
        line for line in map(json.loads, stream.getvalue().splitlines()) if line["logger"].startswith(name)
    ]
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(before)


Lines = Callable[[str], list[dict[str, Any]]]


def ids(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("message", "workflow", "step", "attempt") if name in line}


def test_async_code_and_threads_know_where_they_are(ctx: Any, lines: Lines) -> None:
    calls: list[int] = []

    def in_a_thread() -> None:
        calls.append(1)
        log.info("blocking %d", len(calls))
        if len(calls) == 1:
            raise OSError("once")

    async def on_the_loop() -> None:
        log.info("awaited")

    def insert(connection: Any) -> None:
        log.info("insert")

    async def shop(event: Any, step: df.Step) -> None:
        log.info("begin")
        await step.run("thread", in_a_thread, retry=FAST)
        await step.run("loop", on_the_loop)
        await step.map("each", lambda item: log.info("item"), [1])
        await step.transaction("insert", insert)
        log.info("end")

    log.info("outside")
    run = ctx.run(df.Workflow("shop", shop))
    run.result()
    assert [ids(line) for line in lines("shop")] == [
        {"message": "outside"},
        {"message": "begin", "workflow": "shop"},
        {"message": "blocking 1", "workflow": "shop", "step": "thread", "attempt": 1},
        {"message": "blocking 2", "workflow": "shop", "step": "thread", "attempt": 2},
        {"message": "awaited", "workflow": "shop", "step": "loop", "attempt": 1},
        {"message": "item", "workflow": "shop", "step": "each[0]", "attempt": 1},
        {"message": "insert", "workflow": "shop", "step": "insert", "attempt": 1},
        {"message": "end", "workflow": "shop"},
    ]
    assert {line.get("run_id") for line in lines("shop")[1:]} == {run.id}
    assert "trace_id" not in lines("shop")[1]


def test_a_blocking_workflow_its_branches_and_a_child(ctx: Any, lines: Lines) -> None:
    def inner(event: Any, step: df.SyncStep) -> None:
        log.info("child")

    def branch(item: int, step: df.SyncStep) -> None:
        log.info("branch")
        step.run("deep", log.info, "deep")

    child = df.Workflow("inner", inner)

    def outer(event: Any, step: df.SyncStep) -> None:
        log.info("begin")
        step.run("own", log.info, "own")
        step.map("each", branch, [1])
        step.invoke("sub", child)
        log.info("end")

    run = ctx.run(df.Workflow("outer", outer))
    run.result()
    said = {line["message"]: line for line in lines("shop")}
    assert ids(said["own"]) == {"message": "own", "workflow": "outer", "step": "own", "attempt": 1}
    assert ids(said["deep"]) == {"message": "deep", "workflow": "outer", "step": "each[0]/deep", "attempt": 1}
    for message in ("begin", "branch", "end"):
        assert ids(said[message]) == {"message": message, "workflow": "outer"}
        assert said[message]["run_id"] == run.id
    assert said["child"]["workflow"] == "inner"
    assert said["child"]["run_id"] != run.id


def test_a_run_that_a_step_starts_does_not_take_over_its_place(ctx: Any, lines: Lines) -> None:
    """The loop is woken by the step, in whose context it then begins the other run."""
    begun = threading.Event()

    async def other(event: Any, step: df.Step) -> None:
        log.info("other")
        begun.set()

    workflow = df.Workflow("other", other)

    def start() -> str:
        found: str = ctx.start(workflow).id
        assert begun.wait(10)
        return found

    async def starts(event: Any, step: df.Step) -> str:
        return await step.run("start", start)  # type: ignore[no-any-return]

    other_id = ctx.run(df.Workflow("starts", starts)).result()
    (line,) = lines("shop")
    assert (line["run_id"], line["workflow"], line.get("step")) == (other_id, "other", None)


def test_spans_are_named_where_there_are_some(make_ctx: MakeContext, watch: Watch, lines: Lines) -> None:
    async def traced(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: log.info("inside"))

    run = make_ctx(telemetry=watch.settings()).run(df.Workflow("traced", traced))
    run.result()
    (line,) = lines("shop")
    assert line["trace_id"] == trace_id(run.id)
    assert line["span_id"] == f"{own(watch.span('step one')):016x}"


def test_what_the_engine_says_of_a_run(ctx: Any, lines: Lines) -> None:
    def undo(value: int) -> None:
        raise OSError("cannot")

    async def fails(event: Any, step: df.Step) -> None:
        await step.run("first", lambda: 1, undo=undo, retry=df.NO_RETRY)
        raise ValueError("no")

    with pytest.raises(RunFailed) as caught:
        ctx.run(df.Workflow("fails", fails)).result("20s")
    (line,) = [line for line in lines("dataflows.engine") if "compensation" in line["message"]]
    assert (line["run_id"], line["workflow"], line["step"]) == (caught.value.run_id, "fails", "first")


# --- replay -----------------------------------------------------------------------------------------------


def test_a_logger_that_is_silent_while_its_run_is_replayed(make_ctx: MakeContext, lines: Lines) -> None:
    quiet = df.logger("shop.once")
    passes: list[str] = []

    async def branch(item: int, step: df.Step) -> None:
        quiet.info("branch %d begins", item)
        await step.run("one", lambda: quiet.info("in step %d", item))
        await step.sleep("nap", f"{item * 60}ms")
        quiet.info("branch %d ends", item)

    async def said(event: Any, step: df.Step) -> None:
        passes.append("pass")
        quiet.info("begin")
        await step.run("first", lambda: quiet.info("in first"))
        quiet.info("before the map", extra={"order": 7})
        await step.map("each", branch, [1, 2])
        quiet.info("after the map")
        await step.sleep("nap", "20ms")
        log.info("loud")
        quiet.info("end")

    ctx = make_ctx(linger="0s")
    ctx.run(df.Workflow("said", said)).result("20s")
    assert len(passes) >= 4
    told = [line["message"] for line in lines("shop.once")]
    assert sorted(told) == sorted(set(told)), "something was said twice"
    assert told[:3] == ["begin", "in first", "before the map"]
    assert told[-2:] == ["after the map", "end"]
    assert set(told[3:-2]) == {f"{what} {n}{end}" for n in (1, 2) for what, end in
                               (("branch", " begins"), ("in step", ""), ("branch", " ends"))}  # fmt: skip
    assert lines("shop.once")[2]["order"] == 7
    assert lines("shop.once")[2]["run_id"]


@pytest.mark.parametrize("blocking", [True, False])
def test_every_step_replayed(make_ctx: MakeContext, lines: Lines, blocking: bool) -> None:
    quiet = df.logger("shop.once")

    def sync(event: Any, step: df.SyncStep) -> None:
        for number in range(4):
            quiet.info("before %d", number)
            step.run("step", lambda: None)
        quiet.info("end")

    async def awaiting(event: Any, step: df.Step) -> None:
        for number in range(4):
            quiet.info("before %d", number)
            await step.run("step", lambda: None)
        quiet.info("end")

    ctx = make_ctx(always_replay=True)
    run = ctx.run(df.Workflow("always", sync if blocking else awaiting))
    run.result("20s")
    expected = [f"before {n}" for n in range(4)] + ["end"]
    assert [line["message"] for line in lines("shop.once")] == expected
    assert run.replay().ok
    assert len(lines("shop.once")) == 5, "a dry replay was heard"


def test_outside_of_workflows_it_is_a_logger(lines: Lines) -> None:
    quiet = df.logger("shop.outside")
    quiet.warning("hello %s", "you", stacklevel=1)
    assert [(line["level"], line["message"]) for line in lines("shop")] == [("WARNING", "hello you")]
    assert quiet.isEnabledFor(logging.INFO)
    assert place() == {}


# --- formats ----------------------------------------------------------------------------------------------


def test_a_line_holds_errors_extras_and_no_secret(lines: Lines) -> None:
    df.REDACTOR.add("hunter2-hunter2")
    try:
        try:
            raise ValueError("token hunter2-hunter2")
        except ValueError:
            log.exception("failed with %s", "hunter2-hunter2", extra={"order": 7, "when": Path("x")})
    finally:
        df.REDACTOR.discard("hunter2-hunter2")
    (line,) = lines("shop")
    assert "hunter2" not in json.dumps(line)
    assert (line["level"], line["order"], line["when"]) == ("ERROR", 7, "x")
    assert line["error"]["type"] == "ValueError"
    assert "token" in line["error"]["message"]
    assert "Traceback" in line["traceback"]
    assert line["at"].endswith("+00:00")


def test_the_formatter_alone_knows_the_place_too(ctx: Any) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(df.JsonFormatter())
    alone = logging.getLogger("alone")
    alone.addHandler(handler)

    async def plain(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: alone.warning("hello"))

    try:
        run = ctx.run(df.Workflow("plain", plain))
        run.result()
    finally:
        alone.removeHandler(handler)
    line = json.loads(stream.getvalue())
    assert (line["run_id"], line["step"], line["message"]) == (run.id, "one", "hello")


def test_text_for_people_and_formats_of_ones_own(ctx: Any) -> None:
    stream, own_stream = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    df.configure_logging(json=True)
    handler = df.configure_logging(level="INFO", stream=stream)
    assert [each for each in root.handlers if each not in before] == [handler], "the one before is still there"
    mine = logging.StreamHandler(own_stream)
    mine.addFilter(df.ContextFilter())
    mine.setFormatter(logging.Formatter("%(run_id)s|%(step)s|%(attempt)s|%(message)s"))
    log.addHandler(mine)

    async def plain(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: log.info("inside"))

    try:
        run = ctx.run(df.Workflow("plain", plain))
        run.result()
        log.info("outside")
    finally:
        root.removeHandler(handler)
        log.removeHandler(mine)
        root.setLevel(level)
    assert own_stream.getvalue().splitlines() == [f"{run.id}|one|1|inside", "|||outside"]
    text = [line for line in stream.getvalue().splitlines() if " shop" in line]
    assert text[0].endswith(f"INFO    shop [plain {run.id} one]: inside")
    assert text[1].endswith("INFO    shop: outside")


def test_a_level_that_is_none() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        df.configure_logging(level="LOUD")


def test_the_command_line_logs_json(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import logging\nimport dataflows_sdk as df\n\n"
        "@df.workflow('order')\n"
        "def order(event, step):\n"
        "    step.run('price', lambda: logging.getLogger('shop').info('priced'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "--log-json", "run", "shop.py:order", "--url", database_url],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    (line,) = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"at"')]
    assert (line["message"], line["workflow"], line["step"]) == ("priced", "order", "price")


def test_a_wait_ends_here(make_ctx: MakeContext, lines: Lines) -> None:
    """A record after a wait that went over two contexts belongs to the same run."""

    async def waits(event: Any, step: df.Step) -> None:
        log.info("pass")
        await step.wait_for_event("go")
        log.info("gone")

    workflow = df.Workflow("waits", waits)
    first = make_ctx(linger="0s")
    run_id = first.start(workflow).id
    wait_until(lambda: first.get(run_id).status == "waiting", "it waits")
    first.close()
    second = make_ctx()
    second.register(workflow)
    run = second.get(run_id)
    run.send_event("go")
    run.result("20s")
    assert [(line["message"], line["run_id"]) for line in lines("shop")] == [
        ("pass", run_id), ("pass", run_id), ("gone", run_id),
    ]  # fmt: skip
