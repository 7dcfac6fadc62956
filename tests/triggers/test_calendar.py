"""Wall clocks that are turned, against a scan of every minute that knows nothing of cron libraries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import DefinitionError, InvalidScheduleError
from dataflows_sdk.triggers.calendar import ALIASES, CronTable, find_zone
from dataflows_sdk.triggers.schedule import Schedule

from ..conftest import examples

#: the first ten have their clocks turned by half an hour, at midnight, or never; in the last, 23:30 can be jumped over
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "America/Havana",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "America/Nuuk",
]
MINUTE = timedelta(minutes=1)
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)


@lru_cache
def turns(zone: str) -> tuple[datetime, ...]:
    """Every moment of 2024 to 2028 at which the offset changes."""
    info = ZoneInfo(zone)
    found = []
    at, offset = FIRST, FIRST.astimezone(info).utcoffset()
    while at < LAST:
        turned = (at + timedelta(days=1)).astimezone(info).utcoffset() != offset
        for _ in range(48 if turned else 0):
            at += timedelta(minutes=30)
            if at.astimezone(info).utcoffset() != offset:
                found.append(at)
                offset = at.astimezone(info).utcoffset()
        at += timedelta(days=0 if turned else 1)
    return tuple(found)


def walls(start: datetime, minutes: int, zone: str) -> Iterator[tuple[datetime, datetime]]:
    info = ZoneInfo(zone)
    for number in range(minutes):
        at = start + number * MINUTE
        yield at, at.astimezone(info).replace(tzinfo=None, fold=0)


def test_zones_are_turned_as_expected() -> None:
    count = {zone: len(turns(zone)) for zone in ZONES}
    assert count["Europe/Berlin"] == count["America/New_York"] == count["Australia/Lord_Howe"] == 10
    assert count["Pacific/Apia"] == count["Asia/Kathmandu"] == count["America/Sao_Paulo"] == 0


MOMENTS = [(zone, turn) for zone in ZONES for turn in turns(zone) or (datetime(2025, 3, 30, 1, tzinfo=UTC),)]

field_sets = st.one_of(
    st.just(None),
    st.integers(2, 30),
    st.lists(st.integers(0, 59), min_size=1, max_size=4, unique=True),
)


def written(field: object, size: int) -> tuple[str, set[int]]:
    if field is None:
        return "*", set(range(size))
    if isinstance(field, int):
        step = 1 + field % (size // 2)
        return f"*/{step}", set(range(0, size, step))
    assert isinstance(field, list)
    values = {value % size for value in field}
    return ",".join(map(str, sorted(values))), values


@given(minutes=field_sets, hours=field_sets, days=st.sampled_from(["*", "1-5", "0,6"]), where=st.sampled_from(MOMENTS))
@settings(max_examples=examples(25, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_against_a_scan_of_every_minute(minutes: object, hours: object, days: str, where: tuple[str, datetime]) -> None:
    zone, turn = where
    minute_text, minute_set = written(minutes, 60)
    hour_text, hour_set = written(hours, 24)
    day_set = {"*": set(range(7)), "1-5": set(range(5)), "0,6": {5, 6}}[days]
    schedule = Schedule.cron(f"{minute_text} {hour_text} * * {days}", zone)
    start = turn - timedelta(days=2)
    span = 4 * 24 * 60

    def fits(wall: datetime) -> bool:
        return wall.minute in minute_set and wall.hour in hour_set and wall.weekday() in day_set

    expected = set()
    if "*" in minute_text + hour_text:
        expected = {at for at, wall in walls(start, span, zone) if fits(wall)}
    else:
        # met when the clock shows it, or more than it, for the first time
        highest = None
        for at, wall in walls(start - timedelta(days=1), span + 24 * 60, zone):
            if highest is not None and wall > highest:
                passed = (highest + number * MINUTE for number in range(1, (wall - highest) // MINUTE + 1))
                if any(fits(one) for one in passed) and at >= start:
                    expected.add(at)
            highest = wall if highest is None else max(wall, highest)
    assert schedule.between(start, start + span * MINUTE, span) == sorted(expected)


@pytest.mark.parametrize("zone", ZONES[:10])
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 0 * * *", "15 1 * * *", "45 23 * * *", "0 30 2 * * *"])
def test_a_daily_time_fires_once_per_local_day(zone: str, expression: str) -> None:
    schedule = Schedule.cron(expression, zone)
    years = examples(2, 5)  # each has both turns of every zone that turns
    firings = schedule.between(FIRST, FIRST.replace(year=FIRST.year + years), 3_000)
    assert all(earlier < later for earlier, later in pairwise(firings))
    days = [at.astimezone(ZoneInfo(zone)).date() for at in firings]
    first, last = days[0], days[-1]
    assert days == [first + timedelta(days=number) for number in range((last - first).days + 1)]
    assert len(days) >= 365 * years


@given(
    expression=st.sampled_from(
        ["*/7 * * * *", "30 2 * * *", "*/20 1-3 * * *", "0 */2 * * *", "15,45 2 * * *", "*/13 * * * * *"]
    ),
    where=st.sampled_from(MOMENTS),
    before=st.integers(0, 200_000),
)
@settings(max_examples=examples(60, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_asking_from_anywhere_goes_forward_and_misses_nothing(
    expression: str, where: tuple[str, datetime], before: int
) -> None:
    """The next firing after any moment, also one in a repeated hour, is the next of a walk from long before."""
    zone, turn = where
    schedule = Schedule.cron(expression, zone)
    at = turn + timedelta(seconds=3 * 3_600 - before / 10)
    found = schedule.next_after(at)
    assert found is not None
    assert found > at
    seen = schedule.between(at - timedelta(hours=1), found + timedelta(microseconds=1), 100_000)
    assert [one for one in seen if one > at] == [found]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        # asked in the second of the two hours: the first is over
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", ["2026-10-26T02:30:00+01:00"]),
        # two times that do not exist are one firing
        (
            "15,45 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"],
        ),
        (
            "0 9 * * 1-5",
            "America/New_York",
            "2026-10-30T14:00:00Z",
            ["2026-11-02T09:00:00-05:00", "2026-11-03T09:00:00-05:00"],
        ),
        # half an hour is lost, and nothing of the next hour
        (
            "*/10 3 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            ["2026-10-04T03:00:00+11:00", "2026-10-04T03:10:00+11:00"],
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"],
        ),
        (
            "*/30 1-2 1 11 *",
            "America/New_York",
            "2026-11-01T05:30:00Z",
            ["2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00"],
        ),
        ("30 23 28 3 *", "America/Nuuk", "2026-03-01T00:00:00Z", ["2026-03-29T00:00:00-01:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
        ("0 0 L * *", "UTC", "2026-02-01", ["2026-02-28T00:00:00+00:00", "2026-03-31T00:00:00+00:00"]),
        ("*/20 30 2 * * *", "UTC", "2026-02-01", ["2026-02-01T02:30:00+00:00", "2026-02-01T02:30:20+00:00"]),
        ("@weekly", "Asia/Kathmandu", "2026-02-01", ["2026-02-08T00:00:00+05:45"]),
    ],
)
def test_known_nights(expression: str, zone: str, after: str, expected: list[str]) -> None:
    found = Schedule.cron(expression, tz=zone).preview(len(expected), after)
    assert [firing.local.isoformat() for firing in found] == expected
    assert [firing.at_utc for firing in found] == [datetime.fromisoformat(text) for text in expected]


def test_aliases() -> None:
    for alias, expression in ALIASES.items():
        plain = Schedule.cron(expression).between("2026-01-01", "2027-02-01")
        assert Schedule.cron(alias.upper()).between("2026-01-01", "2027-02-01") == plain != []


# --- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "'61 * * * *': minute '61' is not in 0-59"),
        ("* 24 * * *", "hour '24' is not in 0-23"),
        ("* * 0 * *", "day of month '0' is not in 1-31"),
        ("* * * 13 *", "month '13' is not in 1-12 or JAN-DEC"),
        ("* * * * 8", "day of week '8' is not in 0-7 or SUN-SAT"),
        ("60 * * * * *", "second '60' is not in 0-59"),
        ("a 99 * * FRI-MON", "minute 'a' is not in 0-59; hour '99' is not in 0-23; day of week 'FRI-MON'"),
        ("* * * * FRI-MON", "a range goes upwards"),
        ("0 0 ? * 1", 'write "*"'),
        ("*/0 * * * *", "minute '*/0'"),
        ("٣ * * * *", "minute '٣'"),
        ("* * * * MON#1/2", "day of week 'MON#1/2'"),
        ("1,,2 * * * *", "minute '1,,2'"),
        ("0 0 31 2 *", "'0 0 31 2 *' never fires"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
        ("* * *", "has 3 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("*", "has 1 field;"),
        ("", "has 0 fields"),
        ("@reboot", "there is no such alias; there are @yearly"),
        ("9" * 5_000, "longer than 256 characters"),
        ("*," * 120 + "1 * * * *", None),
        (5, "not 5"),
        (b"* * * * *", "is a text"),
    ],
)
def test_expressions_that_are_none(expression: str, says: str | None) -> None:
    if says is None:
        assert CronTable(expression).expression == expression
        return
    with pytest.raises(InvalidScheduleError, match=re.escape(says)) as caught:
        CronTable(expression)
    assert isinstance(caught.value, DefinitionError)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Mars/Base", "no time zone 'Mars/Base'; did you mean "),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("europe/berln", "Europe/Berlin"),
        ("New York", "did you mean America/New_York?"),
        ("../../etc/passwd", "write an IANA name"),
        ("/etc/localtime", "no time zone '/etc/localtime'"),
        ("localtime", "no time zone 'localtime'"),
        ("Europe", "no time zone 'Europe'"),
        ("", "no time zone ''"),
        ("a\0b", "no time zone"),
        ("\ud800", "no time zone"),
        ("x" * 100_000, "no time zone"),
        (None, "not None"),
        (1, "not 1"),
    ],
)
def test_zones_that_are_none(zone: str, says: str) -> None:
    with pytest.raises(InvalidScheduleError, match=re.escape(says)) as caught:
        find_zone(zone)
    assert len(str(caught.value)) < 400


def test_a_machine_without_zones_says_what_to_install() -> None:
    program = """
import sys, zoneinfo
sys.modules["tzdata"] = None
zoneinfo.reset_tzpath([])
from dataflows_sdk.errors import InvalidScheduleError
from dataflows_sdk.triggers.schedule import Schedule
assert Schedule.cron("@daily").next_after("2026-01-01T05:00:00Z").day == 2
try:
    Schedule.cron("@daily", "Europe/Berlin")
except InvalidScheduleError as error:
    assert "pip install tzdata" in str(error), error
else:
    raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_calendar_ends() -> None:
    assert Schedule.cron("* * * * *", "Europe/Berlin").next_after("9999-12-31T23:59:59Z") is None
    assert Schedule.every("1h").next_after("9999-12-31T23:59:59Z") is None
    assert Schedule.cron("@daily", "Pacific/Apia").next_after(date(1, 1, 2)) is not None
