"""Runs that a living process owns without knowing it, or that a dead one owns whom nobody remembers: none stays so."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import RunFailed, StoreUnavailableError

from ..conftest import MakeContext, wait_until
from .test_zombies import query, replace_owner
from .workflows import declare


def claimed_by(starter: Context, workflow: Any, url: str, owner: UUID) -> Any:
    """A run that was claimed by *owner*, who does not know of it."""
    with psycopg.connect(url) as connection:
        run = starter.start(workflow, connection=connection)
        connection.execute(
            "with head as (update dataflows.run set status = 'running', epoch = 1, owner = %s, wake_at = null"
            " where id = %s returning id)"
            " insert into dataflows.event (run, seq, epoch, kind, data, at)"
            " select id, 2, 1, 'run.claimed', '{\"why\": \"queued\"}', now() from head",
            (owner, run.id),
        )
    return run


async def seven(event: Any, step: Any) -> int:
    return int(await step.run("seven", lambda: 7))


@pytest.mark.slow
def test_a_claim_whose_answer_was_lost_is_taken_up(make_ctx: MakeContext, database_url: str) -> None:
    """The connection broke behind the claim: the process owns the run, is alive, and has never heard of it."""
    worker, starter = make_ctx(), make_ctx(work=False)
    workflow = declare(seven)
    assert worker.run(workflow, timeout="10s").result() == 7  # now it is a worker
    run = claimed_by(starter, workflow, database_url, worker._engine.worker_id)
    assert run.result("20s") == 7


@pytest.mark.slow
def test_runs_of_an_owner_whom_nobody_remembers_are_taken_over(make_ctx: MakeContext, database_url: str) -> None:
    """It was taken for dead and struck off, came back, claimed a run, and died before its next heartbeat."""
    worker, starter = make_ctx(), make_ctx(work=False)
    workflow = declare(seven)
    run = claimed_by(starter, workflow, database_url, UUID(int=7))
    worker.register(workflow)
    assert run.result("20s") == 7


# --- a commit whose answer is lost ------------------------------------------------------------------------


def lose_answer(ctx: Context, kind: str, *, cut: bool = False) -> list[str]:
    """Lose the answer to the next commit that has an event of *kind*; with *cut* also what was sent after it."""
    pipeline = ctx._engine.writer._pipeline
    post, lost = pipeline.post, []

    def losing(transactions: Any, done: Any) -> None:
        batch = ctx._engine.writer._flying
        if lost or not any(event.kind == kind for unit in batch for event in unit.events):
            post(transactions, done)
            return
        lost.append(kind)
        post(transactions[:1] if cut else transactions, lambda *_: done(None, StoreUnavailableError("lost")))

    pipeline.post = losing  # type: ignore[method-assign]
    return lost


class Held:
    """A workflow that waits, on the engine's loop, until the test lets it go on; then it records a step."""

    def __init__(self, name: str) -> None:
        self.future: asyncio.Future[None] | None = None

        async def held(event: Any, step: Any) -> int:
            if self.future is None:
                self.future = asyncio.get_running_loop().create_future()
                await self.future
            return int(await step.random() < 2)

        self.workflow = declare(held, name)

    def start(self, ctx: Context) -> Any:
        run = ctx.start(self.workflow)
        wait_until(lambda: self.future is not None, "it is held")
        return run

    def release(self) -> None:
        assert self.future is not None
        self.future.set_result(None)


def test_a_lost_answer_does_not_take_a_run_from_its_owner(make_ctx: MakeContext, database_url: str) -> None:
    """In one commit: the write of a zombie, which is refused, and that of a healthy run, which is there."""
    ctx = make_ctx(linger="60s")
    zombie, healthy = Held("zombie"), Held("healthy")
    lost_run, run = zombie.start(ctx), healthy.start(ctx)
    replace_owner(database_url, lost_run.id)
    lost = lose_answer(ctx, "step.completed")
    ctx._engine.call(lambda: (zombie.release(), healthy.release()))
    assert run.result("10s") == 1
    assert lost == ["step.completed"]
    assert [event.seq for event in run.events()] == [1, 2, 3]
    wait_until(lambda: UUID(lost_run.id) not in ctx._engine.live, "the zombie has learnt of it")
    assert lost_run.refresh().status == "running"


def test_a_commit_that_ends_after_we_looked_is_our_own(make_ctx: MakeContext, database_url: str) -> None:
    """The connection breaks, the server is still at its commit: no witness yet, then our own number is taken."""
    ctx = make_ctx(linger="60s")
    held = Held("held")
    run = held.start(ctx)
    pipeline, other = ctx._engine.writer._pipeline, ctx._engine.reader._pipeline
    post, send = pipeline.post, pipeline.send
    late: list[Any] = []

    def losing(transactions: Any, done: Any) -> None:
        if late or not any(event.kind == "step.completed" for event in ctx._engine.writer._flying[0].events):
            post(transactions, done)
            return
        late.extend(transactions)
        ctx._engine.loop.call_soon(done, None, StoreUnavailableError("lost"))

    async def looked(transactions: Any) -> Any:
        outcome = await send(*transactions)
        if transactions[0][0][0] == "witnesses" and late:
            await other.send(*late[:1])
            late[:] = [None]
            pipeline.send = send  # type: ignore[method-assign]
        return outcome

    pipeline.post = losing  # type: ignore[method-assign]
    pipeline.send = lambda *transactions: asyncio.ensure_future(looked(transactions))  # type: ignore[method-assign]
    ctx._engine.call(held.release)
    assert run.result("10s") == 1
    assert late == [None]
    assert [event.seq for event in run.events()] == [1, 2, 3]


def test_a_refused_end_is_not_taken_for_one(make_ctx: MakeContext, database_url: str) -> None:
    """The answer to a commit is lost that the fence had refused in part: nobody is told of an end that is not there."""
    ctx = make_ctx(linger="60s")
    gate: list[asyncio.Future[None]] = []

    async def ends(event: Any, step: Any) -> int:
        gate.append(asyncio.get_running_loop().create_future())
        await gate[-1]
        return 7

    workflow = declare(ends)
    one, two = ctx.start(workflow), ctx.start(workflow)
    wait_until(lambda: len(gate) == 2, "both are about to end")
    replace_owner(database_url, two.id)
    lost = lose_answer(ctx, "run.completed")
    ctx._engine.call(lambda: [future.set_result(None) for future in gate])
    assert one.result("10s") == 7
    assert lost == ["run.completed"]
    with pytest.raises(TimeoutError):
        two.result("1s")


def test_an_event_for_everybody_wakes_also_when_the_answer_is_lost(make_ctx: MakeContext, database_url: str) -> None:
    async def hears(event: Any, step: Any) -> Any:
        return await step.wait_for_event("news")

    async def tells(event: Any, step: Any) -> None:
        await step.emit("tell", "news", 3)

    ctx = make_ctx(linger="0s")
    hearer = ctx.start(declare(hears))
    wait_until(lambda: hearer.refresh().status == "waiting", "it waits")
    lost = lose_answer(ctx, "step.completed", cut=True)
    ctx.run(declare(tells), timeout="10s")
    assert lost == ["step.completed"]
    assert hearer.result("10s") == 3


def test_starting_an_id_twice_does_not_run_it_twice_when_the_answer_is_lost(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    calls: list[int] = []
    gate: list[asyncio.Future[None]] = []

    async def counts(event: Any, step: Any) -> int:
        calls.append(event.payload)
        gate.append(asyncio.get_running_loop().create_future())
        await gate[-1]
        return len(calls)

    workflow = declare(counts)
    run = ctx.start(workflow, 1)
    wait_until(lambda: gate, "it runs")
    pipeline = ctx._engine.writer._pipeline
    post, lost = pipeline.post, []

    def losing(transactions: Any, done: Any) -> None:
        if lost:
            post(transactions, done)
            return
        lost.append(True)
        post(transactions, lambda *_: done(None, StoreUnavailableError("lost")))

    pipeline.post = losing  # type: ignore[method-assign]
    again = ctx.start(workflow, 1, id=run.id)
    other = ctx.start(workflow, 2)
    assert again.id == run.id
    assert lost
    wait_until(lambda: len(gate) == 2, "the other one runs")
    assert calls == [1, 2]
    ctx._engine.call(lambda: [future.set_result(None) for future in gate])
    assert run.result("10s") == 2
    assert other.result("10s") == 2


def test_a_step_that_cannot_reach_another_database_fails_and_strands_nothing(ctx: Context) -> None:
    """Its StoreUnavailableError is the step's; the run's own database is there."""

    def elsewhere() -> None:
        df.connect("postgresql://nobody@127.0.0.1:1/nothing")

    async def reaches(event: Any, step: Any) -> None:
        await step.run("reach", elsewhere, retry=df.NO_RETRY)

    with pytest.raises(RunFailed, match="does not answer"):
        ctx.run(declare(reaches), timeout="10s").result()
    assert query(ctx.url, "select 1 from dataflows.run where status = 'running'") == []


def test_an_event_whose_sender_died_before_it_told_anybody(make_ctx: MakeContext, database_url: str) -> None:
    """It is committed, and nobody was woken: whoever looks next does that."""

    async def listener(event: Any, step: Any) -> Any:
        return await step.wait_for_event("news")

    ctx = make_ctx(linger="0s")
    run = ctx.start(declare(listener))
    wait_until(lambda: run.status == "waiting", "the run waits")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into dataflows.broadcast (id, name, payload, at) values (%s, 'news', '7', now())", (UUID(int=7),)
        )
    assert run.result("20s") == 7
    assert query(database_url, "select count(*) from dataflows.broadcast where not told") == [(0,)]
    ctx.emit("news", 8)
    wait_until(
        lambda: query(database_url, "select count(*) from dataflows.broadcast where told") == [(2,)], "it is told"
    )
