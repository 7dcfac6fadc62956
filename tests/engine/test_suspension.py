"""Runs that wait hold nothing but rows, whatever their code does with exceptions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest

from dataflows_sdk.context import Context
from dataflows_sdk.errors import RunCancelled
from dataflows_sdk.testing import TestDatabases, VirtualClock

from ..conftest import MakeContext, wait_until
from .workflows import declare

MANY = 10_000


def tasks_of(ctx: Context) -> int:
    """Tasks on the engine's loop, counted there."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    found: int = ctx._engine.ask(count())
    return found


def count(ctx: Context, status: str) -> int:
    return len(ctx.runs(status=status, limit=10_000))


@pytest.mark.slow
def test_ten_thousand_sleeping_runs_hold_only_rows(
    make_ctx: MakeContext, database_url: str, dataflows_databases: TestDatabases
) -> None:
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(clock=clock)

    async def sleeper(event: Any, step: Any) -> Any:
        await step.sleep("until then", "1h")
        return event.raw

    workflow = declare(sleeper)
    # What any run leaves behind (threads of pools, prepared statements, caches) is there before it is counted.
    ctx.start_many(workflow, range(200))
    wait_until(lambda: count(ctx, "sleeping") == 200, "200 runs sleep")

    def held() -> tuple[int, int, int]:
        # The executor's own look at the database is one task more from time to time.
        return threading.active_count(), tasks_of(ctx) // 4, dataflows_databases.connections(database_url)

    def at_rest() -> bool:
        return not ctx.runs(status=["queued", "running"], limit=1) and not ctx._engine.live

    wait_until(at_rest, "nothing is in memory")
    process = psutil.Process()
    before, memory = held(), process.memory_info().rss

    def as_before() -> bool:
        threads, tasks, connections = held()
        # One connection more each is there when somebody looks while the background looks after triggers and views.
        return (threads, tasks) == before[:2] and connections <= before[2] + 2

    runs = ctx.start_many(workflow, range(MANY))
    wait_until(at_rest, "all of them sleep", 60)
    grown = process.memory_info().rss - memory
    assert count(ctx, "sleeping") == MANY
    wait_until(as_before, f"threads, tasks and connections are as before: {held()}, {before}", 5)
    # The handles that this test holds and the allocator's own mind; a run in memory would cost 10 kB and more.
    assert grown < 95 * 2**20, f"{grown / 2**20:.0f} MiB for {MANY} sleeping runs"

    clock.advance("1h")
    wait_until(lambda: not ctx.runs(status="sleeping", limit=1) and at_rest(), "all of them wake", 60)
    assert [run.result() for run in (runs[0], runs[MANY // 2], runs[-1])] == [0, MANY // 2, MANY - 1]
    assert count(ctx, "succeeded") == MANY
    assert not ctx.runs(status=["failed", "cancelled", "quarantined"])
    wait_until(as_before, f"threads, tasks and connections are as before: {held()}, {before}", 5)
    print(f"{MANY} sleeping runs: {grown / 2**20:.1f} MiB")


# --- code that swallows -----------------------------------------------------------------------------------

SEEN: list[str] = []


async def swallows_exceptions(event: Any, step: Any) -> Any:
    try:
        await step.sleep("nap", "300ms")
    except Exception:
        SEEN.append("swallowed")
    return await step.run("after", lambda: "slept")


async def swallows_everything(event: Any, step: Any) -> Any:
    try:
        await step.sleep("nap", "300ms")
    except:  # noqa: E722 - that is what it is about
        SEEN.append("swallowed")
    try:
        return await step.run("after", lambda: "slept")
    except:  # noqa: E722
        return "not slept"


async def swallows_in_a_finally(event: Any, step: Any) -> Any:
    try:
        await step.sleep("nap", "300ms")
    finally:
        SEEN.append("finally")
    return await step.run("after", lambda: "slept")


async def answers_from_a_finally(event: Any, step: Any) -> Any:
    try:
        await step.sleep("nap", "300ms")
        return await step.run("after", lambda: "slept")
    finally:
        if len(SEEN) < 1:
            SEEN.append("finally")
            return "not slept"  # noqa: B012 - that is what it is about


def blocking_swallows_everything(event: Any, step: Any) -> Any:
    try:
        step.sleep("nap", "300ms")
    except:  # noqa: E722
        SEEN.append("swallowed")
    try:
        return step.run("after", lambda: "slept")
    except:  # noqa: E722
        return "not slept"


def blocking_finally(event: Any, step: Any) -> Any:
    try:
        step.sleep("nap", "300ms")
    finally:
        SEEN.append("finally")
    return step.run("after", lambda: "slept")


def swallows_in_branches(event: Any, step: Any) -> Any:
    def branch(item: int, step: Any) -> Any:
        try:
            step.sleep("nap", "300ms")
        except:  # noqa: E722
            SEEN.append("swallowed")
        try:
            return step.run("after", lambda: "slept")
        except:  # noqa: E722
            return "not slept"

    return step.map("branches", branch, range(2))[1]


@pytest.mark.parametrize(
    ("fn", "seen"),
    [
        (swallows_exceptions, []),
        (swallows_everything, ["swallowed"]),
        (swallows_in_a_finally, ["finally", "finally"]),  # when it is let go of, and when the nap is over
        (answers_from_a_finally, ["finally"]),
        (blocking_swallows_everything, ["swallowed"]),
        (blocking_finally, ["finally", "finally"]),
        (swallows_in_branches, ["swallowed", "swallowed"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_code_that_swallows_exceptions_is_suspended_all_the_same(
    make_ctx: MakeContext, fn: Any, seen: list[str]
) -> None:
    # On a clock of its own the naps of two branches end together, however late one of them begins.
    ctx = make_ctx(clock=VirtualClock())
    SEEN.clear()
    run = ctx.run(declare(fn), timeout="20s")
    assert run.result() == "slept"
    # Threads of branches that are let go of unwind in their own time.
    wait_until(lambda: len(SEEN) >= len(seen), f"all of {seen} is seen, not {SEEN}")
    assert seen == SEEN
    assert [event.kind for event in run.events()].count("run.suspended") == 1


STUBBORN = """
import sys, time, faulthandler
import dataflows_sdk as df
faulthandler.dump_traceback_later(15, exit=True)

@df.workflow("stubborn")
async def stubborn(event, step):
    while True:
        try:
            return await step.wait_for_event("x")
        except:
            pass

@df.workflow("other")
async def other(event, step):
    return await step.run("a", lambda: "the engine lives")

with df.connect(sys.argv[1], linger="0s") as ctx:
    run = ctx.start(stubborn)
    while run.status != "waiting":
        time.sleep(0.01)
    print(ctx.run(other).result(), flush=True)
    ctx.send_event(run, "x", "heard")
    print(run.result("5s"), flush=True)
    faulthandler.cancel_dump_traceback_later()
"""


@pytest.mark.slow
def test_code_that_swallows_everything_in_a_loop_does_not_stop_the_engine(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN, database_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n")[:2] == ["the engine lives", "heard"], done.stderr[-2000:]


def test_plain_asyncio_gather_of_sleeps_lets_go_of_the_run(make_ctx: MakeContext) -> None:
    """Not the way that is taught, but what people write; a run that only sleeps may not stay in memory."""
    ctx = make_ctx(linger="0s")

    async def plain(event: Any, step: Any) -> Any:
        await asyncio.gather(step.sleep("a", "3h"), step.sleep("b", "2h"))

    run = ctx.start(declare(plain))
    wait_until(lambda: run.status == "sleeping", f"it sleeps, not {run.explain()}", 5)


def test_a_run_that_is_let_go_of_leaves_no_task_of_its_branches(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")
    ctx.run(declare(swallows_exceptions))
    before = tasks_of(ctx)

    async def wide(event: Any, step: Any) -> Any:
        async def branch(item: int, step: Any) -> None:
            await step.sleep("nap", "1h")

        await step.map("branches", branch, range(50))

    run = ctx.start(declare(wide))
    wait_until(lambda: run.status == "sleeping", "it sleeps")
    wait_until(lambda: tasks_of(ctx) <= max(before, 4), "the tasks of its branches are gone", 5)


def test_a_run_that_began_where_it_was_started_is_cancelled_by_its_code(make_ctx: MakeContext) -> None:
    """It was never claimed; it has begun all the same, and its code may have something to tidy up."""
    tidied: list[str] = []
    gate = threading.Event()

    async def tidy(event: Any, step: Any) -> None:
        try:
            await step.sleep("long", "1h")
        except BaseException as error:
            tidied.append(type(error).__name__)
            raise

    def busy(event: Any, step: Any) -> None:
        gate.wait(20)

    sleeper, blocker = declare(tidy), declare(busy)
    first = make_ctx(linger="0s")
    run_id = first.start(sleeper).id
    wait_until(lambda: first.get(run_id).status == "sleeping", "the run sleeps")
    first.close()
    second = make_ctx(concurrency=1)
    second.register(sleeper)
    blocking = second.start(blocker)
    wait_until(lambda: blocking.status == "running", "there is no room")
    run = second.get(run_id)
    run.cancel()
    gate.set()
    with pytest.raises(RunCancelled):
        run.result("20s")
    assert tidied[-1] == "Cancelled"
