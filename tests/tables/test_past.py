"""The past of rows: versions, as of, why, the feed of changes, differences."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.reading import Version

from .conftest import Sql, everything


class Hands:
    """A clock that stands still unless it is moved, also backwards."""

    def __init__(self) -> None:
        self.at = datetime(2024, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def timed(database: Database, hands: Hands) -> Warehouse:
    return Warehouse(database, now=hands.now)


def test_every_version_is_kept_with_its_times(timed: Warehouse, hands: Hands, sql: Sql) -> None:
    table = timed.table("tasks", {"id": int, "status": str}, source="clickup")
    day = timedelta(days=1)
    for status in ("a", "b", "b", "c"):
        table.upsert(id=1, status=status)
        hands.at += day
    table.delete(1)
    hands.at += day
    table.upsert(id=1, status="d")
    start = datetime(2024, 1, 1, tzinfo=UTC)

    def told(version: Version) -> tuple[Any, ...]:
        until = None if version.valid_to is None else (version.valid_to - start) / day
        status = None if version.row is None else version.row.status
        return (status, (version.valid_from - start) / day, until, version.operation)

    assert [told(version) for version in timed.history("tasks", 1)] == [
        ("a", 0, 1, "insert"), ("b", 1, 3, "update"), ("c", 3, 4, "update"), (None, 4, 5, "delete"),
        ("d", 5, None, "insert"),
    ]  # fmt: skip
    view = "select status, valid_from, valid_to, operation, ended_by from warehouse.tasks_history order by valid_from"
    assert [(s, (f - start) / day, o, e) for s, f, _, o, e in sql(view)] == [
        ("a", 0, "insert", "update"), ("b", 1, "update", "update"), ("c", 3, "update", "delete"),
        ("d", 5, "insert", None),
    ]  # fmt: skip
    assert [timed.as_of(start + n * day).get("tasks", 1) is None for n in (-1, 0, 3.5, 4, 4.5, 5, 99)] == [
        True, False, False, True, True, False, False,
    ]  # fmt: skip
    assert [row.status for row in timed.as_of(start + 2 * day).find("tasks", {"status": ["b", "c"]})] == ["b"]
    assert timed.as_of(start + 4 * day).find("tasks") == []


def test_versions_do_not_overlap_whatever_the_clock_says(timed: Warehouse, hands: Hands) -> None:
    table = timed.table("t", {"id": int, "n": int})
    for n in range(6):
        table.upsert(id=1, n=n)
        hands.at -= timedelta(hours=1)
        if n % 2:
            table.delete(1)
    versions = table.history(1)
    assert len(versions) == 9
    for before, after in pairwise(versions):
        assert before.valid_to == after.valid_from > before.valid_from


def test_why_outside_of_a_run(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"a": int, "b": str, "n": int}, key=("a", "b"), source="hand")
    table.upsert(a=1, b="x", n=1)
    table.upsert(a=1, b="x", n=2)
    why = warehouse.why("t", (1, "x"))
    assert why is not None
    assert (why.operation, why.run, why.step, why.source, why.versions, why.key) == (
        "update",
        None,
        None,
        "hand",
        2,
        (1, "x"),
    )
    assert str(why) == f"t 1, x: updated {why.at:%Y-%m-%d %H:%M:%S} UTC outside of a run; 2 versions"
    table.delete((1, "x"))
    gone = table.why((1, "x"))
    assert gone is not None
    assert (gone.operation, gone.row, gone.source, gone.versions) == ("delete", None, "hand", 2)
    assert table.why((2, "x")) is None
    with pytest.raises(DefinitionError, match="the key is"):
        table.why(3)


def test_what_differs_between_two_moments(timed: Warehouse, hands: Hands) -> None:
    table = timed.table("t", {"id": int, "n": int})
    start = hands.at
    table.upsert_many({"id": id, "n": 0} for id in range(5))
    hands.at += timedelta(days=1)
    table.upsert_many([{"id": 1, "n": 1}, {"id": 2, "n": 5}, {"id": 9, "n": 9}])
    table.delete(3)
    hands.at += timedelta(days=1)
    table.upsert(id=2, n=0)  # as it was
    found = timed.diff(start, hands.at, table="t")
    assert [(each.key, each.operation, each.changed) for each in found] == [
        ((1,), "update", ("n",)), ((3,), "delete", ("id", "n")), ((9,), "insert", ("id", "n")),
    ]  # fmt: skip
    assert [each.key for each in timed.diff(start, start + timedelta(days=1, hours=1), table="t")] == [
        (1,),
        (2,),
        (3,),
        (9,),
    ]
    assert len(timed.diff(start - timedelta(days=1), start, table="t")) == 5
    assert timed.diff(start, start, table="t") == []
    with pytest.raises(DefinitionError, match="the earlier one comes first"):
        timed.diff(hands.at, start, table="t")


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2) | st.none()), max_size=6)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), ROWS),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("delete where"), st.integers(0, 2)),
        st.tuples(st.just("update"), st.integers(0, 5)),
        st.tuples(st.just("add"), st.none()),
        st.tuples(st.just("widen"), st.none()),
        st.tuples(st.just("rename"), st.none()),
        st.tuples(st.just("clock"), st.integers(-5, 5)),
    ),
    max_size=14,
)


@given(ACTIONS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_as_of_equals_a_model_that_is_replayed(database: Database, sql: Sql, actions: list[tuple[str, Any]]) -> None:
    """Random upserts, deletes and changes of the table: every moment looks as it did then."""
    hands = Hands()
    warehouse = Warehouse(database, now=hands.now)
    name = f"t {uuid4().hex}"
    column, kinds, added = "n", {"id": int, "n": int}, 0
    table = warehouse.table(name, kinds)
    rows: dict[int, dict[str, Any]] = {}
    moments: list[tuple[datetime, dict[int, dict[str, Any]]]] = []
    for action, value in actions:
        if action == "upsert":
            batch = {id: {"id": id, column: n} for id, n in value}
            table.upsert_many(batch.values())
            for id, row in batch.items():
                rows[id] = {**dict.fromkeys(kinds), **rows.get(id, {}), **row}
        elif action == "delete":
            table.delete(value)
            rows.pop(value, None)
        elif action == "delete where":
            table.delete(where={column: value})
            rows = {id: row for id, row in rows.items() if row[column] != value}
        elif action == "update":
            table.update(value, **{column: 2})
            if value in rows:
                rows[value] = {**rows[value], column: 2}
        elif action == "add":
            added += 1
            kinds = {**kinds, f"more{added}": str}
            table = warehouse.table(name, kinds)
            rows = {id: {**row, f"more{added}": None} for id, row in rows.items()}
        elif action == "widen":
            kinds = {**kinds, column: "decimal"}
            table = warehouse.table(name, kinds)
        elif action == "rename":
            new = f"{column}x"
            kinds = {new if each == column else each: kind for each, kind in kinds.items()}
            table = warehouse.table(name, kinds, rename={column: new})
            rows = {id: {new if each == column else each: v for each, v in row.items()} for id, row in rows.items()}
            moments = [
                (at, {id: {new if e == column else e: v for e, v in row.items()} for id, row in then.items()})
                for at, then in moments
            ]
            column = new
        elif action == "clock":
            hands.at += timedelta(minutes=value)
        last = sql("select max(at) from dataflows.write where name = %s", name)[0][0]
        if last is not None:
            moments.append((last, {id: dict(row) for id, row in rows.items()}))

    def seen(found: Any) -> dict[int, dict[str, Any]]:
        return {row.id: {each: row[each] for each in kinds} for row in found}

    assert seen(table.find()) == rows
    for at, then in moments:
        complete = {id: {**dict.fromkeys(kinds), **row} for id, row in then.items()}
        assert seen(warehouse.as_of(at).find(name)) == complete, at
    if moments:
        assert warehouse.as_of(min(at for at, _ in moments) - timedelta(days=1)).find(name) == []
        assert seen(warehouse.as_of(datetime(2999, 1, 1, tzinfo=UTC)).find(name)) == rows
    # and every step from one moment to the next is in the feed
    replayed: dict[int, dict[str, Any]] = {}
    for change in everything(warehouse, table=name, limit=7):
        some = change.row or change.before
        assert some is not None
        if change.row is None:
            del replayed[some.id]
        else:
            replayed[some.id] = {each: change.row[each] for each in kinds}
    assert replayed == rows


def test_many_hands_upsert_the_same_rows(database_url: str, sql: Sql) -> None:
    """Each writes every row, some delete: versions follow each other, counts are right, nobody fails."""
    hands = [Database(database_url) for _ in range(4)]
    Warehouse(hands[0]).table("t", {"id": int, "n": int})
    start = threading.Barrier(4)

    def write(number: int) -> int:
        table = Warehouse(hands[number])["t"]
        start.wait()
        done = 0
        for turn in range(15):
            n = 100 * number + turn
            done += table.upsert_many([{"id": id, "n": n} for id in random.sample(range(12), 12)]).changed
            done += table.upsert(id=turn % 12, n=-n)._version > 0
            done += table.delete(random.randrange(12)).deleted
        return done

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    counted = "select sum(inserted), sum(updated), sum(deleted) from dataflows.write"
    versions = """select count(*) filter (where _version = 1), count(*) filter (where _version > 1),
                         count(*) filter (where _deleted)
                  from (select _version, false as _deleted from warehouse.t
                        union all select _version, _deleted from warehouse_past.t) v"""
    assert sql(counted) == sql(versions)
    overlaps = """select count(*) from warehouse.t_history a join warehouse.t_history b on a.id = b.id
                  where a.valid_from < b.valid_from and b.valid_from < coalesce(a.valid_to, 'infinity')"""
    assert sql(overlaps) == [(0,)]
    assert sql("select count(*) from warehouse.t_history where valid_to <= valid_from") == [(0,)]
    for hand in hands:
        hand.close()
