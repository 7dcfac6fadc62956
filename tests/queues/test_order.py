"""Who goes first."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dataflows_sdk.context import Context
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.placement import check_placement
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .crowds import noting


def test_higher_priorities_go_first_and_equal_ones_in_the_order_of_their_starts(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    outside = make_ctx(work=False)
    for number in range(3):
        outside.start(workflow, f"usual {number}")
    outside.start(workflow, "low", priority=-5)
    outside.start(workflow, "high", priority=5)
    outside.start(workflow, "higher", priority=6)
    inside = make_ctx(concurrency=1)
    inside.register(workflow)
    wait_until(lambda: len(seen) == 6, "all began")
    assert seen == ["higher", "high", "usual 0", "usual 1", "usual 2", "low"]


def test_what_waited_long_enough_overtakes_what_is_more_important(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    clock = VirtualClock(autojump=False)
    outside = make_ctx(work=False, clock=clock)
    outside.start(workflow, "old and low", priority=-3)
    clock.advance("2m59s")
    outside.start(workflow, "younger by less")
    clock.advance("2s")
    outside.start(workflow, "younger by more")
    inside = make_ctx(concurrency=1, clock=clock)
    inside.register(workflow)
    wait_until(lambda: len(seen) == 3, "all began")
    assert seen == ["younger by less", "old and low", "younger by more"]


def test_a_queue_says_what_priority_is_worth(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    clock = VirtualClock(autojump=False)
    outside = make_ctx(work=False, clock=clock)
    outside.queues.set("slow", ageing="1h")
    outside.start(workflow, "low", priority=-3, queue="slow")
    clock.advance("2h")
    outside.start(workflow, "usual", queue="slow")
    clock.advance("61m")
    outside.start(workflow, "late", queue="slow")
    inside = make_ctx(concurrency=1, clock=clock)
    inside.register(workflow)
    wait_until(lambda: len(seen) == 3, "all began")
    assert seen == ["usual", "low", "late"]


def test_runs_of_several_workflows_and_queues_are_one_line(make_ctx: MakeContext) -> None:
    one, seen = noting("one")
    two = Workflow("two", one.fn)
    outside = make_ctx(work=False)
    for number in range(20):
        outside.start(one if number % 3 else two, number, queue="default" if number % 2 else "mails")
    inside = make_ctx(concurrency=1)
    inside.register(one, two)
    wait_until(lambda: len(seen) == 20, "all began")
    assert seen == list(range(20))


def test_a_worker_takes_from_its_queues_only(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    outside = make_ctx(work=False)
    runs = {queue: outside.start(workflow, queue, queue=queue) for queue in ("a", "b", "default")}
    inside = make_ctx(queues=["b", "c"])
    inside.register(workflow)
    runs["b"].result(timeout=20)
    inside.start(workflow, "c", queue="c").result(timeout=20)
    assert seen == ["b", "c"]
    # what it starts itself lines up where it does not serve
    assert inside.start(workflow, "mine").status == "queued"
    assert "takes from queue 'a'" in str(runs["a"].explain())
    inside.worker(queues=["a", "default"])
    runs["a"].result(timeout=20)
    wait_until(lambda: len(seen) == 5, "all others began")


def test_runs_that_nobody_knows_do_not_stand_in_the_way(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    stranger, _ = noting("stranger")
    outside = make_ctx(work=False)
    strange = outside.start_many(stranger, range(2_000), priority=100)
    outside.start_many(workflow, range(5))
    inside = make_ctx()
    inside.register(workflow)
    wait_until(lambda: len(seen) == 5, "the known ones began")
    assert strange[0].status == "queued"
    assert "none of the 1 live workers knows workflow 'stranger'" in str(strange[0].explain())
    inside.register(stranger)
    strange[0].result(timeout=20)


def test_the_code_of_a_run_is_kept_before_it_begins(make_ctx: MakeContext) -> None:
    outside = make_ctx(work=False)
    stub, _ = noting("late")

    async def real(event: Any, step: Any) -> str:
        return "this is the code"

    inside = make_ctx()
    inside.run(noting("first")[0], timeout=20)  # a worker by now, its heart has told what it knew
    run = outside.start(stub)
    inside.register(Workflow("late", real))
    assert run.result(timeout=20) == "this is the code"
    assert run.version != stub.version
    assert "this is the code" in outside.get(run.id).source


def test_what_a_full_worker_learns_can_be_started_by_name(make_ctx: MakeContext) -> None:
    gate = threading.Event()

    def blocks(event: Any, step: Any) -> None:
        gate.wait(20)

    inside, outside = make_ctx(concurrency=1), make_ctx(work=False)
    blocker = inside.start(Workflow("blocker", blocks))
    wait_until(lambda: blocker.status == "running", "there is no room")
    inside.register(noting("learnt late")[0])
    wait_until(lambda: outside._read("look", "latest_version", ("learnt late",)), "its code is kept")
    run = outside.start("learnt late")
    assert run.status == "queued"
    gate.set()
    run.wait(20)


def test_payloads_that_look_like_a_first_event(make_ctx: MakeContext) -> None:
    workflow, _ = noting()
    ctx = make_ctx()
    ctx.queues.set("limited", concurrency=5)
    payload = {"status": "running", "text": '"status":"running"'}
    runs = [ctx.start(workflow, payload), ctx.start(workflow, payload, queue="limited")]
    ctx.queues.set("default", concurrency=5)
    runs += [ctx.start(workflow, payload), *ctx.start_many(workflow, [payload, payload], queue="q")]
    for run in runs:
        assert run.result(timeout=20) == run.input == payload
    assert [run.events()[0].data["status"] for run in runs] == ["running", *["queued"] * 4]


def test_a_run_that_began_goes_on_before_those_that_did_not(make_ctx: MakeContext) -> None:
    order: list[str] = []

    async def waits(event: Any, step: Any) -> None:
        await step.wait_for_event("go", timeout="1h")
        order.append("woken")

    async def fresh(event: Any, step: Any) -> None:
        order.append("fresh")

    waiter, note = Workflow("waiter", waits), Workflow("note", fresh)
    first = make_ctx(linger="0s")
    run = first.start(waiter)
    wait_until(lambda: run.status == "waiting", "it waits")
    first.close()
    outside = make_ctx(work=False)
    outside.start_many(note, range(50), priority=1000)
    outside.send_event(run.id, "go")
    inside = make_ctx(concurrency=1)
    inside.register(waiter, note)
    wait_until(lambda: len(order) == 51, "all ran")
    # a claim skips what somebody else looks at in that moment, and takes it on with the next
    assert order.index("woken") <= 2


def test_a_delayed_start_begins_at_its_time(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(clock=clock)
    run = ctx.start(workflow, "later", delay="10m")
    assert run.status == "sleeping"
    assert "to be started later" in str(run.explain())
    ctx.run(workflow, "now", timeout=20)
    clock.advance("9m59s")
    ctx.run(workflow, "still before", timeout=20)
    assert run.status == "sleeping"
    clock.advance("2s")
    run.result(timeout=20)
    assert seen == ["now", "still before", "later"]


def test_a_delayed_start_by_somebody_else_begins_on_time(make_ctx: MakeContext) -> None:
    workflow, _ = noting()
    inside = make_ctx()
    inside.run(workflow, timeout=20)
    outside = make_ctx(work=False)
    run = outside.start(workflow, delay="300ms")
    run.result(timeout=20)
    assert run.started_at is not None
    # one is of the clock of the database, one of ours, and they need not agree to the millisecond
    assert (run.started_at - run.created_at).total_seconds() >= 0.25


def test_a_delayed_start_can_be_cancelled(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    ctx = make_ctx()
    run = ctx.start(workflow, delay="1h")
    run.cancel()
    wait_until(lambda: run.status == "cancelled", "it is cancelled")
    assert not seen


def test_the_workflow_says_where_its_runs_line_up(make_ctx: MakeContext) -> None:
    async def idle(event: Any, step: Any) -> None: ...

    workflow = Workflow("usually-mails", idle, placement=check_placement("mails", 3))
    ctx = make_ctx(work=False)
    assert ctx.queues.list() == []
    ctx.start(workflow)
    ctx.start(workflow, queue="other")
    assert {(queue.name, queue.queued) for queue in ctx.queues.list()} == {("mails", 1), ("other", 1)}
    assert ctx._read("queues", "standing", (ctx.runs()[1]._id, None))[0][2] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": ""}, "queue is a printable text"),
        ({"queue": "*"}, "stands for all"),
        ({"queue": "a,b"}, "no name of a queue"),
        ({"queue": 7}, "queue is a printable text"),
        ({"priority": 1001}, "from -1000 to 1000"),
        ({"priority": True}, "from -1000 to 1000"),
        ({"priority": 1.5}, "from -1000 to 1000"),
        ({"key": ""}, "key is a printable text"),
        ({"key": "a\nb"}, "key is a printable text"),
        ({"delay": "-1s"}, "-1s"),
        ({"idempotency_ttl": "1h"}, "give one"),
        ({"debounce": "0s"}, "waits for some time"),
        ({"batch": 5}, "df.Batch"),
        ({"singleton": True, "debounce": "1s"}, "takes one of"),
        ({"singleton": True, "idempotency_key": "k"}, "takes one of"),
        ({"debounce": "1s", "delay": "1s"}, "takes one of"),
        ({"debounce": "1s", "id": "0190c3a4-0000-7000-8000-000000000000"}, "no id"),
        ({"quue": "x"}, "no option 'quue'"),
    ],
)
def test_options_that_make_no_sense(ctx: Context, options: dict[str, Any], message: str) -> None:
    workflow, _ = noting()
    with pytest.raises(DefinitionError, match=message):
        ctx.start(workflow, **options)
    assert not ctx.runs()
