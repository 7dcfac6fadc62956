"""Schedules: when something is due, what was missed, and what to do while the last one still runs.

Everything here is a pure function of the moments that come in. How cron meets a clock that is turned, `calendar`
says; `Schedule.every` counts real time and knows no zone but for showing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from dataflows_sdk.core.durations import Duration, Instant, format_duration, parse_duration, parse_instant
from dataflows_sdk.errors import InvalidDurationError, InvalidScheduleError
from dataflows_sdk.triggers.calendar import CronTable, find_zone, show, wall_clock

__all__ = [
    "Catchup",
    "Due",
    "Firing",
    "Overlap",
    "Planned",
    "Schedule",
    "backfill",
    "check_schedule",
    "decide_overlap",
    "due",
    "firing_id",
]

Catchup: TypeAlias = Literal["one", "all", "skip"]
Overlap: TypeAlias = Literal["allow", "skip", "queue", "cancel_previous"]
OverlapDecision: TypeAlias = Literal["start", "skip", "queue", "cancel_then_start"]

_MIN_EVERY: Final = timedelta(seconds=1)
_MAX_EVERY: Final = timedelta(days=3653)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
#: how far missed firings are counted: a number for people, which must not cost a second
COUNTED = 1_000


class Firing(NamedTuple):
    """One firing, for people.

    Attributes:
        at_utc: when.
        local: the same moment on the clocks of the schedule's zone. For showing: a time that comes twice is, for
            Python, not equal to the same moment of another zone.
        note: what is special about it: its time does not exist on that day, or comes twice; else empty.
    """

    at_utc: datetime
    local: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. Make one with `cron`, `every` or `from_config`; two with the same words are equal.

    Attributes:
        expression: of cron; None for an interval.
        interval: of real time; None for cron.
        timezone: an IANA name.
        anchor: what intervals are counted from: `start` where there is one, else the beginning of 1970 in UTC.
        start, end: nothing fires before `start`, nor at `end` or after it.
        catchup: what happens to missed firings: only the latest of them runs (``one``), each (``all``) or none
            (``skip``).
        overlap: what happens when the run before is not over yet.

    Raises:
        InvalidScheduleError: it cannot be read, or would never fire.
    """

    expression: str | None = None
    interval: timedelta | None = None
    timezone: str = "UTC"
    anchor: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    catchup: Catchup = "one"
    overlap: Overlap = "allow"
    _table: CronTable | None = field(init=False, repr=False, compare=False)
    _zone: tzinfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.expression is None) == (self.interval is None):
            raise InvalidScheduleError('a schedule has either "cron" or "every"')
        zone = find_zone(self.timezone)
        object.__setattr__(self, "_zone", zone)
        object.__setattr__(self, "_table", None if self.expression is None else CronTable(self.expression))
        if self.interval is not None:
            object.__setattr__(self, "interval", _interval(self.interval))
        elif self.anchor is not None:
            raise InvalidScheduleError('"anchor" is for "every"; the times of cron are those of the clock')
        for name in ("anchor", "start", "end"):
            object.__setattr__(self, name, _instant(name, getattr(self, name), zone))
        _one_of("catchup", self.catchup, Catchup)
        _one_of("overlap", self.overlap, Overlap)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise InvalidScheduleError(f"the schedule ends ({self.end.isoformat()}) before it starts")

    @classmethod
    def cron(
        cls,
        expression: str,
        tz: str = "UTC",
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        catchup: Catchup = "one",
        overlap: Overlap = "allow",
    ) -> Schedule:
        """A cron schedule: ``Schedule.cron("0 9 * * 1-5", tz="America/New_York")``.

        Five fields, six with the second in front, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.
        Fixed times are met once a day, intervals in real time: see `dataflows_sdk.triggers.calendar`.

        Raises:
            InvalidScheduleError: the expression, the zone or one of the moments cannot be read, or no day ever fits.
        """
        if expression is None:
            raise InvalidScheduleError('cron: an expression is missing; write "0 9 * * 1-5"')
        return cls(expression, None, tz, None, *_window(start, end, tz), catchup, overlap)

    @classmethod
    def every(
        cls,
        interval: Duration,
        anchor: Instant | None = None,
        *,
        tz: str = "UTC",
        start: Instant | None = None,
        end: Instant | None = None,
        catchup: Catchup = "one",
        overlap: Overlap = "allow",
    ) -> Schedule:
        """A schedule of real time: ``Schedule.every("90m")``. "1d" is 24 hours, also where a day has 23.

        Args:
            interval: at least a second, at most ten years.
            anchor: a moment of the beat; it goes on to both sides of it.
            tz: the zone that firings are shown in, and that plain days are of.
            start, end, catchup, overlap: see `Schedule`.

        Raises:
            InvalidScheduleError: as for `cron`.
        """
        if interval is None:
            raise InvalidScheduleError('every: an interval is missing; write "1h"')
        first = _instant("anchor", anchor, find_zone(tz))
        return cls(None, _interval(interval), tz, first, *_window(start, end, tz), catchup, overlap)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule of the config of a ``trigger_schedule`` node.

        Args:
            config: ``cron`` or ``every``, and ``timezone``, ``anchor``, ``start``, ``end``, ``catchup``, ``overlap``;
                None is the same as nothing, and other keys are left to the node.

        Raises:
            InvalidScheduleError: as for `cron`.
        """
        if not isinstance(config, Mapping):
            raise InvalidScheduleError(f'a schedule is a mapping with "cron" or "every", not {show(config)}')
        given = {key: config[key] for key in _KEYS if config.get(key) is not None}
        if ("cron" in given) == ("every" in given):
            found = "both" if "cron" in given else "neither"
            raise InvalidScheduleError(f'a schedule has either "cron" or "every", and this one has {found}')
        tz = given.pop("timezone", "UTC")
        if "every" in given:
            return cls.every(given.pop("every"), tz=tz, **given)
        if "anchor" in given:
            raise InvalidScheduleError('"anchor" is for "every"; the times of cron are those of the clock')
        return cls.cron(given.pop("cron"), tz, **given)

    def to_config(self) -> dict[str, str]:
        """What `from_config` makes this schedule from; all texts."""
        config: dict[str, str | None] = {"cron": self.expression}
        if self.interval is not None:
            config = {"every": _exact(self.interval)}
        for name in ("anchor", "start", "end"):
            moment = getattr(self, name)
            config[name] = None if moment is None else _iso(moment)
        config |= {"timezone": self.timezone, "catchup": self.catchup, "overlap": self.overlap}
        return {key: value for key, value in config.items() if value is not None}

    def __str__(self) -> str:
        if self.interval is not None:
            return f"every {format_duration(self.interval)}"
        return f"{self.expression} ({self.timezone})"

    # --- asking -------------------------------------------------------------------------------------------

    def next_after(self, instant: Instant) -> datetime | None:
        """The first firing later than a moment, in UTC; None if there is none any more.

        Raises:
            InvalidDurationError: not one moment.
        """
        found = self._next(parse_instant(instant))
        return None if found is None else found[0]

    def between(self, start: Instant, end: Instant, limit: int = 1_000) -> list[datetime]:
        """The firings from `start` on and before `end`, in UTC and in order; at most `limit`, the earliest ones.

        Raises:
            InvalidDurationError: `start` or `end` is not one moment.
            ValueError: `limit` is not a positive int.
        """
        _check_limit(limit)
        first, last = parse_instant(start), parse_instant(end)
        found: list[datetime] = []
        for at in self._after(_before(first)):
            if at >= last or len(found) >= limit:
                break
            found.append(at)
        return found

    def preview(self, n: int, after: Instant) -> list[Firing]:
        """The next `n` firings later than a moment, with a note where the clock is turned.

        Raises:
            InvalidDurationError: `after` is not one moment.
            ValueError: `n` is not a positive int.
        """
        _check_limit(n)
        firings: list[Firing] = []
        at = parse_instant(after)
        while len(firings) < n and (found := self._next(at)) is not None:
            at = found[0]
            firings.append(self._firing(*found))
        return firings

    def _firing(self, at: datetime, wall: datetime) -> Firing:
        local = at.astimezone(self._zone)
        shown = wall_clock(at, self._zone)
        if shown != wall:
            return Firing(at, local, f"moved: {_hands(wall)} does not exist on that day")
        if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
            which = "second" if local.fold else "first"
            return Firing(at, local, f"{which} of two: {_hands(wall)} comes twice on that day")
        return Firing(at, local)

    def _after(self, at: datetime) -> Iterator[datetime]:
        while (found := self._next(at)) is not None:
            at = found[0]
            yield at

    def _next(self, after: datetime) -> tuple[datetime, datetime] | None:
        """The next firing and the wall time that it stands for."""
        if self.start is not None and after < self.start:
            after = _before(self.start)
        found = self._table.next_after(after, self._zone) if self._table is not None else self._beat(after)
        if found is None or (self.end is not None and found[0] >= self.end):
            return None
        return found

    def _beat(self, after: datetime) -> tuple[datetime, datetime] | None:
        assert self.interval is not None
        anchor = self.anchor or self.start or _EPOCH
        try:
            at = anchor + ((after - anchor) // self.interval + 1) * self.interval
            return at, wall_clock(at, self._zone)
        except OverflowError:
            return None


_KEYS: Final = ("cron", "every", "timezone", "anchor", "start", "end", "catchup", "overlap")


def check_schedule(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Everything that is wrong with the config of a schedule: pairs of JSON pointer and message."""
    found: list[tuple[str, str]] = []
    given = {key: config[key] for key in _KEYS if config.get(key) is not None}
    # each key alone beside a schedule that is right, then all together
    right = {"cron": "@daily"} if "cron" in given and "every" not in given else {"every": "1h"}
    for key, value in given.items():
        found += _problem("/" + key, {key: value} if key in {"cron", "every"} else {**right, key: value})
    if ("cron" in given) == ("every" in given):
        found += _problem("", {key: given[key] for key in ("cron", "every") if key in given})
    return found or _problem("", given)


def _problem(pointer: str, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        Schedule.from_config(config)
    except InvalidScheduleError as error:
        return [(pointer, str(error))]
    return []


def _interval(value: Duration) -> timedelta:
    try:
        interval = parse_duration(value)
    except InvalidDurationError as error:
        raise InvalidScheduleError(f"every: {error}") from None
    if not _MIN_EVERY <= interval <= _MAX_EVERY:
        raise InvalidScheduleError(f"every {show(value)}: an interval lasts at least 1 s and at most 10 years")
    return interval


def _instant(name: str, value: Instant | None, zone: tzinfo) -> datetime | None:
    """A moment of a config; a plain day is the beginning of that day in the schedule's zone."""
    try:
        if isinstance(value, str) and len(value.strip()) == 10:
            value = date.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time(), zone)
        return None if value is None else parse_instant(value)
    except (InvalidDurationError, ValueError) as error:
        raise InvalidScheduleError(f"{name}: {error}") from None


def _window(start: Instant | None, end: Instant | None, tz: str) -> tuple[datetime | None, datetime | None]:
    zone = find_zone(tz)
    return _instant("start", start, zone), _instant("end", end, zone)


def _one_of(name: str, value: object, words: Any) -> None:
    if value not in get_args(words):
        raise InvalidScheduleError(f"{name} {show(value)} is not one of {', '.join(get_args(words))}")


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"how many firings at most is a positive int, not {show(limit)}")


def _before(at: datetime) -> datetime:
    """Just before a moment, so that "later than that" takes it in."""
    return at - _TICK if at > datetime.min.replace(tzinfo=UTC) else at


def _exact(interval: timedelta) -> str:
    seconds, rest = divmod(interval, timedelta(seconds=1))
    return f"{seconds}s" if not rest else f"{interval // _TICK}us"


def _hands(wall: datetime) -> str:
    return f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


# --- what is due ------------------------------------------------------------------------------------------


class Due(NamedTuple):
    """What a schedule owes at a moment.

    Attributes:
        firings: the moments that are to run now, in UTC and in order.
        skipped: how many were passed over for good; counted up to 1,000, more reads 1,000 too.
        more: further ones are due; ask again with `cursor`.
        cursor: what to pass as `last_fired` the next time.
    """

    firings: list[datetime]
    skipped: int
    more: bool
    cursor: datetime


def due(
    schedule: Schedule,
    last_fired: Instant,
    now: Instant,
    catchup: Catchup | None = None,
    limit: int = 100,
    *,
    grace: Duration = "1m",
) -> Due:
    """What is due after `last_fired` and up to `now`, and has to run.

    Args:
        schedule: the schedule.
        last_fired: the `cursor` of the time before; at first, the moment at which the schedule was switched on.
        now: the database's time. Where it lies before `last_fired`, nothing is due.
        catchup: ``one``: of all that is due only the latest. ``all``: each, `limit` at a time. ``skip``: the latest,
            unless it is older than `grace`. None: as the schedule says.
        limit: how many `firings` at most.
        grace: how late a firing may be found and still be on time.

    Raises:
        InvalidDurationError: `last_fired` or `now` is not one moment, `grace` is no duration.
        InvalidScheduleError: there is no such `catchup`.
        ValueError: `limit` is not a positive int.
    """
    _check_limit(limit)
    mode = schedule.catchup if catchup is None else catchup
    _one_of("catchup", mode, Catchup)
    since, until, late = parse_instant(last_fired), parse_instant(now), parse_duration(grace)
    if mode == "all":
        firings: list[datetime] = []
        for at in schedule._after(since):
            if at > until:
                break
            if len(firings) == limit:
                return Due(firings, 0, True, firings[-1])
            firings.append(at)
        return Due(firings, 0, False, firings[-1] if firings else since)
    latest = _latest(schedule, since, until)
    if latest is None:
        return Due([], 0, False, since)
    missed = len(schedule.between(since + _TICK, latest, COUNTED))
    if mode == "skip" and until - latest > late:
        return Due([], min(missed + 1, COUNTED), False, latest)
    return Due([latest], missed, False, latest)


def _latest(schedule: Schedule, since: datetime, until: datetime) -> datetime | None:
    """The last firing later than `since` and not later than `until`.

    Halving the time costs some forty questions, where counting up would ask once for every second of a long outage.
    """
    low = schedule.next_after(since)
    if low is None or low > until:
        return None
    # at `low` something fires, and what follows `high` is too late
    high = until
    while high > low:
        middle = low + (high - low) / 2
        found = schedule.next_after(middle)
        if found is not None and found <= until:
            low = found
        elif middle == low:
            break
        else:
            high = middle
    return low


def firing_id(trigger_id: str, at: Instant) -> str:
    """The event id of a firing, the same in every process: ``schedule:<trigger>:2026-11-01T09:00:00Z``.

    Raises:
        InvalidDurationError: ``at=`` is not one moment.
        ValueError: `trigger_id` is empty or no text.
    """
    if not isinstance(trigger_id, str) or not trigger_id:
        raise ValueError(f"the id of a trigger is a text that is not empty, not {show(trigger_id)}")
    return f"schedule:{trigger_id}:{_iso(parse_instant(at))}"


class Planned(NamedTuple):
    """A firing to make up for: its event id and its moment in UTC."""

    id: str
    at: datetime


def backfill(schedule: Schedule, start: Instant, end: Instant, limit: int = 1_000, *, trigger_id: str) -> list[Planned]:
    """Every firing from `start` on and before `end`, with the ids that the schedule itself gives them.

    So a backfill over days that did run starts nothing twice. `Schedule.start` does not bind it, filling up the
    time before is what a backfill is for; `Schedule.end` does.

    Raises:
        InvalidScheduleError: there are more than `limit`; half a backfill would look like a whole one.
        InvalidDurationError: `start` or `end` is not one moment.
        ValueError: `limit` is not a positive int, or `trigger_id` is no text.
    """
    _check_limit(limit)
    # without the window, an interval keeps its beat
    unbound = replace(schedule, start=None, anchor=schedule.anchor or (schedule.start if schedule.interval else None))
    found = unbound.between(start, end, limit + 1)
    if len(found) > limit:
        raise InvalidScheduleError(
            f"a backfill of {schedule} from {_iso(parse_instant(start))} to {_iso(parse_instant(end))} has more than "
            f"{limit} firings; take a shorter time or a higher limit"
        )
    return [Planned(firing_id(trigger_id, at), at) for at in found]


def decide_overlap(policy: Overlap, running: int) -> OverlapDecision:
    """What to do with a firing while `running` earlier runs of the same trigger are not over.

    Raises:
        InvalidScheduleError: there is no such policy.
        ValueError: `running` is not a number of runs.
    """
    _one_of("overlap", policy, Overlap)
    if not isinstance(running, int) or isinstance(running, bool) or running < 0:
        raise ValueError(f"the number of running runs is an int, zero or more, not {show(running)}")
    if running == 0:
        return "start"
    return _WHILE_RUNNING[policy]


_WHILE_RUNNING: Final[dict[Overlap, OverlapDecision]] = {
    "allow": "start",
    "skip": "skip",
    "queue": "queue",
    "cancel_previous": "cancel_then_start",
}
