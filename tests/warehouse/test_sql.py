"""`ctx.sql`: the caller's variables, files, what users make, answers that stay, errors that help."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DataflowsError, QueryError
from dataflows_sdk.warehouse.answer import Answer

from .conftest import Journal, Same

Sql = Callable[..., Any]

PRICES = pd.DataFrame({"name": ["apple", "pear"], "price": [1.5, 2.5]})


# --- a context ----------------------------------------------------------------------------------------------


def test_a_run_that_gave_its_result_is_there(ctx: Context) -> None:
    @df.workflow("double")
    async def double(event: Any, step: Any) -> int:
        return await step.run("twice", lambda: event.payload * 2)

    for n in range(5):
        run = ctx.start(double, n)
        assert run.result() == 2 * n
        assert ctx.sql("select id, status, result::int from runs where id = ?", run.id).fetchall() == [
            (run.id, "succeeded", 2 * n)
        ]
        assert ctx.sql("select output::int from steps where run = ?", UUID(run.id)).fetchall() == [(2 * n,)]
    wanted = pd.DataFrame({"run": [run.id]})  # noqa: F841
    assert ctx.sql("select kind from wanted join dataflows.events using (run) order by seq limit 1").fetchone() == (
        "run.created",
    )
    assert ctx.sql("select started_at from runs").fetchone()[0].tzinfo is not None


def test_purged_runs_are_gone(ctx: Context) -> None:
    @df.workflow("nothing")
    async def nothing(event: Any, step: Any) -> None: ...

    for _ in range(3):
        ctx.run(nothing).result()
    assert ctx.sql("select count(*) from events").fetchone()[0] >= 6
    assert ctx.purge("0s") == 3
    assert ctx.sql("select (select count(*) from runs), (select count(*) from events)").fetchone() == (0, 0)


def test_a_closed_context_says_so(ctx: Context) -> None:
    answer = ctx.sql("select 42 as n")
    ctx.close()
    assert answer.fetchall() == [(42,)]
    assert answer.filter("n > 1").fetchall() == [(42,)]
    with pytest.raises(QueryError, match="context is closed"):
        ctx.sql("select 1")


# --- the caller's variables ---------------------------------------------------------------------------------


def test_frames_of_the_caller(sql: Sql) -> None:
    import polars as pl

    tables: dict[str, Any] = {
        "pandas": pd.DataFrame({"a": [1]}),
        "polars": pl.DataFrame({"a": [1]}),
        "arrow": pa.table({"a": [1]}),
        "reader": pa.table({"a": [1]}).to_reader(),
        "columns": {"a": np.array([1])},
        "relation": duckdb.sql("select 1::bigint as a"),
        "answer": sql("select 1::bigint as a"),
    }
    for name, table in tables.items():
        frame = table  # noqa: F841
        assert sql("select a from frame").fetchall() == [(1,)], name


def test_where_a_name_is_looked_up(sql: Sql) -> None:
    assert sql("select name from PRICES order by price limit 1").fetchone() == ("apple",)  # a global
    PRICES = pd.DataFrame({"name": ["plum"]})  # noqa: F841
    assert sql("from PRICES").fetchall() == [("plum",)]
    inner = pd.DataFrame({"n": [1]})  # noqa: F841
    assert [sql("from inner_").fetchone() for inner_ in [pd.DataFrame({"n": [5]})]] == [(5,)]
    assert [sql('select n from "inner"').fetchone() for _ in range(2)] == [(1,), (1,)]
    assert (lambda: sql("from PRICES").fetchall())() == [("plum",)]
    runs = pd.DataFrame({"n": [1]})  # noqa: F841
    assert sql("select count(*) from runs").fetchone() == (0,)  # the journal's tables come first
    assert sql("with PRICES as (select 7 as n) from PRICES").fetchall() == [(7,)]
    made = pd.DataFrame({"n": [1]})  # noqa: F841
    sql("create table made as select 2 as n")
    assert sql("from made").fetchall() == [(2,)]


def test_variables_that_are_no_tables(sql: Sql) -> None:
    numbers = [1, 2]  # noqa: F841
    empty = pd.DataFrame()  # noqa: F841
    with pytest.raises(QueryError, match="The variable numbers is no table: list"):
        sql("from numbers")
    with pytest.raises(QueryError, match=r"The variable empty is no table: .*DataFrame"):
        sql("from empty")
    for ours in ("parameters", "connection", "query", "scopes", "self", "lens"):
        with pytest.raises(QueryError, match=f"name {ours} does not exist"):
            sql(f"from {ours}")


def test_an_answer_does_not_follow_its_frame(sql: Sql) -> None:
    frame = pd.DataFrame({"n": [1, 2]})
    answer = sql("select * from frame")
    frame.loc[0, "n"] = 100
    del frame
    assert answer.fetchall() == [(1,), (2,)]
    with pytest.raises(QueryError):
        sql("from frame")


def test_files(sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    (tmp_path / "lines.json").write_text('{"n": 1}\n{"n": 2}\n')
    PRICES.to_parquet(tmp_path / "prices.parquet")
    assert sql("select sum(amount) from 'orders.csv'").fetchone() == (30,)
    assert sql("select sum(n) from read_json('lines.json')").fetchone() == (3,)
    assert sql("select name from read_parquet(?) order by 1", "prices.parquet").fetchone() == ("apple",)
    sql("copy (select 5 as n) to 'out.csv'")
    assert sql("from 'out.csv'").fetchall() == [(5,)]
    with pytest.raises(QueryError, match=r"missing\.csv"):
        sql("from 'missing.csv'")


# --- what users make ----------------------------------------------------------------------------------------


def test_tables_views_and_macros_stay_and_stay_fresh(sql: Sql, journal: Journal) -> None:
    frame = pd.DataFrame({"n": [1]})  # noqa: F841
    journal.create()
    sql("create temp table kept as select id from runs")
    sql("create or replace temporary view counted as select count(*) as n from runs")
    sql("create view through as from counted")
    sql("create macro how_many() as (select count(*) from events)")
    sql("create macro all_runs() as table select * from runs")
    sql("create view framed as from frame")
    journal.create()
    assert sql("select count(*) from kept").fetchone() == (1,)
    assert sql("from through").fetchall() == [(2,)]
    assert sql("select how_many()").fetchall() == [(2,)]
    journal.create()
    assert sql("select count(*) from all_runs()").fetchone() == (3,)
    assert sql("from framed").fetchall() == [(1,)]
    assert sql("insert into kept select 'x' returning id").fetchall() == [("x",)]
    assert sql("select count(*) from kept; select 5").fetchall() == [(5,)]
    assert {name for (name,) in sql("show tables").fetchall()} >= {"kept", "runs", "steps", "events"}
    sql("drop table kept")
    with pytest.raises(QueryError, match="made here: all_runs, counted, framed, how_many, through"):
        sql("from kept")


CHANGES = [
    "drop table runs",
    "drop table dataflows.runs",
    "delete from runs",
    "update runs set status = 'x'",
    "insert into dataflows.main.runs (id) values ('x')",
    "truncate dataflows.runs",
    "alter table runs rename to mine",
    "create table dataflows.mine as select 1",
    "create index i on runs (id)",
    "with gone as (delete from runs returning *) select * from gone",
    "explain analyze delete from runs",
    "drop schema dataflows.internal cascade",
    "create table runs as select 1",
    "create view events as select 1",
    "detach dataflows",
    "attach or replace ':memory:' as \"Dataflows\"",
    "begin",
    "commit",
    "select 1; drop table runs",
]


def test_the_mirrors_cannot_be_changed(sql: Sql, journal: Journal, same: Same) -> None:
    journal.create()
    sql("from runs")
    for statement in CHANGES:
        with pytest.raises(QueryError):
            sql(statement)
        same(sql, journal)
    journal.create()
    same(sql, journal)


def test_a_database_of_the_users_own(sql: Sql, journal: Journal, tmp_path: Path) -> None:
    journal.create()
    sql(f"attach '{tmp_path / 'own.duckdb'}' as own")
    sql("create table own.runs as from runs")
    journal.create()
    assert sql("select (select count(*) from own.runs), (select count(*) from runs)").fetchone() == (1, 2)
    sql("detach own")


# --- answers ------------------------------------------------------------------------------------------------


def test_an_answer_stays_as_it_was(sql: Sql, journal: Journal) -> None:
    journal.create()
    first = sql("select status from runs")
    derived = sql("select status, count(*) as n from runs group by 1").filter("n > 0").order("n")
    run = journal.create()
    journal.finish(run, 2)
    for _ in range(3):
        assert sql("select count(*) from runs").fetchone() == (2,)
    assert first.fetchall() == [("running",)]
    assert derived.fetchall() == [("running", 1)]


def test_the_faces_of_an_answer(sql: Sql, capsys: pytest.CaptureFixture[str]) -> None:
    import polars as pl

    answer = sql("select range as n, 'x' as s from range(20000) order by n desc")
    assert isinstance(answer, Answer)
    assert answer.columns == ["n", "s"]
    assert answer.fetchone() == (19999, "x")
    assert answer.fetchmany(2) == [(19998, "x"), (19997, "x")]
    assert len(answer.fetchall()) == len(answer) == len(list(answer)) == 20000
    assert answer.df()["n"].iloc[0] == 19999
    assert answer.arrow().num_rows == answer.pl().height == 20000
    assert isinstance(answer.pl(), pl.DataFrame)
    assert pa.table(answer).num_rows == 20000
    assert answer["s"].limit(1).fetchall() == [("x",)]
    assert "int64" in repr(answer)
    answer.limit(1).show()
    answer.show()
    assert "19999" in capsys.readouterr().out
    few = sql("select 1 as n where false")
    assert few.fetchone() is None
    assert few.fetchmany(3) == []
    for query in (
        "select 1 as a, 2 as a",
        "describe runs",
        "summarize runs",
        "explain from runs",
        "values (1), (2)",
        "pivot (select 'x' as k, 1 as v) on k using sum(v)",
        "from range(3) -- a comment",
        "select null as n",
    ):
        assert sql(query).fetchall(), query


def test_parameters(sql: Sql) -> None:
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert sql("select ?, ?, ?", "a'b", 7, None).fetchone() == ("a'b", 7, None)
    assert sql("select $2, $1", 1, 2).fetchone() == (2, 1)
    assert sql("select $low + 1", {"low": 1}).fetchone() == (2,)
    assert sql("select ?, ?", now, Decimal("1.10")).fetchone() == (now, Decimal("1.10"))
    assert sql("select len(?)", ["a", "b"]).fetchone() == (2,)
    for query, values in (
        ("select ?", ()),
        ("select ?", (1, 2)),
        ("select $x", ({"y": 1},)),
        ("select ?", (object(),)),
    ):
        with pytest.raises(DataflowsError):
            sql(query, *values)
    with pytest.raises(QueryError, match="parameters belong to one statement"):
        sql("select ?; select ?", 1)


def test_what_is_no_query(sql: Sql) -> None:
    for query in ("", "  \n", "-- only a comment", None, 7, b"select 1"):
        with pytest.raises(QueryError):
            sql(query)


ERRORS = [
    ("selec 1", r'at or near "selec"[\s\S]*Tables: runs, steps, events;'),
    ("from tasks", r"name tasks does not exist[\s\S]*Tables: runs, steps, events;"),
    ("select nope from runs", r'"nope" not found[\s\S]*Tables: runs'),
    ("select at from events", r'The column "at" is written with quotes'),
    ("select 'x'::int from range(1)", "Could not convert string 'x'"),
    ("select error('boom')", "boom"),
    ("create table a as from tasks", "tasks does not exist"),
    ('select "', "unterminated"),
]


def test_errors_say_what_to_do(sql: Sql) -> None:
    for query, says in ERRORS:
        with pytest.raises(QueryError, match=says) as caught:
            sql(query)
        assert isinstance(caught.value.__cause__, duckdb.Error)
        assert sql("select 1").fetchone() == (1,)


def test_many_threads(sql: Sql, database_url: str) -> None:
    from .conftest import writing

    barrier = threading.Barrier(8)

    def work(n: int) -> None:
        barrier.wait(10)
        with writing(database_url) as journal:
            for i in range(6):
                own = pd.DataFrame({"id": [str(journal.create(workflow=f"w{n}"))]})  # noqa: F841
                assert sql("select count(*) from own join runs using (id)").fetchone() == (1,)
                assert sql("select count(*) from runs where workflow = ?", f"w{n}").fetchone() == (i + 1,)
                if i == 3:
                    sql(f"create table t{n} as select {n} as n")

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, n) for n in range(8)]:
            done.result()
    assert sql("select count(*) from events").fetchone() == (48,)
    assert sql("select sum(n) from (" + " union all ".join(f"from t{n}" for n in range(8)) + ")").fetchone() == (28,)


def test_without_frames_installed(database_url: str) -> None:
    """The base installation has neither numpy, nor pandas, nor pyarrow."""
    script = """
    import sys
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("numpy", "pandas", "pyarrow", "polars", "fsspec"):
                raise ModuleNotFoundError(name, name=name)
    sys.meta_path.insert(0, Missing())
    import json, dataflows_sdk as df
    with df.connect(sys.argv[1], work=False) as ctx:
        answer = ctx.sql("select count(*), max(created_at) from runs")
        other = ctx.sql("select 3 as n")
        said = []
        for ask in (answer.df, answer.arrow, answer.pl):
            try:
                ask()
            except df.errors.MissingExtraError as error:
                said.append(str(error))
        print(json.dumps([answer.fetchall(), ctx.sql("from other").fetchall(), said,
                          str(ctx.sql("select now() as n").fetchone()[0].tzinfo)]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), database_url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rows, other, said, zone = json.loads(done.stdout)
    assert rows == [[0, None]]
    assert other == [[3]]
    assert ["dataflows-sdk[frames]" in text for text in said] == [True, True, False]
    assert zone == "UTC"
