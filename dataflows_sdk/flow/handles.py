"""By which handles the edges of a node leave."""

from __future__ import annotations

from dataflows_sdk.flow.kinds import is_branching, is_loop, kind_of
from dataflows_sdk.flow.model import EdgeSpec, NodeSpec


def handles_of(node: NodeSpec) -> tuple[str, ...] | None:
    """The handles of a node, None where any may be."""
    if node.type == "branch":
        handles = node.config.get("handles")
        return tuple(handles) if isinstance(handles, list) else None
    kind = kind_of(node.type)
    return None if kind is None or kind.handles is None else kind.handles(node.config)


def edge_handle(edge: EdgeSpec, source: NodeSpec) -> str | None:
    """The handle by which an edge leaves its source; a label serves where it names one and no handle is given."""
    if edge.source_handle is not None or edge.label is None:
        return edge.source_handle
    if not (is_branching(source.type) or is_loop(source.type)):
        return None
    handles = handles_of(source)
    label = edge.label.strip()
    found = label if handles is None or label in handles else label.lower()
    return found if handles is not None and found in handles else None
