"""Flows as networkx graphs, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec

if TYPE_CHECKING:
    import networkx as nx

    from dataflows_sdk.flow.builder import Flow


def to_networkx(spec: FlowSpec, *, gotos: bool = False) -> nx.DiGraph[str]:
    """A DiGraph in the order of the flow.

    Node attributes are the fields that the node has in the document, edge attributes `edges` (the edges of
    the document between the two nodes, usually one), `handles` and `order` (positions in the document). The
    graph's own attributes are the flow's other fields.

    Args:
        spec: the flow; edges to unknown nodes are left out.
        gotos: whether ``on_error="goto:…"`` is an edge too (with the attribute ``goto=True``).
    """
    import networkx as nx

    document = spec.to_document()
    head = {key: value for key, value in document.items() if key not in {"nodes", "edges"}}
    graph: nx.DiGraph[str] = nx.DiGraph(**head)
    for node in document.get("nodes", ()):
        if node["id"] not in graph:
            graph.add_node(node["id"], **{key: value for key, value in node.items() if key != "id"})
    for number, edge in enumerate(document.get("edges", ())):
        source, target = edge["source"], edge["target"]
        if source in graph and target in graph:
            if not graph.has_edge(source, target):
                graph.add_edge(source, target, edges=[], handles=[], order=[])
            graph.edges[source, target]["edges"].append(edge)
            graph.edges[source, target]["handles"].append(edge.get("sourceHandle"))
            graph.edges[source, target]["order"].append(number)
    if gotos:
        for node_spec in spec.nodes:
            goto = node_spec.goto
            if goto is not None and goto in graph and not graph.has_edge(node_spec.id, goto):
                graph.add_edge(node_spec.id, goto, goto=True)
    return graph


def skeleton(spec: FlowSpec, *, gotos: bool = False) -> nx.DiGraph[str]:
    """Only the nodes and edges, for algorithms."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(node.id for node in spec.nodes)
    graph.add_edges_from(
        (edge.source, edge.target) for edge in spec.edges if edge.source in graph and edge.target in graph
    )
    if gotos:
        gotos_ = ((node.id, node.goto) for node in spec.nodes)
        graph.add_edges_from((node, goto) for node, goto in gotos_ if goto is not None and goto in graph)
    return graph


def from_networkx(graph: nx.DiGraph[Any], bindings: Mapping[str, Any]) -> Flow:
    """The flow of a graph.

    A node with a `type` attribute is taken as `to_networkx` wrote it. Any other becomes a step whose
    function is its `fn` attribute or stands in `bindings`, wired by parameter names and after its
    predecessors.

    Raises:
        DefinitionError: the graph is not directed, two nodes have the same text as name, or a node without a
            type has no function.
    """
    from dataflows_sdk.flow.builder import Flow, bind
    from dataflows_sdk.flow.declare import RawEdge, RawNode

    if not graph.is_directed() or graph.is_multigraph():
        raise DefinitionError("a flow is made from a networkx.DiGraph, which is directed and has no parallel edges")
    if len({str(node) for node in graph}) != len(graph):
        raise DefinitionError("two nodes of the graph have the same text as name")
    head = dict(graph.graph)
    known = {key: head.pop(key) for key in ("name", "description", "meta") if key in head}
    head.pop("version", None)
    flow = Flow(str(known.get("name", "")), str(known.get("description", "")), known.get("meta", {}), (), head)
    raw: list[str] = []
    for node, attributes in graph.nodes(data=True):
        name = str(node)
        if "type" in attributes:
            spec = NodeSpec.model_validate({"id": name, **attributes})
            flow = flow._declare(RawNode(spec, bind(spec, bindings)))
            raw.append(name)
            continue
        fn = attributes.get("fn", bindings.get(name))
        if fn is None:
            raise DefinitionError(
                f"node {name!r} of the graph has neither a type nor a function; give bindings={{{name!r}: …}}"
            )
        flow = flow.step(name, fn, after=[str(before) for before in graph.predecessors(node)])
    typed = set(raw)
    placed: list[tuple[float, EdgeSpec]] = []
    for source, target, attributes in graph.edges(data=True):
        if str(target) not in typed or attributes.get("goto"):
            continue
        plain = {"id": f"{source}->{target}", "source": str(source), "target": str(target)}
        edges = attributes.get("edges") or [plain]
        # edges that were added to the graph by hand come last
        order = attributes.get("order") or [float("inf")] * len(edges)
        placed += [(at, EdgeSpec.model_validate(edge)) for at, edge in zip(order, edges, strict=True)]
    return flow._declare(*(RawEdge(edge) for _, edge in sorted(placed, key=lambda item: item[0])))
