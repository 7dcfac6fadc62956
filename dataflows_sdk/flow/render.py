"""Flows as Mermaid and as text. Both are deterministic, and a name cannot break out of its place."""

from __future__ import annotations

from dataflows_sdk.core.shown import counted
from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.kinds import is_trigger, kind_of
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec, parse_join

_SHAPES = {
    "python": ("[", "]"),
    "map": ("[[", "]]"),
    "subflow": ("[[", "]]"),
    "branch": ("{", "}"),
    "join": ("((", "))"),
}
_NAME_MAX = 120


def one_line(name: str) -> str:
    """A name as one printable line: control characters are escaped, an endless one is cut."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
    return shown if len(shown) <= _NAME_MAX else shown[: _NAME_MAX - 1] + "…"


# --- Mermaid ----------------------------------------------------------------------------------------------


def mermaid(spec: FlowSpec) -> str:
    """A Mermaid flowchart. Ids are ``n0``, ``n1``, …; names are labels in which everything but words is an
    entity code.
    """
    lines = ["flowchart TD"]
    ids: dict[str, str] = {}
    for node in spec.nodes:
        ids.setdefault(node.id, f"n{len(ids)}")
    drawn: set[str] = set()
    for node in spec.nodes:
        if node.id in drawn:
            continue
        drawn.add(node.id)
        left, right = ("([", "])") if is_trigger(node.type) else _SHAPES.get(node.type, ("[", "]"))
        detail = "" if node.type == "python" else f"<br/><i>{_entities(_kind(node))}</i>"
        lines.append(f'    {ids[node.id]}{left}"{_entities(one_line(node.id))}{detail}"{right}')
    for edge in spec.edges:
        if edge.source in ids and edge.target in ids:
            label = edge.source_handle or edge.label
            arrow = f'-->|"{_entities(one_line(label))}"|' if label else "-->"
            lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    lines += [
        f'    {ids[node.id]} -.->|"on error"| {ids[node.goto]}' for node in spec.nodes if node.goto in ids and node.goto
    ]
    return "\n".join(lines) + "\n"


def _entities(text: str) -> str:
    return "".join(char if char.isalnum() or char in " _-.,:" else f"#{ord(char)};" for char in text)


# --- text -------------------------------------------------------------------------------------------------


def text(spec: FlowSpec) -> str:
    """The flow level by level: what a node is, and what it waits for."""
    from dataflows_sdk.flow.plan import plan_of

    by_id = {node.id: node for node in reversed(spec.nodes)}
    try:
        levels = plan_of(spec).levels
    except FlowValidationError:
        levels = (tuple(by_id[node.id].id for node in spec.nodes),)
    head = f"{one_line(spec.name)} · {counted(len(spec.nodes), 'node')} · {counted(len(levels), 'level')}"
    if spec.description:
        head += f"\n{one_line(spec.description)}"
    incoming: dict[str, list[EdgeSpec]] = {}
    for edge in spec.edges:
        incoming.setdefault(edge.target, []).append(edge)
    handled: dict[str, list[str]] = {}
    for spec_node in by_id.values():
        if spec_node.goto is not None:
            handled.setdefault(spec_node.goto, []).append(one_line(spec_node.id))
    names = {node: one_line(node) for node in by_id}
    width = min(max(map(len, names.values()), default=0), 32)
    what = {node: _what(by_id[node]) for node in by_id}
    what_width = min(max(map(len, what.values()), default=0), 60)
    digits = len(str(len(levels)))
    lines = [head, ""]
    for number, level in enumerate(levels, 1):
        for place, node in enumerate(level):
            mark = str(number) if place == 0 else ""
            sources = ", ".join(_source(edge) for edge in incoming.get(node, ()))
            errors = f"on error of {', '.join(handled[node])}" if node in handled else ""
            arrow = f"← {', '.join(filter(None, (sources, errors)))}" if sources or errors else ""
            lines.append(f"  {mark:>{digits}}  {names[node]:<{width}}  {what[node]:<{what_width}}  {arrow}".rstrip())
    return "\n".join(lines)


def _source(edge: EdgeSpec) -> str:
    source = one_line(edge.source)
    return source if edge.source_handle is None else f"{source}[{one_line(edge.source_handle)}]"


def _kind(node: NodeSpec) -> str:
    kind = kind_of(node.type)
    label = kind.label if kind is not None else one_line(node.type)
    if node.type == "map":
        concurrency = node.config.get("concurrency")
        return label if concurrency is None else f"{label}, {one_line(str(concurrency))} at a time"
    if node.type == "branch":
        return "condition" if node.config.get("kind") == "condition" else "branch"
    if node.type == "subflow":
        return f"{label} {one_line(str(node.config.get('flow')))}"
    return label


def _what(node: NodeSpec) -> str:
    words = [_kind(node)]
    if node.join != "all":
        try:
            words.append(f"joins {parse_join(node.join)}")
        except ValueError:
            words.append(f"joins {one_line(repr(node.join))}")
    if node.when is not None and (node.when.code is not None or node.when.conditions is not None):
        words.append("conditional")
    if node.retry is not None:
        words.append(counted(node.retry.max_retries, "retry").replace("retrys", "retries"))
    if node.timeout_seconds is not None:
        words.append(f"timeout {node.timeout_seconds:g} s")
    if node.on_error != "stop":
        words.append(f"on error {one_line(node.on_error)}")
    return ", ".join(words)
