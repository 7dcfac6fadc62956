"""Lists of objects that are tables of their own: they are what the last row that named them said."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import dataflows_sdk as df
from dataflows_sdk.errors import BadRowsError, DefinitionError, RunFailed, ShapeError, WarehouseError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.table import Table

from ..conftest import MakeContext
from .conftest import Sql

WRITES = "select name, inserted, updated, deleted from dataflows.write order by id"


def kept(warehouse: Warehouse, table: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in warehouse[table].find()]


class Label(BaseModel):
    id: int
    name: str
    color: str = "grey"


class Issue(BaseModel):
    id: int
    title: str = ""
    labels: list[Label] = []


# --- what a row says ----------------------------------------------------------------------------------------


def test_a_list_is_replaced_where_a_row_names_it(warehouse: Warehouse, sql: Sql) -> None:
    rows = [
        {"id": 1, "title": "a", "labels": [{"id": 7, "name": "bug"}, {"id": 8, "name": "ui"}]},
        {"id": 2, "title": "b", "labels": []},
    ]
    issues = warehouse.table("issues", rows, key="id", children={"labels": "id"})
    assert repr(issues) == "<table 'issues': id int, title text; key id; labels in issues_labels>"
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
    assert sql(WRITES) == [
        ("issues", 2, 0, 0), ("issues_labels", 2, 0, 0), ("issues_labels", 1, 1, 1), ("issues", 0, 1, 0),
    ]  # fmt: skip
    assert issues.update(1, labels=[{"id": 9, "name": "new"}, {"id": 8, "name": "UI"}])  # in another order
    assert sql("select count(*) from dataflows.write") == [(4,)]
    gone = issues.delete(1)
    assert (gone.deleted, gone.children["labels"].deleted) == (1, 2)
    assert kept(warehouse, "issues_labels", "id") == []
    assert [each.operation for each in warehouse.history("issues_labels", (1, 8))] == ["insert", "update", "delete"]
    assert sql(
        "select count(distinct at) from dataflows.write where id > (select max(id) - 2 from dataflows.write)"
    ) == [(1,)]


def test_an_object_is_all_that_the_list_says_of_it(warehouse: Warehouse) -> None:
    issues = warehouse.table(
        "issues", [{"id": 1, "labels": [{"id": 1, "name": "a", "x": 1}]}], children={"labels": "id"}
    )
    issues.upsert(id=1, labels=[{"id": 1, "name": "a", "x": 1}])
    issues.upsert(id=1, labels=[{"id": 1, "name": "b"}])
    assert kept(warehouse, "issues_labels", "id", "name", "x") == [(1, "b", None)]
    issues.upsert(id=1, labels=None)  # null is no object
    assert warehouse["issues_labels"].count() == 0


def test_objects_without_a_key_have_their_place(warehouse: Warehouse, sql: Sql) -> None:
    table = warehouse.table(
        "runs_of_mine",
        {"owner": str, "repo": str, "steps": list[dict[str, Any]]},
        key=("owner", "repo"),
        children={"steps": {"key": (), "columns": {"name": str, "at": date}, "table": "steps_of_mine"}},
    )
    table.upsert(owner="o", repo="r", steps=[{"name": "a", "at": date(2026, 1, 1)}, {"name": "b"}, {"name": "b"}])
    names = ("runs_of_mine_owner", "runs_of_mine_repo", "_position", "name")
    assert kept(warehouse, "steps_of_mine", *names) == [("o", "r", 0, "a"), ("o", "r", 1, "b"), ("o", "r", 2, "b")]
    table.upsert(owner="o", repo="r", steps=[{"name": "b"}, {"name": "b"}])
    assert kept(warehouse, "steps_of_mine", "_position", "name") == [(0, "b"), (1, "b")]
    assert sql(WRITES)[-1] == ("steps_of_mine", 0, 1, 1)
    assert [row.name for row in warehouse["steps_of_mine"].find({"runs_of_mine_repo": "r"})] == ["b", "b"]
    with pytest.raises(BadRowsError, match="violates foreign key"):
        warehouse["steps_of_mine"].insert(runs_of_mine_owner="o", runs_of_mine_repo="x", _position=0)


def test_models_and_what_they_leave_out(warehouse: Warehouse) -> None:
    issues = warehouse.table("issues", Issue, key="id", children={"labels": "id"})
    assert [str(each) for each in issues.columns] == ["id int", "title text"]
    assert [str(each) for each in warehouse["issues_labels"].columns] == [
        "issues_id int", "id int", "name text", "color text",
    ]  # fmt: skip
    issues.upsert(Issue(id=1, labels=[Label(id=1, name="a"), Label(id=2, name="b", color="red")]))
    issues.upsert({"id": 1, "title": "t"})  # the model's default is not what somebody said
    issues.upsert(Issue(id=1, title="t"))
    assert kept(warehouse, "issues_labels", "id", "color") == [(1, "grey"), (2, "red")]
    issues.upsert({"id": 1, "labels": []})
    assert warehouse["issues_labels"].count() == 0
    with pytest.raises(BadRowsError, match=r"'labels.0.name'"):
        issues.upsert({"id": 1, "labels": [{"id": 1}]})


def test_another_process_knows_of_it(warehouse: Warehouse, database: Database) -> None:
    warehouse.table("issues", Issue, key="id", children={"labels": "id"})
    other = Warehouse(database)
    assert other.table("issues").shape == warehouse.table("issues").shape
    other["issues"].upsert(id=1, title="a", labels=[{"id": 1, "name": "x"}])
    assert other.table("issues", Issue, key="id").upsert(Issue(id=1, title="b")).title == "b"
    assert kept(warehouse, "issues_labels", "id", "name", "color") == [(1, "x", None)]

    class Wider(Label):
        since: date | None = None

    class Now(Issue):
        labels: list[Wider] = []

    assert other.table("issues", Now).shape.children == warehouse["issues"].shape.children
    warehouse["issues"].upsert(id=1, labels=[{"id": 1, "name": "x", "since": date(2026, 1, 1)}])  # learnt from there
    assert kept(other, "issues_labels", "since") == [(date(2026, 1, 1),)]


def test_tables_from_rows_grow_with_their_lists(warehouse: Warehouse) -> None:
    issues = warehouse.table("issues", [{"id": 1, "labels": [{"id": 1}]}], children={"labels": "id"})
    issues.upsert(id=1, labels=[{"id": 1, "weight": 2}], title="new")
    issues.upsert_many([{"id": 2, "labels": [{"id": 1, "weight": 2.5, "more": {"x": [1]}}]}])
    assert [str(each) for each in warehouse["issues_labels"].columns] == [
        "issues_id int", "id int", "weight float", "more json",
    ]  # fmt: skip
    assert [str(each) for each in issues.columns] == ["id int", "title text"]
    with pytest.raises(BadRowsError, match=r"'labels\[0\]': a row is a dict"):
        issues.upsert(id=1, labels=["odd"])
    with pytest.raises(BadRowsError, match="row 0: a row is a dict"):
        issues.upsert_many(["odd"])
    fixed = warehouse.table("issues", evolve=False)
    with pytest.raises(BadRowsError, match=r"row 0, 'labels\[0\].odd': the table has no such column"):
        fixed.upsert(id=2, labels=[{"id": 1, "odd": 1}])


def test_lists_in_lists(warehouse: Warehouse, sql: Sql) -> None:
    orders = warehouse.table(
        "orders",
        [{"no": "A", "lines": [{"pos": 1, "sku": "x", "lots": [{"lot": 5, "n": 2}]}]}],
        key="no",
        children={"lines": {"key": "pos", "children": {"lots": "lot"}}},
    )
    lots = warehouse["orders_lines_lots"]
    assert [each.name for each in lots.columns] == ["orders_lines_orders_no", "orders_lines_pos", "lot", "n"]
    one = {"pos": 1, "sku": "x", "lots": [{"lot": 5, "n": 2}, {"lot": 6, "n": 1}]}
    two = {"pos": 2, "sku": "y", "lots": [{"lot": 5, "n": 9}]}
    written = orders.upsert_many([{"no": "A", "lines": [one, two]}, {"no": "B", "lines": [one]}])
    assert written.children["lines"].children["lots"].inserted == 5
    orders.upsert(no="A", lines=[{"pos": 1, "sku": "z"}])  # it does not name the lots of 1, and 2 goes with its own
    assert [(row.orders_lines_orders_no, row.orders_lines_pos, row.lot) for row in lots.find()] == [
        ("A", 1, 5), ("A", 1, 6), ("B", 1, 5), ("B", 1, 6),
    ]  # fmt: skip
    gone = orders.delete(where={"no": ["A", "C"]})
    assert gone.children["lines"].children["lots"].deleted == 2
    assert lots.count() == 2
    many = [{"pos": n, "sku": "s", "lots": [{"lot": 1, "n": n}]} for n in range(700)]
    orders.upsert(no="B", lines=many)
    orders.upsert(no="B", lines=many[:600])  # so many that they are staged
    assert lots.count() == 600
    assert orders.delete(all=True).children["lines"].children["lots"].deleted == 600
    orders.drop()
    assert sql("select count(*) from dataflows.warehouse_table") == [(0,)]


def test_many_parents_take_as_many_statements_as_one(warehouse: Warehouse, sql: Sql) -> None:
    def rows(count: int, objects: int) -> list[dict[str, Any]]:
        return [{"id": n, "n": n % 7, "parts": [{"k": k, "n": n} for k in range(objects)]} for n in range(count)]

    table = warehouse.table("things", rows(1, 1), children={"parts": "k"})
    written = table.upsert_many(rows(6_000, 2))  # the children come by COPY into the empty table
    assert written.children["parts"].inserted == 12_000
    assert table.upsert_many(rows(6_000, 2)).children["parts"].unchanged == 12_000
    changed = rows(6_000, 2)
    for row in changed[:4_000]:
        row["parts"] = [*row["parts"][1:], {"k": 9, "n": 0}]
    changed[5_000]["parts"][0]["n"] = -1
    again = table.upsert_many(changed)
    parts = again.children["parts"]
    assert (again.changed, parts.inserted, parts.updated, parts.deleted) == (0, 4_000, 1, 4_000)
    assert sql(WRITES) == [("things", 6_000, 0, 0), ("things_parts", 12_000, 0, 0), ("things_parts", 4_000, 1, 4_000)]
    assert sql("select count(*), count(distinct _external_id), max(_version) from warehouse.things_parts") == [
        (12_000, 12_000, 2)
    ]
    assert table.delete(where=[("id", "gte", 1_000)]).children["parts"].deleted == 10_000
    assert sql("select count(*) from warehouse_past.things_parts where _deleted") == [(14_000,)]


# --- what does not fit ----------------------------------------------------------------------------------------


def test_bad_objects_are_refused_with_their_place(warehouse: Warehouse, sql: Sql) -> None:
    issues = warehouse.table("issues", {"id": int, "labels": list[Label]}, children={"labels": "id"})
    bad: list[tuple[Any, str]] = [
        (
            [{"id": 1, "name": "a"}, {"id": "x", "name": "b"}],
            r"row 1, 'labels\[1\].id': 'x' is no whole number, in issues 5",
        ),
        ([{"name": "a"}], r"'labels\[0\].id': the key is null, in issues 5"),
        (
            [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}],
            r"'labels\[1\].\w+': the key '5, 1' is that of labels\[0\] too",
        ),
        (["bug"], r"'labels\[0\]': a row is a dict, a model or a dataclass, not str"),
        ([{"id": 1, "issues_id": 6}], r"its own 'issues_id' is 6"),
        ({"id": 1}, r"row 1: 'labels' is a list of objects, and \{'id': 1\} is none"),
        ("[]", "is none"),
        ([{"id": 1, "odd": 2}], r"'labels\[0\].odd': the table has no such column"),
        ([{"id": 1, "name": "a\0"}], "NUL"),
    ]
    for labels, message in bad:
        with pytest.raises(BadRowsError, match=message) as caught:
            issues.upsert_many([{"id": 4, "labels": [{"id": 1, "name": "n"}]}, {"id": 5, "labels": labels}])
        assert caught.value.rows[0].position == 1
        with pytest.raises(BadRowsError):
            issues.upsert(id=5, labels=labels)
    assert sql("select count(*) from dataflows.write") == [(0,)]
    issues.upsert(id=5, labels=[{"id": 1, "name": "a", "issues_id": 5}] * 2)  # the very same twice
    with pytest.raises(BadRowsError, match="that of row 0 too"):
        issues.upsert_many([{"id": 5, "labels": []}, {"id": 5, "labels": [{"id": 1}]}])


def test_bad_objects_are_set_aside_with_their_place(warehouse: Warehouse, sql: Sql) -> None:
    warehouse.table("users", {"login": str}, key="login")
    types = {"id": int, "n": int, "labels": list[dict[str, Any]], "owner": str}
    said = {"labels": {"key": "id", "columns": {"id": int, "at": datetime, "name": str}}}
    issues = warehouse.table("issues", types, key="id", children=said, bad="aside", references={"owner": "users.login"})
    rows = [
        {"id": 1, "labels": [{"id": 1, "name": "a"}, {"id": 2, "name": 7}, "x", {"id": 3, "name": "c"}]},
        {"id": 2, "n": "many", "labels": [{"id": 1, "name": "lost?"}]},
        {"id": 3, "owner": "nobody", "labels": [{"id": 1, "name": "nor this"}]},  # PostgreSQL says so
    ]
    with pytest.raises(BadRowsError, match=r"labels\[1\].name"):
        issues.upsert(rows[0])  # a single row is never set aside
    written = issues.upsert_many(rows)
    assert (written.inserted, written.aside, written.children["labels"].inserted) == (1, 2, 2)
    assert written.children["labels"].aside == 2
    aside = {each["reason"]: each["row"] for each in warehouse.aside("issues_labels")}
    assert aside == {
        "labels[1].name: 7 is no text, in issues 1": {"issues_id": 1, "id": 2, "name": 7},
        "labels[2]: a row is a dict, a model or a dataclass, not str, in issues 1": {"issues_id": 1, "labels": "x"},
    }
    whole = [each["row"]["labels"][0]["name"] for each in issues.aside()]
    assert sorted(whole) == ["lost?", "nor this"]
    # what only PostgreSQL finds: a constraint that somebody made
    sql("alter table warehouse.issues_labels add check (name <> 'no')")
    labels = [{"id": id, "name": "no" if id == 4 else "yes"} for id in range(1, 7)]
    written = issues.upsert_many(
        [{"id": 1, "labels": labels}, {"id": 9, "labels": labels[4:]}, {"id": 10, "labels": []}]
    )
    assert written.children["labels"].aside == 1
    assert kept(warehouse, "issues_labels", "issues_id", "id") == [*((1, id) for id in (1, 2, 3, 5, 6)), (9, 5), (9, 6)]
    newest = warehouse.aside("issues_labels", 1)[0]
    assert newest["reason"].startswith("labels[3]: ")
    assert newest["row"] == {"issues_id": 1, "id": 4, "name": "no"}


def test_values_are_read_from_texts_where_asked(warehouse: Warehouse) -> None:
    said = {"labels": {"key": "id", "columns": {"id": int, "at": datetime, "price": Decimal}}}
    issues = warehouse.table("issues", {"id": int}, children=said, bad="coerce", timezone="UTC")
    issues.upsert(id="1", labels=[{"id": "7", "at": "2026-01-01T00:00:00", "price": "1.50"}])
    issues.upsert_many([{"id": "2", "labels": '[{"id": 8}]'}])
    assert kept(warehouse, "issues_labels", "issues_id", "id", "at", "price") == [
        (1, 7, datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.50")), (2, 8, None, None),
    ]  # fmt: skip


REFUSED: list[tuple[Callable[[Warehouse], Any], str]] = [
    (lambda w: w.table("t", Issue, key=(), children={"labels": "id"}), "it has no key, by which the objects"),
    (lambda w: w.table("t", {"id": int, "tags": list[str]}, children={"tags": ()}), "only lists of objects become"),
    (lambda w: w.table("t", [{"id": 1, "tags": ["a"]}], children={"tags": ()}), "row 0: 'tags' has 'a'"),
    (lambda w: w.table("t", [{"id": 1, "user": {"a": 1}}], children={"user": ()}), "'user' is no list of objects"),
    (lambda w: w.table("t", [{"id": 1, "labels": []}], children={"labels": "id"}), "nothing says what the objects"),
    (lambda w: w.table("t", {"id": int}, children={"labels": "id"}), "nothing says what the objects"),
    (lambda w: w.table("t", Issue, children={"tags": "id"}), "children names 'tags', which Issue has not"),
    (lambda w: w.table("t", Issue, children={"labels": "nr"}), "table 't_labels': the key names 'nr'"),
    (lambda w: w.table("t", Issue, children=["labels"]), "children= says by what"),
    (lambda w: w.table("t", Issue, children={"labels": {"by": "id"}}), "'by' is none of key, table"),
    (lambda w: w.table("t", Issue, children={"labels": {"key": 7}}), "a key is the name of a column"),
    (lambda w: w.table("t", Issue, children={"labels": {"key": "id", "table": "runs"}}), "ctx.sql has a table"),
    (lambda w: w.table("t", Issue, children={"labels": {"key": "id", "parent": ("a", "b")}}), "does not stand"),
    (lambda w: w.table("t", Issue, children={"labels": {"key": "id", "parent": "name"}}), "have a 'name' themselves"),
    (lambda w: w.table("t" * 50, Issue, children={"labels": "id"}), "name it: children="),
    (
        lambda w: w.table("t", {"id": int}, children={"history": {"key": (), "columns": {"a": int}}}),
        "names that end in _history.*name it",
    ),
    (lambda w: w.table("t", Issue, children={"labels": {"key": "id", "table": "other"}}), "keeps something else"),
    (lambda w: w.table("old", children={"labels": {"key": "id", "columns": Label}}), "rename={'labels'"),
    (lambda w: w.table("kept", children={"labels": "name"}), "it stays where it is"),
    (lambda w: w.table("kept", rename={"title": "labels"}), "'labels' is a column whose values stay"),
    (lambda w: w.table("kept_labels", rename={"kept_id": "whose"}), "the names in it stay"),
    (lambda w: w.table("kept_labels", rename={"id": "nr"}), "the names in it stay"),
    (lambda w: w.table("kept", {"id": str}), "table 'kept' cannot be changed"),
    (lambda w: w["kept_labels"].drop(), "keeps the lists 'labels' of 'kept'"),
]  # fmt: skip


def test_what_cannot_be_is_refused_and_leaves_nothing(warehouse: Warehouse, sql: Sql) -> None:
    warehouse.table("other", {"id": int})
    warehouse.table("old", Issue, key="id").upsert(id=1, labels=[{"id": 1, "name": "a"}])
    warehouse.table("kept", Issue, key="id", children={"labels": "id"})
    before = sql("select name, version from dataflows.warehouse_table order by 1")
    for make, message in REFUSED:
        with pytest.raises((ShapeError, DefinitionError, WarehouseError), match=message):
            make(warehouse)
    assert sql("select name, version from dataflows.warehouse_table order by 1") == before


def test_the_way_out_of_a_column_of_json(warehouse: Warehouse) -> None:
    old = warehouse.table("old", Issue, key="id")
    old.upsert(id=1, labels=[{"id": 1, "name": "a"}])
    said = {"labels": {"key": "id", "columns": Label}}
    new = warehouse.table("old", children=said, rename={"labels": "labels_before"})
    for row in new.find():
        new.upsert(id=row.id, labels=row.labels_before)
    assert kept(warehouse, "old_labels", "old_id", "id", "name") == [(1, 1, "a")]
    assert new.history(1)[0].row.labels_before == [{"id": 1, "name": "a", "color": "grey"}]


def test_columns_have_other_names_now(warehouse: Warehouse) -> None:
    types = {"number": int, "title": str, "labels": list[Label]}
    issues = warehouse.table("issues", types, key="number", children={"labels": "id"})
    issues.upsert(number=1, labels=[{"id": 1, "name": "a"}])
    warehouse.table("issues", rename={"number": "nr", "title": "heading"})
    warehouse.table("issues_labels", rename={"color": "colour"})
    issues.upsert(nr=1, heading="b", labels=[{"id": 1, "name": "a"}, {"id": 2, "colour": "red"}])
    assert kept(warehouse, "issues_labels", "issues_number", "id", "colour") == [(1, 1, None), (1, 2, "red")]
    assert issues.delete(1).children["labels"].deleted == 2


# --- at once, and all or nothing ------------------------------------------------------------------------------


def test_a_statement_that_fails_leaves_neither_parent_nor_children(warehouse: Warehouse, sql: Sql) -> None:
    issues = warehouse.table("issues", Issue, key="id", children={"labels": "id"})
    issues.upsert(id=1, title="a", labels=[{"id": 1, "name": "x"}])
    sql("create function boom() returns trigger language plpgsql as $$ begin raise 'boom'; end $$")
    sql("create trigger boom before insert or delete on warehouse.issues_labels execute function boom()")
    for call in (
        lambda: issues.upsert(id=1, title="b", labels=[{"id": 2, "name": "x"}]),
        lambda: issues.upsert_many([{"id": 1, "title": "b", "labels": []}]),
        lambda: issues.upsert_many({"id": n, "labels": [{"id": 1, "name": "x"}]} for n in range(2, 6_000)),
        lambda: issues.delete(1),
    ):
        with pytest.raises(Exception, match="boom"):
            call()
    sql("drop trigger boom on warehouse.issues_labels")
    sql("create trigger boom before delete on warehouse.issues execute function boom()")
    with pytest.raises(Exception, match="boom"):  # the children are deleted by then
        issues.delete(all=True)
    assert kept(warehouse, "issues", "id", "title") == [(1, "a")]
    assert kept(warehouse, "issues_labels", "id") == [(1,)]
    assert sql("select count(*) from dataflows.write") == [(2,)]


def test_of_two_who_write_the_same_row_one_is_first_with_all_of_it(database: Database, sql: Sql) -> None:
    warehouses = [Warehouse(database) for _ in range(4)]
    warehouses[0].table("issues", Issue, key="id", children={"labels": "id"})
    failed: list[BaseException] = []

    def write(who: int) -> None:
        try:
            table = warehouses[who]["issues"]
            for turn in range(12):
                mark = f"{who}.{turn}"
                rows = [{"id": id, "title": mark, "labels": [{"id": who, "name": mark}]} for id in range(3)]
                if turn % 4 == 3:
                    table.delete(who % 3)
                table.upsert_many(rows) if turn % 2 else table.upsert(rows[turn % 3])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failed
    assert sql("select i.id, i.title from warehouse.issues i order by 1") == sql(
        "select issues_id, string_agg(name, ' and ') from warehouse.issues_labels group by 1 order by 1"
    )


ids = st.integers(0, 3)
objects = st.dictionaries(ids, st.sampled_from("ab"), max_size=3)
actions = st.one_of(
    st.tuples(st.just("one"), ids, st.sampled_from("xy"), st.none() | objects),
    st.tuples(st.just("many"), st.dictionaries(ids, st.tuples(st.sampled_from("xy"), objects), max_size=4)),
    st.tuples(st.just("delete"), st.sets(ids, max_size=3)),
)
_numbers = itertools.count()


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, max_size=8))
def test_every_moment_is_what_a_model_says(warehouse: Warehouse, sql: Sql, acts: list[Any]) -> None:
    name = f"t{next(_numbers)}"
    table = warehouse.table(name, {"id": int, "v": str, "c": list[dict[str, Any]]},
                            children={"c": {"key": "k", "columns": {"k": int, "v": str}}})  # fmt: skip
    model: dict[int, tuple[str, dict[int, str]]] = {}
    moments: list[tuple[Any, Any]] = []

    def of(found: dict[int, str]) -> list[dict[str, Any]]:
        return [{"k": key, "v": value} for key, value in found.items()]

    for act in acts:
        if act[0] == "one":
            _, id, value, found = act
            row = {"id": id, "v": value} | ({} if found is None else {"c": of(found)})
            table.upsert(row)
            model[id] = (value, model.get(id, ("", {}))[1] if found is None else found)
        elif act[0] == "many":
            table.upsert_many([{"id": id, "v": value, "c": of(found)} for id, (value, found) in act[1].items()])
            model |= act[1]
        else:
            table.delete(where=[("id", "in", list(act[1]))])
            model = {id: value for id, value in model.items() if id not in act[1]}
        ((at,),) = sql("select max(at) from dataflows.write where name like %s", f"{name}%")
        if at is not None and (not moments or moments[-1][0] != at):
            moments.append((at, dict(model)))
        assert moments or not model
        assert not moments or moments[-1][1] == model  # what changed nothing wrote nothing
    for at, expected in moments:
        then = warehouse.as_of(at)
        assert {row.id: row.v for row in then.find(name)} == {id: value for id, (value, _) in expected.items()}
        assert {(row[f"{name}_id"], row.k): row.v for row in then.find(f"{name}_c")} == {
            (id, key): value for id, (_, found) in expected.items() for key, value in found.items()
        }
    # one moment for each call: whoever looks at it sees all of it
    ((times, calls),) = sql("select count(distinct at), count(distinct xid) from dataflows.write where name like %s",
                            f"{name}%")  # fmt: skip
    assert times == calls == len(moments)


# --- in steps, syncs, nodes -----------------------------------------------------------------------------------


def test_in_a_step_all_of_it_commits_with_the_record(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    issues = ctx.warehouse.table("issues", Issue, key="id", children={"labels": "id"})
    issues.upsert(id=1, labels=[{"id": 1, "name": "a"}])
    tries: list[int] = []

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        def write() -> Any:
            tries.append(ctx.warehouse["issues_labels"].count())
            written = issues.upsert_many([{"id": n, "labels": [{"id": n + 10, "name": "b"}]} for n in (1, 2)])
            issues.upsert(id=3, labels=[{"id": 7, "name": "c"}])
            if len(tries) == 1:
                raise ValueError("once more")
            return written

        return step.run("write", write, retry=df.Retry(2, initial_delay="1ms"))

    run = ctx.run(w, {})
    written = run.result()
    labels = written.children["labels"]
    assert (labels.table, labels.inserted, labels.deleted) == ("issues_labels", 2, 1)
    assert tries == [1, 1]
    assert [(each["table"], each["inserted"], each["updated"], each["deleted"]) for each in run.wrote()] == [
        ("issues", 1, 0, 0), ("issues_labels", 2, 0, 1), ("issues", 1, 0, 0), ("issues_labels", 1, 0, 0),
    ]  # fmt: skip
    why = ctx.warehouse.why("issues_labels", (1, 1))
    assert why is not None
    assert (why.operation, why.run, why.step) == ("delete", run.id, "write")
    assert len(ctx.warehouse.changes()) == 8
    told = [(each.table, each.operation) for each in ctx.warehouse.changes(table="issues_labels")]
    assert told == [("issues_labels", each) for each in ("insert", "delete", "insert", "insert", "insert")]
    assert ctx.sql("select count(*) from issues i join issues_labels l on l.issues_id = i.id").fetchall() == [(3,)]


def test_a_child_that_does_not_fit_fails_the_step(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    issues = ctx.warehouse.table("issues", Issue, key="id", children={"labels": "id"})

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        return step.run("write", ctx.warehouse["issues"].upsert, id=1, labels=[{"id": "x"}], retry=df.NO_RETRY)

    with pytest.raises(RunFailed, match=r"labels\[0\].id"):
        ctx.run(w, {}).result()
    assert issues.count() == 0


def test_nodes_write_lists(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.warehouse.table("issues", {"id": int, "n": int, "labels": list[Label]}, key="id", children={"labels": "id"})

    def node(operation: str, **fields: Any) -> Any:
        return ctx.run(df.flow("f").on_manual().record("r", "issues", operation, **fields), {"id": "7"}).result("20s")

    labels = [{"id": "{{trigger.id}}", "name": "a"}, {"id": 8, "name": "b"}]
    assert node("create", data={"id": "1", "labels": labels}) == {"id": 1, "n": None}
    node("upsert", id=2, data={"labels": labels})
    assert kept(ctx.warehouse, "issues_labels", "issues_id", "id") == [(1, 7), (1, 8), (2, 7), (2, 8)]
    assert node("update", where={"id": [1, 2]}, data={"n": 1, "labels": labels[1:]}) == {"count": 2}
    assert kept(ctx.warehouse, "issues_labels", "issues_id", "id") == [(1, 8), (2, 8)]
    assert node("delete", id=1) == {"count": 1}
    assert kept(ctx.warehouse, "issues_labels", "issues_id") == [(2,)]


def test_those_who_watch_hear_of_each_version_once(warehouse: Warehouse, sql: Sql) -> None:
    issues = warehouse.table("issues", Issue, key="id", children={"labels": "id"})
    warehouse.watch("issues_labels")
    issues.upsert(id=1, labels=[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    issues.upsert(id=1, labels=[{"id": 2, "name": "c"}, {"id": 3, "name": "d"}])
    assert sql(WRITES)[1:] == [("issues_labels", 2, 0, 0), ("issues_labels", 1, 1, 1)]
    sql("update warehouse.issues_labels set name = 'by hand' where id = 2")
    sql("delete from warehouse.issues_labels where id = 3")
    issues.upsert(id=1, labels=[{"id": 2, "name": "c"}])
    assert [each.source for each in warehouse.history("issues_labels", (1, 2))] == [None, None, "foreign", None]
    issues.delete(1)
    assert [each.operation for each in warehouse.history("issues_labels", (1, 3))] == ["insert", "delete"]


def test_frames_bring_lists(warehouse: Warehouse) -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    arrow = pa.table(
        {
            "id": [1, 2, 3],
            "labels": [[{"id": 1, "at": when}, {"id": 2, "at": None}], [], None],
        }
    )
    issues: Table = warehouse.table("issues", arrow, key="id", children={"labels": "id"})
    assert [str(each) for each in warehouse["issues_labels"].columns][1:] == ["id int", "at timestamptz"]
    assert issues.upsert_many(arrow).children["labels"].inserted == 2
    assert kept(warehouse, "issues_labels", "issues_id", "id", "at") == [(1, 1, when), (1, 2, None)]
    assert issues.upsert_many(arrow.to_pandas()).children["labels"].unchanged == 2
    missing = arrow.to_pandas().astype({"labels": object})
    missing.loc[1, "labels"] = float("nan")
    assert issues.upsert_many(missing).children["labels"].changed == 0
    assert issues.upsert_many(pa.table({"id": [1, 4]})).inserted == 1  # it names no list
    assert issues.upsert_many(pa.table({"id": [1], "labels": [[]]}).to_pandas()).children["labels"].deleted == 2


def test_the_versions_of_an_issue_of_github(make_ctx: MakeContext, sql: Sql, shared_data: Path) -> None:
    payloads = [json.loads(path.read_bytes()) for path in sorted((shared_data / "github-webhooks").glob("*.json"))]
    versions = [each["issue"] for each in payloads if isinstance(each, dict) and "labels" in each.get("issue", ())]
    versions.sort(key=lambda row: (row["updated_at"], row["id"]))
    assert len(versions) > 20
    ctx = make_ctx()
    said = {"labels": "id", "assignees": {"key": "id", "table": "assigned"}}
    ctx.warehouse.table("issues", versions, key="id", children=said)
    seen: list[tuple[Any, dict[int, tuple[list[str], list[str]]]]] = []
    now: dict[int, tuple[list[str], list[str]]] = {}
    for number, version in enumerate(versions):
        source = [[version]]
        ctx.warehouse.sync(iter(source), into="issues", name=f"hook {number}").result("30s")
        now[version["id"]] = tuple(  # type: ignore[assignment]
            sorted(each[name] for each in version[field])
            for field, name in (("labels", "name"), ("assignees", "login"))
        )
        seen.append((sql("select max(at) from dataflows.write")[0][0], dict(now)))
    for at, expected in seen:
        then = ctx.warehouse.as_of(at)
        for id, (labels, assigned) in expected.items():
            assert sorted(row.name for row in then.find("issues_labels", {"issues_id": id})) == labels
            assert sorted(row.login for row in then.find("assigned", {"issues_id": id})) == assigned
    last = versions[-1]
    assert [row.name for row in ctx.db.issues_labels.find({"issues_id": last["id"]})] == now[last["id"]][0]
    changed = [each for id in now for row in ctx.warehouse["assigned"].find() for each in [row._source]]
    assert all(each is not None and each.startswith("hook") for each in changed)
    assert sql("select count(*) from warehouse.assigned_history where ended_by = 'delete'")[0][0] > 0
    full = ctx.warehouse.sync([[last]], into="issues", name="hook 0", mode="full", max_deletes=1).result("30s")
    assert full.deleted >= 0
    assert sql("select count(*) from warehouse.issues_labels l where not exists "
               "(select from warehouse.issues i where i.id = l.issues_id)") == [(0,)]  # fmt: skip
