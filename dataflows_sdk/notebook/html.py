"""A run as HTML that needs no kernel: the module of the live view, the events inside, and the picture until it runs.

For a saved notebook, an issue or the artefact of a build. Where scripts may not run the picture stays.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from dataflows_sdk.drawing.bundle import LARGEST, image
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.model import View
from dataflows_sdk.notebook.svg import dag, summary, waterfall

#: what stands in front of each module, so that a page imports nothing
_SHARED = ("core.js", "dom.js", "graph.js", "canvas.js", "time.js", "memory.js")
#: events that the output of a cell holds; a file holds all
IN_A_CELL = 3_000


@cache
def asset(name: str) -> str:
    """The text of a file that pages run or wear."""
    return files("dataflows_sdk.notebook.widgets").joinpath("static", name).read_text(encoding="utf-8")


def module(name: str, shared: Sequence[str] = _SHARED) -> str:
    """The source of one of our modules, with what it shares with others in front."""
    return "\n".join(asset(part) for part in (*shared, name))


def picture(view: View, n: int | None = None) -> str:
    """What is seen where no script runs: the boxes, and what happened when."""
    text = summary(view)
    parts = [svg for svg in (dag(view, n), waterfall(view, n)) if len(svg) <= LARGEST]
    if not parts:
        return f"<pre>{escape(text)}</pre>"
    return "".join(image(svg, text if number == 0 else f"{text}: when") for number, svg in enumerate(parts))


def state_of(view: View, n: int | None = None) -> dict[str, Any]:
    """What the page begins with."""
    return {
        "head": view.head,
        "graph": view.page_graph(),
        "events": view.events,
        "writes": view.writes,
        "said": view.said,
        "lacks": view.lacks,
        "cut": view.cut,
        "cursor": len(view.events) if n is None else n,
        "pins": [],
        "selected": None,
        "follow": n is None,
    }


def fragment(view: View, n: int | None = None, *, limit: int | None = IN_A_CELL) -> str:
    """HTML for the output of a cell. With more than *limit* events only the picture."""
    still = picture(view, n)
    if limit is not None and len(view.events) > limit:
        hint = f"{len(view.events):,} events: run.view() or run.save_html(path) shows them"
        return f"{still}<div>{escape(hint)}</div>"
    name = f"df-{secrets.token_hex(6)}"
    state = {**state_of(view, n), "still": True, "follow": False}
    boot = asset("still.js")
    for place, value in (("STATE", state), ("STYLE", asset("df.css")), ("HOST", name)):
        boot = boot.replace(f'"@{place}@"', _inline(value), 1)
    script = f"{module('run.js').replace('export default ', 'const widget = ', 1)}\n{boot}"
    return f'<div id="{name}">{still}</div><script type="module">{script}</script>'


def document(view: View) -> str:
    """A whole page."""
    title = escape(summary(view))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{title}</title></head><body style="margin:16px"><main>'
        f"{fragment(view, limit=None)}</main></body></html>\n"
    )


def save(view: View, path: str | os.PathLike[str]) -> Path:
    """Write a page.

    Raises:
        DefinitionError: the folder is not there, or it is one.
    """
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        raise DefinitionError(
            f"there is no folder for {str(file)!r}, or it is one: save_html() wants the path of a file"
        )
    file.write_text(document(view), encoding="utf-8")
    return file


def _inline(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
