"""What the graph has to know about a node type; how a type runs is the business of `dataflows_sdk.nodes`.

Types are registered by plug-ins: `dataflows_sdk.nodes.standard` is the first of them, others announce themselves by an
entry point of the group ``dataflows_sdk.nodes``, a module that registers its types when it is imported.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model = type[BaseModel]


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
        config: the model of its config; None where the config is the business of the builder.
        handles: the handles of a node, by its config; None where they are not known before it runs.
        loop: it runs the part of the flow behind its handle ``body`` once for every item.
        check: what else is wrong with a config that fits its model: pairs of JSON pointer and message.
        html: fields of the config that are HTML: what templates put there is escaped.
        standard: one of the twenty types that a document may count on everywhere.
    """

    type: str
    label: str
    trigger: bool = False
    function: bool = False
    branching: bool = False
    handler: bool = False
    config: Model | None = None
    handles: Callable[[Mapping[str, Any]], tuple[str, ...] | None] | None = None
    loop: bool = False
    check: Callable[[Mapping[str, Any]], list[tuple[str, str]]] | None = None
    html: tuple[str, ...] = ()
    standard: bool = False


_KINDS: dict[str, NodeKind] = {}

#: short words for types, where they are not ambiguous: "record" and "integration" are triggers and actions
ALIASES = {
    "schedule": "trigger_schedule",
    "webhook": "trigger_webhook",
    "manual": "trigger_manual",
    "http": "action_http",
    "email": "action_email",
    "notification": "action_notification",
    "condition": "logic_condition",
    "switch": "logic_switch",
    "loop": "logic_loop",
    "delay": "logic_delay",
    "parallel": "logic_parallel",
    "approval": "logic_approval",
    "snippet": "code_snippet",
    "function": "code_function",
    "subworkflow": "meta_subworkflow",
    "error": "meta_error",
}


def register_kind(kind: NodeKind) -> NodeKind:
    """Make a node type known to validation, scheduling and rendering; registering it again replaces it."""
    _KINDS[kind.type] = kind
    return kind


def kind_of(node_type: str) -> NodeKind | None:
    """The kind of a node type, None when nobody registered it."""
    found = _KINDS.get(node_type)
    if found is None and _load_plugins():
        found = _KINDS.get(node_type)
    return found


def known_types() -> list[str]:
    """All registered node types, sorted."""
    _load_plugins()
    return sorted(_KINDS)


def is_trigger(node_type: str) -> bool:
    """Whether nodes of this type start runs (every ``trigger_…`` does, registered or not)."""
    kind = kind_of(node_type)
    return kind.trigger if kind is not None else node_type.startswith("trigger_")


def is_branching(node_type: str) -> bool:
    """Whether nodes of this type choose between their handles."""
    kind = kind_of(node_type)
    return kind is not None and kind.branching


def is_handler(node_type: str) -> bool:
    """Whether nodes of this type are entered only after an error."""
    kind = kind_of(node_type)
    return kind is not None and kind.handler


def is_loop(node_type: str) -> bool:
    """Whether nodes of this type run a part of the flow for every item."""
    kind = kind_of(node_type)
    return kind is not None and kind.loop


def is_data(node_type: str) -> bool:
    """Whether nodes of this type are described by their config alone, with templates in it."""
    kind = kind_of(node_type)
    return kind is not None and kind.config is not None


_GROUP = "dataflows_sdk.nodes"
_loading = threading.RLock()
_loaded: list[bool] = []


def _load_plugins() -> bool:
    """Import what registers node types, once; whether this call did it.

    Raises:
        DefinitionError: a plug-in cannot be imported; the message names its distribution.
    """
    if _loaded:
        return False
    with _loading:
        if _loaded:
            return False
        _loaded.append(True)
        importlib.import_module("dataflows_sdk.nodes.standard")
        for point in entry_points(group=_GROUP):
            try:
                point.load()
            except Exception as error:
                owner = point.dist.name if point.dist is not None else point.value
                raise DefinitionError(
                    f"the node types of {owner!r} (entry point {point.name!r}) cannot be loaded: {error}"
                ) from error
    return True


for _kind in (
    NodeKind("python", "step", function=True),
    NodeKind("map", "map", function=True),
    NodeKind("branch", "branch", function=True, branching=True),
    NodeKind("join", "join"),
    NodeKind("subflow", "sub-flow"),
):
    register_kind(_kind)
