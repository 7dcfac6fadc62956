"""What a run wrote to the warehouse, beside its events: which write belongs to which, and rows as of then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.details import grid
from dataflows_sdk.notebook.folding import Event

if TYPE_CHECKING:
    from dataflows_sdk.runs import Run

#: writes that a view knows of, rows that are read
WRITES, ROWS = 2_000, 200
#: times of events are rounded in a view
_ROUNDED = timedelta(milliseconds=0.1)
_ENDS = ("step.completed", "step.failed", "step.timed_out")

#: how many events there are when it is to be seen, table, step, rows inserted, updated, deleted
Write = list[Any]


def placed(writes: Sequence[dict[str, Any]], events: Sequence[Event], began: datetime) -> list[Write]:
    """The writes with their places: at the end of the try that wrote, else at the first event behind them."""
    ends: dict[str, list[tuple[float, int]]] = {}
    for number, (_, t, kind, key, _data) in enumerate(events):
        if kind in _ENDS:
            ends.setdefault(key, []).append((t, number + 1))
    found: list[Write] = []
    last = 0
    for write in writes[:WRITES]:
        t = (write["at"] - began).total_seconds() * 1_000
        # a write and the record of its step are one commit, and the clocks of both may differ by a little
        own = [each for each in ends.get(write["step"] or "", ()) if each[0] >= t - 50]
        if own:
            place = own[0][1]
        else:
            while last < len(events) and events[last][1] < t:
                last += 1
            place = min(last + 1, len(events))
        found.append([place, write["table"], write["step"], write["inserted"], write["updated"], write["deleted"]])
    return found


def rows(run: Run, events: Sequence[Event], n: int, table: str, *, changed: bool) -> dict[str, Any]:
    """Rows of a table as of the first *n* events; or what the run's writes at the last of them changed.

    Raises:
        DefinitionError: there are not that many events, or the run did not write to that table by then.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= len(events):
        raise DefinitionError(f"rows are of 1 to {len(events)} events of this run, not of {n!r}")
    began = run.refresh()._head()["created_at"]
    writes = run.wrote()[:WRITES]
    places = [place for place, *_ in placed(writes, events, began)]
    mine = [
        (place, write) for place, write in zip(places, writes, strict=True) if write["table"] == table and place <= n
    ]
    if not mine:
        raise DefinitionError(f"the run had written nothing to {table!r} by event {n}")
    warehouse = run._context.warehouse
    if changed:
        now = [write["at"] for place, write in mine if place == n]
        if not now:
            raise DefinitionError(f"the run wrote nothing to {table!r} at event {n}")
        differences = warehouse.diff(min(now) - timedelta(microseconds=1), max(now), table=table, limit=ROWS)
        lines = [[each.operation, *_change(each)] for each in differences]
        return grid(run, ["", "key", "before", "after"], lines, len(lines))
    moment = max(began + timedelta(milliseconds=events[n - 1][1]) + _ROUNDED, *(write["at"] for _, write in mine))
    found = warehouse.as_of(moment).find(table, limit=ROWS + 1)
    steps = {write["write"]: write["step"] or "the run" for write in writes}
    names = [name for name in (found[0] if found else ()) if not name.startswith("_")]
    lines = [[steps.get(row["_write"], ""), *(row[name] for name in names)] for row in found]
    return grid(run, ["by step", *names], lines[:ROWS], len(lines))


def _change(difference: Any) -> list[Any]:
    """Key, and of what differs what it was and is; of a new row all."""

    def some(row: Any) -> str:
        if row is None:
            return ""
        names = difference.changed if difference.before is not None and difference.after is not None else list(row)
        return ", ".join(f"{name} = {row[name]}" for name in names if not name.startswith("_"))

    key = difference.key[0] if len(difference.key) == 1 else difference.key
    return [key, some(difference.before), some(difference.after)]
