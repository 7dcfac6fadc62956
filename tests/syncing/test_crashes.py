"""Processes that die in the middle of a sync, and a database that fails between the rows and their record."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.engine import faults

from ..conftest import MakeContext, Sweep, lingers
from .conftest import Asked, Reply, Serve

HERE = Path(__file__).parent


@pytest.mark.parametrize("linger", lingers(1))
def test_ten_pages_survive_a_kill_at_every_point(linger: str, sweep: Sweep) -> None:
    report = sweep(HERE / "ten_pages.py", linger=linger, seed=len(linger), timeout="60s")
    assert sum(report.effects.values()) == 20, "ten pages, asked for once each, in each of two syncs"
    assert report.passes["step.ran"] > 20


def five_pages(asked: Asked) -> Reply:
    page = int(asked.query.get("page", "1"))
    links = {"Link": f'<?page={page + 1}>; rel="next"'} if page < 5 else {}
    return 200, links, [{"id": page * 10 + n, "name": f"n{n}"} for n in range(3)]


CHILD = """
import sys
import dataflows_sdk as df
from dataflows_sdk.testing.faults import crash_at

url, api, kill = sys.argv[1:]
if kill:
    crash_at("step.ran", int(kill))
with df.connect(url, lease="500ms", services=df.Services(egress=["127.0.0.1"])) as ctx:
    run = ctx.warehouse.sync(df.JsonApi(api, paging="link"), into="things", key="id", name="things")
    print(run.result("30s"))
"""


def test_a_crash_on_page_3_of_5_is_followed_by_pages_3_4_5(
    database_url: str, api: Serve, make_ctx: MakeContext
) -> None:
    server = api(five_pages)

    def live(kill: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CHILD, database_url, f"{server.url}/things", kill],
            capture_output=True,
            text=True,
            timeout=60,
        )

    # begin, page 1, page 2, and page 3 was stored and is not committed
    assert live("4").returncode < 0
    assert server.pages() == [None, "2", "3"]
    server.asked.clear()
    done = live("")
    assert done.returncode == 0, done.stderr
    assert server.pages() == ["3", "4", "5"]
    ctx = make_ctx(work=False)
    assert len(ctx.warehouse.table("things").find()) == 15
    assert all(len(ctx.warehouse.history("things", n)) == 1 for n in (10, 30, 52))
    assert len(ctx.runs("dataflows.sync")) == 1


# --- the database fails between the rows and their record ---------------------------------------------------


@contextmanager
def broken_at(point: str, nth: int, url: str) -> Iterator[list[str]]:
    """PostgreSQL ends the connections of the database when the point is passed for the n-th time."""
    passed: list[str] = []

    def strike(name: str) -> None:
        if name == point:
            passed.append(name)
            if len(passed) == nth:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where datname = current_database() and state = 'idle in transaction'"
                    )

    faults.arm(strike)
    try:
        yield passed
    finally:
        faults.arm(None)


def test_a_connection_that_breaks_between_the_rows_and_the_record(
    make_ctx: MakeContext, database_url: str, api: Serve
) -> None:
    ctx = make_ctx(services=df.Services(egress=["127.0.0.1"]))
    server = api(five_pages)
    source = df.JsonApi(f"{server.url}/things", paging="link")
    with broken_at("step.ran", 4, database_url) as passed:
        run = ctx.warehouse.sync(source, into="things", key="id", retry=df.Retry(3, initial_delay="10ms"))
        assert run.result("30s").inserted == 15
    assert len(passed) > 4
    assert server.pages() == [None, "2", "3", "3", "4", "5"]
    assert {step.key: step.attempt for step in run.timeline()}["page 3"] == 2
    assert all(len(ctx.warehouse.history("things", n)) == 1 for n in (10, 30, 31, 32, 52))


# --- the example of the seed --------------------------------------------------------------------------------


def test_sync_clickup_task_as_it_is_written(make_ctx: MakeContext, database_url: str, api: Serve) -> None:
    task = {
        "id": "T-17",
        "name": "Paint the fence",
        "status": "open",
        "project": {"id": "P-1", "name": "Garden"},
    }
    clickup = api(lambda asked: (200, {}, task))
    ctx = make_ctx()
    db = ctx.db
    db.projects.upsert(clickup_id="P-0", name="House")  # so that the local id is not the number of the row

    @df.workflow("sync-clickup-task")
    def sync_clickup_task(event: Any, step: Any) -> None:
        task = event.payload

        # Each upsert is a durable step: retried on failure, skipped on replay if it already succeeded.
        project = step.run(
            "upsert-project",
            lambda: db.projects.upsert(clickup_id=task.project.id, name=task.project.name),
        )

        step.run(
            "upsert-task",
            lambda: db.tasks.upsert(
                clickup_id=task.id,
                project_id=project.id,
                name=task.name,
                status=task.status,
            ),
        )

    import httpx

    payload = httpx.get(f"{clickup.url}/task/T-17").json()
    # the tables as the example finds them: the first write to a table makes it
    ctx.warehouse.table(
        "tasks",
        {"clickup_id": str, "project_id": int, "name": str, "status": str},
        key="clickup_id",
        references={"project_id": "projects"},
    )
    with broken_at("step.ran", 2, database_url) as passed:
        run = ctx.start(sync_clickup_task, payload)
        run.result("30s")
    assert len(passed) == 3, "the second upsert was done twice, and counts once"
    steps = {step.key: step.attempt for step in run.timeline()}
    assert steps == {"upsert-project": 1, "upsert-task": 2}
    (garden,) = db.projects.find({"clickup_id": "P-1"})
    (found,) = db.tasks.find()
    assert (found["clickup_id"], found["project_id"], found["status"]) == ("T-17", garden["id"], "open")
    assert [len(db.projects.history("P-1")), len(db.tasks.history("T-17"))] == [1, 1]
    with psycopg.connect(database_url) as connection:
        writes = connection.execute("select name, inserted, step from dataflows.write order by id").fetchall()
    assert writes == [("projects", 1, None), ("projects", 1, "upsert-project"), ("tasks", 1, "upsert-task")]
    ctx.start(sync_clickup_task, json.loads(textwrap.dedent(json.dumps(payload)))).result("30s")
    assert len(db.tasks.find()) == 1
