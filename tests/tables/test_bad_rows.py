"""Rows that do not fit: refused, set aside or coerced, and never lost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from dataflows_sdk.errors import BadRowsError, DefinitionError
from dataflows_sdk.warehouse.columns import Column, Misfit, converter, type_of_value
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.rows import Written

from .conftest import Sql

COLUMNS = {
    "key": str, "int": int, "decimal": Decimal, "float": float, "bool": bool, "text": str, "date": date, "time": "time",
    "moment": datetime, "local": "timestamp", "span": "interval", "uuid": "uuid", "bytes": bytes, "json": dict,
}  # fmt: skip

BAD: list[tuple[str, Any, str]] = [
    ("key", None, "the key is null"),
    ("key", ..., "the key is missing"),
    ("int", "7", "'7' is no whole number"),
    ("int", 1.5, "1.5 is no whole number"),
    ("int", True, "True is no whole number"),
    ("int", 2**63, "a whole number of 64 bits is beyond 64; make the column a decimal"),
    ("int", 10**400, "a whole number of 1329 bits"),
    ("int", 10**5000, "bits is beyond 64"),
    ("decimal", float("nan"), "nan is no decimal number; None stands for a missing one"),
    ("decimal", Decimal("Infinity"), "Infinity is no decimal number"),
    ("decimal", 10**2000, "a number of more than 1,000 digits"),
    ("decimal", Decimal("1e-2000"), "more than 1,000 digits"),
    ("float", 10**400, "is not exact as a float"),
    ("float", 2**53 + 1, "the whole number 9007199254740993 is not exact as a float"),
    ("float", "nan", "'nan' is no number"),
    ("bool", 1, "1 is no bool"),
    ("text", 7, "7 is no text"),
    ("text", "a\0b", "has a NUL byte at 1, which PostgreSQL cannot keep"),
    ("text", "\ud800", "has a lone surrogate at 0"),
    ("date", datetime(2024, 1, 1, 12), "is a moment, not a date"),
    ("date", "2024-01-01", "is no date"),
    ("time", "12:00", "is no time"),
    ("moment", datetime(2024, 1, 1), "2024-01-01T00:00:00 has no zone; say timezone='UTC'"),
    ("moment", "2024-01-01T00:00:00Z", "is no moment"),
    ("local", datetime(2024, 1, 1, tzinfo=UTC), "has a zone, and the column has none"),
    ("span", 5, "is no span of time"),
    ("uuid", "not one", "is no UUID"),
    ("bytes", "text", "is no bytes"),
    ("json", {"a": float("nan")}, "NaN and infinity are no JSON"),
    ("json", {"a": "\0"}, "a text in the JSON has a NUL byte"),
    ("json", {"a": "\ud800"}, "lone surrogate"),
    ("nothing", 1, "the table has no such column"),
    ("", 1, "the table has no such column"),
]


@pytest.fixture
def things(warehouse: Warehouse) -> Any:
    return warehouse.table("things", COLUMNS, key="key")


def with_bad(column: str, value: Any) -> dict[str, Any]:
    row = {"key": "k", column: value}
    return {name: value for name, value in row.items() if value is not ...}


def test_bad_values_are_refused_with_the_reason_and_nothing_is_written(things: Any, sql: Sql) -> None:
    for column, value, why in BAD:
        rows = [{"key": "before"}, with_bad(column, value), {"key": "after"}]
        with pytest.raises(BadRowsError) as caught:
            things.upsert_many(rows)
        assert (caught.value.count, caught.value.rows[0][:2]) == (1, (1, column)), (column, value)
        assert why in str(caught.value), str(caught.value)
        assert "nothing was written" in str(caught.value)
        with pytest.raises(BadRowsError):
            things.upsert(with_bad(column, value))
    assert sql("select count(*) from warehouse.things") == [(0,)]
    assert sql("select count(*) from dataflows.write") == [(0,)]


def test_bad_rows_are_set_aside_with_the_reason(warehouse: Warehouse, things: Any, sql: Sql) -> None:
    warehouse.table("things", COLUMNS, key="key", bad="aside")
    rows: list[Any] = [{"key": f"good {number}", "int": number} for number in range(len(BAD))]
    for at, (column, value, _) in enumerate(BAD):
        rows.insert(2 * at, with_bad(column, value))
    rows += ["no row at all", None, 7]
    assert things.upsert_many(rows) == Written("things", inserted=len(BAD), aside=len(BAD) + 3, write=1)
    aside = warehouse.aside("things", 1_000)
    assert len(aside) == len(BAD) + 3
    for (column, value, why), kept in zip(BAD, reversed(aside), strict=False):
        assert why in kept["reason"]
        assert isinstance(kept["row"], dict)
        if (
            isinstance(value, str | int)
            and abs(value if isinstance(value, int) else 0) < 2**60
            and "\ud800" not in str(value)
        ):
            assert kept["row"][column] == value
    assert aside[0]["row"] == 7
    warehouse.forget_aside("things", [aside[0]["id"]])
    assert len(warehouse.aside("things", 1_000)) == len(BAD) + 2
    warehouse.forget_aside("things")
    assert things.aside() == []


def test_what_only_postgresql_refuses_is_set_aside_too(warehouse: Warehouse, sql: Sql) -> None:
    warehouse.table("projects", {"id": int}).upsert(id=1)
    tasks = warehouse.table("tasks", {"id": int, "project_id": int}, references={"project_id": "projects"}, bad="aside")
    sql("alter table warehouse.tasks add check (id <> 13)")
    rows = [{"id": number, "project_id": 1 if number % 200 else 99} for number in range(1_000)]
    written = tasks.upsert_many(rows)
    assert (written.inserted, written.aside, tasks.count()) == (994, 6, 994)
    written = tasks.upsert_many(rows)
    assert (written.unchanged, written.aside) == (994, 6)
    reasons = {kept["reason"].split(" constraint ")[1].split()[0] for kept in tasks.aside()}
    assert reasons == {'"tasks_project_id_fkey"', '"tasks_id_check"'}
    assert sorted(kept["row"]["id"] for kept in tasks.aside(6)) == ["0", "13", "200", "400", "600", "800"]


def test_texts_are_read_where_that_was_asked_for(warehouse: Warehouse) -> None:
    table = warehouse.table("things", COLUMNS, key="key", bad="coerce", timezone="UTC")
    row = table.upsert(
        key=7, int=" 12 ", decimal="1.10", float="1e3", bool="yes", text=3.5, date="2024-02-29", time="12:30",
        moment="2024-01-01T00:00:00", local="2024-01-01 10:00", uuid=str(UUID(int=7)), json='{"a": 1}',
    )  # fmt: skip
    assert (row.key, row.int, row.decimal, row.float, row.bool, row.text) == (
        "7",
        12,
        Decimal("1.10"),
        1000.0,
        True,
        "3.5",
    )
    assert (row.date, row.moment) == (date(2024, 2, 29), datetime(2024, 1, 1, tzinfo=UTC))
    for column, value in [
        ("int", "twelve"),
        ("int", "1" * 2000),
        ("bool", "maybe"),
        ("date", "31.12.2024"),
        ("bool", 2),
    ]:
        with pytest.raises(BadRowsError, match=column):
            table.upsert({"key": "k", column: value})


def test_a_key_that_comes_twice(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"a": int, "b": str, "n": int}, key=("a", "b"))
    row = {"a": 1, "b": "x", "n": 1}
    assert table.upsert_many([row, dict(row)]).inserted == 1  # the very same row is one row
    with pytest.raises(BadRowsError, match=r"row 2, 'a': the key '1, x' is that of row 0 too"):
        table.upsert_many([row, {"a": 2, "b": "x"}, {**row, "n": 2}])
    assert len(table) == 1


class Order(BaseModel):
    model_config = {"extra": "forbid"}
    id: int
    amount: float = Field(gt=0)


def test_a_model_judges_its_rows(warehouse: Warehouse) -> None:
    orders = warehouse.table("orders", Order)
    with pytest.raises(BadRowsError, match="row 1, 'amount': Input should be greater than 0"):
        orders.upsert_many([{"id": 1, "amount": 1}, {"id": 2, "amount": -1}])
    with pytest.raises(BadRowsError, match="'more': Extra inputs are not permitted"):
        orders.upsert(id=1, amount=1, more=2)
    assert orders.upsert(id="7", amount=2).id == 7  # pydantic's own reading
    with pytest.raises(DefinitionError, match="rows are a list"):
        orders.upsert_many("rows")
    with pytest.raises(DefinitionError, match="not both"):
        orders.upsert([{"id": 1}], amount=1)
    with pytest.raises(DefinitionError, match="not both"):
        orders.upsert(Order(id=1, amount=1), amount=1)


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(), st.datetimes(),
    st.datetimes(timezones=st.timezones()), st.dates(), st.times(), st.timedeltas(), st.uuids(),
    st.recursive(st.none() | st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)),
)  # fmt: skip


@given(st.lists(ANY, max_size=8), st.sampled_from(["refuse", "coerce"]))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_is_taken_comes_back_and_the_rest_is_told(warehouse: Warehouse, values: list[Any], bad: str) -> None:
    kinds = list(COLUMNS)[1:]
    table = warehouse.table("things", COLUMNS, key="key", bad=bad)
    table.delete(all=True)
    for at, value in enumerate(values):
        for kind in kinds:
            row = {"key": f"{at} {kind}", kind: value}
            try:
                back = table.upsert(row)[kind]
            except BadRowsError as error:
                told = error
            else:
                told = None
            if told is not None:
                assert value is not None
                assert told.count == 1
                continue
            if bad == "refuse" and kind not in ("json", "float", "decimal", "int", "uuid", "local", "date"):
                assert back == value, (kind, value)


@given(ANY)
def test_the_type_of_a_value_takes_it(value: Any) -> None:
    kind = type_of_value(value)
    if kind is None:
        assert value is None
        return
    why = ""
    try:
        converter(Column("x", kind))(value)
    except Misfit as misfit:
        why = str(misfit)
    assert not why or any(word in why for word in ("NUL", "surrogate", "decimal", "zone", "JSON", "NaN", "calendar"))


def test_rows_that_are_set_aside_are_json(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table("t", {"id": int}, bad="aside")

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    table.upsert_many([{"id": Odd()}, {"id": b"\xff"}, {"id": {1, 2}}, Odd(), {"id": "\ud800"}])
    assert len(table.aside()) == 5
    assert all(json.dumps(kept["row"]) for kept in table.aside())
