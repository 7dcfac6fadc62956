"""A role for a BI tool, as that tool: what it sees, and what it does not."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflows_sdk import connect
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DataflowsError, DefinitionError, StoreError
from dataflows_sdk.store.addresses import url_for
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.bi import Bi
from dataflows_sdk.warehouse.views import Views

from ..conftest import Need
from .ground import Ground


@pytest.fixture
def ground(database_url: str) -> Iterator[Ground]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        ground = Ground(connection)
        ground.table("tasks", "title text, hours int")
        ground.insert("tasks", {"title": "a", "hours": 3})
        yield ground


@pytest.fixture
def role(ground: Ground) -> Iterator[Callable[[str], str]]:
    """Names that no other test of the server has; whatever is left of them goes at the end."""
    made: list[str] = []

    def name(of: str = "metabase") -> str:
        made.append(f"{of}_{secrets.token_hex(4)}")
        return made[-1]

    yield name
    for each in made:
        quoted = '"' + each.replace('"', '""') + '"'
        if ground.run("select 1 from pg_roles where rolname = %s", each):
            ground.run(f"drop owned by {quoted}")
            ground.run(f"drop role {quoted}")


@pytest.fixture
def bi(database: Database, ground: Ground) -> Bi:
    return Bi(database)


def ask(dsn: str, sql: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []


def refused(dsn: str, sql: str) -> str:
    with pytest.raises(psycopg.Error) as caught:
        ask(dsn, sql)
    return str(caught.value)


def test_it_reads_the_warehouse_and_nothing_else(bi: Bi, database: Database, ground: Ground, role: Any) -> None:
    Views(database).define("hours", "select title, hours from tasks")
    Views(database).define("begun", "select count(*) as n from dataflows.runs", materialized=True)
    dsn = bi.access(role()).dsn
    assert ask(dsn, "select title from tasks") == [("a",)]
    assert ask(dsn, "select * from warehouse.hours") == [("a", 3)]
    assert ask(dsn, "select * from begun") == [(0,)]
    assert ask(dsn, "select title from tasks_history") == [("a",)]
    for table in ("kv", "run", "event", "blob", "runs", "steps", "warehouse_table", "write", "migration"):
        assert "permission denied" in refused(dsn, f"select * from dataflows.{table}")
    for table in ("connections", "service_clients"):
        ground.run(f"create table if not exists dataflows.{table} (id int)")
        assert "permission denied" in refused(dsn, f"select * from dataflows.{table}")
    assert "permission denied" in refused(dsn, "select * from warehouse_past.tasks")


def test_it_writes_nothing(bi: Bi, ground: Ground, role: Any) -> None:
    dsn = bi.access(role()).dsn
    writes = (
        "insert into tasks (title) values ('x')",
        "update tasks set title = 'x'",
        "delete from tasks",
        "truncate tasks",
        "drop table tasks",
        "create table warehouse.mine (n int)",
        "alter table tasks add column n int",
        "create view warehouse.v as select 1",
    )
    for write in writes:
        assert "read-only" in refused(dsn, write)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")  # who means it can, and it helps nothing
        for write in writes:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(write)  # type: ignore[call-overload]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set role dataflows")
    assert ground.run("select title from warehouse.tasks") == [("a",)]


def test_what_is_made_later_is_seen_as_well(bi: Bi, database: Database, ground: Ground, role: Any) -> None:
    dsn = bi.access(role()).dsn
    ground.table("later", "n int")
    views = Views(database)
    views.define("hours", "select n from later")
    assert ask(dsn, "select * from later_history") == ask(dsn, "select * from hours") == []
    views.define("hours", "select n::text as n from later")  # made anew
    assert ask(dsn, "select * from hours") == []


def test_tables_of_other_owners(bi: Bi, database: Database, ground: Ground, role: Any) -> None:
    owner, name = role("owner"), role()
    ground.run(f"create role {owner}")
    ground.run(f"grant usage, create on schema warehouse to {owner}")
    ground.run(f"set role {owner}; create table warehouse.theirs (n int); reset role")
    access = bi.access(name)
    assert (access.out_of_reach, access.unseen_owners) == ((), ())
    ground.run(f"set role {owner}; create table warehouse.more (n int); reset role")
    assert ask(access.dsn, "select * from theirs") == ask(access.dsn, "select * from more") == []
    access.revoke()


def test_a_role_that_is_no_superuser_says_what_it_cannot_pass_on(database_url: str, ground: Ground, role: Any) -> None:
    maker, other, name = role("maker"), role("other"), role()
    ground.run(f"create role {maker} login createrole password 'maker'")
    ground.run(f"create role {other}")
    ground.run(f"grant usage, create on schema warehouse to {maker}, {other} with grant option")
    ground.run(f"grant usage on schema dataflows to {maker}")
    ground.run(f"grant usage, create on schema warehouse to {other}")
    ground.run(f"set role {other}; create table warehouse.theirs (n int); reset role")
    ground.run(f"set role {maker}; create table warehouse.mine (n int); reset role")
    weak = Database(url_for(database_url, maker, "maker"))
    try:
        access = Bi(weak).access(name)
        assert set(access.out_of_reach) == {"theirs", "tasks", "tasks_history"}
        assert other in access.unseen_owners
        assert ask(access.dsn, "select * from mine") == []
        assert "permission denied" in refused(access.dsn, "select * from theirs")
        assert "reads" in repr(Bi(weak).access(name, journal=False))
        access.revoke()
        assert ground.run("select 1 from pg_roles where rolname = %s", name) == []
        ground.run(f"alter role {maker} nocreaterole")
        with pytest.raises(StoreError, match="CREATEROLE"):
            Bi(weak).access(name)
    finally:
        weak.close()


def test_the_journal_only_if_asked_for(bi: Bi, role: Any) -> None:
    name = role()
    dsn = bi.access(name, journal=True).dsn
    assert ask(dsn, "select * from dataflows.runs") == ask(dsn, "select * from dataflows.steps") == []
    for table in ("run", "event", "kv", "blob", "warehouse_aside"):
        assert "permission denied" in refused(dsn, f"select * from dataflows.{table}")
    bi.access(name)
    assert "permission denied" in refused(dsn, "select * from dataflows.runs")
    assert ask(dsn, "select title from tasks") == [("a",)]


def test_again_keeps_the_password_unless_one_is_given(bi: Bi, role: Any) -> None:
    name = role()
    first = bi.access(name)
    again = bi.access(name)
    assert ask(first.dsn, "select 1") == [(1,)]
    assert again.password is None
    assert ":" not in again.dsn.reveal().partition("@")[0].removeprefix("postgresql://")
    given = bi.access(name, "p@ss:wörd/'; drop table x; --%")
    assert "password authentication failed" in refused(first.dsn, "select 1")
    assert ask(given.dsn, "select 1") == [(1,)]
    renewed = given.renew()
    assert "password authentication failed" in refused(given.dsn, "select 1")
    assert ask(renewed.dsn, "select title from tasks") == [("a",)]


def test_the_password_is_not_printed(bi: Bi, ground: Ground, role: Any) -> None:
    access = bi.access(role())
    assert access.password is not None
    password = access.password.reveal()
    for shown in (repr(access), str(access), repr(access.dsn), str(access.dsn), f"{access.dsn}", f"{access.dsn!s:>9}"):
        assert password not in shown
        assert "***" in shown
    assert password in access.dsn.reveal()
    assert type(access.dsn.reveal()) is str
    assert password not in REDACTOR.redact_text(f"could not connect to {access.dsn.reveal()}")


def test_settings_of_the_role(bi: Bi, role: Any) -> None:
    name = role()
    dsn = bi.access(name, timeout="1500ms", connections=2).dsn
    assert ask(dsn, "show statement_timeout") == [("1500ms",)]
    assert ask(dsn, "show default_transaction_read_only") == [("on",)]
    assert "statement timeout" in refused(dsn, "select pg_sleep(30)")
    with psycopg.connect(dsn), psycopg.connect(dsn):
        assert "too many connections" in refused(dsn, "select 1")
    bi.access(name)
    assert ask(dsn, "show statement_timeout") == [("1min",)]


@pytest.mark.parametrize("of", ['a"b', "x'; drop table warehouse.tasks; --", "Umsätze 🚀", "select", "MixedCase"])
def test_names_are_quoted(bi: Bi, ground: Ground, role: Any, of: str) -> None:
    access = bi.access(role(of))
    assert ask(access.dsn, "select current_user, title from tasks") == [(access.name, "a")]
    access.revoke()
    assert ground.run("select 1 from pg_roles where rolname = %s", access.name) == []


@pytest.mark.parametrize("name", ["", None, 7, "a\0b", "x" * 64, "\ud800", "pg_reader", "public", "none"])
def test_names_that_cannot_be(bi: Bi, name: Any) -> None:
    with pytest.raises(DataflowsError):
        bi.access(name)


@pytest.mark.parametrize(
    "options",
    [{"password": ""}, {"password": 7}, {"password": "a\0"}, {"timeout": "0s"}, {"timeout": "3 parsecs"},
     {"connections": 0}, {"connections": -1}, {"connections": True}, {"connections": "many"}],
)  # fmt: skip
def test_options_that_cannot_be(bi: Bi, ground: Ground, role: Any, options: Any) -> None:
    name = role()
    with pytest.raises(DefinitionError):
        bi.access(name, **options)
    assert ground.run("select 1 from pg_roles where rolname = %s", name) == []


def test_a_role_of_somebody_else_is_left_alone(bi: Bi, ground: Ground, role: Any) -> None:
    name = role()
    ground.run(f"create role {name} login password 'theirs'")
    for act in (bi.access, bi.revoke):
        with pytest.raises(StoreError, match="made by somebody else"):
            act(name)
    assert ground.run("select rolconnlimit from pg_roles where rolname = %s", name) == [(-1,)]


def test_a_role_of_another_database_is_left_alone(bi: Bi, role: Any, dataflows_databases: Any) -> None:
    name = role()
    bi.access(name)
    other = dataflows_databases.create()
    database = Database(other)
    try:
        with pytest.raises(StoreError, match=r"reads the warehouse of database 'test_"):
            Bi(database).access(name)
    finally:
        database.close()
        dataflows_databases.drop(other)


def test_a_role_that_was_made_mighty_is_not_handed_out(bi: Bi, ground: Ground, role: Any) -> None:
    name, group = role(), role("group")
    bi.access(name)
    ground.run(f"alter role {name} createdb")
    with pytest.raises(StoreError, match="more rights"):
        bi.access(name)
    ground.run(f"alter role {name} nocreatedb")
    ground.run(f"create role {group}")
    ground.run(f"grant {group} to {name}")
    with pytest.raises(StoreError, match="more rights"):
        bi.access(name)


def test_revoke_leaves_nothing(bi: Bi, ground: Ground, role: Any) -> None:
    name = role()
    access = bi.access(name, journal=True)
    with psycopg.connect(access.dsn, autocommit=True) as connected:
        access.revoke()
        with pytest.raises(psycopg.OperationalError):
            connected.execute("select 1")
    assert ground.run("select 1 from pg_roles where rolname = %s", name) == []
    access.revoke()  # there is nothing left to do
    with pytest.raises(StoreError, match="is gone"):
        access.renew()
    again = bi.access(name)
    assert ask(again.dsn, "select title from tasks") == [("a",)]


def test_psql(bi: Bi, database: Database, role: Any, need: Need) -> None:
    """As the requirement says it."""
    from dataflows_sdk.store.embedded.binaries import programs

    program = shutil.which("psql") or str(programs() / "psql")
    if not Path(program).exists():
        need("no psql on this machine")
    Views(database).define("project_profitability", "select title, hours from tasks")
    dsn = bi.access(role()).dsn.reveal()

    def psql(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, dsn, "-Atc", command], capture_output=True, text=True, check=False, timeout=60)

    assert psql("select * from project_profitability").stdout == "a|3\n"
    for table in ("connections", "dataflows.connections", "dataflows.kv"):
        answer = psql(f"select * from {table}")
        assert answer.returncode != 0
        assert "does not exist" in answer.stderr or "permission denied" in answer.stderr


def test_the_embedded_server_over_tcp(tmp_path: Path) -> None:
    with connect(directory=tmp_path / "data", work=False) as ctx:
        access = Bi(ctx._database, lambda: ctx.url).access("metabase")
        assert access.dsn.reveal().startswith("postgresql://metabase:")
        assert "@127.0.0.1:" in access.dsn.reveal()
        assert ask(access.dsn, "select current_user") == [("metabase",)]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("postgresql://a:b@db.example.org:6432/shop?sslmode=require", "postgresql://r:p%2F@db.example.org:6432/shop?sslmode=require"),
        ("host=one,two port=1,2 dbname=x user=a", "postgresql://r:p%2F@one:1,two:2/x"),
        ("host=one,two port=7 dbname=x", "postgresql://r:p%2F@one:7,two:7/x"),
        ("host=::1 dbname=x", "postgresql://r:p%2F@[::1]/x"),
        ("host=/run/pg port=5433 dbname=x", "postgresql://r:p%2F@/x?host=%2Frun%2Fpg&port=5433"),
        ("dbname='a b' application_name=q", "postgresql://r:p%2F@/a%20b"),
    ],
)  # fmt: skip
def test_addresses(given: str, address: str) -> None:
    assert url_for(given, "r", "p/") == address
