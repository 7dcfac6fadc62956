"""Archives: everything comes back without PostgreSQL, and what is none says so."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.archive import Archive, open_archive
from dataflows_sdk.context import Context
from dataflows_sdk.errors import ArchiveError, DefinitionError, QueryError, RunNotFoundError, TableNotFoundError
from dataflows_sdk.warehouse.export import Exporter

from ..conftest import MakeContext
from .tables import FIRST, Hand
from .test_tables import TASK, VALUES, plain, task


@df.workflow("archived")
async def archived(event: Any, step: Any) -> Any:
    first = await step.run("double", lambda: event.payload["n"] * 2)
    large = await step.run("large", lambda: b"x" * 300_000)
    if event.payload["n"] < 0:
        await step.run("break", _break)
    return first + len(large)


def _break() -> None:
    raise df.NonRetryableError("broken")


@pytest.fixture
def filled(ctx: Context, hand: Hand) -> Context:
    """Two runs, and two tables of which one has a past and a name that nobody would choose."""
    assert ctx.start(archived, {"n": 21}).result() == 300_042
    ctx.start(archived, {"n": -1}).wait()
    hand.create("tasks", TASK)
    one, two = hand.insert("tasks", task("one"), task("two", "2.25"))
    hand.update("tasks", {one: task("one", "NaN")})
    hand.delete("tasks", two)
    hand.create('a"b/🎉', {name: kind for name, (kind, _) in VALUES.items()} | {"doc": "jsonb"})
    hand.insert(
        'a"b/🎉', *({name: values[n] for name, (_, values) in VALUES.items()} | {"doc": "[1.50]"} for n in range(3))
    )
    hand.run("update warehouse.{t} set day = '0044-03-15 BC', span = '1 mon -1 day' where id = 1", t='a"b/🎉')
    hand.run("update warehouse.{t} set stamp = 'infinity', hour = '24:00' where id = 2", t='a"b/🎉')
    return ctx


@pytest.mark.parametrize("name", ["incident.duckdb", "incident.db", "folder/"])
def test_what_was_written_is_read(name: str, filled: Context, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int | None]] = []
    path = f"{tmp_path}/{name}"
    assert filled.export(path, progress=lambda *each: heard.append(each)) == Path(path)
    assert heard[-1][0] == "done" or name == "folder/"
    assert [each.name for each in tmp_path.iterdir()] == [Path(path).name]
    runs = {run.id: run for run in filled.runs()}
    with open_archive(path) as archive:
        assert archive.info.format == 1
        assert {run.id for run in archive.runs()} == runs.keys()
        for found in archive.runs():
            run = runs[found.id]
            assert (found.workflow, found.version, found.status) == (run.workflow, run.version, run.status)
            assert (found.input, found.created_at, found.finished_at) == (run.input, run.created_at, run.finished_at)
            assert repr(found.timeline()) == repr(run.timeline())
            assert [each.output for each in found.steps] == [each.output for each in run.timeline()]
            assert found.state().status == run.state().status
            assert [event.seq for event in found.events()] == [event.seq for event in run.events()]
            assert archive.run(found.id).id == found.id
        (good,) = archive.runs(status="succeeded")
        assert good.result == 300_042
        assert good.timeline()["large"].output == b"x" * 300_000
        (bad,) = archive.runs("archived", status=["failed"], limit=5)
        assert bad.error is not None
        assert bad.error["message"] == "broken"
        assert archive.tables() == ['a"b/🎉', "tasks"]
        for query in (
            "select id, name, hours::double::varchar, done from tasks",
            "select * exclude (hours) from tasks_history",
            'from "a""b/🎉"',
            'select * from warehouse."a""b/🎉_history"',
            "from runs",
            "from steps",
            "from events",
            'select typeof(columns(*)) from "a""b/🎉" limit 1',
        ):
            assert plain(archive.sql(query).fetchall()) == plain(filled.sql(query).fetchall()), query
        for hours in range(6):
            moment = FIRST + timedelta(hours=hours)
            query = "select id, name, hours::varchar, done from tasks"
            assert plain(archive.sql(query, as_of=moment).fetchall()) == plain(
                filled.sql(query, as_of=moment).fetchall()
            )
        here = [{"n": 1}]  # noqa: F841
        with pytest.raises(QueryError, match="no table"):
            archive.sql("from here")
        for change in ("drop table tasks", "delete from runs", "insert into tasks (id) values (9)"):
            with pytest.raises(QueryError):
                archive.sql(change)
        answer = archive.sql("select count(*) as n from tasks")
    assert answer.dicts() == [{"n": 1}]
    with pytest.raises(QueryError, match="closed"):
        archive.sql("from runs")
    with pytest.raises(QueryError, match="closed"):
        archive.runs()


def test_a_choice(filled: Context, tmp_path: Path) -> None:
    one, _ = filled.runs()
    filled.export(tmp_path / "some.duckdb", tables=["tasks"], runs=[one])
    with open_archive(tmp_path / "some.duckdb") as archive:
        assert [run.id for run in archive.runs()] == [one.id]
        assert {run for (run,) in archive.sql("select distinct run from events").fetchall()} == {one.id}
        assert archive.tables() == ["tasks"]
        with pytest.raises(QueryError, match="Tables: runs, steps, events"):
            archive.sql('from "a""b/🎉"')
    filled.export(tmp_path / "none.duckdb", tables=[], runs=[])
    with open_archive(tmp_path / "none.duckdb") as archive:
        assert (archive.runs(), archive.tables()) == ([], [])
        with pytest.raises(RunNotFoundError, match="has no run"):
            archive.run(one.id)
    with pytest.raises(TableNotFoundError, match="'nothing'"):
        filled.export(tmp_path / "x.duckdb", tables=["nothing"])
    with pytest.raises(RunNotFoundError):
        filled.export(tmp_path / "x.duckdb", runs=["0" * 32])
    assert not (tmp_path / "x.duckdb").exists()


def test_any_duckdb_reads_the_file(filled: Context, tmp_path: Path) -> None:
    filled.export(tmp_path / "under another name.duckdb")
    with duckdb.connect(str(tmp_path / "under another name.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from warehouse.tasks_history").fetchone() == (3,)
        assert connection.execute("select count(*) from runs").fetchone() == (2,)


def test_where_it_is_written(filled: Context, tmp_path: Path) -> None:
    for path, form, error in [
        (tmp_path / "what", None, "file or a folder"),
        (tmp_path / "x.duckdb", "csv", "not 'csv'"),
    ]:
        with pytest.raises(DefinitionError, match=error):
            filled.export(path, format=form)
    with pytest.raises(ArchiveError, match="no folder"):
        filled.export(tmp_path / "nowhere" / "x.duckdb")
    mine = tmp_path / "mine.duckdb"
    with duckdb.connect(str(mine)) as connection:
        connection.execute("create table t as select 1 as n")
    before = mine.read_bytes()
    for replace in (False, True):
        with pytest.raises(ArchiveError, match="there already"):
            filled.export(mine, replace=replace)
    assert mine.read_bytes() == before
    for name in ("again.duckdb", "again/"):
        path = f"{tmp_path}/{name}"
        filled.export(path, tables=[])
        with pytest.raises(ArchiveError, match="replace=True"):
            filled.export(path)
        filled.export(path, replace=True)
        with open_archive(path) as archive:
            assert "tasks" in archive.tables()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["again", "again.duckdb", "mine.duckdb"]


@pytest.mark.parametrize("name", ["x.duckdb", "x/"])
def test_an_export_that_breaks_off_leaves_nothing(name: str, filled: Context, tmp_path: Path) -> None:
    def break_off(what: str, done: int, total: int | None) -> None:
        if what.startswith("writing tasks"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled.export(f"{tmp_path}/{name}", progress=break_off)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_archive(filled: Context, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no file"):
        open_archive(tmp_path / "nothing")
    (tmp_path / "text.duckdb").write_text("hello")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("create table t as select 1 as n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "archive.json").write_text('{"files": [{"schema": "x"}]}')
    (tmp_path / "sqlite.db").write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    for name in ("text.duckdb", "other.duckdb", "folder", "odd", "sqlite.db"):
        with pytest.raises(ArchiveError, match="is no archive of dataflows"):
            open_archive(tmp_path / name)
    filled.export(f"{tmp_path}/parts/", tables=["tasks"])
    next((tmp_path / "parts").glob("*events*")).unlink()
    with pytest.raises(ArchiveError, match="is missing"):
        open_archive(tmp_path / "parts")


def test_a_newer_format_is_refused(filled: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows_sdk.warehouse.export.FORMAT", 2)
    filled.export(tmp_path / "new.duckdb", tables=[])
    with pytest.raises(ArchiveError, match=r"format 2.*install a newer"):
        open_archive(tmp_path / "new.duckdb")


def test_an_archive_needs_no_database_and_no_frames(filled: Context, tmp_path: Path) -> None:
    filled.export(tmp_path / "x.duckdb")
    script = """
    import sys
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("numpy", "pandas", "pyarrow"):
                raise ModuleNotFoundError(name, name=name)
    sys.meta_path.insert(0, Missing())
    import json, dataflows_sdk as df
    with df.open_archive(sys.argv[1]) as archive:
        print(json.dumps([len(run.timeline()) for run in archive.runs()] + archive.tables()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "x.duckdb")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, 2, 'a"b/🎉', "tasks"]


def _refused(token: str) -> None:
    raise PermissionError(f"{token} is not known")


def test_what_is_masked_stays_masked(make_ctx: MakeContext, tmp_path: Path) -> None:
    ctx = make_ctx()

    @df.workflow("secretive")
    async def secretive(event: Any, step: Any) -> Any:
        return await step.run("use", _refused, "hunter2-hunter2", retry=df.NO_RETRY)

    ctx._redactor.add("hunter2-hunter2")
    ctx.start(secretive).wait()
    ctx.export(f"{tmp_path}/x/")
    ctx.export(tmp_path / "x.duckdb")
    found = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert b"secretive" in found
    assert b"hunter2" not in found


def test_the_real_warehouse(ctx: Context, tmp_path: Path) -> None:
    """Tables as `ctx.warehouse` writes them; their history is the view that it made."""
    from dataflows_sdk.warehouse.desk import Warehouse

    tasks = Warehouse(ctx._database).table("tasks", {"key": str, "hours": Decimal, "done": bool}, key="key")
    tasks.upsert_many([{"key": f"T-{n}", "hours": Decimal(n), "done": False} for n in range(100)])
    moment = ctx.sql("select max(_synced_at) from tasks").fetchone()[0]
    tasks.upsert(key="T-1", hours=Decimal("7.5"), done=True)
    tasks.delete("T-2")
    there = list(ctx.sql("from tasks_history").columns)
    for query, expected in [
        ("select count(*), sum(hours) from tasks", (99, Decimal(4950 - 2 - 1) + Decimal("7.5"))),
        ("select count(*) from tasks_history", (101,)),
        ("select hours from tasks where key = 'T-1'", (Decimal("7.5"),)),
    ]:
        assert ctx.sql(query).fetchone() == expected
    assert ctx.sql("select count(*), sum(hours) from tasks", as_of=moment).fetchone() == (100, 4950)
    assert ctx.sql("select count(*) from tasks", as_of="365d").fetchone() == (0,)
    with psycopg.connect(ctx.url) as connection:
        connection.execute("set timezone to 'UTC'")
        cursor = connection.execute("select * from warehouse.tasks_history")
        assert there == [column.name for column in cursor.description or ()]
        view = cursor.fetchall()
    assert plain(ctx.sql("from tasks_history").fetchall()) == plain(view)
    ctx.export(tmp_path / "x.duckdb")
    with Archive(tmp_path / "x.duckdb") as archive:
        assert plain(archive.sql("from tasks_history").fetchall()) == plain(view)


def test_exporters_tell_without_anybody_listening(filled: Context, tmp_path: Path) -> None:
    Exporter(filled._database).write(tmp_path / "x.duckdb", "duckdb", None, None, replace=False)
    assert (tmp_path / "x.duckdb").exists()
