"""What changed between two contents of a flow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflows_sdk.core.shown import Sheet, ShownAsTable, to_html
from dataflows_sdk.drawing.bundle import bundle, image
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.fared import VersionFared
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec


@dataclass(frozen=True, slots=True)
class NodeDiff(ShownAsTable):
    """One node that differs.

    Attributes:
        fields: what differs, as paths such as ``config.url``; empty for a node that was added or removed.
        old_data, new_data: the node as the document has it; None where it is not there.
    """

    node_id: str
    type: str
    old_data: Mapping[str, Any] | None = None
    new_data: Mapping[str, Any] | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeDiff(ShownAsTable):
    """One edge that was added or removed; one whose ends changed is both."""

    edge_id: str
    source: str
    target: str
    source_handle: str | None = None
    target_handle: str | None = None


@dataclass(frozen=True, slots=True)
class FlowDiff(ShownAsTable):
    """The difference of two versions. `moved_nodes` only moved on the canvas; their ids."""

    from_version: int | str
    to_version: int | str
    added_nodes: tuple[NodeDiff, ...] = ()
    removed_nodes: tuple[NodeDiff, ...] = ()
    modified_nodes: tuple[NodeDiff, ...] = ()
    moved_nodes: tuple[str, ...] = ()
    added_edges: tuple[EdgeDiff, ...] = ()
    removed_edges: tuple[EdgeDiff, ...] = ()
    #: both contents, for the picture
    _specs: tuple[FlowSpec, FlowSpec] | None = field(default=None, repr=False, compare=False)
    #: how both have fared; None where nobody asked the journal
    fared: tuple[VersionFared, VersionFared] | None = field(default=None, repr=False, compare=False)

    def svg(self, *, together: bool = False) -> str:
        """Both versions side by side, what was added, removed or changed is marked; on the nodes stands how they fared.

        Args:
            together: as one graph instead, in which what was removed is dashed.

        Raises:
            DefinitionError: this difference was not made by comparing two flows.
        """
        from dataflows_sdk.flow.diff_svg import beside_svg, diff_svg

        if self._specs is None:
            raise DefinitionError("only a difference that compare() gave has a picture")
        return (diff_svg if together else beside_svg)(*self._specs, self)

    def table(self) -> Sheet:
        """The nodes of both versions: what changed, median and failures of each in both."""
        from dataflows_sdk.flow.diff_table import diff_table

        if self._specs is None:
            raise DefinitionError("only a difference that compare() gave has a table of its nodes")
        return diff_table(*self._specs, self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook shows: the picture above the table."""
        if self._specs is None or not any(spec.nodes for spec in self._specs):
            return {"text/plain": str(self), "text/html": self._repr_html_()}
        picture, text = self.svg(), str(self)
        return bundle(picture, text, image(picture, text) + to_html(self.table()))

    def __bool__(self) -> bool:
        return any(
            (
                self.added_nodes,
                self.removed_nodes,
                self.modified_nodes,
                self.moved_nodes,
                self.added_edges,
                self.removed_edges,
            )
        )

    def __str__(self) -> str:
        lines = [f"version {self.from_version} → {self.to_version}"]
        lines += [f"  + {each.node_id} ({each.type})" for each in self.added_nodes]
        lines += [f"  - {each.node_id} ({each.type})" for each in self.removed_nodes]
        lines += [f"  ~ {each.node_id}: {', '.join(each.fields)}" for each in self.modified_nodes]
        lines += [f"  ↷ {each} moved" for each in self.moved_nodes]
        lines += [f"  + {each.source} → {each.target}" for each in self.added_edges]
        lines += [f"  - {each.source} → {each.target}" for each in self.removed_edges]
        lines = lines if len(lines) > 1 else [*lines, "  nothing changed"]
        return "\n".join([*lines, *self._fared()])

    def _fared(self) -> list[str]:
        """How both fared, in lines; the nodes that both have, or one."""
        if self.fared is None or not any(each.runs for each in self.fared):
            return []
        lines = [f"  version {each.version}: {each}" for each in self.fared]
        old, new = (each.nodes for each in self.fared)
        return lines + [f"  {node}: {old.get(node, '–')} → {new.get(node, '–')}" for node in {**old, **new}]


def compare(old: FlowSpec, new: FlowSpec, from_version: int | str = 0, to_version: int | str = 0) -> FlowDiff:
    """What must be done to the old content to get the new one; O(nodes + edges)."""
    before = {node.id: node for node in old.nodes}
    after = {node.id: node for node in new.nodes}
    modified: list[NodeDiff] = []
    moved: list[str] = []
    for node_id, node in after.items():
        if node_id not in before:
            continue
        one, other = _data(before[node_id]), _data(node)
        fields = tuple(_differing(one, other))
        if fields and all(field.split(".")[0] in _LAYOUT for field in fields):
            moved.append(node_id)
        elif fields:
            modified.append(NodeDiff(node_id, node.type, one, other, fields))
    edges_before, edges_after = set(map(_edge, old.edges)), set(map(_edge, new.edges))
    return FlowDiff(
        from_version,
        to_version,
        tuple(NodeDiff(n.id, n.type, None, _data(n)) for n in new.nodes if n.id not in before),
        tuple(NodeDiff(n.id, n.type, _data(n), None) for n in old.nodes if n.id not in after),
        tuple(modified),
        tuple(moved),
        tuple(_edge_diff(edge) for edge in new.edges if _edge(edge) not in edges_before),
        tuple(_edge_diff(edge) for edge in old.edges if _edge(edge) not in edges_after),
        (old, new),
    )


#: members of a node that say where it is drawn
_LAYOUT = frozenset({"position", "positionAbsolute", "selected", "dragging", "width", "height", "measured"})


def _data(node: NodeSpec) -> dict[str, Any]:
    return node.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _edge(edge: EdgeSpec) -> tuple[str, str, str | None, str | None]:
    return edge.source, edge.target, edge.source_handle, edge.target_handle


def _edge_diff(edge: EdgeSpec) -> EdgeDiff:
    return EdgeDiff(edge.id, edge.source, edge.target, edge.source_handle, edge.target_handle)


def _differing(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in dict.fromkeys((*old, *new)):
            inner = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                found.append(inner)
            else:
                found += _differing(old[key], new[key], inner)
        return found
    return [] if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True) else [path]
