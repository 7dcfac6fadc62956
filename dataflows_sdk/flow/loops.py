"""Loops: which part of a flow is the body of which loop.

A loop node stands in its flow like any other node; what lies behind its handle ``body`` runs once per item, as a flow
of its own, and what lies behind ``done`` follows when all items are through. A loop whose edges have no handles takes
the nodes that they lead to, and only these, as its body; edges that leave them lead on when the loop is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dataflows_sdk.flow.handles import edge_handle
from dataflows_sdk.flow.kinds import is_loop
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec
from dataflows_sdk.flow.problems import Problem

BODY, DONE = "body", "done"


@dataclass(frozen=True, slots=True)
class Scopes:
    """A flow taken apart at its loops.

    Attributes:
        specs: the flow itself without the bodies of its loops under None, and each body under its loop's id.
        owner: the loop in whose body a node is; None outside of all loops.
        problems: what is wrong with the loops.
    """

    specs: Mapping[str | None, FlowSpec]
    owner: Mapping[str, str | None]
    problems: tuple[Problem, ...]


def take_apart(spec: FlowSpec) -> Scopes:
    """The scopes of a flow; costs O(nodes + edges) per level of nesting."""
    loops = [node.id for node in spec.nodes if is_loop(node.type)]
    if not loops:
        return Scopes({None: spec}, dict.fromkeys((node.id for node in spec.nodes), None), ())
    by_id = {node.id: node for node in spec.nodes}
    leaving: dict[str, list[EdgeSpec]] = {}
    for edge in spec.edges:
        if edge.source in loops and (handle := edge_handle(edge, by_id[edge.source])) != edge.source_handle:
            edge = edge.model_copy(update={"source_handle": handle})
        leaving.setdefault(edge.source, []).append(edge)
    gotos = {node.id: node.goto for node in spec.nodes if node.goto is not None}
    problems: list[Problem] = []
    bodies: dict[str, set[str]] = {}
    bare: set[str] = set()
    for loop in loops:
        edges = leaving.get(loop, [])
        if any(edge.source_handle in (BODY, DONE) for edge in edges):
            entries = [edge.target for edge in edges if edge.source_handle == BODY]
            bodies[loop] = _behind(entries, leaving, gotos)
            behind = [edge.target for edge in edges if edge.source_handle != BODY]
            shared = sorted(bodies[loop].intersection(behind))
            if shared:
                problems.append(
                    Problem(
                        "loop-body",
                        shared[0],
                        f"node {shared[0]!r} lies behind both 'body' and 'done' of the loop {loop!r}",
                        "what follows the loop hangs on 'done' alone",
                    )
                )
                bodies[loop] -= _behind(behind, leaving, gotos)
        else:
            bare.add(loop)
            bodies[loop] = {edge.target for edge in edges}
        if not bodies[loop]:
            problems.append(
                Problem("loop-body", loop, f"the loop {loop!r} has no body", "add an edge with sourceHandle 'body'")
            )
        if loop in bodies[loop]:
            bodies[loop].discard(loop)
    # the innermost loop is the one with the smallest body
    owner: dict[str, str | None] = dict.fromkeys((node.id for node in spec.nodes), None)
    for loop in sorted(bodies, key=lambda each: -len(bodies[each])):
        for node in bodies[loop]:
            if node in owner:
                owner[node] = loop
    problems += _sideways(spec.edges, bodies)
    return Scopes(_specs(spec, owner, bodies, bare), owner, tuple(problems))


def _behind(entries: Iterable[str], leaving: Mapping[str, list[EdgeSpec]], gotos: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    todo = list(entries)
    while todo:
        node = todo.pop()
        if node in found:
            continue
        found.add(node)
        todo += [edge.target for edge in leaving.get(node, ())]
        goto = gotos.get(node)
        if goto is not None:
            todo.append(goto)
    return found


def _sideways(edges: Iterable[EdgeSpec], bodies: Mapping[str, set[str]]) -> list[Problem]:
    around: dict[str, list[str]] = {}
    for loop, body in bodies.items():
        for node in body:
            around.setdefault(node, []).append(loop)
    return [
        Problem(
            "loop-body",
            edge.target,
            f"an edge from {edge.source!r}, outside of the loop {loop!r}, leads into its body",
            f"what comes before the loop leads to {loop!r}; its body reads it by template or parameter",
        )
        for edge in edges
        for loop in around.get(edge.target, ())
        if edge.source not in bodies[loop] and edge.source != loop
    ]


def _specs(
    spec: FlowSpec, owner: Mapping[str, str | None], bodies: Mapping[str, set[str]], bare: set[str]
) -> dict[str | None, FlowSpec]:
    nodes: dict[str | None, list[NodeSpec]] = {None: [], **{loop: [] for loop in bodies}}
    edges: dict[str | None, list[EdgeSpec]] = {None: [], **{loop: [] for loop in bodies}}
    for node in spec.nodes:
        nodes[owner[node.id]].append(node)
    for edge in spec.edges:
        if edge.source not in owner or edge.target not in owner:
            edges[None].append(edge)  # an unknown node: somebody else says so
            continue
        source, target = owner[edge.source], owner[edge.target]
        if edge.source in bodies and target == edge.source:
            continue  # into the body: its entries begin by themselves
        if source == target:
            plain = edge.source in bodies and edge.source_handle is not None
            edges[source].append(edge.model_copy(update={"source_handle": None}) if plain else edge)
        elif source is not None and source in bare and owner.get(source) == target:
            # out of the body of a loop without handles: on when the loop is done
            edges[target].append(edge.model_copy(update={"source": source, "source_handle": None}))
    return {
        scope: spec.model_copy(update={"nodes": tuple(nodes[scope]), "edges": tuple(edges[scope])}) for scope in nodes
    }
