"""A run as people see it: what all renderers read. Made from the journal; knows no notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import floor
from typing import Any

from dataflows_sdk.drawing.layered import Layout
from dataflows_sdk.drawing.picture import HIGH, WIDE, arrange, curve
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook import graph
from dataflows_sdk.notebook.folding import Event, State, StepState, box_of, fold, standing
from dataflows_sdk.notebook.remembered import Saying, told
from dataflows_sdk.notebook.sources import Source, compact, is_over, not_found
from dataflows_sdk.notebook.written import Write, placed

#: events that a view holds at most
EVENTS = 10_000
#: boxes that a page draws at most, and a picture
BOXES_LIVE, BOXES_STILL = 2_000, 300


@dataclass(frozen=True, slots=True)
class BoxState:
    """How a box stands at some point.

    Attributes:
        status: see `State.steps`.
        own: the step of the box itself; *members*: those that it stands for besides.
        expected: how many branches there will be, where that is known.
        took: milliseconds from the first begin to the last end, None while one is open or none has begun.
        attempt: of its own step, or the highest of the members.
    """

    status: str
    own: StepState | None
    members: tuple[StepState, ...]
    expected: int | None
    took: float | None
    attempt: int

    @property
    def detail(self) -> str:
        """The second line in a box."""
        words = [] if self.members and self.status == "completed" else [self.status.replace("_", " ")]
        if self.members:
            done = sum(member["status"] in ("completed", "skipped") for member in self.members)
            words.append(f"{done}/{max(self.expected or 0, len(self.members))}")
        if self.took is not None:
            words.append(duration(self.took))
        if self.attempt > 1:
            words.append(f"try {self.attempt}")
        return " · ".join(words)


@dataclass(slots=True)
class View:
    """A run with its events, as far as they were read.

    Attributes:
        head: run (its id), workflow, version, status, created (ISO), parent, forked_from, kind ("flow" or "code").
        events: what happened, see `folding`.
        shape: the boxes and the edges between them.
        cut: whether there are more events than a view holds.
        writes: what it wrote to the warehouse, see `written`.
        said: what it said to the memory, see `remembered`; None where there is no memory.
        lacks: what cannot be shown, in a sentence each.
    """

    head: dict[str, Any]
    events: list[Event]
    spec: FlowSpec | None
    cut: bool = False
    writes: list[Write] = field(default_factory=list)
    said: list[Saying] | None = None
    lacks: list[str] = field(default_factory=list)
    _shape: tuple[int, graph.Shape] | None = None
    _graphs: dict[int, tuple[graph.Shape, Layout[str]]] = field(default_factory=dict)

    @property
    def shape(self) -> graph.Shape:
        """The boxes and the edges between them; of a run of code as far as it has come."""
        stamp = 0 if self.spec is not None else len(self.events)
        if self._shape is None or self._shape[0] != stamp:
            self._graphs.clear()
            self._shape = stamp, graph.of_flow(self.spec) if self.spec is not None else graph.of_journal(self.events)
        return self._shape[1]

    def laid_out(self, limit: int) -> tuple[graph.Shape, Layout[str]]:
        """The boxes, at most *limit*, and where they are."""
        whole = self.shape
        if limit not in self._graphs:
            shape = graph.staged(whole, limit)
            places = arrange([part.id for part in shape.parts], ((edge.source, edge.target) for edge in shape.edges))
            self._graphs[limit] = shape, places
        return self._graphs[limit]

    def at(self, n: int | None = None) -> State:
        """The state after the first *n* events, or all of them.

        Raises:
            DefinitionError: there are not that many events.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= len(self.events)):
            raise DefinitionError(f"a view is of 0 to {len(self.events)} events of this run, not of {n!r}")
        return fold(self.events, n)

    def boxes(self, state: State, shape: graph.Shape | None = None) -> dict[str, BoxState]:
        """How each box stands at a point."""
        shape = self.shape if shape is None else shape
        known = dict.fromkeys([*(part.id for part in shape.parts), *shape.within])
        members: dict[str, list[StepState]] = {}
        for key, step in state.steps.items():
            box = box_of(key, known)
            if box is not None:
                members.setdefault(shape.within.get(box, box), []).append(step)
        return {part.id: _box_state(part.id, members.get(part.id, []), state) for part in shape.parts}

    def page_graph(self, limit: int = BOXES_LIVE) -> dict[str, Any]:
        """The boxes and edges with their places, as the page gets them."""
        shape, places = self.laid_out(limit)
        number = {part.id: index for index, part in enumerate(shape.parts)}
        edges = []
        for edge in shape.edges:
            points = places.paths.get((edge.source, edge.target))
            if points:
                dashed = edge.dashed or (edge.source, edge.target) in places.back
                edges.append([number[edge.source], number[edge.target], curve(points), edge.label, int(dashed)])
        return {
            "ids": list(number),
            "labels": [part.label for part in shape.parts],
            "details": [part.detail for part in shape.parts],
            "stacked": [index for index, part in enumerate(shape.parts) if part.stacked],
            "within": {key: number[stage] for key, stage in shape.within.items()},
            "xy": [coordinate for part in shape.parts for coordinate in places.places[part.id]],
            "edges": edges,
            "width": places.width,
            "height": places.height,
            "box": [WIDE, HIGH],
        }


def _box_state(key: str, steps: list[StepState], state: State) -> BoxState:
    own = next((step for step in steps if step["key"] == key), None)
    members = tuple(step for step in steps if step is not own and not _is_part(step["key"], key))
    if own is None and members == () and steps:
        own = steps[0]  # the question of an approval that is not answered: all that there is of its node
    expected = state.groups.get(key)
    begins = [each[0] for step in steps for each in step["tries"]]
    ends = [each[1] for step in steps for each in step["tries"]]
    took = None if not begins or None in ends else max(ends) - min(begins)
    attempt = own["attempt"] if own is not None else max((step["attempt"] for step in members), default=1)
    return BoxState(standing(own, members, expected, state.over), own, members, expected, took, attempt)


def _is_part(key: str, box: str) -> bool:
    """Whether a step is a part of another's node that nobody counts: a condition, a question to people."""
    return key.startswith(f"{box}?")


def duration(milliseconds: float) -> str:
    """A length of time in a few characters; `core.js` writes the same."""
    if milliseconds < 1_000:
        return f"{floor(milliseconds + 0.5)} ms"
    if milliseconds < 120_000:
        return f"{floor(milliseconds / 100 + 0.5) / 10:.1f} s"
    if milliseconds < 7_200_000:
        return f"{floor(milliseconds / 60_000 + 0.5)} min"
    return f"{floor(milliseconds / 360_000 + 0.5) / 10:.1f} h"


# --- reading --------------------------------------------------------------------------------------------------


def read(source: Source, limit: int = EVENTS) -> View:
    """Read a run.

    Args:
        limit: how many events at most.

    Raises:
        RunNotFoundError: it is not there any more.
    """
    head = source.head()
    found: list[JournalEvent] = []
    while len(found) <= limit:
        page = source.page(found[-1].seq if found else 0)
        if not page:
            break
        found += page
    if not found:
        raise not_found(source.run_id)
    began: datetime = head["created"]
    spec = source.spec()
    view = View(
        {**head, "run": source.run_id, "created": began.isoformat(), "kind": "flow" if spec is not None else "code"},
        compact(found[:limit], began, source.mask),
        spec,
        cut=len(found) > limit,
    )
    if not view.cut:
        # the head was read before the events: what is newer is right
        view.head["status"] = view.at().status
    view.writes, view.said = beside(source, view.events, began)
    view.lacks = source.lacks()
    return view


def beside(source: Source, events: Sequence[Event], began: datetime) -> tuple[list[Write], list[Saying] | None]:
    """What a run wrote to the warehouse and said to the memory, with the places among its events."""
    return placed(source.wrote(), events, began), told(source.said(), events, began, source.mask)


def position(events: Sequence[Event], seq: int) -> int:
    """How many events there are up to a number in the journal."""
    return sum(1 for event in events if event[0] <= seq)


def over(view: View) -> bool:
    """Whether the run of a view is over."""
    return is_over(view.head["status"])
