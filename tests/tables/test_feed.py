"""The feed of changes: each write once, as soon as it is committed, whatever else goes on and however it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import DefinitionError, InvalidDurationError
from dataflows_sdk.store.database import Database
from dataflows_sdk.testing import TestDatabases
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.feed import Cursor
from dataflows_sdk.warehouse.reading import RowChange

from .conftest import Sql, everything

#: a write of somebody who uses the library, in a transaction that we end ourselves
WRITE = """
with w as (insert into dataflows.write (name, at, inserted) values ('t', clock_timestamp(), 1) returning id)
insert into warehouse.t (id, n, _synced_at, _version, _write) select %s, 1, clock_timestamp(), 1, id from w
"""


def told(change: RowChange) -> tuple[str, str, int]:
    some = change.row or change.before
    assert some is not None
    return change.table, change.operation, some.id


def test_every_change_is_told_in_order_and_it_goes_on_where_it_was(warehouse: Warehouse) -> None:
    one = warehouse.table("one", {"id": int, "n": int})
    two = warehouse.table("two", {"id": int, "n": int})
    one.upsert_many({"id": id, "n": 0} for id in range(7))
    two.upsert(id=1, n=1)
    one.upsert_many({"id": id, "n": id % 2} for id in range(7))
    one.delete(where=[("id", "gt", 4)])
    expected = [
        *(("one", "insert", id) for id in range(7)),
        ("two", "insert", 1),
        *(("one", "update", id) for id in (1, 3, 5)),
        *(("one", "delete", id) for id in (5, 6)),
    ]
    for limit in (1, 2, 3, 5, 1_000):
        assert [told(change) for change in everything(warehouse, limit=limit)] == expected, limit
    assert [told(change) for change in everything(warehouse, table="two", limit=1)] == [("two", "insert", 1)]
    third = warehouse.changes(limit=10)
    update = third[8]
    assert update.row is not None
    assert update.before is not None
    assert (update.before.n, update.row.n, update.changed) == (0, 1, ("n",))


def test_from_now_and_from_a_moment_on(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert_many({"id": id, "n": 0} for id in range(3))
    cursor = warehouse.changes("now").cursor
    assert warehouse.changes(cursor) == []
    table.upsert(id=1, n=2)
    assert [told(change) for change in warehouse.changes(cursor)] == [("t", "update", 1)]
    assert len(list(everything(warehouse, "1h", limit=1))) == 4
    assert warehouse.changes("0s") == []
    [update] = warehouse.changes(cursor)
    assert [told(change) for change in everything(warehouse, update.at)] == [("t", "update", 1)]
    # whoever began at a moment goes on with what comes, also in between two pages
    changes = warehouse.changes("1h", limit=2)
    table.upsert(id=7, n=7)
    assert [told(change)[1:] for change in everything(warehouse, changes.cursor, limit=1)] == [
        ("insert", 2), ("update", 1), ("insert", 7),
    ]  # fmt: skip


def test_what_commits_late_is_not_passed_over_and_holds_nobody_up(warehouse: Warehouse, database_url: str) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    cursor = warehouse.changes("now").cursor
    heard: list[int] = []

    def hear() -> int:
        nonlocal cursor
        changes = warehouse.changes(cursor, limit=3)
        heard.extend(change.row.id for change in changes if change.row is not None)
        cursor = changes.cursor
        return len(heard)

    with psycopg.connect(database_url) as slow:
        slow.execute(WRITE, [99])
        for id in range(5):
            table.upsert(id=id, n=1)
            hear()
        assert heard == [0, 1, 2, 3, 4]
        slow.commit()
    hear()
    assert heard == [0, 1, 2, 3, 4, 99]
    hear()
    assert len(heard) == 6


def test_a_transaction_in_another_database_holds_nobody_up(
    warehouse: Warehouse, dataflows_databases: TestDatabases
) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    elsewhere = dataflows_databases.create(empty=True)
    try:
        with psycopg.connect(elsewhere) as other:
            other.execute("create table anything ()")
            table.upsert(id=1, n=1)
            assert [told(change) for change in warehouse.changes()] == [("t", "insert", 1)]
    finally:
        dataflows_databases.drop(elsewhere)


@pytest.mark.parametrize(
    "wrong",
    [
        "soon", "1.2", "-1.2.3", "2024-13-01", "", "1..2", "²/0/0/0", "5:4:/0/0/0", "4:9:7,7/0/0/0", "4:9:9/0/0/0",
        "0:4:/0/0/0", "4:9:/0/0", "4:9:/0/0/0/", "4:9:/-1/0/0", "4:9:/0/0/0//1/0//0", "4:9:/0/0/0/5:9:/1/0/soon/0",
        f"4:{2**70}:/0/0/0", "4:9:/0/0/0'; drop table dataflows.write; --", "4:9",
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(warehouse: Warehouse, wrong: str) -> None:
    assert Cursor.parse(wrong) is None
    with pytest.raises((DefinitionError, InvalidDurationError)):
        warehouse.changes(wrong)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1"])
def test_a_wrong_limit_is_refused(warehouse: Warehouse, limit: Any) -> None:
    with pytest.raises(DefinitionError, match="limit is a whole number from 1 on"):
        warehouse.changes(limit=limit)


def test_a_cursor_is_read_as_it_was_written(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert_many({"id": id, "n": 0} for id in range(5))
    for since, limit in ((None, 2), (None, 9), ("1h", 2), ("now", 2)):
        text = warehouse.changes(since, limit=limit).cursor
        cursor = Cursor.parse(text)
        assert cursor is not None
        assert str(cursor) == text


def test_cursors_of_before_snapshots_are_still_taken(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert(id=1, n=1)
    [(xid, write)] = sql("select xid::text, id from dataflows.write")
    table.upsert(id=2, n=1)
    # of a transaction that was told in part nothing is left out; some of it may be told again
    assert [told(change)[2] for change in warehouse.changes(f"{xid}.{write}.0")] == [1, 2]
    assert [told(change)[2] for change in warehouse.changes("0.0.0")] == [1, 2]
    assert [told(change)[2] for change in warehouse.changes(f"{xid}.{2**63 - 1}.0")] == [2]


def test_a_table_that_was_dropped_is_left_out(warehouse: Warehouse, sql: Sql) -> None:
    warehouse.table("t", {"id": int, "n": int}).upsert_many({"id": id, "n": 0} for id in range(5))
    warehouse.table("other", {"id": int}).upsert(id=1)
    cursor = warehouse.changes(limit=2).cursor
    warehouse["t"].drop()
    assert [told(change) for change in everything(warehouse, cursor, limit=1)] == [("other", "insert", 1)]


# --- after a dump was restored -----------------------------------------------------------------------------------

#: transactions by which the server of the dump had counted further
AHEAD = 20_000
FROM_A_DUMP = "update dataflows.write set xid = (xid::text::bigint + %s)::text::xid8"


def further(text: str) -> str:
    """A cursor as a server gives it that has counted further."""
    cursor = Cursor.parse(text)
    assert cursor is not None

    def moved(snapshot: str | None) -> str | None:
        if snapshot is None:
            return None
        first, after, running = snapshot.split(":")
        open_ = ",".join(str(int(each) + AHEAD) for each in running.split(",") if each)
        return f"{int(first) + AHEAD}:{int(after) + AHEAD}:{open_}"

    return str(
        Cursor(
            moved(cursor.seen), cursor.last, cursor.floor, cursor.beyond, moved(cursor.until), cursor.write, cursor.skip
        )
    )


@pytest.mark.parametrize("limit", [1, 2, 1_000])
def test_a_dump_that_is_restored_into_a_younger_server(
    warehouse: Warehouse, sql: Sql, database_url: str, limit: int
) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    with psycopg.connect(database_url) as late:
        late.execute(WRITE, [0])
        table.upsert_many({"id": id, "n": 1} for id in (1, 2))
        cursor = further(warehouse.changes().cursor)  # has heard of 1 and 2, and not of 0
        late.commit()
    table.upsert(id=3, n=1)
    sql(FROM_A_DUMP, AHEAD)  # the dump: 0 and 3 were not heard
    table.upsert(id=4, n=1)  # here

    heard = []
    while changes := warehouse.changes(cursor, limit=limit):
        heard += [told(change)[2] for change in changes]
        cursor = changes.cursor
    cursor = changes.cursor
    assert heard == [0, 3, 4]
    table.upsert(id=5, n=1)
    changes = warehouse.changes(cursor, limit=5)
    assert [told(change)[2] for change in changes] == [5]
    # when the server reaches the transactions of the dump nothing is told again
    sql("do $$ begin for each in 1..%s loop perform pg_current_xact_id(); commit; end loop; end $$" % (2 * AHEAD))
    assert warehouse.changes(changes.cursor) == []
    table.upsert(id=6, n=1)
    assert [told(change)[2] for change in warehouse.changes(changes.cursor)] == [6]


# --- any order of what happens -----------------------------------------------------------------------------------

LINES = 3
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, LINES - 1)),
        st.tuples(st.just("commit"), st.integers(0, LINES - 1)),
        st.tuples(st.just("undo"), st.integers(0, LINES - 1)),
        st.tuples(st.just("hear"), st.integers(1, 4)),
        st.tuples(st.just("many"), st.integers(1, 5)),
        st.tuples(st.just("again"), st.integers(0, 4)),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def stage(dataflows_databases: TestDatabases) -> Iterator[str]:
    url = dataflows_databases.create()
    yield url
    dataflows_databases.drop(url)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_each_write_is_told_once_whatever_happens_when(stage: str, actions: Sequence[tuple[str, int]]) -> None:
    """Against a set: what is committed and not told yet is what the next looks tell, and nothing else."""
    database = Database(stage)
    try:
        warehouse = Warehouse(database)
        table = warehouse.table("t", {"id": int, "n": int})
        cursor = warehouse.changes("now").cursor
        committed, heard, number = list[int](), list[int](), max((row.id for row in table.find()), default=0)
        pending: list[list[int]] = [[] for _ in range(LINES)]
        many: list[int] = []
        with ExitStack() as stack:
            lines = [stack.enter_context(psycopg.connect(stage)) for _ in range(LINES)]
            for action, which in [*actions, *(("commit", line) for line in range(LINES)), *[("hear", 3)] * 200]:
                if action == "write":
                    number += 1
                    lines[which].execute(WRITE, [number])
                    pending[which].append(number)
                elif action in ("commit", "undo"):
                    getattr(lines[which], "commit" if action == "commit" else "rollback")()
                    committed += pending[which] if action == "commit" else []
                    pending[which] = []
                elif action == "many":
                    many = list(range(number + 1, number + 1 + which))
                    number += which
                    table.upsert_many({"id": id, "n": 0} for id in many)
                    committed += many
                elif action == "again" and which < len(many):
                    table.upsert(id=many[which], n=(table.get(many[which]) or {"n": 0})["n"] + 1)
                    committed.append(many[which])
                elif action == "hear":
                    changes = warehouse.changes(cursor, limit=which)
                    cursor = changes.cursor
                    heard += [told(change)[2] for change in changes]
                    if not changes:
                        assert sorted(heard) == sorted(committed)
                        if not any(pending):
                            heard, committed = [], []
        assert sorted(heard) == sorted(committed)
    finally:
        database.close()


def test_versions_of_a_row_come_in_their_order(warehouse: Warehouse, database_url: str) -> None:
    """Those who write the same row wait for each other: who got there first is told first, though it began last."""
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert(id=1, n=0)
    cursor = warehouse.changes("now").cursor
    with psycopg.connect(database_url) as old:
        old.execute("select pg_current_xact_id()")  # has the smaller number, and writes later
        table.upsert(id=1, n=1)
        old.execute("insert into dataflows.write (name, at, updated) values ('t', clock_timestamp(), 0)")
        table.upsert(id=1, n=2)
    told_ = [(each.before.n, each.row.n) for each in warehouse.changes(cursor) if each.before and each.row]
    assert told_ == [(0, 1), (1, 2)]
