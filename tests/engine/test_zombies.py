"""What an owner may still do that was replaced without knowing it: nothing, to whatever table."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest

from dataflows_sdk.context import Context

from ..conftest import MakeContext, wait_until
from .workflows import declare


def replace_owner(url: str, run: str) -> None:
    """As a claim by another process: from here on the owner is a zombie. Nobody goes on with the run yet."""
    while True:
        try:
            _replace_owner(url, run)
        except psycopg.errors.UniqueViolation:  # the owner wrote an event in the same moment
            continue
        return


def _replace_owner(url: str, run: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "with head as (update dataflows.run set epoch = epoch + 1, owner = gen_random_uuid() where id = %s"
            " returning id, epoch)"
            " insert into dataflows.event (run, seq, epoch, kind, data, at)"
            " select id, (select max(seq) + 1 from dataflows.event e where e.run = id), epoch, 'run.claimed',"
            ' \'{"why": "lost"}\', now() from head',
            (run,),
        )


def query(url: str, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text, parameters).fetchall()


def forgotten(ctx: Context, run: Any) -> None:
    wait_until(lambda: UUID(run.id) not in ctx._engine.live, "the zombie has learnt of it")


def test_a_zombie_takes_no_event(make_ctx: MakeContext, database_url: str) -> None:
    """The event belongs to the run: taken by the zombie, whose record is refused, it would be lost."""
    gate = asyncio.Event()

    async def listens(event: Any, step: Any) -> Any:
        async def work(step: Any) -> None:
            await step.run("work", gate.wait)  # keeps the run in memory

        async def listen(step: Any) -> Any:
            return await step.wait_for_event("go")

        return await step.parallel("both", {"work": work, "listen": listen})

    ctx = make_ctx(lease="60s")
    run = ctx.start(declare(listens))
    wait_until(lambda: any(e.kind == "step.waiting" for e in run.events()), "it listens")
    replace_owner(database_url, run.id)
    ctx.send_event(run, "go", 7)
    forgotten(ctx, run)
    assert query(database_url, "select consumed from dataflows.message where run = %s", run.id) == [(None,)]


def test_a_zombie_takes_no_cancel(make_ctx: MakeContext, database_url: str) -> None:
    async def sleeps(event: Any, step: Any) -> None:
        await step.sleep("long", "500ms")

    ctx = make_ctx(linger="60s")
    run = ctx.start(declare(sleeps))
    wait_until(lambda: any(e.kind == "step.waiting" for e in run.events()), "it sleeps")
    replace_owner(database_url, run.id)
    ctx.cancel(run)
    forgotten(ctx, run)
    assert query(database_url, "select consumed from dataflows.message where run = %s", run.id) == [(None,)]


@pytest.mark.parametrize("verb", ["send_event", "emit"])
def test_a_zombie_tells_nobody_anything(verb: str, make_ctx: MakeContext, database_url: str) -> None:
    held: asyncio.Future[None] | None = None

    async def tells(event: Any, step: Any) -> None:
        nonlocal held
        held = asyncio.get_running_loop().create_future()
        await held
        if verb == "emit":
            await step.emit("tell", "news", 1)
        else:
            await step.send_event("tell", event.payload["to"], "news", 1)

    async def hears(event: Any, step: Any) -> Any:
        return await step.wait_for_event("news")

    ctx = make_ctx(linger="60s")
    hearer = ctx.start(declare(hears))
    teller = ctx.start(declare(tells), {"to": hearer.id})
    wait_until(lambda: held is not None, "it is about to tell")
    replace_owner(database_url, teller.id)
    assert held is not None
    ctx._engine.call(held.set_result, None)
    forgotten(ctx, teller)
    assert query(database_url, "select * from dataflows.message where kind = 'event'") == []
    assert query(database_url, "select * from dataflows.broadcast") == []


def test_the_end_that_a_zombie_saw_does_not_reach_the_parent(make_ctx: MakeContext, database_url: str) -> None:
    """The child goes on elsewhere; told of an end that is not in the journal, the parent would look for it in vain."""
    held: asyncio.Future[None] | None = None

    async def child(event: Any, step: Any) -> int:
        nonlocal held
        held = asyncio.get_running_loop().create_future()
        await held
        return 7

    kid = declare(child)

    async def parent(event: Any, step: Any) -> Any:
        return await step.invoke("child", kid)

    ctx = make_ctx(linger="60s")
    run = ctx.start(declare(parent))
    wait_until(lambda: held is not None, "the child is about to end")
    ((child_id,),) = query(database_url, "select id::text from dataflows.run where parent = %s", run.id)
    replace_owner(database_url, child_id)
    assert held is not None
    ctx._engine.call(held.set_result, None)
    forgotten(ctx, ctx.get(child_id))
    assert query(database_url, "select * from dataflows.message where run = %s", run.id) == []
    assert run.refresh().status == "running"
