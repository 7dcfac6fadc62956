"""How much a function may make out of nothing: rows of generate_series, characters of repeat."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

MOST_ROWS = 10_000
MOST_CHARACTERS = 1_000
#: functions whose last number says how long their text is
STRETCHING = {"repeat": 1, "lpad": 1, "rpad": 1}

_UNITS = {
    "microsecond": timedelta(microseconds=1),
    "millisecond": timedelta(milliseconds=1),
    "second": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
    "mon": timedelta(days=28),
    "year": timedelta(days=365),
    "decade": timedelta(days=3650),
}


class UnboundedError(Exception):
    """It cannot be told beforehand, or is too much; the text says which."""


def rows_of_series(arguments: list[Any]) -> int:
    """How many rows ``generate_series`` gives, from its arguments as nodes.

    Raises:
        UnboundedError: an argument is no constant, or of an unknown kind.
    """
    values = [constant(each) for each in arguments]
    if len(values) == 2:
        values.append(Decimal(1))
    if len(values) != 3:
        raise UnboundedError("it takes two or three arguments")
    first, last, step = values
    if isinstance(first, datetime) and isinstance(last, datetime) and isinstance(step, timedelta):
        span: Any = last - first
        nothing: Any = timedelta(0)
    elif isinstance(first, Decimal) and isinstance(last, Decimal) and isinstance(step, Decimal):
        span, nothing = last - first, Decimal(0)
    else:
        raise UnboundedError("its arguments are numbers, or two dates and an interval")
    if step == nothing:
        raise UnboundedError("its step is nothing")
    return max(0, int(span / step) + 1)


def constant(node: Any) -> Decimal | datetime | timedelta:
    """What a node comes to, if that is written there: numbers, dates, today, intervals, and sums of these.

    Raises:
        UnboundedError: it is not.
    """
    kind = type(node).__name__
    if kind == "Paren":
        return constant(node.this)
    if kind == "Neg":
        inner: Any = constant(node.this)
        if isinstance(inner, datetime):
            raise UnboundedError("a date has no sign")
        return -inner  # type: ignore[no-any-return]
    if kind == "Literal":
        return _text(node.this) if node.is_string else _number(node.this)
    if kind == "Cast":
        to = node.to.this.name if hasattr(node.to.this, "name") else ""
        if to == "INTERVAL" and node.this.is_string:
            return _interval(node.this.this)
        if to in ("DATE", "TIMESTAMP", "TIMESTAMPTZ", "INT", "BIGINT", "DECIMAL", "SMALLINT"):
            return constant(node.this)
        raise UnboundedError(f"a cast to {to.lower()} is no constant")
    if kind == "Interval":
        text = node.this.this if node.this is not None and node.this.is_string else ""
        unit = node.args.get("unit")
        return _interval(f"{text} {unit.name if unit is not None else ''}")
    if kind in ("CurrentDate", "CurrentTimestamp", "Localtimestamp"):
        return _now()
    if kind == "Anonymous" and str(node.this) == "now" and not node.expressions:
        return _now()
    if kind == "Anonymous" and str(node.this) == "date_trunc" and len(node.expressions) == 2:
        # at most a year too late, and a series that begins there has so much less
        return constant(node.expressions[1])
    if kind in ("Add", "Sub"):
        one: Any = constant(node.this)
        other: Any = constant(node.expression)
        if isinstance(other, Decimal) and isinstance(one, datetime):
            other = timedelta(days=float(other))
        try:
            return one + other if kind == "Add" else one - other  # type: ignore[no-any-return]
        except (TypeError, OverflowError):
            raise UnboundedError("it does not add up") from None
    raise UnboundedError("its arguments are constants: numbers, or dates such as date '2025-01-01' or current_date")


def whole(node: Any) -> int | None:
    """A whole number that is written there."""
    if type(node).__name__ == "Literal" and not node.is_string and str(node.this).isdigit():
        return int(node.this)
    return None


def _now() -> datetime:
    return datetime.now()  # noqa: DTZ005 - only spans are looked at


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise UnboundedError(f"{text!r} is no number") from None


def _text(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        raise UnboundedError(f"{text!r} is no date such as '2025-01-31'") from None


def _interval(text: str) -> timedelta:
    words = text.lower().split()
    if not words or len(words) % 2:
        raise UnboundedError(f"{text.strip()!r} is no interval such as '1 day'")
    total = timedelta(0)
    for number, unit in zip(words[::2], words[1::2], strict=True):
        size = _UNITS.get(unit.rstrip("s") or unit)
        if size is None:
            raise UnboundedError(f"{unit!r} is no unit of time; write '1 day'")
        try:
            total += size * float(number)
        except (ValueError, OverflowError):
            raise UnboundedError(f"{number!r} is no number") from None
    return total
