"""A flow as a picture: SVG without scripts, links or fonts of its own, the same for the same flow."""

from __future__ import annotations

from html import escape

from dataflows_sdk.flow.handles import edge_handle
from dataflows_sdk.flow.kinds import is_trigger, kind_of
from dataflows_sdk.flow.model import FlowSpec, NodeSpec
from dataflows_sdk.flow.render import one_line

_WIDE, _HIGH, _GAP_X, _GAP_Y, _EDGE = 176, 46, 56, 22, 14
_SHOWN = 22
#: fill and line by family; all are readable on white and on black
_COLOURS = {
    "trigger": ("#e8f5e9", "#2e7d32"),
    "action": ("#e3f2fd", "#1565c0"),
    "logic": ("#fff8e1", "#b26a00"),
    "code": ("#f3e5f5", "#6a1b9a"),
    "meta": ("#ffebee", "#b71c1c"),
}
_OTHER = ("#f5f5f5", "#424242")


def svg(spec: FlowSpec) -> str:
    """The flow from left to right: nodes in columns, edges with the names of their handles, gotos dashed."""
    columns = _columns(spec)
    place: dict[str, tuple[int, int]] = {}
    tallest = max(map(len, columns), default=0)
    for x, column in enumerate(columns):
        top = (tallest - len(column)) * (_HIGH + _GAP_Y) // 2
        for y, name in enumerate(column):
            place[name] = (_EDGE + x * (_WIDE + _GAP_X), _EDGE + top + y * (_HIGH + _GAP_Y))
    width = 2 * _EDGE + max(0, len(columns) * (_WIDE + _GAP_X) - _GAP_X)
    height = 2 * _EDGE + max(0, tallest * (_HIGH + _GAP_Y) - _GAP_Y)
    nodes = {node.id: node for node in reversed(spec.nodes)}
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12"><title>{escape(one_line(spec.name))}</title>'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#78909c"/></marker></defs>'
    )
    parts = [head]
    for edge in spec.edges:
        if edge.source in place and edge.target in place:
            label = edge_handle(edge, nodes[edge.source]) or edge.label or ""
            parts.append(_line(place[edge.source], place[edge.target], label))
    gotos = [(node.id, node.goto) for node in spec.nodes if node.goto is not None and node.goto in place]
    parts += [_line(place[source], place[target], "on error", dashed=True) for source, target in gotos]
    parts += [_box(node, place[node.id]) for node in nodes.values()]
    return "".join(parts) + "</svg>"


def _columns(spec: FlowSpec) -> list[list[str]]:
    """Nodes by their longest way from the beginning; within a column near those that lead to them."""
    ids = list(dict.fromkeys(node.id for node in spec.nodes))
    incoming: dict[str, list[str]] = {node: [] for node in ids}
    outgoing: dict[str, list[str]] = {node: [] for node in ids}
    gotos = [(node.id, node.goto) for node in spec.nodes if node.goto is not None]
    for source, target in [*((edge.source, edge.target) for edge in spec.edges), *gotos]:
        if source in incoming and target in incoming and source != target:
            incoming[target].append(source)
            outgoing[source].append(target)
    level = dict.fromkeys(ids, 0)
    left = {node: len(sources) for node, sources in incoming.items()}
    todo = [node for node in ids if not left[node]]
    for node in todo:  # grows; nodes on a cycle are never reached and stay in front
        for target in outgoing[node]:
            level[target] = max(level[target], level[node] + 1)
            left[target] -= 1
            if not left[target]:
                todo.append(target)
    columns: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    row: dict[str, float] = {}
    for node in sorted(ids, key=level.__getitem__):
        columns[level[node]].append(node)
    for column in columns:
        middle = {
            node: sum(row[source] for source in incoming[node] if source in row) / max(1, len(incoming[node]))
            for node in column
        }
        column.sort(key=middle.__getitem__)
        row |= {node: number - len(column) / 2 for number, node in enumerate(column)}
    return columns


def _box(node: NodeSpec, at: tuple[int, int]) -> str:
    x, y = at
    family = "trigger" if is_trigger(node.type) else node.type.partition("_")[0]
    fill, line = _COLOURS.get(family, _OTHER)
    kind = kind_of(node.type)
    label = kind.label if kind is not None else node.type
    return (
        f"<g><title>{escape(one_line(node.id))}: {escape(one_line(node.type))}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="8" fill="{fill}" stroke="{line}" '
        'stroke-width="1.5"/>'
        f'<text x="{x + 12}" y="{y + 20}" fill="#212121" font-weight="600">{_short(node.id)}</text>'
        f'<text x="{x + 12}" y="{y + 36}" fill="{line}" font-size="10.5">{_short(label)}</text></g>'
    )


def _line(source: tuple[int, int], target: tuple[int, int], label: str, *, dashed: bool = False) -> str:
    x1, y1 = source[0] + _WIDE, source[1] + _HIGH // 2
    x2, y2 = target[0], target[1] + _HIGH // 2
    bend = max(24, abs(x2 - x1) // 2)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    path = (
        f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke="#78909c" '
        f'stroke-width="1.5"{dash} marker-end="url(#a)"/>'
    )
    if not label:
        return path
    return path + (
        f'<text x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2 - 5}" fill="#546e7a" font-size="10" text-anchor="middle">'
        f"{_short(label)}</text>"
    )


def _short(text: str) -> str:
    shown = one_line(text)
    return escape(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…")
