"""A flow as a picture: SVG without scripts, links or fonts of its own, the same for the same flow."""

from __future__ import annotations

from collections.abc import Iterable

from dataflows_sdk.drawing.picture import Box, Edge, Graph, arrange, draw
from dataflows_sdk.flow.handles import edge_handle
from dataflows_sdk.flow.kinds import is_trigger, kind_of
from dataflows_sdk.flow.model import FlowSpec, NodeSpec
from dataflows_sdk.flow.problems import Problem
from dataflows_sdk.flow.render import one_line

_FAMILIES = frozenset({"trigger", "action", "logic", "code"})


def svg(spec: FlowSpec, problems: Iterable[Problem] = ()) -> str:
    """The flow from left to right: edges with the names of their handles, gotos dashed, problems on their nodes.

    Args:
        problems: what `Flow.validate` found; those of no node are counted below the picture.
    """
    found: dict[str | None, list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.node, []).append(problem)
    nodes = {node.id: node for node in reversed(spec.nodes)}
    ids = list(dict.fromkeys(node.id for node in spec.nodes))
    edges = edges_of(spec)
    places = arrange(ids, ((edge.source, edge.target) for edge in edges))
    graph = Graph([_box(nodes[each], found.get(each, [])) for each in ids], edges, places)
    loose = [problem for node, each in found.items() if node not in nodes for problem in each]
    note = ""
    if loose:
        more = f" (and {len(loose) - 1} more)" if len(loose) > 1 else ""
        note = one_line(str(loose[0])) + more
    return draw(graph, one_line(spec.name), note=note)


def edges_of(spec: FlowSpec) -> list[Edge]:
    """The edges between nodes that there are, and the gotos."""
    nodes = {node.id: node for node in reversed(spec.nodes)}
    edges = []
    for edge in spec.edges:
        if edge.source in nodes and edge.target in nodes:
            label = edge_handle(edge, nodes[edge.source]) or edge.label or ""
            edges.append(Edge(edge.source, edge.target, one_line(label)))
    gotos = [(node.id, node.goto) for node in spec.nodes if node.goto is not None and node.goto in nodes]
    return edges + [Edge(source, target, "on error", dashed=True) for source, target in gotos]


def kind_label(node: NodeSpec) -> str:
    """What a node is, in words."""
    kind = kind_of(node.type)
    return kind.label if kind is not None else one_line(node.type)


def _box(node: NodeSpec, problems: list[Problem]) -> Box:
    family = "trigger" if is_trigger(node.type) else node.type.partition("_")[0]
    return Box(
        node.id,
        one_line(node.id),
        kind_label(node),
        family if family in _FAMILIES else "plain",
        hint=f"{one_line(node.id)}: {one_line(node.type)}",
        problems=tuple(one_line(str(problem)) for problem in problems),
        severe=any(problem.severity == "error" for problem in problems),
    )
