"""What tables look like, and how that changes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, AwareDatetime, BaseModel, NaiveDatetime, SecretStr

from dataflows_sdk.errors import BadRowsError, DefinitionError, ShapeError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.columns import POSTGRES, holds, join
from dataflows_sdk.warehouse.desk import Warehouse

from .conftest import Sql


class Wide(BaseModel):
    key: str
    url: AnyUrl | None = None
    state: Literal["open", "closed"] = "open"
    number: int | None = None
    either: int | float = 0
    mixed: int | str = 0
    aware: AwareDatetime | None = None
    naive: NaiveDatetime | None = None
    amount: Annotated[Decimal, "money"] = Decimal(0)
    inner: dict[str, Any] = {}
    anything: Any = None


def kinds(table: Any) -> dict[str, str]:
    return {column.name: column.type for column in table.columns}


def test_a_model_says_the_types(warehouse: Warehouse) -> None:
    table = warehouse.table("t", Wide, key="key")
    assert kinds(table) == {
        "key": "text", "url": "text", "state": "text", "number": "int", "either": "float", "mixed": "json",
        "aware": "timestamptz", "naive": "timestamp", "amount": "decimal", "inner": "json", "anything": "json",
    }  # fmt: skip
    row = table.upsert(key="k", url="https://example.org/a", mixed="x", naive=datetime(2024, 1, 1), anything=[1])
    assert (row.url, row.mixed, row.naive, row.anything) == ("https://example.org/a", "x", datetime(2024, 1, 1), [1])

    class Secret(BaseModel):
        id: int
        token: SecretStr

    with pytest.raises(ShapeError, match="'token': secrets do not go into tables"):
        warehouse.table("secrets", Secret)


def test_saying_it_again_is_nothing_new(warehouse: Warehouse, database: Database, sql: Sql) -> None:
    for _ in range(2):
        warehouse.table("t", Wide, key="key")
        Warehouse(database).table("t", Wide, key="key")
    assert sql("select version from dataflows.warehouse_shape") == [(1,)]


def test_columns_are_added_and_become_wider(warehouse: Warehouse, database: Database, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int, "n": int, "d": date, "s": str, "b": bool})
    table.upsert_many([{"id": 1, "n": 1, "d": date(2024, 1, 1), "s": "x", "b": True}, {"id": 2, "n": 5}])
    table.upsert(id=1, n=2)
    other = Warehouse(database)
    assert other["t"].get(1).n == 2  # type: ignore[union-attr]
    wider = {"id": int, "n": Decimal, "d": "timestamp", "s": "json", "b": str, "new": float}
    table = warehouse.table("t", wider)
    assert kinds(table) == {"id": "int", "n": "decimal", "d": "timestamp", "s": "json", "b": "text", "new": "float"}
    row = table.get(1)
    assert row is not None
    assert (row.n, row.d, row.s, row.b, row.new) == (Decimal(2), datetime(2024, 1, 1), "x", "true", None)
    assert [version.row.n for version in table.history(1) if version.row] == [Decimal(1), Decimal(2)]
    # whoever knew it as it was finds out
    assert other["t"].upsert(id=1, n=Decimal("2.5")).n == Decimal("2.5")
    assert other["t"].upsert(id=1, n=3).new is None
    assert [row[0] for row in sql("select n from warehouse.t_history where id = 1 order by valid_from")] == [
        1,
        2,
        Decimal("2.5"),
        3,
    ]
    assert sql("select changes from dataflows.warehouse_shape order by version")[1] == (
        [
            ["widen", "n", "int", "decimal"],
            ["widen", "d", "date", "timestamp"],
            ["widen", "s", "text", "json"],
            ["widen", "b", "bool", "text"],
            ["add", "new", None, "float"],
        ],
    )


def test_narrowing_is_refused_with_every_reason(warehouse: Warehouse) -> None:
    warehouse.table("t", {"id": int, "n": Decimal, "s": str})
    reasons = (
        r"'n' is decimal and would become date, which does not hold.*'s' is text, and uuid would be narrower; "
        r"declare it text; its key is \(id\) and would become \(id, n\)"
    )
    with pytest.raises(ShapeError, match=reasons):
        warehouse.table("t", {"id": int, "n": date, "s": "uuid"}, key=("id", "n"))
    with pytest.raises(ShapeError, match="'n' is decimal, and int would be narrower"):
        warehouse.table("t", {"id": int, "n": int})
    # a column that is no longer asked for stays
    assert kinds(warehouse.table("t", {"id": int})) == {"id": "int", "n": "decimal", "s": "text"}


def test_whole_numbers_become_floats_only_where_that_is_exact(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"id": int, "n": int})
    table.upsert(id=1, n=2**53 + 1)
    table.upsert(id=1, n=1)  # it is in the past still
    with pytest.raises(ShapeError, match=r"'n' has whole numbers beyond 2\*\*53"):
        warehouse.table("t", {"id": int, "n": float})
    loose = warehouse.table("loose", [{"id": 1, "n": 2**53 + 1}])
    loose.upsert_many([{"id": 1, "n": 2**53 + 1}, {"id": 2, "n": 1.5}])
    assert kinds(loose)["n"] == "decimal"
    assert [row.n for row in loose.find()] == [2**53 + 1, Decimal("1.5")]


def test_a_column_is_renamed_only_when_said(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"tid": str, "name": str}, key="tid")
    table.upsert(tid="a", name="x")
    table.upsert(tid="a", name="y")
    for _ in range(2):  # done before is done
        table = warehouse.table("t", {"task_id": str, "title": str}, rename={"tid": "task_id", "name": "title"})
    assert (table.key, kinds(table)) == (("task_id",), {"task_id": "text", "title": "text"})
    assert [version.row.title for version in table.history("a") if version.row] == ["x", "y"]
    assert sql("select title from warehouse.t_history order by valid_from") == [("x",), ("y",)]
    with pytest.raises(ShapeError, match="there is no column 'nam'"):
        warehouse.table("t", rename={"nam": "x"})
    with pytest.raises(ShapeError, match="there is a column 'title' already"):
        warehouse.table("t", rename={"task_id": "title"})


def test_rows_bring_columns_where_they_may(warehouse: Warehouse) -> None:
    loose = warehouse.table("loose", [{"id": 1, "n": 1}])
    loose.upsert({"id": 1, "n": 1, "more": {"a": 1}})
    loose.upsert_many([{"id": 2, "n": "text now"}, {"id": 3, "late": True}])
    assert kinds(loose) == {"id": "int", "n": "text", "more": "json", "late": "bool"}
    assert [(row.n, row.more, row.late) for row in loose.find()] == [
        ("1", {"a": 1}, None),
        ("text now", None, None),
        (None, None, True),
    ]
    strict = warehouse.table("strict", {"id": int, "n": int})
    with pytest.raises(
        BadRowsError, match="row 0, 'more': the table has no such column; evolve=True at the table would add it"
    ):
        strict.upsert(id=1, more=1)
    with pytest.raises(BadRowsError, match="no such column; there is 'n'"):
        strict.upsert(id=1, N=1)
    assert warehouse.table("strict", evolve=True).upsert(id=1, more=1).more == 1
    with pytest.raises(ShapeError, match="some moments have a zone and some have none"):
        loose.upsert_many([{"id": 1, "at": datetime(2024, 1, 1)}, {"id": 2, "at": datetime(2024, 1, 1, tzinfo=UTC)}])


NAMES = [
    "run",
    "valid_from",
    "operation",
    "select",
    '"; drop table users; --',
    "Ünïcödé 🦆",
    "a b",
    "{table}",
    "$1",
    "%s",
    "'",
    "\\",
    "null",
    "_x",
    "-",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names(warehouse: Warehouse, name: str) -> None:
    table = warehouse.table(name, {"key": str, name: str, "other": int}, key="key")
    table.upsert({"key": "k", name: "v"})
    table.upsert_many([{"key": "k", name: "w"}, *({"key": f"{n}", name: "x"} for n in range(600))])
    assert table.find({name: "w"}, order="-" + name)[0][name] == "w"
    assert [version.row[name] for version in table.history("k") if version.row] == ["v", "w"]
    assert len(warehouse.changes(table=name)) == 602
    assert table.delete(where=[(name, "eq", "x")]).deleted == 600
    assert warehouse.table(name, {"key": str, "new": int}, rename={name: "plain"}).get("k").plain == "w"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "columns", "why"),
    [
        ("t", {"x" * 200: str, "id": int}, "has 200 bytes, and 63 are the most"),
        ("t" * 56, {"id": int}, "has 56 bytes, and 55 are the most"),
        ("ü" * 28, {"id": int}, "has 56 bytes"),
        ("t_history", {"id": int}, "those of the histories"),
        ("runs", {"id": int}, "which is not yours; take another, such as my_runs"),
        ("", {"id": int}, "is empty"),
        ("t\0", {"id": int}, "NUL byte"),
        ("\ud800", {"id": int}, "no Unicode"),
        (7, {"id": int}, "is a text, not 7"),
        ("t", {"id": int, "a": int, "A": int}, "'a' and 'A' differ only in case"),
        ("t", {"id": int, "_version": int}, "'_version' is one that every table has already"),
        ("t", {"id": int, "_Valid_From": int}, "every table has already"),
        ("t", {f"c{n}": int for n in range(10_000)}, "10,000 columns, and 1,500 are the most"),
        ("t", {}, "no columns"),
        ("t", {"id": object()}, "are a pydantic model, a dict of types, or rows|no type of column for"),
        ("t", "id int", "a dict of types, or rows, not 'id int'"),
        ("t", iter([{"id": 1}]), "a generator would be used up"),
        ("t", [], "no rows from which"),
        ("t", {"id": "integre"}, None),
    ],
)
def test_tables_that_cannot_be(warehouse: Warehouse, name: Any, columns: Any, why: str | None) -> None:
    if why is None:
        assert kinds(warehouse.table(name, columns)) == {"id": "text"}  # a row with a text
        return
    with pytest.raises(DefinitionError, match=why):
        warehouse.table(name, columns)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"key": "nope"}, "the key names 'nope', which is no column"),
        ({"key": ("id", "id")}, "names a column twice"),
        ({"key": "j"}, "the key 'j' is JSON"),
        ({"timezone": "Mars/Base"}, "'Mars/Base' is no time zone"),
        ({"bad": "ignore"}, "bad= is one of refuse, aside, coerce"),
        ({"source": 3}, "source= is a text"),
        ({"references": {"x": "y"}}, "references names 'x', which is no column"),
    ],
)
def test_options_that_make_no_sense(warehouse: Warehouse, options: dict[str, Any], why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        warehouse.table("t", {"id": int, "j": dict}, **options)
    assert warehouse.tables() == []


def test_a_table_changed_by_hand_is_taken_as_it_is(warehouse: Warehouse, database: Database, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int, "n": int, "s": str, "x": str})
    table.upsert(id=1, n=1, s="a", x="b")
    table.upsert(id=1, n=2)
    sql("drop view warehouse.t_history")
    sql("alter table warehouse.t add column mine integer, add column place point, drop column x")
    sql("alter table warehouse.t alter column n type numeric(20, 2)")
    sql("update warehouse.t set mine = 7")
    table = Warehouse(database)["t"]
    assert kinds(table) == {"id": "int", "n": "decimal", "s": "text", "mine": "int"}
    row = table.upsert(id=1, mine=8)
    assert (row.mine, row.n) == (8, Decimal(2))
    assert [version.row.mine for version in table.history(1) if version.row] == [None, 7, 8]
    # and who knew the table as it was finds out
    assert warehouse["t"].upsert(id=1, n=3, s="c").mine == 8
    sql("alter table warehouse.t rename column s to _s2")
    assert warehouse["t"].upsert(id=1, n=4)._s2 == "c"
    with pytest.raises(BadRowsError, match="no such column"):
        warehouse["t"].upsert(id=1, s="d")
    sql("drop table warehouse.t cascade")
    with pytest.raises(ShapeError, match="table 't': the table is gone, by hand"):
        Warehouse(database)["t"].upsert(id=1)


def test_a_table_of_somebody_elses_is_not_touched(warehouse: Warehouse, sql: Sql) -> None:
    sql("create table warehouse.mine (id int)")
    with pytest.raises(ShapeError, match="something of that name which was not made here"):
        warehouse.table("mine", {"id": int})


def test_two_change_one_table_at_once(database_url: str) -> None:
    hands = [Database(database_url) for _ in range(4)]
    start = threading.Barrier(4)

    def change(number: int) -> None:
        warehouse = Warehouse(hands[number])
        start.wait()
        for turn in range(5):
            mine = int if turn < 3 else float
            table = warehouse.table("t", {"id": int, f"c{number}_{turn}": int, "both": int, f"w{number}": mine})
            table.upsert({"id": turn, f"c{number}_{turn}": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(4)))
    table = Warehouse(hands[0])["t"]
    assert len(table.columns) == 1 + 4 * 5 + 1 + 4
    assert [kinds(table)[f"w{number}"] for number in range(4)] == ["float"] * 4
    for turn in range(5):
        row = table.get(turn)
        assert row is not None
        assert [row[f"c{number}_{turn}"] for number in range(4)] == [0, 1, 2, 3]
        assert row._version == 4
    for hand in hands:
        hand.close()


def test_wider_holds_narrower() -> None:
    for one in POSTGRES:
        assert holds(one, one)
        for other in POSTGRES:
            both = join(one, other)
            if both is None:
                continue
            for part in (one, other):
                assert holds(both, part) or {one, other} == {"decimal", "float"}
