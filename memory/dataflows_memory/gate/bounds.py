"""How much a function may make out of nothing: rows of generate_series, characters of repeat."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

MOST_ROWS = 10_000
_COUNTED = 10**12
_WRITTEN = "its arguments are constants: numbers, or dates such as date '2025-01-01' or current_date"
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
    if len(arguments) not in (2, 3):
        raise UnboundedError("it takes two or three arguments")
    first: Any = constant(arguments[0])
    last: Any = constant(arguments[1])
    step: Any = _step(arguments[2]) if len(arguments) == 3 else Decimal(1)
    dates = isinstance(first, datetime) and isinstance(last, datetime) and isinstance(step, timedelta)
    if not dates and not all(isinstance(each, Decimal) for each in (first, last, step)):
        raise UnboundedError("its arguments are numbers, or two dates and an interval")
    if not step:
        raise UnboundedError("its step is nothing")
    slack = sum((_truncated(each) for each in arguments), timedelta(0))
    try:
        rows = max(0, (last - first) / step) + (abs(slack / step) if slack else 0) + 1
        return int(min(rows, _COUNTED))
    except ArithmeticError:
        raise UnboundedError("its steps are too many or too few to count") from None


def _step(node: Any) -> Any:
    """A text in this place is an interval."""
    return _interval(node.this) if type(node).__name__ == "Literal" and node.is_string else constant(node)


def constant(node: Any) -> Any:
    """What a node comes to, if that is written there: numbers, dates, today, intervals, and sums of these.

    Raises:
        UnboundedError: it is not.
    """
    kind = type(node).__name__
    if kind == "Paren":
        return constant(node.this)
    if kind == "Neg":
        return _sum("Sub", Decimal(0), constant(node.this))
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
    if kind == "Anonymous":
        return _called(node)
    if kind in ("Add", "Sub"):
        return _sum(kind, constant(node.this), constant(node.expression))
    raise UnboundedError(_WRITTEN)


def _sum(kind: str, one: Any, other: Any) -> Any:
    if isinstance(one, datetime) and isinstance(other, Decimal):
        other = timedelta(days=float(other))
    elif isinstance(other, timedelta) and one == 0:
        one = timedelta(0)
    try:
        return one + other if kind == "Add" else one - other
    except (TypeError, OverflowError, ArithmeticError):
        raise UnboundedError("it does not add up") from None


def _called(node: Any) -> Any:
    if str(node.this) == "now" and not node.expressions:
        return _now()
    if str(node.this) == "date_trunc" and len(node.expressions) == 2:
        return constant(node.expressions[1])  # how much earlier it may be, `_truncated` says
    raise UnboundedError(_WRITTEN)


def _truncated(node: Any) -> timedelta:
    """How far the truncations within a node may put it back."""
    total = timedelta(0)
    for each in node.walk():
        if type(each).__name__ == "Anonymous" and str(each.this) == "date_trunc":
            unit = str(each.expressions[0].this).lower()
            if unit == "quarter":
                total += 3 * timedelta(days=31)
            elif unit in _UNITS and unit != "decade":
                total += _UNITS[unit] * 1.2  # months and years are counted short above
            else:
                raise UnboundedError(f"date_trunc({unit!r}, …) is no constant here")
    return total


def whole(node: Any) -> int | None:
    """A whole number that is written there."""
    if type(node).__name__ == "Literal" and not node.is_string and str(node.this).isdigit():
        return int(node.this)
    return None


def _now() -> datetime:
    return datetime.now()


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
