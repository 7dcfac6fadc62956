from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.core.clock import Clock, SystemClock

START = datetime(2026, 11, 1, tzinfo=UTC)


class Machine:
    """A monotonic clock and a wall clock that move when told."""

    def __init__(self) -> None:
        self.ticks = 1_000.0
        self.wall = START

    def clock(self) -> SystemClock:
        return SystemClock(monotonic=lambda: self.ticks, wall=lambda: self.wall)


def seconds(moment: datetime) -> float:
    return (moment - START).total_seconds()


def test_it_is_a_clock_and_shows_the_wall_clock_first() -> None:
    clock = SystemClock()
    assert isinstance(clock, Clock)
    assert not clock.synchronised
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_after_a_sync_only_the_monotonic_clock_counts() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock.sync(START + timedelta(hours=1), rtt=0.2)
    assert clock.synchronised
    assert seconds(clock.now()) == pytest.approx(3600.1)
    machine.wall += timedelta(days=9)
    machine.ticks += 10
    assert seconds(clock.now()) == pytest.approx(3610.1)


def test_a_zone_of_the_database_is_converted() -> None:
    clock = Machine().clock()
    clock.sync(START.astimezone(timezone(timedelta(hours=5))), rtt=0)
    assert clock.now() == START
    assert clock.now().tzinfo is UTC


def test_nothing_shown_yet_so_it_may_step_back_at_once() -> None:
    clock = Machine().clock()
    clock.sync(START - timedelta(hours=2), rtt=0)
    assert seconds(clock.now()) == -7200


def test_ahead_of_the_database_it_runs_at_half_speed_until_they_meet() -> None:
    machine = Machine()
    clock = machine.clock()
    assert seconds(clock.now()) == 0
    clock.sync(START - timedelta(seconds=10), rtt=0)
    shown = []
    for _ in range(30):
        shown.append(seconds(clock.now()))
        machine.ticks += 1
    assert shown == sorted(shown)
    assert shown[:4] == [0, 0.5, 1, 1.5]
    # the database is at -10 + t, the clock at t/2: they meet at t = 20
    assert shown[20:] == [float(t - 10) for t in range(20, 30)]


def test_at_half_speed_many_calls_do_not_stop_it() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.now()
    clock.sync(START - timedelta(seconds=10), rtt=0)
    for _ in range(10_000):
        machine.ticks += 1e-6
        clock.now()
    assert seconds(clock.now()) == pytest.approx(0.005, abs=1e-5)


def test_a_worse_sample_is_ignored_and_a_contradicting_one_is_not() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.sync(START, rtt=0.010)
    assert not clock.sync(START, rtt=0.5)
    assert seconds(clock.now()) == pytest.approx(0.005)
    assert clock.sync(START + timedelta(seconds=60), rtt=0.5)
    assert seconds(clock.now()) == pytest.approx(60.25)


def test_an_old_estimate_gives_way_to_a_fresh_one() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.sync(START, rtt=0.001)
    machine.ticks += 3600
    assert clock.sync(START + timedelta(seconds=3600.1), rtt=0.1)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-100, 100), st.floats(0, 2), st.booleans()), max_size=40))
def test_it_never_goes_back(script: list[tuple[float, float, float, bool]]) -> None:
    machine = Machine()
    clock = machine.clock()
    last = clock.now()
    for step, offset, rtt, to_sync in script:
        machine.ticks += step
        machine.wall += timedelta(seconds=offset)
        if to_sync:
            clock.sync(START + timedelta(seconds=offset), rtt)
        now = clock.now()
        assert now >= last
        last = now


def test_threads_see_it_go_forward() -> None:
    clock = SystemClock()
    failures: list[tuple[datetime, datetime]] = []

    def work() -> None:
        last = clock.now()
        for turn in range(2_000):
            if turn % 50 == 0:
                clock.sync(datetime.now(UTC) - timedelta(seconds=turn % 7), rtt=0.001)
            now = clock.now()
            if now < last:
                failures.append((last, now))
            last = now

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("moment", "rtt"),
    [
        (datetime(2026, 1, 1), 0.1),
        ("2026-01-01T00:00:00Z", 0.1),
        (None, 0.1),
        (START, -0.1),
        (START, float("nan")),
        (START, float("inf")),
        (START, True),
        (START, "0.1"),
    ],
)
def test_sync_refuses(moment: Any, rtt: Any) -> None:
    clock = SystemClock()
    with pytest.raises(ValueError, match=r"aware|finite"):
        clock.sync(moment, rtt)
    assert not clock.synchronised
