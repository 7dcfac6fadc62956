"""Rows in, rows out."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.errors import BadRowsError, DefinitionError, ShapeError, TableNotFoundError
from dataflows_sdk.warehouse.desk import Names, Warehouse
from dataflows_sdk.warehouse.rows import Row, Written

from .conftest import Sql


class Task(BaseModel):
    clickup_id: str
    name: str
    hours: float = Field(default=0, ge=0)
    tags: list[str] = []
    due: datetime | None = None


def test_a_row_is_inserted_and_updated_and_keeps_its_id(warehouse: Warehouse) -> None:
    tasks = warehouse.table("tasks", Task, key="clickup_id", source="clickup")
    one = tasks.upsert(clickup_id="T-1", name="Paint", tags=["red"])
    assert (one.id, one.name, one["tags"], one.hours) == (1, "Paint", ["red"], 0)
    assert (one._source, one._external_id, one._version, one._execution_id) == ("clickup", "T-1", 1, None)
    other = tasks.upsert({"clickup_id": "T-1", "name": "Paint it", "hours": 2})
    assert (other.id, other.name, other.hours, other._version) == (1, "Paint it", 2.0, 2)
    assert tasks.upsert(Task(clickup_id="T-2", name="Hammer")).id > 1
    assert tasks.get("T-1") == other
    assert tasks.get("T-9") is None
    assert (len(tasks), tasks.count({"hours": 0.0}), bool(tasks)) == (2, 1, True)


def test_a_row_that_is_as_it_was_writes_nothing(warehouse: Warehouse, sql: Sql) -> None:
    tasks = warehouse.table("tasks", {"clickup_id": str, "hours": Decimal}, key="clickup_id")
    first = tasks.upsert(clickup_id="T-1", hours=Decimal("1.50"))
    before = sql("select xmin, * from warehouse.tasks"), sql("select count(*) from dataflows.write")
    assert tasks.upsert(clickup_id="T-1", hours=Decimal("1.5")) == first
    assert tasks.upsert(clickup_id="T-1") == first
    assert tasks.upsert_many([{"clickup_id": "T-1", "hours": 1.5}]) == Written("tasks", unchanged=1)
    assert (sql("select xmin, * from warehouse.tasks"), sql("select count(*) from dataflows.write")) == before


def test_columns_that_a_row_does_not_name_stay(warehouse: Warehouse) -> None:
    tasks = warehouse.table("tasks", {"id": int, "a": str, "b": str}, key="id")
    tasks.upsert(id=1, a="x", b="y")
    assert dict(tasks.upsert(id=1, a="z")).items() >= {"a": "z", "b": "y"}.items()
    tasks.upsert_many([{"id": 1, "b": "w"}, {"id": 2, "a": "q"}, {"id": 3}])
    assert [(row.a, row.b) for row in tasks.find()] == [("z", "w"), ("q", None), (None, None)]


def test_an_id_of_the_users_own_is_the_id(warehouse: Warehouse, sql: Sql) -> None:
    users = warehouse.table("users", {"id": int, "login": str})
    assert users.key == ("id",)
    assert users.upsert(id=583231, login="octocat").id == 583231
    asked = "select count(*) from information_schema.columns where table_schema = 'warehouse' and column_name = 'id'"
    assert sql(asked + " and table_name = 'users'") == [(1,)]


class Kind(enum.Enum):
    BUG = "bug"


@dataclass
class Point:
    x: int
    y: int


class Pair(NamedTuple):
    key: str
    value: int


def test_every_type_comes_back_equal(warehouse: Warehouse, sql: Sql) -> None:
    row: dict[str, Any] = {
        "key": "k",
        "int": -(2**63),
        "decimal": Decimal("12345678901234567890.123456789"),
        "float": 0.1,
        "bool": True,
        "text": "Grüße, 'quoted' \"too\", \\ back, \t tab\nline, 🦆",
        "date": date(2024, 2, 29),
        "time": time(23, 59, 59, 999999),
        "moment": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "span": timedelta(days=-3, seconds=5, microseconds=7),
        "uuid": UUID(int=7),
        "bytes": b"\x00\xff\\",
        "json": {"a": [1, None, {"b": "\\u0000 is a text"}], "ü": 1.5},
        "list": [1, 2],
        "none": None,
    }
    table = warehouse.table("things", row, key="key")
    kinds = {column.name: column.type for column in table.columns}
    assert kinds == {
        "key": "text", "int": "int", "decimal": "decimal", "float": "float", "bool": "bool", "text": "text",
        "date": "date", "time": "time", "moment": "timestamptz", "span": "interval", "uuid": "uuid", "bytes": "bytes",
        "json": "json", "list": "json", "none": "text",
    }  # fmt: skip
    back = table.upsert(row)
    assert {name: back[name] for name in row} == row
    many = [{**row, "key": f"k{number}"} for number in range(700)]  # by COPY
    assert table.upsert_many(many).inserted == 700
    assert {name: table.get("k699")[name] for name in row} == many[699]  # type: ignore[index]
    assert table.upsert_many([row, *many]) == Written("things", unchanged=701)
    some = [{**row, "key": f"l{number}"} for number in range(20)]  # as arrays
    assert table.upsert_many(some).inserted == 20
    assert table.upsert_many(some).unchanged == 20
    assert table.insert(row | {"key": "m"}) == table.get("m")


def test_rows_are_models_dataclasses_and_named_tuples(warehouse: Warehouse) -> None:
    points = warehouse.table("points", [Point(1, 2)], key="x")
    points.upsert_many([Point(1, 2), Point(3, 4)])
    assert [(row.x, row.y) for row in points.find()] == [(1, 2), (3, 4)]
    pairs = warehouse.table("pairs", [Pair("a", 1)], key="key")
    assert pairs.upsert(Pair("a", 2)).value == 2
    kinds = warehouse.table("kinds", {"name": Kind, "n": int}, key="name")
    assert kinds.upsert(name=Kind.BUG, n=1).name == "bug"


def test_a_row_comes_back_from_the_journal_as_it_was(warehouse: Warehouse) -> None:
    row = warehouse.table("t", {"id": int, "at": datetime, "n": Decimal}).upsert(
        id=1, at=datetime(2024, 1, 1, tzinfo=UTC), n=Decimal("1.10")
    )
    codec = Codec(TYPES)
    back = codec.decode(codec.encode(row, "it").text)
    assert isinstance(back, Row)
    assert (back, back.at, back.n) == (row, row.at, Decimal("1.10"))
    assert (
        repr(row) == "t(id=1, at=datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), n=Decimal('1.10'))"
    )
    with pytest.raises(AttributeError, match="a row of 't' has no 'name'; it has id, at, n"):
        _ = row.name


def test_names_as_attributes_make_tables(warehouse: Warehouse) -> None:
    db = Names(warehouse)
    project = db.projects.upsert(clickup_id="P-1", name="Fence")
    task = db["tasks"].upsert(clickup_id="T-1", project=project.id)
    assert (project.id, task.project) == (1, 1)
    assert db.projects.upsert({"clickup_id": "P-1", "budget": 12.5}).name == "Fence"  # a new column
    assert db.notes.insert(text="no key").id == 1
    assert db.notes.upsert_many is not None
    assert sorted(dir(db)) == ["notes", "projects", "tasks"]
    with pytest.raises(ShapeError, match=r"customer_id, order_id could all be its key; say key="):
        db.orders.upsert(customer_id=1, order_id=2)
    with pytest.raises(ShapeError, match="'notes' has no key, so that rows can only be inserted"):
        db.notes.upsert(text="again")


def test_insert_refuses_a_key_that_is_there(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"id": int, "a": str})
    table.insert(id=1, a="x")
    with pytest.raises(BadRowsError, match=r"nothing was written: row 1: .*Key \(id\)=\(1\) already exists\. bad="):
        table.insert([{"id": 2}, {"id": 1}])
    with pytest.raises(BadRowsError, match="already exists"):
        table.insert(id=1)
    assert len(table) == 1


def test_update_changes_what_is_there(warehouse: Warehouse) -> None:
    tasks = warehouse.table("tasks", Task, key="clickup_id")
    tasks.upsert(clickup_id="T-1", name="Paint", hours=1)
    assert tasks.update("T-1", hours=2).name == "Paint"  # type: ignore[union-attr]
    assert tasks.update("T-1") == tasks.get("T-1")
    assert tasks.update("T-2", hours=2) is None
    with pytest.raises(DefinitionError, match="'clickup_id' is its key"):
        tasks.update("T-1", clickup_id="T-2")
    with pytest.raises(BadRowsError, match="'hours'"):
        tasks.update("T-1", hours="two")


def test_rows_are_deleted_by_key_and_by_condition(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"a": int, "b": str, "n": int}, key=("a", "b"))
    table.upsert_many({"a": a, "b": b, "n": a} for a in range(4) for b in "xy")
    assert table.delete((0, "x")) == Written("t", deleted=1, write=2)
    assert table.delete(table.get((0, "y"))).deleted == 1
    assert table.delete({"a": 1, "b": "x"}).deleted == 1
    assert table.delete((9, "x")) == Written("t")
    assert table.delete(where=[("n", "gte", 2)]).deleted == 4
    assert table.delete(all=True).deleted == 1
    for wrong in (lambda: table.delete(), lambda: table.delete(1, all=True), lambda: table.delete(where={})):
        with pytest.raises(DefinitionError, match="delete"):
            wrong()
    with pytest.raises(DefinitionError, match=r"the key is \(a, b\): give a tuple of 2, not 7"):
        table.delete(7)


def test_find_knows_the_operators_of_conditions(warehouse: Warehouse) -> None:
    table = warehouse.table("t", {"id": int, "name": str, "at": datetime, "tags": list, "ok": bool})
    at = datetime(2024, 1, 1, tzinfo=UTC)
    table.upsert_many(
        {"id": n, "name": None if n == 4 else f"name {n}%", "at": at + timedelta(days=n), "tags": [n, "t"], "ok": n > 2}
        for n in range(1, 6)
    )

    def ids(*where: Any, **more: Any) -> list[int]:
        return [row.id for row in table.find(*where, **more)]

    assert ids() == [1, 2, 3, 4, 5]
    assert ids({"ok": True, "id": [1, 3, 4]}) == [3, 4]
    assert ids(("id", ">", 3)) == [4, 5]
    assert ids([("id", "gte", 2), ("id", "lt", 4)]) == [2, 3]
    assert ids({"field": "at", "op": "gt", "value": "2024-01-04T12:00:00+00:00"}) == [4, 5]
    assert ids([("name", "neq", "name 1%")]) == [2, 3, 4, 5]
    assert ids({"name": None}) == ids([("name", "is_null")]) == [4]
    assert ids([("name", "not_null"), ("id", "nin", [1, 2])]) == [3, 5]
    assert ids([("name", "contains", "2%")]) == [2]
    assert ids([("name", "ilike", "NAME 3%")]) == [3]
    assert ids([("name", "not.starts_with", "name")]) == [4]
    assert ids([("name", "ends_with", "5%")]) == [5]
    assert ids([("tags", "contains", [3])]) == [3]
    assert ids([("_version", "eq", 1)], order="-id", limit=2, offset=1) == [4, 3]
    assert ids(order=["-ok", "id"]) == [3, 4, 5, 1, 2]
    for wrong, why in [
        ({"nam": 1}, "no column 'nam'; it has id, name"),
        ([("id", "~", 1)], "no operator '~'; there are eq"),
        ([("id", "eq", "x'; drop table t")], "is no whole number"),
        ([("id", "like", "1")], "compares texts; 'id' is int"),
        ([("id", "in", 3)], "wants a list"),
        (["id"], "is no condition"),
        ("id = 1", "a dict of columns and values"),
    ]:
        with pytest.raises(DefinitionError, match=why):
            table.find(wrong)
    with pytest.raises(DefinitionError, match="limit is a whole number"):
        table.find(limit=-1)


def test_rows_refer_to_rows_of_other_tables(warehouse: Warehouse) -> None:
    projects = warehouse.table("projects", {"clickup_id": str}, key="clickup_id")
    tasks = warehouse.table(
        "tasks",
        {"clickup_id": str, "project_id": int, "owner": str},
        references={"project_id": "projects", "owner": "projects.clickup_id"},
    )
    assert tasks.key == ("clickup_id",)  # project_id refers to another table
    fence = projects.upsert(clickup_id="P-1")
    tasks.upsert(clickup_id="T-1", project_id=fence.id, owner="P-1")
    with pytest.raises(BadRowsError, match=r"Key \(project_id\)=\(77\) is not present in table \"projects\""):
        tasks.upsert(clickup_id="T-2", project_id=77)
    with pytest.raises(BadRowsError, match="still referenced from table"):
        projects.delete("P-1")
    with pytest.raises(ShapeError, match="refers to 'people', and there is no such table"):
        warehouse.table("notes", {"id": int, "who": int}, references={"who": "people"})
    with pytest.raises(ShapeError, match=r"refer to projects\.id or projects\.clickup_id"):
        warehouse.table("notes", {"id": int, "who": str}, references={"who": "projects.name"})


def test_a_table_that_is_not_there_is_named(warehouse: Warehouse) -> None:
    warehouse.table("tasks", Task, key="clickup_id")
    with pytest.raises(TableNotFoundError, match="no table 'task' in the warehouse; tasks"):
        warehouse["task"]
    assert "tasks" in warehouse
    assert "task" not in warehouse
    assert [table.name for table in warehouse] == ["tasks"]
    warehouse["tasks"].drop()
    assert repr(warehouse) == "<warehouse: no tables yet>"
    with pytest.raises(TableNotFoundError):
        warehouse.history("tasks", 1)
