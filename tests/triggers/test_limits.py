from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import InvalidDurationError
from dataflows_sdk.triggers.limits import Bucket, take_all

START = datetime(2026, 1, 1, tzinfo=UTC)
buckets = st.builds(
    Bucket,
    rate=st.one_of(st.integers(1, 500), st.floats(0.01, 500)),
    per_seconds=st.sampled_from([1, 7, 60, 0.5, 3600]),
    burst=st.integers(1, 30),
)


@given(bucket=buckets, gaps=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=120), data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_never_more_than_burst_and_rate_in_any_window(bucket: Bucket, gaps: list[int], data: st.DataObject) -> None:
    state: Any = None
    at = START
    taken = []
    for gap in gaps:
        at += timedelta(microseconds=gap)
        before = bucket.available(state, at)
        state, allowed, retry_after = bucket.take(state, at)
        state = json.loads(json.dumps(state))
        assert allowed == (before > 0)
        assert (retry_after == 0) == allowed
        if allowed:
            taken.append(at)
        elif data.draw(st.booleans()):
            # after the time it says there is one, and a microsecond before there is not
            again = at + timedelta(seconds=retry_after)
            assert bucket.take(state, again).allowed
            assert not bucket.take(state, again - timedelta(microseconds=1)).allowed
    assert bucket.burst is not None
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            seconds = (taken[j] - first).total_seconds()
            assert j - i + 1 <= bucket.burst + seconds * bucket.rate / bucket.per_seconds + 1e-6


def test_two_a_minute() -> None:
    """Five at once: two now, three later by the clock."""
    bucket = Bucket(2, 60)
    state: Any = None
    waits = []
    for _ in range(5):
        state, _, retry_after = bucket.take(state, START)
        waits.append(retry_after)
    assert waits == [0, 0, 30, 30, 30]
    assert bucket.take(state, START + timedelta(seconds=30)).allowed
    assert bucket.available(state, START + timedelta(minutes=5)) == 2


def test_it_is_used_to_the_full() -> None:
    bucket = Bucket(3, 1, burst=1)
    state: Any = None
    count = 0
    for millisecond in range(10_000):
        state, allowed, _ = bucket.take(state, START + timedelta(milliseconds=millisecond))
        count += allowed
    assert count == 30


def test_a_clock_that_goes_back_does_not_stop_it_for_ever() -> None:
    bucket = Bucket(1, 10)
    state = bucket.take(None, START + timedelta(days=30)).state
    back = bucket.take(state, START)
    assert not back.allowed
    assert back.retry_after == 10


def test_limits_can_be_changed() -> None:
    emptied = Bucket(1, 3_600).take(None, START).state
    assert Bucket(100, 60).take(emptied, START).retry_after == pytest.approx(0.6)
    assert Bucket(100, 60).take(None, START).allowed


def test_all_or_none() -> None:
    workflow, project = Bucket(2, 60), Bucket(3, 60)
    taken, allowed = take_all([workflow, project], [None, None], START)
    assert allowed
    states = [one.state for one in taken]
    for expected in (True, False, False):
        taken, allowed = take_all([workflow, project], states, START)
        states = [one.state for one in taken]
        assert allowed is expected
    assert [one.retry_after for one in taken] == [30, 0]
    assert [bucket.available(state, START) for bucket, state in zip([workflow, project], states, strict=True)] == [0, 1]
    assert take_all([], [], START) == ([], True)
    with pytest.raises(ValueError, match="zip"):
        take_all([workflow], [], START)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0,), "rate"),
        ((-1,), "rate"),
        ((True,), "rate"),
        (("5",), "rate"),
        ((float("nan"),), "rate"),
        ((float("inf"),), "rate"),
        ((1, 0), "per_seconds"),
        ((1, 1, 0), "burst"),
        ((1, 1, 1.5), "burst"),
        ((1, 1, True), "burst"),
        ((2_000_000, 1), "more than one in a microsecond"),
        ((1, 1e12), "centuries"),
        ((1e-300, 1), "centuries"),
    ],
)
def test_limits_that_are_none(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Bucket(*arguments)


@pytest.mark.parametrize("state", [{}, {"full_at": "1"}, {"full_at": True}, [], "x", 7])
def test_states_that_are_none(state: Any) -> None:
    with pytest.raises(ValueError, match="the state of a limit"):
        Bucket(1).take(state, START)


def test_a_moment_without_zone() -> None:
    with pytest.raises(InvalidDurationError):
        Bucket(1).take(None, datetime(2026, 1, 1))
