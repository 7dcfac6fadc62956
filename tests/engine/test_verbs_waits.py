"""What a workflow can wait for, ask of other runs, and take back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import (
    EventTimeoutError,
    InvalidDurationError,
    NotInWorkflowError,
    NotSerializableError,
    RunFailed,
    RunNotFoundError,
)

from .workflows import FAST, declare


@pytest.mark.parametrize("duration", [-1, "-5s", "soon", "", float("nan"), float("inf"), True, "99999999 weeks", None])
def test_absurd_durations(ctx: Context, duration: Any) -> None:
    async def nap(event: Any, step: Any) -> None:
        await step.sleep("nap", duration)

    with pytest.raises(RunFailed) as caught:
        ctx.run(declare(nap)).result()
    assert isinstance(caught.value.__cause__, InvalidDurationError | TypeError), repr(caught.value.__cause__)


def test_a_sleep_beyond_the_calendar_is_refused(ctx: Context) -> None:
    async def nap(event: Any, step: Any) -> None:
        await step.sleep("nap", timedelta(days=365 * 9000))

    with pytest.raises(RunFailed, match="calendar") as caught:
        ctx.run(declare(nap)).result()
    assert isinstance(caught.value.__cause__, InvalidDurationError)


def test_instants_of_the_past_are_over_at_once(ctx: Context) -> None:
    async def nap(event: Any, step: Any) -> str:
        await step.sleep_until("past", datetime.now(UTC) - timedelta(days=1))
        await step.sleep("nothing", 0)
        return "awake"

    run = ctx.run(declare(nap))
    assert run.result() == "awake"
    assert run.status == "succeeded"
    assert not [event for event in run.events() if event.kind == "run.suspended"]


def test_events_before_and_after_the_wait(ctx: Context) -> None:
    reached = threading.Event()

    async def waits(event: Any, step: Any) -> Any:
        first = await step.wait_for_event("go")
        await step.run("reached", reached.set)
        return (
            first,
            await step.wait_for_event("go again", event="go"),
            await step.wait_for_event("late", timeout="30ms"),
        )

    run = ctx.start(declare(waits))
    run.send_event("go", {"n": 1})
    assert reached.wait(5)
    run.send_event("other", "ignored").send_event("go", {"n": 2})
    assert run.result("10s") == ({"n": 1}, {"n": 2}, None)


def test_one_event_satisfies_one_wait_and_matching_picks(ctx: Context) -> None:
    async def waits(event: Any, step: Any) -> Any:
        async def one(which: int, step: Any) -> Any:
            return await step.wait_for_event("paid", match={"order.id": which})

        return await step.map("orders", one, [1, 2, 3])

    run = ctx.start(declare(waits))
    for number in (3, 1, 9, 2):
        run.send_event("paid", {"order": {"id": number}})
    assert [p["order"]["id"] for p in run.result("10s")] == [1, 2, 3]


def test_a_duplicate_event_counts_once(ctx: Context) -> None:
    async def waits(event: Any, step: Any) -> Any:
        return [await step.wait_for_event("a"), await step.wait_for_event("b", event="a", timeout="100ms")]

    run = ctx.start(declare(waits))
    for _ in range(3):
        run.send_event("a", 1, dedupe_key="delivery 7")
    assert run.result("10s") == [1, None]


def test_a_timeout_can_be_raised_and_is_remembered(ctx: Context) -> None:
    async def waits(event: Any, step: Any) -> Any:
        try:
            await step.wait_for_event("never", timeout="5ms", on_timeout="raise")
        except EventTimeoutError as error:
            return str(error)

    run = ctx.run(declare(waits))
    assert "never" in run.result()
    assert run.replay().value == run.result()
    assert run.timeline()["never"].status == "timed_out"


def test_runs_send_events_to_each_other_exactly_once(ctx: Context) -> None:
    async def receiver(event: Any, step: Any) -> Any:
        return await step.wait_for_event("hello"), await step.wait_for_event("all")

    async def sender(event: Any, step: Any) -> Any:
        sent = await step.send_event("send", event.payload["to"], "hello", {"from": "sender"})
        await step.emit("tell", "all", [1, 2])
        return sent

    target = ctx.start(declare(receiver))
    assert ctx.run(declare(sender), {"to": target.id}).result() is True
    assert target.result("10s") == ({"from": "sender"}, [1, 2])
    assert ctx.run(declare(sender, "again"), {"to": target.id}).result() is False

    async def lost(event: Any, step: Any) -> Any:
        await step.send_event("send", "0198c0de-0000-7000-8000-000000000000", "hello")

    with pytest.raises(RunFailed) as caught:
        ctx.run(declare(lost)).result()
    assert isinstance(caught.value.__cause__, RunNotFoundError)


def test_children_give_results_errors_and_ids(ctx: Context) -> None:
    @df.workflow("tests.verbs.child")
    async def child(event: Any, step: Any) -> Any:
        if event.payload["n"] < 0:
            raise ValueError(f"negative: {event.payload['n']}")
        return await step.run("double", lambda: event.payload["n"] * 2)

    async def parent(event: Any, step: Any) -> Any:
        two = await step.invoke("by object", child, {"n": 1})
        four = await step.invoke("by name", "tests.verbs.child", {"n": 2})
        detached = await step.invoke("detached", child, {"n": 3}, detach=True)
        try:
            await step.invoke("bad", child, {"n": -1})
        except RunFailed as error:
            return two, four, detached, error.error["message"]

    run = ctx.run(declare(parent))
    two, four, detached, message = run.result("10s")
    assert (two, four, message) == (2, 4, "negative: -1")
    assert ctx.get(detached).result("5s") == 6
    assert len(run.children()) == 4
    assert run.children()[0].parent == run
    assert run.replay().ok

    def blocking(event: Any, step: Any) -> Any:
        return [step.invoke("kid", child, {"n": n}, key=n) for n in range(3)]

    assert ctx.run(declare(blocking)).result("10s") == [0, 2, 4]


def test_a_transaction_commits_with_its_record(ctx: Context) -> None:
    def insert(connection: Any, n: int, fail: bool = False) -> int:
        connection.execute("create table if not exists public.effects (n int)")
        connection.execute("insert into public.effects values (%s)", (n,))
        if fail:
            raise df.NonRetryableError("after the insert")
        return n

    async def work(event: Any, step: Any) -> Any:
        one = await step.transaction("one", insert, 1)
        try:
            await step.transaction("two", insert, 2, fail=True)
        except df.NonRetryableError:
            return one

    def unwritable(connection: Any) -> Any:
        insert(connection, 3)
        return object()

    def blocking(event: Any, step: Any) -> Any:
        return step.transaction("three", unwritable, retry=df.NO_RETRY)

    run = ctx.run(declare(work))
    assert run.result() == 1
    assert run.replay().ok
    with pytest.raises(RunFailed) as caught:
        ctx.run(declare(blocking)).result()
    assert isinstance(caught.value.__cause__, NotSerializableError)
    with ctx._database.connection() as connection:
        assert connection.execute("select n from public.effects").fetchall() == [(1,)]


def test_chance_is_recorded(ctx: Context) -> None:
    async def chance(event: Any, step: Any) -> Any:
        return [await step.now(), await step.uuid(), await step.random(), await step.random()]

    run = ctx.run(declare(chance))
    moment, unique, one, two = run.result()
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert unique.version == 7
    assert one != two
    assert run.replay().value == run.result()


def test_undo_runs_backwards_on_failure(ctx: Context) -> None:
    done: list[str] = []

    def book(what: str) -> str:
        done.append(f"book {what}")
        return what

    def cancel(what: str) -> None:
        done.append(f"cancel {what}")

    def stubborn(what: str) -> None:
        raise df.NonRetryableError("cannot be undone")

    async def trip(event: Any, step: Any) -> None:
        await step.run("flight", book, "flight", undo=cancel)
        await step.run("insurance", book, "insurance", undo=stubborn)
        await step.map("hotels", book, ["A", "B"], undo=cancel, concurrency=1)
        await step.run("free", book, "free")
        raise RuntimeError("no visa")

    run = ctx.run(declare(trip))
    with pytest.raises(RunFailed, match="no visa"):
        run.result()
    assert done[-3:] == ["cancel B", "cancel A", "cancel flight"]
    assert run.error is not None
    assert run.error["undo_failed"] == ["insurance"]


def test_a_step_knows_its_idempotency_key(ctx: Context) -> None:
    keys: list[str] = []

    async def work(event: Any, step: Any) -> Any:
        def effect() -> str:
            info = df.current_step()
            assert step.idempotency_key == info.idempotency_key
            keys.append(info.idempotency_key)
            if info.attempt < 3:
                raise ValueError("again")
            return info.run_id

        return await step.run("effect", effect, retry=FAST)

    run = ctx.run(declare(work))
    assert run.result() == run.id
    assert len(keys) == 3
    assert len(set(keys)) == 1
    with pytest.raises(NotInWorkflowError):
        df.current_step()


def test_progress_is_shown_and_not_replayed(ctx: Context) -> None:
    def work(event: Any, step: Any) -> str:
        for i in range(3):
            step.run("s", lambda i=i: i)
            step.progress(i + 1, 3, "working")
        return "done"

    run = ctx.run(declare(work))
    assert run.result() == "done"
    shown = [event.data for event in run.events() if event.kind == "progress"]
    assert shown[-1]["done"] == 3
    assert run.replay().ok


@pytest.mark.parametrize("bad", [7, None, "name"])
def test_a_step_wants_a_function(ctx: Context, bad: Any) -> None:
    async def work(event: Any, step: Any) -> Any:
        return await step.run("x", bad)

    with pytest.raises(RunFailed, match="not callable"):
        ctx.run(declare(work)).result()
