"""Durations and instants, as people write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction

from dataflows_sdk.errors import InvalidDurationError

__all__ = ["MAX_DURATION", "Duration", "Instant", "format_duration", "parse_duration", "parse_instant"]

#: what `parse_duration` takes; a number is seconds
Duration = str | int | float | timedelta
#: what `parse_instant` takes
Instant = str | datetime | date

#: ten thousand years of 365.25 days
MAX_DURATION = timedelta(days=3_652_500)
_MAX_SECONDS = 3_652_500 * 86_400

_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
    "µs": 1,
}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|us|µs|w|d|h|m|s)")
_HINT = 'write "500ms", "15s", "30m", "24h", "7d", "2w", "1h30m", a number of seconds or a timedelta'
_TEXT_LIMIT = 100


def parse_duration(value: Duration) -> timedelta:
    """A duration as a timedelta, exact to the microsecond.

    Args:
        value: ``"7d"``, ``"24h"``, ``"30m"``, ``"15s"``, ``"500ms"``, ``"250us"``, ``"2w"``, ``"1.5h"``,
            several parts from large to small (``"1h30m"``, ``"3 m 20 s"``), a number of seconds, or a
            timedelta. ``m`` is minutes. Zero is a duration.

    Raises:
        InvalidDurationError: anything else, and what is negative, not finite, or longer than ten thousand
            years.
    """
    if isinstance(value, timedelta):
        # a plain timedelta also where pandas or pendulum gave a subclass
        result = timedelta(value.days, value.seconds, value.microseconds)
    elif isinstance(value, str):
        result = _from_text(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidDurationError(f"not a duration: {value!r} is not finite; {_HINT}")
        # before timedelta() sees it, whose OverflowError names neither the value nor the limit
        if value > _MAX_SECONDS:
            raise _too_long(value)
        if value < 0:
            raise _negative(value)
        result = timedelta(seconds=value)
    else:
        raise InvalidDurationError(f"not a duration: {_show(value)} is a {type(value).__name__}; {_HINT}")
    if result < timedelta(0):
        raise _negative(value)
    if result > MAX_DURATION:
        raise _too_long(value)
    return result


def _from_text(text: str) -> timedelta:
    if len(text) > _TEXT_LIMIT:
        raise InvalidDurationError(f"not a duration: {_show(text)} is too long a text; {_HINT}")
    total = Fraction(0)
    smaller_than = math.inf
    at, end = 0, len(text.rstrip())
    while at < end:
        part = _PART.match(text, at, end)
        if part is None:
            break
        unit = _MICROSECONDS[part[2]]
        if unit >= smaller_than:
            raise InvalidDurationError(
                f"not a duration: {text!r} names its units out of order or twice; "
                'write them from large to small, such as "1h30m"'
            )
        smaller_than = unit
        total += Fraction(part[1]) * unit
        at = part.end()
    if at == 0 or at < end:
        stripped = text.strip()
        if stripped.startswith("-"):
            raise _negative(text)
        if stripped.replace(".", "", 1).isdecimal():
            raise InvalidDurationError(
                f'not a duration: {text!r} has no unit; write "{stripped}s" for seconds, or a number'
            )
        raise InvalidDurationError(f"not a duration: {_show(text)}; {_HINT}")
    microseconds = round(total)
    if microseconds > MAX_DURATION // timedelta(microseconds=1):
        raise _too_long(text)
    return timedelta(microseconds=microseconds)


def _negative(value: object) -> InvalidDurationError:
    return InvalidDurationError(f"not a duration: {_show(value)} is negative; {_HINT}")


def _too_long(value: object) -> InvalidDurationError:
    return InvalidDurationError(
        f"not a duration: {_show(value)} is more than 10,000 years; leave it out to wait for ever"
    )


def _show(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message must come out, whatever the value's repr does
        text = f"a {type(value).__name__}"
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "…"


def parse_instant(value: Instant) -> datetime:
    """A moment in UTC.

    Args:
        value: a datetime with a time zone, an ISO 8601 text with one (``"2026-11-01T09:00:00+01:00"``,
            ``"…Z"``), or a plain day (a date or ``"2026-11-01"``), which means its beginning in UTC.

    Raises:
        InvalidDurationError: a datetime without a time zone, or anything else.
    """
    moment: datetime
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime.combine(value, time(), UTC)
    elif isinstance(value, str):
        text = value.strip()
        try:
            if len(text) == 10 and text[4] == "-":
                moment = datetime.combine(date.fromisoformat(text), time(), UTC)
            else:
                moment = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidDurationError(
                f'not a moment: {_show(value)}; write "2026-11-01T09:00:00+01:00" or "2026-11-01", '
                "or pass an aware datetime"
            ) from None
    else:
        raise InvalidDurationError(
            f"not a moment: {_show(value)} is a {type(value).__name__}; pass an aware datetime or an ISO 8601 text"
        )
    if moment.utcoffset() is None:
        raise InvalidDurationError(
            f"{_show(value)} has no time zone, so it is not one moment; write the offset "
            f'("{moment.replace(tzinfo=None).isoformat()}+00:00") '
            'or use value.replace(tzinfo=ZoneInfo("Europe/Berlin"))'
        )
    try:
        # through the fields: a subclass such as pandas.Timestamp comes out as a plain datetime
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise InvalidDurationError(f"not a moment: {_show(value)} lies beyond the calendar in UTC") from None
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=UTC)


_STEPS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def format_duration(value: timedelta | float) -> str:
    """A duration for people: ``"250 µs"``, ``"15 ms"``, ``"1.5 s"``, ``"3 m 20 s"``, ``"7 d"``; never
    more than two units.

    Args:
        value: a timedelta or a number of seconds; a negative one gets a minus sign.

    Raises:
        InvalidDurationError: not a duration, or not finite.
    """
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf:
        microseconds = round(value * 1_000_000)
    else:
        raise InvalidDurationError(f"not a duration: {_show(value)}; pass a timedelta or a number of seconds")
    sign, microseconds = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    return sign + _positive(microseconds)


def _positive(microseconds: int) -> str:
    if microseconds == 0:
        return "0 s"
    if microseconds < 1_000:
        return f"{microseconds} µs"
    if microseconds < 999_500:
        return f"{round(microseconds / 1_000)} ms"
    if microseconds < 59_950_000:
        return f"{microseconds / 1_000_000:.1f}".removesuffix(".0") + " s"
    seconds = round(microseconds / 1_000_000)
    for index, (unit, size) in enumerate(_STEPS[:-1]):
        # rounded to the smaller of the two units that are shown, so that 59 m 59.9 s reads "1 h" and not
        # "59 m 60 s"
        small_unit, small = _STEPS[index + 1]
        rounded = (seconds + small // 2) // small * small
        if rounded >= size:
            rest = rounded % size // small
            return f"{rounded // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{seconds} s"
