"""What the graph has to know about a node type; how a type runs is the business of `dataflows_sdk.nodes`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeKind:
    """The shape of one node type.

    Attributes:
        type: the word in the document.
        label: the word in plans and drawings.
        trigger: it starts a run; no edge may lead to it.
        function: it calls a Python callable that is bound beside the document.
        branching: its outcome takes some of its handles and leaves the others.
        handler: it is entered only by ``on_error="goto:…"``.
    """

    type: str
    label: str
    trigger: bool = False
    function: bool = False
    branching: bool = False
    handler: bool = False


_KINDS: dict[str, NodeKind] = {}


def register_kind(kind: NodeKind) -> NodeKind:
    """Make a node type known to validation, scheduling and rendering; registering it again replaces it."""
    _KINDS[kind.type] = kind
    return kind


def kind_of(node_type: str) -> NodeKind | None:
    """The kind of a node type, None when nobody registered it."""
    return _KINDS.get(node_type)


def known_types() -> list[str]:
    """All registered node types, sorted."""
    return sorted(_KINDS)


def is_trigger(node_type: str) -> bool:
    """Whether nodes of this type start runs (every ``trigger_…`` does, registered or not)."""
    kind = _KINDS.get(node_type)
    return kind.trigger if kind is not None else node_type.startswith("trigger_")


def is_branching(node_type: str) -> bool:
    """Whether nodes of this type choose between their handles."""
    kind = _KINDS.get(node_type)
    return kind is not None and kind.branching


def is_handler(node_type: str) -> bool:
    """Whether nodes of this type are entered only after an error."""
    kind = _KINDS.get(node_type)
    return kind is not None and kind.handler


for _kind in (
    NodeKind("python", "step", function=True),
    NodeKind("map", "map", function=True),
    NodeKind("branch", "branch", function=True, branching=True),
    NodeKind("join", "join"),
    NodeKind("subflow", "sub-flow"),
    *(
        NodeKind(f"trigger_{word}", f"trigger: {word}", trigger=True)
        for word in ("record", "schedule", "webhook", "manual", "integration")
    ),
):
    register_kind(_kind)
