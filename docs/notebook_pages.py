"""Pages that are notebooks: a page that says ``<!-- notebook: NAME -->`` is made of ``notebooks/NAME.ipynb``.

Nothing is executed here: the tests do that. Cells with magics are no plain Python, and are shown as text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
STUB = re.compile(r"\A<!-- notebook: (?P<name>\w+) -->\s*\Z")


def page_of(path: Path) -> str:
    """The Markdown of a notebook."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.md)", text))
        else:
            magic = any(line.startswith("%") for line in text.splitlines())
            parts.append(f"```{'text' if magic else 'python'}\n{text}\n```")
    title, *rest = parts
    told = f"*This page is the notebook `notebooks/{path.name}` of the repository, which a test runs from end to end.*"
    return "\n\n".join([title, told, *rest]) + "\n"


def read(app: Any, _name: str, content: list[str]) -> None:
    """Put the notebook in the place of the page."""
    if stub := STUB.match(content[0]):
        path = FOLDER / f"{stub['name']}.ipynb"
        app.env.note_dependency(str(path))
        content[0] = page_of(path)


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
