"""A database of the first schema, with runs in flight, under the library of today."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.store.migrations import Migration, migrate, migrations
from dataflows_sdk.testing import TestDatabases

from ..conftest import MakeContext, wait_until

#: what the engine issue had: the journal and its views
FIRST = 2

#: what databases out there have applied, the first 16 digits; a new migration gets a line, no line ever changes
CHECKSUMS = {
    1: "deeefaa0482e9cb9",
    2: "0d58bcea4ee007ff",
    3: "63ed124c9a6685c7",
    4: "fa4f1b04b2e08767",
    5: "80878584a98fa874",
    6: "c6974a4f19892d77",
    7: "33c876bc5fc33b05",
    8: "b020853901971366",
    9: "d331790675dc5950",
    10: "219e583736b29c15",
    11: "cc24497ef3faef7c",
    12: "490b590817bccc53",
    13: "57a0c56da4349b01",
    14: "01cfefdb37d77438",
    15: "a330f059daa4eafe",
}


def test_no_migration_is_edited() -> None:
    assert {each.number: each.checksum[:16] for each in migrations()} == CHECKSUMS


@pytest.fixture
def old(dataflows_databases: TestDatabases) -> Iterator[str]:
    url = dataflows_databases.create(empty=True)
    with psycopg.connect(url, autocommit=True) as connection:
        assert len(migrate(connection, migrations()[:FIRST])) == FIRST
    yield url
    dataflows_databases.drop(url)


def schema_of(connection: psycopg.Connection[Any]) -> list[Any]:
    """Columns, indexes and constraints, whatever their order."""
    columns = connection.execute(
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns "
        "where table_schema = 'dataflows'"
    ).fetchall()
    indexes = connection.execute("select tablename, indexdef from pg_indexes where schemaname = 'dataflows'").fetchall()
    checks = connection.execute(
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint "
        "where connamespace = 'dataflows'::regnamespace"
    ).fetchall()
    return [sorted(map(repr, columns)), sorted(map(repr, indexes)), sorted(map(repr, checks))]


def test_the_other_form_of_two_migrations_comes_to_the_same_schema(dataflows_databases: TestDatabases) -> None:
    one, other = (dataflows_databases.create(empty=True) for _ in range(2))
    files = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
    then = [Migration(int(each.name[:4]), each.stem[5:], each.read_text(encoding="utf-8")) for each in files]
    with psycopg.connect(one, autocommit=True) as first, psycopg.connect(other, autocommit=True) as second:
        migrate(first)
        assert len(migrate(second, (*migrations()[:2], *then))) == 4
        second.execute("insert into dataflows.flow (id, name, status, version, created_at, updated_at) "
                       "values (gen_random_uuid(), 'f', 'active', 1, now(), now())")  # fmt: skip
        second.execute("insert into dataflows.trigger (id, flow, node, type, config, since, created_at) "
                       "select gen_random_uuid(), id, 'n', 'trigger_schedule', '{}', '2026-01-02', now() "
                       "from dataflows.flow")  # fmt: skip
        migrate(second)
        assert schema_of(second) == schema_of(first)
        assert second.execute("select last_at::date::text from dataflows.trigger").fetchall() == [("2026-01-02",)]
        assert migrate(second) == []
    dataflows_databases.drop(one)
    dataflows_databases.drop(other)


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
