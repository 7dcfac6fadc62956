"""The node types: what their config looks like, what they do, and an example of each.

There are two sorts. An *effect* is one durable step: a function of its config and a `Call`, with the retries, timeout
and record of any step; whoever registers a type of their own registers an effect. A *control* node steers the run
(a condition, a loop, a delay) and is executed by the engine itself, which knows it by its type.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.kinds import NodeKind, kind_of, register_kind
from dataflows_sdk.flow.texts import as_text

if TYPE_CHECKING:
    from dataflows_sdk.nodes.services import Services

F = TypeVar("F", bound=Callable[..., Any])


def _text(value: Any) -> Any:
    """What a template gave for a text: numbers, lists and objects become text as they do within a longer one."""
    return as_text(value) if value is not None and not isinstance(value, bytes) else value


#: a text that a template may fill with anything
Text = Annotated[str, BeforeValidator(_text)]


class Config(BaseModel):
    """The base of every config: fields that a type does not know are kept, and warned about."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Call(ShownAsTable):
    """What a node may know of its run while it works.

    Attributes:
        node: its id.
        run_id, workflow: whose it is.
        attempt: 1 for the first.
        idempotency_key: the same for every attempt of this step, also after a crash; give it to services that take one.
        scope: what templates can read: trigger, steps, run, workflow, loop, env.
        services: the outside world as this process is allowed to see it.
        records: writes records to the database of the run; None without one.
    """

    node: str
    run_id: str
    workflow: str
    attempt: int
    idempotency_key: str
    scope: Mapping[str, Any]
    services: Services
    records: Callable[..., Awaitable[Any]] | None = None


@dataclass(frozen=True, slots=True)
class NodeType:
    """One node type.

    Attributes:
        kind: what the graph has to know of it.
        summary: one line for the documentation.
        family: trigger, action, logic, code, meta or custom.
        run: ``run(config, call)``, blocking or async; None for a control node.
        example: a config that works.
        output: what ``steps.<id>.output`` is, in words.
    """

    kind: NodeKind
    summary: str
    family: str
    run: Callable[[Any, Call], Any] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""

    @property
    def type(self) -> str:
        return self.kind.type


_TYPES: dict[str, NodeType] = {}


def register(node_type: NodeType) -> NodeType:
    """Make a node type known; registering it again replaces it."""
    register_kind(node_type.kind)
    _TYPES[node_type.type] = node_type
    return node_type


def node_type(name: str) -> NodeType | None:
    """The node type of that name, None if nobody registered it."""
    kind_of(name)  # loads the plug-ins
    return _TYPES.get(name)


def node_types() -> list[NodeType]:
    """All node types that are described by a config, the standard ones first, in the order of their registration."""
    kind_of("")
    return sorted(_TYPES.values(), key=lambda each: not each.kind.standard)


def node(
    type: str, *, config: type[BaseModel], label: str = "", example: Mapping[str, Any] | None = None, output: str = ""
) -> Callable[[F], F]:
    """Declare a node type: a decorator for ``fn(config, call)``, blocking or async.

    The function is one durable step. It gets its config with the templates filled in, as an instance of *config*, and
    a `Call`; what it returns is the output of the node.

    Args:
        type: the word in documents; lower case, best with a prefix of yours (``"acme_score"``).
        config: a pydantic model.
        label: the word in drawings; the type by default.
        example: a config, for the documentation.
        output: what comes out, in words.

    Raises:
        DefinitionError: the name is taken by a standard type or is no word, or the function does not take these two.
    """
    if not isinstance(type, str) or not type.replace("_", "a").isalnum() or not type.isascii() or type[0].isdigit():
        raise DefinitionError(f"a node type is a word such as 'acme_score', not {type!r}")
    if not (inspect.isclass(config) and issubclass(config, BaseModel)):
        raise DefinitionError(f"node type {type!r}: config= is a pydantic model, not {config!r}")
    known = kind_of(type)
    if known is not None and (known.standard or known.config is None):
        raise DefinitionError(f"node type {type!r} is one of the library's own; choose another name")

    def declare(fn: F) -> F:
        try:
            inspect.signature(fn).bind(None, None)
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"node type {type!r}: its function takes the config and the call, as in "
                f"`async def score(config, call)`: {error}"
            ) from None
        summary = (inspect.getdoc(fn) or "").partition("\n")[0]
        kind = NodeKind(type, label or type, config=config)
        register(NodeType(kind, summary, "custom", fn, dict(example or {}), output))
        return fn

    return declare
