"""Hundreds of thousands of waiting runs cost a claim what a thousand do: the plans say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.store.database import ENGINE_SETTINGS
from dataflows_sdk.store.sqlfiles import statement

FEW, MANY = 1_000, 300_000
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name, value in ENGINE_SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (name, value))
        connection.execute("set work_mem = '64MB'")
        connection.execute("set maintenance_work_mem = '256MB'")
        yield connection


def fill(connection: Connection, count: int, queue: str, key: str, status: str = "'queued'") -> None:
    """Rows as starts make them; *key* and *status* are SQL of the number n."""
    epoch = 0 if status == "'queued'" else 1
    indexes = connection.execute(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
        "where indrelid = 'dataflows.run'::regclass and not indisprimary"
    ).fetchall()
    for name, _ in indexes:  # made anew afterwards, which is much quicker than row by row
        connection.execute(f"drop index {name}")
    connection.execute(
        f"""insert into dataflows.run
                (id, workflow, version, status, epoch, wake_at, rank, last_seq, queue, key, created_at)
            select ('0190' || lpad(to_hex({count} + n), 28, '0'))::uuid, 'w' || n % 3, 'v', {status}, {epoch},
                   now() + (n - 1000) * interval '1 millisecond', now() - (n % 1000) * interval '1 minute', 1,
                   '{queue}', {key}, now()
            from generate_series(1, {count}) n"""
    )
    for _, definition in indexes:
        connection.execute(definition)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def cost(connection: Connection, name: str, *parameters: Any) -> tuple[int, set[str], int]:
    """Pages touched by a statement, the indexes of its scans, and how many rows it gave; nothing of it stays."""
    text = statement("claim", name)
    types = {
        "claim_due": "timestamptz, uuid, text[], int, text[], text[], text[], text[]",
        "look": "timestamptz, uuid, text[], text[]",
    }
    types["claim_limited"] = types["claim_due"] + ", text[], text[]"
    connection.execute("deallocate all")
    connection.execute(f"prepare asked ({types[name]}) as {text}")
    given = ", ".join(["%s"] * len(parameters))
    with connection.transaction(force_rollback=True):
        plain = psycopg.ClientCursor(connection)
        row = plain.execute(f"explain (analyze, buffers, format json) execute asked ({given})", parameters).fetchone()
    assert row is not None
    found = row[0] if isinstance(row[0], list) else json.loads(row[0])
    plan = found[0]["Plan"]
    scans = [node for node in nodes(plan) if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
    on_runs = [node for node in scans if node.get("Relation Name") == "run"]
    assert not on_runs, f"{name} reads the table of runs: {on_runs}"
    indexes = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], indexes, int(plan["Actual Rows"])


@pytest.mark.slow
def test_a_claim_from_many_queued_runs(connection: Connection) -> None:
    worker, known = new_uuid(), ["w0", "w1", "elsewhere"]
    claim = (None, worker, known, 100, None, [], [], [])
    fill(connection, FEW, "default", "null")
    connection.execute("analyze dataflows.run")
    few, _, rows = cost(connection, "claim_due", *claim)
    assert rows == 100
    few_look, *_ = cost(connection, "look", None, worker, known, None)
    fill(connection, MANY, "default", "null")
    many, indexes, rows = cost(connection, "claim_due", *claim)
    assert rows == 100
    assert "run_queued" in indexes
    assert many < 2 * few, f"{few} pages for {FEW:,} runs, {many} for {MANY:,}"
    many_look, *_ = cost(connection, "look", None, worker, known, None)
    assert many_look < 2 * few_look + 200
    # the same from those that sleep
    connection.execute("delete from dataflows.run")
    connection.execute("vacuum dataflows.run")
    fill(connection, 300_000, "default", "null", "case n % 2 when 0 then 'sleeping' else 'waiting' end")
    many, indexes, rows = cost(connection, "claim_due", *claim)
    assert rows == 100
    assert "run_timer" in indexes
    assert many < 2 * few + 200


@pytest.mark.slow
@pytest.mark.parametrize("key", ["'one'", "'k' || n % 50", "'k' || n"], ids=["one key", "fifty keys", "a key each"])
def test_a_claim_from_a_limited_queue(connection: Connection, key: str) -> None:
    worker, known = new_uuid(), ["w0", "w1", "elsewhere"]
    connection.execute(
        "insert into dataflows.queue (name, concurrency, per_key, rate, period) values ('q', 40, 2, 1000, '1 minute')"
    )
    claim = (None, worker, known, 100, None, [], [], [], [], [])
    fill(connection, FEW, "q", key)
    connection.execute("analyze dataflows.run")
    few, _, first = cost(connection, "claim_limited", *claim)
    fill(connection, 250_000, "q", key)
    many, indexes, rows = cost(connection, "claim_limited", *claim)
    assert first == rows == (2 if key == "'one'" else 40)
    assert "run_lane" in indexes
    assert many < 3 * few + 100, f"{few} pages for {FEW:,} runs, {many} for 250,000"
