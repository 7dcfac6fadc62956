"""Pages of rows by the last row of the one before, for every type of column and every order."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.table import Table

VALUES: dict[Any, list[Any]] = {
    int: [3, -1, 2**60],
    float: [0.1, -1e300, math.nan, math.inf],
    Decimal: [Decimal("0.10"), Decimal(-3), Decimal("1e20")],
    str: ["", "b", "B", "ä", "it's"],
    bool: [True, False],
    date: [date(2024, 2, 29), date(1, 1, 1)],
    time: [time(1, 2, 3, 4), time(23, 59)],
    datetime: [datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)],
    timedelta: [timedelta(days=1, microseconds=1), timedelta(hours=23)],
    UUID: [UUID(int=7), UUID(int=2**127)],
    bytes: [b"", b"\x00\xff"],
    dict: [{"a": 1}, {"a": [None]}],
}


def paged(table: Table, order: Any, where: Any = None) -> list[int]:
    found: list[int] = []
    last = None
    while rows := table.find(where, order=order, limit=2, after=last):
        found += [row["n"] for row in rows]
        last = rows[-1]
    return found


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_pages_are_the_whole_for_every_type(warehouse: Warehouse, kind: Any) -> None:
    table = warehouse.table("t", {"n": int, "value": kind}, key="n")
    table.upsert_many({"n": n, "value": value} for n, value in enumerate([*VALUES[kind], None, VALUES[kind][0], None]))
    for order in (None, "value", "-value", ["value", "-n"], ["-value", "-n"], "-n", ["_version", "value"]):
        whole = [row["n"] for row in table.find(order=order)]
        assert paged(table, order) == whole, order
    assert paged(table, "value", [("n", "gt", 1)]) == [row["n"] for row in table.find([("n", "gt", 1)], order="value")]


def test_a_row_that_is_gone_still_says_where_to_go_on(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"a": str, "n": int, "hours": float}, key=("a", "n"))
    table.upsert_many({"a": a, "n": n, "hours": 1.0} for a in "xy" for n in range(3))
    moment = max(row["_synced_at"] for row in table.find())
    first = table.find(order="-hours", limit=4)
    assert [(row["a"], row["n"]) for row in first] == [("x", 0), ("x", 1), ("x", 2), ("y", 0)]
    table.delete(("y", 0))
    table.upsert(a="x", n=7, hours=1.0)
    rest = [("y", 1), ("y", 2)]
    assert [(row["a"], row["n"]) for row in table.find(order="-hours", after=first[-1])] == rest
    then = warehouse.as_of(moment).find("t", {"a": "y"}, after={"a": "y", "n": 0}, limit=5)
    assert [(row["a"], row["n"]) for row in then] == rest
    for wrong, why in [
        ({"a": "x"}, "after= has no 'n'"), ("x", "after= is a row"), ({"a": "x", "n": "many"}, "no whole number"),
    ]:  # fmt: skip
        with pytest.raises(DefinitionError, match=why):
            table.find(after=wrong)


def test_equal_rows_have_an_order(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"n": int, "hours": float}, key="n")
    table.upsert_many({"n": n, "hours": 1.0} for n in (5, 1, 4, 2, 3))
    table.upsert(n=1, hours=2.0)
    table.upsert(n=1, hours=1.0)
    assert [row["n"] for row in table.find(order="hours")] == [1, 2, 3, 4, 5]
