"""Tables that are told to watch: what others do with SQL of their own becomes versions, as if we had done it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.errors import TableNotFoundError, WarehouseError
from dataflows_sdk.store.database import Database
from dataflows_sdk.testing import TestDatabases
from dataflows_sdk.warehouse.desk import Warehouse

from ..conftest import MakeContext, wait_until
from .conftest import Sql

Model = dict[int, dict[str, Any]]


def history(warehouse: Warehouse, table: str, key: Any, *columns: str) -> list[Any]:
    return [
        (each.operation, each.source, *((each.row[name] for name in columns) if each.row is not None else ()))
        for each in warehouse.history(table, key)
    ]


def test_what_others_do_has_versions(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("tasks", {"code": str, "hours": Decimal, "due": date}, key="code", source="clickup")
    table.upsert(code="A", hours=1)
    warehouse.watch("tasks")
    assert warehouse.watched() == ["tasks"]
    cursor = warehouse.changes("now").cursor
    sql("update warehouse.tasks set hours = 2 where code = 'A'")
    sql("insert into warehouse.tasks (code, hours) values ('B', 5), ('C', 6)")
    sql("delete from warehouse.tasks where code = 'B'")
    table.upsert(code="A", hours=3)
    sql("update warehouse.tasks set hours = hours")  # nothing
    assert history(warehouse, "tasks", "A", "hours", "_version") == [
        ("insert", "clickup", 1, 1), ("update", "foreign", 2, 2), ("update", "clickup", 3, 3),
    ]  # fmt: skip
    assert history(warehouse, "tasks", "B", "hours") == [("insert", "foreign", 5), ("delete", None)]
    row = table.get("C")
    assert row is not None
    assert (row._source, row._external_id, row._version, row._execution_id) == ("foreign", "C", 1, None)
    changes = warehouse.changes(cursor)
    assert [(each.operation, each.source, each.changed) for each in changes][:2] == [
        ("update", "foreign", ("hours",)), ("insert", "foreign", ("id", "code", "hours")),
    ]  # fmt: skip
    assert sql("select inserted, updated, deleted from dataflows.write where source = 'foreign' order by id") == [
        (0, 1, 0), (2, 0, 0), (0, 0, 1),
    ]  # fmt: skip
    versions = warehouse.history("tasks", "A")
    assert all(one.valid_to == other.valid_from for one, other in pairwise(versions))
    before = warehouse.as_of(versions[1].valid_from).get("tasks", "A")
    assert before is not None
    assert before.hours == 2


def test_ours_is_not_taken_for_others(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    warehouse.watch("t")
    warehouse.watch("t")  # again is nothing new
    table.upsert_many({"id": id, "n": 0} for id in range(6_000))  # the first load
    table.upsert_many({"id": id, "n": id % 2} for id in range(3_000))
    table.upsert(id=1, n=7)
    table.insert(id=-1, n=0)
    table.delete(2)
    table.delete(where=[("id", "gt", 5_990)])
    table.upsert(id=2, n=1)
    assert sql("select count(*) from dataflows.write where source = 'foreign'") == [(0,)]
    assert sql("select count(*) from warehouse_past.t where _deleted") == [(10,)]


def test_no_longer(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert(id=1, n=1)
    warehouse.watch("t")
    warehouse.unwatch("t")
    warehouse.unwatch("t")
    sql("update warehouse.t set n = 2")
    assert len(table.history(1)) == 1
    assert warehouse.watched() == []
    with pytest.raises(TableNotFoundError):
        warehouse.watch("nobody")
    with pytest.raises(TableNotFoundError):
        warehouse.unwatch("nobody")


def test_a_table_that_changes_its_shape_goes_on_watching(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"key": int, "n": int}, key="key")
    warehouse.watch("t")
    sql("insert into warehouse.t (key, n) values (1, 1)")
    warehouse.table("t", {"key": Decimal, "n": float, "more": dict}, key="key")
    sql("""update warehouse.t set n = 1.5, more = '{"a": 1}'""")
    warehouse.table("t", rename={"key": 'a "quoted" key', "n": "{past}"})
    sql("""update warehouse.t set "{past}" = 2""")
    sql("alter table warehouse.t add column by_hand json")  # which cannot be compared
    sql("""update warehouse.t set by_hand = '{"b": 1}', "{past}" = 3""")
    assert [each.row and each.row["{past}"] for each in table.history(Decimal(1))] == [1, 1.5, 2, 3]
    sql("""update warehouse.t set "a ""quoted"" key" = 2""")
    assert [each.operation for each in table.history(1)] == ["insert", "update", "update", "update", "delete"]
    assert [(each.operation, each.row and each.row._external_id) for each in table.history(2)] == [("insert", "2")]


def test_names_that_have_to_be_quoted(warehouse: Warehouse, sql: Sql) -> None:
    name = "Ta\"b; drop {table} '--"
    table = warehouse.table(name, {"select": int, 'x"y': str}, key="select")
    warehouse.watch(name)
    sql(f"""insert into warehouse."{name.replace('"', '""')}" ("select", "x""y") values (1, '''); drop')""")
    sql(f"""update warehouse."{name.replace('"', '""')}" set "x""y" = 'b'""")
    assert [each.row and each.row['x"y'] for each in table.history(1)] == ["'); drop", "b"]


@pytest.mark.parametrize("key", [None, ()], ids=["own key", "no key"])
def test_every_way_of_writing(warehouse: Warehouse, sql: Sql, database_url: str, key: Any) -> None:
    columns = {"k": int, "n": int} if key is None else {"n": int}
    table = warehouse.table("t", columns, key="k" if key is None else ())
    warehouse.watch("t")
    with psycopg.connect(database_url) as connection:
        with connection.cursor().copy(
            "copy warehouse.t (n) from stdin" if key == () else "copy warehouse.t (k, n) from stdin"
        ) as copy:
            for n in range(3):
                copy.write_row((n,) if key == () else (n + 1, n))
        connection.execute("savepoint s")
        connection.execute("update warehouse.t set n = 100")
        connection.execute("rollback to savepoint s")
        connection.execute("update warehouse.t set n = n + 10 where n > 0")
        connection.execute("update warehouse.t set n = n + 10 where n > 10")
    assert [each.row and each.row.n for each in table.history(3)] == [2, 12, 22]
    assert [each.row and each.row.n for each in table.history(1)] == [0]
    if key is None:
        sql("insert into warehouse.t (k, n) values (1, 5), (9, 9) on conflict (k) do update set n = excluded.n")
        sql("insert into warehouse.t (k, n) values (1, 6) on conflict do nothing")
        assert [each.row and each.row.n for each in table.history(1)] == [0, 5]
        assert sql("select inserted, updated from dataflows.write order by id desc limit 1") == [(1, 1)]
    sql("truncate warehouse.t")
    assert table.history(1)[-1].operation == "delete"
    assert sql("select count(*) from dataflows.write where inserted + updated + deleted = 0") == [(0,)]
    for row_key in (1, 2, 3):
        versions = table.history(row_key)
        assert all(one.valid_to == other.valid_from for one, other in pairwise(versions))


def test_who_has_few_rights_needs_no_more(warehouse: Warehouse, sql: Sql, database_url: str) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    warehouse.watch("t")
    sql("drop role if exists writer_of_t")
    sql("create role writer_of_t login password 'x'")
    try:
        sql("grant usage on schema warehouse to writer_of_t")
        sql("grant select, insert, update, delete on warehouse.t to writer_of_t")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("set role writer_of_t")
            connection.execute("insert into warehouse.t (id, n) values (1, 1)")
            connection.execute("update warehouse.t set n = 2")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from dataflows.write")
        assert [each.row and each.row.n for each in table.history(1)] == [1, 2]
    finally:
        sql("drop owned by writer_of_t")
        sql("drop role writer_of_t")


def test_others_who_hold_on_to_the_table(
    warehouse: Warehouse, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows_sdk.warehouse.catalogue._PATIENCE", "50ms")
    warehouse.table("t", {"id": int})
    with database.connection() as blocker, blocker.transaction():
        blocker.execute("lock table warehouse.t in share mode")
        with pytest.raises(WarehouseError, match="cannot be watched"):
            warehouse.watch("t")
    assert warehouse.watched() == []


def test_a_run_begins_for_what_others_write(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    ctx.warehouse.table("orders", {"id": int, "amount": int})
    ctx.warehouse.watch("orders")
    flow = df.flow("f").on_record("orders", where=[("amount", "gt", 100)]).switch("s", "{{trigger.record.id}}", [1])
    ctx.flows.save(flow).activate()
    sql("insert into warehouse.orders values (1, 150), (2, 50)")
    (run,) = wait_until(lambda: ctx.runs(workflow="f"), "it begins")
    assert run.result("20s")["case"] == "1"


# --- a model ----------------------------------------------------------------------------------------------

KEYS = st.integers(0, 5)
STATEMENTS = st.one_of(
    st.tuples(st.just("insert"), KEYS, st.integers(0, 3)),
    st.tuples(st.just("update"), KEYS, st.integers(0, 3)),
    st.tuples(st.just("above"), KEYS, st.integers(0, 3)),
    st.tuples(st.just("delete"), KEYS, st.just(0)),
    st.tuples(st.just("move"), KEYS, KEYS),
    st.tuples(st.just("shift"), st.just(0), st.just(0)),
    st.tuples(st.just("truncate"), st.just(0), st.just(0)),
)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ours", "theirs", "undone"]), st.lists(STATEMENTS, max_size=4)), max_size=12
)


def _theirs(connection: Any, kind: str, key: int, value: int, rows: dict[int, int]) -> None:
    run = connection.execute
    if kind == "insert":
        run("insert into warehouse.t (k, n) values (%s, %s) on conflict (k) do update set n = excluded.n", (key, value))
        rows[key] = value
    elif kind == "update":
        run("update warehouse.t set n = %s where k = %s", (value, key))
        rows.update({key: value} if key in rows else {})
    elif kind == "above":
        run("update warehouse.t set n = %s where k >= %s", (value, key))
        rows.update({each: value for each in rows if each >= key})
    elif kind == "delete":
        run("delete from warehouse.t where k = %s", (key,))
        rows.pop(key, None)
    elif kind == "move" and key in rows and value not in rows:
        run("update warehouse.t set k = %s where k = %s", (value, key))
        rows[value] = rows.pop(key)
    elif kind == "shift":
        run("update warehouse.t set k = k + 100")
        run("update warehouse.t set k = k - 100")
    elif kind == "truncate":
        run("truncate warehouse.t")
        rows.clear()


def _ours(table: Any, kind: str, key: int, value: int, rows: dict[int, int]) -> None:
    if kind in ("insert", "update"):
        table.upsert(k=key, n=value)
        rows[key] = value
    elif kind == "above":
        table.upsert_many([{"k": each, "n": value} for each in range(key, 6)])
        rows.update(dict.fromkeys(range(key, 6), value))
    elif kind in ("delete", "move"):
        table.delete(key)
        rows.pop(key, None)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(actions=ACTIONS)
def test_the_past_is_what_a_model_says(actions: Any, dataflows_databases: TestDatabases) -> None:
    url = dataflows_databases.create()
    database = Database(url)
    try:
        warehouse = Warehouse(database)
        table = warehouse.table("t", {"k": int, "n": int}, key="k")
        warehouse.watch("t")
        rows: dict[int, int] = {}
        past: list[tuple[Any, dict[int, int]]] = []
        cursor = warehouse.changes("now").cursor
        replayed: dict[int, int] = {}
        with psycopg.connect(url, autocommit=True) as connection:
            for who, statements in actions:
                if who == "ours":
                    for statement in statements:
                        _ours(table, *statement, rows)
                else:
                    kept = dict(rows)
                    with connection.transaction(force_rollback=who == "undone"):
                        for statement in statements:
                            _theirs(connection, *statement, rows)
                    rows = kept if who == "undone" else rows
                now = connection.execute("select greatest(clock_timestamp(), max(at)) from dataflows.write").fetchone()
                past.append((now[0], dict(rows)))
        for moment, model in past:
            assert {row.k: row.n for row in warehouse.as_of(moment).find("t")} == model
        for change in warehouse.changes(cursor, limit=10_000):
            if change.row is None:
                assert change.before is not None
                del replayed[change.before.k]
            else:
                assert replayed.get(change.row.k) == (change.before.n if change.before is not None else None)
                replayed[change.row.k] = change.row.n
        assert replayed == rows
        for key in range(6):
            versions = table.history(key)
            assert all(one.valid_to == other.valid_from for one, other in pairwise(versions)), versions
            there = versions[-1].row if versions else None
            assert (there.n if there is not None else None) == rows.get(key)
    finally:
        database.close()
        dataflows_databases.drop(url)
