"""``%load_ext dataflows_sdk``: in IPython itself, and in a real kernel whose event loop runs."""

from __future__ import annotations

import atexit
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from pydantic import BaseModel
from traitlets.config import Config

import dataflows_sdk as df
from dataflows_sdk.notebook.magics import DataflowsMagics
from dataflows_sdk.notebook.preview import FlowPreview, WorkflowPreview, steps_in

from ..conftest import MakeContext


class Task(BaseModel):
    id: int
    name: str


class Cells:
    """The magics over an IPython; what they display is kept."""

    def __init__(self, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, Any] = shell.user_ns
        self.shown: list[Any] = []
        self.magics = DataflowsMagics(shell)
        monkeypatch.setattr("dataflows_sdk.notebook.magics.show", self.shown.append)


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cells:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}), user_ns={"__name__": "__main__"})
    atexit.unregister(shell.atexit_operations)  # it ends a history that there is not
    return Cells(shell, monkeypatch)


# --- which context ----------------------------------------------------------------------------------------


def test_without_a_context_they_say_how_to_get_one(cells: Cells) -> None:
    for magic, line in ((cells.magics.runs, ""), (cells.magics.dataflows, ""), (cells.magics.dfsql, "select 1")):
        with pytest.raises(UsageError, match=r"no open context.*%dataflows connect"):
            magic(line)


def test_the_only_context_is_taken_and_one_of_several_is_named(cells: Cells, make_ctx: MakeContext) -> None:
    one = cells.names["one"] = cells.names["same"] = make_ctx()
    assert cells.magics.dataflows("") is one
    cells.names["two"] = two = make_ctx()
    with pytest.raises(UsageError, match=r"several contexts are open \((one|same), two\).*--ctx"):
        cells.magics.runs("")
    assert cells.magics.dataflows("--ctx two") is two
    cells.magics.dataflows("use two")
    assert cells.magics.dataflows("") is two
    two.close()
    assert cells.magics.dataflows("") is one
    for line, reason in (("three", "no variable"), ("number", "is a int"), ("two", "closed")):
        cells.names["number"] = 3
        with pytest.raises(UsageError, match=reason):
            cells.magics.runs(f"--ctx {line}")


def test_connect_gives_a_variable(cells: Cells, database_url: str, make_ctx: MakeContext) -> None:
    made = cells.magics.dataflows(f"connect {database_url} --as mine --no-work")
    assert made is not None
    try:
        assert cells.names["mine"] is made
        assert list(cells.magics.runs("")) == []
    finally:
        made.close()
    cells.names["other"] = 3
    for line, reason in (
        (f"connect {database_url} --as other", "is a int already"),
        (f"connect {database_url} --as no-name", "letters"),
        (f"connect {database_url} --directory d", "not both"),
        ("connect postgresql://ada:hushhush@127.0.0.1:1/x", "connect"),
        ("use", "name the variable"),
        ("conect", "conect"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            cells.magics.dataflows(line)
        assert "hushhush" not in str(caught.value)


# --- %%flow -----------------------------------------------------------------------------------------------


def test_a_cell_defines_flows_and_shows_their_plans(cells: Cells) -> None:
    cells.names["df"] = df
    cells.magics.flow("sums", 'df.flow("sums").step("load", lambda: [1]).step("total", lambda load: sum(load))')
    (shown,) = cells.shown
    assert isinstance(shown, FlowPreview)
    assert cells.names["sums"] is shown.flow
    assert "data:image/svg+xml" in shown._repr_html_()
    assert "load → total" in shown._repr_html_()
    cells.magics.flow("sums")
    assert len(cells.shown) == 2


def test_a_workflow_shows_the_steps_of_its_source(cells: Cells) -> None:
    cells.names["df"] = df
    cell = (
        '@df.workflow("nap")\nasync def nap(event, step):\n    for i in range(2):\n        await step.run("one", str)\n'
    )
    cells.magics.flow("", cell)
    (shown,) = cells.shown
    assert isinstance(shown, WorkflowPreview)
    assert shown.steps == [(4, "run", "one", True)]
    assert "one" in repr(shown)
    assert "repeated" in shown._repr_html_()
    assert shown.workflow.source == cell
    assert steps_in("not python") == steps_in("x = 1") == []


def test_every_problem_of_a_flow_is_shown_and_escaped(cells: Cells) -> None:
    cells.names["df"] = df
    cells.magics.flow("bad", 'df.flow("<script>x</script>").step("a", lambda nobody: 1).step("b", lambda nothing: 2)')
    (shown,) = cells.shown
    assert len(shown.problems) >= 2
    text = shown._repr_html_()
    assert "nobody" in text
    assert "nothing" in text
    assert "<script" not in text
    assert all(str(problem) in repr(shown) for problem in shown.problems)


@pytest.mark.parametrize(
    ("line", "cell", "reason"),
    [
        ("", "x = 1", "gives no flow"),
        ("", "", "gives no flow"),
        ("sums", "x = 1", "no expression"),
        ("2x", "x", "letters"),
        ("", "await thing", "of its own"),
        ("nobody", None, "is none"),
        ("", None, "is none"),
        ("'", "x", "quotation"),
    ],
)
def test_a_bad_flow_cell_says_what_to_write(cells: Cells, line: str, cell: str | None, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        cells.magics.flow(line, cell)


def test_an_error_of_the_cell_is_the_cells_own(cells: Cells) -> None:
    with pytest.raises(ZeroDivisionError):
        cells.magics.flow("", "x = 1 / 0")
    with pytest.raises(SyntaxError):
        cells.magics.flow("", "x = = 1")


# --- %runs and %%dfsql ------------------------------------------------------------------------------------


def test_runs_are_filtered(cells: Cells, make_ctx: MakeContext) -> None:
    cells.names["ctx"] = ctx = make_ctx()

    @df.workflow("good")
    def good(event: Any, step: Any) -> int:
        return 1

    @df.workflow("bad")
    def bad(event: Any, step: Any) -> int:
        raise ValueError("no")

    run = ctx.run(good, {})
    with pytest.raises(df.errors.RunFailed):
        ctx.run(bad, {}).result()
    assert [each.workflow for each in cells.magics.runs("")] == ["bad", "good"]
    assert [each.id for each in cells.magics.runs("good --since 1h")] == [run.id]
    assert [each.workflow for each in cells.magics.runs("status=failed limit=5  # the bad ones")] == ["bad"]
    for line, reason in (
        ("--status odd", "no status"),
        ("--since never", "never"),
        ("--limit 0", "limit"),
        ("--x", "x"),
    ):
        with pytest.raises(UsageError, match=reason):
            cells.magics.runs(line)


def test_sql_reads_the_warehouse_its_past_and_the_notebook(cells: Cells, make_ctx: MakeContext) -> None:
    cells.names["ctx"] = ctx = make_ctx()
    table = ctx.warehouse.table("tasks", Task, key="id")
    table.upsert({"id": 1, "name": "fence"})
    cells.names["before"] = ctx.sql("select now()").fetchall()[0][0]
    table.upsert({"id": 1, "name": "gate"})
    cells.names["wanted"] = 1
    assert cells.magics.dfsql("found", "select name from tasks where id = $wanted").fetchall() == [("gate",)]
    assert cells.names["found"].fetchall() == [("gate",)]
    assert cells.magics.dfsql("select 2 as two").fetchall() == [(2,)]
    assert cells.magics.dfsql("old as_of=before --quiet", "select name from tasks") is None
    assert cells.names["old"].fetchall() == [("fence",)]
    pd = pytest.importorskip("pandas")
    cells.names["frame"] = pd.DataFrame({"n": [1, 2]})
    assert cells.magics.dfsql("", "select sum(n) from frame").fetchall() == [(3,)]
    for line, cell, reason in (
        ("", "  ", "there is no query"),
        ("2x", "select 1", "letters"),
        ("", "select $nobody", "nobody is no variable"),
        ("", "selct 1", "selct"),
        ("as_of=2999-01-01", "select 1", "future"),
        ("--timeout soon", "select 1", "soon"),
    ):
        with pytest.raises(UsageError, match=reason):
            cells.magics.dfsql(line, cell)


# --- in a kernel ------------------------------------------------------------------------------------------

KERNEL = [
    "%load_ext dataflows_sdk\nimport dataflows_sdk as df\n%dataflows connect",
    (
        '%%flow\n@df.workflow("double")\nasync def double(event, step):\n'
        '    return await step.run("twice", lambda: event.payload["n"] * 2)'
    ),
    'run = ctx.start(double, {"n": 4})\nawait run',
    'ctx.run(double, {"n": 5}).result()',
    "import asyncio\n[each for each in await asyncio.gather(*(ctx.start(double, {'n': n}) for n in range(3)))]",
    'double_sync = ctx.start(double, {"n": 6})\ndouble_sync.result(), await double_sync',
    "%runs double",
    "%%dfsql counts\nselect status, count(*) as n from runs group by 1",
    "counts.fetchall()",
    "import sys\n'nest_asyncio' in sys.modules",
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_waiting_and_awaiting_work_in_a_running_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    monkeypatch.delenv("DATAFLOWS_URL", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in KERNEL])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [
        cell.outputs[-1]["data"]["text/plain"] for cell in notebook.cells if cell.outputs and "data" in cell.outputs[-1]
    ]
    assert texts[2:6] == ["8", "10", "[0, 2, 4]", "(12, 12)"]
    assert texts[6].count("succeeded") == 6
    assert texts[8:] == ["[('succeeded', 6)]", "False"]


def test_the_extension_is_found_without_loading_ipython() -> None:
    program = "import dataflows_sdk, sys; assert 'IPython' not in sys.modules; dataflows_sdk.load_ipython_extension"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
