"""What a flow will do, before it does it: levels, order and critical path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dataflows_sdk.errors import DefinitionError, FlowValidationError
from dataflows_sdk.flow.kinds import is_trigger
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.flow.problems import Problem


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of a flow.

    Attributes:
        name: the flow's name.
        levels: nodes that may run at the same time, level by level; a node is one level below its last
            predecessor.
        order: every node once, each after all that it waits for.
        critical_path: the chain that determines how long the flow takes at least.
        critical_length: its length: seconds if durations were given, else nodes.
        roots: nodes that start at once (after the trigger, if there is one).
        leaves: nodes that nothing follows; their outputs are the flow's result.
        timed: whether durations were given.
    """

    name: str
    levels: tuple[tuple[str, ...], ...]
    order: tuple[str, ...]
    critical_path: tuple[str, ...]
    critical_length: float
    roots: tuple[str, ...]
    leaves: tuple[str, ...]
    timed: bool = False

    @property
    def width(self) -> int:
        """How many nodes the widest level has."""
        return max(map(len, self.levels), default=0)

    def __str__(self) -> str:
        from dataflows_sdk.core.shown import counted
        from dataflows_sdk.flow.render import one_line

        if not self.order:
            return f"{one_line(self.name)}: nothing to do"
        length = f"{self.critical_length:g} s" if self.timed else counted(int(self.critical_length), "node")
        size = f"{counted(len(self.order), 'node')}, {counted(len(self.levels), 'level')}"
        lines = [f"{one_line(self.name)}: {size}, up to {self.width} at a time"]
        digits = len(str(len(self.levels)))
        for number, level in enumerate(self.levels, 1):
            shown = ", ".join(map(one_line, level[:12])) + (f", … {len(level) - 12} more" if len(level) > 12 else "")
            lines.append(f"  {number:>{digits}}  {shown}")
        path = [one_line(node) for node in self.critical_path]
        if len(path) > 12:
            path = [*path[:6], f"… {len(path) - 12} more …", *path[-6:]]
        lines.append(f"  critical path ({length}): {' → '.join(path)}")
        return "\n".join(lines)


def plan_of(spec: FlowSpec, durations: Mapping[str, float] | None = None) -> Plan:
    """The plan of a flow; gotos count as edges, because a handler comes after what it handles.

    Args:
        spec: the flow.
        durations: seconds by node; nodes that are not in it count zero. Without it every node counts one.

    Raises:
        FlowValidationError: the flow has a cycle.
        DefinitionError: a duration is negative, not finite, or of an unknown node.
    """
    import networkx as nx

    from dataflows_sdk.flow.graph import skeleton

    graph = skeleton(spec, gotos=True)
    edges = skeleton(spec)
    for node, seconds in (durations or {}).items():
        if node not in graph:
            raise DefinitionError(f"durations: flow {spec.name!r} has no node {node!r}")
        if not 0 <= seconds < float("inf"):
            raise DefinitionError(f"durations: {node!r} cannot take {seconds!r} seconds")
    position = {node: number for number, node in enumerate(graph)}
    try:
        generations = [sorted(level, key=position.__getitem__) for level in nx.topological_generations(graph)]
    except nx.NetworkXUnfeasible:
        message = f"flow {spec.name!r} has a cycle, so there is no order; flow.validate() names it"
        raise FlowValidationError(message, [Problem("cycle", None, message)]) from None
    order = [node for level in generations for node in level]
    # the longest way to each node: its length, then how many nodes it has; equal ones go to the earlier node
    length: dict[str, tuple[float, int, int]] = {}
    before: dict[str, str | None] = {}
    for node in order:
        last = max(graph.predecessors(node), key=length.__getitem__, default=None)
        before[node] = last
        own = 1.0 if durations is None else float(durations.get(node, 0.0))
        so_far, hops, _ = (0.0, 0, 0) if last is None else length[last]
        length[node] = (so_far + own, hops + 1, -position[node])
    end = max(order, key=length.__getitem__, default=None)
    total = 0.0 if end is None else length[end][0]
    path: list[str] = []
    while end is not None:
        path.append(end)
        end = before[end]
    triggers = {node.id for node in spec.nodes if is_trigger(node.type)}
    return Plan(
        spec.name,
        tuple(map(tuple, generations)),
        tuple(order),
        tuple(reversed(path)),
        total,
        tuple(node for node in graph if not set(graph.predecessors(node)) - triggers and node not in triggers),
        tuple(node for node in graph if edges.out_degree(node) == 0 and node not in triggers),
        durations is not None,
    )
