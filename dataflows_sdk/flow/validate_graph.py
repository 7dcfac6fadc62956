"""Problems of the graph: cycles, nodes out of reach, joins that cannot hold, references sideways."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import networkx as nx

from dataflows_sdk.flow.checking import Checking
from dataflows_sdk.flow.kinds import is_branching, is_handler
from dataflows_sdk.flow.model import NodeInput
from dataflows_sdk.flow.validate_data import check_references

Guard = dict[str, frozenset[str]]


def check_graph(checking: Checking) -> None:
    """Check everything that concerns more than one node."""
    knots = _check_cycles(checking)
    _check_reach(checking, knots)
    _check_upstream(checking, acyclic=not knots)
    check_references(checking, acyclic=not knots)
    _check_joins(checking, acyclic=not knots)


def _check_cycles(checking: Checking) -> set[str]:
    """Report one cycle per knot of nodes that wait for each other; the nodes of all knots."""
    graph = checking.graph
    gotos = {(node.id, node.goto) for node in checking.spec.nodes if node.goto is not None}
    plain = {(edge.source, edge.target) for edge in checking.spec.edges}
    knots: set[str] = set()
    for component in nx.strongly_connected_components(graph):
        if len(component) == 1 and not graph.has_edge(*(2 * tuple(component))):
            continue
        knots |= component
        first = min(component, key=checking.numbers.__getitem__)
        cycle = _cycle_through(graph.subgraph(component), first)
        steps = list(itertools.pairwise(cycle))
        way = " → ".join(cycle if len(cycle) <= 21 else [*cycle[:10], f"… {len(cycle) - 20} more …", *cycle[-10:]])
        if all(step in plain for step in steps):
            hint = "a flow has no loops: use .map() for a collection, or retry= for another try"
            # a step that waits for itself was reported as a self-reference where its input says so
            checking.add("cycle", first, f"nodes wait for each other: {way}", hint)
        elif len(cycle) > 2 or steps[0] not in gotos:
            checking.add("goto-cycle", first, f"on_error leads back: {way}", "a goto may only go forward")
    return knots


def _cycle_through(graph: nx.DiGraph[str], start: str) -> list[str]:
    """The shortest cycle through a node of a strongly connected graph, closed: the first node is also the
    last.
    """
    if graph.has_edge(start, start):
        return [start, start]
    back = min(graph.predecessors(start), key=lambda node: nx.shortest_path_length(graph, start, node))
    path: list[str] = nx.shortest_path(graph, start, back)
    return [*path, start]


def _check_reach(checking: Checking, knots: Iterable[str]) -> None:
    graph = checking.graph
    triggers = [node.id for node in checking.spec.triggers]
    starts = triggers or [
        node for node in graph if graph.in_degree(node) == 0 and not is_handler(checking.nodes[node].type)
    ]
    reached = _descendants(graph, starts)
    behind_knots = _descendants(graph, knots)
    for node in graph:
        if node in reached or node in behind_knots:
            continue
        if is_handler(checking.nodes[node].type):
            message, hint = "no on_error leads to this handler", f'say on_error="goto:{node}" on a step'
        else:
            message = "no trigger leads to this node, so it never runs" if triggers else "nothing leads to this node"
            hint = f"add an edge from {triggers[0]!r}" if triggers else ""
        checking.add("unreachable", node, message, hint, severity="warning")


def _descendants(graph: nx.DiGraph[str], starts: Iterable[str]) -> set[str]:
    seen = set(starts)
    todo = list(seen)
    while todo:
        for follower in graph.successors(todo.pop()):
            if follower not in seen:
                seen.add(follower)
                todo.append(follower)
    return seen


def _check_upstream(checking: Checking, *, acyclic: bool) -> None:
    """A node may read only what is surely decided when it starts, that is, what lies upstream."""
    graph = checking.graph
    for number, node in enumerate(checking.spec.nodes):
        for role, name, source in checking.inputs(node):
            if not isinstance(source, NodeInput) or source.node not in graph or source.node == node.id:
                continue
            if graph.has_edge(source.node, node.id):
                continue
            above = checking.is_upstream(source.node, node.id) if acyclic else nx.has_path(graph, source.node, node.id)
            if not above:
                path = f"/nodes/{number}" + (f"/config/inputs/{name}" if role == "inputs" else "")
                message = f"{name!r} refers to {source.node!r}, which does not come before it"
                hint = f'add after="{source.node}" or an edge from it'
                checking.add("not-upstream", node.id, message, hint, path=path)


# --- joins ------------------------------------------------------------------------------------------------


def _check_joins(checking: Checking, *, acyclic: bool) -> None:
    top = checking.topology
    guards: dict[str, Guard] | None = None
    for number, name in enumerate(top.ids):
        rule = top.joins[number]
        if rule.n is None:
            continue
        total = len(top.arrivals[number])
        path = f"/nodes/{checking.numbers[name]}/join"

        def impossible(message: str, hint: str = "", name: str = name, path: str = path) -> None:
            checking.add("join-impossible", name, message, hint, path=path)

        if rule.n < 1:
            impossible(f"a join of {rule.n} branches is no join", 'write "all", "any" or a number from 1')
        elif rule.of is not None and rule.n > rule.of:
            impossible(f"a join of {rule.n} of {rule.of} can never hold")
        elif rule.n > total and rule.n > 1:
            impossible(f"the join needs {rule.n} branches, but only {total} lead here")
        elif rule.of is not None and rule.of != total:
            hint = f'write "{rule.n}-of-{total}", or {rule.n}'
            impossible(f"the join says {rule}, but {total} branches lead here", hint)
        elif rule.n > 1 and acyclic:
            guards = _guards(checking) if guards is None else guards
            most, branch = _most_arrivals(number, checking, guards)
            if most < rule.n:
                message = f"the join needs {rule.n} branches, but {branch!r} lets at most {most} of them run"
                impossible(message, "branches of one condition exclude each other")


def _guards(checking: Checking) -> dict[str, Guard]:
    """For each node, the branches whose choice it surely depends on, and the handles it needs of them."""
    top = checking.topology
    guards: dict[str, Guard] = {}
    for name in nx.topological_sort(checking.graph):
        number = top.index[name]
        guard: Guard = {}
        if not top.goto_from[number]:
            incoming = top.arrivals[number] or top.required[number]
            if len(incoming) == 1:
                guard |= _through(checking, guards, *next(iter(incoming.items())))
            for branch, handles in top.gates[number].items():
                guard = {**guards.get(top.ids[branch], {}), **guard, top.ids[branch]: handles}
        guards[name] = guard
    return guards


def _through(checking: Checking, guards: dict[str, Guard], source: int, handles: set[str | None]) -> Guard:
    """What must hold for an edge to be followed."""
    name = checking.topology.ids[source]
    guard = dict(guards[name])
    if is_branching(checking.nodes[name].type) and None not in handles:
        guard[name] = frozenset(handle for handle in handles if handle is not None)
    return guard


def _most_arrivals(number: int, checking: Checking, guards: dict[str, Guard]) -> tuple[int, str]:
    """How many arrivals there can be at most, and the branch that limits them (the text is empty if none
    does).
    """
    arrivals = [_through(checking, guards, *item) for item in checking.topology.arrivals[number].items()]
    best, limit = len(arrivals), ""
    for branch in dict.fromkeys(name for guard in arrivals for name in guard):
        if checking.nodes[branch].type != "branch":
            continue
        most = max(_together(arrivals, branch))
        if most < best:
            best, limit = most, branch
    return best, limit


def _together(arrivals: list[Guard], branch: str) -> Iterator[int]:
    for handle in {handle for guard in arrivals for handle in guard.get(branch, ())}:
        yield sum(handle in guard.get(branch, {handle}) for guard in arrivals)
