"""Problems between a node and what is bound to it: functions and their parameters, sub-flows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx

from dataflows_sdk.flow.checking import Checking
from dataflows_sdk.flow.declare import binding_key
from dataflows_sdk.flow.kinds import is_branching, kind_of
from dataflows_sdk.flow.model import CONTEXT_NAMES, NodeSpec
from dataflows_sdk.flow.problems import Problem
from dataflows_sdk.flow.source import source_sha

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow


def check_bindings(checking: Checking, node: NodeSpec) -> None:
    """Check that every function is there and that its parameters are wired."""
    kind = kind_of(node.type)
    if kind is not None and kind.function:
        _check_bound(checking, node, "", node.config, "function")
        _check_call(checking, node, "", node.config.get("inputs", {}))
    for role in ("key", "undo"):
        if isinstance(part := node.config.get(role), dict):
            _check_bound(checking, node, role, part, f"{role} function")
    if node.when is not None and node.when.code is not None:
        code = node.when.code
        _check_bound(checking, node, "when", {"callable": code.callable, "source_sha": code.source_sha}, "condition")
        _check_call(checking, node, "when", code.inputs)
    key = checking.signature(node.id, "key")
    if key is not None and (not key.parameters or sum(p.required for p in key.parameters) > 1):
        checking.add("bad-key", node.id, "key= takes a function of one parameter, the item", path="/config/key")


def _check_bound(checking: Checking, node: NodeSpec, role: str, part: Mapping[str, Any], what: str) -> None:
    key = binding_key(node.id, role)
    bound: Any = checking.bindings.get(key)
    if bound is None:
        name = part.get("callable")
        asked = f" {name!r}" if isinstance(name, str) else ""
        hint = f"pass it: Flow.from_json(document, bindings={{{key!r}: …}})"
        checking.add("unbound", node.id, f"its {what}{asked} is not bound", hint)
    elif not callable(bound):
        checking.add("unbound", node.id, f"its {what} is bound to {type(bound).__name__}, which cannot be called")
    elif isinstance(sha := part.get("source_sha"), str) and node.id in checking.documented and source_sha(bound) != sha:
        message = f"its {what} is not the code that the document was made with"
        checking.add("changed-code", node.id, message, severity="warning")


def _check_call(checking: Checking, node: NodeSpec, role: str, inputs: Any) -> None:
    signature = checking.signature(node.id, role)
    if not isinstance(inputs, dict) or not callable(checking.bindings.get(binding_key(node.id, role))):
        return
    where = " of when=" if role else ""
    if signature is None:
        if not inputs and node.type != "map":
            hint = 'this builtin hides its parameters; say inputs={"x": "<node>"} or wrap it in a function'
            checking.add("unknown-signature", node.id, f"the parameters{where} cannot be read", hint)
        return
    item = None
    if node.type == "map" and not role:
        item = next((name for name in signature.names if name not in inputs or name == node.config.get("item")), None)
        if item is None:
            checking.add(
                "missing-input",
                node.id,
                "the function of a map needs a parameter for the item",
                path="/config",
            )
    reported = {p.message for p in checking.problems if p.node == node.id} if checking.problems else set()
    for parameter in signature.parameters:
        name = parameter.name
        if not parameter.required or name in inputs or name == item or any(f"{name!r}" in text for text in reported):
            continue
        if name.replace("_", "") == node.id.replace("-", "").replace("_", ""):
            hint = "a step is not given its own output"
        else:
            known = [*checking.nodes, *CONTEXT_NAMES]
            hint = checking.did_you_mean(name, known)
            hint = hint or f'name it like a node, or say inputs={{"{name}": "<node>"}}'
        checking.add(
            "missing-input",
            node.id,
            f"parameter {name!r}{where} matches no node",
            hint,
            path="/config/inputs",
        )
    if not signature.open_ended:
        for name in inputs:
            if name not in signature.names:
                hint = checking.did_you_mean(name, signature.names) or f"it has {', '.join(signature.names) or 'none'}"
                checking.add(
                    "unknown-parameter",
                    node.id,
                    f"the function has no parameter {name!r}{where}",
                    hint,
                    path="/config/inputs",
                )


def check_children(checking: Checking, flow: Flow) -> None:
    """Check the flows that are bound to sub-flow nodes, and whether one of them leads back here."""
    from dataflows_sdk.flow.builder import Flow
    from dataflows_sdk.flow.validate import validate_flow

    for node in checking.spec.nodes:
        if node.type != "subflow":
            continue
        child = checking.bindings.get(node.id)
        if isinstance(child, Flow):
            for problem in validate_flow(child):
                name = f"{node.id}/{problem.node}" if problem.node is not None else node.id
                message = f"sub-flow {child.name!r}: {problem.message}"
                checking.problems.append(Problem(problem.code, name, message, problem.hint, problem.severity))
        chain = _way_back(flow.name, node.config.get("flow"), child, ())
        if chain is not None:
            way = " → ".join((flow.name, *chain))
            certain = not _is_conditional(checking, node)
            message = f"the sub-flow leads back to its own flow: {way}"
            hint = "without a condition it never ends" if certain else ""
            checking.add("subflow-recursion", node.id, message, hint, severity="error" if certain else "warning")


def _way_back(goal: str, name: Any, child: Any, way: tuple[str, ...]) -> tuple[str, ...] | None:
    if not isinstance(name, str):
        return None
    if name == goal:
        return (*way, name)
    for node in child.spec.nodes if hasattr(child, "spec") and hasattr(child, "bindings") else ():
        if node.type == "subflow":
            found = _way_back(goal, node.config.get("flow"), child.bindings.get(node.id), (*way, name))
            if found is not None:
                return found
    return None


def _is_conditional(checking: Checking, node: NodeSpec) -> bool:
    before = {node.id} | nx.ancestors(checking.graph, node.id)
    specs = [checking.nodes[name] for name in before]
    return any(spec.when is not None or is_branching(spec.type) for spec in specs)
