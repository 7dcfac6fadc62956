"""What a workflow can ask for, written once for `async def` and `def` where both can say it."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.engine.step import Step, SyncStep
from dataflows_sdk.errors import (
    DefinitionError,
    NotInWorkflowError,
    RunFailed,
    StepCollisionError,
    StepFailed,
    StepTimeoutError,
)

from .workflows import FAST, declare


def test_both_handles_have_the_same_verbs() -> None:
    for name, method in vars(Step).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        twin = getattr(SyncStep, name)
        assert inspect.signature(method) == inspect.signature(twin), name
        assert inspect.iscoroutinefunction(method)
        assert not inspect.iscoroutinefunction(twin)
        assert method.__doc__


def test_a_step_takes_any_callable(ctx: Context) -> None:
    class Adder:
        def __call__(self, a: int, b: int) -> int:
            return a + b

    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def colours(event: Any, step: Any) -> list[Any]:
        return [
            await step.run("sync", lambda: 1),
            await step.run("async", later, 2),
            await step.run("lambda of a coroutine", lambda: later(3)),
            await step.run("object", Adder(), 1, b=3),
            await step.run("builtin", sum, [2, 3]),
            await step.run("method", "six".upper),
        ]

    def blocking(event: Any, step: Any) -> list[Any]:
        return [
            step.run("sync", lambda: 1),
            step.run("async", later, 2),
            step.run("lambda of a coroutine", lambda: later(3)),
            step.run("object", Adder(), 1, b=3),
            step.run("builtin", sum, [2, 3]),
            step.run("method", "six".upper),
        ]

    for workflow in (declare(colours), declare(blocking)):
        run = ctx.run(workflow)
        assert run.result() == [1, 2, 3, 4, 5, "SIX"]
        assert [step.op for step in run.timeline()] == ["run"] * 6
        assert run.replay().ok


def test_blocking_steps_of_an_async_workflow_do_not_block_the_others(ctx: Context) -> None:
    gate = threading.Event()

    async def both(event: Any, step: Any) -> Any:
        return await step.parallel("both", {"waits": lambda: gate.wait(5), "opens": lambda: gate.set()})

    assert ctx.run(declare(both)).result() == {"waits": True, "opens": None}


def test_the_nth_use_of_a_name_is_its_own_step(ctx: Context) -> None:
    async def loop(event: Any, step: Any) -> Any:
        return [await step.run("x", lambda i=i: i) for i in range(3)]

    run = ctx.run(declare(loop))
    assert run.result() == [0, 1, 2]
    assert [step.key for step in run.timeline()] == ["x", "x#2", "x#3"]
    assert run.replay().value == [0, 1, 2]


def test_signs_in_names_are_no_paths(ctx: Context) -> None:
    names = ["a/b", "c[1]", "d#2", "e%2F", "näh 漢", "f\ng"]

    async def named(event: Any, step: Any) -> Any:
        return [await step.run(name, lambda: 1) for name in names]

    run = ctx.run(declare(named))
    assert run.result() == [1] * 6
    assert [step.name for step in run.timeline()] == names
    assert run.replay().ok


@pytest.mark.parametrize("name", ["", 7, None, "x" * 501, "lone \ud800"])
def test_bad_step_names(ctx: Context, name: Any) -> None:
    async def bad(event: Any, step: Any) -> Any:
        return await step.run(name, lambda: 1)

    with pytest.raises(RunFailed) as caught:
        ctx.run(declare(bad)).result()
    assert isinstance(caught.value.__cause__, DefinitionError)


def test_one_name_used_side_by_side_is_refused_and_a_key_tells_apart(ctx: Context) -> None:
    async def clash(event: Any, step: Any) -> Any:
        async def slow() -> int:
            await asyncio.sleep(0.05)
            return 1

        return await asyncio.gather(step.run("same", slow), step.run("same", slow))

    with pytest.raises(RunFailed, match="same") as caught:
        ctx.run(declare(clash)).result()
    assert isinstance(caught.value.__cause__, StepCollisionError)

    async def keyed(event: Any, step: Any) -> Any:
        return await asyncio.gather(*[step.run("same", lambda i=i: i, key=i) for i in range(20)])

    run = ctx.run(declare(keyed))
    assert run.result() == list(range(20))
    assert run.replay().ok

    async def twice(event: Any, step: Any) -> Any:
        await step.run("one", lambda: 1, key="k")
        await step.run("one", lambda: 1, key="k")

    with pytest.raises(RunFailed, match="'k'"):
        ctx.run(declare(twice)).result()


def test_parallel_sequences_keep_their_values_whatever_the_order(ctx: Context) -> None:
    """M1 of the research: two branches with two steps each, one faster; a counter would mix them up."""

    async def branches(event: Any, step: Any) -> Any:
        async def slow() -> list[str]:
            first = await step.run("first", lambda: "slow 1")
            await asyncio.sleep(0.03)
            return [first, await step.run("second", lambda: "slow 2")]

        async def quick() -> list[str]:
            return [await step.run("first", lambda: "quick 1"), await step.run("second", lambda: "quick 2")]

        return await step.gather(slow(), quick())

    run = ctx.run(declare(branches))
    assert run.result() == [["slow 1", "slow 2"], ["quick 1", "quick 2"]]
    for _ in range(3):
        assert run.replay().value == run.result()


def test_steps_do_not_nest(ctx: Context) -> None:
    async def nested(event: Any, step: Any) -> Any:
        return await step.map("items", lambda i: step.run("inner", lambda: i), [1, 2])

    with pytest.raises(RunFailed, match="steps do not nest") as caught:
        ctx.run(declare(nested)).result()
    assert isinstance(caught.value.__cause__, NotInWorkflowError)


def test_map_keeps_order_bounds_concurrency_and_nests(ctx: Context) -> None:
    running, most, lock = 0, 0, threading.Lock()

    async def item(n: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.002 * (5 - n % 5))
        with lock:
            running -= 1
        return n * 10

    async def outer(event: Any, step: Any) -> Any:
        flat = await step.map("flat", item, range(20), concurrency=3)

        async def row(r: int, step: Any) -> int:
            cells = await step.map("cells", lambda c: r * c, range(3))
            return await step.run("sum", sum, cells)

        return flat, await step.map("rows", row, range(4)), await step.map("none", item, [])

    run = ctx.run(declare(outer))
    assert run.result() == ([n * 10 for n in range(20)], [0, 3, 6, 9], [])
    assert most <= 3
    keys = {step.key for step in run.timeline()}
    assert {"flat[19]", "rows[2]/cells[1]", "rows[3]/sum", "none"} <= keys
    assert run.replay().ok


def test_map_with_keys_and_errors(ctx: Context) -> None:
    def reciprocal(n: int) -> float:
        return 1 / n

    async def keyed(event: Any, step: Any) -> Any:
        found = await step.map("r", reciprocal, [4, 0, 2], key=lambda n: f"n{n}", on_error="return", retry=df.NO_RETRY)
        return [type(f).__name__ if isinstance(f, Exception) else f for f in found]

    run = ctx.run(declare(keyed))
    assert run.result() == [0.25, "ZeroDivisionError", 0.5]
    assert {s.key: s.status for s in run.timeline()}["r[n0]"] == "failed"

    async def fails(event: Any, step: Any) -> Any:
        return await step.map("r", reciprocal, [4, 0, 2, 0], retry=df.NO_RETRY)

    run = ctx.run(declare(fails))
    with pytest.raises(StepFailed, match=r"r\[1\]") as caught:
        run.result()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert run.replay().ok

    async def same(event: Any, step: Any) -> Any:
        return await step.map("r", reciprocal, [1, 1], key=lambda n: n)

    with pytest.raises(RunFailed, match="two branches have the key '1'"):
        ctx.run(declare(same)).result()

    async def nothing(event: Any, step: Any) -> Any:
        return await step.map("r", reciprocal, 7)

    with pytest.raises(RunFailed, match="nothing to go over"):
        ctx.run(declare(nothing)).result()


def test_what_a_map_goes_over_must_be_the_same_in_every_replay(ctx: Context) -> None:
    items = [[1, 2, 3]]

    async def moving(event: Any, step: Any) -> Any:
        return await step.map("m", lambda n: n, items[0])

    run = ctx.run(declare(moving))
    items[0] = [1, 2]
    replay = run.replay()
    assert not replay.ok
    assert replay.outcome == "mismatch"
    assert "3 branches" in replay.difference


def test_a_race_has_recorded_winners_and_cancelled_losers(ctx: Context) -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("slow")
        return "slow"

    async def quick(n: int) -> str:
        await asyncio.sleep(0.001 * n)
        return f"quick {n}"

    async def race(event: Any, step: Any) -> Any:
        one = await step.parallel("one", {"slow": slow, "quick": lambda: quick(1)}, join="any")
        two = await step.parallel("two", {"a": lambda: quick(1), "b": slow, "c": lambda: quick(2)}, join=2)

        async def sleeper(step: Any) -> str:
            await step.sleep("long", "1h")
            return "never"

        async def instant(step: Any) -> str:
            return await step.run("now", lambda: "now")

        return one, sorted(two), await step.parallel("three", [sleeper, instant], join="any")

    run = ctx.run(declare(race), timeout="20s")
    assert run.result() == ({"quick": "quick 1"}, ["a", "c"], {"1": "now"})
    assert ended == ["slow", "slow"]
    assert run.replay().value == run.result()


@pytest.mark.parametrize("join", ["some", 0, 3, True, 1.5])
def test_bad_joins(ctx: Context, join: Any) -> None:
    async def bad(event: Any, step: Any) -> Any:
        return await step.parallel("p", [lambda: 1, lambda: 2], join=join)

    with pytest.raises(RunFailed, match="join is"):
        ctx.run(declare(bad)).result()


def test_retries_backoff_and_what_is_not_retried(ctx: Context) -> None:
    tries: dict[str, int] = {}

    def flaky(name: str, error: BaseException, good_at: int) -> str:
        tries[name] = tries.get(name, 0) + 1
        if tries[name] < good_at:
            raise error
        return name

    async def work(event: Any, step: Any) -> Any:
        assert await step.run("third time", flaky, "a", ValueError("no"), 3, retry=FAST) == "a"
        assert await step.run("asked to wait", flaky, "b", df.RetryAfter(0.01), 2, retry=FAST) == "b"
        for name, error in (("c", df.NonRetryableError("stop")), ("d", TypeError("a bug"))):
            with pytest.raises(type(error)):
                await step.run(name, flaky, name, error, 3, retry=FAST)
        return await step.run("e", flaky, "e", ValueError("always"), 99, retry=FAST)

    run = ctx.run(declare(work))
    with pytest.raises(StepFailed, match="'e' after 4 attempts: ValueError: always") as caught:
        run.result()
    assert (caught.value.step, caught.value.attempts) == ("e", 4)
    assert tries == {"a": 3, "b": 2, "c": 1, "d": 1, "e": 4}
    assert [(s.name, s.attempt, s.status) for s in run.timeline()][:2] == [
        ("third time", 3, "completed"),
        ("asked to wait", 2, "completed"),
    ]
    assert len(run.timeline()["third time"].failures) == 2
    assert run.replay().ok


def test_timeouts_of_steps(ctx: Context) -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def own_timeout() -> None:
        raise TimeoutError("from the function itself")

    async def work(event: Any, step: Any) -> Any:
        caught = []
        for name, fn in (("async", forever), ("thread", lambda: time.sleep(1)), ("own", own_timeout)):
            try:
                await step.run(name, fn, timeout="30ms", retry=df.NO_RETRY)
            except Exception as error:
                caught.append(type(error).__name__)
        return caught

    run = ctx.run(declare(work))
    assert run.result() == ["StepTimeoutError", "StepTimeoutError", "TimeoutError"]
    assert cancelled.is_set()
    assert issubclass(StepTimeoutError, df.DataflowsError)
