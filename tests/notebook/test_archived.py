"""A run in an archive opens in every view, without any PostgreSQL: a report of a bug is one file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import pytest

import dataflows_sdk as df
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.notebook.display import view_of
from dataflows_sdk.runs import Run

from .shows import declare
from .test_commands import Page

TOKEN = "damson-tree-token-20175"


@pytest.fixture
def runs(ctx: df.Context) -> list[Run]:
    """Two runs of code that write rows and remember, and one of a flow."""
    ctx.memory.use("none")
    memory = ctx.memory
    tasks = ctx.warehouse.table("tasks", {"key": str, "left": int}, key="key")
    other = ctx.warehouse.table("other", {"key": str}, key="key")

    async def stocking(event: Any, step: Any) -> Any:
        token = "damson-tree-token-20175"
        await step.run("count", lambda: tasks.upsert_many([{"key": k, "left": 1} for k in "abc"]).inserted)
        await step.run("note", lambda: memory.remember(f"counted with {token}", ref="count").added)
        await step.run("order", lambda: tasks.upsert({"key": "b", "left": event.payload["n"]}) and 1)
        await step.run("drop", lambda: tasks.delete("c").deleted)
        await step.run("aside", lambda: other.upsert({"key": "x"}) and 1)
        await step.run("again", lambda: memory.remember("counted again", ref="count").added)
        return event.payload["n"]

    flow = declare(stocking)
    found = [ctx.start(flow, {"n": n}).wait("20s") for n in (7, 8)]
    drawn = df.flow("drawn").step("load", lambda: [1]).step("total", lambda load: sum(load))
    found.append(ctx.start(drawn, {}).wait("20s"))
    assert [run.status for run in found] == ["succeeded"] * 3, found[0].error
    REDACTOR.add(TOKEN)
    return found


@pytest.mark.parametrize("name", ["x.duckdb", "x/"])
def test_every_view_is_as_it_was(name: str, ctx: df.Context, runs: list[Run], tmp_path: Path) -> None:
    path = f"{tmp_path}/{name}"
    ctx.export(path)
    files = [tmp_path / name] if name == "x.duckdb" else list((tmp_path / name).iterdir())
    assert TOKEN.encode() not in b"".join(file.read_bytes() for file in files)
    with df.open_archive(path) as archive:
        for run in runs:
            kept, there = archive.run(run.id), view_of(run)
            view = view_of(kept)
            assert (view.events, view.writes, view.said) == (there.events, there.writes, there.said)
            assert (view.head, view.spec is None, view.lacks) == (there.head, there.spec is None, [])
            assert kept.text() == run.text()
            assert kept.svg() == run.svg()
            assert kept.svg(at=2) == run.svg(at=2)
            page = kept.save_html(tmp_path / "kept.html").read_text(encoding="utf-8")
            assert run.id in page
            assert TOKEN not in page
            assert "".join(kept.source.split()) == "".join(REDACTOR.redact_text(run.source).split())
        assert [(each["table"], each["step"], each["inserted"]) for each in archive.run(runs[0].id).wrote()] == [
            (each["table"], each["step"], each["inserted"]) for each in runs[0].wrote()
        ]
        assert repr(archive.run(runs[0].id).diff(archive.run(runs[1].id))) == repr(runs[0].diff(runs[1]))
        assert "async def stocking" in archive.run(runs[0].id).source


def test_the_page_may_look_at_everything(ctx: df.Context, runs: list[Run], tmp_path: Path) -> None:
    ctx.export(tmp_path / "x.duckdb")
    place = {event[3]: n + 1 for n, event in enumerate(view_of(runs[0]).events) if event[2] == "step.completed"}
    with df.open_archive(tmp_path / "x.duckdb") as archive:
        here, there = Page(archive.run(runs[0].id)), Page(runs[0])
        for asked in (
            {"do": "writes"},
            {"do": "diff", "other": runs[1].id},
            *({"do": "detail", "key": key, "at": at} for key in place for at in (None, 3)),
            *({"do": "rows", "table": "tasks", "n": n} for n in place.values()),
            *({"do": "rows", "table": "tasks", "n": place[key], "changed": True} for key in ("count", "order", "drop")),
            {"do": "rows", "table": "tasks", "n": 10_000},
        ):
            kept, live = here.ask(**asked), there.ask(**asked)
            if asked.get("changed"):  # an archive does not know the key of a table: its own number stands there
                for reply in (kept, live):
                    reply["table"]["rows"] = [
                        [row[0], *(part.partition("key = ")[2] or part for part in row[2:])]
                        for row in reply["table"]["rows"]
                    ]
            assert kept == live, asked
        assert here.ask(do="places") == {**there.ask(do="places"), "places": []}
        refused = here.ask(do="recall", n=3, question="counted", collection="default")
        assert not refused["ok"]
        assert "nothing can be recalled" in refused["text"]
        pytest.importorskip("anywidget")
        view = archive.run(runs[0].id).view(against=archive.run(runs[1].id))
        assert (view.commands, view.looks) == (False, True)
        assert view.against["steps"] == [["count", "3", "1"]]  # two rows were there already
        assert [line[0] for line in view.against["head"]] == ["input", "result"]
        view.close()


def test_what_is_not_in_it_is_said(ctx: df.Context, runs: list[Run], tmp_path: Path) -> None:
    ctx.export(tmp_path / "some.duckdb", tables=["tasks"], runs=[runs[0]])
    with df.open_archive(tmp_path / "some.duckdb") as archive:
        kept = archive.run(runs[0].id)
        assert {each["table"] for each in kept.wrote()} == {"tasks"}
        assert view_of(kept).lacks == ["Writes of this run to tables that are not in the archive: 1."]
        assert "(Writes of this run" in kept.text()
        assert "Writes of this run" in kept.save_html(tmp_path / "x.html").read_text(encoding="utf-8")
        assert {row[0] for row in archive._run("said", kept.id)} == {"remembered", "ended"}
    with duckdb.connect(str(tmp_path / "some.duckdb"), read_only=True) as connection:
        assert connection.execute("select distinct run from internal.said").fetchall() == [(runs[0].id,)]
        assert connection.execute("select workflow from internal.versions").fetchall() == [("stocking",)]


def test_an_archive_of_an_older_version_opens(ctx: df.Context, runs: list[Run], tmp_path: Path) -> None:
    ctx.export(tmp_path / "old.duckdb")
    ctx.export(f"{tmp_path}/old/")
    with duckdb.connect(str(tmp_path / "old.duckdb")) as connection:
        connection.execute("drop table internal.versions; drop table internal.said")
    manifest = tmp_path / "old" / "archive.json"
    found = json.loads(manifest.read_text())
    found["files"] = [each for each in found["files"] if each["table"] not in ("versions", "said")]
    manifest.write_text(json.dumps(found))
    for name in ("old.duckdb", "old/"):
        with df.open_archive(f"{tmp_path}/{name}") as archive:
            kept, drawn = archive.run(runs[0].id), archive.run(runs[2].id)
            view = view_of(kept)
            assert (kept.source, kept.said(), view.said) == ("", None, None)
            assert view.writes == view_of(runs[0]).writes
            assert "no source" in view.lacks[0]
            assert Page(kept).ask(do="detail", key="count", at=None)["ok"]
            assert view_of(drawn).spec is None
            assert "load" in drawn.text()


def test_there_is_no_database(ctx: df.Context, runs: list[Run], tmp_path: Path) -> None:
    ctx.export(tmp_path / "x.duckdb")
    shutil.move(tmp_path / "x.duckdb", tmp_path / "moved.duckdb")
    script = """
    import sys
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("numpy", "pandas", "pyarrow", "anywidget"):
                raise ModuleNotFoundError(name, name=name)
    sys.meta_path.insert(0, Missing())
    import json, pathlib, dataflows_sdk as df
    from dataflows_sdk.notebook.commands import Commands
    from dataflows_sdk.notebook.display import view_of
    folder = pathlib.Path(sys.argv[1])
    with df.open_archive(folder / "moved.duckdb") as archive:
        run, other = archive.run(sys.argv[2]), archive.run(sys.argv[3])
        view = view_of(run)
        commands = Commands(run, view, print, print)
        rows = commands.answer({"do": "rows", "table": "tasks", "n": len(view.events)})
        print(json.dumps([
            len(view.writes), len(view.said), len(run.svg()) > 1000, run.text().splitlines()[0], rows["table"]["of"],
            run.save_html(folder / "run.html").stat().st_size > 50_000, bool(run.diff(other)),
            sorted(run._repr_mimebundle_()),
        ]))
    assert not [name for name in sys.modules if name.startswith("dataflows_memory")]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), runs[0].id, runs[1].id],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(each for each in sys.path if each)},
    )
    assert done.returncode == 0, done.stderr
    wrote, said, drawn, line, count, saved, differs, kinds = json.loads(done.stdout)
    assert (wrote, said, drawn, count, saved, differs) == (4, 3, True, 2, True, True)
    assert line == runs[0].text().splitlines()[0]
    assert {"text/html", "text/plain", "image/svg+xml"} <= set(kinds)
