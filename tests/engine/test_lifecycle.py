"""Runs over their lives: found again, cancelled, forked, changed under way, looked at, deleted."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.engine.catalog import Catalog
from dataflows_sdk.engine.timeline import group_of
from dataflows_sdk.errors import (
    DefinitionError,
    DuplicateWorkflowError,
    RunCancelled,
    RunFailed,
    RunFinishedError,
    RunNotFoundError,
    RunQuarantined,
    WorkflowNotFoundError,
)

from ..conftest import MakeContext, wait_until
from .workflows import FAST, declare


def test_the_script_of_the_issue(ctx: Context) -> None:
    async def hello(event: Any, step: Any) -> int:
        a = await step.run("one", lambda: {"n": event.payload["n"] + 1})
        b = await step.map("squares", lambda i: i * i, range(a["n"]))
        await step.sleep("nap", "50ms")
        return sum(b)

    assert ctx.run(declare(hello), {"n": 3}).result() == 14
    flow = (
        df.flow("sums")
        .step("load", lambda event: list(range(event.payload["n"])))
        .step("total", lambda load: sum(load))
    )
    run = ctx.run(flow, {"n": 5})
    assert run.result() == 10
    assert run.status == "succeeded"
    assert [s.name for s in run.timeline()] == ["load", "total"]
    assert run.fork(at="total", set={"load": [1, 2]}).result() == 3
    assert ctx.sql("select count(*) from runs").fetchone() == (3,)


def test_a_start_is_one_run_for_one_key(ctx: Context) -> None:
    async def once(event: Any, step: Any) -> Any:
        return event.payload

    workflow = declare(once)
    first = ctx.start(workflow, 1, idempotency_key="order 7")
    assert ctx.start(workflow, 2, idempotency_key="order 7") == first
    assert ctx.start(workflow, 3, idempotency_key="order 8") != first
    own = ctx.start(workflow, 4, id="0198c0de-0000-7000-8000-00000000beef")
    assert ctx.start(workflow, 5, id=own.id) == own
    assert own.result() == 4
    assert ctx.get("0198c0de").id == own.id
    with pytest.raises(RunNotFoundError):
        ctx.get("ffffffff")
    with pytest.raises(RunNotFoundError, match="beginning"):
        ctx.get("zz")


def test_unknown_names_and_things_that_are_no_workflow(ctx: Context) -> None:
    with pytest.raises(WorkflowNotFoundError, match="no-such"):
        ctx.start("no-such")
    with pytest.raises(DefinitionError, match="neither a workflow"):
        ctx.start(42)
    with pytest.raises(DefinitionError, match="name"):
        df.Workflow("", lambda event: 1)
    with pytest.raises(DefinitionError, match="other"):
        df.Workflow("w", lambda event, step, other: 1)


def test_a_name_belongs_to_one_function_but_a_cell_may_run_again() -> None:
    catalog = Catalog()

    def cell() -> df.Workflow:
        return df.Workflow("w", module_level)

    catalog.add(cell())
    catalog.add(cell())
    with pytest.raises(DuplicateWorkflowError, match="module_level"):
        catalog.add(df.Workflow("w", other_level))


def module_level(event: Any, step: Any) -> int:
    return 1


def other_level(event: Any, step: Any) -> int:
    return 2


def test_arguments_come_by_name_and_payloads_fit_their_type(ctx: Context) -> None:
    from pydantic import BaseModel

    class Order(BaseModel):
        number: int

    def typed(step: Any, event: Any) -> int:
        return step.run("n", lambda: event.payload.number) + 1

    typed.__annotations__["event"] = df.Event[Order]
    assert ctx.run(declare(typed), {"number": "6"}).result() == 7
    with pytest.raises(DefinitionError, match="number"):
        ctx.start(declare(typed, "again"), {"number": "six"})
    assert ctx.run(declare(lambda: 5, "nothing")).result() == 5
    assert ctx.run(declare(lambda e, s: s.run("x", lambda: e.payload.a), "position"), {"a": 1}).result() == 1


@pytest.mark.parametrize("undone", [True, False])
def test_cancelling_a_sleeping_run(ctx: Context, undone: bool) -> None:
    undos: list[str] = []

    async def naps(event: Any, step: Any) -> None:
        await step.run("a", lambda: "a", undo=undos.append if undone else None)
        await step.sleep("long", "1h")

    run = ctx.start(declare(naps))
    wait_until(lambda: run.status == "sleeping", "the run sleeps")
    run.cancel("no longer wanted")
    with pytest.raises(RunCancelled, match="no longer wanted"):
        run.result("10s")
    assert run.status == "cancelled"
    assert undos == (["a"] if undone else [])
    with pytest.raises(RunFinishedError, match="cancelled"):
        run.cancel()
    with pytest.raises(RunFinishedError):
        run.send_event("late")
    assert "no longer wanted" in run.explain().summary


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_cancelling_a_run_at_work(ctx: Context, kind: str) -> None:
    begun, ended, undone = threading.Event(), threading.Event(), []

    async def child(event: Any, step: Any) -> None:
        await step.sleep("long", "1h")

    async def long_step() -> None:
        import asyncio

        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    kid = declare(child)
    ctx.register(kid)

    async def works(event: Any, step: Any) -> None:
        await step.run("a", lambda: 1, undo=undone.append)
        await step.gather(step.invoke("kid", kid), step.run("long", long_step))

    def blocks(event: Any, step: Any) -> None:
        step.run("a", lambda: 1, undo=undone.append)
        step.gather(lambda: step.invoke("kid", kid), lambda: step.run("long", long_step))

    run = ctx.start(declare(works if kind == "async" else blocks))
    assert begun.wait(5)
    run.cancel()
    with pytest.raises(RunCancelled):
        run.result("10s")
    assert ended.wait(5)
    assert undone == [1]
    wait_until(lambda: run.children()[0].status == "cancelled", "the child is cancelled too")


def test_a_workflow_may_clean_up_but_not_swallow_a_cancel(ctx: Context) -> None:
    cleaned: list[str] = []

    async def stubborn(event: Any, step: Any) -> str:
        try:
            await step.sleep("long", "1h")
        except BaseException as error:
            cleaned.append(type(error).__name__)
        return "as if nothing had happened"

    run = ctx.start(declare(stubborn))
    wait_until(lambda: run.status == "sleeping", "the run sleeps")
    run.cancel()
    with pytest.raises(RunCancelled):
        run.result("10s")
    assert "Cancelled" in cleaned


def test_unknown_runs(ctx: Context) -> None:
    nobody = "0198c0de-0000-7000-8000-000000000001"
    for call in (lambda: ctx.send_event(nobody, "x"), lambda: ctx.cancel(nobody), lambda: ctx.get(nobody)):
        with pytest.raises(RunNotFoundError, match=nobody):
            call()
    for name in ("", "two\nlines", 7, "nul\0"):
        with pytest.raises(DefinitionError):
            ctx.send_event(nobody, name)  # type: ignore[arg-type]


def test_changed_code_is_set_aside_with_both_names_and_three_ways_out(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")
    calls: list[str] = []

    def version(second: str, guard: bool = False) -> Any:
        async def order(event: Any, step: Any) -> Any:
            await step.run("a", lambda: calls.append("a"))
            if guard and not await step.patched("use c"):
                await step.run("b", lambda: calls.append("b"))
            else:
                await step.run(second, lambda: calls.append(second))
            await step.wait_for_event("go")
            return second

        return df.Workflow("order", order)

    def begin() -> df.Run:
        run = ctx.start(version("b"))
        wait_until(lambda: run.status == "waiting", "the run waits")
        return run

    runs = [begin() for _ in range(3)]
    ctx.register(version("c"))
    assert not runs[0].replay().ok
    assert "'b'" in runs[0].replay().difference
    for run in runs:
        run.send_event("go")
        with pytest.raises(RunQuarantined, match="'b'") as caught:
            run.result("10s")
        assert caught.value.reason["asked"] == "c"
        assert "patched" in str(caught.value)
    assert calls == ["a", "b"] * 3
    explanation = runs[0].explain()
    assert explanation.status == "quarantined"
    assert any("resume" in action for action in explanation.actions)
    # pin: the version that it began with is still known here
    runs[0].resume(version="recorded")
    assert runs[0].result("10s") == "b"
    # patch: the new code knows what old runs did
    ctx.register(version("c", guard=True))
    runs[1].resume()
    assert runs[1].result("10s") == "c"
    # fork: done again from the changed step on
    fork = runs[2].fork(at="b")
    wait_until(lambda: fork.status == "waiting", "the fork waits")
    assert fork.send_event("go").result("10s") == "c"
    assert calls == ["a", "b"] * 3 + ["c"]
    assert fork.forked_from == runs[2]
    with pytest.raises(DefinitionError, match="only a quarantined run"):
        runs[0].resume()


def test_a_step_that_vanished_and_one_that_changed_its_kind(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")

    async def before(event: Any, step: Any) -> None:
        await step.run("a", lambda: 1)
        await step.run("b", lambda: 1)
        await step.wait_for_event("go")

    async def shorter(event: Any, step: Any) -> None:
        await step.run("a", lambda: 1)

    async def other_kind(event: Any, step: Any) -> None:
        await step.run("a", lambda: 1)
        await step.sleep("b", 0)

    for after, names in ((shorter, ("b", "end of the workflow")), (other_kind, ("run b", "sleep b"))):
        run = ctx.start(df.Workflow("changing", before))
        wait_until(lambda run=run: run.status == "waiting", "the run waits")
        ctx.register(df.Workflow("changing", after))
        run.send_event("go")
        with pytest.raises(RunQuarantined) as caught:
            run.result("10s")
        assert names[0] in caught.value.reason["recorded"]
        assert names[1] in caught.value.reason["asked"]


def test_new_steps_after_the_recorded_end_are_fine(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")

    async def short(event: Any, step: Any) -> Any:
        return await step.wait_for_event("go")

    async def longer(event: Any, step: Any) -> Any:
        got = await step.wait_for_event("go")
        return await step.run("more", lambda: got + 1)

    run = ctx.start(df.Workflow("growing", short))
    wait_until(lambda: run.status == "waiting", "the run waits")
    ctx.register(df.Workflow("growing", longer))
    assert run.send_event("go", 1).result("10s") == 2


def test_forks_in_code_keep_what_came_before(ctx: Context) -> None:
    calls: list[str] = []

    def note(name: str, value: Any) -> Any:
        calls.append(name)
        return value

    async def work(event: Any, step: Any) -> Any:
        a = await step.run("a", note, "a", 1)
        rows = await step.map("rows", lambda i: note(f"row {i}", i * a), [1, 2, 3])
        return await step.run("sum", lambda: note("sum", sum(rows)))

    run = ctx.run(declare(work))
    assert run.result() == 6
    calls.clear()
    assert run.fork(at="sum").result() == 6
    assert calls == ["sum"]
    calls.clear()
    assert run.fork(at="rows[1]").result() == 6
    assert calls == ["row 2", "sum"]
    calls.clear()
    assert run.fork(at="sum", set={"rows[0]": 100}).result() == 105
    assert calls == ["sum"]
    calls.clear()
    assert run.fork(at="rows", set={"a": 10}).result() == 60
    assert sorted(calls) == ["row 1", "row 2", "row 3", "sum"]
    assert run.result() == 6
    assert len(run.timeline()) == 6
    with pytest.raises(DefinitionError, match="no step 'nope'"):
        run.fork(at="nope")
    with pytest.raises(DefinitionError, match="after the cut"):
        run.fork(at="a", set={"sum": 1})
    difference = run.diff(run.fork(at="sum", set={"rows[0]": 100}).wait())
    assert difference.head["result"] == (6, 105)
    assert {step.key for step in difference.steps} == {"rows[0]", "sum"}
    assert not run.diff(run)


def test_forks_reach_into_children(ctx: Context) -> None:
    calls: list[str] = []

    async def child(event: Any, step: Any) -> Any:
        a = await step.run("inner a", lambda: calls.append("inner a") or 1)
        return a + await step.run("inner b", lambda: calls.append("inner b") or 10)

    kid = declare(child, "fork-child")
    ctx.register(kid)

    async def parent(event: Any, step: Any) -> Any:
        first = await step.run("first", lambda: calls.append("first") or 100)
        return first + await step.invoke("kid", kid)

    run = ctx.run(declare(parent))
    assert run.result("10s") == 111
    calls.clear()
    fork = run.fork(at=["kid", "inner b"], set={"inner a": 5})
    assert fork.result("10s") == 115
    assert calls == ["inner b"]
    assert fork.children()[0].forked_from == run.children()[0]
    with pytest.raises(DefinitionError, match="no child run"):
        run.fork(at=["first", "x"])


def test_a_failed_run_goes_on_from_its_failed_step_with_todays_code(ctx: Context) -> None:
    broken = [True]

    async def work(event: Any, step: Any) -> Any:
        a = await step.run("a", lambda: 1)
        return a + await step.run("b", lambda: 1 / 0 if broken[0] else 2, retry=df.NO_RETRY)

    run = ctx.run(declare(work))
    with pytest.raises(RunFailed, match="ZeroDivisionError"):
        run.result()
    assert run.error is not None
    assert run.error["type"] == "ZeroDivisionError"
    assert "1 / 0" in run.error["traceback"]
    broken[0] = False
    assert run.fork(at=run.error["step"]).result() == 3


def test_a_moment_of_the_past(ctx: Context) -> None:
    async def work(event: Any, step: Any) -> Any:
        a = await step.run("a", lambda: 1)
        await step.run("b", lambda x, y: x + y, a, y=5)
        return "end"

    run = ctx.run(declare(work), {"n": 1})
    moment = run.at("b")
    assert moment.results == {"a": 1}
    assert moment.inputs == {"args": [1], "kwargs": {"y": 5}}
    assert moment.step is not None
    assert moment.step.output == 6
    assert "async def work" in moment.source
    assert run.at(1).results == {}
    assert run.at("a").inputs is None
    assert run.input == {"n": 1}
    for bad in ("c", 0, 99, True, None):
        with pytest.raises(DefinitionError):
            run.at(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "group"),
    [("a", None), ("a[1]", "a"), ("a[1]/b", "a"), ("a[1]/b[2]", "a[1]/b"), ("a[1]/b[2]/c#2", "a[1]/b")],
)
def test_the_group_of_a_step(key: str, group: str | None) -> None:
    assert group_of(key) == group


def test_pages_of_runs(ctx: Context) -> None:
    async def ok(event: Any, step: Any) -> int:
        return 1

    async def bad(event: Any, step: Any) -> None:
        raise ValueError("bad")

    good = ctx.start_many(declare(ok), range(7))
    failing = ctx.run(declare(bad))
    for run in good:
        run.result()
    page = ctx.runs(limit=3)
    assert page[0] == failing
    seen = list(page)
    while (page := page.next) is not None:
        seen += list(page)
    assert len(seen) == 8
    assert [run.id for run in ctx.runs(status="failed")] == [failing.id]
    assert len(ctx.runs("ok", since="1h")) == 7
    assert len(ctx.runs("ok", until="2020-01-01T00:00:00Z")) == 0
    assert set(ctx.runs().df()["status"]) == {"succeeded", "failed"}
    for wrong in ({"status": "done"}, {"limit": 0}):
        with pytest.raises(DefinitionError):
            ctx.runs(**wrong)


def test_retention_takes_a_run_with_everything_of_it(ctx: Context) -> None:
    async def big(event: Any, step: Any) -> int:
        await step.run("blob", lambda: b"x" * 200_000)
        return await step.wait_for_event("go")

    workflow = declare(big)
    runs = [ctx.start(workflow) for _ in range(3)]
    for run in runs:
        run.send_event("go", 1)
        assert run.result("10s") == 1
    open_run = ctx.start(workflow)
    time.sleep(0.01)
    assert ctx.purge("0s", dry_run=True) == 3
    assert ctx.purge("0s") == 3
    with ctx._database.connection() as connection:
        for table in ("run", "event"):
            column = "id" if table == "run" else "run"
            rows = connection.execute(f"select distinct {column} from dataflows.{table}").fetchall()
            assert rows == [(open_run._id,)]
        assert connection.execute("select count(*) from dataflows.message").fetchone() == (0,)
        assert connection.execute("select action, detail ->> 'runs' from dataflows.audit").fetchall() == [
            ("purge", "3")
        ]
    with pytest.raises(RunNotFoundError):
        runs[0].timeline()
    open_run.cancel()


def test_runs_of_a_closed_process_go_on_in_the_next(make_ctx: MakeContext) -> None:
    calls: list[str] = []
    begun = threading.Event()

    async def long(event: Any, step: Any) -> str:
        import asyncio

        await step.run("a", lambda: calls.append("a"))

        async def slow() -> str:
            begun.set()
            await asyncio.sleep(60 if calls.count("b") == 1 else 0)
            return "slow"

        await step.run("b", lambda: calls.append("b") or slow())
        return "done"

    workflow = declare(long)
    first = make_ctx()
    run = first.start(workflow)
    assert begun.wait(5)
    first.close()
    second = make_ctx()
    again = second.get(run.id)
    assert again.status == "queued"
    second.register(workflow)
    assert again.result("20s") == "done"
    assert calls == ["a", "b", "b"]
    kinds = [event.kind for event in again.events()]
    assert "run.released" in kinds
    assert "run.claimed" in kinds


def test_an_uncertain_step_can_fail_or_ask(make_ctx: MakeContext) -> None:
    begun = threading.Event()
    tries: list[str] = []

    async def effect(name: str) -> str:
        import asyncio

        tries.append(name)
        begun.set()
        if tries.count(name) == 1:
            await asyncio.sleep(60)
        return name

    def uncertain(policy: str) -> df.Workflow:
        async def work(event: Any, step: Any) -> Any:
            return await step.run("effect", effect, policy, uncertain=policy)

        return df.Workflow(f"uncertain-{policy}", work)

    first = make_ctx()
    runs = {}
    for policy in ("fail", "ask"):
        begun.clear()
        runs[policy] = first.start(uncertain(policy)).id
        assert begun.wait(5)
    first.close()
    second = make_ctx()
    second.register(uncertain("fail"), uncertain("ask"))
    with pytest.raises(RunFailed, match="may have had its effect"):
        second.get(runs["fail"]).result("20s")
    asking = second.get(runs["ask"])
    wait_until(lambda: asking.status in ("waiting", "running"), "it asks")
    asking.resolve("effect", "retry")
    assert asking.result("20s") == "ask"
    assert tries == ["fail", "ask", "ask"]


def test_values_that_cannot_be_stored_fail_their_step_with_the_place(ctx: Context) -> None:
    async def work(event: Any, step: Any) -> Any:
        return await step.run("bad", lambda: {"orders": [1, {"lock": threading.Lock()}]}, retry=FAST)

    with pytest.raises(RunFailed, match=r"\$\.orders\[1\]\.lock") as caught:
        ctx.run(declare(work)).result()
    assert caught.value.error["step"] == "bad"


@pytest.mark.parametrize("text", ["nul \0 inside", "lone \ud800 surrogate", "ok ✓", "\\u0000"])
def test_strings_that_postgres_refuses_come_back(ctx: Context, text: str) -> None:
    async def echo(event: Any, step: Any) -> Any:
        got = await step.run("echo", lambda: [event.payload, text, {text: text}])
        await step.run("input", lambda x: None, text)
        return got

    run = ctx.run(declare(echo), text)
    assert run.result() == [text, text, {text: text}]
    assert run.replay().ok

    async def fails(event: Any, step: Any) -> Any:
        raise ValueError(text)

    with pytest.raises(RunFailed):
        ctx.run(declare(fails), text).result()


def test_fifty_megabytes(ctx: Context) -> None:
    payload = {"data": "x" * 50_000_000}

    async def big(event: Any, step: Any) -> Any:
        doubled = await step.run("big", lambda p: p, event.payload)
        return len(doubled["data"])

    run = ctx.run(declare(big), payload, timeout="60s")
    assert run.result() == 50_000_000
    assert run.replay().ok


def test_secrets_do_not_reach_the_journal(make_ctx: MakeContext) -> None:
    token = "tok-5f2e9a71c0ffee"
    ctx = make_ctx(redactor=df.Redactor(token))

    async def leaky(event: Any, step: Any) -> Any:
        await step.run("call", lambda auth, url: 1, f"Bearer {token}", url=f"https://u:{token}@host/")
        step.progress(1, 1, f"using {token}")
        raise RuntimeError(f"401 for {token}")

    run = ctx.run(declare(leaky))
    with pytest.raises(RunFailed) as caught:
        run.result()
    with ctx._database.connection() as connection:
        journal = connection.execute("select string_agg(data::text, ' ') from dataflows.event").fetchone()
    assert journal is not None
    shown = [journal[0], str(caught.value), repr(run.timeline()), repr(run.explain()), str(run.error)]
    assert not [text for text in shown if token in text]
    assert "***" in journal[0]


def test_an_event_that_arrived_may_be_sent_again_when_the_run_is_over(ctx: Context) -> None:
    def waits(event: Any, step: Any) -> Any:
        return step.wait_for_event("go")

    run = ctx.start(declare(waits))
    run.send_event("go", 1, dedupe_key="click-1")
    assert run.result("20s") == 1
    run.send_event("go", 1, dedupe_key="click-1")
    for key in (None, "click-2"):
        with pytest.raises(RunFinishedError):
            run.send_event("go", 2, dedupe_key=key)
