"""A real Jupyter kernel publishes what its cells define, and dies; another process runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from ..conftest import MakeContext
from .conftest import KEY

CELLS = (
    "import dataflows_sdk as df\nfrom dataclasses import dataclass\nfrom enum import Enum",
    "class Kind(Enum):\n    A = 'a'\n\n@dataclass\nclass Order:\n    id: int\n    kind: Kind = Kind.A",
    "TAX = 1.5\ndef taxed(order: Order) -> float:\n    return order.id * TAX",
    # a cell that was run twice, with another text in between
    "@dataclass\nclass Answer:\n    value: float\n    unit: str = 'EUR'",
    "@dataclass\nclass Answer:\n    value: float\n    unit: str = 'USD'",
    "@dataclass\nclass Answer:\n    value: float\n    unit: str = 'EUR'",
    """\
@df.workflow("from-a-kernel")
async def from_a_kernel(event: df.Event[Order], step):
    value = await step.run("tax", taxed, event.payload)
    return Answer(value)
""",
    "ctx = df.connect(URL, work=False, key=KEY)\nshown = ctx.publish(from_a_kernel)",
    "run = ctx.start(from_a_kernel, Order(4))\nprint(run.id, shown.version == from_a_kernel.version)",
    """\
@df.workflow("shows")
def shows(event, step):
    display(1)
    get_ipython()
try:
    ctx.publish(shows)
except df.errors.PublishError as error:
    print(error)
""",
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_a_kernel_publishes(
    tmp_path: Path, database_url: str, make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    cells = [cell.replace("URL", repr(database_url)).replace("key=KEY", f"key={KEY!r}") for cell in CELLS]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said: list[Any] = [cell.outputs[0]["text"] for cell in book.cells if cell.outputs]
    identifier, same = said[0].split()
    assert same == "True"
    assert "shows() uses 'get_ipython'" in said[1]
    assert "it is the notebook itself" in said[1]
    worker = make_ctx(key=KEY, published=True)
    run = worker.get(identifier)
    answer = run.result("30s")
    assert (answer.value, answer.unit) == (6.0, "EUR")
