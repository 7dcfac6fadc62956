"""Whether what a producer says it returns can be what a consumer says it takes."""

from __future__ import annotations

from typing import Any

from dataflows_sdk.flow.annotations import (
    UNKNOWN,
    is_collection,
    item_of,
    list_of,
    may_be_none,
    show,
    simplify,
    surely_incompatible,
)
from dataflows_sdk.flow.callables import hints_of
from dataflows_sdk.flow.checking import Checking
from dataflows_sdk.flow.declare import binding_key
from dataflows_sdk.flow.model import Input, NodeInput, NodeSpec, ValueInput


def check_types(checking: Checking) -> None:
    """Report every sure mismatch, and None where it can come and is not wanted."""
    hints: dict[str, dict[str, Any]] = {}

    def known(node: str, role: str = "") -> dict[str, Any]:
        key = binding_key(node, role)
        if key not in hints:
            bound = checking.bindings.get(key)
            hints[key] = hints_of(bound) if callable(bound) else {}
        return hints[key]

    def produced(node: NodeSpec) -> Any:
        if node.type == "branch" and node.config.get("kind") == "condition":
            return UNKNOWN
        if node.type == "map":
            return list_of(simplify(known(node.id).get("return", UNKNOWN)))
        if node.type == "join":
            return dict
        return known(node.id).get("return", UNKNOWN) if node.type in {"python", "branch"} else UNKNOWN

    def given(source: Input) -> Any:
        """The annotation of what an input brings; UNKNOWN for parts of something and things of the run."""
        if isinstance(source, ValueInput):
            return type(source.value)
        if isinstance(source, NodeInput) and not source.path and source.node in checking.nodes:
            return produced(checking.nodes[source.node])
        return UNKNOWN

    for number, node in enumerate(checking.spec.nodes):
        checking.number = number
        for role, name, source in checking.inputs(node):
            brings = given(source)
            if role == "over":
                _check_over(checking, node, source, brings, known(node.id))
            elif role in {"inputs", "when"}:
                side = "when" if role == "when" else ""
                wanted = known(node.id, side).get(name, UNKNOWN)
                _check_one(checking, node, (side, name, source), brings, wanted)
    checking.number = None


def _check_over(checking: Checking, node: NodeSpec, source: Input, brings: Any, hints: dict[str, Any]) -> None:
    if not isinstance(source, NodeInput):
        return
    if not is_collection(brings):
        message = f"it maps over {source.node!r}, which returns {show(brings)}"
        checking.add("not-a-collection", node.id, message, "a map goes over a list", path="/config/over")
        return
    item = node.config.get("item")
    wanted = hints.get(item, UNKNOWN) if isinstance(item, str) else UNKNOWN
    if surely_incompatible(item_of(brings), wanted):
        message = f"the items of {source.node!r} are {show(item_of(brings))}, but {item!r} takes {show(wanted)}"
        checking.add("type-mismatch", node.id, message, path="/config/over")


def _check_one(checking: Checking, node: NodeSpec, wire: tuple[str, str, Input], brings: Any, wanted: Any) -> None:
    role, name, source = wire
    where = " of when=" if role else ""
    if surely_incompatible(brings, wanted):
        what = f"{source.node!r} returns" if isinstance(source, NodeInput) else "the literal is"
        message = f"{what} {show(brings)}, but parameter {name!r}{where} takes {show(wanted)}"
        checking.add("type-mismatch", node.id, message, path="" if role else f"/config/inputs/{name}")
        return
    if not isinstance(source, NodeInput) or source.node not in checking.nodes:
        return
    signature = checking.signature(node.id, role)
    optional = signature.optional if signature is not None else frozenset()
    if checking.nodes[source.node].on_error == "continue" and name not in optional and not may_be_none(wanted):
        takes = f"{name!r}{where} takes {show(wanted)}"
        message = f"{takes}, but is None when {source.node!r} fails and the flow goes on"
        hint = f"annotate it {show(wanted)} | None, or give it a default"
        checking.add("maybe-none", node.id, message, hint, severity="warning", path=f"/config/inputs/{name}")
