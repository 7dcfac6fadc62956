"""The fluent builder: an immutable flow, wired by parameter names.

    flow = (
        df.flow("sums")
        .step("load", lambda event: list(range(event.payload["n"])))
        .step("total", lambda load: sum(load))
    )

Every method returns a new flow. Nothing is wired, and nothing judged, before somebody asks for `flow.spec`:
a chain costs the same per step however long it is, and the order in which nodes were written does not matter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.compile import Compiled, compile_flow
from dataflows_sdk.flow.declare import Declaration, NodeDecl, RawEdge, RawNode, binding_key
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.model import FlowSpec, NodeSpec
from dataflows_sdk.flow.problems import Problem, raise_for
from dataflows_sdk.flow.source import fingerprint
from dataflows_sdk.flow.verbs_data import DataVerbs

if TYPE_CHECKING:
    import networkx as nx

    from dataflows_sdk.core.retry import Retry
    from dataflows_sdk.flow.loops import Scopes
    from dataflows_sdk.flow.plan import Plan
    from dataflows_sdk.flow.topology import Topology


@dataclass(frozen=True, eq=False, repr=False)
class Flow(DataVerbs):
    """A DAG as a value: `spec` is its data, `bindings` are the Python callables beside it.

    Two flows are equal when their specs are and their callables do the same as far as can be seen (byte
    code, defaults and captured variables): running a notebook cell again gives an equal flow.
    """

    name: str
    description: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    _declarations: tuple[Declaration, ...] = ()
    _extra: Mapping[str, Any] = field(default_factory=dict)

    # --- building ---------------------------------------------------------------------------------------

    def _declare(self, *declarations: Declaration) -> Self:
        return replace(self, _declarations=(*self._declarations, *declarations))

    def _declared(self) -> tuple[Declaration, ...]:
        return self._declarations

    def _blank(self) -> Self:
        return replace(self, _declarations=(), _extra={})

    def _ids(self) -> set[str]:
        return {
            decl.id if isinstance(decl, NodeDecl) else decl.spec.id
            for decl in self._declarations
            if isinstance(decl, NodeDecl | RawNode)
        }

    def describe(self, description: str) -> Self:
        """The same flow with a description."""
        return replace(self, description=description)

    def with_meta(self, **meta: Any) -> Self:
        """The same flow with more free fields, which must be JSON."""
        return replace(self, meta={**self.meta, **meta})

    # --- the model --------------------------------------------------------------------------------------

    @cached_property
    def _compiled(self) -> Compiled:
        return compile_flow(self.name, self._declarations, self.description, self.meta, self._extra)

    @property
    def spec(self) -> FlowSpec:
        """The flow as data."""
        return self._compiled.spec

    @cached_property
    def bindings(self) -> Mapping[str, Any]:
        """What stands beside the spec, read-only.

        The function of a node (or the child of a sub-flow) under the node's id; under ``"<id>#when"``,
        ``"<id>#key"``, ``"<id>#undo"`` its other callables and under ``"<id>#retry"`` its Retry, which may
        hold exception classes.
        """
        return MappingProxyType(dict(self._compiled.bindings))

    @property
    def documented(self) -> frozenset[str]:
        """The nodes that came with a document."""
        return frozenset(decl.spec.id for decl in self._declarations if isinstance(decl, RawNode))

    @cached_property
    def scopes(self) -> Scopes:
        """The flow taken apart at its loops."""
        from dataflows_sdk.flow.loops import take_apart

        return take_apart(self.spec)

    @cached_property
    def topologies(self) -> Mapping[str | None, Topology]:
        """The flow prepared for scheduling, and the body of each of its loops by the loop's id; shared by all runs.

        Raises:
            FlowValidationError: it has a cycle.
        """
        from dataflows_sdk.flow.topology import Topology

        return {scope: Topology(spec) for scope, spec in self.scopes.specs.items()}

    @property
    def topology(self) -> Topology:
        """The flow prepared for scheduling, without the bodies of its loops."""
        return self.topologies[None]

    def handles_used(self, node: str) -> frozenset[str | None]:
        """The handles by which edges leave a node."""
        return self._handles_used.get(node, frozenset())

    @cached_property
    def _handles_used(self) -> dict[str, frozenset[str | None]]:
        from dataflows_sdk.flow.handles import edge_handle

        found: dict[str, set[str | None]] = {}
        for edge in self.spec.edges:
            if edge.source in self.nodes:
                found.setdefault(edge.source, set()).add(edge_handle(edge, self.nodes[edge.source]))
        return {node: frozenset(handles) for node, handles in found.items()}

    @cached_property
    def nodes(self) -> Mapping[str, NodeSpec]:
        """The nodes by id."""
        return {node.id: node for node in self.spec.nodes}

    def binding(self, node: str, role: str = "") -> Any:
        """What is bound to a node, or to one of its roles (``"when"``, ``"key"``, ``"undo"``); or None."""
        return self.bindings.get(binding_key(node, role))

    @cached_property
    def portable(self) -> bool:
        """Whether the document says everything: no node calls a Python function."""
        return not self.bindings and not any(self.needs_binding(node.id) for node in self.spec.nodes)

    def needs_binding(self, node: str) -> bool:
        """Whether a node calls a function that a document cannot bring along."""
        spec = self.nodes[node]
        kind = kind_of(spec.type)
        return (kind is not None and kind.function) or (spec.when is not None and spec.when.code is not None)

    def retry_of(self, node: str) -> Retry | None:
        """The retry policy of a node: the Retry it was built with, else what the spec says, else None."""
        from dataflows_sdk.flow.retries import retry_of

        bound: Retry | None = self.binding(node, "retry")
        spec = self.nodes[node].retry
        return bound if bound is not None else retry_of(spec) if spec is not None else None

    # --- JSON -------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The document, React Flow compatible: ``{"version": 1, "name": …, "nodes": […], "edges": […]}``."""
        return self.spec.to_document()

    def to_json_text(self, *, indent: int | None = 2) -> str:
        """The document as text."""
        return json.dumps(self.to_json(), indent=indent, ensure_ascii=False)

    def to_file(self, path: str | os.PathLike[str]) -> Path:
        """Write the document as JSON text."""
        file = Path(path)
        file.write_text(self.to_json_text() + "\n", encoding="utf-8")
        return file

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, bindings: Mapping[str, Any] | None = None, name: str | None = None
    ) -> Flow:
        """Read a document from a file; its name without the ending serves where the document has none.

        Raises:
            FlowValidationError: the document has not the shape of a flow.
            OSError: the file cannot be read.
        """
        file = Path(path)
        spec = FlowSpec.from_document(file.read_text(encoding="utf-8"), name=name)
        return cls.from_spec(spec if spec.name else spec.model_copy(update={"name": file.stem}), bindings)

    @classmethod
    def from_json(cls, document: Any, *, bindings: Mapping[str, Any] | None = None, name: str | None = None) -> Flow:
        """Read a document (a mapping or JSON text).

        Args:
            document: what `to_json` gives, or what a visual builder wrote.
            bindings: the callables, by node id (or ``"<id>#when"`` and so on), or by their name in the
                document (``"module:qualname"`` or the qualname alone). A document never makes this library
                import anything: what is not bound is listed by `validate`.
            name: the flow's name, where the document has none or another is wanted.

        Raises:
            FlowValidationError: the document has not the shape of a flow.
        """
        return cls.from_spec(FlowSpec.from_document(document, name=name), bindings)

    @classmethod
    def from_spec(cls, spec: FlowSpec, bindings: Mapping[str, Any] | None = None) -> Flow:
        """The flow of a spec; `bindings` as in `from_json`."""
        given = bindings or {}
        nodes = [RawNode(node, bind(node, given)) for node in spec.nodes]
        edges = [RawEdge(edge) for edge in spec.edges]
        extra = dict(spec.model_extra or {})
        return cls(spec.name, spec.description, spec.meta, (*nodes, *edges), extra)

    # --- checking and looking ---------------------------------------------------------------------------

    def validate(self) -> list[Problem]:
        """Every problem at once, errors and warnings, in the order of the nodes; empty when there is none."""
        from dataflows_sdk.flow.validate import validate_flow

        return validate_flow(self)

    def check(self) -> Self:
        """The flow itself, for chaining.

        Raises:
            FlowValidationError: it has errors; the message and `.problems` list every one.
        """
        raise_for(self.name, self.validate())
        return self

    def plan(self, durations: Mapping[str, float] | None = None) -> Plan:
        """Levels, order and critical path; `durations` in seconds by node, else every node counts one."""
        from dataflows_sdk.flow.plan import plan_of

        return plan_of(self.spec, durations)

    def to_networkx(self) -> nx.DiGraph[str]:
        """A networkx DiGraph whose node attributes are the fields of the spec."""
        from dataflows_sdk.flow.graph import to_networkx

        return to_networkx(self.spec)

    @classmethod
    def from_networkx(cls, graph: nx.DiGraph[Any], bindings: Mapping[str, Any] | None = None) -> Flow:
        """The flow of a graph: one from `to_networkx`, or any DiGraph whose nodes have functions in
        `bindings`.
        """
        from dataflows_sdk.flow.graph import from_networkx

        return from_networkx(graph, bindings or {})

    def mermaid(self) -> str:
        """A Mermaid flowchart."""
        from dataflows_sdk.flow.render import mermaid

        return mermaid(self.spec)

    def svg(self) -> str:
        """A picture: SVG, from left to right, with the problems of `validate` on their nodes."""
        from dataflows_sdk.flow.svg import svg

        return svg(self.spec, self.validate())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook shows: the plan before it runs."""
        from dataflows_sdk.drawing.bundle import bundle

        return bundle(self.svg(), repr(self))

    def text(self) -> str:
        """The flow as text, level by level."""
        from dataflows_sdk.flow.render import text

        return text(self.spec)

    # --- identity ---------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the spec and the callables; only to compare within one process."""
        bound = sorted((key, fingerprint(value)) for key, value in self.bindings.items())
        problems = [str(problem) for problem in self._compiled.problems]
        return fingerprint((self.spec.model_dump_json(by_alias=True), bound, problems))

    def __dataflows_fingerprint__(self) -> str:
        """For flows that are captured by callables of other flows."""
        return self.fingerprint

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Flow):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        ids = [node.id for node in self.spec.nodes]
        shown = ", ".join(ids[:6]) + (f", … {len(ids) - 6} more" if len(ids) > 6 else "")
        return f"<Flow {self.name!r}: {shown or 'empty'}>"

    def __str__(self) -> str:
        return self.text()


def flow(name: str, *, description: str = "", meta: Mapping[str, Any] | None = None) -> Flow:
    """Begin a flow.

    Raises:
        DefinitionError: the name is not text.
    """
    if not isinstance(name, str):
        raise DefinitionError(f'a flow begins with its name, as in df.flow("new-order"), not {name!r}')
    return Flow(name, description, dict(meta or {}))


def bind(node: NodeSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The callables for one node of a document, by binding key."""
    wanted: dict[str, Any] = {}
    names: dict[str, Any] = {"": node.config.get("callable")}
    for role in ("key", "undo"):
        part = node.config.get(role)
        names[role] = part.get("callable") if isinstance(part, dict) else None
    names["when"] = node.when.code.callable if node.when is not None and node.when.code is not None else None
    names["retry"] = None
    for role, name in names.items():
        key = binding_key(node.id, role)
        short = name.partition(":")[2] if isinstance(name, str) else None
        for candidate in (key, name, short):
            # every lambda of a module has the same name: such a name finds nothing
            if isinstance(candidate, str) and candidate in given and (candidate == key or "<lambda>" not in candidate):
                wanted[key] = given[candidate]
                break
    return wanted
