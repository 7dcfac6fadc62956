"""What a run wrote to the warehouse, beside its events: which write belongs to which, and rows as of then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.details import grid
from dataflows_sdk.notebook.folding import Event
from dataflows_sdk.notebook.places import checked, moment, places

if TYPE_CHECKING:
    from dataflows_sdk.notebook.kept import Kept

#: writes that a view knows of, rows that are read
WRITES, ROWS = 2_000, 200

#: how many events there are when it is to be seen, table, step, rows inserted, updated, deleted
Write = list[Any]


def placed(writes: Sequence[dict[str, Any]], events: Sequence[Event], began: datetime) -> list[Write]:
    """The writes with their places."""
    some = writes[:WRITES]
    found = places(((write["at"], write["step"]) for write in some), events, began)
    return [
        [place, write["table"], write["step"], write["inserted"], write["updated"], write["deleted"]]
        for place, write in zip(found, some, strict=True)
    ]


def rows(source: Kept, events: Sequence[Event], n: object, table: str, *, changed: bool) -> dict[str, Any]:
    """Rows of a table as of the first *n* events; or what the run's writes at the last of them changed.

    Raises:
        DefinitionError: there are not that many events, or the run did not write to that table by then.
    """
    n = checked(n, events, "rows are")
    began = source.head()["created"]
    writes = source.wrote()[:WRITES]
    numbers = [place for place, *_ in placed(writes, events, began)]
    mine = [
        (place, write) for place, write in zip(numbers, writes, strict=True) if write["table"] == table and place <= n
    ]
    if not mine:
        raise DefinitionError(f"the run had written nothing to {table!r} by event {n}")
    if changed:
        now = [write["at"] for place, write in mine if place == n]
        if not now:
            raise DefinitionError(f"the run wrote nothing to {table!r} at event {n}")
        differences = source.changes(table, min(now) - timedelta(microseconds=1), max(now), ROWS)
        lines = [[each.operation, *_change(each)] for each in differences]
        return grid(source.redactor, ["", "key", "before", "after"], lines, len(lines))
    then = moment(n, events, began, zip(numbers, (write["at"] for write in writes), strict=True))
    found = source.rows(table, then, ROWS + 1)
    steps = {write["write"]: write["step"] or "the run" for write in writes}
    names = [name for name in (found[0] if found else ()) if not name.startswith("_")]
    lines = [[steps.get(row["_write"], ""), *(row[name] for name in names)] for row in found]
    return grid(source.redactor, ["by step", *names], lines[:ROWS], len(lines))


def _change(difference: Any) -> list[Any]:
    """Key, and of what differs what it was and is; of a new row all."""

    def some(row: Any) -> str:
        if row is None:
            return ""
        names = difference.changed if difference.before is not None and difference.after is not None else list(row)
        return ", ".join(f"{name} = {row[name]}" for name in names if not name.startswith("_"))

    key = difference.key[0] if len(difference.key) == 1 else difference.key
    return [key, some(difference.before), some(difference.after)]
