"""A graph of boxes as plain SVG, for every place that runs no script: GitHub, nbconvert, an untrusted notebook, a file.

Only presentation attributes: sanitizers take away styles, links and scripts. The picture brings its own light card,
because an ``<img>`` cannot see the theme of its page. Marks are drawn, not typed: a machine may have no font for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from dataflows_sdk.drawing.layered import Layout, Point, layout

#: of one box
WIDE, HIGH = 168.0, 44.0
#: fill and line
LOOKS: dict[str, tuple[str, str]] = {
    "pending": ("#f6f6f7", "#8b8b94"),
    "running": ("#e3f0ff", "#1f6feb"),
    "waiting": ("#f3eaff", "#8250df"),
    "retrying": ("#fff3da", "#9a6700"),
    "completed": ("#e5f6ea", "#1a7f37"),
    "failed": ("#ffe9e7", "#cf222e"),
    "timed_out": ("#fff3da", "#9a6700"),
    "skipped": ("#f6f6f7", "#8b8b94"),
    "cancelled": ("#f6f6f7", "#59636e"),
    "trigger": ("#e8f5e9", "#2e7d32"),
    "action": ("#e3f2fd", "#1565c0"),
    "logic": ("#fff8e1", "#b26a00"),
    "code": ("#f3e5f5", "#6a1b9a"),
    "plain": ("#f5f5f5", "#424242"),
}
#: paths in a square of ten; those of the page are the same, see core.js
MARKS: dict[str, str] = {
    "running": "M2 1v8l6-4z",
    "waiting": "M5 0.5a4.5 4.5 0 1 0 0.01 0M5 2.5v2.7l2 1.3",
    "retrying": "M8.5 5a3.5 3.5 0 1 1-1-2.5M8 0.5v2.5h-2.5",
    "completed": "M1 5.5l2.8 2.8L9 2",
    "failed": "M1.5 1.5l7 7M8.5 1.5l-7 7",
    "timed_out": "M5 0.5a4.5 4.5 0 1 0 0.01 0M5 2.5v2.7h2.5",
    "skipped": "M1.5 5h7",
    "cancelled": "M5 0.5a4.5 4.5 0 1 0 0.01 0M2 8l6-6",
    "problem": "M5 1L9.6 9.2H0.4zM5 4v2.4M5 7.6v0.6",
}
_FONT = 'font-family="system-ui, -apple-system, Segoe UI, sans-serif"'
_INK, _FAINT, _LINE = "#1f2328", "#59636e", "#8b98a5"
_SHOWN = 22
_WARNING, _ERROR = "#9a6700", "#cf222e"


@dataclass(frozen=True, slots=True)
class Box:
    """One box of a picture.

    Attributes:
        id: unique in the picture.
        label, detail: the two lines in it; the second in the colour of its *look*.
        look: a key of `LOOKS`.
        hint: what a pointer over it shows.
        stacked: it stands for several.
        problems: messages; the box gets a sign, and they are shown with the hint.
        severe: whether one of them is an error.
        dashed: it is not there yet.
    """

    id: str
    label: str
    detail: str = ""
    look: str = "plain"
    hint: str = ""
    stacked: bool = False
    problems: tuple[str, ...] = ()
    severe: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A line between two boxes; a dashed one is not the usual way."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes and edges, and where they are."""

    boxes: Sequence[Box]
    edges: Sequence[Edge]
    layout: Layout[str]


def arrange(ids: Iterable[str], edges: Iterable[tuple[str, str]]) -> Layout[str]:
    """The layout of boxes of the usual size."""
    return layout(dict.fromkeys(ids, (WIDE, HIGH)), edges)


def draw(graph: Graph, title: str, *, heading: str = "", note: str = "", wide: float = 1_100) -> str:
    """The picture.

    Args:
        title: for those who cannot see it.
        heading: a line above the boxes.
        note: a line below them.
        wide: how wide it is shown at the most; it can be scaled.
    """
    width, height, parts = _panel(graph, heading, note)
    return "".join([head(width, height, title, wide=wide), *parts]) + "</svg>"


def draw_beside(panels: Sequence[tuple[Graph, str, str]], title: str, *, wide: float = 1_100) -> str:
    """Several graphs as one picture, each with its heading and note: side by side where there is room, else stacked.

    Args:
        panels: each a graph, a heading and a note.
        title: for those who cannot see it.
        wide: how wide it may be, and is shown, at the most.
    """
    panes = [_panel(*panel) for panel in panels]
    across = sum(width for width, _, _ in panes) <= wide
    x = y = 0.0
    parts: list[str] = []
    for width, height, inside in panes:
        parts += [f'<g transform="translate({x:g} {y:g})">', *inside, "</g>"]
        x, y = (x + width, y) if across else (x, y + height)
    whole = (x, max(height for _, height, _ in panes)) if across else (max(width for width, _, _ in panes), y)
    return "".join([head(*whole, title, wide=wide), *parts]) + "</svg>"


def _panel(graph: Graph, heading: str, note: str) -> tuple[float, float, list[str]]:
    """How wide and high a graph with its lines of text is, and its parts."""
    edge = 16.0
    top = edge + (22 if heading else 0)
    across = max(graph.layout.width, 8.0 * len(heading) if heading else 0, 6.0 * len(note) if note else 0)
    width, height = across + 2 * edge, graph.layout.height + top + edge + (18 if note else 0)
    parts = []
    if heading:
        parts.append(
            f'<text x="{edge:g}" y="24" font-size="13" font-weight="600" fill="{_INK}">{shown(heading)}</text>'
        )
    parts.append(f'<g transform="translate({edge:g} {top:g})">')
    for line in graph.edges:
        points = graph.layout.paths.get((line.source, line.target))
        if points:
            parts.append(_edge(points, line, dashed=line.dashed or (line.source, line.target) in graph.layout.back))
    for box in graph.boxes:
        x, y = graph.layout.places[box.id]
        parts.append(_box(box, x - WIDE / 2, y - HIGH / 2))
    parts.append("</g>")
    if note:
        parts.append(f'<text x="{edge:g}" y="{height - 12:g}" font-size="11" fill="{_FAINT}">{shown(note)}</text>')
    return width, height, parts


def head(width: float, height: float, title: str, *, wide: float = 1_100) -> str:
    """The beginning of a picture, with its card."""
    scale = min(1.0, wide / width)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width * scale:.0f}" '
        f'height="{height * scale:.0f}" role="img" {_FONT} font-size="12"><title>{shown(title)}</title>'
        f'<path d="M0 0H{width:g}V{height:g}H0z" fill="#ffffff"/>'
        f'<path d="M0.5 0.5H{width - 0.5:g}V{height - 0.5:g}H0.5z" fill="none" stroke="#d7d7dc"/>'
    )


def shown(text: str, limit: int = 400) -> str:
    """A text for a picture: one line, no control characters, cut, escaped."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return escape(line if len(line) <= limit else line[: limit - 1] + "…")


def curve(points: Sequence[Point]) -> str:
    """A smooth line from left to right through points."""
    (x, y), *rest = points
    path = f"M{x:g} {y:g}"
    for right, down in rest:
        middle = (x + right) / 2
        straight = abs(down - y) < 0.5
        path += f"L{right:g} {down:g}" if straight else f"C{middle:g} {y:g} {middle:g} {down:g} {right:g} {down:g}"
        x, y = right, down
    return path


def _edge(points: Sequence[Point], edge: Edge, *, dashed: bool) -> str:
    x, y = points[-1]
    tip = -6 if len(points) < 2 or points[-2][0] <= x else 6
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    line = (
        f'<path d="{curve(points)}" fill="none" stroke="{_LINE}" stroke-width="1.3"{dash}/>'
        f'<path d="M{x + tip:g} {y - 3.5:g}L{x:g} {y:g}L{x + tip:g} {y + 3.5:g}z" fill="{_LINE}"/>'
    )
    if not edge.label:
        return line
    (x1, y1), (x2, y2) = points[0], points[1]
    return line + (
        f'<text x="{(x1 + x2) / 2:g}" y="{(y1 + y2) / 2 - 5:g}" fill="{_FAINT}" font-size="10" text-anchor="middle">'
        f"{shown(edge.label, 16)}</text>"
    )


def _box(box: Box, x: float, y: float) -> str:
    fill, line = LOOKS.get(box.look, LOOKS["plain"])
    hint = "\n".join((box.hint or box.label, *box.problems))
    dash = ' stroke-dasharray="4 3"' if box.dashed else ""
    border = (_ERROR if box.severe else _WARNING) if box.problems else line
    parts = [f'<g data-step="{shown(box.id)}"><title>{_lines(hint)}</title>']
    if box.stacked:
        right, low = x + WIDE, y + HIGH
        parts.append(
            f'<path d="M{x + 6:g} {low + 3:g}H{right + 3:g}V{y + 6:g}" fill="none" stroke="{line}" stroke-width="1.2"/>'
        )
    parts.append(
        f'<rect x="{x:g}" y="{y:g}" width="{WIDE:g}" height="{HIGH:g}" rx="7" fill="{fill}" stroke="{border}" '
        f'stroke-width="{2.2 if box.problems else 1.3}"{dash}/>'
    )
    mark = MARKS.get(box.look)
    if mark:
        parts.append(drawn(mark, x + 10, y + 12, line, filled=box.look == "running"))
    left = x + (28 if mark else 12)
    parts.append(
        f'<text x="{left:g}" y="{y + 19:g}" fill="{_INK}" font-weight="600">{shown(box.label, _SHOWN - 2)}</text>'
        f'<text x="{left:g}" y="{y + 35:g}" fill="{line}" font-size="10.5">{shown(box.detail, _SHOWN + 4)}</text>'
    )
    if box.problems:
        parts.append(drawn(MARKS["problem"], x + WIDE - 18, y + 7, border))
    return "".join(parts) + "</g>"


def drawn(mark: str, x: float, y: float, colour: str, *, filled: bool = False) -> str:
    """A mark, ten wide and high."""
    ink = f'fill="{colour}"' if filled else f'fill="none" stroke="{colour}" stroke-width="1.6"'
    return f'<path transform="translate({x:g} {y:g})" d="{mark}" {ink}/>'


def _lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.splitlines()[:12])
