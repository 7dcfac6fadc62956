"""Where the boxes of a graph go: a layered layout from left to right, the same for the same graph.

The usual five phases: turn around what closes a cycle, give each node a rank, cut long edges into pieces by dummy
nodes, find an order within the ranks that has few crossings, and find coordinates (`coordinates`). Made for graphs that
are drawn while somebody waits: 2,000 nodes take a fifth of a second.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dataflows_sdk.drawing.coordinates import place

Id = TypeVar("Id", bound=Hashable)
Point = tuple[float, float]

_SWEEPS = 24
#: nodes and dummies beyond which ordering gives up sooner
_LARGE = 1_200


@dataclass
class Layout(Generic[Id]):
    """A drawing without ink.

    Attributes:
        places: the middle of each box.
        paths: for each edge the points that its line goes through, from source to target.
        back: the edges that run against the direction, because they close a cycle.
        width, height: of the whole.
        crossings: how many crossings the order has.
    """

    places: dict[Id, Point] = field(default_factory=dict)
    paths: dict[tuple[Id, Id], list[Point]] = field(default_factory=dict)
    back: set[tuple[Id, Id]] = field(default_factory=set)
    width: float = 0.0
    height: float = 0.0
    crossings: int = 0


def layout(
    sizes: Mapping[Id, tuple[float, float]],
    edges: Iterable[tuple[Id, Id]],
    *,
    between: float = 18.0,
    ahead: float = 56.0,
) -> Layout[Id]:
    """Lay out a graph.

    Args:
        sizes: width and height of each box, in the order in which equals are drawn.
        edges: pairs of ids; what names no box, leads to itself or is there twice is left out.
        between: the gap between two boxes of a rank.
        ahead: the gap between two ranks.
    """
    ids = list(sizes)
    if not ids:
        return Layout()
    number = {node: index for index, node in enumerate(ids)}
    pairs = list(dict.fromkeys((number[a], number[b]) for a, b in edges if a != b and a in number and b in number))
    back = _closing(len(ids), pairs)
    forward = list(dict.fromkeys((b, a) if (a, b) in back else (a, b) for a, b in pairs))
    graph = _Graph(len(ids), forward, [sizes[node] for node in ids])
    crossings = graph.order()
    down = place(graph.layers, graph.before, graph.after, graph.heights, graph.dummy, between)
    across, width = graph.columns(ahead)
    top = min(down[v] - graph.heights[v] / 2 for v in range(len(down)))
    bottom = max(down[v] + graph.heights[v] / 2 for v in range(len(down)))
    result: Layout[Id] = Layout(width=round(width, 1), height=round(bottom - top, 1), crossings=crossings)
    for v, node in enumerate(ids):
        result.places[node] = (round(across[graph.rank[v]], 1), round(down[v] - top, 1))
    for a, b in pairs:
        turned = (a, b) in back
        u, v = (b, a) if turned else (a, b)
        points = [
            (across[graph.rank[u]] + graph.widths[u] / 2, down[u] - top),
            *((across[graph.rank[d]], down[d] - top) for d in graph.chains[u, v]),
            (across[graph.rank[v]] - graph.widths[v] / 2, down[v] - top),
        ]
        rounded = [(round(x, 1), round(y, 1)) for x, y in points]
        if turned:
            rounded.reverse()
            result.back.add((ids[a], ids[b]))
        result.paths[ids[a], ids[b]] = rounded
    return result


def _closing(count: int, edges: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """The edges that close a cycle: what leads back to a node from which a search is still under way."""
    out: list[list[int]] = [[] for _ in range(count)]
    reached = bytearray(count)
    for a, b in edges:
        out[a].append(b)
        reached[b] = 1
    seen, back = bytearray(count), set()
    for root in sorted(range(count), key=reached.__getitem__):  # first those that nothing leads to
        if seen[root]:
            continue
        seen[root] = 1
        path = [(root, iter(out[root]))]
        while path:
            node, rest = path[-1]
            for target in rest:
                if seen[target] == 0:
                    seen[target] = 1
                    path.append((target, iter(out[target])))
                    break
                if seen[target] == 1:
                    back.add((node, target))
            else:
                seen[node] = 2
                path.pop()
    return back


class _Graph:
    """The graph in ranks: nodes by number, then the dummies that stand on long edges."""

    def __init__(self, count: int, edges: list[tuple[int, int]], sizes: list[tuple[float, float]]) -> None:
        after: list[list[int]] = [[] for _ in range(count)]
        before: list[list[int]] = [[] for _ in range(count)]
        for a, b in edges:
            after[a].append(b)
            before[b].append(a)
        self.rank = _ranks(after, before)
        self.widths = [width for width, _ in sizes]
        self.heights = [height for _, height in sizes]
        self.dummy = [False] * count
        self.after: list[list[int]] = [[] for _ in range(count)]
        self.before: list[list[int]] = [[] for _ in range(count)]
        self.chains: dict[tuple[int, int], list[int]] = {}
        for a, b in edges:
            last, chain = a, []
            for rank in range(self.rank[a] + 1, self.rank[b]):
                last = self._add(rank, last)
                chain.append(last)
            self._join(last, b)
            self.chains[a, b] = chain
        self.ranks = max(self.rank) + 1
        self.layers: list[list[int]] = []
        self.at = [0] * len(self.rank)

    def _add(self, rank: int, last: int) -> int:
        dummy = len(self.rank)
        self.rank.append(rank)
        self.widths.append(0.0)
        self.heights.append(2.0)
        self.dummy.append(True)
        self.after.append([])
        self.before.append([])
        self._join(last, dummy)
        return dummy

    def _join(self, a: int, b: int) -> None:
        self.after[a].append(b)
        self.before[b].append(a)

    def columns(self, ahead: float) -> tuple[list[float], float]:
        """The middle of each rank, and the width of all."""
        middles, right = [], 0.0
        for layer in self.layers:
            wide = max((self.widths[v] for v in layer), default=0.0)
            middles.append(right + wide / 2)
            right += wide + ahead
        return middles, right - ahead

    # --- the order within ranks --------------------------------------------------------------------------

    def order(self) -> int:
        """Find an order with few crossings, from two beginnings; gives how many are left."""
        everything = range(len(self.rank))
        starts = sorted((v for v in everything if not self.before[v]), key=lambda v: (self.rank[v], v))
        ends = sorted((v for v in everything if not self.after[v]), key=lambda v: (-self.rank[v], v))
        best: tuple[int, list[list[int]]] | None = None
        for adjacent, roots in ((self.after, starts), (self.before, ends)):
            self._take(self._walk(adjacent, roots))
            best = self._improve(best)
            if not best[0]:
                break
        assert best is not None
        self._take(best[1])
        return best[0]

    def _take(self, layers: list[list[int]]) -> None:
        self.layers = layers
        for layer in layers:
            for index, v in enumerate(layer):
                self.at[v] = index

    def _walk(self, adjacent: list[list[int]], roots: list[int]) -> list[list[int]]:
        """The ranks filled in the order of a depth-first walk."""
        layers: list[list[int]] = [[] for _ in range(self.ranks)]
        seen = bytearray(len(self.rank))
        for root in roots:
            todo = [root]
            while todo:
                v = todo.pop()
                if not seen[v]:
                    seen[v] = 1
                    layers[self.rank[v]].append(v)
                    todo.extend(reversed(adjacent[v]))
        return layers

    def _improve(self, best: tuple[int, list[list[int]]] | None) -> tuple[int, list[list[int]]]:
        large = len(self.rank) > _LARGE
        vain = 0
        for turn in range(_SWEEPS + 1):
            if turn % 2:
                self._sweep(self.before, range(1, self.ranks), turn)
            elif turn:
                self._sweep(self.after, range(self.ranks - 2, -1, -1), turn)
            if turn:
                self._swap_neighbours(2 if large else 6)
            crossings = sum(map(self._crossings, self.layers[:-1]))
            if best is None or crossings < best[0]:
                best, vain = (crossings, [layer[:] for layer in self.layers]), 0
            else:
                vain += 1
            if not best[0] or vain > (4 if large else 7):
                break
        assert best is not None
        return best

    def _crossings(self, layer: list[int]) -> int:
        """How many edges to the next rank cross each other."""
        at, count = self.at, 0
        seen: list[int] = []
        for v in layer:
            targets = [at[w] for w in self.after[v]]
            for target in targets:
                count += len(seen) - bisect_right(seen, target)
            for target in targets:
                insort(seen, target)
        return count

    def _sweep(self, adjacent: list[list[int]], ranks: Iterable[int], turn: int) -> None:
        """Sort ranks one after the other by the middle of their neighbours; those without any stay where they are."""
        prefer_left, mean, at = turn % 4 < 2, turn % 8 >= 4, self.at
        for rank in ranks:
            layer = self.layers[rank]
            fixed, keyed = {}, []
            for index, v in enumerate(layer):
                if adjacent[v]:
                    places = sorted([at[u] for u in adjacent[v]])
                    middle = sum(places) / len(places) if mean else _median(places)
                    keyed.append((middle, index if prefer_left else -index, v))
                else:
                    fixed[index] = v
            keyed.sort()
            rest = iter(keyed)
            layer[:] = [fixed[index] if index in fixed else next(rest)[2] for index in range(len(layer))]
            for index, v in enumerate(layer):
                at[v] = index

    def _swap_neighbours(self, rounds: int) -> None:
        """Exchange two that stand side by side where that takes crossings away."""
        todo = set(range(self.ranks))
        for _ in range(rounds):
            again: set[int] = set()
            for rank in sorted(todo):
                if self._swap_in(self.layers[rank]):
                    again.update((rank - 1, rank, rank + 1))
            todo = {rank for rank in again if 0 <= rank < self.ranks}
            if not todo:
                return

    def _swap_in(self, layer: list[int]) -> bool:
        at, changed = self.at, False
        for index in range(len(layer) - 1):
            a, b = layer[index], layer[index + 1]
            gain = 0
            for adjacent in (self.before, self.after):
                others = [at[u] for u in adjacent[b]]
                if others:
                    for u in adjacent[a]:
                        x = at[u]
                        for y in others:
                            gain += (x > y) - (x < y)
            if gain > 0:
                layer[index], layer[index + 1] = b, a
                at[a], at[b] = index + 1, index
                changed = True
        return changed


def _ranks(after: list[list[int]], before: list[list[int]]) -> list[int]:
    """The longest way to each node; then what leads to more than it comes from moves up to where it is needed."""
    rank = [0] * len(after)
    left = [len(sources) for sources in before]
    order = [v for v, count in enumerate(left) if not count]
    for v in order:  # grows
        for w in after[v]:
            rank[w] = max(rank[w], rank[v] + 1)
            left[w] -= 1
            if not left[w]:
                order.append(w)
    for v in reversed(order):
        if after[v] and (not before[v] or len(after[v]) > len(before[v])):
            rank[v] = max(rank[v], min(rank[w] for w in after[v]) - 1)
    lowest = min(rank)  # with everything pulled along, the first rank may be empty
    return [each - lowest for each in rank] if lowest else rank


def _median(places: list[int]) -> float:
    """The middle place; of an even number the one that leans to where they stand closer."""
    half = len(places) // 2
    if len(places) % 2:
        return places[half]
    low, high = places[half - 1], places[half]
    left, right = low - places[0], places[-1] - high
    return (low * right + high * left) / (left + right) if left + right else (low + high) / 2
