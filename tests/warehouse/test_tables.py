"""Tables of the warehouse in `ctx.sql`: today, their history, and as they were at another time."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DefinitionError, QueryError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.lens import Lens
from dataflows_sdk.warehouse.table_mirror import SMALL

from .conftest import Journal
from .tables import FIRST, Hand

Sql = Callable[..., Any]

TASK = {"name": "text", "hours": "numeric", "done": "boolean"}


def task(name: str, hours: Any = 1, done: bool = False) -> dict[str, Any]:
    return {"name": name, "hours": Decimal(str(hours)), "done": done}


def plain(rows: Any) -> list[Any]:
    return sorted((tuple(row) for row in rows), key=repr)


def agree(sql: Sql, hand: Hand, name: str, columns: tuple[str, ...] = ("id", *TASK)) -> None:
    """What `ctx.sql` says is what PostgreSQL says: of today, of the past, and of all that happened."""
    quoted = '"' + name.replace('"', '""') + '"'
    history = '"' + name.replace('"', '""') + '_history"'
    listed = ", ".join('"' + each.replace('"', '""') + '"' for each in columns)
    today = [tuple(str(v) if isinstance(v, UUID) else v for v in row) for row in hand.today(name)]
    assert plain(sql(f"from {quoted}").fetchall()) == plain(today)
    for hours in range(int((hand.last - FIRST) / timedelta(hours=1)) + 1):
        moment = FIRST + timedelta(hours=hours)
        assert plain(sql(f"select {listed} from {quoted}", as_of=moment).fetchall()) == plain(
            hand.as_of(name, columns, moment)
        ), moment
    more = "valid_from, valid_to, operation, ended_by, run, step, ended_run"
    found = sql(f"select {listed}, {more} from {history}").fetchall()
    assert plain(found) == plain(hand.history(name, columns))


def test_today_the_past_and_the_history(sql: Sql, hand: Hand) -> None:
    hand.create("tasks", TASK)
    assert sql("select count(*) from tasks").fetchone() == (0,)
    agree(sql, hand, "tasks")
    run = uuid4()
    one, two = hand.insert("tasks", task("one"), task("two", "2.25"), run=run, step="load")
    agree(sql, hand, "tasks")
    hand.update("tasks", {one: task("one", 3)}, run=uuid4())
    before = hand.last
    agree(sql, hand, "tasks")
    hand.delete("tasks", two)
    hand.update("tasks", {one: task("one", 4, done=True)})
    agree(sql, hand, "tasks")
    assert sql("select name, hours from warehouse.tasks").fetchall() == [("one", 4)]
    assert sql("select sum(t.hours) from Tasks t join dataflows.warehouse.tasks using (id)").fetchone() == (4,)
    assert sql("select name, hours from warehouse.tasks order by 1", as_of=before).fetchall() == [
        ("one", 3),
        ("two", Decimal("2.25")),
    ]
    assert sql(
        "select operation, ended_by, run, step, valid_to is null from tasks_history where name = 'two'"
    ).fetchall() == [("insert", "delete", str(run), "load", False)]
    assert sql(
        "select operation, ended_by, valid_to from tasks_history where id = ? order by valid_from", one, as_of=before
    ).fetchall() == [("insert", "update", before), ("update", None, None)]
    assert sql("select count(*) from tasks, tasks_history", as_of=FIRST).fetchone() == (0,)


def test_with_runs_and_frames_in_one_question(sql: Sql, hand: Hand, journal: Journal) -> None:
    hand.create("tasks", TASK)
    run = journal.create(workflow="sync")
    hand.insert("tasks", task("one"), run=run)
    extra = pd.DataFrame({"name": ["one"], "team": ["red"]})  # noqa: F841
    tasks = pd.DataFrame({"name": ["mine"]})  # noqa: F841 - the warehouse's comes first
    assert sql(
        "select r.workflow, t.name, e.team from tasks t join runs r on r.id = t._execution_id join extra e using (name)"
    ).fetchall() == [("sync", "one", "red")]


step = st.one_of(
    st.tuples(st.just("insert"), st.integers(1, 3)),
    st.tuples(st.just("update"), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("hand"), st.integers(0, 9)),
    st.tuples(st.just("column"), st.just(0)),
    st.tuples(st.just("again"), st.just(0)),
    st.tuples(st.just("ask"), st.sampled_from(["today", "history", "past", "all"])),
)


@given(steps=st.lists(step, max_size=14), small=st.booleans())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_after_any_writes_the_mirrors_are_as_the_tables(
    steps: list[tuple[str, Any]],
    small: bool,
    sql: Sql,
    hand: Hand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dataflows_sdk.warehouse.table_mirror.SMALL", SMALL if small else -1)
    with contextlib.suppress(psycopg.errors.UndefinedTable):
        hand.drop("tasks")
    hand.create("tasks", TASK)
    ids: list[int] = []
    columns, shape = ["id", *TASK], 1
    for n, (what, detail) in enumerate(steps):
        if what == "insert":
            ids += hand.insert("tasks", *(task(f"{n} {each}", f"{n}.{n}") for each in range(detail)))
        elif what == "update" and ids:
            hand.update(
                "tasks", {each: task(f"{n}", "NaN" if n == 9 else f"{n}.5") for each in {*ids[detail:], ids[0]}}
            )
        elif what == "delete" and ids:
            hand.delete("tasks", ids.pop(detail % len(ids)))
        elif what == "hand" and ids and small:
            kind = ("update warehouse.tasks set name = 'x' where id = %s", "delete from warehouse.tasks where id = %s")
            hand.run(kind[detail % 2], ids[0] if detail % 2 == 0 else ids.pop())
        elif what == "column":
            shape += 1
            columns.append(f"c{n}")
            with hand.connection.transaction():
                for schema in ("warehouse", "warehouse_past"):
                    hand.run("alter table {schema}.tasks add column {c} text default 'd'", schema=schema, c=f"c{n}")
                hand.run("update dataflows.warehouse_table set version = %s where name = 'tasks'", shape)
        elif what == "again":
            hand.drop("tasks")
            hand.create("tasks", TASK)
            ids, columns, shape = [], ["id", *TASK], 1
        elif what == "ask":
            if detail in ("today", "all"):
                sql("from tasks").fetchall()
            if detail in ("history", "all"):
                sql("from tasks_history").fetchall()
            if detail in ("past", "all"):
                sql("from tasks", as_of=FIRST).fetchall()
    today = hand.run("select array_agg(id order by id), array_agg(hours::text order by id) from warehouse.tasks")[0]
    found = sql("select list(id order by id), list(hours::varchar order by id) from tasks").fetchone()
    assert found[0] == today[0]
    assert [_number(value) for value in found[1] or ()] == [_number(value) for value in today[1] or ()]
    agree_without(sql, hand, tuple(each for each in columns if each != "hours"))  # a NaN is not itself


def _number(text: str) -> Any:
    return "nan" if text.lower() == "nan" else Decimal(text)


def agree_without(sql: Sql, hand: Hand, columns: tuple[str, ...]) -> None:
    listed = ", ".join(columns)
    today = hand.run(f"select {listed} from warehouse.tasks")
    assert plain(sql(f"select {listed} from tasks").fetchall()) == plain(today)
    for hours in range(int((hand.last - FIRST) / timedelta(hours=1)) + 1):
        moment = FIRST + timedelta(hours=hours)
        there = hand.as_of("tasks", columns, moment)
        assert plain(sql(f"select {listed} from tasks", as_of=moment).fetchall()) == plain(there)
    more = "valid_from, valid_to, operation, ended_by, run, step, ended_run"
    assert plain(sql(f"select {listed}, {more} from tasks_history").fetchall()) == plain(hand.history("tasks", columns))


def test_only_what_changed_is_read(sql: Sql, hand: Hand, lens: Lens, journal: Journal, monkeypatch: Any) -> None:
    monkeypatch.setattr("dataflows_sdk.warehouse.table_mirror.SMALL", -1)  # a large table
    hand.create("tasks", TASK)
    hand.create("others", TASK)
    ids = hand.insert("tasks", *(task(f"{n}") for n in range(100)))
    hand.insert("others", task("never asked for"))
    sql("from tasks")
    assert lens._mirrors.rows_read == 100
    sql("from tasks")
    hand.insert("others", task("nobody cares"))
    sql("from tasks")
    assert lens._mirrors.rows_read == 100
    hand.update("tasks", {ids[0]: task("new"), ids[1]: task("new")})
    sql("from tasks")
    assert lens._mirrors.rows_read == 104  # two new versions, and which two they replaced
    hand.run("update warehouse.tasks set name = 'by hand' where id = %s", ids[2])
    assert sql("select count(*) from tasks where name = 'by hand'").fetchone() == (0,)
    assert sql("select count(*) from tasks where name = 'by hand'", anew=True).fetchone() == (1,)
    hand.run("truncate warehouse.tasks")
    assert sql("select count(*) from tasks").fetchone() == (0,)


def test_changes_by_hand_of_a_small_table_are_seen(sql: Sql, hand: Hand) -> None:
    hand.create("tasks", TASK)
    one, two, _ = hand.insert("tasks", task("one"), task("two"), task("three"))
    agree(sql, hand, "tasks")
    with hand.connection.transaction(), hand.connection.transaction():  # a savepoint has an id of its own
        hand.run("update warehouse.tasks set name = 'other' where id = %s", one)
    agree(sql, hand, "tasks")
    hand.run("delete from warehouse.tasks where id = %s", two)
    agree(sql, hand, "tasks")
    hand.run("insert into warehouse.tasks (name) values ('bare')")
    assert sql("select count(*) from tasks").fetchone() == (3,)


def test_a_write_that_commits_late_is_not_missed(sql: Sql, hand: Hand, database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("dataflows_sdk.warehouse.table_mirror.SMALL", -1)
    hand.create("tasks", TASK)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        late = Hand(connection)
        with connection.transaction():
            late.insert("tasks", task("late"))
            for n in range(3):
                hand.insert("tasks", task(f"{n}"))
                agree(sql, hand, "tasks")
        agree(sql, hand, "tasks")
    assert sql("select count(*) from tasks where name = 'late'").fetchone() == (1,)


def test_tables_that_change_their_shape_while_somebody_asks(sql: Sql, hand: Hand, database_url: str) -> None:
    hand.create("tasks", TASK)
    hand.insert("tasks", *(task(f"{n}") for n in range(50)))
    ended = threading.Event()
    wrong: list[Any] = []

    def ask() -> None:
        while not ended.is_set():
            try:
                count = sql("select count(*) from tasks").fetchone()
            except QueryError as error:
                if "does not exist" not in str(error):
                    wrong.append(error)
                continue
            if count not in ((0,), (50,)):
                wrong.append(count)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(15):
            for schema in ("warehouse", "warehouse_past"):
                hand.run("alter table {schema}.tasks alter column name type varchar(40)", schema=schema)
                hand.run("alter table {schema}.tasks alter column name type text", schema=schema)
                hand.run("alter table {schema}.tasks add column extra int default 7", schema=schema)
                hand.run("alter table {schema}.tasks drop column extra", schema=schema)
        hand.drop("tasks")
        hand.create("tasks", TASK)
    finally:
        ended.set()
        asking.join()
    assert wrong == []
    hand.insert("tasks", task("after"))
    agree(sql, hand, "tasks")
    hand.drop("tasks")
    with pytest.raises(QueryError, match="tasks"):
        sql("from tasks")
    with pytest.raises(QueryError, match="tasks"):
        sql("from tasks", as_of=FIRST)


# --- values -------------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[str, list[Any]]] = {
    "n": ("bigint", [0, 2**63 - 1, -(2**63)]),
    "dec": ("numeric", [Decimal("12345678901234567890123456789.012345678"), Decimal("-0.1"), Decimal(10)]),
    "dbl": ("double precision", [math.inf, -math.inf, 0.1]),
    "yes": ("boolean", [True, False, True]),
    "txt": ("text", ['a "q", \n\r\n\t\\N', "", "🎉 é NULL"]),
    "day": ("date", [date(1, 1, 1), date(9999, 12, 31), date(2026, 2, 28)]),
    "hour": ("time", [time(23, 59, 59, 999999), time(0), time(12)]),
    "stamp": ("timestamp", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(2026, 1, 1)]),
    "zoned": ("timestamptz", [datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC), FIRST]),
    "span": ("interval", [timedelta(days=3, microseconds=-5), timedelta(days=-400), timedelta(hours=999)]),
    "uid": ("uuid", [UUID(int=0), UUID(int=2**128 - 1), UUID(int=7)]),
    "raw": ("bytea", [b"\x00\xff\\x", b"", b"'\""]),
}


def test_every_type_comes_back_right(sql: Sql, hand: Hand) -> None:
    hand.create("kinds", {name: kind for name, (kind, _) in VALUES.items()} | {"doc": "jsonb"})
    docs = ['{"a": [1, 2.50, null, "é"]}', "null", '"text"']
    rows = [{name: values[n] for name, (_, values) in VALUES.items()} | {"doc": docs[n]} for n in range(3)]
    ids = hand.insert("kinds", *rows)
    empty = hand.insert("kinds", {})[0]
    found = {row["id"]: row for row in sql("from kinds").dicts()}
    for id_, row in zip(ids, rows, strict=True):
        for name, value in row.items():
            if name == "doc":
                assert json.loads(found[id_]["doc"]) == json.loads(value)
            else:
                assert found[id_][name] == value, name
                assert type(found[id_][name]) is type(value), name
    assert {found[empty][name] for name in (*VALUES, "doc")} == {None}
    kinds = {row[0]: row[1] for row in sql("describe kinds").fetchall()}
    assert kinds["doc"] == "JSON"
    assert kinds["dec"] == "DECIMAL(38,9)"


def test_values_at_the_edges(sql: Sql, hand: Hand) -> None:
    hand.create("edges", {"a": "date", "b": "timestamp", "c": "timestamptz", "d": "interval", "e": "time"})
    hand.run(
        "insert into warehouse.edges (a, b, c, d, e) values ('0044-03-15 BC', '0044-03-15 01:02:03 BC',"
        " '0044-03-15 01:02:03+00 BC', '1 mon -1 days +02:00:00', '24:00')"
    )
    hand.run("insert into warehouse.edges (a, b, c, d) values ('infinity', '-infinity', 'infinity', '-1 year -1 us')")
    assert sql(
        "select a::varchar, b::varchar, c::varchar, d::varchar, e::varchar from edges order by id"
    ).fetchall() == [
        (
            "0044-03-15 (BC)",
            "0044-03-15 (BC) 01:02:03",
            "0044-03-15 (BC) 01:02:03+00",
            "1 month -1 day 02:00:00",
            "24:00:00",
        ),
        ("infinity", "-infinity", "infinity", "-1 year -00:00:00.000001", None),
    ]
    hand.run("insert into warehouse.edges (b) values ('294270-01-01')")
    with pytest.raises(QueryError, match="table 'edges' has a value that DuckDB has no room for"):
        sql("from edges")
    hand.run("delete from warehouse.edges where b > '9999-01-01' and b < 'infinity'")
    assert sql("select count(*) from edges").fetchone() == (2,)


def test_decimals_take_the_type_that_loses_nothing(sql: Sql, hand: Hand) -> None:
    hand.create("money", {"v": "numeric"})

    def kind() -> str:
        found: str = sql("select any_value(typeof(v)) from money").fetchone()[0]
        return found

    for values, expected in [
        (["1", "20"], "DECIMAL(18,0)"),
        (["0.25", "-1234567890123456.5"], "DECIMAL(18,2)"),
        (["12345678901234567.25"], "DECIMAL(38,2)"),
        (["0.000000000000000000001"], "DECIMAL(38,21)"),
        (["123456789012345678901234567890"], "DOUBLE"),
        (["NaN", "Infinity"], "DOUBLE"),
        (["1e400"], "VARCHAR"),
    ]:
        hand.insert("money", *({"v": Decimal(value)} for value in values))
        assert kind() == expected
        if expected.startswith("DECIMAL"):
            there = hand.run("select sum(v) from warehouse.money")[0][0]
            assert sql("select sum(v) from money").fetchone()[0] == there
    database = Database(hand.connection.info.dsn + f" password={hand.connection.info.password}")
    fresh = Lens(database)
    try:
        texts = {row[0] for row in fresh.sql("select v from money", (), []).fetchall()}
        assert {"NaN", "0.000000000000000000001", "1" + "0" * 400} <= texts
    finally:
        fresh.close()
        database.close()
    assert {row[0] for row in sql("select v from money").fetchall()} == texts


@pytest.mark.parametrize("name", ["select", "Tasks 2", 'a"b', "🎉", "$table", "x" * 55, "answer", "staged", "runs2"])
def test_names_are_the_users(name: str, sql: Sql, hand: Hand) -> None:
    columns = {'"; drop table x': "text", "select": "numeric", "$columns": "int", "é🎉": "interval", "rowid": "text"}
    hand.create(name, columns)
    hand.create("other", TASK)
    row = {'"; drop table x': "a", "select": Decimal("1.5"), "$columns": 3, "é🎉": timedelta(1), "rowid": "r"}
    (one,) = hand.insert(name, row)
    hand.update(name, {one: {**row, "select": Decimal("1.25")}})
    agree(sql, hand, name, ("id", *columns))
    hand.update(name, {one: {**row, "$columns": 4}})
    agree(sql, hand, name, ("id", *columns))


# --- what is refused ----------------------------------------------------------------------------------------


REFUSED = [
    "drop table tasks",
    "delete from tasks",
    "insert into warehouse.tasks (name) values ('x')",
    "update tasks set name = 'x'",
    "truncate tasks",
    "alter table tasks drop column name",
    "drop view tasks_history",
    "create or replace table warehouse.tasks as select 1 as n",
    "drop schema dataflows.warehouse cascade",
    "create table dataflows.warehouse.more (n int)",
    "create table dataflows_past.warehouse.more (n int)",
]


@pytest.mark.parametrize("past", [False, True])
def test_mirrors_are_only_read(past: bool, sql: Sql, hand: Hand) -> None:
    hand.create("tasks", TASK)
    hand.insert("tasks", task("one"))
    sql("from tasks_history")
    sql("from tasks_history", as_of=hand.last)
    for query in REFUSED:
        with pytest.raises(QueryError, match=r"can only be read|no schemas|as_of is for questions|as_of turns back"):
            sql(query, as_of=hand.last if past else None)
        agree(sql, hand, "tasks")


def test_names_that_are_taken(sql: Sql, hand: Hand) -> None:
    sql("create table mine as select 1 as n")
    hand.create("tasks", TASK)
    hand.insert("tasks", task("one"))
    for query in ("create table tasks as select 1 as n", "create view TASKS as select 1 as n"):
        with pytest.raises(QueryError, match="table of the warehouse"):
            sql(query)
    for query in ("create schema warehouse", "attach ':memory:' as warehouse", "attach ':memory:' as dataflows_past"):
        with pytest.raises(QueryError, match=r"schemas|stands for tables of PostgreSQL"):
            sql(query)
    hand.create("mine", TASK)  # made here before it was there
    assert sql("from mine").fetchall() == [(1,)]
    assert sql("from warehouse.mine").fetchall() == []
    sql("create view v as select count(*) as n from tasks")
    assert sql("from v").fetchone() == (1,)
    assert sql("from v", as_of=FIRST).fetchone() == (0,)
    sql("create table earlier as from tasks", as_of=FIRST)
    assert sql("select count(*) from earlier").fetchone() == (0,)


def test_as_of_what_has_no_past(sql: Sql, hand: Hand) -> None:
    hand.create("tasks", TASK)
    hand.insert("tasks", task("one"))
    with pytest.raises(QueryError, match="future"):
        sql("from tasks", as_of=datetime.now(UTC) + timedelta(days=900))
    assert sql("select count(*) from tasks", as_of=datetime(1, 1, 1, tzinfo=UTC)).fetchone() == (0,)
    for query in ("from dataflows.runs, tasks", "from dataflows.warehouse.tasks"):
        with pytest.raises(QueryError, match="as_of turns back tables by their bare names"):
            sql(query, as_of=FIRST)
    with pytest.raises(QueryError, match="as_of turns back"):
        sql("create table x as from dataflows.runs", as_of=FIRST)
    with pytest.raises(QueryError, match="no time of its own"):
        sql("create view x as from tasks", as_of=FIRST)
    frame = pd.DataFrame({"n": [1]})  # noqa: F841
    assert sql("select n, (select count(*) from tasks) from frame", as_of=FIRST).fetchall() == [(1, 0)]


def test_a_table_without_its_past_says_so(sql: Sql, hand: Hand) -> None:
    hand.create("tasks", TASK)
    hand.insert("tasks", task("one"))
    hand.run("drop table warehouse_past.tasks")
    with pytest.raises(Exception, match="warehouse_past"):
        sql("from tasks_history")
    hand.create("bare", TASK)
    hand.run("alter table warehouse.bare drop column _write")
    with pytest.raises(QueryError, match="lacks _write"):
        sql("from bare")


# --- a context ----------------------------------------------------------------------------------------------


def test_every_way_to_say_when(ctx: Context) -> None:
    @df.workflow("hours")
    async def hours(event: Any, step: Any) -> Any:
        await step.run("write", lambda: tasks.upsert(key="T-1", hours=event.payload) and None)

    tasks = ctx.warehouse.table("tasks", {"key": str, "hours": float}, key="key")
    one = ctx.start(hours, 1.0)
    one.result()
    between = ctx.sql("select max(_synced_at) from tasks").fetchone()[0]
    ctx.start(hours, 2.0).result()
    query = "select hours, _execution_id from tasks"
    assert ctx.sql(query).fetchone()[0] == 2.0
    for as_of in (one, between, between.isoformat()):
        assert ctx.sql(query, as_of=as_of).dicts() == [{"hours": 1.0, "_execution_id": one.id}], as_of
    for empty in ("2d", "2020-01-01", date(2020, 1, 1), timedelta(days=1)):
        assert ctx.sql(query, as_of=empty).fetchall() == [], empty
    assert ctx.sql("select workflow from runs r join tasks t on t._execution_id = r.id").fetchone() == ("hours",)

    @df.workflow("open")
    async def open_(event: Any, step: Any) -> Any:
        await step.sleep("long", "1h")

    with pytest.raises(QueryError, match="as_of a run is when it ended"):
        ctx.sql(query, as_of=ctx.start(open_))
    with pytest.raises(DefinitionError):
        ctx.sql(query, as_of="yesteryear")


def test_by_a_virtual_clock(dataflows_ctx: Context, dataflows_clock: Any) -> None:
    tasks = dataflows_ctx.warehouse.table("tasks", {"key": str, "hours": float}, key="key")
    tasks.upsert(key="T-1", hours=1.0)
    begun = dataflows_clock.now()

    @df.workflow("month")
    async def month(event: Any, step: Any) -> Any:
        await step.sleep("wait", "30d")

    dataflows_ctx.start(month).result()
    tasks.upsert(key="T-1", hours=2.0)
    ask = "select hours from tasks"
    assert dataflows_ctx.sql(ask, as_of=dataflows_clock.now()).fetchone() == (2.0,)
    assert dataflows_ctx.sql(ask, as_of="10d").fetchone() == (1.0,)
    assert dataflows_ctx.sql(ask, as_of=begun + timedelta(days=1)).fetchone() == (1.0,)
    with pytest.raises(QueryError, match="future"):
        dataflows_ctx.sql(ask, as_of=begun + timedelta(days=60))
