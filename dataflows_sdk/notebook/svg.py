"""A run as a picture: its boxes with how they stand, and below them what happened when."""

from __future__ import annotations

from dataclasses import dataclass

from dataflows_sdk.drawing.picture import LOOKS, Box, Graph, draw, head, shown
from dataflows_sdk.notebook.folding import State, box_of
from dataflows_sdk.notebook.model import BOXES_STILL, BoxState, View, duration

#: rows of a waterfall, and bars in all of them
_ROWS, _BARS = 60, 1_200
_ROW, _LABELS, _WIDE = 18.0, 170.0, 900.0
#: an idle time that is longer than this part of the run, and than so many milliseconds, is cut
_IDLE, _IDLE_MS, _GAP = 0.12, 3_000.0, 0.05

_Try = tuple[float, float | None, str]


def summary(view: View, state: State | None = None) -> str:
    """The run in one line of numbers."""
    state = view.at() if state is None else state
    boxes = view.boxes(state).values()
    done = sum(box.status in ("completed", "skipped") for box in boxes)
    words = [
        f"{view.head['workflow']} {view.head['run'][:8]}",
        state.status,
        f"{done}/{len(boxes)} steps",
        duration(state.t),
    ]
    if state.asks:
        words.insert(2, "waiting for an approval")
    if view.cut:
        words.append(f"the first {len(view.events):,} events")
    return " · ".join(words)


def dag(view: View, n: int | None = None, *, limit: int = BOXES_STILL) -> str:
    """The boxes of a run as they stood after *n* events.

    Args:
        limit: how many boxes at most; more are put together.
    """
    state = view.at(n)
    shape, places = view.laid_out(limit)
    standings = view.boxes(state, shape)
    boxes = [
        Box(
            part.id,
            part.label,
            standings[part.id].detail,
            standings[part.id].status,
            hint=_hint(part.label, standings[part.id]),
            stacked=part.stacked,
            dashed=standings[part.id].status == "pending",
        )
        for part in shape.parts
    ]
    text = summary(view, state)
    note = ""
    if state.err:
        note = state.err
    elif state.asks:
        note = "asks: " + str(next(iter(state.asks.values())).get("message", ""))
    return draw(Graph(boxes, shape.edges, places), text, heading=text, note=note[:180])


def _hint(label: str, box: BoxState) -> str:
    lines = [f"{label}: {box.detail}"]
    if box.own is not None:
        lines += [f"{name}: {box.own[name]}" for name in ("in", "out", "err") if box.own[name]]
    return "\n".join(lines)


# --- when ---------------------------------------------------------------------------------------------------


def _some(tries: list[_Try], most: int) -> list[_Try]:
    """At most so many of them, evenly taken; what failed or is open before the others."""
    if len(tries) <= most:
        return tries
    telling = [each for each in tries if each[1] is None or each[2] != "completed"][: most // 2]
    rest = [each for each in tries if each[1] is not None and each[2] == "completed"]
    room = most - len(telling)
    return telling + [rest[number * len(rest) // room] for number in range(min(room, len(rest)))]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the time axis in which something happens, and the idle time behind it that is cut out."""

    begin: float
    end: float
    idle: float
    left: float
    wide: float


class Axis:
    """Time as a part of the width, 0 to 1, idle times cut out: `core.js` has the same."""

    def __init__(self, times: list[float]) -> None:
        last = max(times, default=0.0) or 1.0
        cut = max(last * _IDLE, _IDLE_MS)
        pieces: list[tuple[float, float, float]] = []
        begin, before = 0.0, 0.0
        for time in sorted(times):
            if time - before > cut:
                pieces.append((begin, before, time - before))
                begin = time
            before = time
        pieces.append((begin, max(last, begin), 0.0))
        busy = sum(max(end - begin, 1.0) for begin, end, _ in pieces)
        room = max(0.1, 1 - _GAP * (len(pieces) - 1))
        gap = (1 - room) / max(1, len(pieces) - 1)
        self.gap = gap
        self.stretches: list[Stretch] = []
        left = 0.0
        for start, end, idle in pieces:
            wide = room * max(end - start, 1.0) / busy
            self.stretches.append(Stretch(start, end, idle, left, wide))
            left += wide + gap

    def at(self, time: float) -> float:
        """Where a time is."""
        for each in self.stretches:
            if time <= each.end:
                return each.left + each.wide * max(0.0, time - each.begin) / max(each.end - each.begin, 1.0)
            if each.idle and time < each.end + each.idle:
                return each.left + each.wide + self.gap * (time - each.end) / each.idle
        return 1.0


def waterfall(view: View, n: int | None = None) -> str:
    """What happened when: a row for each box, a bar for each try."""
    state = view.at(n)
    shape, _ = view.laid_out(BOXES_STILL)
    known = dict.fromkeys([*(part.id for part in shape.parts), *shape.within])
    tries: dict[str, list[_Try]] = {}
    for key, step in state.steps.items():
        box = box_of(key, known)
        if box is not None:
            found = tries.setdefault(shape.within.get(box, box), [])
            found += [(begin, end, status) for begin, end, status, _ in step["tries"]]
    labels = {part.id: part.label for part in shape.parts}
    rows = sorted((box for box in tries if tries[box]), key=lambda box: min(begin for begin, _, _ in tries[box]))
    more = max(0, len(rows) - _ROWS)
    rows = rows[:_ROWS]
    axis = Axis([event[1] for event in view.events[:n]])
    height = 26 + _ROW * (len(rows) + bool(more)) + 8
    parts = [head(_WIDE, height, f"when: {summary(view, state)}"), '<g font-size="11">']
    room = _WIDE - _LABELS - 24

    def place(time: float) -> float:
        return round(_LABELS + room * axis.at(time), 1)

    for each in axis.stretches:
        parts.append(
            f'<text x="{place(each.begin):g}" y="17" fill="#59636e" font-size="10">{duration(each.begin)}</text>'
        )
        if each.idle:
            left, right = place(each.end), place(each.end + each.idle)
            parts.append(
                f'<path d="M{left:g} 4H{right:g}V{height - 4:g}H{left:g}z" fill="#f0f0f2"/>'
                f'<text x="{left + 2:g}" y="{height - 8:g}" fill="#59636e" font-size="9">⋯ {duration(each.idle)}</text>'
            )
    parts.append(
        f'<text x="{_WIDE - 12:g}" y="17" fill="#59636e" font-size="10" text-anchor="end">{duration(state.t)}</text>'
    )
    for number, box in enumerate(rows):
        y = 24 + number * _ROW
        parts.append(f'<text x="12" y="{y + 12:g}" fill="#1f2328">{shown(labels[box], 26)}</text>')
        for begin, end, status in _some(tries[box], _BARS // len(rows)):
            fill, line = LOOKS.get(status, LOOKS["plain"])
            left = place(begin)
            wide = max(2.0, place(state.t if end is None else end) - left)
            took = duration((state.t if end is None else end) - begin)
            parts.append(
                f'<rect x="{left:g}" y="{y + 3:g}" width="{wide:g}" height="{_ROW - 7:g}" rx="2" fill="{fill}" '
                f'stroke="{line}"><title>{shown(labels[box])}: {status} {took}</title></rect>'
            )
    if more:
        parts.append(f'<text x="12" y="{24 + _ROW * len(rows) + 12:g}" fill="#59636e">and {more:,} more</text>')
    return "".join(parts) + "</g></svg>"
