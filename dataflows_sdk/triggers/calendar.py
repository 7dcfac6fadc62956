"""Cron expressions and time zones: which moments the hands of a wall clock mean.

cronsim reads the expression and knows the calendar; it is asked about bare wall times only. What happens where a zone
turns its clocks is decided here, since cronsim misses firings where they are turned by half an hour (Lord Howe), and
gives moments of the past when it is asked in the middle of a repeated hour.

The rule is that of Debian's cron. An expression whose minute and hour (and second) are given, not starred, names
*fixed times*: each is met once a day. A time that does not exist, because the clock jumped over it, is met at the
first moment after the jump; one that comes twice is met the first time. Any other expression is an *interval*
(``*/10 * * * *``): it is met whenever the clock shows it, so what the clock jumps over is left out and what it shows
twice is met twice.
"""

from __future__ import annotations

import copy
import difflib
import reprlib
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from dataflows_sdk.errors import InvalidScheduleError

__all__ = ["ALIASES", "CronTable", "find_zone", "show", "wall_clock"]

#: the words for the usual expressions
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L (the last) or LW (the last weekday)"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT (0 and 7 are Sunday), MON#2 (the second) or 5L (the last Friday)"),
)
_MAX_TEXT = 256
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
#: no zone turns its clock by more than a day, and offsets lie between -12 and +14 hours
_REACH = timedelta(hours=26)

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def show(value: object) -> str:
    """A value for a message, cut where it is long; never raises."""
    return _short.repr(value)


# --- zones ------------------------------------------------------------------------------------------------


def find_zone(name: str) -> tzinfo:
    """The time zone of an IANA name.

    Raises:
        InvalidScheduleError: there is none of that name, or this machine has no zones at all.
    """
    if not isinstance(name, str):
        raise InvalidScheduleError(f"a time zone is a name such as 'Europe/Berlin', not {show(name)}")
    if name == "UTC":
        return UTC  # is there without any database
    try:
        if name not in _OF_THIS_MACHINE:
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidScheduleError(_no_zone(name))


#: files of the database that mean another zone on every machine
_OF_THIS_MACHINE: Final = frozenset({"localtime", "posixrules", "Factory"})


def _no_zone(name: str) -> str:
    known = sorted(zoneinfo.available_timezones() - _OF_THIS_MACHINE)
    if not known:
        return f"no time zone {show(name)}: this machine has no time zone database; pip install tzdata"
    folded = {zone.lower(): zone for zone in known}
    asked = name.strip().lower().replace(" ", "_")[:_MAX_TEXT]
    near = [zone for low, zone in folded.items() if asked and (low == asked or low.endswith("/" + asked))]
    near += [folded[low] for low in difflib.get_close_matches(asked, folded, 3, 0.6) if folded[low] not in near]
    if not near:
        # "Mars/Base": perhaps the last word alone is like a city
        cities = {low.rsplit("/", 1)[-1]: zone for low, zone in folded.items()}
        near = [cities[low] for low in difflib.get_close_matches(asked.rsplit("/", 1)[-1], cities, 3, 0.6)]
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "write an IANA name"
    return f"no time zone {show(name)}; {hint} (IANA names look like Europe/Berlin, America/New_York, UTC)"


def wall_clock(at: datetime, zone: tzinfo) -> datetime:
    """What the clocks of a zone show at a moment, as a bare datetime."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _next_turn(zone: tzinfo, after: datetime, until: datetime) -> datetime | None:
    """The first moment in (after, until] at which another offset holds; both in UTC and whole seconds.

    Two turns within an hour that undo each other would be missed; no zone has such.
    """
    before = _offset(after, zone)
    low = after
    while low < until:
        high = min(low + _HOUR, until)
        if _offset(high, zone) != before:
            while high - low > _SECOND:
                middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
                if _offset(middle, zone) == before:
                    low = middle
                else:
                    high = middle
            return high
        low = high
    return None


def _moment(wall: datetime, zone: tzinfo) -> datetime:
    """When the clocks of a zone show a wall time for the first time, or have jumped over it; in UTC."""
    aware = wall.replace(tzinfo=zone)
    at = aware.astimezone(UTC)
    if wall_clock(at, zone) == wall:
        return at
    # jumped over: read with the offset after the jump it lies before the jump, and the other way round
    turn = _next_turn(zone, aware.replace(fold=1).astimezone(UTC), at)
    return turn if turn is not None else at


# --- cron -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CronTable:
    """A cron expression that was read: five fields, six with seconds in front, or an alias such as ``@daily``.

    Attributes:
        expression: as it was written.
        fixed: it names fixed times; else it is an interval.

    Raises:
        InvalidScheduleError: it cannot be read, or no day ever fits; the message names every wrong field.
    """

    expression: str
    fixed: bool = field(init=False, compare=False)
    _sim: CronSim = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = _split(self.expression)
        start = datetime(2000, 1, 1)
        try:
            sim = CronSim(" ".join(parts), start)
        except (CronSimError, ValueError, TypeError, AssertionError):
            raise InvalidScheduleError(_faults(self.expression, parts)) from None
        object.__setattr__(self, "_sim", sim)
        # "*/1" is a star, and so is every other thing that begins with one
        object.__setattr__(self, "fixed", not any(part.startswith("*") for part in parts[:-3]))
        if next(self.walls(start), None) is None:
            raise InvalidScheduleError(_never(self.expression))

    def walls(self, after: datetime) -> Iterator[datetime]:
        """The bare wall times that fit, in order, later than one; ends where none follows within 50 years."""
        sim = copy.copy(self._sim)
        sim.dt = after.replace(microsecond=0)
        try:
            yield from sim
        except OverflowError:  # the calendar ends
            return

    def next_after(self, after: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
        """The first firing later than a moment: when, in UTC, and the wall time that the expression named.

        The two differ where the clocks jump over the wall time. None if there is none any more.
        """
        # nothing fires between two seconds
        after = after.astimezone(UTC).replace(microsecond=0)
        try:
            return self._next_fixed(after, zone) if self.fixed else self._next_shown(after, zone)
        except OverflowError:
            return None

    def _next_fixed(self, after: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
        for wall in self.walls(wall_clock(after, zone)):
            at = _moment(wall, zone)
            # in a repeated hour the first of two may be over already
            if at > after:
                return at, wall
        return None

    def _next_shown(self, after: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
        """The next moment at which the clocks show a wall time that fits.

        As long as one offset holds, wall times and moments go side by side, so a stretch of it is searched for a
        wall time that fits, up to the next turn of the clocks.
        """
        offset = _offset(after, zone)
        # searched is everything up to `after`, under `offset`; that offset is known to hold at `base`
        base = after
        while True:
            wall = next(self.walls(_naive(after + offset)), None)
            if wall is None:
                return None
            at = wall.replace(tzinfo=UTC) - offset
            until = min(at, base + _REACH)
            turn = _next_turn(zone, base, until)
            if turn is None and at <= until:
                return at, wall
            if turn is None:
                # far away: nothing fits before it whatever the offset, but for its neighbourhood
                base = after = max(until, at - _REACH)
                offset = _offset(base, zone)
            elif at < turn:
                return at, wall
            else:
                base, after, offset = turn, turn - _SECOND, _offset(turn, zone)


def _naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def _split(expression: str) -> list[str]:
    if not isinstance(expression, str):
        raise InvalidScheduleError(f'a cron expression is a text such as "0 9 * * 1-5", not {show(expression)}')
    text = expression.strip()
    if len(text) > _MAX_TEXT:
        raise InvalidScheduleError(f"cron {show(text)} is longer than {_MAX_TEXT} characters")
    if text.startswith("@"):
        known = ALIASES.get(text.lower())
        if known is None:
            raise InvalidScheduleError(f"cron {show(text)}: there is no such alias; there are {', '.join(ALIASES)}")
        text = known
    parts = text.split()
    if len(parts) not in (5, 6):
        raise InvalidScheduleError(
            f"cron {show(expression)} has {len(parts)} field{'s' * (len(parts) != 1)}; write five (minute, hour, "
            "day of month, month, day of week), or six with the second in front"
        )
    return parts


def _faults(expression: str, parts: list[str]) -> str:
    """What is wrong: every field is tried alone."""
    wrong = []
    for number, part in enumerate(parts, 6 - len(parts)):
        alone = ["*"] * 6
        alone[number] = part
        # "31" alone is a day in some month
        try:
            CronSim(" ".join(alone), datetime(2000, 1, 1))
        except (CronSimError, ValueError, TypeError, AssertionError):
            name, allowed = _FIELDS[number]
            hint = next((text for sign, text in _HINTS.items() if sign in part), "")
            wrong.append(f"{name} {part!r} is not in {allowed}{hint}")
    return f"cron {show(expression)}: {'; '.join(wrong)}" if wrong else _never(expression)


_HINTS: Final = {"?": ' ("?" is Quartz; write "*")', "-": " (a range goes upwards: 5-7)"}


def _never(expression: str) -> str:
    return f"cron {show(expression)} never fires: no year has such a day"
