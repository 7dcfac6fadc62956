"""Progress: in a notebook by itself, in a terminal when asked, elsewhere never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import dataflows_sdk as df
from dataflows_sdk import bars
from dataflows_sdk.engine.tally import Tally

from ..conftest import MakeContext


def test_a_program_hears_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLOWS_PROGRESS", raising=False)
    assert bars.place() == "nowhere"
    with bars.bar("rows", 10) as tell:
        tell(5, 10, "half")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for said, where in (("1", "terminal"), ("0", "nowhere"), ("off", "nowhere")):
        monkeypatch.setenv("DATAFLOWS_PROGRESS", said)
        assert bars.place() == where


def test_a_bar_of_a_terminal_goes_away(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with bars.bar("rows of [red]", 10, where="terminal") as tell:
        tell(5, 10, "[/half]")
    out, error = capfd.readouterr()
    assert out == ""
    assert "rows of [red]" in error or error.strip() == ""  # rich writes nothing where nobody looks


def test_what_a_run_does_is_counted(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("counted")
    async def counted(event: Any, step: Any) -> None:
        await step.map("many", lambda n: n, [1, 2, 3])
        await step.run("last", lambda: 1)

    tally = Tally()
    for event in ctx.run(counted).events():
        tally.take(event)
    assert tally.done == 4


CELLS = [
    "from dataflows_sdk import bars\nimport time, dataflows_sdk as df\nbars.place()",
    "with bars.bar('rows <b>', 4) as tell:\n    for n in range(5):\n        tell(n, text='<i>'), time.sleep(0.3)",
    "with bars.bar('quick', 4) as tell:\n    tell(4)",
    (
        "try:\n    with bars.bar('broken') as tell:\n        time.sleep(1.1)\n        tell(1)\n        1 / 0\n"
        "except ZeroDivisionError:\n    pass"
    ),
    (
        "ctx = df.connect()\n@df.workflow('slow')\nasync def slow(event, step):\n"
        "    await step.run('one', lambda: 1)\n    await step.sleep('nap', '1.8s')\n    return 7\n"
        "ctx.run(slow).result()"
    ),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_a_notebook_shows_what_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    for name in ("DATAFLOWS_URL", "DATAFLOWS_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    where, rows, quick, broken, slow = (cell.outputs for cell in notebook.cells)
    assert where[0]["data"]["text/plain"] == "'notebook'"
    (shown,) = rows
    assert shown["data"]["text/plain"].startswith("rows <b>: 4 of 4")
    assert "rows &lt;b&gt;: 4 of 4" in shown["data"]["text/html"]
    assert "<progress" not in shown["data"]["text/html"]  # it is over
    assert quick == []
    assert "stopped" in broken[0]["data"]["text/plain"]
    told, result = slow
    assert told["data"]["text/plain"].startswith("slow: ")
    assert result["data"]["text/plain"] == "7"
