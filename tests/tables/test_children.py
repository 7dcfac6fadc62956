"""Lists of objects that are tables of their own: they are what the last row that named them said."""

from __future__ import annotations

from typing import Any

from dataflows_sdk.warehouse.desk import Warehouse

from .conftest import Sql


def kept(warehouse: Warehouse, table: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in warehouse[table].find()]


def test_a_list_is_replaced_where_a_row_names_it(warehouse: Warehouse, sql: Sql) -> None:
    rows = [
        {"id": 1, "title": "a", "labels": [{"id": 7, "name": "bug"}, {"id": 8, "name": "ui"}]},
        {"id": 2, "title": "b", "labels": []},
    ]
    issues = warehouse.table("issues", rows, key="id", children={"labels": "id"})
    assert [str(each) for each in warehouse["issues_labels"].columns] == ["issues_id int", "id int", "name text"]
    written = issues.upsert_many(rows)
    assert (written.inserted, written.children["labels"].inserted) == (2, 2)
    again = issues.upsert_many(rows)
    assert (again.changed, again.children["labels"].changed, again.children["labels"].unchanged) == (0, 0, 2)
    assert sql("select count(*) from dataflows.write") == [(2,)]
    one = issues.upsert(id=1, labels=[{"id": 8, "name": "UI"}, {"id": 9, "name": "new"}])
    assert (one.title, one._version) == ("a", 1)
    issues.upsert(id=2, title="c")  # it does not name them
    assert kept(warehouse, "issues_labels", "issues_id", "id", "name") == [(1, 8, "UI"), (1, 9, "new")]
    assert sql("select name, inserted, updated, deleted from dataflows.write order by id") == [
        ("issues", 2, 0, 0), ("issues_labels", 2, 0, 0), ("issues_labels", 1, 1, 1), ("issues", 0, 1, 0),
    ]  # fmt: skip
    gone = issues.delete(1)
    assert (gone.deleted, gone.children["labels"].deleted) == (1, 2)
    assert kept(warehouse, "issues_labels", "id") == []
    assert [each.operation for each in warehouse.history("issues_labels", (1, 8))] == ["insert", "update", "delete"]
