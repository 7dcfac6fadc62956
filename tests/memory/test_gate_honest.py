"""Honest questions: they pass, and what runs gives the same as what was written."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_memory.gate import Reader, Relation, check_query, describe, readable, run_query
from dataflows_memory.gate.checking import generated
from dataflows_memory.gate.dialect import Plain
from dataflows_memory.gate.reader import plain
from dataflows_sdk.errors import DefinitionError, QueryError, QueryRefusedError

from .gate_ground import FIRST, Ground

#: one on each line; \\r is a line's end within
HONEST = [
    line.replace("\\r", "\n") for line in Path(__file__).with_name("honest.sql").read_text("utf-8").splitlines() if line
]


@pytest.fixture(scope="module")
def ours(ground: Ground) -> psycopg.Connection[Any]:
    ground.run("set search_path = warehouse")
    ground.run("set timezone = 'UTC'")
    return ground.admin


@pytest.mark.parametrize("text", HONEST)
def test_what_runs_gives_what_was_asked(ground: Ground, ours: psycopg.Connection[Any], text: str) -> None:
    wanted = ours.execute(text)  # type: ignore[call-overload]
    rows = wanted.fetchall()
    checked = check_query(text, ground.relations, row_cap=1_000)
    got = ours.execute(checked.sql)  # type: ignore[call-overload]
    assert Counter(map(repr, got.fetchall())) == Counter(map(repr, rows))
    if "order by" in text.lower():
        got = ours.execute(checked.sql)  # type: ignore[call-overload]
        assert got.fetchall() == rows
    assert [each.name for each in got.description] == [each.name for each in wanted.description]
    assert [each.type_code for each in got.description] == [each.type_code for each in wanted.description]
    answer = ground.reader.query(text, rows=1_000)
    assert list(answer.columns) == [each.name for each in wanted.description]
    json.dumps(answer.to_json())
    for mine, theirs in zip(answer.rows, rows, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            if other is None or isinstance(other, str | int | dict):
                assert one == other
            elif isinstance(other, float | Decimal):
                assert float(one) == pytest.approx(float(other))


@pytest.mark.parametrize("text", HONEST)
def test_what_is_written_down_is_read_the_same_again(ground: Ground, text: str) -> None:
    import sqlglot

    once = check_query(text, ground.relations).sql
    tree = sqlglot.parse_one(once, read=Plain)
    assert sqlglot.parse_one(generated(tree), read=Plain) == tree
    assert check_query(once, ground.relations).sql == once


_names = st.sampled_from(["id", "name", "status", "hours", "due", "data", "project_id"])
_values = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(
        lambda text: "'" + text.replace("'", "''") + "'"
    ),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000).map(str),
    st.sampled_from(["null", "true", "date '2026-01-01'", "interval '1 day'", "current_date"]),
    _names,
    _names.map(lambda name: f"t.{name}"),
)


def _bigger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(
        ["+", "-", "*", "/", "%", "^", "=", "<>", "<", ">=", "and", "or", "||", "->", "->>", "@>", "~", "!~*", "like",
         "not ilike", "is distinct from", "is not distinct from", "&&", "|", "#"]
    )  # fmt: skip
    return st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        inner.map(lambda each: f"({each})"),
        inner.map(lambda each: f"not {each}"),
        inner.map(lambda each: f"- {each}"),
        inner.map(lambda each: f"({each})::text"),
        inner.map(lambda each: f"{each} is not null"),
        st.tuples(st.sampled_from(["coalesce", "greatest", "concat", "jsonb_build_array"]), inner, inner).map(
            lambda each: f"{each[0]}({each[1]}, {each[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda each: f"case when {each[0]} then {each[1]} else {each[2]} end"),
        st.tuples(inner, inner, inner).map(lambda each: f"{each[0]} not in ({each[1]}, {each[2]})"),
        st.tuples(inner, inner).map(lambda each: f"sum({each[0]}) over (partition by {each[1]} order by id)"),
        inner.map(lambda each: f"(select {each} from projects p limit 1)"),
    )


@given(st.recursive(_values, _bigger, max_leaves=8), st.recursive(_values, _bigger, max_leaves=5))
def test_whatever_passes_says_the_same_when_read_again(shown: str, condition: str) -> None:
    relations = [
        Relation("tasks", dict.fromkeys(["id", "name", "status", "hours", "due", "data", "project_id"], "")),
        Relation("projects", dict.fromkeys(["id", "name", "hours"], "")),
    ]
    text = f"select {shown} as x from tasks t where {condition} order by 1"
    try:
        checked = check_query(text, relations)
    except QueryRefusedError:
        return
    assert check_query(checked.sql, relations).sql == checked.sql


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "more"),
    [
        ("select id from tasks order by id", 10, True),
        ("select id from tasks order by id limit 10", 10, False),
        ("select id from tasks order by id limit 11", 10, True),
        ("select id from tasks order by id limit 3", 3, False),
        ("select id from tasks order by id limit all", 10, True),
        ("select id from tasks order by id limit (select 30)", 10, True),
        ("select id from tasks order by id limit 1 + 1", 2, False),
        ("select id from tasks order by id fetch first 4 rows only", 4, False),
        ("select status from tasks order by status fetch first 1 row with ties", 10, True),
        ("select id from tasks union all select id from tasks order by 1", 10, True),
        ("(select id from tasks)", 10, True),
        ("with q as (select id from tasks) select * from q", 10, True),
        ("select id from tasks where false", 0, False),
    ],
)
def test_no_more_rows_than_wanted(ground: Ground, text: str, shown: int, more: bool) -> None:
    answer = ground.reader.query(text, rows=10)
    assert (len(answer.rows), answer.truncated) == (shown, more)
    assert ("There are more rows" in answer.note) == more


def test_no_more_text_than_wanted(ground: Ground) -> None:
    with Reader(ground.database, ground.relations, size=1_000, cell=100) as reader:
        answer = reader.query("select repeat('x', 1000) as a, 'short' as b, to_jsonb(repeat('y', 500)) as c")
        assert answer.rows == [["x" * 100, "short", '"' + "y" * 99]]
        assert answer.truncated
        assert "2 texts were cut at 100" in answer.note
        many = reader.query("select repeat('x', 90) from generate_series(1, 100)")
        assert len(many.rows) == 12
        assert many.truncated


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("select 'NaN'::numeric", "NaN"),
        ("select 'infinity'::float8", "inf"),
        ("select 12345678901234567890.5", "12345678901234567890.5"),
        ("select 1.50", 1.5),
        ("select 9007199254740993::bigint", 9007199254740993),
        ("select date 'infinity'", "infinity"),
        ("select '4713-01-01 BC'::date", "4713-01-01 BC"),
        ("select null", None),
        ("select row(1, 'a')", "(1,a)"),
        ("select array[1, null]", "{1,NULL}"),
        ("select '[1, {\"a\": null}]'::json", [1, {"a": None}]),
    ],
)
def test_odd_values_become_values_of_json(ground: Ground, text: str, value: Any) -> None:
    answer = ground.reader.query(text)
    assert answer.rows == [[value]]
    json.dumps(answer.rows, allow_nan=False)


def test_floats_that_json_lacks() -> None:
    assert plain(float("nan"), "float8") == "nan"
    assert plain(0.0, "float8") == 0.0


# --- the past ---------------------------------------------------------------------------------------------


def test_tables_as_they_were(ground: Ground) -> None:
    text = "select status, count(*) as n from tasks where id <= 2 group by 1 order by 1"
    now = ground.reader.query(text)
    before = ground.reader.query(text, as_of=FIRST + timedelta(hours=1))
    long_ago = ground.reader.query(text, as_of=FIRST - timedelta(days=1))
    assert now.rows == [["late", 1]]
    assert before.rows == [["blocked", 1], ["done", 1]]
    assert long_ago.rows == []
    assert "as they were at 2026-10-01T13:00:00+00:00" in before.note
    theirs = ground.warehouse.as_of(FIRST + timedelta(hours=1)).find("tasks")
    ids = ground.reader.query("select t.id from warehouse.tasks as t order by 1", as_of=FIRST + timedelta(hours=1))
    assert [row[0] for row in ids.rows] == sorted(row["id"] for row in theirs)
    joined = ground.reader.query(
        "with t as (select * from tasks) select p.name, count(*) from t join projects p on p.id = t.project_id "
        "where t.id in (select id from tasks) group by p.name order by 1",
        as_of=FIRST + timedelta(hours=1),
    )
    assert sum(row[1] for row in joined.rows) == 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select * from open_hours", "only tables of the warehouse know what they were"),
        ("select * from tasks_history", "compare valid_from and valid_to"),
    ],
)
def test_what_has_no_past(ground: Ground, text: str, said: str) -> None:
    with pytest.raises(QueryRefusedError, match=said):
        ground.reader.query(text, as_of=FIRST)


# --- what may be read -------------------------------------------------------------------------------------


def test_hidden_columns_stay_hidden(ground: Ground) -> None:
    relations = readable(ground.database, ["projects", "tasks"], hide={"projects": ["api_key"]})
    reader = Reader(ground.database, relations)
    try:
        for text in ("select * from projects", "select to_jsonb(p) from projects p", "select p::text from projects p"):
            answer = reader.query(text)
            assert "sk-" not in repr(answer.rows)
            assert len(answer.rows) == 3
            assert "sk-" not in repr(reader.query(text, as_of=FIRST + timedelta(hours=1)).rows)
        with pytest.raises(QueryRefusedError, match="there is no column api_key"):
            reader.query("select api_key from projects")
        assert "api_key" not in describe(reader, ground.database)
        with pytest.raises(QueryRefusedError, match="open_hours that may be read"):
            reader.query("select * from open_hours")
    finally:
        reader.revoke()


def test_a_view_made_anew_is_read_again(ground: Ground) -> None:
    from dataflows_sdk.warehouse.views import Views

    views = Views(ground.database)
    views.define("changing", "select id from tasks")
    reader = Reader(ground.database, readable(ground.database, ["changing"]))
    try:
        assert len(reader.query("select * from changing").rows) == 39
        views.define("changing", "select id::text as id from tasks")
        assert len(reader.query("select * from changing").rows) == 39
    finally:
        reader.revoke()
        ground.run("drop view warehouse.changing")


def test_a_description_for_a_model(ground: Ground) -> None:
    ground.run("comment on table warehouse.tasks is 'What is to be done'")
    reader = Reader(ground.database, readable(ground.database, ["tasks", "projects", "My Table", "open_hours"]))
    try:
        text = describe(reader, ground.database, secret=["projects.name"])
    finally:
        reader.revoke()
    assert "tasks (table, about 39 rows): What is to be done" in text
    assert "status text; values: 'blocked', 'done', 'late', 'open'" in text
    assert "project_id bigint; -> projects.id" in text
    assert '"Quoted Name" text' in text
    assert "sk-1" not in text  # its name sounds like a secret
    assert "Fence" not in text  # marked as one
    assert "open_hours (view)" in text
    assert len(text) < 2_500


@pytest.mark.parametrize(
    "arguments",
    [
        {"tables": ["nope"]},
        {"hide": {"tasks": ["nope"]}},
        {"hide": {"nope": ["id"]}},
        {"tables": ["tasks"], "hide": {"open_hours": ["hours", "project_id"]}},
    ],
)
def test_what_is_not_there_cannot_be_allowed(ground: Ground, arguments: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"there is no|has no column|nothing of"):
        readable(ground.database, **arguments)


def test_without_a_reader_kept(ground: Ground) -> None:
    answer = run_query(ground.database, "select count(*) from tasks", ground.relations)
    assert answer.rows == [[39]]
    assert answer.sql == 'SELECT count(*) FROM "warehouse"."tasks" LIMIT 201'


@pytest.mark.parametrize(
    "arguments", [{"row_cap": 0}, {"row_cap": True}, {"row_cap": "5"}, {"as_of": datetime(2026, 1, 1)}]
)
def test_arguments_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        check_query("select 1", {}, **arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select id from task", "Did you mean tasks?"),
        ("select t.statu from tasks t", "Did you mean status?"),
        ("select statu from tasks", "Did you mean tasks.status?"),
        ("select x.id from tasks t", "x is no table of this query"),
        ("select n from my_table", 'Did you mean "My Table"?'),
        ("select group_concat(name) from tasks", "Use string_agg"),
        ("select strng_agg(name, ',') from tasks", "Did you mean string_agg"),
        ("select name from tasks where status = open", "there is no column open"),
        ("select sum(name) from tasks", r"function sum\(text\) does not exist"),
        ("select name, count(*) from tasks", "must appear in the GROUP BY clause"),
        ("select 1/0", "division by zero"),
        ("select '2026-02-31'::date", "out of range"),
        ("select id from tasks wehre id = 1", "cannot be read"),
        ("select (1", "cannot be read"),
        ("", "one SELECT"),
        ("-- nothing", "only comments"),
        ("select 'open", "does not end"),
    ],
)
def test_a_mistake_is_explained(ground: Ground, text: str, said: str) -> None:
    with pytest.raises(QueryRefusedError, match=said):
        ground.reader.query(text)


def test_a_query_takes_no_longer_than_it_may(ground: Ground) -> None:
    import time

    with Reader(ground.database, ground.relations, timeout="0.3s") as reader:
        begun = time.monotonic()
        with pytest.raises(QueryError, match="ended after 300 ms"):
            rows = "generate_series(1, 10000)"
            reader.query(f"select count(*) from {rows} a, {rows} b, {rows} c")
        assert time.monotonic() - begun < 5
        assert reader.query("select count(*) from tasks").rows == [[39]]


def test_moments_of_other_zones(ground: Ground) -> None:
    from zoneinfo import ZoneInfo

    moment = datetime(2026, 10, 1, 14, 30, tzinfo=ZoneInfo("Europe/Berlin"))  # 12:30 in UTC
    assert ground.reader.query("select count(*) from tasks", as_of=moment).rows == [[40]]
    earlier = datetime(2026, 10, 1, 11, 59, tzinfo=UTC)
    assert ground.reader.query("select count(*) from tasks", as_of=earlier).rows == [[0]]
