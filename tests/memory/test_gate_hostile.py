"""Hostile questions: the check refuses each; where it is passed by, PostgreSQL and the clock stop what would harm."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflows_memory.gate import Reader, Relation, check_query, readable
from dataflows_memory.gate.role import LOGIN, NONE, TAKEN
from dataflows_sdk.errors import QueryError, QueryRefusedError, StoreError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.guarded import Found, TooLongError, read_guarded
from dataflows_sdk.store.statements import RefusedError

from .gate_ground import Ground

#: a statement, and what its refusal says
HOSTILE: list[tuple[str, str]] = [
    # writes
    ("insert into tasks (id) values (99)", "begins with INSERT"),
    ("update tasks set name = 'x'", "begins with UPDATE"),
    ("delete from tasks", "begins with DELETE"),
    ("truncate tasks", "begins with TRUNCATE"),
    ("drop table tasks", "begins with DROP"),
    ("alter table tasks add column x int", "begins with ALTER"),
    ("create table mine as select * from tasks", "begins with CREATE"),
    ("merge into tasks using projects on true when matched then delete", "begins with MERGE"),
    ("with d as (delete from warehouse.tasks returning *) select * from d", "DELETE within a query"),
    ("with d as (insert into warehouse.tasks (id) values (99) returning *) select * from d", "INSERT within a query"),
    ("with d as (update warehouse.tasks set name = 'x' returning *) select * from d", "UPDATE within a query"),
    ("select * from (with d as (delete from warehouse.tasks returning *) select * from d) q", "DELETE within a query"),
    ("select * into mine from tasks", "INTO"),
    ("select * into temp mine from warehouse.tasks", "INTO"),
    ("with a as (select 1) insert into tasks (id) select 99", "INSERT within a query"),
    ("with a as (select 1) delete from tasks", "DELETE within a query"),
    # commands
    ("set statement_timeout = 0", "begins with SET"),
    ("reset role", "begins with RESET"),
    ("set role postgres", "begins with SET"),
    ("copy tasks to '/tmp/x'", "begins with COPY"),
    ("copy (select 1) to program 'touch /tmp/owned'", "begins with COPY"),
    ("call public.count_up()", "begins with CALL"),
    ("do $$ begin perform pg_sleep(1000); end $$", "begins with DO"),
    ("explain select 1", "begins with EXPLAIN"),
    ("explain analyze delete from warehouse.tasks", "begins with EXPLAIN"),
    ("prepare p as delete from tasks", "begins with PREPARE"),
    ("execute p", "begins with EXECUTE"),
    ("begin", "begins with BEGIN"),
    ("commit", "begins with COMMIT"),
    ("listen x", "begins with LISTEN"),
    ("notify x, 'y'", "begins with NOTIFY"),
    ("lock table tasks", "begins with LOCK"),
    ("declare c cursor for select 1", "begins with DECLARE"),
    ("show all", "begins with SHOW"),
    ("vacuum tasks", "begins with VACUUM"),
    ("grant all on tasks to public", "begins with GRANT"),
    ("load 'x'", "begins with LOAD"),
    ("table tasks", "begins with TABLE"),
    ("from tasks", "begins with FROM"),
    # several statements
    ("select 1; delete from warehouse.tasks", "several statements"),
    ("select 1; commit; delete from warehouse.tasks", "several statements"),
    ("select 1 /* ; */ ; -- x\n drop table warehouse.tasks", "several statements"),
    ("select 1 -- \r; delete from warehouse.tasks", "several statements"),
    ("select 1 /* a /* b */ ; delete from warehouse.tasks */ ; delete from warehouse.tasks", "several statements"),
    ("select 1 /* not /* ended */ ; delete from warehouse.tasks", "comment that does not end"),
    ("select $$a$$; delete from warehouse.tasks; select $$b$$", "several statements"),
    ("select 'a\\'; delete from warehouse.tasks; --'", "several statements"),  # the backslash is one
    ("select E'a\\'; delete from warehouse.tasks; --'", "OK"),  # the quote is escaped: one text
    ("select E'a\\\\'; delete from warehouse.tasks; --'", "several statements"),  # the backslash is
    ("select 1) as q(c0); delete from warehouse.tasks; --", "cannot be read|several statements"),
    # functions
    ("select pg_sleep(1000)", "function pg_sleep"),
    ("select pg_catalog.pg_sleep(1000)", "with a schema before it"),
    ('select "pg_sleep"(1000)', "function pg_sleep"),
    ("select PG_SLEEP(1000)", "function pg_sleep"),
    ("select pg_sleep/**/(1000)", "function pg_sleep"),
    ("select pg_sleep_for('1000 s'::interval)", "function pg_sleep_for"),
    ("select * from pg_sleep(1000)", "function pg_sleep"),
    ("select 1 from tasks order by pg_sleep(1000)", "function pg_sleep"),
    ("select count(*) filter (where pg_sleep(1000) is null) from tasks", "function pg_sleep"),
    ("select sum(1) over (order by pg_sleep(1000)::text) from tasks", "function pg_sleep"),
    ("select 1 limit (select 1 from pg_sleep(1000))", "function pg_sleep"),
    ("values (pg_sleep(1000))", "function pg_sleep"),
    ("select * from tasks t join lateral pg_sleep(1000) on true", "function pg_sleep"),
    ("select * from rows from (pg_sleep(1000)) as q", "ROWS FROM|function pg_sleep"),
    ("select pg_read_file('/etc/passwd')", "function pg_read_file"),
    ("select pg_read_binary_file('/etc/passwd')", "function pg_read_binary_file"),
    ("select * from pg_ls_dir('/')", "function pg_ls_dir"),
    ("select pg_stat_file('/etc/passwd')", "function pg_stat_file"),
    ("select lo_import('/etc/passwd')", "function lo_import"),
    ("select lo_export(1, '/tmp/x')", "function lo_export"),
    ("select dblink('host=x', 'select 1')", "function dblink"),
    ("select * from dblink('host=x', 'select 1') as t(a int)", "dblink|cannot be read"),
    ("select set_config('statement_timeout', '0', false)", "function set_config"),
    (
        "select set_config('role', 'none', true), query_to_xml('select * from dataflows.tokens', true, true, '')",
        "set_config",
    ),
    ("select current_setting('data_directory')", "function current_setting"),
    ("select pg_terminate_backend(pid) from pg_stat_activity", "function pg_terminate_backend|pg_stat_activity"),
    ("select pg_terminate_backend(1)", "function pg_terminate_backend"),
    ("select pg_cancel_backend(1)", "function pg_cancel_backend"),
    ("select pg_reload_conf()", "function pg_reload_conf"),
    ("select pg_advisory_lock(1)", "function pg_advisory_lock"),
    ("select pg_notify('a', 'b')", "function pg_notify"),
    ("select nextval('public.seq')", "function nextval"),
    ("select setval('public.seq', 100)", "function setval"),
    ("select public.count_up()", "with a schema before it"),
    ("select count_up()", "function count_up"),
    ("select query_to_xml('select * from dataflows.tokens', true, true, '')", "function query_to_xml"),
    ("select table_to_xml('dataflows.tokens', true, true, '')", "function table_to_xml"),
    ("select database_to_xml(true, true, '')", "function database_to_xml"),
    ("select * from xmltable('/a' passing '<a/>' columns x text)", "function xmltable|XMLTABLE|cannot be read"),
    ("select xmlparse(content '<a/>')", "function xmlparse|cannot be read|a lambda"),
    ("select txid_current()", "function txid_current"),
    ("select pg_export_snapshot()", "function pg_export_snapshot"),
    ("select pg_get_viewdef('warehouse.open_hours')", "function pg_get_viewdef"),
    ("select has_table_privilege('dataflows.tokens', 'select')", "function has_table_privilege"),
    ("select version()", "function version"),
    ("select inet_server_addr()", "function inet_server_addr"),
    ("select if(true, 1, 2)", "function if|cannot be read|If"),
    ("select format('%1000000000s', 'x')", "function format"),
    # a column that is none is a call: g.f is f(g)
    ("select g.pg_sleep from generate_series(1000, 1000) g", "no column pg_sleep"),
    ("select g.pg_read_file from unnest(array['/etc/passwd']) g", "no column pg_read_file"),
    ("select g.pg_sleep, 1 as pg_sleep from generate_series(1000, 1000) g", "no column pg_sleep"),
    ("select unnest.pg_read_file from unnest(array['/etc/passwd'])", "no column pg_read_file"),
    ("select g.current_setting from string_to_table('data_directory', ',') as g(a)", "no column current_setting"),
    ("select g.pg_sleep from tasks t cross join lateral generate_series(9, 9) g", "no column pg_sleep"),
    ("select g.pg_sleep from tasks t, lateral unnest(array[9]) g", "no column pg_sleep"),
    ("select g.pg_sleep from tasks t, unnest(array[9]) with ordinality g", "no column pg_sleep"),
    (
        "select (select d.x from (select 1 as pg_sleep) g, (select g.pg_sleep as x) d) from generate_series(9, 9) g",
        "no column pg_sleep",
    ),
    (
        "select pg_read_file.pg_read_file from jsonb_array_elements_text('[\"/etc/passwd\"]') as pg_read_file",
        "no column pg_read_file",
    ),
    ("select t.pg_sleep from tasks t", "no column pg_sleep"),
    ("select (t).pg_sleep from tasks t", "the name"),
    ("select (t.id).pg_sleep from tasks t", "the name"),
    # names
    ("select * from dataflows.connections", "not among those that may be read"),
    ("select * from dataflows.tokens", "not among those that may be read"),
    ('select * from "dataflows"."tokens"', "not among those that may be read"),
    ("select * from dataflows . tokens", "not among those that may be read"),
    ("select secret from tasks, dataflows.tokens", "not among those that may be read"),
    ("select (select secret from dataflows.tokens) from tasks", "not among those that may be read"),
    ("select 1 from tasks where exists (select 1 from dataflows.tokens)", "not among those that may be read"),
    ("with tokens as (select 1) select * from tokens, dataflows.tokens", "not among those that may be read"),
    ("with tokens as (select * from dataflows.tokens) select * from tokens", "not among those that may be read"),
    ("select * from warehouse_past.tasks", "no table or view warehouse_past.tasks"),
    ("select * from pg_authid", "of PostgreSQL itself"),
    ("select * from pg_catalog.pg_authid", "of PostgreSQL itself"),
    ("select * from pg_shadow", "of PostgreSQL itself"),
    ("select * from pg_stat_activity", "of PostgreSQL itself"),
    ("select * from information_schema.tables", "of PostgreSQL itself"),
    ("select * from (with pg_authid as (select 1) select 1) a, pg_authid", "of PostgreSQL itself"),
    ("with a as (select * from pg_authid), pg_authid as (select 1) select * from a", "of PostgreSQL itself"),
    ("with pg_authid as (select * from pg_authid) select * from pg_authid", "of PostgreSQL itself"),
    ("select * from otherdb.warehouse.tasks", "of a database by name"),
    ("select 'pg_authid'::regclass", "regclass"),
    ("select 'dataflows.tokens'::regclass::oid", "regclass|type oid"),
    ("select 'x'::public.thing", "type|schema"),
    ("select cast('x' as xml)", "type xml"),
    ("select tableoid from tasks", "no column tableoid"),
    ("select ctid, xmin from tasks", "no column ctid"),
    ("select t.tableoid from tasks t", "no column tableoid"),
    ("select current_user", "CURRENT_USER"),
    ("select session_user", "SESSION_USER"),
    ("select user", "no column user"),
    ("select current_schema, current_catalog", "CURRENT_SCHEMA|CURRENT_CATALOG"),
    # spellings
    ('select * from U&"d\\0061taflows".tokens', "Unicode escapes"),
    ("select U&'\\0041'", "Unicode escapes"),
    ("select 1 as U&\"x\" uescape '!'", "Unicode escapes"),
    ("select B'01'", "literal"),
    ("select 1_000", "the number"),
    ("select 0x1F", "the number"),
    ("select 1abc", "the number"),
    ("select $1", "parameter"),
    ("select :x", "Parameters are not bound"),
    ("select * from tasks where id = %s", "a parameter"),
    ("select 1 \0; delete from tasks", "NUL"),
    ("select '\ud800'", "surrogate"),
    ("select id\u00a0", "the word"),
    ('select * from ""', "nothing in it"),
    (f"select 1 as {'x' * 64}", "more than 63 bytes"),
    ("select 1 operator(pg_catalog.+) 1", r"OPERATOR\(…\)"),
    ("select 1 @#@ 1", "operator '@#@'"),
    ("select @ -5", "operator '@'"),
    ("select 'a' 'b'", "two texts side by side"),
    ("select data->>'n'::int from tasks", "cast the key"),
    ("select variadic array[1]", "VARIADIC"),
    ("select * from only tasks", "ONLY"),
    ("select * from tasks tablesample system (100)", "TABLESAMPLE"),
    ('select name collate "evil" from tasks', "collation 'evil'"),
    ("select lag(id) ignore nulls over (order by id) from tasks", "IGNORE NULLS"),
    ("select * from tasks pivot (sum(hours) for status in ('open'))", "PIVOT|cannot be read"),
    # locks
    ("select * from tasks for update", "FOR UPDATE"),
    ("select * from tasks for share", "FOR UPDATE or FOR SHARE"),
    ("select * from tasks for no key update skip locked", "FOR UPDATE|cannot be read"),
    ("select * from (select * from tasks for update) q", "FOR UPDATE"),
    # size
    ("select * from generate_series(1, 1000000000)", "1,000,000,000 rows"),
    ("select * from generate_series(1, (select max(id) from tasks))", "constants"),
    ("select * from generate_series(0, 1, 0.0000001)", "rows"),
    ("select * from generate_series(1, 2, 0)", "its step is nothing"),
    ("select generate_series(date '0001-01-01', date '9999-01-01', interval '1 second')", "rows"),
    ("select generate_series(now(), now() + interval '1000 years', '1 minute')", "rows|constants|no date"),
    ("select generate_series(date_trunc('millennium', now()), now(), '1 hour')", "is no constant here"),
    ("select generate_series(date_trunc('year', now()), now(), '1 minute')", "rows"),
    ("select generate_series(1, 1e99999999)", "rows|too many"),
    ("select generate_series(1, 2, 1e-99999999)", "rows|too many"),
    ("select repeat('x', 1000000000)", "great length"),
    ("select repeat('x', 1000 * 1000000)", "unknown or great length"),
    ("select repeat(repeat('x', 1000), 1000)", "made longer itself"),
    ("select lpad('x', 1000000000)", "great length"),
    ("select rpad('x', id::int) from tasks", "unknown"),
    ("with recursive r as (select 1 as n union all select n + 1 from r) select * from r", "WITH RECURSIVE"),
    ("select " + "(" * 500 + "1" + ")" * 500, "nested more than"),
    ("select " + "case when true then " * 200 + "1" + " end" * 200, "nested more than"),
    ("select " + "- " * 3_000 + "1", "nested too deep|cannot be written"),
    ("select " + "not " * 3_000 + "true", "nested too deep|cannot be written"),
    ("select " + "1 + " * 3_000 + "1", "more than 4,000|nested"),
    ("select '" + "x" * 1_000_000 + "'", "1,000,009 characters"),
    ("select 1" + "0" * 200, "more than 100 digits"),
]


@pytest.mark.parametrize(("text", "said"), HOSTILE)
def test_the_check_refuses_it(ground: Ground, text: str, said: str) -> None:
    if said == "OK":
        assert ground.reader.query(text).rows[0][0].startswith("a")
        return
    with pytest.raises(QueryRefusedError, match=said) as caught:
        check_query(text, ground.relations)
    assert len(str(caught.value)) < 1_500
    assert caught.value.problem


def test_a_refusal_says_where(ground: Ground) -> None:
    with pytest.raises(QueryRefusedError) as caught:
        check_query("select id,\n  pg_sleep(1)\nfrom tasks", ground.relations)
    assert (caught.value.line, caught.value.column) == (2, 3)
    assert "Only functions that compute" in caught.value.instead


def test_refusing_is_quick(ground: Ground) -> None:
    begun = time.monotonic()
    for text, _ in HOSTILE:
        if _ != "OK":
            with pytest.raises(QueryRefusedError):
                check_query(text, ground.relations)
    assert time.monotonic() - begun < 20


# --- when the check is passed by ----------------------------------------------------------------------------


class Bypass:
    """What the reader does, without the check."""

    def __init__(self, reader: Reader) -> None:
        self._keeper = reader._keeper

    def __call__(self, text: str, seconds: float = 0.4) -> Found:
        with self._keeper.connection() as connection:
            return read_guarded(
                connection, text, seconds=seconds, rows=100, size=100_000, cell=1_000, role=self._keeper.role
            )


@pytest.fixture
def bypass(ground: Ground) -> Bypass:
    ground.reader.query("select 1")
    assert ground.reader.guard == LOGIN
    return Bypass(ground.reader)


@pytest.fixture
def unharmed(ground: Ground) -> Iterator[None]:
    """Nothing that counts is other than before."""
    facts = (
        "select count(*), sum(hours) from warehouse.tasks",
        "select count(*) from public.hits",
        "select last_value, is_called from public.seq",
        "select count(*) from pg_class where relnamespace::regnamespace::text not like 'pg_%'",
        "select count(*) from pg_largeobject_metadata",
        (
            "select count(*) from pg_locks where locktype = 'advisory' and objid = 1 and classid = 0 "
            "and database = (select oid from pg_database where datname = current_database())"
        ),
    )
    before = [ground.run(text) for text in facts]
    mine = ground.admin.info.backend_pid
    owned = Path("/tmp/dataflows-owned")
    yield
    assert [ground.run(text) for text in facts] == before
    assert ground.admin.info.backend_pid == mine
    assert not owned.exists()


@pytest.mark.parametrize(
    "text",
    [
        "with d as (delete from warehouse.tasks returning *) select * from d",
        "with d as (insert into public.hits values (3) returning *) select * from d",
        "delete from warehouse.tasks",
        "delete from warehouse.tasks returning *",
        "select * into public.mine from warehouse.tasks",
        "copy (select 1) to program 'touch /tmp/dataflows-owned'",
        "select 1; delete from warehouse.tasks",
        "select 1; commit; delete from warehouse.tasks; select 1",
        "select 1) as q(c0); commit; delete from warehouse.tasks; --",
        "select 1) as q limit 0; commit; delete from warehouse.tasks; --",
        "commit",
        "set statement_timeout = 0",
        "explain analyze delete from warehouse.tasks",
        "do $$ begin delete from warehouse.tasks; end $$",
        "select * from warehouse.tasks for update",
        "select nextval('public.seq')",
        "select setval('public.seq', 100)",
        "select public.count_up()",
        "select count_up()",
        "select lo_import('/etc/passwd')",
        "select pg_read_file('/etc/passwd')",
        "select pg_stat_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "select * from dataflows.tokens",
        "select * from dataflows.connections",
        "select * from warehouse_past.nothing",
        "select * from pg_authid",
        "select rolpassword from pg_shadow",
        "select query_to_xml('select * from dataflows.tokens', true, true, '')",
        "select set_config('role', 'none', true), query_to_xml('select * from dataflows.tokens', true, true, '')",
        (
            "select set_config('session_authorization', 'dataflows', true), "
            "query_to_xml('select * from dataflows.tokens', true, true, '')"
        ),
        "select set_config('transaction_read_only', 'off', true), public.count_up()",
        "select g.pg_read_file from unnest(array['/etc/passwd']) g",
        (
            "select set_config('transaction_read_only', 'off', true), "
            "query_to_xml('delete from warehouse.tasks returning 1', true, true, '')"
        ),
        "select dblink('dbname=x', 'select 1')",
        "select pg_reload_conf()",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user",
    ],
)
def test_postgres_refuses_what_the_check_would_have(ground: Ground, bypass: Bypass, unharmed: None, text: str) -> None:
    with pytest.raises((RefusedError, psycopg.Error)):
        bypass(text)
    assert ground.run("select 1") == [(1,)]


@pytest.mark.parametrize(
    "text",
    [
        "select pg_sleep(1000)",
        "select * from pg_sleep(1000)",
        "select set_config('statement_timeout', '0', false), pg_sleep(0.01) from generate_series(1, 100000)",
        "with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r",
        "select count(*) from generate_series(1, 1000000000)",
        "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b",
    ],
)
def test_the_clock_ends_what_goes_on(ground: Ground, bypass: Bypass, unharmed: None, text: str) -> None:
    begun = time.monotonic()
    with pytest.raises((RefusedError, TooLongError, psycopg.Error)):
        bypass(text)
    assert time.monotonic() - begun < 6
    at_work = (
        "select count(*) from pg_stat_activity "
        "where datname = current_database() and usename like 'dataflows_ask_%' and state = 'active'"
    )
    deadline = time.monotonic() + 5
    while (left := ground.run(at_work)) != [(0,)] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == [(0,)]


@pytest.mark.parametrize(
    "text",
    [
        "select lo_from_bytea(0, 'x')",  # refused since PostgreSQL 16, undone before
        "select pg_advisory_lock(1)",
        "select set_config('statement_timeout', '0', false)",
        "select set_config('search_path', 'public', false)",
        "select pg_notify('a', 'b')",
        "select upper(1)",
    ],
)
def test_nothing_stays_in_the_session(ground: Ground, bypass: Bypass, unharmed: None, text: str) -> None:
    with contextlib.suppress(RefusedError):
        bypass(text)
    assert bypass("select current_setting('search_path')").rows == [("pg_catalog, pg_temp",)]
    assert bypass("select current_setting('statement_timeout')").rows == [("400ms",)]


def test_a_large_value_does_not_reach_us(bypass: Bypass) -> None:
    found = bypass("select repeat('x', 50000000)", seconds=5)
    assert len(found.rows[0][0]) == 1_000
    assert found.cut == ((0, 0),)


def test_the_role_sees_only_what_is_allowed(ground: Ground) -> None:
    reader = Reader(ground.database, readable(ground.database, ["projects"], hide={"projects": ["api_key"]}))
    try:
        reader.query("select * from projects")
        bypass = Bypass(reader)
        for text in (
            "select * from warehouse.tasks",
            "select api_key from warehouse.projects",
            "select * from warehouse.projects",
            "select * from warehouse.open_hours",
            "select * from warehouse_past.tasks",
        ):
            with pytest.raises(RefusedError, match="permission denied"):
                bypass(text)
        assert bypass("select id, name from warehouse.projects order by 1").rows[0] == (1, "Fence")
    finally:
        reader.revoke()


def test_nobody_can_log_in_as_the_role(ground: Ground) -> None:
    ground.reader.query("select 1")
    rows = ground.run(
        "select rolcanlogin, rolsuper, rolcreaterole, rolpassword is null from pg_authid "
        f"where rolname = '{ground.reader._keeper._name}'"
    )
    assert rows == [(False, False, False, True)]


def test_a_role_of_that_name_that_is_not_ours_is_left_alone(ground: Ground) -> None:
    relations = [Relation("tasks", {"id": "bigint"}, partial=True)]
    reader = Reader(ground.database, relations)
    with ground.database.connection() as connection:
        name = reader._keeper._called(connection)
    ground.run(f"create role {name} superuser")
    try:
        with pytest.raises(StoreError, match="was not made here"):
            reader.query("select id from tasks")
    finally:
        ground.run(f"drop role {name}")


# --- users who may do less ----------------------------------------------------------------------------------


@pytest.fixture
def as_user(ground: Ground) -> Iterator[Any]:
    """Databases as users that are made for the test."""
    from dataflows_sdk.store.addresses import url_for

    made: list[tuple[str, Database]] = []

    def user(options: str) -> Database:
        name = f"user_{len(made)}_{time.monotonic_ns()}"
        ground.run(f"create role {name} login password 'pw' {options}")
        ground.run(f"grant usage on schema warehouse, dataflows to {name}")
        ground.run(f"grant select on all tables in schema warehouse to {name} with grant option")
        ground.run(f"grant usage on schema warehouse to {name} with grant option")
        ground.run(f"grant select on dataflows.tokens to {name}")
        made.append((name, Database(url_for(ground.url, name, "pw"))))
        return made[-1][1]

    yield user
    for name, database in made:
        database.close()
        ground.run(f"drop owned by {name} cascade")
        ground.run(f"drop role {name}")


def test_a_user_who_may_make_no_roles(ground: Ground, as_user: Any) -> None:
    reader = Reader(as_user(""), [Relation("tasks", {"id": "bigint", "name": "text"})], timeout="1s")
    answer = reader.query("select count(*) from tasks")
    assert answer.rows == [[39]]
    assert answer.guard == NONE
    assert "read-only transaction" in answer.guard
    with pytest.raises(QueryRefusedError):
        reader.query("select * from dataflows.tokens")
    bypass = Bypass(reader)
    with pytest.raises(RefusedError, match="read-only"):
        bypass("select nextval('public.seq')")
    with pytest.raises((RefusedError, TooLongError)):
        bypass("select pg_sleep(1000)")
    reader.close()


def test_a_user_who_may_make_roles(ground: Ground, as_user: Any) -> None:
    reader = Reader(as_user("createrole"), [Relation("tasks", {"id": "bigint", "name": "text"})])
    try:
        answer = reader.query("select count(*) from tasks")
        assert answer.guard == LOGIN
        with pytest.raises(RefusedError, match="permission denied"):
            Bypass(reader)("select * from dataflows.tokens")
    finally:
        reader.revoke()


def test_a_server_that_lets_the_role_not_in(ground: Ground, as_user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(as_user("createrole"), [Relation("tasks", {"id": "bigint", "due": "date"})])
    try:
        # a pooler or pg_hba.conf that knows no such user: the address leads nowhere
        monkeypatch.setattr(
            "dataflows_memory.gate.role.url_for", lambda *_: "postgresql://nobody:x@127.0.0.1:1/nothing"
        )
        answer = reader.query("select count(*) from tasks")
        assert answer.rows == [[39]]
        assert answer.guard == TAKEN
        with pytest.raises(RefusedError, match="permission denied"):
            Bypass(reader)("select * from dataflows.tokens")
    finally:
        reader.revoke()


def test_nobody_answers(ground: Ground) -> None:
    from dataflows_sdk.errors import StoreUnavailableError

    reader = Reader(Database("postgresql://nobody:x@127.0.0.1:1/nothing"), ground.relations)
    with pytest.raises(StoreUnavailableError):
        reader.query("select count(*) from tasks")


def test_a_connection_that_was_cut_is_replaced(ground: Ground) -> None:
    reader = Reader(ground.database, ground.relations)
    reader.query("select 1")
    ground.run(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and usename like 'dataflows_ask_%'"
    )
    assert reader.query("select count(*) from tasks").rows == [[39]]
    reader.close()


def test_many_ask_at_once(ground: Ground) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Reader(ground.database, ground.relations) as reader, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: reader.query(f"select {at}, count(*) from tasks").rows, range(32)))
    assert answers == [[[at, 39]] for at in range(32)]


def test_a_closed_reader_says_so(ground: Ground) -> None:
    reader = Reader(ground.database, ground.relations)
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        reader.query("select 1")
    with pytest.raises(QueryError):
        check_query("drop table x", {})


def test_without_the_parser_nothing_runs(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from dataflows_sdk.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "sqlglot", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[memory\]"):
        ground.reader.query("select count(*) from tasks")
