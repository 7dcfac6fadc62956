"""Runs, steps and events as they were: what the engine's own fold says of that moment."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.archive import open_archive
from dataflows_sdk.engine.state import FINISHED, JournalEvent, RunState, fold
from dataflows_sdk.errors import QueryError, RunFinishedError
from dataflows_sdk.runs import Run
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.warehouse.mirror import TABLES

from ..conftest import MakeContext, wait_until
from .conftest import Journal

Program = list[str]

#: journals, and moments of each
EXAMPLES, MOMENTS = int(os.environ.get("DATAFLOWS_EXAMPLES", "4")), 10

OPS = ["step", "retried", "fails", "sleep", "told", "unheard", "child", "each", "rows", "long"]
programs = st.lists(
    st.tuples(st.lists(st.sampled_from(OPS), max_size=5), st.sampled_from(["", "", "cancel", "fork", "later"])),
    min_size=1,
    max_size=6,
)


def flaky() -> int:
    if df.current_step().attempt < 3:
        raise ConnectionError("not yet")
    return 3


def broken() -> None:
    raise ValueError("for good")


def slow(pause: threading.Event) -> str:
    pause.wait(0.02)
    return "x" * 100


@df.workflow("past-program")
async def program(event: Any, step: Any) -> Any:
    for op in event.payload["program"]:
        match op:
            case "step":
                await step.run("add", sum, [1, 2])
            case "retried":
                await step.run("flaky", flaky, retry=df.Retry(3, initial_delay="1ms", jitter=0))
            case "fails":
                await step.run("broken", broken, retry=df.NO_RETRY)
            case "sleep":
                await step.sleep("nap", "5ms")
            case "told":
                await step.wait_for_event("go", timeout="30s")
            case "unheard":
                await step.wait_for_event("never", timeout="3ms")
            case "child":
                await step.invoke("child", program, {"program": ["step", "sleep"]})
            case "each":
                await step.map("each", str, [1, 2])
            case "rows":
                await step.transaction("rows", lambda connection: connection.execute("select 1").fetchone()[0])
            case "long":
                await step.run("slow", slow, threading.Event())
    return event.payload["program"]


def prefix(events: Sequence[JournalEvent], moment: datetime) -> list[JournalEvent]:
    """What there was by then: all events before the first later one."""
    there = []
    for event in events:
        if event.at > moment:
            break
        there.append(event)
    return there


def folded(events: Sequence[JournalEvent]) -> RunState:
    state = RunState()
    for event in events:
        fold(state, event)
    return state


def expected_run(run: Run, events: Sequence[JournalEvent]) -> tuple[Any, ...]:
    state = folded(events)
    outcome = state.outcome or {}
    suspended = state.suspended if state.status in ("sleeping", "waiting") else None
    waits = sorted({each["message"] for each in (suspended or {}).get("waiting", ()) if each["message"] is not None})
    until = (suspended or {}).get("until")
    since = next((e.at for e in reversed(events) if e.kind not in ("run.input", "run.cancel_requested")
                  and e.kind.startswith("run.")), None)  # fmt: skip
    return (
        run.id,
        state.workflow,
        state.version,
        state.status,
        run._decode(outcome.get("value")) if state.status == "succeeded" else None,
        outcome["error"]["message"] if state.status == "failed" else None,
        state.created_at,
        state.ended_at if state.status in FINISHED else None,
        since if state.status == "queued" else datetime.fromisoformat(until) if until else None,
        waits or None,
    )


RUNS = """select id, workflow, version, status, result, error ->> 'message', created_at, finished_at, wake_at,
                 waiting_for
          from runs order by id"""

_STATES = {"started": "open", "waiting": "open"}


def expected_steps(run: Run, events: Sequence[JournalEvent]) -> list[tuple[Any, ...]]:
    return [
        (run.id, key, record.name, record.op, record.attempt, _STATES.get(record.state, record.state), record.seq)
        for key, record in folded(events).steps.items()
    ]


# the last row of each step; the others are attempts before it
STEPS = """select run, key, name, op, attempt, status, seq from steps
           qualify row_number() over (partition by run, key order by seq desc) = 1 order by run, seq"""


def check(ctx: df.Context, moments: Sequence[datetime]) -> None:
    """Every moment looks as the fold of each run says."""
    runs = {run.id: run for run in ctx.runs(limit=1000)}
    journals = {run.id: run.events() for run in runs.values()}
    for moment in moments:
        there = {id_: found for id_, events in journals.items() if (found := prefix(events, moment))}
        answer = [(*row[:4], *_value(row), *row[5:]) for row in ctx.sql(RUNS, as_of=moment).fetchall()]
        assert answer == [expected_run(runs[id_], there[id_]) for id_ in sorted(there)], moment
        steps = ctx.sql(STEPS, as_of=moment).fetchall()
        expected = [row for id_ in sorted(there) for row in expected_steps(runs[id_], there[id_])]
        assert steps == sorted(expected, key=lambda row: (row[0], row[6])), moment
        events = ctx.sql("select run, seq, kind from events order by 1, 2", as_of=moment).fetchall()
        assert events == [(id_, e.seq, e.kind) for id_ in sorted(there) for e in there[id_]], moment


def _value(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (None if row[4] is None else json.loads(row[4]),)


@given(programs)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_moment_is_the_fold_of_the_journal(make_ctx: MakeContext, asked: list[tuple[Program, str]]) -> None:
    with make_ctx(linger="0s") as ctx:
        begun = ctx._engine.clock.now()
        runs = []
        for ops, fate in asked:
            runs.append(run := ctx.start(program, {"program": ops}, delay="5ms" if fate == "later" else None))
            with contextlib.suppress(RunFinishedError):  # it failed before
                for _ in range(ops.count("told")):
                    run.send_event("go", 1)
                if fate == "cancel":
                    run.cancel("enough")
        for run, (_, fate) in zip(list(runs), asked, strict=True):
            wait_until(lambda run=run: run.refresh().status in FINISHED, "the run is over")
            if fate == "fork":
                runs.append(run.fork())
        for run in runs:
            wait_until(lambda run=run: run.refresh().status in FINISHED, "the run is over")
        every = sorted({event.at for run in ctx.runs(limit=1000) for event in run.events() if event.at >= begun})
        check(ctx, every[:: max(1, len(every) // MOMENTS)] + every[-1:])


def test_columns_that_the_journal_does_not_tell(dataflows_ctx: df.Context, dataflows_clock: VirtualClock) -> None:
    """A start that is delayed, gathered and set aside; and what a queued run is."""
    ctx, clock = dataflows_ctx, dataflows_clock
    clock.autojump = False
    begun = clock.now()
    gathered = ctx.start(program, {"program": []}, debounce="1h", key="k", queue="mails", priority=3)
    clock.advance("1m")
    assert ctx.start(program, {"program": ["step"]}, debounce="1h", key="k", queue="mails").id == gathered.id
    waiting = ctx.start(program, {"program": ["told"]})
    wait_until(lambda: waiting.refresh().status == "waiting", "it waits")
    asked = "select status, queue, priority, wake_at, started_at, waiting_for, seconds from runs where id = ?"
    for moment in (begun, clock.now()):
        # until when it was put off is nowhere in the journal
        assert ctx.sql(asked, gathered.id, as_of=moment).fetchall() == [
            ("sleeping", "mails", 3, None, None, None, None)
        ]
    then = clock.now()
    assert ctx.sql(asked, waiting.id, as_of=then).fetchall() == [
        ("waiting", "default", 0, then + timedelta(seconds=30), then, ["go"], None)
    ]
    clock.advance("2h")
    wait_until(lambda: gathered.refresh().status == "succeeded", "it is over")
    wait_until(lambda: waiting.refresh().status in FINISHED, "it is over")
    assert ctx.sql("select input from runs", as_of=then).fetchall() == ctx.sql("select input from runs").fetchall()
    assert ctx.sql("from runs", as_of=gathered).fetchall() == ctx.sql("from runs", as_of=clock.now()).fetchall()
    (now,) = ctx.sql("select r from runs r where id = ?", waiting.id).fetchall()
    assert ctx.sql("select r from runs r where id = ?", waiting.id, as_of="0s").fetchall() == [now]


def test_what_is_over_is_today_as_it_is_now(make_ctx: MakeContext, tmp_path: Path) -> None:
    """The newest moment is what the tables are, to the letter of their JSON; in an archive too."""
    ctx = make_ctx(linger="0s")
    runs = [ctx.start(program, {"program": ops}) for ops in (["step", "each"], ["retried", "child"], ["fails"])]
    for run in runs:
        wait_until(lambda run=run: run.refresh().status in FINISHED, "the run is over")
    middle = sorted(event.at for event in runs[1].events())[3]
    path = tmp_path / "past.duckdb"
    ctx.export(path)
    ctx.export(f"{tmp_path}/folder/")
    for table in TABLES:
        assert sorted(map(repr, ctx.sql(f"from {table}", as_of="0s").fetchall())) == sorted(
            map(repr, ctx.sql(f"from {table}").fetchall())
        ), table
        there = sorted(map(repr, ctx.sql(f"from {table}", as_of=middle).fetchall()))
        for archived in (path, tmp_path / "folder"):
            with open_archive(archived) as archive:
                assert sorted(map(repr, archive.sql(f"from {table}", as_of=middle).fetchall())) == there
                assert archive.sql(f"select count(*) from {table}", as_of="300d").fetchone() == (0,)
    assert ctx.sql("select count(*) from runs", as_of=runs[0].created_at - timedelta(seconds=1)).fetchone() == (0,)
    counted = "select r.status, count(s.key) from runs r left join steps s on s.run = r.id where r.id = ? group by all"
    assert ctx.sql(counted, runs[2].id, as_of=runs[2]).fetchall() == [("failed", 1)]
    ctx.sql("create view mine as select count(*) as n from runs where status = 'succeeded'")
    ctx.sql("create table earlier as from runs", as_of=runs[0].created_at - timedelta(seconds=1))
    assert ctx.sql("select (from mine), (select count(*) from earlier)").fetchone() == (3, 0)
    assert ctx.sql("from mine", as_of=runs[0].created_at).fetchone() == (0,)
    ctx.purge("0s")
    assert ctx.sql("select count(*) from runs", as_of=middle).fetchone() == (0,)


def test_times_that_are_out_of_order(sql: Any, journal: Journal) -> None:
    """Copies in a fork are older than the fork, a transaction is older than its commit, a clock is set back."""
    run = journal.create()

    def at(seq: int, moment: str) -> None:
        journal.run(f"2026-01-{moment}", run, seq, sql="update dataflows.event set at = %s where run = %s and seq = %s")

    journal.append(run, 2, "step.completed", "copied", '{"op": "run", "value": 1}')
    journal.append(run, 3, "step.completed", "tx", '{"op": "transaction", "long": true}')
    journal.append(run, 4, "step.started", "tx", '{"op": "transaction", "input": 1.10}')
    journal.append(run, 5, "step.started", "other", '{"op": "run", "attempt": 2}')
    journal.append(run, 6, "step.waiting", "other", '{"op": "child", "attempt": 2}')
    journal.append(run, 7, "step.started", "other", '{"op": "child", "attempt": 2}')
    for seq, moment in enumerate(("10", "01", "11", "12", "14", "13", "15"), 1):
        at(seq, moment)
    found = [
        sql("select list(seq order by seq) from events", as_of=datetime(2026, 1, day, tzinfo=UTC)).fetchone()[0]
        for day in (9, 10, 11, 13, 14, 15)
    ]
    assert found == [None, [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]]
    steps = "select key, status, attempt, seq from steps order by seq"
    assert sql(steps, as_of=datetime(2026, 1, 13, tzinfo=UTC)).fetchall() == [
        ("copied", "completed", 1, 2), ("tx", "completed", 1, 3),
    ]  # fmt: skip
    assert sql(steps, as_of=datetime(2026, 1, 14, tzinfo=UTC)).fetchall()[2:] == [("other", "open", 2, 6)]
    assert sql(steps, as_of=datetime(2026, 1, 15, tzinfo=UTC)).fetchall()[2:] == [("other", "open", 2, 6)]


def test_what_has_no_other_time(sql: Any, journal: Journal) -> None:
    journal.create()
    for query in (
        "from dataflows.runs",
        "select (select count(*) from dataflows.main.events)",
        "pivot dataflows.steps on op",
    ):
        with pytest.raises(QueryError, match="by their bare names"):
            sql(query, as_of=datetime.now(UTC))
    for query in ("delete from runs", "insert into events select * from events", "create view v as from steps"):
        with pytest.raises(QueryError, match=r"as_of is for questions|no time of its own"):
            sql(query, as_of=datetime.now(UTC))
    with pytest.raises(QueryError, match="future"):
        sql("from runs", as_of=datetime.now(UTC) + timedelta(days=1))
    assert sql("select count(*) from events", as_of=datetime.now(UTC)).fetchone() == (1,)
