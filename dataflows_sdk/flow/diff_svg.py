"""Two versions of a flow as one picture: side by side with how they fared, or as one graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_sdk.drawing.picture import Box, Edge, Graph, arrange, draw, draw_beside
from dataflows_sdk.flow.fared import NodeFared, VersionFared, percent, seconds
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.model import FlowSpec, NodeSpec
from dataflows_sdk.flow.render import one_line
from dataflows_sdk.flow.svg import edges_of

if TYPE_CHECKING:
    from dataflows_sdk.flow.diff import FlowDiff

#: how a box looks that is only in the new one, only in the old one, in both but not the same, and the same
_LOOKS = {"+": "completed", "-": "failed", "~": "retrying", "": "plain"}


def signs_of(diff: FlowDiff) -> dict[str, str]:
    """The nodes that are not the same in both, with ``+``, ``-`` or ``~``."""
    return {
        **{each.node_id: "~" for each in diff.modified_nodes},
        **{each.node_id: "+" for each in diff.added_nodes},
        **{each.node_id: "-" for each in diff.removed_nodes},
    }


def what(node: NodeSpec) -> str:
    """What kind a node is of, in words."""
    kind = kind_of(node.type)
    return kind.label if kind is not None else one_line(node.type)


class _Words:
    """What stands on a node that is not the same in both."""

    def __init__(self, diff: FlowDiff) -> None:
        self.signs = signs_of(diff)
        self._diff = diff
        self._fields = {each.node_id: each.fields for each in diff.modified_nodes}

    def change(self, node: NodeSpec) -> str:
        changed = ", ".join(self._fields.get(node.id, ()))
        only = {"+": f"only in {self._diff.to_version}", "-": f"only in {self._diff.from_version}", "~": changed}
        return only.get(self.signs.get(node.id, ""), what(node))

    def box(self, node: NodeSpec, fared: NodeFared | None = None) -> Box:
        sign, words = self.signs.get(node.id, ""), self.change(node)
        detail = words if fared is None else f"{seconds(fared.median)} · {percent(fared.failure_rate)} failed"
        lines = [f"{one_line(node.id)}: {what(node)}", *([words] if sign else []), *([str(fared)] if fared else [])]
        label = f"{sign} {one_line(node.id)}".strip()
        return Box(node.id, label, one_line(detail), _LOOKS[sign], "\n".join(lines), dashed=sign == "-")


def diff_svg(old: FlowSpec, new: FlowSpec, diff: FlowDiff) -> str:
    """The union of both graphs, from left to right: added, removed and changed nodes marked, removed ones dashed."""
    nodes, words = _union(old, new), _Words(diff)
    before, after = _ways(old), _ways(new)
    edges: list[Edge] = []
    for place, each in {**before, **after}.items():
        sign = "" if place in before and place in after else "+" if place in after else "-"
        edges.append(Edge(*place, f"{sign} {each.label}".strip(), dashed=sign == "-" or each.dashed))
    boxes = [words.box(node) for node in nodes.values()]
    graph = Graph(boxes, edges, arrange(nodes, before | after))
    title, note = _heading(new, diff)
    return draw(graph, f"{title}; {note}", heading=title, note=note)


def beside_svg(old: FlowSpec, new: FlowSpec, diff: FlowDiff) -> str:
    """Both graphs, each node at the same place in both: what jumps has changed."""
    words, before, after = _Words(diff), _ways(old), _ways(new)
    places = arrange(_union(old, new), before | after)
    fared = diff.fared or (VersionFared(diff.from_version), VersionFared(diff.to_version))
    panels = []
    for spec, ways, others, one, sign in ((old, before, after, fared[0], "-"), (new, after, before, fared[1], "+")):
        edges = [
            Edge(*place, f"{'' if place in others else sign} {each.label}".strip(), dashed=each.dashed)
            for place, each in ways.items()
        ]
        boxes = [words.box(node, one.nodes.get(node.id)) for node in spec.nodes]
        note = "" if diff.fared is None else str(one)
        if one.runs > one.of > 0:
            note += f"; on the nodes the newest {one.of:,}"
        panels.append((Graph(boxes, edges, places), f"{one_line(spec.name)}: version {one.version}", note))
    title, note = _heading(new, diff)
    return draw_beside(panels, f"{title}; {note}")


def _union(old: FlowSpec, new: FlowSpec) -> dict[str, NodeSpec]:
    return {node.id: node for node in (*old.nodes, *new.nodes)}


def _ways(spec: FlowSpec) -> dict[tuple[str, str], Edge]:
    return {(each.source, each.target): each for each in edges_of(spec)}


def _heading(new: FlowSpec, diff: FlowDiff) -> tuple[str, str]:
    title = f"{one_line(new.name)}: version {diff.from_version} → {diff.to_version}"
    counts = [
        (len(diff.added_nodes), "added"),
        (len(diff.removed_nodes), "removed"),
        (len(diff.modified_nodes), "changed"),
    ]
    return title, ", ".join(f"{number} {word}" for number, word in counts if number) or "the nodes are the same"
