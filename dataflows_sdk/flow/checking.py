"""One validation in progress, shared by all checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from dataflows_sdk.flow.callables import CallSignature, signature_of
from dataflows_sdk.flow.declare import binding_key
from dataflows_sdk.flow.loops import Scopes, take_apart
from dataflows_sdk.flow.model import FlowSpec, Input, NodeSpec, input_items, parse_input
from dataflows_sdk.flow.names import near_misses
from dataflows_sdk.flow.problems import Problem
from dataflows_sdk.flow.topology import Topology

if TYPE_CHECKING:
    import networkx as nx

# finding near misses compares a name with all others: a flow with a thousand wrong names gets hints for the
# first
_HINTS_MAX = 50


@dataclass
class Checking:
    """One validation: what is checked, what was found, and what several checks want to know."""

    spec: FlowSpec
    bindings: Mapping[str, Any]
    problems: list[Problem]
    #: the nodes that came with a document, and not from the builder
    documented: frozenset[str] = frozenset()
    #: the position of the node that is being checked
    number: int | None = None
    _hints: int = _HINTS_MAX
    _signatures: dict[str, CallSignature | None] = field(default_factory=dict)

    def add(
        self,
        code: str,
        node: str | None,
        message: str,
        hint: str = "",
        *,
        path: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Write a problem down; `path` is relative to the node that is being checked."""
        if self.number is not None:
            path = f"/nodes/{self.number}{path}"
        elif not path and node is not None and node in self.numbers:
            path = f"/nodes/{self.numbers[node]}"
        self.problems.append(Problem(code, node, message, hint, severity, path))

    @cached_property
    def nodes(self) -> dict[str, NodeSpec]:
        """Nodes by id; the first of two with one id."""
        return {node.id: node for node in reversed(self.spec.nodes)}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Positions by id."""
        count = len(self.spec.nodes)
        return {node.id: count - 1 - back for back, node in enumerate(reversed(self.spec.nodes))}

    @cached_property
    def topology(self) -> Topology:
        """Arrivals, gates and gotos, as far as they can be read."""
        return Topology(self.spec, strict=False)

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """Edges and gotos."""
        from dataflows_sdk.flow.graph import skeleton

        return skeleton(self.spec, gotos=True)

    @cached_property
    def scopes(self) -> Scopes:
        """The flow taken apart at its loops."""
        return take_apart(self.spec)

    def loops_around(self, node: str) -> list[NodeSpec]:
        """The loops in whose bodies a node is, the innermost first."""
        found: list[NodeSpec] = []
        loop = self.scopes.owner.get(node)
        while loop is not None and len(found) < len(self.nodes):
            found.append(self.nodes[loop])
            loop = self.scopes.owner.get(loop)
        return found

    @cached_property
    def ancestors(self) -> dict[str, int]:
        """The ancestors of each node as a bit set, a thousand times smaller than sets; only without a cycle."""
        import networkx as nx

        bits: dict[str, int] = {}
        for node in nx.topological_sort(self.graph):
            above = 0
            for source in self.graph.predecessors(node):
                above |= bits[source] | 1 << self.numbers[source]
            bits[node] = above
        return bits

    def is_upstream(self, source: str, node: str) -> bool:
        """Whether one node comes before another, in a flow without cycles."""
        return bool(self.ancestors[node] >> self.numbers[source] & 1)

    def inputs(self, node: NodeSpec) -> Iterable[tuple[str, str, Input]]:
        """The inputs of a node that can be read, as (role, parameter, input)."""
        for role, name, document in input_items(node):
            try:
                yield role, name, parse_input(document)
            except ValueError:
                continue

    def signature(self, node: str, role: str = "") -> CallSignature | None:
        """The signature of what is bound; None if nothing is, or it has none."""
        key = binding_key(node, role)
        if key not in self._signatures:
            bound = self.bindings.get(key)
            self._signatures[key] = signature_of(bound) if callable(bound) else None
        return self._signatures[key]

    def did_you_mean(self, name: str, known: Iterable[str]) -> str:
        """A hint, as long as there are not too many."""
        self._hints -= 1
        return near_misses(name, known) if self._hints >= 0 else ""

    def sorted(self) -> list[Problem]:
        """Each once, in the order of the nodes; what is about the whole flow comes first."""
        found = dict.fromkeys(self.problems)
        last = len(self.numbers)
        return sorted(found, key=lambda p: -1 if p.node is None else self.numbers.get(p.node, last))
