"""Time that jumps when everybody waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.core.clock import Clock
from dataflows_sdk.errors import InvalidDurationError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until


def test_it_is_a_clock_that_stands_still() -> None:
    clock = VirtualClock()
    assert isinstance(clock, Clock)
    assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC) == clock.now()
    assert VirtualClock("2031-02-03T04:05:06Z").now() == datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    before = clock.monotonic()
    time.sleep(0.002)
    assert clock.monotonic() > before


def test_it_goes_forward_only() -> None:
    clock = VirtualClock()
    start = clock.now()
    assert clock.advance("1h") == start + timedelta(hours=1) == clock.now()
    assert clock.advance_to(start) == start + timedelta(hours=1)
    assert clock.jump(start) is True
    assert clock.now() == start + timedelta(hours=1)
    assert clock.jumps == 0
    clock.jump(start + timedelta(days=1))
    assert (clock.now(), clock.jumps) == (start + timedelta(days=1), 1)


def test_a_held_clock_does_not_jump() -> None:
    clock = VirtualClock(autojump=False)
    assert clock.jump(clock.now() + timedelta(days=1)) is False
    assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
    assert "held" in repr(clock)


@pytest.mark.parametrize("duration", ["-1s", "soon", -5, None, "9999999d"])
def test_bad_spans(duration: Any) -> None:
    with pytest.raises(InvalidDurationError):
        VirtualClock().advance(duration)


def test_bad_instants() -> None:
    with pytest.raises(InvalidDurationError):
        VirtualClock("tomorrow-ish")
    with pytest.raises(InvalidDurationError):
        VirtualClock().advance_to("later")
    with pytest.raises(InvalidDurationError):
        VirtualClock().advance_to(datetime(2031, 1, 1))


def test_a_year_is_over_at_once(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)

    async def yearly(event: Any, step: Any) -> list[datetime]:
        seen = []
        for _ in range(12):
            await step.sleep("month", "30d")
            seen.append(await step.now())
        return seen

    start = clock.now()
    run = ctx.run(df.Workflow("yearly", yearly), timeout="20s")
    assert run.result() == [start + timedelta(days=30 * n) for n in range(1, 13)]
    assert clock.jumps == 12
    assert run.finished_at == clock.now(), "the database's times are the clock's"


def test_runs_wake_in_the_order_of_their_times(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())
    woken: list[int] = []

    async def sleeper(event: Any, step: Any) -> None:
        await step.sleep("nap", f"{event.raw}h")
        await step.run("note", woken.append, event.raw)

    runs = ctx.start_many(df.Workflow("sleeper", sleeper), [5, 3, 4, 1, 2])
    for run in runs:
        run.result("20s")
    assert woken == [1, 2, 3, 4, 5]


def test_an_event_before_its_deadline_on_a_held_clock(make_ctx: MakeContext) -> None:
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(clock=clock)

    async def approval(event: Any, step: Any) -> Any:
        return await step.wait_for_event("approved", timeout="7d")

    workflow = df.Workflow("approval", approval)
    heard, unheard = ctx.start(workflow), ctx.start(workflow)
    heard.send_event("approved", "yes")
    assert heard.result("10s") == "yes"
    wait_until(lambda: unheard.status == "waiting", "it waits")
    clock.advance("6d")
    assert unheard.status == "waiting"
    clock.advance("1d")
    assert unheard.result("10s") is None


def test_retries_cost_virtual_time_only(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)

    def flaky() -> int:
        if df.current_step().attempt < 4:
            raise ConnectionError("no")
        return df.current_step().attempt

    async def patient(event: Any, step: Any) -> int:
        return int(await step.run("flaky", flaky, retry=df.Retry(5, initial_delay="1h", max_delay="24h", jitter=0)))

    start = clock.now()
    assert ctx.run(df.Workflow("patient", patient), timeout="20s").result() == 4
    assert clock.now() - start == timedelta(hours=1 + 2 + 4)


def test_a_working_step_holds_the_time(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    start = clock.now()

    async def works(event: Any, step: Any) -> datetime:
        await step.run("work", time.sleep, 0.2)
        return clock.now()

    async def sleeps(event: Any, step: Any) -> None:
        await step.sleep("nap", "1h")

    working = ctx.start(df.Workflow("works", works))
    sleeping = ctx.start(df.Workflow("sleeps", sleeps))
    assert working.result("10s") == start
    sleeping.result("10s")
    assert clock.now() == start + timedelta(hours=1)
