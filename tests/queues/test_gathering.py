"""Several starts are one run: debounce, batch, singleton, and idempotency keys with a lifetime."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DefinitionError, RunNotFoundError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .crowds import noting


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(autojump=False)


def test_a_debounced_run_begins_with_the_last_payload_when_it_is_quiet(
    make_ctx: MakeContext, clock: VirtualClock
) -> None:
    workflow, seen = noting()
    ctx = make_ctx(clock=clock)
    runs = []
    for number in range(5):
        runs.append(ctx.start(workflow, number, debounce="10s", key="doc-1"))
        clock.advance("9s")
    other = ctx.start(workflow, "other", debounce="10s", key="doc-2")
    assert len({run.id for run in runs}) == 1
    assert other.id != runs[0].id
    assert not seen
    clock.advance("2s")
    assert runs[0].result(timeout=20) == 4
    clock.advance("10s")
    assert other.result(timeout=20) == "other"
    # what comes after that is a new run
    again = ctx.start(workflow, "again", debounce="10s", key="doc-1")
    assert again.id != runs[0].id
    assert runs[0].input == 4


def test_a_debounced_run_does_not_wait_for_ever(make_ctx: MakeContext, clock: VirtualClock) -> None:
    workflow, _ = noting()
    ctx = make_ctx(clock=clock)
    first = ctx.start(workflow, 0, debounce=df.Debounce("10s", longest="25s"))
    begun = clock.now()
    number = 0
    while first.status == "sleeping" and number < 10:
        number += 1
        clock.advance("6s")
        last = ctx.start(workflow, number, debounce=df.Debounce("10s", longest="25s"))
        if clock.now() - begun > timedelta(seconds=25):
            break
    wait_until(lambda: first.status == "succeeded", "it began")
    assert first.started_at is not None
    assert (first.started_at - begun).total_seconds() <= 31
    assert first.result() < last._id.int


def test_a_batch_begins_when_it_is_full(make_ctx: MakeContext, clock: VirtualClock) -> None:
    workflow, seen = noting()
    ctx = make_ctx(clock=clock)
    batch = df.Batch(size=3, wait="1h")
    runs = [ctx.start(workflow, number, batch=batch) for number in range(7)]
    assert runs[0].result(timeout=20) == [0, 1, 2]
    assert runs[3].result(timeout=20) == [3, 4, 5]
    assert {run.id for run in runs[:3]} == {runs[0].id}
    assert runs[6].status == "sleeping"
    clock.advance("61m")
    assert runs[6].result(timeout=20) == [6]
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_batch_of_one(make_ctx: MakeContext) -> None:
    workflow, _ = noting()
    assert make_ctx().start(workflow, "x", batch=df.Batch(1, "1h")).result(timeout=20) == ["x"]


def test_a_batch_of_many_at_once_loses_none(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    ctx = make_ctx()

    async def start() -> None:
        await asyncio.gather(*[ctx.astart(workflow, n, batch=df.Batch(10, "300ms")) for n in range(95)])

    asyncio.run(start())
    wait_until(lambda: sum(map(len, seen)) == 95, "all arrived")
    assert sorted(number for payload in seen for number in payload) == list(range(95))
    assert max(map(len, seen)) == 10


def test_large_payloads_of_a_batch_are_kept(make_ctx: MakeContext) -> None:
    workflow, _ = noting()
    ctx = make_ctx()
    large = ["x" * 200_000, "y" * 300_000]
    runs = [ctx.start(workflow, each, batch=df.Batch(2, "1h")) for each in large]
    assert runs[0].result(timeout=20) == large
    assert runs[1].id == runs[0].id


def test_only_one_run_of_a_singleton(make_ctx: MakeContext) -> None:
    async def waits(event: Any, step: Any) -> Any:
        await step.wait_for_event("go", timeout="1h")
        return event.raw

    workflow = Workflow("single", waits)
    ctx, other = make_ctx(linger="0s"), make_ctx()
    first = ctx.start(workflow, 1, singleton=True)
    assert other.start(workflow, 2, singleton=True).id == first.id
    wait_until(lambda: first.status == "waiting", "it waits")
    assert ctx.start(workflow, 3, singleton=True).id == first.id
    keyed = ctx.start(workflow, 4, singleton=True, key="a")
    assert keyed.id != first.id
    free = ctx.start(workflow, 5)
    assert free.id not in {first.id, keyed.id}
    first.send_event("go")
    assert first.result(timeout=20) == 1
    second = other.start(workflow, 6, singleton=True)
    assert second.id != first.id
    for run in (second, keyed, free):
        run.cancel()
        wait_until(lambda run=run: run.status == "cancelled", "it ends")
    assert ctx.start(workflow, 7, singleton=True).id != second.id


def test_an_idempotency_key_may_be_used_again_after_its_time(make_ctx: MakeContext, clock: VirtualClock) -> None:
    workflow, _ = noting()
    ctx = make_ctx(clock=clock)
    first = ctx.start(workflow, 1, idempotency_key="k", idempotency_ttl="1h")
    clock.advance("59m")
    assert ctx.start(workflow, 2, idempotency_key="k", idempotency_ttl="1h").id == first.id
    assert ctx.start(workflow, 2, idempotency_key="k").id == first.id
    clock.advance("2m")
    second = ctx.start(workflow, 3, idempotency_key="k", idempotency_ttl="1h")
    assert second.id != first.id
    assert second.result(timeout=20) == 3
    assert first.idempotency_key is None


def test_an_idempotency_key_outlives_its_run(make_ctx: MakeContext) -> None:
    workflow, seen = noting()
    ctx = make_ctx()
    first = ctx.run(workflow, 1, idempotency_key="k", idempotency_ttl="1h", timeout=20)
    brief = ctx.run(workflow, 2, idempotency_key="plain", timeout=20)
    assert ctx.purge("0s") == 2
    again = ctx.start(workflow, 3, idempotency_key="k", idempotency_ttl="1h")
    assert again.id == first.id
    with pytest.raises(RunNotFoundError, match="there is no run"):
        _ = again.status
    assert ctx.start(workflow, 4, idempotency_key="plain").id != brief.id
    wait_until(lambda: 4 in seen, "the other one ran")
    assert 3 not in seen


def test_options_within_a_transaction_of_the_callers(make_ctx: MakeContext, database_url: str) -> None:
    import psycopg

    workflow, seen = noting()
    ctx = make_ctx()
    with psycopg.connect(database_url) as connection:
        one = ctx.start(workflow, 1, connection=connection, singleton=True, queue="q", priority=7, key="a")
        two = ctx.start(workflow, 2, connection=connection, singleton=True, key="a")
        assert two.id == one.id
        with pytest.raises(DefinitionError, match="no connection"):
            ctx.start(workflow, 3, connection=connection, debounce="1s")
        assert not seen
    assert one.result(timeout=20) == 1
    with psycopg.connect(database_url) as connection:
        (identifier,) = connection.execute(
            "select dataflows.start('note', '5', queue => 'q', priority => 2, key => 'b', delay => '50 ms')"
        ).fetchone() or (None,)
    assert ctx.get(identifier).result(timeout=20) == 5


def test_what_start_many_does_not_take(ctx: Context) -> None:
    workflow, _ = noting()
    with pytest.raises(DefinitionError, match="start_many takes no singleton"):
        ctx.start_many(workflow, [1], singleton=True)
    assert [run.result(timeout=20) for run in ctx.start_many(workflow, [1, 2], queue="q", delay="20ms")] == [1, 2]
