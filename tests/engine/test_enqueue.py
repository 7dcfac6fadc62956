"""Starting a run as a part of somebody else's transaction, from Python and from SQL."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from dataflows_sdk.errors import DefinitionError, NotSerializableError, RunNotFoundError, StoreError
from dataflows_sdk.testing import TestDatabases

from ..conftest import MakeContext, wait_until
from .workflows import declare


def echo(event: Any, step: Any) -> Any:
    return [event.name, step.run("payload", lambda: event.raw)]


@pytest.fixture
def connection(database_url: str) -> Any:
    with psycopg.connect(database_url) as connection:
        yield connection


def table(connection: Any) -> None:
    connection.execute("create table public.orders (id int primary key)")
    connection.commit()


def test_a_run_begins_if_and_only_if_the_transaction_commits(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx()
    table(connection)
    workflow = declare(echo)
    connection.execute("insert into public.orders values (1)")
    kept = ctx.start(workflow, {"id": 1}, connection=connection)
    with pytest.raises(RunNotFoundError):
        ctx.get(kept.id)
    connection.commit()
    assert kept.result("20s") == ["manual", {"id": 1}]
    connection.execute("insert into public.orders values (2)")
    dropped = ctx.start(workflow, {"id": 2}, connection=connection)
    connection.rollback()
    with pytest.raises(RunNotFoundError):
        ctx.get(dropped.id)
    assert [run.id for run in ctx.runs(limit=9)] == [kept.id]
    assert connection.execute("select id from public.orders").fetchall() == [(1,)]


def test_a_savepoint_that_is_rolled_back_takes_its_run_along(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx()
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.transaction():
            first = ctx.start(declare(echo), 1, connection=connection)
            with connection.transaction(force_rollback=True):
                ctx.start(declare(echo), 2, connection=connection)
            last = ctx.start(declare(echo), 3, connection=connection)
        assert [run.result("20s")[1] for run in (first, last)] == [1, 3]
    assert len(ctx.runs(limit=9)) == 2


def test_a_key_gives_the_run_that_has_it(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx()
    workflow = declare(echo)
    before = ctx.start(workflow, 1, idempotency_key="a")
    same = ctx.start(workflow, 2, idempotency_key="a", connection=connection)
    new = ctx.start(workflow, 3, idempotency_key="b", connection=connection)
    again = ctx.start(workflow, 4, idempotency_key="b", connection=connection)
    assert (same.id, again.id) == (before.id, new.id)
    connection.commit()
    assert new.result("20s")[1] == 3
    assert ctx.start(workflow, 5, idempotency_key="b").id == new.id


def test_two_transactions_with_one_key_wait_for_each_other(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx()
    workflow = declare(echo)
    found: list[str] = []

    def starts(number: int) -> None:
        with psycopg.connect(database_url) as connection:
            found.append(ctx.start(workflow, number, idempotency_key="k", connection=connection).id)

    threads = [threading.Thread(target=starts, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    assert len(set(found)) == 1
    assert len(ctx.runs(limit=99)) == 1


def test_a_stricter_transaction_is_told_to_try_again(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx(work=False)
    workflow = declare(echo)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute("select 1")
    ctx.start(workflow, 1, idempotency_key="k")
    with pytest.raises((StoreError, psycopg.errors.SerializationFailure), match=r"key 'k'|concurrent|serialize"):
        ctx.start(workflow, 2, idempotency_key="k", connection=connection)


def test_a_step_that_starts_a_run_in_its_transaction_starts_it_once(make_ctx: MakeContext) -> None:
    ctx = make_ctx(always_replay=True)
    ctx.register(declare(echo))

    def parent(event: Any, step: Any) -> Any:
        def starts(connection: Any) -> str:
            return ctx.start("echo", 7, connection=connection).id

        made = step.transaction("start", starts)
        step.sleep("a while", "10ms")
        return made

    made = ctx.run(declare(parent), timeout="30s").result()
    assert ctx.get(made).result("20s") == ["manual", 7]
    assert len(ctx.runs(workflow="echo", limit=9)) == 1


def test_large_and_typed_payloads(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx()
    payload = {"text": "x" * 200_000, "set": {1, 2}, "bytes": b"\0" * 100_000}
    run = ctx.start(declare(echo), payload, connection=connection)
    connection.commit()
    assert run.result("20s")[1] == payload


def test_any_process_that_knows_the_workflow_takes_it_on(make_ctx: MakeContext, connection: Any) -> None:
    looks, works = make_ctx(work=False), make_ctx()
    works.register(declare(echo))
    run = looks.start(declare(echo), 1, connection=connection)
    connection.commit()
    assert run.result("20s") == ["manual", 1]


def test_connections_that_cannot_be(
    make_ctx: MakeContext, database_url: str, connection: Any, dataflows_databases: TestDatabases
) -> None:
    ctx = make_ctx()
    workflow = declare(echo)
    with pytest.raises(DefinitionError, match="not str"):
        ctx.start(workflow, connection=database_url)
    with psycopg.connect(database_url, autocommit=True) as careless:
        with pytest.raises(DefinitionError, match="by itself"):
            ctx.start(workflow, connection=careless)
    with pytest.raises(DefinitionError, match="closed"):
        ctx.start(workflow, connection=careless)
    for options in ({}, {"empty": True}):
        url = dataflows_databases.create(**options)
        try:
            with psycopg.connect(url) as other, pytest.raises(StoreError, match="another database"):
                ctx.start(workflow, connection=other)
        finally:
            dataflows_databases.drop(url)
    with pytest.raises(NotSerializableError):
        ctx.start(workflow, object(), connection=connection)
    connection.execute("select 1")  # the transaction goes on
    assert len(ctx.runs(limit=9)) == 0


# --- from SQL ---------------------------------------------------------------------------------------------


def test_sql_starts_a_run_with_its_transaction(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx()
    ctx.run(declare(echo), 0, timeout="20s")
    start = "select dataflows.start('echo', %s::json, %s)"
    (made,) = connection.execute(start, ('{"id": 7, "at": {"$datetime": "2026-01-01T00:00:00+00:00"}}', "k")).fetchone()
    (again,) = connection.execute(start, ("8", "k")).fetchone()
    (lost,) = connection.execute("select dataflows.start('echo')").fetchone()
    assert (again, lost != made, made.version) == (made, True, 7)
    connection.commit()
    name, payload = ctx.get(made).result("20s")
    assert (name, payload["id"], str(payload["at"])) == ("sql", 7, "2026-01-01 00:00:00+00:00")
    assert ctx.get(lost).result("20s") == ["sql", None]
    connection.execute("select dataflows.start('echo', '1')")
    connection.rollback()
    assert len(ctx.runs(limit=9)) == 3
    assert ctx.start("echo", 9, idempotency_key="k").id == str(made)


def test_sql_starts_a_run_from_a_trigger_of_a_table(make_ctx: MakeContext, connection: Any) -> None:
    ctx = make_ctx()
    ctx.run(declare(echo), 0, timeout="20s")
    table(connection)
    connection.execute("""
        create function public.told() returns trigger language plpgsql as $$
        begin
            perform dataflows.start('echo', json_build_object('id', new.id), 'order-' || new.id);
            return new;
        end $$""")
    connection.execute("create trigger told after insert on public.orders for each row execute function public.told()")
    connection.execute("insert into public.orders select generate_series(1, 5)")
    connection.commit()

    def told() -> list[Any]:
        runs = ctx.runs(workflow="echo", status="succeeded", limit=99)
        return sorted(run.result()[1]["id"] for run in runs if run.result()[0] == "sql")

    assert wait_until(lambda: len(told()) == 5 and told(), "all were begun") == [1, 2, 3, 4, 5]


def test_sql_knows_no_workflow_that_nobody_ran(make_ctx: MakeContext, connection: Any) -> None:
    make_ctx(work=False)
    with pytest.raises(psycopg.errors.RaiseException, match="'nobody'"):
        connection.execute("select dataflows.start('nobody')")
