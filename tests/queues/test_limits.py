"""Limits: how many work at once, how many begin in a time, whose turn it is."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from dataflows_sdk.context import Context
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .crowds import Gauge, noting


def test_no_more_than_allowed_work_at_once_on_several_workers(make_ctx: MakeContext) -> None:
    gauge = Gauge()
    outside = make_ctx(work=False)
    outside.queues.set("narrow", concurrency=3)
    runs = outside.start_many(gauge.workflow, range(60), queue="narrow")
    for _ in range(3):
        make_ctx().register(gauge.workflow)
    for run in runs:
        run.result(timeout=60)
    assert gauge.most["all"] == 3
    queue = outside.queues.get("narrow")
    assert (queue.queued, queue.running, queue.concurrency) == (0, 0, 3)


def test_a_limit_for_each_key(make_ctx: MakeContext) -> None:
    gauge = Gauge()
    outside = make_ctx(work=False)
    outside.queues.set("keyed", concurrency=5, concurrency_per_key=2)
    runs = [outside.start(gauge.workflow, key, queue="keyed", key=key) for key in "aaaaaaaaaabbbbccdd"]
    for _ in range(2):
        make_ctx().register(gauge.workflow)
    for run in runs:
        run.result(timeout=60)
    assert gauge.most["all"] <= 5
    assert max(gauge.most[key] for key in "abcd") == 2
    # the crowd of one key did not keep the others waiting
    assert {"b", "c", "d"} <= set(gauge.done[:9])


def test_keys_take_turns(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    outside = make_ctx(work=False)
    outside.queues.set("fair", concurrency=1, fair=True)
    for key in ["a"] * 30 + ["b", "b", "c"]:
        outside.start(workflow, key, queue="fair", key=key)
    make_ctx().register(workflow)
    wait_until(lambda: len(seen) == 33, "all ran")
    assert set(seen[:3]) == {"a", "b", "c"}
    assert sorted(seen[:5]) == ["a", "a", "b", "b", "c"]


def test_very_many_keys_all_get_their_turn(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    outside = make_ctx(work=False)
    outside.queues.set("many", concurrency=300, concurrency_per_key=1)

    async def start() -> None:
        await asyncio.gather(*[outside.astart(workflow, n, queue="many", key=f"k{n % 700:04}") for n in range(1_400)])

    asyncio.run(start())
    make_ctx().register(workflow)
    wait_until(lambda: len(seen) == 1_400, "all ran", 60)
    assert len(set(seen)) == 1_400


def test_a_rate_holds_in_any_window(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(clock=clock)
    ctx.queues.set("rated", rate=(3, "1m"))
    runs = ctx.start_many(workflow, range(8), queue="rated")
    wait_until(lambda: len(seen) == 3, "three began")
    text = str(wait_until(lambda: (e := str(runs[5].explain())) and "so many did" in e and e, "it says why"))
    assert "lets 3 runs begin in 1 m, and so many did; the next may in 1 m" in text
    clock.advance("59s")
    time.sleep(0.1)
    assert len(seen) == 3
    clock.advance("2s")
    wait_until(lambda: len(seen) == 6, "three more began")
    clock.autojump = True  # by itself it jumps to the next window
    wait_until(lambda: len(seen) == 8, "all began")
    starts = sorted(run.started_at for run in runs if run.started_at is not None)
    assert all((later - first).total_seconds() >= 60 for first, later in zip(starts, starts[3:], strict=False))


def test_a_rate_for_each_key(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    ctx.queues.set("rated", rate_per_key=(2, "10s"))
    begun = clock.now()
    runs = [ctx.start(workflow, key, queue="rated", key=key) for key in "aaaaab"]
    for run in runs:
        run.result(timeout=20)
    assert set(seen[:3]) == {"a", "b"}
    assert (clock.now() - begun).total_seconds() >= 20


def test_a_rate_is_not_spent_by_runs_that_go_on(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)

    async def sleeps(event: Any, step: Any) -> None:
        for number in range(5):
            await step.sleep(f"nap {number}", "1s")

    ctx.queues.set("rated", rate=(1, "1h"))
    begun = clock.now()
    ctx.run(Workflow("sleeps", sleeps), queue="rated", timeout=20)
    assert (clock.now() - begun).total_seconds() == pytest.approx(5, abs=0.1)


def test_sleeping_runs_hold_no_slot_and_need_one_to_go_on(make_ctx: MakeContext) -> None:
    gauge = Gauge("naps")

    async def naps(event: Any, step: Any) -> None:
        await step.run("before", gauge.work, "x")
        await step.sleep("nap", "200ms")
        await step.run("after", gauge.work, "x")

    workflow = Workflow("naps", naps)
    ctx = make_ctx(linger="0s")
    ctx.queues.set("one", concurrency=1)
    begun = time.monotonic()
    for run in ctx.start_many(workflow, range(10), queue="one"):
        run.result(timeout=30)
    assert gauge.most["all"] == 1
    assert time.monotonic() - begun < 2.5  # one after another with their naps they would take more than 2 s of naps


def test_a_paused_queue_lets_nothing_go(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    ctx = make_ctx()
    ctx.queues.pause("stopped")
    run = ctx.start(workflow, 1, queue="stopped")
    ctx.run(workflow, 2, timeout=20)
    assert "queue 'stopped' is paused" in str(run.explain())
    assert ctx.queues.get("stopped").paused
    ctx.queues.resume("stopped")
    run.result(timeout=20)
    assert seen == [2, 1]


def test_what_a_paused_queue_holds_can_be_cancelled(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    ctx = make_ctx()
    ctx.queues.pause("stopped")
    run = ctx.start(workflow, 1, queue="stopped")
    run.cancel("no longer wanted")
    wait_until(lambda: run.status == "cancelled", "it is over")
    assert not seen
    assert ctx.queues.get("stopped").queued == 0


def test_a_limit_for_all_queues_together(make_ctx: MakeContext) -> None:
    gauge = Gauge()
    ctx, other = make_ctx(), make_ctx()
    ctx.queues.set("*", concurrency=2)
    other.register(gauge.workflow)
    runs = [ctx.start(gauge.workflow, n, queue=f"q{n % 3}") for n in range(15)]
    runs += [ctx.start(gauge.workflow, n) for n in range(15)]  # also those that would begin at once
    for run in runs:
        run.result(timeout=60)
    assert gauge.most["all"] == 2
    assert ctx.queues.list()[0].name == "*"
    assert ctx.queues.remove("*")
    assert not ctx.queues.remove("*")


def test_a_limit_on_the_default_queue_holds_for_direct_starts(make_ctx: MakeContext) -> None:
    gauge = Gauge()
    ctx = make_ctx()
    ctx.run(gauge.workflow, 0, timeout=20)
    ctx.queues.set("default", concurrency=1)
    for run in [ctx.start(gauge.workflow, n) for n in range(10)]:
        run.result(timeout=60)
    assert gauge.most["all"] == 1


def test_children_line_up_too(make_ctx: MakeContext) -> None:
    gauge = Gauge("child")

    async def parent(event: Any, step: Any) -> int:
        async def one(n: int, step: Any) -> None:
            await step.invoke("child", gauge.workflow, n)

        await step.map("children", one, range(8))
        return 8

    ctx = make_ctx(linger="0s")
    ctx.queues.set("default", concurrency=2)
    # the parent waits for its children without a slot: with two slots they could never begin otherwise
    assert ctx.run(Workflow("parent", parent), timeout=60).result() == 8
    assert gauge.most["all"] <= 2


def test_the_slot_of_a_worker_that_died_is_free_again(make_ctx: MakeContext, dead_worker: Any) -> None:
    gauge = Gauge()
    ctx = make_ctx()
    ctx.queues.set("one", concurrency=1)
    held = dead_worker("one", "unknown-to-us")
    assert ctx.get(held).status == "running"
    ctx.start(gauge.workflow, 1, queue="one").result(timeout=20)
    found = ctx.get(held)
    assert found.status == "queued"
    assert found.events()[-1].kind == "run.lost"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("q", {"concurrency": -1}), "concurrency is a number"),
        (("q", {"concurrency": True}), "concurrency is a number"),
        (("q", {"concurrency_per_key": 1.5}), "concurrency_per_key is a number"),
        (("q", {"rate": 5}), "a number and a period"),
        (("q", {"rate": (0, "1m")}), "lets a number of runs begin"),
        (("q", {"rate": (1, "0s")}), "the period of rate"),
        (("q", {"ageing": "0s"}), "ageing is a time"),
        (("*", {"concurrency_per_key": 1}), "a queue with a name of its own"),
        (("default", {"fair": True}), "a queue with a name of its own"),
        (("", {}), "queue is a printable text"),
    ],
)
def test_limits_that_make_no_sense(ctx: Context, arguments: tuple[str, dict[str, Any]], message: str) -> None:
    name, limits = arguments
    with pytest.raises(DefinitionError, match=message):
        ctx.queues.set(name, **limits)
    assert ctx.queues.list() == []
