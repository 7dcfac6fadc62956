from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import InvalidDurationError, InvalidScheduleError
from dataflows_sdk.triggers.schedule import (
    Due,
    Schedule,
    backfill,
    check_schedule,
    decide_overlap,
    due,
    firing_id,
)

from ..conftest import examples

HOURLY = Schedule.cron("0 * * * *")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- intervals --------------------------------------------------------------------------------------------


@given(
    seconds=st.integers(1, 400_000),
    anchor=st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    after=st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_keeps_its_beat(seconds: int, anchor: datetime, after: datetime) -> None:
    found = Schedule.every(seconds, anchor).next_after(after)
    assert found is not None
    assert timedelta(0) < found - after <= timedelta(seconds=seconds)
    assert (found - anchor) % timedelta(seconds=seconds) == timedelta(0)


def test_every_is_real_time_and_aligned() -> None:
    assert Schedule.every("1h").next_after("2026-03-29T00:59:59Z") == utc("2026-03-29T01:00")
    day = Schedule.every("1d", anchor="2026-03-28T05:00:00Z", tz="Europe/Berlin")
    assert [firing.local.hour for firing in day.preview(2, "2026-03-28T00:00:00Z")] == [6, 7]
    assert Schedule.every("7m", start="2026-01-01T00:03:00Z").next_after("2020-01-01") == utc("2026-01-01T00:03")
    assert Schedule.every("1.5s").next_after("1970-01-01T00:00:00Z") == utc("1970-01-01T00:00:01.5")


@pytest.mark.parametrize("interval", ["999ms", 0, "0s", "3654d", 1e9, "1 parsec", -5, None, "", True, float("nan"), []])
def test_intervals_that_are_none(interval: Any) -> None:
    with pytest.raises(InvalidScheduleError, match="every"):
        Schedule.every(interval)


def test_the_longest_and_the_shortest_interval() -> None:
    assert Schedule.every("3653d").next_after("2026-01-01") is not None
    assert Schedule.every("1s").next_after("2026-01-01") == utc("2026-01-01T00:00:01")


# --- windows, config --------------------------------------------------------------------------------------


def test_nothing_fires_outside_of_the_window() -> None:
    schedule = Schedule.cron("0 0 * * *", "Europe/Berlin", start="2026-03-01", end=date(2026, 3, 4))
    found = schedule.between("2026-01-01", "2027-01-01")
    assert [at.isoformat() for at in found] == [f"2026-{day}T23:00:00+00:00" for day in ("02-28", "03-01", "03-02")]
    assert schedule.next_after("2026-03-03T12:00:00Z") is None


def test_between_is_half_open_and_bounded() -> None:
    assert HOURLY.between("2026-01-01T01:00:00Z", "2026-01-01T03:00:00Z") == [
        utc(f"2026-01-01T0{n}:00") for n in (1, 2)
    ]
    assert HOURLY.between("2026-01-01", "2027-01-01", 2) == [utc("2026-01-01T00:00"), utc("2026-01-01T01:00")]
    assert HOURLY.between("2027-01-01", "2026-01-01") == []


@pytest.mark.parametrize(
    "config",
    [
        {"cron": "0 9 * * 1-5", "timezone": "America/New_York"},
        {"every": "90m", "anchor": "2026-01-01T00:10:00Z", "catchup": "all", "overlap": "queue"},
        {"every": "1500000us", "start": "2026-01-01", "end": "2027-01-01T00:00:00+01:00", "timezone": "Pacific/Apia"},
        {"every": 60, "label": "kept by the node", "timezone": None},
    ],
)
def test_config_round_trip(config: dict[str, Any]) -> None:
    schedule = Schedule.from_config(config)
    assert Schedule.from_config(schedule.to_config()) == schedule
    assert hash(Schedule.from_config(schedule.to_config())) == hash(schedule)
    assert check_schedule(config) == []
    assert all(isinstance(value, str) for value in schedule.to_config().values())


@pytest.mark.parametrize(
    ("config", "pointers"),
    [
        ({}, [""]),
        ({"cron": "@daily", "every": "1h"}, [""]),
        ({"cron": "61 * * * *", "timezone": "Mars/Base"}, ["/cron", "/timezone"]),
        (
            {
                "every": "0s",
                "start": "soon",
                "end": 5,
                "catchup": "some",
                "overlap": [],
                "anchor": "2026-01-01T00:00:00",
            },
            ["/every", "/anchor", "/start", "/end", "/catchup", "/overlap"],
        ),
        ({"cron": "@daily", "anchor": "2026-01-01"}, ["/anchor"]),
        ({"cron": "@daily", "start": "2026-01-02", "end": "2026-01-01"}, [""]),
        ({"cron": "@daily", "start": "2026-99-99"}, ["/start"]),
    ],
)
def test_every_fault_of_a_config_is_found_at_once(config: dict[str, Any], pointers: list[str]) -> None:
    assert [pointer for pointer, _ in check_schedule(config)] == pointers
    with pytest.raises(InvalidScheduleError):
        Schedule.from_config(config)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Schedule(), "either"),
        (lambda: Schedule.from_config([("cron", "@daily")]), "is a mapping"),  # type: ignore[arg-type]
        (lambda: Schedule.cron(None), "an expression is missing"),  # type: ignore[arg-type]
        (lambda: Schedule.cron("@daily", catchup="never"), "catchup 'never' is not one of one, all, skip"),  # type: ignore[arg-type]
        (lambda: Schedule.cron("@daily", overlap="no"), "allow, skip, queue, cancel_previous"),  # type: ignore[arg-type]
        (lambda: Schedule.cron("@daily", start=datetime(2026, 1, 1)), "has no time zone"),
    ],
)
def test_schedules_that_are_none(make: Callable[[], Schedule], says: str) -> None:
    with pytest.raises(InvalidScheduleError, match=re.escape(says)):
        make()


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3", None])
def test_limits_that_are_none(limit: Any) -> None:
    for ask in (
        lambda: HOURLY.preview(limit, "2026-01-01"),
        lambda: HOURLY.between("2026-01-01", "2026-01-02", limit),
        lambda: due(HOURLY, "2026-01-01", "2026-01-02", limit=limit),
        lambda: backfill(HOURLY, "2026-01-01", "2026-01-02", limit, trigger_id="t"),
    ):
        with pytest.raises(ValueError, match="positive int"):
            ask()


def test_moments_without_a_zone_are_refused() -> None:
    naive = datetime(2026, 1, 1)
    for ask in (
        lambda: HOURLY.next_after(naive),
        lambda: HOURLY.between(naive, naive),
        lambda: HOURLY.preview(1, naive),
        lambda: due(HOURLY, naive, "2026-01-02"),
        lambda: due(HOURLY, "2026-01-02", naive),
        lambda: firing_id("t", naive),
    ):
        with pytest.raises(InvalidDurationError, match="no time zone"):
            ask()


def test_preview_says_what_is_special() -> None:
    daily = Schedule.cron("30 2 * * *", "Europe/Berlin")
    assert [f.note for f in daily.preview(2, "2026-03-28T12:00:00Z")] == ["moved: 02:30 does not exist on that day", ""]
    assert [f.note for f in daily.preview(2, "2026-10-24T12:00:00Z")] == [
        "first of two: 02:30 comes twice on that day",
        "",
    ]
    half = Schedule.cron("*/30 * * * *", "Europe/Berlin").preview(5, "2026-10-25T00:00:00Z")
    assert [f.note[:13] for f in half] == ["first of two:", "second of two", "second of two", "", ""]
    assert half[0].local.tzinfo is not UTC
    assert [f.local.astimezone(UTC) for f in half] == [f.at_utc for f in half]


def test_preview_ends_with_the_schedule() -> None:
    assert len(Schedule.cron("@daily", end="2026-01-03").preview(10, "2026-01-01T12:00:00Z")) == 1


# --- due --------------------------------------------------------------------------------------------------


def test_one_is_the_latest_of_what_was_missed() -> None:
    found = due(HOURLY, "2026-01-01T09:00:00Z", "2026-01-01T12:00:00Z")
    assert found == Due([utc("2026-01-01T12:00")], 2, False, utc("2026-01-01T12:00"))
    assert due(HOURLY, found.cursor, "2026-01-01T12:59:59Z") == Due([], 0, False, found.cursor)


def test_skip_runs_only_what_is_on_time() -> None:
    nine = "2026-01-01T09:00:00Z"
    late = due(HOURLY, nine, "2026-01-01T12:30:00Z", "skip")
    assert late == Due([], 3, False, utc("2026-01-01T12:00"))
    assert due(HOURLY, nine, "2026-01-01T12:00:59Z", "skip").firings == [utc("2026-01-01T12:00")]
    assert due(HOURLY, nine, "2026-01-01T12:30:00Z", "skip", grace="1h").firings == [utc("2026-01-01T12:00")]


def test_all_comes_in_portions() -> None:
    seen: list[datetime] = []
    cursor = utc("2026-01-01T00:00")
    for _ in range(3):
        found = due(HOURLY, cursor, "2026-01-02T00:30:00Z", "all", 10)
        seen += found.firings
        cursor = found.cursor
        if not found.more:
            break
    assert seen == [utc("2026-01-01T00:00") + timedelta(hours=n) for n in range(1, 25)]
    assert not due(HOURLY, "2026-01-01", "2026-01-01T10:00:00Z", "all", 10).more


@given(
    schedule=st.sampled_from(
        [
            Schedule.cron("*/20 * * * *", "Europe/Berlin"),
            Schedule.cron("30 2 * * *", "Europe/Berlin"),
            Schedule.cron("15,45 1-3 * * *", "Australia/Lord_Howe"),
            Schedule.every("37m"),
            Schedule.every("50m", start="2026-10-25T00:10:00Z", end="2026-10-26"),
        ]
    ),
    since=st.integers(0, 4 * 86_400),
    length=st.integers(-3_600, 3 * 86_400),
    first=st.sampled_from([utc("2026-03-27T00:00"), utc("2026-10-23T00:00")]),
)
@settings(max_examples=examples(60, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_mode_agrees_with_counting(schedule: Schedule, since: int, length: int, first: datetime) -> None:
    start = first + timedelta(seconds=since)
    now = start + timedelta(seconds=length)
    tick = timedelta(microseconds=1)
    every = schedule.between(start + tick, now + tick, 10_000)
    assert due(schedule, start, now, "all", 10_000).firings == every
    assert due(schedule, start, now, "one").firings == every[-1:]
    assert due(schedule, start, now, "one").skipped == max(0, len(every) - 1)
    skip = due(schedule, start, now, "skip", grace="10m")
    assert skip.firings == [at for at in every[-1:] if now - at <= timedelta(minutes=10)]
    assert skip.skipped + len(skip.firings) == len(every)
    assert skip.cursor == (every[-1] if every else start)


def test_a_long_outage_costs_little() -> None:
    """Counting two hundred million seconds would not come back within the test's time."""
    found = due(Schedule.cron("* * * * * *", "Europe/Berlin"), "2020-01-01", "2026-06-01T00:00:00.5Z")
    assert found == Due([utc("2026-06-01T00:00")], 1_000, False, utc("2026-06-01T00:00"))


def test_due_takes_the_word_of_the_schedule() -> None:
    assert len(due(Schedule.cron("@hourly", catchup="all"), "2026-01-01", "2026-01-01T03:00:00Z").firings) == 3
    with pytest.raises(InvalidScheduleError, match="catchup 'some'"):
        due(HOURLY, "2026-01-01", "2026-01-02", "some")  # type: ignore[arg-type]
    with pytest.raises(InvalidDurationError):
        due(HOURLY, "2026-01-01", "2026-01-02", grace="soon")


# --- ids, backfill, overlap -------------------------------------------------------------------------------


def test_firing_id_is_the_moment_whatever_its_zone() -> None:
    assert firing_id("t-1", "2026-11-01T10:00:00+01:00") == "schedule:t-1:2026-11-01T09:00:00Z"
    assert firing_id("t-1", utc("2026-11-01T09:00:00.5")) == "schedule:t-1:2026-11-01T09:00:00.500000Z"
    for bad in ("", None, 7):
        with pytest.raises(ValueError, match="id of a trigger"):
            firing_id(bad, "2026-01-01")  # type: ignore[arg-type]


def test_backfill_has_the_ids_of_the_schedule() -> None:
    schedule = Schedule.every("6h", start="2026-01-02T01:00:00Z")
    live = due(schedule, "2026-01-01", "2026-01-02T20:00:00Z", "all").firings
    planned = backfill(schedule, "2026-01-01", "2026-01-03", trigger_id="t")
    assert [one.at.hour for one in planned] == [1, 7, 13, 19] * 2
    assert {firing_id("t", at) for at in live} <= {one.id for one in planned}
    assert len(live) == 4


def test_half_a_backfill_is_none() -> None:
    assert len(backfill(HOURLY, "2026-01-01", "2026-01-02", 24, trigger_id="t")) == 24
    with pytest.raises(InvalidScheduleError, match="more than 23 firings"):
        backfill(HOURLY, "2026-01-01", "2026-01-02", 23, trigger_id="t")


@pytest.mark.parametrize(
    ("policy", "busy"),
    [("allow", "start"), ("skip", "skip"), ("queue", "queue"), ("cancel_previous", "cancel_then_start")],
)
def test_overlap(policy: Any, busy: str) -> None:
    assert [decide_overlap(policy, running) for running in (0, 1, 7)] == ["start", busy, busy]
    for running in (-1, True, 0.5, None):
        with pytest.raises(ValueError, match="number of running runs"):
            decide_overlap(policy, running)  # type: ignore[arg-type]


def test_an_unknown_overlap() -> None:
    with pytest.raises(InvalidScheduleError, match="overlap 'replace'"):
        decide_overlap("replace", 0)  # type: ignore[arg-type]
