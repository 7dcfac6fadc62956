"""executions, execution_steps and all_runs: the journal in the words of an audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import RunFailed

from ..conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = psycopg.Connection[Any]


@pytest.fixture
def sql(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def columns(sql: Rows, view: str) -> str:
    found = sql.execute(f"select * from dataflows.{view} limit 0").description
    return " ".join(column.name for column in found or ())


def test_the_columns(ctx: df.Context, sql: Rows) -> None:
    assert columns(sql, "executions") == (
        "id workflow_id workflow_version trigger payload result error status started_at completed_at created_at "
        "wake_at waiting_for"
    )
    assert columns(sql, "execution_steps") == (
        "execution_id step_id occurrence kind attempt status input result error started_at completed_at wake_at"
    )


def test_executions(ctx: df.Context, sql: Rows) -> None:
    @df.workflow("audit")
    async def audit(event: Any, step: Any) -> Any:
        if event.payload["do"] == "fail":
            raise ValueError("no")
        if event.payload["do"] == "wait":
            await step.wait_for_event("go", timeout="1h")
        return {"done": event.payload["do"]}

    good = ctx.run(audit, {"do": "well"})
    bad = ctx.run(audit, {"do": "fail"})
    open_ = ctx.start(audit, {"do": "wait"})
    gone = ctx.start(audit, {"do": "wait"})
    wait_until(lambda: {open_.status, gone.status} == {"waiting"}, "they wait")
    gone.cancel()
    wait_until(lambda: gone.status == "cancelled", "it is cancelled")
    with pytest.raises(RunFailed):
        bad.result()
    found = {
        str(row[0]): row[1:]
        for row in sql.execute(
            "select id, workflow_id, payload, result, error, status, started_at, completed_at, waiting_for, wake_at, "
            "trigger, workflow_version, created_at from dataflows.executions"
        )
    }
    assert {each.id: found[each.id][4] for each in (good, bad, open_, gone)} == {
        good.id: "success", bad.id: "error", open_.id: "running", gone.id: "cancelled",
    }  # fmt: skip
    name, payload, result, error, _, started, completed, waits, wake, trigger, version, created = found[good.id]
    assert (name, payload, result, error, waits, wake) == ("audit", {"do": "well"}, {"done": "well"}, None, None, None)
    assert created <= started <= completed
    assert started.tzinfo is not None
    assert trigger["id"]
    assert version == audit.version
    assert found[bad.id][3]["message"] == "no"
    assert found[bad.id][2] is None
    assert found[open_.id][7] is not None, "what it waits for"
    assert found[open_.id][8] is not None, "until when"


def test_the_words_are_four(ctx: df.Context, sql: Rows) -> None:
    words = ["queued", "running", "sleeping", "waiting", "succeeded", "failed", "cancelled", "quarantined"]
    mapped = {word: sql.execute("select dataflows.execution_status(%s)", (word,)).fetchone()[0] for word in words}  # type: ignore[index]
    assert mapped == {
        "queued": "running", "running": "running", "sleeping": "running", "waiting": "running",
        "succeeded": "success", "failed": "error", "quarantined": "error", "cancelled": "cancelled",
    }  # fmt: skip


def test_one_row_for_each_attempt(ctx: df.Context, sql: Rows) -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(f"try {len(tries)}")
        return 7

    async def double(value: int) -> int:
        return 2 * value

    @df.workflow("attempts")
    async def attempts(event: Any, step: Any) -> Any:
        await step.run("flaky", flaky, retry=df.Retry(5, initial_delay="1ms"))
        await step.run("again", double, 1)
        await step.run("again", double, 2)
        await step.map("each#x", double, [5])
        await step.sleep("nap", "1ms")
        await step.wait_for_event("go", timeout="1ms")
        await step.wait_for_event("later", timeout="1h")

    run = ctx.start(attempts)
    wait_until(lambda: run.status == "waiting" and "later" in str(run.timeline()), "it waits for the last event")
    rows = sql.execute(
        "select step_id, occurrence, kind, attempt, status, result, wake_at is not null, completed_at is not null, "
        "error ->> 'message' from dataflows.execution_steps where execution_id = %s order by started_at", (run.id,),
    ).fetchall()  # fmt: skip
    by_step = {(row[0], row[1], row[3]): row for row in rows}
    assert len(by_step) == len(rows)
    flaky_rows = [by_step["flaky", 1, attempt] for attempt in (1, 2, 3)]
    assert [row[4] for row in flaky_rows] == ["error", "error", "success"]
    assert [row[6] for row in flaky_rows] == [True, True, False], "when it is tried again"
    assert [row[8] for row in flaky_rows] == ["try 1", "try 2", None]
    assert flaky_rows[2][5] == 7
    assert [by_step["again", number, 1][5] for number in (1, 2)] == [2, 4]
    assert by_step["nap", 1, 1][2:5] == ("sleep", 1, "success")
    assert by_step["go", 1, 1][2:5] == ("wait", 1, "error")
    assert by_step["later", 1, 1][2:5] == ("wait", 1, "running")
    assert by_step["later", 1, 1][6:8] == (True, False)
    assert {row[2] for row in rows} == {"run", "sleep", "wait"}


def test_all_runs_are_one_list(ctx: df.Context, sql: Rows) -> None:
    @df.workflow("in-code")
    def in_code(event: Any, step: Any) -> int:
        return 1

    ctx.run(in_code)
    ctx.run(df.flow("a-flow").code("one", lambda: 1)).result()
    ctx.jobs.enqueue(in_code).wait()
    found = sql.execute("select kind, workflow, status from dataflows.all_runs order by 1, 2").fetchall()
    assert found == [
        ("code", "in-code", "success"), ("code", "in-code", "success"), ("flow", "a-flow", "success"),
        ("job", "dataflows.job", "success"),
    ]  # fmt: skip


def test_deleting_is_asked_for_and_logged(ctx: df.Context, sql: Rows) -> None:
    @df.workflow("old")
    def old(event: Any, step: Any) -> int:
        return 1

    for _ in range(3):
        ctx.run(old).result()
    assert ctx.purge("1h") == 0
    assert sql.execute("select count(*) from dataflows.executions").fetchone() == (3,)
    assert ctx.purge("0s") == 3
    ((action, detail),) = sql.execute("select action, detail from dataflows.audit").fetchall()
    assert (action, detail["runs"]) == ("purge", 3)
    assert sql.execute("select count(*) from dataflows.executions").fetchone() == (0,)


def test_a_purge_that_is_interrupted_logs_what_it_deleted(
    ctx: df.Context, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    @df.workflow("older")
    def older(event: Any, step: Any) -> int:
        return 1

    for _ in range(3):
        ctx.run(older).result()
    delete, deleted = ctx.retention._delete, []

    def once(page: Any, done: Any) -> bool:
        delete(page[:2], done)
        deleted.append(done.total)
        raise KeyboardInterrupt

    monkeypatch.setattr(ctx.retention, "_delete", once)
    with pytest.raises(KeyboardInterrupt):
        ctx.purge("0s")
    ((detail,),) = sql.execute("select detail from dataflows.audit").fetchall()
    assert deleted == [2] == [detail["runs"]]
