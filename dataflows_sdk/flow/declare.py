"""What the builder's methods record: declarations, in the order they were written, without judging them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflows_sdk.flow.model import EdgeSpec, NodeSpec


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """What every node may be given; raw, as the caller wrote it."""

    retry: Any = None
    timeout: Any = None
    on_error: Any = None
    when: Any = None
    join: Any = None
    undo: Callable[..., Any] | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NodeDecl:
    """A node to be wired when the flow is complete.

    Attributes:
        config: what goes into the node's config as it is.
        sources: single inputs by role (``over``, ``payload``) that are references or values.
        fn: the callable whose parameters are wired by name; None where only `inputs` counts.
        item_first: the first free parameter of `fn` is the item of a collection.
        roles: further callables, by role (``key``), which are bound but not wired.
        cases: for a branch: the nodes behind each handle.
        chained: it follows the node written before it, unless it says what it comes after.
        part: the loop in whose body it was built; None outside of all.
    """

    id: str
    type: str
    options: Options
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    fn: Callable[..., Any] | None = None
    item_first: bool = False
    roles: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    child: Any = None
    cases: Mapping[str, tuple[str, ...]] | None = None
    chained: bool = False
    part: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EdgeDecl:
    """An explicit edge."""

    source: str
    target: str
    handle: str | None = None
    label: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RawNode:
    """A node as a document had it, with the callables that were bound to it, by binding key."""

    spec: NodeSpec
    bindings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RawEdge:
    """An edge as a document had it."""

    spec: EdgeSpec


Declaration = NodeDecl | EdgeDecl | RawNode | RawEdge


def binding_key(node: str, role: str = "") -> str:
    """The key in `Flow.bindings`: the node's id for its function, ``"<id>#<role>"`` for the others."""
    return f"{node}#{role}" if role else node
