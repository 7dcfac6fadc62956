"""The flow as data: what the builder makes, what a JSON document says and what the engine runs.

One model for all three. It holds only JSON; Python callables live beside it (`Flow.bindings`). The names and
the shape are those of a React Flow document, and fields that this library does not know are kept, so that a
document comes back as it went in: `FlowSpec.from_document(doc).to_document() == doc`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.kinds import ALIASES, is_trigger
from dataflows_sdk.flow.problems import Problem


class _Open(BaseModel):
    """Frozen, and it keeps what it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class RetrySpec(_Open):
    """How often a step is tried again, and how long it waits before that; times in milliseconds."""

    max_retries: int = Field(default=3, ge=0)
    backoff: Literal["exponential", "fixed", "linear"] = "exponential"
    initial_delay_ms: int | float = Field(default=1000, ge=0)
    max_delay_ms: int | float = Field(default=30_000, ge=0)
    #: the share of a delay that is drawn at random; None is none of it
    jitter: bool | int | float | None = None


class Gate(_Open):
    """Only if that branch took one of these handles; a condition has ``true`` and ``false``."""

    node: str
    handles: tuple[str, ...] = ("true",)


class CodeSpec(_Open):
    """A Python predicate, by name, and where its parameters come from."""

    callable: str
    source_sha: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)


class WhenSpec(_Open):
    """When a node runs at all; every part that is there must hold, else the node is skipped."""

    gates: tuple[Gate, ...] = ()
    code: CodeSpec | None = None
    #: a condition as data, read by the condition language
    conditions: Any = None


class NodeSpec(_Open):
    """One node of the graph."""

    id: str
    type: str
    config: dict[str, Any] = Field(default_factory=dict)
    retry: RetrySpec | None = None
    timeout_seconds: int | float | None = None
    #: "stop", "continue" or "goto:<node id>"
    on_error: str = "stop"
    #: "all", "any", 2, "2-of-3" or {"n": 2}
    join: str | int | dict[str, Any] = "all"
    when: WhenSpec | None = None
    description: str = ""
    position: dict[str, Any] | None = None
    data: dict[str, Any] | None = None

    @field_validator("type", mode="before")
    @classmethod
    def _long(cls, given: Any) -> Any:
        return ALIASES.get(given, given) if isinstance(given, str) else given

    @property
    def goto(self) -> str | None:
        """The node that takes over when this one fails for good."""
        return self.on_error.removeprefix("goto:").strip() if self.on_error.startswith("goto:") else None


class EdgeSpec(_Open):
    """One edge. `source_handle` names the branch by which it leaves; without one it is always followed."""

    id: str = ""
    source: str
    target: str
    source_handle: str | None = Field(default=None, alias="sourceHandle")
    target_handle: str | None = Field(default=None, alias="targetHandle")
    label: str | None = None


class FlowSpec(_Open):
    """A whole flow. Triggers are nodes whose type begins with ``trigger_``."""

    version: Literal[1] = 1
    name: str = ""
    description: str = ""
    nodes: tuple[NodeSpec, ...] = ()
    edges: tuple[EdgeSpec, ...] = ()
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def triggers(self) -> tuple[NodeSpec, ...]:
        """The nodes that start runs of this flow, in the order of the document."""
        return tuple(node for node in self.nodes if is_trigger(node.type))

    @property
    def trigger(self) -> NodeSpec | None:
        """The trigger of a run that is started by hand: the manual one, else the first, else None."""
        triggers = self.triggers
        manual = (node for node in triggers if node.type == "trigger_manual")
        return next(manual, triggers[0] if triggers else None)

    def node(self, node_id: str) -> NodeSpec:
        """The node of that id; KeyError if there is none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)

    def to_document(self) -> dict[str, Any]:
        """The JSON document: only what was set, in React Flow's spelling."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def from_document(cls, document: Any, *, name: str | None = None) -> FlowSpec:
        """Read a document (a mapping, or JSON text).

        Raises:
            FlowValidationError: it has not the shape of a flow; every place is listed with a JSON pointer.
        """
        if isinstance(document, str | bytes | bytearray):
            try:
                document = json.loads(document)
            except ValueError as error:
                problem = Problem("not-json", None, f"the document is not JSON: {error}")
                raise FlowValidationError(str(problem), [problem]) from None
        try:
            spec = cls.model_validate(document)
        except ValidationError as error:
            problems = [_shape_problem(detail, document) for detail in error.errors(include_url=False)]
            lines = "\n".join(f"  - {problem}" for problem in problems)
            message = f"the document is not a flow, {len(problems)} problem(s):\n{lines}"
            raise FlowValidationError(message, problems) from None
        return spec if name is None else spec.model_copy(update={"name": name})

    def digest(self) -> str:
        """SHA-256 (hex) of what the flow does: layout, descriptions and edge ids do not count."""
        content = {
            "version": self.version,
            "name": self.name,
            "meta": self.meta,
            "nodes": [_meaning(node) for node in self.nodes],
            "edges": [[edge.source, edge.source_handle, edge.target, edge.target_handle] for edge in self.edges],
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _meaning(node: NodeSpec) -> dict[str, Any]:
    return node.model_dump(
        mode="json", include={"id", "type", "config", "retry", "timeout_seconds", "on_error", "join", "when"}
    )


def _shape_problem(detail: Any, document: Any) -> Problem:
    location: tuple[Any, ...] = detail["loc"]
    node: str | None = None
    if len(location) >= 2 and location[0] in {"nodes", "edges"} and isinstance(document, dict):
        items = document.get(location[0])
        if isinstance(items, list) and isinstance(location[1], int) and isinstance(items[location[1]], dict):
            found = items[location[1]].get("id")
            node = found if isinstance(found, str) else None
    shown = repr(detail.get("input"))
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    field = ".".join(str(part) for part in location) or "the document"
    return Problem(
        "bad-shape",
        node,
        f"{field}: {detail['msg'][:1].lower()}{detail['msg'][1:]}, got {shown}",
        path="".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location),
    )


# --- joins ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JoinRule:
    """`n` arrivals are needed; None means every one that can still come ("all"), 1 is "any"."""

    n: int | None
    #: the m of "n-of-m", where it was written
    of: int | None = None

    def __str__(self) -> str:
        if self.n is None:
            return "all"
        if self.of is not None:
            return f"{self.n}-of-{self.of}"
        return "any" if self.n == 1 else f"any {self.n}"


ALL = JoinRule(None)
_N_OF_M = re.compile(r"\s*(\d{1,9})\s*-?\s*of\s*-?\s*(\d{1,9})\s*", re.ASCII)


def parse_join(value: Any) -> JoinRule:
    """Read a join: ``"all"``, ``"any"``, ``2``, ``"2-of-3"``, ``{"n": 2}``, ``{"n": 2, "of": 3}``.

    Raises:
        ValueError: it is none of these.
    """
    if value == "all":
        return ALL
    if value == "any":
        return JoinRule(1)
    if isinstance(value, int) and not isinstance(value, bool):
        return JoinRule(value)
    if isinstance(value, str) and (match := _N_OF_M.fullmatch(value)):
        return JoinRule(int(match[1]), int(match[2]))
    if isinstance(value, dict) and set(value) in ({"n"}, {"n", "of"}):
        n, of = value["n"], value.get("of")
        if type(n) is int and (of is None or type(of) is int):
            return JoinRule(n, of)
    raise ValueError(f'a join is "all", "any", a number, "2-of-3" or {{"n": 2}}, not {value!r}')


# --- where a parameter comes from -------------------------------------------------------------------------

#: names that a parameter may have to be given something of the run instead of a node's output
CONTEXT_NAMES = ("event", "step", "run", "error", "index")

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class NodeInput:
    """The output of a node, or a part of it. JSON: ``{"ref": "load", "path": ["items", 0]}``."""

    node: str
    path: Path = ()

    def to_json(self) -> dict[str, Any]:
        """The form in a node's config."""
        return {"ref": self.node, "path": list(self.path)} if self.path else {"ref": self.node}


@dataclass(frozen=True, slots=True)
class ContextInput:
    """Something of the run: the trigger's event, the step API, … JSON: ``{"context": "event"}``."""

    name: str
    path: Path = ()

    def to_json(self) -> dict[str, Any]:
        """The form in a node's config."""
        return {"context": self.name, "path": list(self.path)} if self.path else {"context": self.name}


@dataclass(frozen=True, slots=True)
class ValueInput:
    """A literal. JSON: ``{"value": 3}``."""

    value: Any

    def to_json(self) -> dict[str, Any]:
        """The form in a node's config."""
        return {"value": self.value}


Input = NodeInput | ContextInput | ValueInput


def parse_input(document: Any) -> Input:
    """Read one input of a node's config.

    Raises:
        ValueError: it has none of the three forms.
    """
    if isinstance(document, dict):
        keys = set(document)
        path = document.get("path", [])
        if isinstance(path, list) and all(isinstance(part, str | int) for part in path):
            if keys <= {"ref", "path"} and isinstance(document.get("ref"), str):
                return NodeInput(document["ref"], tuple(path))
            if keys <= {"context", "path"} and document.get("context") in CONTEXT_NAMES:
                return ContextInput(document["context"], tuple(path))
        if keys == {"value"}:
            return ValueInput(document["value"])
    raise ValueError(
        'an input is {"ref": "<node>"}, {"context": "event"} or {"value": …}, '
        f"with an optional path, not {document!r}"
    )


def input_items(node: NodeSpec) -> Iterator[tuple[str, str, Any]]:
    """Every input of a node as (role, parameter, JSON); roles are ``inputs``, ``over``, ``payload`` and
    ``when``.
    """
    inputs = node.config.get("inputs")
    if isinstance(inputs, dict):
        for name, document in inputs.items():
            yield "inputs", name, document
    for role in ("over", "payload"):
        if role in node.config and node.type in {"map", "subflow"}:
            yield role, role, node.config[role]
    if node.when is not None and node.when.code is not None:
        for name, document in node.when.code.inputs.items():
            yield "when", name, document


def node_inputs(node: NodeSpec) -> dict[str, Input]:
    """The parameters of a node's function and where each comes from; ValueError for a malformed one."""
    inputs = node.config.get("inputs") or {}
    return {name: parse_input(document) for name, document in inputs.items()}
