"""How far a source came: comparing cursors, and the largest value of a field."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from dataflows_sdk.errors import SyncCursorError
from dataflows_sdk.warehouse.sources.page import value_of

__all__ = ["largest_of", "precedes"]


def precedes(one: Any, other: Any) -> bool | None:
    """Whether *one* comes before *other*; None where they have no order: opaque texts, values of different kinds.

    Numbers, dates and moments have an order, and so have texts that are both moments in ISO 8601. Other texts may be
    tokens of the other side, which come in whatever order.
    """
    pair = _comparable(one), _comparable(other)
    if pair[0] is None or pair[1] is None or type(pair[0]) is not type(pair[1]):
        return None
    return bool(pair[0] < pair[1])


def _comparable(value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str) and len(value) >= 10 and value[4:5] == "-":
        try:
            return _comparable(datetime.fromisoformat(value))
        except ValueError:
            return None
    return None


def largest_of(rows: Iterable[Any], field: str, before: Any, what: str) -> Any:
    """The largest value of a field in *rows* and *before*; what is null does not count.

    Raises:
        SyncCursorError: two values cannot be compared: they are of different kinds.
    """
    largest = before
    for row in rows:
        value = value_of(row, field)
        if value is None:
            continue
        if largest is None:
            largest = value
            continue
        smaller = precedes(largest, value)
        if smaller is None:
            if type(largest) is not type(value):
                raise SyncCursorError(
                    f"{what}: the cursor {field!r} is {largest!r} in one row and {value!r} in another; "
                    "values of different kinds have no order"
                )
            smaller = largest < value
        if smaller:
            largest = value
    return largest
