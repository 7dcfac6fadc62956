"""Views that refresh themselves: by whom, when, how often, and what becomes of one that fails."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import WarehouseError
from dataflows_sdk.store.database import Database
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.warehouse.view import View
from dataflows_sdk.warehouse.views import Views
from dataflows_sdk.worker import views as working

from ..conftest import MakeContext, wait_until
from .ground import Ground


@pytest.fixture
def ground(database_url: str) -> Iterator[Ground]:
    """A table, and a counter that says how often a view was computed."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        ground = Ground(connection)
        ground.table("tasks", "title text, hours int")
        ground.insert("tasks", {"title": "a", "hours": 3})
        ground.run("create sequence warehouse.computed")
        ground.run("create table warehouse.gate (n int)")
        yield ground


COUNTED = "select nextval('warehouse.computed') as n, (select sum(hours) from tasks) as hours"
#: is computed only while nobody has locked the gate
GATED = f"{COUNTED}, (select count(*) from gate) as gates"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Whoever reads the gate waits."""
    with psycopg.connect(url) as connection, connection.transaction():
        connection.execute("lock table warehouse.gate")
        yield


def value(ground: Ground, sql: str) -> Any:
    return ground.run(sql)[0][0]


def computed(ground: Ground) -> int:
    return int(value(ground, "select last_value from warehouse.computed"))


def at_work(ground: Ground, view: str) -> int:
    """How many sessions refresh a view, or wait for it."""
    return int(value(ground, f"select count(*) from pg_stat_activity where datname = current_database() "
                             f"and (query like 'refresh%\"{view}\"%' or query like 'refresh%.{view}')"))  # fmt: skip


def refreshed(ctx: df.Context, view: View) -> View:
    """The view once it was refreshed by itself."""

    def look() -> View | None:
        found = ctx.warehouse.view(view.name)
        return found if found.refreshed_at != view.refreshed_at else None

    found: View = wait_until(look, f"{view.name} is refreshed")
    return found


def test_a_view_is_refreshed_when_it_is_due(
    dataflows_ctx: df.Context, dataflows_clock: VirtualClock, ground: Ground
) -> None:
    ctx, clock = dataflows_ctx, dataflows_clock
    begun = clock.now()
    view = ctx.warehouse.view("kept", COUNTED, materialized=True, refresh="5m")
    daily = ctx.warehouse.view("daily", "select sum(hours) as hours from tasks", materialized=True, refresh="0 6 * * *")
    assert (view.state, view.due_at, view.refreshed_at) == ("scheduled", begun + timedelta(minutes=5), begun)
    assert daily.due_at == begun.replace(hour=6)
    ground.insert("tasks", {"title": "b", "hours": 4})
    clock.advance("5m")
    view = refreshed(ctx, view)
    assert (view.refreshed_at, view.due_at) == (clock.now(), begun + timedelta(minutes=10))
    assert ground.run("select n, hours from warehouse.kept") == [(2, 7)]
    clock.advance("23h")  # what was missed is made up once
    view = refreshed(ctx, view)
    assert refreshed(ctx, daily).due_at == begun.replace(hour=6) + timedelta(days=1)
    assert view.due_at == clock.now() + timedelta(minutes=5)
    assert (computed(ground), view.failures, view.last_error) == (3, 0, None)
    assert ctx.warehouse.refresh_due() == []
    assert ctx.warehouse.view("kept", COUNTED, materialized=True).state == "kept"
    assert ctx.warehouse.view("plain", "select 1 as one").state == "computed"


def test_one_that_fails_is_tried_again_later_and_seen(
    dataflows_ctx: df.Context, dataflows_clock: VirtualClock, ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ctx, clock = dataflows_ctx, dataflows_clock
    caplog.set_level(logging.INFO, "dataflows.views")
    share = ctx.warehouse.view("share", "select title, 12 / hours as n from tasks", materialized=True, refresh="5m")
    well = ctx.warehouse.view("well", COUNTED, materialized=True, refresh="5m")
    above = ctx.warehouse.view("above", "select sum(n) as n from share", materialized=True, refresh="5m")
    assert not ctx.doctor().of("view_failing")
    ground.run("update warehouse.tasks set hours = 0")
    pauses = []
    due = clock.advance("5m")
    for failures in (1, 2, 3):
        failed: View = wait_until(
            lambda failures=failures: (found := ctx.warehouse.view("share")).failures == failures and found, "it failed"
        )
        assert (failed.state, failed.refreshed_at, failed.due_at) == ("failing", share.refreshed_at, due)
        assert failed.last_error == "division by zero"
        assert failed.failed_at == clock.now()
        assert failed.retry_at is not None
        pauses.append((failed.retry_at - clock.now()).total_seconds())
        clock.advance_to(failed.retry_at)
    assert pauses == [10, 20, 40]
    assert refreshed(ctx, well).failures == 0
    assert refreshed(ctx, above).failures == 0  # of its old rows
    assert "'share' was not refreshed and has its old rows: division by zero" in caplog.text
    (finding,) = ctx.doctor().of("view_failing")
    assert (finding.severity, finding.subject) == ("warning", "share")
    assert "division by zero" in finding.message
    ground.run("update warehouse.tasks set hours = 6")
    while (found := ctx.warehouse.view("share")).failures:
        assert found.retry_at is not None
        clock.advance_to(found.retry_at)
        wait_until(lambda found=found: ctx.warehouse.view("share").retry_at != found.retry_at, "it was tried again")
    assert found.state == "scheduled"
    assert (found.last_error, found.failed_at, found.retry_at) == (None, None, None)
    assert not ctx.doctor().of("view_failing")
    assert ground.run("select n from warehouse.share") == [(2,)]


def test_a_long_one_holds_up_nothing(
    make_ctx: MakeContext, database_url: str, ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)

    @df.workflow("beside-a-view")
    async def beside(event: Any, step: Any) -> Any:
        return await step.run("add", sum, [1, 2])

    long = ctx.warehouse.view("long", GATED, materialized=True, refresh="5m")
    short = ctx.warehouse.view("short", "select sum(hours) as hours from tasks", materialized=True, refresh="5m")
    with locked(database_url):
        clock.advance("5m")
        wait_until(lambda: at_work(ground, "long"), "the long one is at work")
        short = refreshed(ctx, short)
        clock.advance("5m")
        short = refreshed(ctx, short)
        assert ctx.run(beside, timeout=20).result() == 3
        assert at_work(ground, "long") == 1  # not twice
        assert not ctx.doctor().of("view_overdue")
        ctx.close()
        wait_until(lambda: not at_work(ground, "long"), "it was cancelled")
    assert "long" not in caplog.text
    left = make_ctx(clock=clock, work=False).warehouse.view("long")
    assert (left.failures, left.refreshed_at) == (0, long.refreshed_at)
    assert computed(ground) == 1
    again = make_ctx(clock=clock)
    assert refreshed(again, left).failures == 0


def test_no_more_than_some_at_once(make_ctx: MakeContext, database_url: str, ground: Ground) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    count = working.AT_ONCE + 2
    made = [ctx.warehouse.view(f"v{n}", GATED, materialized=True, refresh="5m") for n in range(count)]
    with locked(database_url):
        clock.advance("5m")
        waiting = """select count(*) from pg_stat_activity
                     where datname = current_database() and query like 'refresh%' and wait_event_type = 'Lock'"""
        wait_until(lambda: value(ground, waiting) == working.AT_ONCE, "so many wait")
        names = [thread.name for thread in threading.enumerate()]
        assert sum(name.startswith("dataflows-view-") for name in names) == working.AT_ONCE
    for view in made:
        refreshed(ctx, view)
    assert computed(ground) == 2 * count


def test_what_stands_on_another_one_comes_after_it(make_ctx: MakeContext, ground: Ground) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    ctx.warehouse.view("below", "select sum(hours) as hours from tasks", materialized=True, refresh="10m")
    ctx.warehouse.view("between", "select hours from below")
    above = ctx.warehouse.view("above", "select hours from between", materialized=True, refresh="5m")
    ground.insert("tasks", {"title": "b", "hours": 4})
    clock.advance("1h")
    above = refreshed(ctx, above)
    assert ground.run("select hours from warehouse.above") == [(7,)]
    # by hand, all of them in one call
    quiet = make_ctx(clock=clock, work=False)
    ctx.close()
    ground.insert("tasks", {"title": "c", "hours": 1})
    clock.advance("1h")
    assert quiet.warehouse.refresh_due() == ["below", "above"]
    assert ground.run("select hours from warehouse.above") == [(8,)]


def test_who_only_looks_refreshes_nothing(make_ctx: MakeContext, ground: Ground) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, work=False)
    view = ctx.warehouse.view("kept", COUNTED, materialized=True, refresh="5m")
    clock.advance("1d")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dataflows-view")]
    assert ctx.warehouse.view("kept") == view
    ground.run("update dataflows.warehouse_view set next_at = now() - interval '10 minutes'")
    (finding,) = ctx.doctor().of("view_overdue")
    assert (finding.severity, finding.subject) == ("warning", "kept")
    assert "due for 10 m" in finding.message
    with make_ctx(clock=clock, triggers=False):
        assert refreshed(ctx, view).due_at == clock.now() + timedelta(minutes=5)
    assert computed(ground) == 2


def test_by_hand_one_failure_keeps_none_of_the_others(make_ctx: MakeContext, ground: Ground) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, work=False)
    for n in range(2):
        ctx.warehouse.view(f"share{n}", f"select {n} / hours as n from tasks", materialized=True, refresh="5m")
    ctx.warehouse.view("well", COUNTED, materialized=True, refresh="6m")
    ctx.warehouse.view("gone", COUNTED, materialized=True, refresh="5m")
    ground.run("drop materialized view warehouse.gone")
    ground.run("update warehouse.tasks set hours = 0")
    clock.advance("1h")
    with pytest.raises(WarehouseError, match=r"'share0' was not refreshed.*division by zero") as caught:
        ctx.warehouse.refresh_due()
    assert "'share1'" in caught.value.__notes__[0]
    assert computed(ground) == 3
    assert ctx.warehouse.refresh_due() == []  # not yet again
    ground.run("update warehouse.tasks set hours = 1")
    assert ctx.warehouse.view("share0").refresh().state == "scheduled"
    assert ctx.warehouse.view("share1").state == "failing"
    assert ctx.warehouse.view("share1", "select 7 as n", materialized=True, refresh="5m").failures == 0


CHILD = """
import sys
import dataflows_sdk as df

with df.connect(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_one_refreshes(database_url: str, database: Database, ground: Ground) -> None:
    views = Views(database)
    view = views.define("kept", GATED, materialized=True, refresh="365d")
    looked = """select count(distinct pid) from pg_stat_activity
                where datname = current_database() and query like '%%with recursive due as materialized%%'
                  and query_start > %s and pid <> pg_backend_pid()"""
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == b"ready"
        with locked(database_url):
            now = value(ground, "select clock_timestamp()")
            ground.run("update dataflows.warehouse_view set next_at = now() - interval '3 hours'")
            wait_until(lambda: at_work(ground, "kept"), "one of them refreshes it")
            wait_until(lambda: ground.run(looked, now)[0][0] == 2, "both have seen that it is due")
            assert at_work(ground, "kept") == 1
        found: View = wait_until(
            lambda: (found := views.get("kept")).refreshed_at != view.refreshed_at and found, "it is refreshed"
        )
        assert found.due_at is not None
        assert found.due_at > now
    finally:
        for child in children:
            child.communicate(timeout=20)
    assert [child.returncode for child in children] == [0, 0]
    assert (computed(ground), views.get("kept").refreshed_at) == (2, found.refreshed_at)
