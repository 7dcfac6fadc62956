from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.core.durations import MAX_DURATION, format_duration, parse_duration, parse_instant
from dataflows_sdk.errors import DefinitionError, InvalidDurationError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7d", timedelta(days=7)),
        ("24h", timedelta(hours=24)),
        ("30m", timedelta(minutes=30)),
        ("15s", timedelta(seconds=15)),
        ("500ms", timedelta(milliseconds=500)),
        ("250us", timedelta(microseconds=250)),
        ("250µs", timedelta(microseconds=250)),
        ("1h30m", timedelta(minutes=90)),
        ("2w", timedelta(weeks=2)),
        ("1w2d3h4m5s6ms7us", timedelta(9, 4 * 60 + 5, 7, 6, 0, 3)),
        ("1.5h", timedelta(minutes=90)),
        ("0.1s", timedelta(milliseconds=100)),
        (" 3 m 20 s ", timedelta(seconds=200)),
        ("0s", timedelta()),
        ("90m", timedelta(minutes=90)),
        (0, timedelta()),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (1e-9, timedelta()),
        (timedelta(days=1, microseconds=1), timedelta(days=1, microseconds=1)),
        ("3652500d", MAX_DURATION),
        (MAX_DURATION, MAX_DURATION),
    ],
)
def test_parse_duration(value: Any, expected: timedelta) -> None:
    assert parse_duration(value) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "''"),
        ("   ", "not a duration"),
        ("7 parsecs", "7 parsecs"),
        ("d", "'d'"),
        ("7", 'write "7s"'),
        ("7.5", 'write "7.5s"'),
        ("7D", "7D"),
        ("1e3s", "1e3s"),
        ("1,5h", "1,5h"),
        ("٧d", "٧d"),
        ("+7d", r"\+7d"),
        ("-7d", "negative"),
        ("1h-30m", "1h-30m"),
        ("30m1h", "from large to small"),
        ("1m1m", "from large to small"),
        ("1h30", "1h30"),
        ("4000000d", "10,000 years"),
        pytest.param("9" * 90 + "w", "10,000 years", id="many nines"),
        pytest.param("9" * 200 + "w", "too long", id="more nines"),
        (-1, "-1 is negative"),
        (-0.5, "negative"),
        (float("nan"), "nan is not finite"),
        (float("inf"), "inf is not finite"),
        (float("-inf"), "not finite"),
        (1e300, "10,000 years"),
        pytest.param(10**400, "10,000 years", id="10**400"),
        (True, "bool"),
        (False, "bool"),
        (None, "NoneType"),
        (b"7d", "bytes"),
        (Decimal(7), "Decimal"),
        ([7], "list"),
        (timedelta(seconds=-1), "negative"),
        (timedelta.max, "10,000 years"),
    ],
)
def test_parse_duration_refuses(value: Any, says: str) -> None:
    with pytest.raises(InvalidDurationError, match=says) as caught:
        parse_duration(value)
    assert isinstance(caught.value, DefinitionError)
    assert len(str(caught.value)) < 400


def test_a_repr_that_raises_does_not_hide_the_message() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(InvalidDurationError, match="Odd"):
        parse_duration(Odd())  # type: ignore[arg-type]


def test_subclasses_of_timedelta_come_out_plain() -> None:
    pandas = pytest.importorskip("pandas")
    assert type(parse_duration(pandas.Timedelta("90s"))) is timedelta


@given(st.timedeltas(min_value=timedelta(0), max_value=MAX_DURATION))
def test_a_text_of_microseconds_is_exact(value: timedelta) -> None:
    assert parse_duration(f"{value // timedelta(microseconds=1)}us") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 s"),
        (timedelta(microseconds=250), "250 µs"),
        (0.015, "15 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (1.5, "1.5 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m"),
        (200, "3 m 20 s"),
        (3599.9, "1 h"),
        (5400, "1 h 30 m"),
        (86_399, "1 d"),
        (timedelta(days=7), "7 d"),
        (timedelta(days=2, hours=4, minutes=10), "2 d 4 h"),
        (-1.5, "-1.5 s"),
        (timedelta(days=-7), "-7 d"),
    ],
)
def test_format_duration(value: Any, expected: str) -> None:
    assert format_duration(value) == expected


@given(st.timedeltas(min_value=timedelta(0), max_value=MAX_DURATION - timedelta(days=1)))
def test_what_is_shown_can_be_read_and_is_close(value: timedelta) -> None:
    back = parse_duration(format_duration(value))
    assert abs(back - value) <= max(value / 24, timedelta(microseconds=1))


@pytest.mark.parametrize("bad", [True, None, "7d", float("nan"), float("inf")])
def test_format_duration_refuses(bad: Any) -> None:
    with pytest.raises(InvalidDurationError):
        format_duration(bad)


MOMENT = datetime(2026, 11, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MOMENT, MOMENT),
        (datetime(2026, 11, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")), MOMENT),
        ("2026-11-01T09:00:00+01:00", MOMENT),
        (" 2026-11-01T08:00:00Z ", MOMENT),
        ("2026-11-01 08:00:00.25+00:00", MOMENT.replace(microsecond=250_000)),
        ("2026-11-01", MOMENT.replace(hour=0)),
        (date(2026, 11, 1), MOMENT.replace(hour=0)),
    ],
)
def test_parse_instant(value: Any, expected: datetime) -> None:
    result = parse_instant(value)
    assert result == expected
    assert result.tzinfo is UTC
    assert type(result) is datetime


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (datetime(2026, 11, 1), "no time zone.*ZoneInfo"),
        ("2026-11-01T09:00:00", r"no time zone.*2026-11-01T09:00:00\+00:00"),
        ("tomorrow", "'tomorrow'"),
        ("2026-13-01", "2026-13-01"),
        ("", "not a moment"),
        (1_700_000_000, "int"),
        (None, "NoneType"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))), "beyond the calendar"),
    ],
)
def test_parse_instant_refuses(value: Any, says: str) -> None:
    with pytest.raises(InvalidDurationError, match=says):
        parse_instant(value)
