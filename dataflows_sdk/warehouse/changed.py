"""What triggers and those who wait are told of a change of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflows_sdk.warehouse.reading import RowChange
from dataflows_sdk.warehouse.shape import PROVENANCE

_OURS = frozenset(name for name, _ in PROVENANCE)
#: what is done to a row, and what a trigger calls it, in the order of the counts of a write
EVENTS = {"insert": "created", "update": "updated", "delete": "deleted"}


def record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a flow sees it: its id and the columns of the user."""
    return {name: value for name, value in row.items() if name not in _OURS}


def told(change: RowChange, event_id: str) -> dict[str, Any]:
    """A change as the data of a trigger. Of a row that was deleted, `record` is what it was."""
    some = change.row if change.row is not None else change.before
    data: dict[str, Any] = {
        "event": EVENTS[change.operation],
        "object": change.table,
        "record": {} if some is None else record(some),
        "event_id": event_id,
    }
    if change.operation != "insert" and change.before is not None:
        data["old_record"] = record(change.before)
    if change.operation == "update":
        data["changed_fields"] = list(change.changed)
    return data
