"""Coordinates within the ranks, after Brandes and Köpf: chains are aligned four ways, and the middle is taken."""

from __future__ import annotations

from itertools import pairwise

Layers = list[list[int]]


def place(
    layers: Layers,
    before: list[list[int]],
    after: list[list[int]],
    size: list[float],
    dummy: list[bool],
    gap: float,
) -> list[float]:
    """The coordinate of each node along its rank.

    Args:
        layers: the nodes of each rank, in order.
        before, after: the neighbours of each node in the rank before and after.
        size: of each node along the rank.
        dummy: whether a node is only a point of a long edge.
        gap: between two nodes.
    """
    conflicts = _conflicts(layers, before, dummy)
    found = []
    for turned in (layers, layers[::-1]):
        adjacent = before if turned is layers else after
        for left in (True, False):
            faced = turned if left else [layer[::-1] for layer in turned]
            root = _aligned(faced, adjacent, conflicts)
            at = _compacted(faced, root, size, dummy, gap)
            found.append([at[r] if left else -at[r] for r in root])
    count = len(size)

    def span(candidate: list[float]) -> float:
        high = max(candidate[v] + size[v] / 2 for v in range(count))
        return high - min(candidate[v] - size[v] / 2 for v in range(count))

    narrowest = min(found, key=span)
    low, high = min(narrowest), max(narrowest)
    for number, candidate in enumerate(found):
        shift = low - min(candidate) if number % 2 == 0 else high - max(candidate)
        candidate[:] = [value + shift for value in candidate]
    return [_middle(*values) for values in zip(*found, strict=True)]


def _middle(*values: float) -> float:
    ordered = sorted(values)
    return (ordered[1] + ordered[2]) / 2


def _conflicts(layers: Layers, before: list[list[int]], dummy: list[bool]) -> set[tuple[int, int]]:
    """Short edges that cross a piece of a long one: the long one is kept straight."""
    found: set[tuple[int, int]] = set()
    at = {v: index for layer in layers for index, v in enumerate(layer)}
    for above, layer in pairwise(layers):
        low = scanned = 0
        for index, v in enumerate(layer):
            inner = next((u for u in before[v] if dummy[u]), None) if dummy[v] else None
            if inner is None and index < len(layer) - 1:
                continue
            high = at[inner] if inner is not None else len(above)
            for w in layer[scanned : index + 1]:
                for u in before[w]:
                    if not low <= at[u] <= high and not (dummy[u] and dummy[w]):
                        found.add((u, w))
            scanned, low = index + 1, high
    return found


def _aligned(layers: Layers, adjacent: list[list[int]], conflicts: set[tuple[int, int]]) -> list[int]:
    """The first node of the chain in which each node stands: each is aligned with the middle of its neighbours."""
    count = sum(map(len, layers))
    at = [0] * count
    for layer in layers:
        for index, v in enumerate(layer):
            at[v] = index
    root, free = list(range(count)), [True] * count
    for layer in layers:
        last = -1
        for v in layer:
            neighbours = sorted(adjacent[v], key=at.__getitem__)
            if not neighbours:
                continue
            middle = len(neighbours) - 1
            for index in dict.fromkeys((middle // 2, (middle + 1) // 2)):
                u = neighbours[index]
                if last < at[u] and free[u] and (u, v) not in conflicts and (v, u) not in conflicts:
                    root[v], free[u], last = root[u], False, at[u]
                    break
    return root


def _compacted(layers: Layers, root: list[int], size: list[float], dummy: list[bool], gap: float) -> dict[int, float]:
    """The coordinate of each chain: as far to the front as the chains before it allow, then up to those behind it."""
    apart: dict[tuple[int, int], float] = {}
    behind: dict[int, list[int]] = {}
    left: dict[int, int] = {}
    for layer in layers:
        previous = -1
        for v in layer:
            chain = root[v]
            left.setdefault(chain, 0)
            if previous >= 0:
                pair = (root[previous], chain)
                need = (size[previous] + size[v]) / 2 + (gap * 0.6 if dummy[previous] or dummy[v] else gap)
                if pair not in apart:
                    behind.setdefault(pair[0], []).append(chain)
                    left[chain] += 1
                apart[pair] = max(apart.get(pair, 0.0), need)
            previous = v
    at = dict.fromkeys(left, 0.0)
    order = [chain for chain, count in left.items() if not count]
    for chain in order:  # grows
        for other in behind.get(chain, ()):
            at[other] = max(at[other], at[chain] + apart[chain, other])
            left[other] -= 1
            if not left[other]:
                order.append(other)
    for chain in reversed(order):
        room = min((at[other] - apart[chain, other] for other in behind.get(chain, ())), default=0.0)
        if at[chain] > 0:
            at[chain] = max(at[chain], room)
    return at
