"""Two versions of a flow as one picture: what both have stands once, so that nothing jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_sdk.drawing.picture import Box, Edge, Graph, arrange, draw
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.flow.render import one_line
from dataflows_sdk.flow.svg import edges_of

if TYPE_CHECKING:
    from dataflows_sdk.flow.diff import FlowDiff

#: how a box looks that is only in the new one, only in the old one, in both but not the same, and the same
_LOOKS = {"+": "completed", "-": "failed", "~": "retrying", "": "plain"}


def diff_svg(old: FlowSpec, new: FlowSpec, diff: FlowDiff) -> str:
    """The union of both graphs, from left to right: added, removed and changed nodes marked, removed ones dashed."""
    nodes = {node.id: node for node in (*old.nodes, *new.nodes)}
    signs = {
        **{each.node_id: "~" for each in diff.modified_nodes},
        **{each.node_id: "+" for each in diff.added_nodes},
        **{each.node_id: "-" for each in diff.removed_nodes},
    }
    fields = {each.node_id: each.fields for each in diff.modified_nodes}
    before = {(each.source, each.target) for each in edges_of(old)}
    after = {(each.source, each.target) for each in edges_of(new)}
    edges: list[Edge] = []
    for each in {(edge.source, edge.target): edge for edge in (*edges_of(old), *edges_of(new))}.values():
        place = (each.source, each.target)
        sign = "" if place in before and place in after else "+" if place in after else "-"
        edges.append(Edge(each.source, each.target, f"{sign} {each.label}".strip(), dashed=sign == "-" or each.dashed))
    boxes = []
    for identifier, node in nodes.items():
        sign, kind = signs.get(identifier, ""), kind_of(node.type)
        what = kind.label if kind is not None else one_line(node.type)
        changed = ", ".join(fields.get(identifier, ()))
        words = {"+": f"only in {diff.to_version}", "-": f"only in {diff.from_version}", "~": changed}.get(sign, what)
        label = f"{sign} {one_line(identifier)}".strip()
        hint = f"{one_line(identifier)}: {what}" + (f"\n{words}" if sign else "")
        boxes.append(Box(identifier, label, one_line(words), _LOOKS[sign], hint, dashed=sign == "-"))
    graph = Graph(boxes, edges, arrange(nodes, ((edge.source, edge.target) for edge in edges)))
    title = f"{one_line(new.name)}: version {diff.from_version} → {diff.to_version}"
    counts = [
        (len(diff.added_nodes), "added"),
        (len(diff.removed_nodes), "removed"),
        (len(diff.modified_nodes), "changed"),
    ]
    note = ", ".join(f"{number} {word}" for number, word in counts if number) or "the nodes are the same"
    return draw(graph, f"{title}; {note}", heading=title, note=note)
