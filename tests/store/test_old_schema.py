"""A database of the first schema, with runs in flight, under the library of today."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.store.migrations import migrate, migrations
from dataflows_sdk.testing import TestDatabases

from ..conftest import MakeContext, wait_until

#: what the engine issue had: the journal and its views
FIRST = 2


@pytest.fixture
def old(dataflows_databases: TestDatabases) -> Iterator[str]:
    url = dataflows_databases.create(empty=True)
    with psycopg.connect(url, autocommit=True) as connection:
        assert len(migrate(connection, migrations()[:FIRST])) == FIRST
    yield url
    dataflows_databases.drop(url)


def insert(connection: psycopg.Connection[Any], status: str, events: list[tuple[str, str, Any]], **head: Any) -> str:
    """A run as the library of then wrote it."""
    run = str(uuid.uuid4())
    columns = {"id": run, "workflow": "old", "version": "v0", "status": status, "last_seq": len(events), **head}
    connection.execute(
        f"insert into dataflows.run ({', '.join(columns)}, created_at) "
        f"values ({', '.join(['%s'] * len(columns))}, now() - interval '1 hour')",
        list(columns.values()),
    )
    first = ("run.created", None, {"workflow": "old", "version": "v0", "status": "queued", "input": {"n": 1}})
    for seq, (kind, key, data) in enumerate([first, *events], 1):
        connection.execute(
            "insert into dataflows.event (run, seq, epoch, kind, key, data, at) values (%s, %s, 1, %s, %s, %s, now())",
            (run, seq, kind, key, json.dumps(data)),
        )
    return run


def test_runs_of_the_first_schema_come_to_their_end(old: str, make_ctx: MakeContext) -> None:
    recorded = ("step.completed", "first", {"op": "run", "name": "first", "n": 1, "took": 0.1, "value": 41})
    began = ("run.claimed", None, {"worker": str(uuid.uuid4()), "why": "queued"})
    with psycopg.connect(old, autocommit=True) as connection:
        now = connection.execute("select now()").fetchone()
        assert now is not None
        past, future = now[0] - timedelta(seconds=5), now[0] + timedelta(milliseconds=500)
        queued = insert(connection, "queued", [], wake_at=past)
        keyed = insert(connection, "queued", [], wake_at=past, idempotency_key="k", priority=7, queue="mails")
        waiting_step = ("step.waiting", "nap", {"op": "sleep", "name": "nap", "n": 2, "until": future.isoformat()})
        asleep = ("run.suspended", None, {"status": "sleeping", "until": future.isoformat(), "waiting": []})
        sleeping = insert(connection, "sleeping", [began, recorded, waiting_step, asleep], wake_at=future, epoch=1)
        waits = ("run.suspended", None, {"status": "waiting", "until": None, "waiting": []})
        event = ("step.waiting", "go", {"op": "wait", "name": "go", "n": 3, "event": "go", "until": None})
        slept = ("step.completed", "nap", {"op": "sleep", "name": "nap", "n": 2, "value": None})
        waiting = insert(connection, "waiting", [began, recorded, slept, event, waits], waits=["go"], epoch=1)
        dead = uuid.uuid4()
        connection.execute(
            "insert into dataflows.worker (id, lock_key, started_at, heartbeat_at, lease) "
            "values (%s, 7, now() - interval '1 hour', now() - interval '1 hour', interval '20 seconds')",
            (dead,),
        )
        running = insert(connection, "running", [began, recorded], owner=dead, epoch=1)
        done = insert(
            connection,
            "succeeded",
            [began, recorded, ("run.completed", None, {"value": 42})],
            epoch=1,
            finished_at=past,
            last_seq=4,
        )
    calls: list[str] = []

    async def code(event: Any, step: Any) -> int:
        value: int = await step.run("first", lambda: calls.append("first") or 41)
        await step.sleep("nap", "10ms")
        await step.wait_for_event("go", timeout="1h")
        return value + 1

    ctx = make_ctx(old)
    ctx.register(Workflow("old", code))
    assert ctx.get(done).result() == 42
    runs = [ctx.get(each) for each in (queued, keyed, sleeping, waiting, running)]
    for run in runs:
        wait_until(lambda run=run: run.status in ("waiting", "running"), "it goes on")
        run.send_event("go")
        assert run.result(timeout=20) == 42
    assert len(calls) == 2  # what was recorded did not run again
    assert ctx.start("old", {"n": 2}, idempotency_key="k").id == keyed
    again = ctx.start("old", queue="mails", priority=3, delay="10ms")
    again.send_event("go")
    assert again.result(timeout=20) == 42
