"""What a step writes to the warehouse commits with its record, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import BadRowsError, NotInWorkflowError, RunFailed, StepTimeoutError
from dataflows_sdk.testing import TestDatabases

from ..conftest import MakeContext, Sweep, lingers, wait_until
from .conftest import Sql

HERE = Path(__file__).parent
OPEN = """select count(*) from pg_stat_activity
          where state like 'idle in transaction%%' and datname = current_database()"""


def test_rows_know_the_run_and_the_step(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("sync-task")
    def sync_task(event: Any, step: Any) -> Any:
        project = step.run("project", ctx.db.projects.upsert, clickup_id="P-1", name=event.payload["name"])
        return step.run("task", ctx.db.tasks.upsert, clickup_id="T-1", project=project.id)

    run = ctx.start(sync_task, {"name": "Fence"})
    task = run.result(timeout=20)
    assert task.project == 1
    assert str(task._execution_id) == run.id
    why = ctx.warehouse.why("projects", "P-1")
    assert why is not None
    assert (why.run, why.step, why.workflow) == (run.id, "project", "sync-task")
    assert why.trigger["input"] == {"name": "Fence"}
    events = {event.seq: event for event in run.events()}
    assert why.event is not None
    assert events[why.event].key == "project"
    assert [(each["table"], each["step"], each["inserted"]) for each in run.wrote()] == [
        ("projects", "project", 1), ("tasks", "task", 1),
    ]  # fmt: skip


def test_an_attempt_that_fails_leaves_nothing(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int, "n": int})
    attempts: list[int] = []

    @df.workflow("w")
    def w(event: Any, step: Any) -> int:
        def write() -> int:
            attempts.append(len(table.find()))
            table.upsert(id=len(attempts), n=1)
            table.upsert_many([{"id": 100 + n, "n": n} for n in range(3)])
            assert table.count() == 4  # it sees what it has written
            if len(attempts) < 3:
                raise ValueError("not yet")
            return table.count()

        return step.run("write", write, retry=df.Retry(5, initial_delay="1ms"))

    assert ctx.run(w, {}).result() == 4
    assert attempts == [0, 0, 0]
    assert sql("select id from warehouse.t order by 1") == [(3,), (100,), (101,), (102,)]
    assert sql("select count(*), count(distinct run) from dataflows.write") == [(2, 1)]


def test_nothing_is_seen_before_the_record(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int})
    seen: list[Any] = []

    @df.workflow("w")
    async def w(event: Any, step: Any) -> None:
        async def write() -> None:
            await table.aupsert(id=1)
            seen.append(await asyncio.to_thread(sql, "select count(*) from warehouse.t"))
            await table.aupsert(id=2)

        await step.run("write", write)

    ctx.run(w, {})
    assert seen == [[(0,)]]
    assert sql("select count(*) from warehouse.t") == [(2,)]


def test_a_refused_row_does_not_spoil_the_step(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    projects = ctx.warehouse.table("projects", {"id": int})
    tasks = ctx.warehouse.table(
        "tasks", {"id": int, "project_id": int}, references={"project_id": "projects"}, key="id"
    )

    @df.workflow("w")
    def w(event: Any, step: Any) -> list[int]:
        def write() -> list[int]:
            refused = 0
            for attempt in range(2):
                try:
                    tasks.upsert(id=1, project_id=7)  # the first of all, and the third
                except BadRowsError:
                    refused += 1
                projects.upsert(id=attempt)
            return [refused, projects.count()]

        return step.run("write", write)

    assert ctx.run(w, {}).result() == [2, 2]
    assert sql("select count(*) from warehouse.projects") == [(2,)]


def test_a_table_may_change_in_the_step_that_writes_to_it(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("w")
    def w(event: Any, step: Any) -> list[str]:
        def write() -> list[str]:
            ctx.db.notes.upsert(note_id=1, text="a")
            ctx.db.notes.upsert(note_id=1, text="a", more=1)
            ctx.db.notes.upsert(note_id=1, text="a", more=1.5, late={"x": 1})
            return [str(column) for column in ctx.warehouse["notes"].columns]

        return step.run("write", write)

    assert ctx.run(w, {}).result() == ["note_id int", "text text", "more float", "late json"]


def test_a_blocking_call_on_the_engines_loop_is_refused(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int})

    @df.workflow("w")
    async def w(event: Any, step: Any) -> Any:
        async def write() -> None:
            table.upsert(id=1)

        await step.run("write", write, retry=df.NO_RETRY)

    with pytest.raises(RunFailed, match=r"await `?table\.aupsert|`await table.aupsert"):
        ctx.run(w, {}).result()


def test_what_a_timed_out_attempt_still_writes_is_refused(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int})
    late: list[Any] = []
    go = threading.Event()

    @df.workflow("w")
    def w(event: Any, step: Any) -> str:
        def write() -> None:
            table.upsert(id=1)
            go.wait(20)
            try:
                table.upsert(id=2)
            except BaseException as error:
                late.append(error)
                raise

        with contextlib.suppress(StepTimeoutError):
            step.run("write", write, timeout="50ms", retry=df.NO_RETRY)
        # outside of the step: a transaction of its own
        table.upsert(id=3)
        go.set()
        return "on"

    assert ctx.run(w, {}).result() == "on"
    wait_until(lambda: late, "the thread goes on")
    assert isinstance(late[0], NotInWorkflowError)
    wait_until(lambda: sql("select id from warehouse.t") == [(3,)], "what it wrote is undone")
    wait_until(lambda: sql(OPEN) == [(0,)], "its transaction is over")


def test_two_contexts_keep_apart(make_ctx: MakeContext, dataflows_databases: TestDatabases) -> None:
    other_url = dataflows_databases.create()
    try:
        ctx, other = make_ctx(), make_ctx(other_url, work=False)

        @df.workflow("w")
        def w(event: Any, step: Any) -> None:
            def write() -> None:
                ctx.db.mine.upsert(mine_id=1)
                other.db.theirs.upsert(their_id=1)
                raise ValueError

            step.run("write", write, retry=df.NO_RETRY)

        with pytest.raises(RunFailed):
            ctx.run(w, {}).result()
        assert ctx.warehouse["mine"].count() == 0
        assert other.warehouse["theirs"].count() == 1  # another database commits by itself
        assert str(other.warehouse["theirs"].get(1)._execution_id) == ctx.runs()[0].id
    finally:
        for each in (ctx, other):
            each.close()
        dataflows_databases.drop(other_url)


def test_the_process_dies_between_the_rows_and_the_record(make_ctx: MakeContext, sql: Sql) -> None:
    """The seed's example, and the database is lost between upsert and record: project and task are there once."""
    ctx = make_ctx()
    asked: list[str] = []
    cut = [True]

    @df.workflow("sync-clickup-task")
    def sync(event: Any, step: Any) -> Any:
        def project() -> Any:
            asked.append("project")
            return ctx.db.projects.upsert(clickup_id="P-1", name="Fence")

        def task(project_id: int) -> Any:
            asked.append("task")
            row = ctx.db.tasks.upsert(clickup_id="T-1", project=project_id)
            if cut.pop() if cut else False:
                victims = sql(
                    """select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and state = 'idle in transaction'"""
                )
                assert victims == [(True,)]
            return row

        mine = step.run("upsert-project", project)
        return step.run("upsert-task", task, mine.id, retry=df.Retry(3, initial_delay="1ms"))

    assert ctx.run(sync, {}).result().project == 1
    assert asked == ["project", "task", "task"]
    assert [len(ctx.warehouse.history(table, key)) for table, key in (("projects", "P-1"), ("tasks", "T-1"))] == [1, 1]


def test_cancelling_undoes_what_the_step_has_written_so_far(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int})
    wrote = threading.Event()

    @df.workflow("w")
    async def w(event: Any, step: Any) -> None:
        async def write() -> None:
            await table.aupsert(id=1)
            wrote.set()
            await asyncio.sleep(60)

        await step.run("write", write)

    run = ctx.start(w, {})
    assert wrote.wait(20)
    run.cancel()
    wait_until(lambda: run.refresh().status == "cancelled", "it is cancelled")
    wait_until(lambda: sql(OPEN) == [(0,)], "its transaction is over")
    assert sql("select count(*) from warehouse.t") == [(0,)]


def test_rows_of_two_runs_wait_for_each_other(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int, "n": int})
    table.upsert(id=1, n=0)

    @df.workflow("add")
    def add(event: Any, step: Any) -> int:
        def write() -> int:
            with ctx.warehouse._writer.transaction("t") as connection:
                connection.execute("select from warehouse.t for update")
            return table.update(1, n=table.get(1).n + 1).n

        return step.run("add", write)

    runs = ctx.start_many(add, [{}] * 20)
    assert sorted(run.result(timeout=30) for run in runs) == list(range(1, 21))
    versions = table.history(1)
    assert len(versions) == 21
    assert len({version.run for version in versions}) == 21


def test_deadlocks_are_resolved(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int, "n": int})
    table.upsert_many({"id": id, "n": 0} for id in range(2))
    both = threading.Barrier(2, timeout=10)

    @df.workflow("w")
    def w(event: Any, step: Any) -> int:
        def write() -> int:
            attempt = df.current_step().attempt
            first, second = (0, 1) if event.payload["forth"] else (1, 0)
            table.upsert(id=first, n=event.payload["n"])
            if attempt == 1:
                both.wait()
            table.upsert(id=second, n=event.payload["n"])
            return attempt

        return step.run("write", write, retry=df.Retry(5, initial_delay="1ms"))

    runs = ctx.start_many(w, [{"n": 1, "forth": True}, {"n": 2, "forth": False}])
    # who gives way is up to PostgreSQL, and it may be the same one again
    assert max(run.result(timeout=30) for run in runs) > 1
    assert {row.n for row in table.find()} in ({1}, {2})


def test_a_large_result_goes_with_the_rows(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("w")
    def w(event: Any, step: Any) -> int:
        def write() -> str:
            ctx.db.t.upsert(t_id=1)
            return "x" * 1_000_000

        return len(step.run("write", write))

    run = ctx.run(w, {})
    assert run.result() == 1_000_000
    assert ctx.warehouse["t"].count() == 1


@pytest.mark.parametrize("linger", lingers(0))
def test_rows_survive_a_kill_at_every_point(linger: str, sweep: Sweep) -> None:
    report = sweep(HERE / "flows_of_rows.py", linger=linger, seed=7)
    assert report.passes["step.ran"] > 0
