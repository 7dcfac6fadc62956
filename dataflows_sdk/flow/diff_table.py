"""Two versions of a flow as a table of their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import Sheet
from dataflows_sdk.flow.diff_svg import signs_of, what
from dataflows_sdk.flow.fared import NodeFared, percent, seconds
from dataflows_sdk.flow.model import FlowSpec

if TYPE_CHECKING:
    from dataflows_sdk.flow.diff import FlowDiff

_NEVER = NodeFared()


def diff_table(old: FlowSpec, new: FlowSpec, diff: FlowDiff) -> Sheet:
    """A row for all runs, then one for each node: how it changed, and of both versions runs, median, failures."""
    signs, fields = signs_of(diff), {each.node_id: ", ".join(each.fields) for each in diff.modified_nodes}
    names = [f"version {each}" for each in (diff.from_version, diff.to_version)]
    if diff.fared is None:
        rows = [
            (signs.get(node.id, ""), node.id, what(node), fields.get(node.id, ""))
            for node in {each.id: each for each in (*old.nodes, *new.nodes)}.values()
        ]
        return Sheet(" → ".join(names), rows, ("", "node", "type", "changed"), total=len(rows), notes=_lines(diff))
    heads = [f"{name}: {what_}" for name in names for what_ in ("ended", "median", "failed")]
    lines: list[tuple[Any, ...]] = [("", "all runs", "", "")]
    for each in diff.fared:
        lines[0] += (each.runs, seconds(each.median), percent(each.failure_rate))
    for node in {each.id: each for each in (*old.nodes, *new.nodes)}.values():
        line: tuple[Any, ...] = (signs.get(node.id, ""), node.id, what(node), fields.get(node.id, ""))
        for each in diff.fared:
            fared = each.nodes.get(node.id, _NEVER)
            line += (fared.ended or "", seconds(fared.median), percent(fared.failure_rate))
        lines.append(line)
    notes = [
        *_lines(diff),
        *(
            f"version {each.version}: the nodes as of the newest {each.of:,} of {each.runs:,} runs"
            for each in diff.fared
            if each.runs > each.of
        ),
    ]
    return Sheet(" → ".join(names), lines, ("", "node", "type", "changed", *heads), total=len(lines), notes=notes)


def _lines(diff: FlowDiff) -> list[str]:
    """What is not in the rows: the lines between nodes, and what only moved."""
    found = [
        f"{name}: " + ", ".join(f"{each.source} → {each.target}" for each in edges)
        for name, edges in (("lines added", diff.added_edges), ("lines removed", diff.removed_edges))
        if edges
    ]
    return [*found, f"only moved: {', '.join(diff.moved_nodes)}"] if diff.moved_nodes else found
