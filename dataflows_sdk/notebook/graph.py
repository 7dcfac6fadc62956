"""Which boxes a run is drawn with, and what leads to what.

A run of a flow is drawn as its definition says, so that what has not begun yet is there too. Any other run is drawn
from its journal: the code of a scope goes from step to step, a map or parallel opens into its branches and closes
again. What would be more than a few of the same is one box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from dataflows_sdk.drawing.picture import Edge
from dataflows_sdk.flow.kinds import is_loop, is_trigger
from dataflows_sdk.flow.loops import take_apart
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.flow.svg import edges_of, kind_label
from dataflows_sdk.notebook.folding import Event

#: more branches, or more steps of one name, than this are one box
FOLDED = 8
#: more lines between two neighbours than this are thinned out
_LINES = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One box: the step that it shows, or of which it shows all that belongs to it."""

    id: str
    label: str
    detail: str = ""
    #: whether it stands for several
    stacked: bool = False


@dataclass(slots=True)
class Shape:
    """Boxes, edges between them, and for boxes that were put together which one each is in now."""

    parts: list[Part]
    edges: list[Edge]
    within: dict[str, str] = field(default_factory=dict)


def of_flow(spec: FlowSpec) -> Shape:
    """The shape of a flow's runs: its nodes, the loops with all that is in them as one."""
    outer = take_apart(spec).specs[None]
    parts = []
    for node in outer.nodes:
        if not is_trigger(node.type):
            stacked = is_loop(node.type) or node.type in ("map", "logic_loop")
            parts.append(Part(quoted(node.id), node.id, kind_label(node), stacked))
    known = {part.id for part in parts}
    edges = [
        Edge(quoted(edge.source), quoted(edge.target), edge.label, edge.dashed)
        for edge in edges_of(outer)
        if quoted(edge.source) in known and quoted(edge.target) in known
    ]
    return Shape(list({part.id: part for part in parts}.values()), edges)


_QUOTED = str.maketrans({"%": "%25", "/": "%2F", "[": "%5B", "]": "%5D", "#": "%23", "\n": "%0A", "\0": "%00"})


def quoted(name: str) -> str:
    """A node's name as it stands in a key."""
    return name.translate(_QUOTED)


# --- from the journal -------------------------------------------------------------------------------------


class _Item:
    """A step, or a group with its branches, in the code of a scope."""

    __slots__ = ("begun", "branches", "ended", "id", "op", "ordered")

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.op = ""
        self.branches: dict[str, _Scope] = {}
        self.begun = float("inf")
        self.ended: float | None = None
        self.ordered = True


class _Scope:
    """The steps of one piece of code, in the order in which they began."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: dict[str, _Item] = {}

    def item(self, identifier: str) -> _Item:
        found = self.items.get(identifier)
        if found is None:
            found = self.items[identifier] = _Item(identifier)
        return found


def of_journal(events: Iterable[Event]) -> Shape:
    """The shape of a run of code, as far as it has come."""
    root = _Scope()
    for _, t, kind, key, data in events:
        if key and (kind.startswith("step.") or kind == "scope.opened"):
            _note(root, t, kind, key, data)
    shape = Shape([], [])
    _series(root, shape)
    return shape


def _note(root: _Scope, t: float, kind: str, key: str, data: dict[str, object]) -> None:
    scope, prefix = root, ""
    around: list[_Item] = []
    for segment in key.split("/"):
        segment = segment.partition("?")[0]
        full = prefix + segment
        cut = segment.rfind("[") if segment.endswith("]") else -1
        item = scope.item(prefix + segment[:cut] if cut > 0 else full)
        around.append(item)
        prefix = f"{full}/"
        scope = item.branches.setdefault(full, _Scope()) if cut > 0 or prefix != f"{key}/" else _Scope()
    took = data.get("took", 0)
    begun = t - took * 1000 if isinstance(took, float | int) else t
    over = kind in ("step.completed", "step.timed_out", "step.skipped") or (
        kind == "step.failed" and "retry_at" not in data
    )
    for item in around:
        item.begun = min(item.begun, begun)
    last = around[-1]
    if last.id == key:
        last.op = str(data.get("op", last.op))
        last.ordered = "n" in data
        last.ended = t if over else None


def _series(scope: _Scope, shape: Shape) -> tuple[list[str], list[str]]:
    """Draw the steps of a scope one after the other; gives where it begins and where it ends."""
    first: list[str] = []
    last: list[str] = []
    for bundle in _bundles(_same_names(scope)):
        begins: list[str] = []
        ends: list[str] = []
        for item, count in bundle:
            entry, leave = _draw(item, count, shape)
            begins += entry
            ends += leave
        if last:
            shape.edges += _lines(last, begins)
        else:
            first = begins
        last = ends
    return first, last


def _same_names(scope: _Scope) -> list[tuple[_Item, int]]:
    """The items with how many each stands for: many of one name are one."""
    names: dict[str, list[_Item]] = {}
    for item in scope.items.values():
        names.setdefault(item.id.rpartition("#")[0] if "#" in item.id.rpartition("/")[2] else item.id, []).append(item)
    found: list[tuple[_Item, int]] = []
    for name, items in names.items():
        if len(items) <= FOLDED:
            found += [(item, 1) for item in items]
            continue
        one = _Item(name)
        one.op, one.ordered = items[0].op, all(item.ordered for item in items)
        one.begun = min(item.begun for item in items)
        ends = [item.ended for item in items]
        one.ended = None if None in ends else max(end for end in ends if end is not None)
        found.append((one, len(items)))
    return found


def _bundles(items: list[tuple[_Item, int]]) -> list[list[tuple[_Item, int]]]:
    """What ran side by side belongs together; what the code asked for in order does not."""
    bundles: list[list[tuple[_Item, int]]] = []
    until = float("-inf")
    for item, count in items:
        ended = float("inf") if item.ended is None else item.ended
        beside = bundles and item.begun < until and not (item.ordered and all(each.ordered for each, _ in bundles[-1]))
        if beside:
            bundles[-1].append((item, count))
            until = min(until, ended)
        else:
            bundles.append([(item, count)])
            until = ended
    return bundles


def _draw(item: _Item, count: int, shape: Shape) -> tuple[list[str], list[str]]:
    branches = {key: scope for key, scope in item.branches.items() if key != item.id}
    inner = item.branches.get(item.id)
    if count > 1 or len(branches) > FOLDED or (not branches and inner is None):
        shape.parts.append(Part(item.id, label_of(item.id), item.op, stacked=count > 1 or bool(branches)))
        return [item.id], [item.id]
    if not branches and inner is not None:
        return _series(inner, shape)
    begins: list[str] = []
    ends: list[str] = []
    for key, scope in sorted(branches.items(), key=lambda pair: _number(pair[0])):
        if scope.items:
            entry, leave = _series(scope, shape)
        else:
            shape.parts.append(Part(key, label_of(key), item.op))
            entry, leave = [key], [key]
        begins += entry
        ends += leave
    return begins, ends


def _number(key: str) -> tuple[int, str]:
    """Branches by their numbers, then those with names: whichever was done first."""
    name = key.rpartition("[")[2][:-1]
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def _lines(sources: list[str], targets: list[str]) -> list[Edge]:
    if len(sources) * len(targets) <= _LINES:
        return [Edge(a, b) for a in sources for b in targets]
    most = max(len(sources), len(targets))
    return [Edge(sources[i * len(sources) // most], targets[i * len(targets) // most]) for i in range(most)]


def label_of(key: str) -> str:
    """A key for people: its last part, without the signs that were escaped."""
    scope, _, last = key.rpartition("/")
    return unquote(f"{scope.rpartition('/')[2]}/{last}" if scope else last)


# --- too many ---------------------------------------------------------------------------------------------


def staged(shape: Shape, limit: int) -> Shape:
    """The shape with at most *limit* boxes: what has the same distance from the beginning is put together."""
    if len(shape.parts) <= limit:
        return shape
    rank = _ranks(shape)
    stages = max(rank.values()) + 1
    group = {key: each * min(stages, limit) // stages for key, each in rank.items()}
    members: dict[int, list[Part]] = {}
    for part in shape.parts:
        members.setdefault(group[part.id], []).append(part)
    within: dict[str, str] = {}
    parts: list[Part] = []
    for number in sorted(members):
        found = members[number]
        if len(found) == 1:
            parts.append(found[0])
            continue
        stage = f"stage {number + 1}"
        while any(part.id == stage for part in found):
            stage += "'"
        parts.append(Part(stage, f"{found[0].label} …", f"{len(found)} steps", stacked=True))
        within |= {part.id: stage for part in found}
    edges = dict.fromkeys(
        (within.get(edge.source, edge.source), within.get(edge.target, edge.target)) for edge in shape.edges
    )
    return Shape(parts, [Edge(a, b) for a, b in edges if a != b], within)


def _ranks(shape: Shape) -> dict[str, int]:
    after: dict[str, list[str]] = {part.id: [] for part in shape.parts}
    left = dict.fromkeys(after, 0)
    for edge in shape.edges:
        after[edge.source].append(edge.target)
        left[edge.target] += 1
    rank = dict.fromkeys(after, 0)
    order: Sequence[str] = [key for key, count in left.items() if not count]
    order = list(order)
    for key in order:  # grows; what is on a cycle stays at the beginning
        for target in after[key]:
            rank[target] = max(rank[target], rank[key] + 1)
            left[target] -= 1
            if not left[target]:
                order.append(target)
    return rank
