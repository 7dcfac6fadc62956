"""The doctor: each complaint on a database that has it, none on one that is well, and none of it slow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.doctor import Diagnosis, Finding, diagnose
from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement, statements

from ..conftest import wait_until

if TYPE_CHECKING:
    from ..conftest import MakeContext

Rows = psycopg.Connection[Any]


@df.workflow("doctor-waits")
def waits(event: Any, step: Any) -> Any:
    return step.wait_for_event("go", timeout="1h")


@df.workflow("doctor-fails")
def fails(event: Any, step: Any) -> Any:
    raise ValueError("no")


@pytest.fixture
def sql(database_url: str) -> Iterator[Rows]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def looker(make_ctx: MakeContext, sql: Rows) -> df.Context:
    return make_ctx(work=False)


def add_run(sql: Rows, workflow: str, status: str, **columns: Any) -> str:
    names = {"created_at": "2026-01-01", **columns}
    row = sql.execute(
        f"insert into dataflows.run (id, workflow, version, status, {', '.join(names)}) values "
        f"(gen_random_uuid(), %s, 'v', %s, {', '.join(['%s'] * len(names))}) returning id",
        (workflow, status, *names.values()),
    ).fetchone()
    assert row is not None
    return str(row[0])


def add_worker(sql: Rows, ago: str, **info: Any) -> str:
    row = sql.execute(
        "insert into dataflows.worker (id, lock_key, started_at, heartbeat_at, lease, info) values "
        "(gen_random_uuid(), 7, now() - interval '1 day', now() - %s::interval, '20 seconds', %s) returning id",
        (ago, json.dumps({"host": "there", "pid": 7, **info})),
    ).fetchone()
    assert row is not None
    return str(row[0])


def one(found: Diagnosis, code: str) -> Finding:
    (finding,) = found.of(code)
    return finding


# --- how it looks -----------------------------------------------------------------------------------------


def test_a_good_database_is_well(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    run = ctx.start(waits)
    wait_until(lambda: run.status != "queued", "the run began")
    found = ctx.doctor()
    assert found.healthy, found
    assert found.exit_code == 0
    assert {"server", "latency", "connections", "size", "runs", "worker", "workflow", "retention"} <= {
        finding.code for finding in found
    }
    assert one(found, "connections").numbers["used"] >= 1
    assert one(found, "latency").numbers["median_seconds"] > 0
    assert json.loads(json.dumps(found.to_json(), default=str))["worst"] == "ok"
    assert not found.of("unexamined")
    run.cancel()


def test_the_worst_comes_first_in_text_and_html() -> None:
    found = Diagnosis(
        [
            Finding("a", "ok", "x", "fine"),
            Finding("b", "warning", "<w>", "so & so", "do it"),
            Finding("c", "problem", "y", "bad"),
            Finding("d", "note", "z", "hm"),
        ]
    )
    assert [finding.code for finding in found] == ["c", "b", "d", "a"]
    assert [severity for severity, _ in found.groups()] == ["problem", "warning", "note", "ok"]
    assert (found.worst, found.exit_code, found.healthy, len(found)) == ("problem", 2, False, 4)
    assert repr(found).splitlines()[:3] == ["problem:", "  ✗ c y: bad", "warning:"]
    assert "&lt;w&gt;" in found._repr_html_()
    assert "so &amp; so" in found._repr_html_()
    assert found[0].code == "c"
    assert [finding.code for finding in found[1:3]] == ["b", "d"]
    assert Diagnosis([Finding("w", "warning", "", "")]).exit_code == 1
    assert Diagnosis([]).worst == "ok"


# --- stuck ------------------------------------------------------------------------------------------------


def test_running_for_a_worker_whose_lease_is_over(looker: df.Context, sql: Rows) -> None:
    gone = add_worker(sql, "10 minutes")
    run = add_run(sql, "report", "running", owner=gone)
    finding = one(looker.doctor(), "stuck")
    assert (finding.severity, finding.subject, finding.numbers["runs"]) == ("warning", "report", 1)
    assert run in finding.message
    assert "process 7 on there" in finding.message
    assert one(looker.doctor(), "worker").severity == "warning"


def test_stuck_although_workers_are_alive_is_a_problem(make_ctx: MakeContext, sql: Rows) -> None:
    ctx = make_ctx()
    ctx.run(fails)
    sql.execute(
        """update dataflows.worker set info = (info::jsonb || '{"workflows": ["doctor-fails", "report"]}')::json"""
    )
    gone = add_worker(sql, "10 minutes")
    add_run(sql, "report", "running", owner=gone)
    finding = one(ctx.doctor(), "stuck")
    assert (finding.severity, "workers are alive" in finding.advice) == ("problem", True)
    assert ctx.doctor().exit_code == 2


def test_running_for_nobody(looker: df.Context, sql: Rows) -> None:
    add_run(sql, "report", "running", owner="0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77")
    finding = one(looker.doctor(), "stuck")
    assert (finding.severity, "without a row" in finding.message) == ("problem", True)


def test_due_and_not_claimed(looker: df.Context, sql: Rows) -> None:
    for days in (3, 1):
        add_run(sql, "report", "queued", wake_at=f"2026-01-0{days}")
    add_run(sql, "report", "sleeping", wake_at="2999-01-01")
    finding = one(looker.doctor(), "overdue")
    assert (finding.subject, finding.numbers["runs"], finding.severity) == ("report", 2, "warning")
    assert "start a process" in finding.advice


def test_waiting_for_what_is_there(looker: df.Context, sql: Rows) -> None:
    run = add_run(sql, "report", "waiting", waits=["go"])
    other = add_run(sql, "report", "waiting", waits=["stop"])
    for target in (run, other):
        sql.execute(
            "insert into dataflows.message (run, kind, name, payload, at) "
            "values (%s, 'event', 'go', '1', now() - interval '5 minutes')",
            (target,),
        )
    finding = one(looker.doctor(), "unheard")
    assert (run in finding.message, finding.numbers["runs"]) == (True, 1)


def test_failed_and_quarantined(looker: df.Context, sql: Rows) -> None:
    for status in ("failed", "failed", "quarantined", "cancelled"):
        add_run(sql, "report", status, finished_at="2026-01-02")
    found = looker.doctor()
    assert (one(found, "failed").severity, one(found, "failed").numbers["runs"]) == ("note", 2)
    assert (one(found, "quarantined").severity, one(found, "quarantined").numbers["runs"]) == ("warning", 1)
    assert "dataflows retry -w 'report'" in one(found, "failed").advice


# --- left behind ------------------------------------------------------------------------------------------


def test_rows_of_workers_without_a_session(looker: df.Context, sql: Rows) -> None:
    add_worker(sql, "1 second")  # within its lease, but its session is gone
    finding = one(looker.doctor(), "worker")
    assert (finding.severity, "left behind" in finding.message) == ("note", True)


def test_large_values_of_nobody(looker: df.Context, sql: Rows) -> None:
    sql.execute(
        "insert into dataflows.blob (sha256, media, size, data, created_at) "
        "select 'x' || i, 'b', 1000, 'x', now() - interval '2 days' from generate_series(1, 10) i"
    )
    sql.execute("insert into dataflows.blob_ref select gen_random_uuid(), 'x' || i from generate_series(1, 4) i")
    finding = one(looker.doctor(), "orphans")
    assert finding.numbers == {"values": 6, "bytes": 6000}


def test_sessions_that_hold_vacuum_back(looker: df.Context, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflows_sdk.doctor import server

    monkeypatch.setattr(server, "_LONG", 0.0)
    monkeypatch.setattr(server, "_IDLE", 0.0)
    with psycopg.connect(database_url, application_name="forgotten notebook") as session:
        session.execute("select 1")
        finding = one(looker.doctor(), "transaction")
        assert finding.numbers["pid"] == session.info.backend_pid
        assert "forgotten notebook" in finding.subject
        assert "does nothing" in finding.message
        assert f"pg_terminate_backend({session.info.backend_pid})" in finding.advice
        session.rollback()
        assert not looker.doctor().of("transaction")


def test_dead_rows(looker: df.Context, sql: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflows_sdk.doctor import server

    monkeypatch.setattr(server, "_DEAD_ROWS", 100)
    sql.execute("alter table dataflows.audit set (autovacuum_enabled = off)")
    sql.execute("insert into dataflows.audit (action, detail) select 'x', '1' from generate_series(1, 1000)")
    sql.execute("delete from dataflows.audit where id % 2 = 0")
    sql.execute("select pg_stat_force_next_flush()")
    finding = wait_until(lambda: looker.doctor().of("bloat"), "the statistics say so")[0]
    assert (finding.subject, finding.numbers["dead"]) == ("dataflows.audit", 500)
    assert "never vacuumed" in finding.message


# --- without code -----------------------------------------------------------------------------------------


def test_open_runs_that_nobody_has_code_for(make_ctx: MakeContext, sql: Rows) -> None:
    ctx = make_ctx()
    ctx.run(fails)
    add_run(sql, "renamed", "waiting", waits=["go"])
    add_run(sql, "renamed", "succeeded")
    add_run(sql, "elsewhere", "queued")
    add_run(sql, "over", "succeeded")
    # a worker of an older version does not say what it knows: then nothing can be said
    sql.execute("update dataflows.worker set info = (info::jsonb - 'workflows')::json")
    assert not ctx.doctor().of("unknown")
    sql.execute("""update dataflows.worker set info = (info::jsonb || '{"workflows": ["elsewhere"]}')::json""")
    finding = one(ctx.doctor(), "unknown")
    assert (finding.subject, finding.numbers["runs"], finding.severity) == ("renamed", 1, "warning")
    assert "dataflows cancel -w 'renamed'" in finding.advice


def test_modules_that_were_named_count(database_url: str, sql: Rows) -> None:
    add_run(sql, "mine", "queued")
    add_run(sql, "theirs", "queued")
    database = Database(database_url)
    try:
        assert one(diagnose(database, known={"mine"}), "unknown").subject == "theirs"
        assert not diagnose(database, known={"mine", "theirs"}).of("unknown")
    finally:
        database.close()


# --- growing ----------------------------------------------------------------------------------------------


def test_what_the_journal_is_made_of(make_ctx: MakeContext) -> None:
    ctx = make_ctx(retention=None)
    large = df.Workflow("doctor-large", lambda event, step: step.run("a", lambda: "é" * 5_000))
    runs = [*ctx.start_many(large, range(20)), *ctx.start_many(fails, range(5))]
    for run in runs:
        run.wait("20s")
    found = ctx.doctor()
    first, second = (finding for finding in found.of("workflow"))
    assert (first.subject, second.subject) == ("doctor-large", "doctor-fails")
    assert first.numbers["runs"] == 20
    assert first.numbers["events"] == 20 * len(runs[0].events())
    assert first.numbers["bytes"] > second.numbers["bytes"] > 0
    assert first.numbers["bytes_per_day"] == pytest.approx(first.numbers["bytes"])
    retention = one(found, "retention")
    assert (retention.severity, "off in this process" in retention.message) == ("note", True)


def test_old_runs_that_nobody_deletes(looker: df.Context, sql: Rows) -> None:
    add_run(sql, "report", "succeeded", finished_at="2020-01-01")
    finding = one(diagnose(looker._database), "retention")
    assert (finding.severity, "are still there" in finding.message) == ("note", True)


# --- out of reach -----------------------------------------------------------------------------------------


def test_nearly_no_connection_left(looker: df.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflows_sdk.doctor import server

    monkeypatch.setattr(server, "_ALMOST_FULL", 0.0001)
    assert one(looker.doctor(), "connections").severity == "warning"
    monkeypatch.setattr(server, "_FULL", 0.0001)
    finding = one(looker.doctor(), "connections")
    assert (finding.severity, "max_connections" in finding.advice) == ("problem", True)


def test_a_far_database_and_a_wrong_clock(looker: df.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from dataflows_sdk.doctor import server

    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) - timedelta(minutes=10)

    monkeypatch.setattr(server, "datetime", Late)
    monkeypatch.setattr(server, "_SLOW", 0.0)
    found = looker.doctor()
    clock = one(found, "clock")
    assert (clock.severity, round(clock.numbers["seconds"] / 60)) == ("warning", 10)
    assert "ahead of this machine's" in clock.message
    assert one(found, "latency").severity == "note"


def test_a_server_that_is_gone(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    ctx.close()
    with pytest.raises(StoreUnavailableError):
        ctx.doctor()


def test_a_check_that_may_not_look_says_so(looker: df.Context, sql: Rows) -> None:
    sql.execute("alter table dataflows.blob rename to blob_hidden")
    found = looker.doctor()
    assert {finding.subject for finding in found.of("unexamined")} >= {"orphans"}
    assert found.of("server")


# --- with many runs ---------------------------------------------------------------------------------------

#: statements that read a whole index or a bounded number of rows, with parameters
HEAVY: dict[str, tuple[Any, ...]] = {
    "running": (),
    "overdue": (30, 10_000),
    "unheard": (30, 10_000),
    "unhappy": (10_000,),
    "workflows": (),
    "open_of": (["w1", "w2"], 10_000),
    "oldest_end": (),
    "census": (1.0, 50),
    "statuses": (1.0,),
    "orphaned_blobs": (1.0,),
}


def test_heavy_questions_go_by_an_index_or_a_sample(sql: Rows) -> None:
    sql.execute(
        "insert into dataflows.run (id, workflow, version, status, wake_at, last_seq, created_at, finished_at) "
        "select gen_random_uuid(), 'w' || i % 20, 'v', case when i % 50 = 0 then 'queued' when i % 500 = 1 "
        "then 'failed' else 'succeeded' end, case when i % 50 = 0 then now() end, 2, now(), "
        "case when i % 50 > 0 then now() end "
        "from generate_series(1, 50000) i"
    )
    sql.execute(
        "insert into dataflows.event (run, seq, epoch, kind, data, at) "
        "select r.id, n, 1, 'run.created', '{}', now() from dataflows.run r, generate_series(1, 2) n"
    )
    sql.execute(
        "insert into dataflows.blob (sha256, media, size, data) "
        "select 'x' || i, 'b', 1, 'x' from generate_series(1, 20000) i"
    )
    sql.execute("insert into dataflows.blob_ref select gen_random_uuid(), 'x' || i from generate_series(1, 20000) i")
    sql.execute(
        "insert into dataflows.message (run, kind, name, payload, at, consumed) "
        "select r.id, 'event', 'go', '1', now() - interval '1 hour', case when random() < 0.9 then 3 end "
        "from dataflows.run r limit 20000"
    )
    sql.execute("analyze")
    cursor = psycopg.RawCursor(sql)
    for name, parameters in HEAVY.items():
        cursor.execute("explain (format json) " + statement("doctor", name), parameters)
        scans = list(_scans(cursor.fetchall()[0][0][0]["Plan"]))
        assert scans, name
        for kind, table in scans:
            assert kind != "Seq Scan", f"{name} reads all of {table}"
    small = {
        "ping",
        "connections",
        "sessions",
        "prepared",
        "slots",
        "tables",
        "workers",
        "pages",
        "patience",
        "connections_in_error",
        "views",
    }
    assert set(statements("doctor")) == set(HEAVY) | small


def _scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if plan.get("Relation Name") in ("run", "event", "message", "blob", "blob_ref"):
        yield plan["Node Type"], plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from _scans(child)
