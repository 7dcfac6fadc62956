"""From declarations to the FlowSpec: parameters become inputs, inputs and conditions become edges.

Nothing here raises for a mistake of the flow's author. What the model can hold (a reference to a node that
does not exist, a join that cannot be) is written down and found by `validate`; what it cannot hold becomes a
Problem here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dataflows_sdk.errors import DefinitionError, InvalidDurationError
from dataflows_sdk.flow.callables import CallSignature, callable_name, signature_of
from dataflows_sdk.flow.declare import Declaration, EdgeDecl, NodeDecl, RawEdge, RawNode, binding_key
from dataflows_sdk.flow.inputs import Ref, Value, not_json
from dataflows_sdk.flow.kinds import is_handler, is_trigger
from dataflows_sdk.flow.loops import BODY, DONE
from dataflows_sdk.flow.model import (
    CONTEXT_NAMES,
    CodeSpec,
    ContextInput,
    EdgeSpec,
    FlowSpec,
    Gate,
    Input,
    NodeInput,
    NodeSpec,
    ValueInput,
    WhenSpec,
    parse_join,
)
from dataflows_sdk.flow.names import NodeNames, near_misses
from dataflows_sdk.flow.problems import Problem, short
from dataflows_sdk.flow.retries import needs_binding, retry_spec
from dataflows_sdk.flow.source import source_sha


@dataclass(frozen=True, slots=True)
class Compiled:
    """The outcome: the model, what could not be expressed in it, and the callables by binding key."""

    spec: FlowSpec
    problems: tuple[Problem, ...]
    bindings: Mapping[str, Any]


@dataclass(slots=True)
class _Wiring:
    """One compilation."""

    names: NodeNames
    handlers: set[str]
    triggers: list[str]
    case_gates: dict[str, list[Gate]]
    handles: dict[str, dict[str, None]]
    problems: list[Problem] = field(default_factory=list)
    bindings: dict[str, Any] = field(default_factory=dict)

    def problem(self, code: str, node: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(code, node, message, hint))

    def bind(self, node: str, role: str, value: Any) -> None:
        self.bindings.setdefault(binding_key(node, role), value)

    # --- parameters -------------------------------------------------------------------------------------

    def explicit(self, node: str, name: str, given: Any) -> Input | None:
        if isinstance(given, str):
            return self.names.resolve(given)
        if isinstance(given, Ref):
            return self.names.resolve(given.text)
        if isinstance(given, Value):
            place = not_json(given.value)
            if place is None:
                return ValueInput(given.value)
            self.problem(
                "not-json",
                node,
                f"the literal of input {name!r} is not JSON at {place}",
                "make the value in a step of its own, or capture it in the function",
            )
            return None
        self.problem(
            "bad-input",
            node,
            f"input {name!r} is {short(given)}",
            f"write a node's name, df.ref(...), or df.value({short(given)}) for a literal",
        )
        return None

    def wire(
        self, decl: NodeDecl, signature: CallSignature | None, given: Mapping[str, Any], item: bool
    ) -> tuple[dict[str, Any], str | None]:
        """Inputs as JSON by parameter, in the order of the signature, and the parameter of the item."""
        found: dict[str, Input] = {}
        item_name: str | None = None
        for parameter in signature.parameters if signature is not None else ():
            name = parameter.name
            if name in given:
                wired = self.explicit(decl.id, name, given[name])
            elif item and item_name is None:
                item_name, wired = name, None
            else:
                wired = self.by_name(decl, name)
            if wired is not None:
                found[name] = wired
        for name, raw in given.items():
            if (signature is None or name not in signature.names) and (wired := self.explicit(decl.id, name, raw)):
                found[name] = wired
        return {name: wired.to_json() for name, wired in found.items()}, item_name

    def by_name(self, decl: NodeDecl, name: str) -> Input | None:
        if name in CONTEXT_NAMES and (name != "index" or decl.item_first):
            return ContextInput(name)
        matches = [match for match in self.names.match(name) if match != decl.id]
        if len(matches) > 1:
            self.problem(
                "ambiguous-parameter",
                decl.id,
                f"parameter {name!r} may mean any of the nodes {', '.join(map(repr, matches))}",
                f'say which: inputs={{"{name}": "{matches[0]}"}}',
            )
            return None
        return NodeInput(matches[0]) if matches else None

    # --- conditions -------------------------------------------------------------------------------------

    def when(self, decl: NodeDecl) -> WhenSpec | None:
        given = decl.options.when
        parts = list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
        gates: list[Gate] = []
        fields: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, str):
                gates.append(self.gate(part))
            elif isinstance(part, Mapping) and "conditions" not in fields:
                place = not_json(dict(part))
                if place is not None:
                    self.problem("not-json", decl.id, f"the condition in when= is not JSON at {place}")
                    continue
                fields["conditions"] = dict(part)
            elif callable(part) and "code" not in fields:
                inputs, _ = self.wire(decl, signature_of(part), {}, item=False)
                fields["code"] = CodeSpec(callable=callable_name(part), source_sha=source_sha(part), inputs=inputs)
                self.bind(decl.id, "when", part)
            else:
                self.problem(
                    "bad-when",
                    decl.id,
                    f"when= cannot take {short(part)}",
                    'write a condition\'s name, "not <name>", "<branch>:<case>", one function or one mapping',
                )
        gates += [gate for gate in self.case_gates.get(decl.id, ()) if gate not in gates]
        if gates:
            fields["gates"] = tuple(gates)
        return WhenSpec(**fields) if fields else None

    def gate(self, text: str) -> Gate:
        if text in self.names.ids:
            return Gate(node=text, handles=("true",))
        bare = text.removeprefix("not ").strip()
        if bare != text and bare in self.names.ids:
            return Gate(node=bare, handles=("false",))
        node, colon, handles = text.rpartition(":")
        if colon:
            return Gate(node=node.strip(), handles=tuple(handle.strip() for handle in handles.split("|")))
        return Gate(node=bare, handles=("true",) if bare == text else ("false",))

    def is_root(self, decl: NodeDecl) -> bool:
        """Whether a node without any wiring is one that the trigger leads to."""
        return decl.id not in self.handlers and not is_trigger(decl.type) and not is_handler(decl.type)

    # --- nodes ------------------------------------------------------------------------------------------

    def node(self, decl: NodeDecl) -> tuple[NodeSpec, list[tuple[str, str | None]]]:
        """The node, and where its edges come from: (source, handle) in the order of its wiring."""
        config = dict(decl.config)
        if decl.fn is not None:
            config = {"callable": callable_name(decl.fn), "source_sha": source_sha(decl.fn), **config}
            self.bind(decl.id, "", decl.fn)
        signature = signature_of(decl.fn) if decl.fn is not None else None
        inputs, item = self.wire(decl, signature, decl.inputs, decl.item_first)
        if inputs or decl.fn is not None:
            config["inputs"] = inputs
        if item is not None:
            config["item"] = item
        for role, given in decl.sources.items():
            if (wired := self.explicit(decl.id, role, given)) is not None:
                config[role] = wired.to_json()
        for role, fn in decl.roles.items():
            config[role] = {"callable": callable_name(fn), "source_sha": source_sha(fn)}
            self.bind(decl.id, role, fn)
        if decl.options.undo is not None:
            undo = decl.options.undo
            config["undo"] = {"callable": callable_name(undo), "source_sha": source_sha(undo)}
            self.bind(decl.id, "undo", undo)
        if decl.child is not None:
            self.bind(decl.id, "", decl.child)
        if decl.type == "branch" and "handles" not in config:
            config["handles"] = list(self.handles.get(decl.id, ()))
        when = self.when(decl)
        fields = self.options(decl)
        if config:
            fields["config"] = config
        if when is not None:
            fields["when"] = when
        return NodeSpec(id=decl.id, type=decl.type, **fields), self.sources(decl, config, when)

    def options(self, decl: NodeDecl) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        options = decl.options
        if options.retry is not None:
            try:
                fields["retry"] = retry_spec(options.retry)
            except (ValueError, DefinitionError) as error:
                first = str(error).splitlines()
                self.problem("bad-retry", decl.id, "; ".join(line.strip() for line in first[:3]))
            else:
                if needs_binding(options.retry):
                    self.bind(decl.id, "retry", options.retry)
        if options.timeout is not None:
            try:
                fields["timeout_seconds"] = _seconds(options.timeout)
            except InvalidDurationError as error:
                self.problem("bad-timeout", decl.id, f"timeout: {error}")
        if options.on_error is not None:
            if isinstance(options.on_error, str):
                fields["on_error"] = options.on_error
            else:
                self.problem("bad-on-error", decl.id, f"on_error is {short(options.on_error)}", _ON_ERROR_HINT)
        if options.join is not None:
            try:
                parse_join(options.join)
                fields["join"] = options.join
            except ValueError as error:
                self.problem("bad-join", decl.id, str(error))
        if options.description:
            fields["description"] = str(options.description)
        return fields

    def sources(self, decl: NodeDecl, config: Mapping[str, Any], when: WhenSpec | None) -> list[tuple[str, str | None]]:
        """Where edges come from. What a handler reads does not bring it in: only the error does."""
        plain: dict[str, None] = {}
        wired = [*config.get("inputs", {}).values(), *(config.get(role) for role in decl.sources)]
        if when is not None and when.code is not None:
            wired += when.code.inputs.values()
        if decl.id in self.handlers:
            wired.clear()
        for document in wired:
            if document is not None and "ref" in document:
                plain.setdefault(document["ref"])
        edges: dict[tuple[str, str | None], None] = {}
        for name in decl.after:
            node, colon, handle = name.rpartition(":")
            if colon and name not in self.names.ids and node in self.names.ids:
                edges.setdefault((node, handle))
            else:
                plain.setdefault(name)
        gated: set[str] = set()
        for gate in when.gates if when is not None else ():
            gated.add(gate.node)
            for handle in gate.handles:
                edges.setdefault((gate.node, handle))
        # an edge that leaves by a handle says more than a plain one between the same two nodes
        return [*((source, None) for source in plain if source not in gated), *edges]


_ON_ERROR_HINT = 'write "stop", "continue" or "goto:<node>"'


class _Edges:
    """The edges so far, each with an id of its own."""

    def __init__(self) -> None:
        self.specs: list[EdgeSpec] = []
        self._taken: set[str] = set()

    def add(self, spec: EdgeSpec) -> None:
        self.specs.append(spec)
        self._taken.add(spec.id)

    def connect(self, edge: EdgeDecl) -> None:
        name = f"{edge.source}->{edge.target}" if edge.handle is None else f"{edge.source}:{edge.handle}->{edge.target}"
        free = (name if number == 1 else f"{name}#{number}" for number in itertools.count(1))
        edge_id = edge.id or next(candidate for candidate in free if candidate not in self._taken)
        fields: dict[str, Any] = {"id": edge_id, "source": edge.source, "target": edge.target}
        if edge.handle is not None:
            fields["source_handle"] = edge.handle
        if edge.label is not None:
            fields["label"] = edge.label
        self.add(EdgeSpec(**fields))


def compile_flow(
    name: str,
    declarations: tuple[Declaration, ...],
    description: str,
    meta: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> Compiled:
    """Wire every declaration; the order in which nodes were written does not matter for references."""
    wiring = _survey(declarations)
    nodes: list[NodeSpec] = []
    edges = _Edges()
    explicit = _edge_targets(declarations)
    bodies = _bodies(declarations)
    #: per part, the node written last
    before: dict[str | None, str] = {}
    for decl in declarations:
        if isinstance(decl, NodeDecl):
            node, sources = wiring.node(decl)
            nodes.append(node)
            if not sources and decl.id not in explicit and wiring.is_root(decl):
                previous = before.get(decl.part)
                if decl.chained and previous is not None:
                    sources = [(previous, DONE if previous in bodies else None)]
                elif decl.part is not None:
                    sources = [(decl.part, BODY)]
                else:
                    sources = [(trigger, None) for trigger in wiring.triggers]
            if wiring.is_root(decl):
                before[decl.part] = decl.id
            for source, handle in sources:
                edges.connect(EdgeDecl(source, decl.id, handle))
        elif isinstance(decl, EdgeDecl):
            edges.connect(decl)
        elif isinstance(decl, RawNode):
            nodes.append(decl.spec)
            for key, bound in decl.bindings.items():
                wiring.bindings.setdefault(key, bound)
        else:
            edges.add(decl.spec)
    fields: dict[str, Any] = {"version": 1, "nodes": tuple(nodes), "edges": tuple(edges.specs), **extra}
    given = {"name": name, "description": description, "meta": dict(meta)}
    fields |= {key: value for key, value in given.items() if value}
    return Compiled(FlowSpec(**fields), tuple(wiring.problems), wiring.bindings)


def _bodies(declarations: Iterable[Declaration]) -> set[str]:
    """Loops behind whose body handle something was hung."""
    nodes = [decl for decl in declarations if isinstance(decl, NodeDecl)]
    named = {each.removesuffix(f":{BODY}") for decl in nodes for each in decl.after if each.endswith(f":{BODY}")}
    return named | {decl.part for decl in nodes if decl.part is not None}


def _edge_targets(declarations: Iterable[Declaration]) -> set[str]:
    targets = {decl.target for decl in declarations if isinstance(decl, EdgeDecl)}
    return targets | {decl.spec.target for decl in declarations if isinstance(decl, RawEdge)}


def _survey(declarations: tuple[Declaration, ...]) -> _Wiring:
    """What has to be known of the whole flow before the first node is wired."""
    specs = [
        decl.spec if isinstance(decl, RawNode) else decl
        for decl in declarations
        if isinstance(decl, NodeDecl | RawNode)
    ]
    names = NodeNames(spec.id for spec in specs)
    handlers: set[str] = set()
    case_gates: dict[str, list[Gate]] = {}
    handles: dict[str, dict[str, None]] = {}
    for spec in specs:
        on_error = spec.options.on_error if isinstance(spec, NodeDecl) else spec.on_error
        if isinstance(on_error, str) and on_error.startswith("goto:"):
            handlers.add(on_error.removeprefix("goto:").strip())
    wiring = _Wiring(names, handlers, [spec.id for spec in specs if is_trigger(spec.type)], case_gates, handles)
    for spec in specs:
        if not isinstance(spec, NodeDecl):
            continue
        for handle, targets in (spec.cases or {}).items():
            for target in targets:
                case_gates.setdefault(target, []).append(Gate(node=spec.id, handles=(handle,)))
                if target not in names.ids:
                    near = near_misses(target, names.ids)
                    wiring.problem(
                        "unknown-reference",
                        spec.id,
                        f"case {handle!r} leads to {target!r}, which is no node",
                        near,
                    )
        given = spec.options.when
        for part in given if isinstance(given, list | tuple) else [given]:
            if isinstance(part, str):
                gate = wiring.gate(part)
                for handle in gate.handles:
                    handles.setdefault(gate.node, {}).setdefault(handle)
    # a goto target that is also placed in the ordinary way is no mere handler
    handlers -= _edge_targets(declarations) | set(case_gates)
    handlers -= {
        spec.id for spec in specs if isinstance(spec, NodeDecl) and (spec.after or spec.options.when is not None)
    }
    for decl in declarations:
        if isinstance(decl, EdgeDecl) and decl.handle is not None:
            handles.setdefault(decl.source, {}).setdefault(decl.handle)
    return wiring


def _seconds(timeout: Any) -> int | float:
    from dataflows_sdk.core.durations import parse_duration

    found = parse_duration(timeout) / timedelta(seconds=1)
    return int(found) if found.is_integer() else found
