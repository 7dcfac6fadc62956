"""Everything that is wrong with a flow, at once, before anything runs."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

from dataflows_sdk.errors import DataflowsError
from dataflows_sdk.flow.checking import Checking
from dataflows_sdk.flow.handles import handles_of
from dataflows_sdk.flow.inputs import not_json
from dataflows_sdk.flow.kinds import is_branching, is_trigger, kind_of, known_types
from dataflows_sdk.flow.model import (
    CONTEXT_NAMES,
    NodeInput,
    NodeSpec,
    ValueInput,
    input_items,
    parse_input,
    parse_join,
)
from dataflows_sdk.flow.problems import Problem
from dataflows_sdk.flow.retries import retry_of

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow

NAME_MAX = 100


def validate_flow(flow: Flow) -> list[Problem]:
    """All problems of a flow: those of its wiring, its graph, its callables and its types."""
    from dataflows_sdk.flow.typecheck import check_types
    from dataflows_sdk.flow.validate_code import check_bindings, check_children
    from dataflows_sdk.flow.validate_data import check_data_node
    from dataflows_sdk.flow.validate_graph import check_graph

    checking = Checking(flow.spec, flow.bindings, list(flow._compiled.problems), flow.documented)
    _check_flow_name(checking)
    for number, node in enumerate(flow.spec.nodes):
        checking.number = number
        _check_name(checking, node)
        _check_options(checking, node)
        _check_inputs(checking, node)
        _check_gates(checking, node)
        check_bindings(checking, node)
        check_data_node(checking, node)
    checking.number = None
    checking.problems += checking.scopes.problems
    _check_edges(checking)
    check_graph(checking)
    check_types(checking)
    check_children(checking, flow)
    return checking.sorted()


def name_fault(name: str) -> str | None:
    """Why this is no name for a flow or a node; None if it is one."""
    if not name.strip():
        return "is empty"
    if len(name) > NAME_MAX:
        return f"has {len(name)} characters, more than {NAME_MAX}"
    if any(unicodedata.category(char).startswith("C") and char != "\u200d" for char in name):
        return "has control characters"
    if name != name.strip():
        return "begins or ends with a space"
    if "#" in name:
        return "has a '#'"
    return None


def _shown(name: str) -> str:
    return repr(name) if len(name) <= NAME_MAX else repr(name[:40]) + "…"


def _check_flow_name(checking: Checking) -> None:
    fault = name_fault(checking.spec.name)
    if fault:
        hint = (
            'give it one: df.flow("…") or Flow.from_json(document, name="…")' if not checking.spec.name.strip() else ""
        )
        checking.add("bad-name", None, f"the flow's name {_shown(checking.spec.name)} {fault}", hint, path="/name")
    if not checking.spec.nodes:
        checking.add("empty", None, "the flow has no nodes", "add a .step(name, function)", path="/nodes")
    if place := not_json(checking.spec.meta):
        checking.add("not-json", None, f"meta is not JSON at {place}", path="/meta")


def _check_name(checking: Checking, node: NodeSpec) -> None:
    if fault := name_fault(node.id):
        checking.add("bad-name", node.id, f"the node's name {_shown(node.id)} {fault}", path="/id")
    elif node.id in CONTEXT_NAMES:
        hint = f"a parameter of that name is given the run's own {node.id}; choose another name"
        checking.add("reserved-name", node.id, f"{node.id!r} is a reserved word", hint, path="/id")
    if checking.numbers[node.id] != checking.number:
        checking.add(
            "duplicate-name",
            node.id,
            f"there are two nodes named {node.id!r}",
            "names are unique",
            path="/id",
        )
    if kind_of(node.type) is None:
        hint = checking.did_you_mean(node.type, known_types()) or f"there are {', '.join(known_types())}"
        checking.add("unknown-type", node.id, f"the node type {node.type!r} is unknown", hint, path="/type")


def _check_options(checking: Checking, node: NodeSpec) -> None:
    seconds = node.timeout_seconds
    if seconds is not None and (isinstance(seconds, bool) or not 0 < seconds < math.inf):
        hint = 'write "30s" or a number of seconds greater than 0'
        checking.add(
            "bad-timeout",
            node.id,
            f"a timeout of {seconds!r} seconds cannot be kept",
            hint,
            path="/timeout_seconds",
        )
    if node.retry is not None:
        try:
            retry_of(node.retry)
        except (DataflowsError, ValueError, TypeError) as error:
            checking.add("bad-retry", node.id, f"retry: {error}", path="/retry")
    if node.on_error not in {"stop", "continue"}:
        _check_goto(checking, node)
    try:
        parse_join(node.join)
    except ValueError as error:
        checking.add("bad-join", node.id, str(error), path="/join")
    if place := not_json(node.config):
        checking.add("not-json", node.id, f"config is not JSON at {place}", path="/config")
    concurrency = node.config.get("concurrency")
    if node.type == "map" and concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        hint = "a whole number from 1, or leave it out"
        checking.add("bad-concurrency", node.id, f"concurrency is {concurrency!r}", hint, path="/config/concurrency")
    if node.type == "branch" and not node.config.get("handles"):
        hint = f'name them: cases=[…], or use when="{node.id}:<case>" on a node'
        checking.add(
            "no-branches",
            node.id,
            "the branch has no cases",
            hint,
            path="/config/handles",
            severity="warning",
        )
    if node.type == "subflow" and not isinstance(node.config.get("flow"), str):
        checking.add("missing-input", node.id, "the sub-flow does not say which flow it runs", path="/config/flow")


def _check_goto(checking: Checking, node: NodeSpec) -> None:
    def bad(message: str, hint: str = 'write "stop", "continue" or "goto:<node>"') -> None:
        checking.add("bad-on-error", node.id, message, hint, path="/on_error")

    target = node.goto
    if target is None:
        bad(f"on_error is {node.on_error!r}")
    elif target not in checking.nodes:
        bad(f"on_error goes to {target!r}, which is no node", checking.did_you_mean(target, checking.nodes))
    elif target == node.id:
        bad("on_error goes to the node itself", "use retry= to try it again")
    elif is_trigger(checking.nodes[target].type):
        bad(f"on_error goes to the trigger {target!r}", "a trigger is not run; go to a step")


def _check_inputs(checking: Checking, node: NodeSpec) -> None:
    inputs = node.config.get("inputs", {})
    if not isinstance(inputs, dict):
        checking.add("bad-input", node.id, f"config.inputs is {inputs!r}, not an object", path="/config/inputs")
    for role, name, document in input_items(node):
        path = f"/when/code/inputs/{name}" if role == "when" else f"/config/{role}" + (f"/{name}" * (role == "inputs"))
        what = {"inputs": f"input {name!r}", "when": f"parameter {name!r} of when="}.get(role, f"{role}=")
        try:
            source = parse_input(document)
        except ValueError as error:
            checking.add("bad-input", node.id, f"{what}: {error}", path=path)
            continue
        if isinstance(source, NodeInput) and source.node not in checking.nodes:
            hint = checking.did_you_mean(source.node, [*checking.nodes, *CONTEXT_NAMES])
            checking.add(
                "unknown-reference",
                node.id,
                f"{what} refers to {source.node!r}, which is no node",
                hint,
                path=path,
            )
        elif isinstance(source, NodeInput) and source.node == node.id:
            checking.add("self-reference", node.id, f"{what} refers to the node itself", path=path)
        elif role == "over" and isinstance(source, ValueInput) and not isinstance(source.value, list):
            checking.add("not-a-collection", node.id, f"over= is {source.value!r}", "a map goes over a list", path=path)
    if node.type == "map" and "over" not in node.config:
        checking.add(
            "missing-input",
            node.id,
            "the map does not say what it goes over",
            "add over=",
            path="/config/over",
        )


def _check_gates(checking: Checking, node: NodeSpec) -> None:
    wanted: dict[str, set[str]] = {}
    for number, gate in enumerate(node.when.gates if node.when is not None else ()):
        path = f"/when/gates/{number}"
        source = checking.nodes.get(gate.node)
        if source is None:
            hint = checking.did_you_mean(gate.node, checking.nodes)
            checking.add(
                "unknown-reference",
                node.id,
                f"when= refers to {gate.node!r}, which is no node",
                hint,
                path=path,
            )
        elif not is_branching(source.type):
            hint = f'make it one: .condition("{gate.node}", …), or pass a function: when=lambda …: …'
            checking.add("bad-when", node.id, f"when= refers to {gate.node!r}, which is no condition", hint, path=path)
        else:
            for handle in gate.handles:
                check_handle(checking, node.id, source, handle, path)
            handles = wanted.setdefault(gate.node, set(gate.handles))
            handles &= set(gate.handles)
            if not handles:
                message = f"when= wants {gate.node!r} to go two ways at once, so the node never runs"
                checking.add("never-runs", node.id, message, path=path, severity="warning")


def check_handle(checking: Checking, node: str, source: NodeSpec, handle: str, path: str) -> None:
    """Report a handle that a node does not have, where its handles are known."""
    handles = handles_of(source)
    if handles is not None and handle not in handles:
        hint = f"it has {', '.join(map(repr, handles))}" if handles else ""
        what = "case" if source.type == "branch" else "handle"
        checking.add("unknown-handle", node, f"{source.id!r} has no {what} {handle!r}", hint, path=path)


def _check_edges(checking: Checking) -> None:
    seen: set[str] = set()
    for number, edge in enumerate(checking.spec.edges):
        path = f"/edges/{number}"
        if edge.id:
            if edge.id in seen:
                checking.add(
                    "duplicate-edge",
                    edge.target,
                    f"there are two edges with the id {edge.id!r}",
                    path=f"{path}/id",
                )
            seen.add(edge.id)
        for end, name, node in (("source", edge.source, edge.target), ("target", edge.target, edge.source)):
            # what a function reads was reported as an input already; the edge is only its shadow
            if name not in checking.nodes and not _reads(checking, edge.target, name):
                message = f"an edge {'comes from' if end == 'source' else 'leads to'} {name!r}, which is no node"
                hint = checking.did_you_mean(name, checking.nodes)
                checking.add(
                    "unknown-reference",
                    node if node in checking.nodes else None,
                    message,
                    hint,
                    path=f"{path}/{end}",
                )
        source, target = checking.nodes.get(edge.source), checking.nodes.get(edge.target)
        if target is not None and is_trigger(target.type):
            message = f"an edge from {edge.source!r} leads to this trigger"
            checking.add("edge-into-trigger", target.id, message, "nothing comes before a trigger", path=path)
        gated = target is not None and target.when is not None and any(g.node == edge.source for g in target.when.gates)
        if source is not None and edge.source_handle is not None and not gated:
            check_handle(checking, edge.target, source, edge.source_handle, f"{path}/sourceHandle")


def _reads(checking: Checking, node: str, name: str) -> bool:
    spec = checking.nodes.get(node)
    if spec is None:
        return False
    gates = spec.when.gates if spec.when is not None else ()
    inputs = (source for _, _, source in checking.inputs(spec))
    return any(gate.node == name for gate in gates) or any(isinstance(s, NodeInput) and s.node == name for s in inputs)
