"""The twenty standard types, registered by their modules. Imported when a flow first meets a type of a document."""

from __future__ import annotations

from dataflows_sdk.nodes import code, data, logic, meta, outward, triggers
from dataflows_sdk.nodes.registry import node_types

#: the types that a document may count on everywhere, by family
NODE_TYPES: tuple[str, ...] = tuple(
    each.type
    for family in ("trigger", "action", "logic", "code", "meta")
    for each in node_types()
    if each.kind.standard and each.family == family
)

__all__ = ["NODE_TYPES", "code", "data", "logic", "meta", "outward", "triggers"]
