"""Watching a run: every event once, from the beginning or from where one was cut off."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import RunFailed, RunNotFoundError
from dataflows_sdk.streams import LAST, translate

from ..conftest import MakeContext
from .workflows import declare


def flow() -> df.Flow:
    made = df.flow("watched").on_manual().condition("c", "trigger.n > 1").delay("nap", "50ms", after="c:true")
    return made.delay("never", "1h", after="c:false")


def test_a_finished_run_prints_everything_and_ends(make_ctx: MakeContext) -> None:
    run = make_ctx().run(flow(), {"n": 2}, timeout="20s")
    run.result()
    events = list(run.stream())
    names = [event.event for event in events]
    assert names[0] == "run_started"
    assert names[-1] == "run_completed"
    assert {"step_completed", "step_skipped", "step_waiting"} <= set(names)
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    for cut in range(len(events) + 1):
        after = ids[cut - 1] if cut else 0
        assert list(run.stream(after)) == events[cut:]
    assert events[1].sse().startswith(f"id: {events[1].id}\nevent: {events[1].event}\ndata: {{")


def test_who_watches_sees_it_happen(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    async def asks(event: Any, step: Any) -> str:
        await step.run("one", lambda: 1)
        return str(await step.wait_for_event("go"))

    run = ctx.start(declare(asks))
    seen: list[str] = []
    waiting = threading.Event()

    def watch() -> None:
        for event in run.stream():
            if event.event != "step_started":  # only of steps that take a moment
                seen.append(event.event)
            if event.event == "step_waiting":
                waiting.set()

    thread = threading.Thread(target=watch)
    thread.start()
    assert waiting.wait(20)
    ctx.send_event(run, "go", "gone")
    thread.join(20)
    assert seen == ["run_started", "step_completed", "step_waiting", "step_completed", "run_completed"]

    async def again() -> list[str]:
        return [event.event async for event in run.astream() if event.event != "step_started"]

    assert asyncio.run(again()) == seen


def test_retries_and_failures_have_their_names(make_ctx: MakeContext) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    async def failing(event: Any, step: Any) -> None:
        await step.run("bad", fail, retry=df.Retry(1, initial_delay="1ms"))

    run = make_ctx().start(declare(failing))
    with pytest.raises(RunFailed):
        run.result("20s")
    names = [event.event for event in run.stream() if event.event != "step_started"]  # only of steps that take a moment
    assert names == ["run_started", "step_retrying", "step_failed", "run_failed"]
    assert names[-1] in LAST


def test_a_run_that_is_not_there(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    run = ctx.run(flow(), {"n": 2}, timeout="20s")
    run.result()
    assert ctx.purge(datetime.now(UTC) + timedelta(minutes=1)) == 1
    with pytest.raises(RunNotFoundError):
        next(run.stream())


def test_what_concerns_only_the_engine_is_not_told() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    kinds = ["run.claimed", "run.suspended", "scope.opened", "run.released"]
    assert list(translate([JournalEvent(n, kind, "", {}, at, False) for n, kind in enumerate(kinds)])) == []
