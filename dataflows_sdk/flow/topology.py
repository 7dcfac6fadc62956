"""A flow prepared for scheduling: who waits for whom, by number."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.handles import edge_handle
from dataflows_sdk.flow.kinds import is_branching, is_handler
from dataflows_sdk.flow.model import ALL, EdgeSpec, FlowSpec, JoinRule, NodeSpec, parse_join
from dataflows_sdk.flow.problems import Problem

Incoming = dict[int, set[str | None]]
_PARALLEL = "logic_parallel"


class Topology:
    """A flow prepared for scheduling; shared by all runs of it. Costs O(nodes + edges).

    Nodes are numbers in the order of the flow.

    Attributes:
        arrivals: per node, the incoming nodes that count for its join, and the handles by which their edges
            leave (None for an edge without a handle).
        required: per node, the incoming nodes that must be decided first and do not count: the branches of
            its gates, and what only its predicate reads.
        gates: per node, the branches that must take one of these handles.
        followers: per node, the nodes that have it among their arrivals or required ones.
        goto, goto_from: where a failure leads, and from where one may come.
        joins: per node, how many must arrive. The join of a ``logic_parallel`` is that of the node where its branches
            meet.
        cancels: per node, the nodes that are called off when it starts.

    Raises:
        FlowValidationError: an edge, gate or goto names an unknown node, an id stands twice, a join cannot be
            read, or there is a cycle. Not if `strict` is False: then what cannot be read is left out.
    """

    def __init__(self, spec: FlowSpec, *, strict: bool = True) -> None:
        self.name = spec.name
        nodes = list({node.id: node for node in reversed(spec.nodes)}.values())[::-1]
        self.ids = tuple(node.id for node in nodes)
        self.index = {node_id: number for number, node_id in enumerate(self.ids)}
        self._problems: list[Problem] = []
        if len(nodes) != len(spec.nodes):
            self._problems.append(Problem("duplicate-name", None, "two nodes have one id"))
        self.triggers = tuple(self.index[node.id] for node in spec.triggers)
        self.trigger = self.index[spec.trigger.id] if spec.trigger is not None else None
        self.branching = frozenset(number for number, node in enumerate(nodes) if is_branching(node.type))
        self.handlers = frozenset(number for number, node in enumerate(nodes) if is_handler(node.type))
        self.on_error = tuple(node.on_error for node in nodes)
        self.joins = list(map(self._join, nodes))
        self.gates = tuple(map(self._gates, nodes))
        self.goto = tuple(map(self._goto, nodes))
        self.goto_from: list[list[int]] = [[] for _ in nodes]
        for number, target in enumerate(self.goto):
            if target is not None:
                self.goto_from[target].append(number)
        self.arrivals: list[Incoming] = [{} for _ in nodes]
        self.required: list[Incoming] = [{} for _ in nodes]
        self.followers: list[list[int]] = [[] for _ in nodes]
        self._connect(nodes, spec.edges)
        self.cancels: dict[int, frozenset[int]] = {}
        self._meetings(nodes)
        starts = set(self.triggers)
        self.leaves = tuple(n for n, after in enumerate(self.followers) if not after and n not in starts)
        if strict:
            self._refuse_problems()

    # --- reading ----------------------------------------------------------------------------------------

    def _join(self, node: NodeSpec) -> JoinRule:
        given = node.config.get("join") if "join" not in node.model_fields_set and node.type != _PARALLEL else None
        try:
            return parse_join(node.join if given is None else given)
        except ValueError as error:
            self._problems.append(Problem("bad-join", node.id, str(error)))
            return ALL

    def _goto(self, node: NodeSpec) -> int | None:
        return None if node.goto is None else self._find(node.goto, node.id, "on_error goes to")

    def _gates(self, node: NodeSpec) -> dict[int, frozenset[str]]:
        gates: dict[int, frozenset[str]] = {}
        for gate in node.when.gates if node.when is not None else ():
            source = self._find(gate.node, node.id, "when names")
            if source is not None:
                handles = frozenset(gate.handles)
                gates[source] = gates.get(source, handles) & handles
        return gates

    def _connect(self, nodes: Sequence[NodeSpec], edges: Sequence[EdgeSpec]) -> None:
        asked = [_asked_only_by_predicate(node) for node in nodes]
        for edge in edges:
            source = self._find(edge.source, edge.target, "an edge comes from")
            target = self._find(edge.target, edge.source, "an edge leads to")
            if source is not None and target is not None:
                counts = source not in self.gates[target] and edge.source not in asked[target]
                incoming = self.arrivals[target] if counts else self.required[target]
                if source not in incoming:
                    self.followers[source].append(target)
                incoming.setdefault(source, set()).add(edge_handle(edge, nodes[source]))
        for number, gates in enumerate(self.gates):
            for source in gates:
                if source not in self.required[number]:
                    self.required[number][source] = {None}
                    self.followers[source].append(number)

    def _meetings(self, nodes: Sequence[NodeSpec]) -> None:
        """Find where the branches of each parallel node meet: the first node that two of them lead to."""
        for number, node in enumerate(nodes):
            if node.type != _PARALLEL:
                continue
            try:
                rule = parse_join(node.config.get("join", "all"))
            except ValueError:
                continue  # reported with the config
            cancel = node.config.get("cancel_remaining") is True
            if rule == ALL and not cancel:
                continue
            reached: dict[int, set[int]] = {}
            for branch in self.followers[number]:
                for each in self._behind(branch):
                    reached.setdefault(each, set()).add(branch)
            shared = {each for each, branches in reached.items() if len(branches) > 1}
            # the first of them: no other one leads to it
            first = next((each for each in shared if shared.isdisjoint(self.arrivals[each])), None)
            if first is None:
                continue
            if "join" not in nodes[first].model_fields_set and "join" not in nodes[first].config:
                self.joins[first] = rule
            if cancel:
                above = {each for each in reached if first in self._behind(each)} - {first}
                self.cancels[first] = self.cancels.get(first, frozenset()) | above

    def _behind(self, number: int) -> set[int]:
        found: set[int] = set()
        todo = [number]
        while todo:
            each = todo.pop()
            if each not in found:
                found.add(each)
                todo += self.followers[each]
        return found

    def _find(self, name: str, node: str, what: str) -> int | None:
        found = self.index.get(name)
        if found is None:
            self._problems.append(Problem("unknown-reference", node, f"{what} {name!r}, which is no node of the flow"))
        return found

    # --- checking ---------------------------------------------------------------------------------------

    def _refuse_problems(self) -> None:
        problems = self._problems
        stuck = self._stuck()
        if stuck:
            names = ", ".join(map(repr, stuck[:20])) + (f" and {len(stuck) - 20} more" if len(stuck) > 20 else "")
            problems.append(Problem("cycle", None, f"a cycle keeps these nodes from ever starting: {names}"))
        if problems:
            lines = "\n".join(f"  - {problem}" for problem in problems)
            raise FlowValidationError(f"flow {self.name!r} cannot be scheduled:\n{lines}", problems)

    def _stuck(self) -> list[str]:
        """The nodes on or behind a cycle."""
        waits = [
            len(arrivals) + len(required) + len(gotos)
            for arrivals, required, gotos in zip(self.arrivals, self.required, self.goto_from, strict=True)
        ]
        free = deque(number for number, open_ in enumerate(waits) if open_ == 0)
        while free:
            number = free.popleft()
            goto = self.goto[number]
            for follower in (*self.followers[number], *(() if goto is None else (goto,))):
                waits[follower] -= 1
                if waits[follower] == 0:
                    free.append(follower)
        return [self.ids[number] for number, open_ in enumerate(waits) if open_ > 0]


def _asked_only_by_predicate(node: NodeSpec) -> set[str]:
    if node.when is None or node.when.code is None:
        return set()
    asked = {doc.get("ref") for doc in node.when.code.inputs.values() if isinstance(doc, dict)}
    inputs = node.config.get("inputs")
    used = [
        *(inputs.values() if isinstance(inputs, dict) else ()),
        node.config.get("over"),
        node.config.get("payload"),
    ]
    asked -= {doc.get("ref") for doc in used if isinstance(doc, dict)}
    return {name for name in asked if isinstance(name, str)}
