"""Connecting: what fits, what does not, and what the message says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    SchemaVersionError,
    StoreExtensionError,
    StoreUnavailableError,
    StoreVersionError,
)
from dataflows_sdk.store import database as database_module
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.migrations import Migration, migrate, migrations
from dataflows_sdk.store.pipeline import Pipeline
from dataflows_sdk.store.sqlfiles import statement, statements


@pytest.mark.parametrize("address", ["no such thing", "mysql://x"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(StoreUnavailableError, match="postgresql://"):
        df.connect(address)


def test_nobody_answers() -> None:
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/.*connect\(\) without an address") as caught:
        df.connect("postgresql://u:secret-pw@127.0.0.1:1/db")
    assert "secret-pw" not in str(caught.value)


def test_a_server_that_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "OLDEST", 990000)
    with pytest.raises(StoreVersionError, match="version 14 or later"):
        df.connect(database_url)


def test_a_schema_that_is_newer_or_was_edited(database_url: str) -> None:
    df.connect(database_url).close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into dataflows.migration values (999, 'from_the_future', 'x')")
    with pytest.raises(SchemaVersionError, match=r"from_the_future.*upgrade"):
        df.connect(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from dataflows.migration where number = 999")
        connection.execute("update dataflows.migration set checksum = 'edited' where number = 1")
    with pytest.raises(SchemaVersionError, match="never edited"):
        df.connect(database_url)


def test_migrations_are_numbered_checksummed_and_applied_once(dataflows_databases: Any) -> None:
    assert [m.number for m in migrations()] == list(range(1, len(migrations()) + 1))
    assert len({m.checksum for m in migrations()}) == len(migrations())
    assert Migration(1, "a", "x\r\ny").checksum == Migration(1, "a", "x\ny").checksum
    url = dataflows_databases.create(empty=True)
    try:
        done: list[int] = []

        def apply() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                done.append(len(migrate(connection)))

        threads = [threading.Thread(target=apply) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == [0, 0, 0, len(migrations())]
    finally:
        dataflows_databases.drop(url)


def test_triggers_of_an_older_schema_go_on(dataflows_databases: Any) -> None:
    url = dataflows_databases.create(empty=True)
    flow, listens, fires, event = (uuid.uuid4() for _ in range(4))
    document = df.flow("old").on_event("paid", id="e").switch("s", "{{trigger.id}}", [7]).to_json()
    with psycopg.connect(url, autocommit=True) as connection:
        assert len(migrate(connection, migrations()[:3])) == 3
        connection.execute(
            "insert into dataflows.flow (id, name, status, version, created_at, updated_at) "
            "values (%s, 'old', 'active', 1, now(), now())",
            (flow,),
        )
        connection.execute(
            "insert into dataflows.flow_version (flow, version, hash, document, created_at) "
            "values (%s, 1, 'h', %s, now())",
            (flow, json.dumps(document)),
        )
        insert = (
            "insert into dataflows.trigger (id, flow, node, type, config, next_at, created_at) "
            "values (%s, %s, %s, %s, %s, %s, '2026-01-01')"
        )
        connection.execute(insert, (listens, flow, "e", "trigger_event", '{"event": "paid"}', None))
        connection.execute(insert, (fires, flow, "cron", "trigger_schedule", '{"every": "1h"}', "2026-01-01"))
        connection.execute(
            "insert into dataflows.broadcast (id, name, payload, at) values (%s, 'paid', '{\"id\": 6}', now())",
            (event,),
        )
    try:
        with df.connect(url, triggers=False) as ctx:
            assert {trigger.id for trigger in ctx.triggers.of("old")} == {listens, fires}
            ctx.emit("paid", {"id": 7})
            assert ctx.triggers.hear() >= 1
            assert ctx.triggers.tick() == 1
            heard = [
                run for run in ctx.runs(workflow="old", limit=9) if next(iter(run.events())).data["input"] == {"id": 7}
            ]
            assert [run.result("20s")["case"] for run in heard] == ["7"]
            # saving it again keeps the triggers that are there
            ctx.flows.get("old").save(df.flow("old").on_event("lost", id="e").switch("s", "{{trigger.id}}", [7]))
            assert {each.id: each.enabled for each in ctx.triggers.of("old")} == {listens: True, fires: False}
    finally:
        dataflows_databases.drop(url)


def test_journal_and_warehouse_are_schemas_apart(ctx: df.Context) -> None:
    with ctx._database.connection() as connection:
        schemas = {row[0] for row in connection.execute("select schema_name from information_schema.schemata")}
        views = {
            row[0]
            for row in connection.execute(
                "select table_name from information_schema.views where table_schema = 'dataflows'"
            )
        }
    assert {"dataflows", "warehouse"} <= schemas
    assert {"runs", "steps", "events"} <= views


def test_named_statements() -> None:
    assert "claim_due" in statements("claim")
    with pytest.raises(KeyError, match="claim_due"):
        statement("claim", "no_such")
    with pytest.raises(FileNotFoundError):
        statements("no_such_file")


def test_every_engine_statement_can_be_prepared(database_url: str) -> None:
    df.connect(database_url).close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number, (name, sql) in enumerate(database_module.engine_statements().items()):
            result = connection.pgconn.prepare(f"p{number}".encode(), sql.encode())
            assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, f"{name}: {result.error_message.decode()}"


HOT = {
    "fence": ("run_pkey", ["{}", "{}"]),
    "append_events": ("run_pkey", [None, "{}", "{}", "{}", "{}", "{}", "{}"]),
    "set_heads": ("run_pkey", [None, "{}", "{}", "{}", "{}", "{}", "{}"]),
    "wake": ("run_pkey", [None, "{}"]),
}


@pytest.mark.parametrize("name", HOT)
def test_hot_statements_find_runs_by_their_id(database_url: str, name: str) -> None:
    """On a young table without statistics the partial indexes on status look cheap; a loop over them is quadratic."""
    df.connect(database_url).close()
    index, parameters = HOT[name]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for setting, value in database_module.ENGINE_SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (setting, value))
        connection.execute(f"prepare hot as {statements('journal')[name]}")
        values = ", ".join("null" if value is None else f"'{value}'" for value in parameters)
        plan = "\n".join(row[0] for row in connection.execute(f"explain execute hot({values})"))
    assert f"using {index}" in plan or f"on {index}" in plan, plan
    assert "run_owned" not in plan, plan
    assert "run_due" not in plan, plan
    assert "message_pending" not in plan, plan


def test_a_broken_idle_connection_is_replaced(database_url: str) -> None:
    database = Database(database_url)
    try:
        database.prepare()
        assert database.read("look", "counts") == []
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                "and pid <> pg_backend_pid()"
            )
        assert database.read("look", "counts") == []
    finally:
        database.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        database.read("look", "counts")


@pytest.fixture
def old_server(old_postgres: Path) -> Iterator[str]:
    """A server of Debian's PostgreSQL: older, another build, without pgvector."""
    folder = Path(tempfile.mkdtemp(prefix="df-old-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        import pwd

        nobody = pwd.getpwnam("nobody")
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/", **user}
    subprocess.run(
        [old_postgres / "initdb", "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"], **quiet
    )
    options = f"-c listen_addresses='' -k {folder} -c fsync=off"
    control = [old_postgres / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **quiet)
    try:
        yield f"host={folder} user=app dbname=postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


def test_an_older_server_without_vector_runs_everything_but_memory(old_server: str) -> None:
    with pytest.raises(StoreExtensionError, match=r"pgvector.*connect\(\) without an address"):
        df.connect(old_server, vector=True)
    with df.connect(old_server) as ctx:

        async def work(event: Any, step: Any) -> Any:
            await step.sleep("nap", "10ms")
            got = await step.wait_for_event("go")
            return await step.map("m", lambda i: i * got, range(4))

        run = ctx.start(df.Workflow("old", work))
        run.send_event("go", 2)
        assert run.result("20s") == [0, 2, 4, 6]
        assert run.fork(at="m[3]").result("20s") == [0, 2, 4, 6]
        assert [row[0] for row in ctx.sql("select status from runs").fetchall()] == ["succeeded"] * 2


def test_a_commit_whose_answer_was_lost_is_asked_for_until_somebody_answers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking a commit for none would do the work twice."""
    database = Database(database_url)
    database.prepare()
    monkeypatch.setattr("dataflows_sdk.store.database.time.sleep", lambda _: None)

    def work(connection: Any) -> str:
        connection.execute("select pg_terminate_backend(pg_backend_pid())")
        raise AssertionError("the connection is gone")

    asked = 0

    def late(_: Any) -> bool:
        nonlocal asked
        asked += 1
        if asked < 30:
            raise psycopg.OperationalError("still starting up")
        return True

    def lose_the_answer(connection: Any) -> str:
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        return "done"

    refused = RuntimeError("closed")
    assert database.fenced(lose_the_answer, lambda _: [], lambda: refused, late) == "done"
    assert asked == 30
    with pytest.raises(
        psycopg.OperationalError
    ):  # the work itself did not come to its end: there is nothing to ask for
        database.fenced(work, lambda _: [], lambda: refused, late)
    assert asked == 30

    def close(_: Any) -> bool:
        database.close()
        raise psycopg.OperationalError("gone for good")

    with pytest.raises(RuntimeError, match="closed"):
        database.fenced(lose_the_answer, lambda _: [], lambda: refused, close)


def test_a_socket_that_libpq_closed_while_it_was_to_be_written_to_is_a_lost_connection(database_url: str) -> None:
    async def lose() -> list[str]:
        pipeline = Pipeline(database_url, {})
        told: list[str] = []
        pipeline.on_lost = lambda: told.append("lost")
        await pipeline.connect()
        fd, loop = pipeline._fd, asyncio.get_running_loop()
        loop.add_writer(fd, pipeline._on_writable)
        pipeline._writing = True
        other = os.dup(fd)
        os.close(fd)  # as libpq does when the server is gone
        pipeline._lost(psycopg.OperationalError("gone"))
        pipeline._on_writable()  # both were in the queue already
        pipeline._on_readable()
        os.close(other)
        return told

    assert asyncio.run(lose()) == ["lost"]
