"""Views of the warehouse: what can be one, what stands on what, versions, and rows that are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from dataflows_sdk.errors import DefinitionError, InvalidScheduleError, ViewNotFoundError, WarehouseError
from dataflows_sdk.store.database import Database
from dataflows_sdk.triggers.schedule import Schedule
from dataflows_sdk.warehouse.views import Views

from ..conftest import MakeContext
from .ground import Ground


@pytest.fixture
def ground(database_url: str) -> Iterator[Ground]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        ground = Ground(connection)
        ground.table("projects", "name text, budget int")
        ground.table("tasks", "title text, hours int, project_id bigint")
        ground.insert("projects", {"name": "alpha", "budget": 100}, {"name": "beta", "budget": 10})
        ground.insert("tasks", {"title": "a", "hours": 3, "project_id": 1}, {"title": "b", "hours": 4, "project_id": 1})
        yield ground


@pytest.fixture
def views(database: Database, ground: Ground) -> Views:
    return Views(database)


HOURS = "select project_id, sum(hours) as hours from tasks group by project_id"


def rows(ground: Ground, view: str) -> list[Any]:
    return sorted(ground.run(f'select * from warehouse."{view}"'))


# --- what a view is ---------------------------------------------------------------------------------------


def test_a_view_reads_the_warehouse_by_bare_names(views: Views, ground: Ground) -> None:
    view = views.define("hours", HOURS, description="Hours of projects; per project")
    assert rows(ground, "hours") == [(1, 7)]
    assert repr(view) == "<view 'hours', version 1: project_id, hours; reads tasks>"
    assert (view.version, view.sql, view.materialized, view.refreshed_at) == (1, HOURS, False, None)
    assert [tuple(column) for column in view.columns] == [("project_id", "bigint"), ("hours", "bigint")]
    assert view.depends == ("tasks",)
    assert ground.run("select obj_description('warehouse.hours'::regclass)") == [("Hours of projects; per project",)]
    assert [each.name for each in views.everything()] == ["hours"]
    assert views.readable() == {"hours": view.columns}  # the histories of tables are not among them


def test_the_same_text_again_is_no_new_version(views: Views) -> None:
    first = views.define("hours", HOURS)
    again = views.define("hours", f"\n  {HOURS} ;\n")
    assert (again.version, again.changed_at) == (1, first.changed_at)
    told = views.define("hours", HOURS, description="hours")
    assert (told.version, told.description) == (1, "hours")
    assert len(views.versions("hours")) == 1


def test_it_knows_what_it_reads_and_who_reads_it(views: Views) -> None:
    views.define("hours", HOURS)
    views.define("named", "select p.name, h.hours from projects p left join hours h on h.project_id = p.id")
    views.define("long", "select * from named where hours > 5")
    views.define("begun", "select workflow, count(*) from dataflows.runs group by 1")
    views.define("past", "select title, valid_from from tasks_history")
    assert views.get("hours").dependants == ("named", "long")
    assert views.get("named").depends == ("hours", "projects")
    assert views.get("begun").depends == ("dataflows.runs",)
    assert views.get("past").depends == ("tasks_history",)


NO_SELECTS: list[tuple[Any, str]] = [
    ("drop table warehouse.tasks", "one SELECT"),
    ("delete from tasks", "one SELECT"),
    ("insert into tasks (title) values ('x') returning id", "one SELECT"),
    ("with gone as (delete from tasks returning *) select * from gone", "data-modifying"),
    ("select 1 as n; drop table warehouse.tasks", "several statements"),
    ("select 1 as n; select 2 as n", "several statements"),
    ("select * into other from tasks", "PostgreSQL"),
    ("select 1 as n with check option", "one SELECT"),
    ("select 1 as n with no data", "one SELECT"),
    ("select * from tasks where id = $1", "no parameter"),
    ("", "one SELECT"),
    (" ; ", "one SELECT"),
    (None, "one SELECT"),
    ("select 'a\0b'", "NUL"),
    ("select '\ud800'", "surrogate"),
    ("-- nothing", "one SELECT"),
    ("select *, id from tasks", "more than once"),
    ("select 1 as n\nfrom tasks\nwhere houts > 1", "line 3: 'where houts > 1'"),
    ("select * from dataflows.kv", "may hold secrets"),
    ("select * from dataflows.run", "may hold secrets"),
    ("select rolpassword from pg_authid", "may hold secrets"),
    ("select passwd from pg_shadow", "may hold secrets"),
    ("select * from warehouse.same", "no view|does not exist"),
]


def test_what_is_no_select_is_refused_and_nothing_is_left(views: Views, ground: Ground) -> None:
    for text, told in NO_SELECTS:
        with pytest.raises(DefinitionError, match=told):
            views.define("same", text)
        assert views.everything() == []
        assert views.versions("same") == []
        assert rows(ground, "tasks") != []


def test_an_unknown_table_is_answered_with_those_that_exist(views: Views) -> None:
    views.define("hours", HOURS)
    with pytest.raises(DefinitionError, match=r"(?s)\"task\" does not exist.*hours, projects, .*tasks.*dataflows.runs"):
        views.define("other", "select * from task")


def test_names_that_cannot_be(views: Views) -> None:
    names: list[Any] = [
        "tasks",
        "TASKS",
        "runs",
        "Service_Clients",
        "my_history",
        "",
        "a\0b",
        7,
        None,
        "x" * 64,
        "é" * 32,
    ]
    for name in [*names, "\ud800"]:
        with pytest.raises(DefinitionError):
            views.define(name, "select 1 as n")
        assert views.everything() == []


@pytest.mark.parametrize("name", ["select", '"; drop table warehouse.tasks; --', "Umsätze 🚀", "é" * 31])
def test_names_that_only_look_strange(views: Views, ground: Ground, name: str) -> None:
    views.define(name, "select 1 as n")
    views.define(name, "select 2 as m", materialized=True, key="m")
    assert ground.run("select m from warehouse." + '"' + name.replace('"', '""') + '"') == [(2,)]
    views.refresh(name)
    assert [each.name for each in views.everything()] == [name]
    assert views.drop(name) == [name]
    assert rows(ground, "tasks") != []


def test_names_that_differ_only_in_case_or_are_somebody_elses(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    with pytest.raises(DefinitionError, match="only in case"):
        views.define("Hours", HOURS)
    ground.run("create view warehouse.mine as select 1 as n")
    with pytest.raises(DefinitionError, match="made by hand"):
        views.define("mine", "select 2 as n")
    assert rows(ground, "mine") == [(1,)]
    assert set(views.readable()) == {"hours", "mine"}


# --- changes ----------------------------------------------------------------------------------------------


def test_a_change_takes_along_what_stands_on_it(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("named", "select p.name, h.hours from projects p join hours h on h.project_id = p.id")
    views.define("kept", "select name, hours from named", materialized=True, key="name", description="kept ones")
    ground.run("create schema reports")
    ground.run("create view reports.by_hand as select upper(name) as name from warehouse.kept")
    changed = "select sum(hours)::numeric / 2 as hours, project_id from tasks group by project_id"
    view = views.define("hours", changed)
    assert (view.version, view.dependants) == (2, ("named", "kept", "reports.by_hand"))
    assert [float(hours) for _, hours in rows(ground, "kept")] == [3.5]
    assert ground.run("select * from reports.by_hand") == [("ALPHA",)]
    assert views.get("kept").description == "kept ones"
    views.refresh("kept")  # by its key
    assert [len(views.versions(each)) for each in ("hours", "named", "kept")] == [2, 1, 1]


def test_a_change_that_others_do_not_fit_changes_nothing(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("named", "select p.name, h.hours from projects p join hours h on h.project_id = p.id")
    with pytest.raises(
        WarehouseError, match=r"(?s)'named' stands on view 'hours' and does not fit.*Change or drop 'named'"
    ):
        views.define("hours", "select project_id from tasks")
    assert rows(ground, "named") == [("alpha", 7)]
    assert views.get("hours").version == 1


def test_columns_that_come_last_leave_others_in_place(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("named", "select * from hours")
    before = ground.run("select 'warehouse.named'::regclass::oid")
    views.define("hours", HOURS.replace("from", ", count(*) as n from"))
    assert ground.run("select 'warehouse.named'::regclass::oid") == before
    assert rows(ground, "hours") == [(1, 7, 2)]


def test_a_view_cannot_stand_on_itself(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("named", "select * from hours")
    for text in ("select * from hours", "select * from named", "select 1 as n from named"):
        with pytest.raises(DefinitionError, match="stand on itself"):
            views.define("hours", text)
    assert rows(ground, "named") == [(1, 7)]


def test_rights_and_owners_outlive_a_change(views: Views, ground: Ground) -> None:
    reader = f"reader_{ground.run('select pg_backend_pid()')[0][0]}"
    ground.run(f"create role {reader}")
    try:
        views.define("hours", HOURS)
        views.define("named", "select * from hours")
        ground.run(f"grant select on warehouse.hours to {reader}")
        ground.run(f"grant select (hours) on warehouse.named to {reader}")
        views.define("hours", "select sum(hours) as hours, project_id, 1 as one from tasks group by project_id")
        asked = ground.run(
            f"select has_table_privilege('{reader}', 'warehouse.hours', 'select'), "
            f"has_column_privilege('{reader}', 'warehouse.named', 'hours', 'select'), "
            f"has_column_privilege('{reader}', 'warehouse.named', 'project_id', 'select')"
        )
        assert asked == [(True, True, False)]
    finally:
        ground.run(f"drop owned by {reader}")
        ground.run(f"drop role {reader}")


def test_versions_and_the_way_back(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    second = views.define("hours", "select title from tasks", materialized=True, key="title")
    assert rows(ground, "hours") == [("a",), ("b",)]
    third = second.rollback(1)
    assert rows(ground, "hours") == [(1, 7)]
    assert (third.version, third.sql, third.materialized) == (3, HOURS, False)
    found = third.versions()
    assert [(each.version, each.materialized, each.restored_from) for each in found] == [
        (1, False, None), (2, True, None), (3, False, 1),
    ]  # fmt: skip
    assert [each.depends for each in found] == [("tasks",)] * 3
    assert found[0].role
    assert found[0].run is None
    for number in (0, 4, -1):
        with pytest.raises(ViewNotFoundError, match="it has 1, 2, 3"):
            third.rollback(number)
    assert third.rollback(3).version == 3  # it is what it is


def test_a_version_that_no_longer_fits_is_refused(views: Views, ground: Ground) -> None:
    views.define("hours", "select title, hours from tasks")
    views.define("hours", "select title from tasks")
    ground.run("drop view warehouse.tasks_history")
    ground.run("alter table warehouse.tasks drop column hours")
    with pytest.raises(DefinitionError, match='"hours" does not exist'):
        views.rollback("hours", 1)
    assert rows(ground, "hours") == [("a",), ("b",)]


def test_drop(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("named", "select * from hours")
    views.define("long", "select * from named", materialized=True)
    with pytest.raises(WarehouseError, match=r"'named', 'long' stand on it.*cascade=True"):
        views.drop("hours")
    assert views.get("hours").drop(cascade=True) == ["long", "named", "hours"]
    assert views.everything() == []
    assert [(each.version, each.sql) for each in views.versions("named")] == [(1, "select * from hours"), (2, None)]
    with pytest.raises(ViewNotFoundError, match="there is no view 'hours'"):
        views.drop("hours")
    assert views.define("hours", HOURS).version == 3
    assert views.rollback("named", 1).version == 3  # also of one that is gone
    with pytest.raises(ViewNotFoundError, match="was dropped with version 2; it has 1, 3"):
        views.rollback("named", 2)


def test_a_view_that_was_dropped_by_hand(views: Views, ground: Ground) -> None:
    views.define("hours", HOURS)
    ground.run("drop view warehouse.hours")
    assert views.everything() == []
    for ask in (views.get, views.refresh, views.staleness):
        with pytest.raises(ViewNotFoundError, match="dropped by hand"):
            ask("hours")
    assert views.define("hours", HOURS).version == 2
    ground.run("drop view warehouse.hours")
    assert views.drop("hours") == []


def test_processes_that_define_at_once(views: Views, database_url: str, ground: Ground) -> None:
    views.define("base", "select id, title from tasks")
    failed: list[Exception] = []

    def work(number: int) -> None:
        database = Database(database_url)
        try:
            mine = Views(database)
            for turn in range(5):
                mine.define("base", f"select {turn} as t{turn}_{number}, id, title from tasks")
                mine.define(f"v{number}", f"select id, title, {turn} as n from base")
        except Exception as error:
            failed.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(views.get("base").dependants) == ["v0", "v1", "v2", "v3"]
    assert [len(views.versions(f"v{number}")) for number in range(4)] == [5, 5, 5, 5]
    assert [each.version for each in views.versions("base")] == list(range(1, 22))


# --- kept rows --------------------------------------------------------------------------------------------


def test_kept_rows_and_how_stale_they_are(views: Views, ground: Ground) -> None:
    view = views.define("kept", HOURS, materialized=True, key="project_id")
    views.define("above", "select hours from kept")
    assert view.refreshed_at is not None
    assert view.staleness().fresh
    assert view.staleness().counted
    ground.insert("tasks", {"title": "c", "hours": 5, "project_id": 2}, {"title": "d", "hours": 1, "project_id": 2})
    ground.insert("projects", {"name": "gamma"})  # is not read
    assert rows(ground, "kept") == [(1, 7)]
    for name in ("kept", "above"):
        stale = views.staleness(name)
        assert (stale.fresh, stale.writes, stale.rows) == (False, 1, 2)
        assert stale.refreshed_at == view.refreshed_at
        assert stale.age > timedelta(0)
        assert stale.since is not None
    again = view.refresh()
    assert rows(ground, "kept") == [(1, 7), (2, 6)]
    assert again.refreshed_at is not None
    assert again.refreshed_at > view.refreshed_at
    assert again.staleness().fresh
    assert again.version == 1


def test_a_write_that_was_open_during_the_refresh_is_not_taken_for_seen(
    views: Views, ground: Ground, database_url: str
) -> None:
    view = views.define("kept", HOURS, materialized=True, key="project_id")
    with psycopg.connect(database_url) as slow:
        slow.execute("select 1")  # begins the transaction
        Ground(slow).insert("tasks", {"title": "late", "hours": 5, "project_id": 2})
        ground.insert("tasks", {"title": "c", "hours": 5, "project_id": 2})
        view.refresh()
        assert view.staleness().writes == 0
    assert view.staleness().writes == 1
    assert rows(ground, "kept") == [(1, 7), (2, 5)]


def test_kept_rows_of_kept_rows(views: Views, ground: Ground) -> None:
    views.define("inner", HOURS, materialized=True)
    ground.insert("tasks", {"title": "c", "hours": 5, "project_id": 2})
    outer = views.define("outer_view", 'select * from "inner"', materialized=True)
    assert outer.staleness().writes == 1  # of what it reads
    views.refresh("inner")
    views.refresh("outer_view")
    assert outer.staleness().writes == 0


def test_what_nobody_counts_is_said(views: Views, ground: Ground) -> None:
    assert not views.define("begun", "select workflow from dataflows.runs", materialized=True).staleness().counted
    assert views.define("past", "select title from tasks_history", materialized=True).staleness().counted
    plain = views.define("plain", HOURS).staleness()
    assert (plain.fresh, plain.counted, plain.refreshed_at) == (True, True, None)


def test_a_refresh_that_fails_leaves_the_old_rows(views: Views, ground: Ground) -> None:
    views.define("kept", "select title, 12 / hours as share from tasks", materialized=True, key="title")
    ground.insert("tasks", {"title": "a", "hours": 1, "project_id": 1})
    with pytest.raises(WarehouseError, match=r"has its old rows.*duplicate"):
        views.refresh("kept")
    ground.run("update warehouse.tasks set hours = 0")
    with pytest.raises(WarehouseError, match="division by zero"):
        views.refresh("kept")
    assert rows(ground, "kept") == [("a", 4), ("b", 3)]


def test_a_refresh_with_a_key_lets_others_read(views: Views, ground: Ground, database_url: str) -> None:
    views.define("kept", HOURS, materialized=True, key="project_id")
    ground.insert("tasks", {"title": "c", "hours": 5, "project_id": 2})
    with psycopg.connect(database_url) as reader:
        assert reader.execute("select count(*) from warehouse.kept").fetchone() == (1,)
        views.refresh("kept")  # the reader holds its lock until its transaction ends
        assert reader.execute("select count(*) from warehouse.kept").fetchone() == (2,)


def test_keys_that_are_none(views: Views) -> None:
    with pytest.raises(DefinitionError, match="keep their rows"):
        views.define("kept", HOURS, key="project_id")
    with pytest.raises(DefinitionError, match=r'no column of it.*"nothing"'):
        views.define("kept", HOURS, materialized=True, key="nothing")
    with pytest.raises(DefinitionError, match="key= is not unique"):
        views.define("kept", "select 1 as n from tasks", materialized=True, key="n")
    for key in ([], [7], "", 7):
        with pytest.raises(DefinitionError, match="unique together"):
            views.define("kept", HOURS, materialized=True, key=key)  # type: ignore[arg-type]
    assert views.everything() == []
    with pytest.raises(DefinitionError, match="keeps no rows"):
        views.define("plain", HOURS).refresh()


def test_refresh_when_it_is_due(views: Views, ground: Ground) -> None:
    view = views.define("kept", HOURS, materialized=True, refresh="5m")
    views.define("daily", HOURS, materialized=True, refresh="0 6 * * *")
    assert view.refresh_every == str(Schedule.every("5m"))
    assert view.due_at is not None
    ground.insert("tasks", {"title": "c", "hours": 5, "project_id": 2})
    assert views.refresh_due() == []
    assert views.refresh_due(view.due_at) == ["kept"]
    assert rows(ground, "kept") == [(1, 7), (2, 5)]
    assert views.get("kept").due_at == view.due_at + timedelta(minutes=5)
    assert views.refresh_due(view.due_at) == []
    assert views.define("kept", HOURS, materialized=True).due_at is None
    for refresh in ("5 parsecs", "61 * * * *", "1ms", -3):
        with pytest.raises((DefinitionError, InvalidScheduleError)):
            views.define("kept", HOURS, materialized=True, refresh=refresh)
    with pytest.raises(DefinitionError, match="always fresh"):
        views.define("plain", HOURS, refresh="5m")


def test_processes_that_refresh_what_is_due_share_it(views: Views, database_url: str, ground: Ground) -> None:
    view = views.define("kept", HOURS, materialized=True, refresh="5m")
    done: list[str] = []

    def work() -> None:
        database = Database(database_url)
        done.extend(Views(database).refresh_due(view.due_at))
        database.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["kept"]


# --- tables that change -----------------------------------------------------------------------------------


def test_a_column_that_comes_needs_no_rebuilding(views: Views, ground: Ground) -> None:
    views.define("all_tasks", "select * from tasks")
    ground.run("alter table warehouse.tasks add column status text")
    assert "status" not in [column.name for column in views.get("all_tasks").columns]
    views.define("all_tasks", "select * from tasks where true")
    assert "status" in [column.name for column in views.get("all_tasks").columns]


def test_a_column_is_widened_under_its_views(views: Views, database: Database, ground: Ground) -> None:
    views.define("hours", HOURS)
    views.define("kept", "select * from hours", materialized=True, key="project_id")
    views.define("past", "select title, hours, valid_to from tasks_history")
    with database.connection() as connection, connection.transaction():
        with pytest.raises(psycopg.errors.FeatureNotSupported), connection.transaction():
            connection.execute("alter table warehouse.tasks alter column hours type numeric")
        with views.rebuilding(connection, "tasks") as away:
            assert away == ["hours", "kept", "past"]
            mine = Ground(connection)
            mine.run("drop view warehouse.tasks_history")
            mine.run("alter table warehouse.tasks alter column hours type numeric")
            mine.run("alter table warehouse_past.tasks alter column hours type numeric")
            mine.history("tasks")
            mine.run("update warehouse.tasks set hours = 2.5 where title = 'a'")
    assert [tuple(column) for column in views.get("hours").columns] == [("project_id", "bigint"), ("hours", "numeric")]
    assert [float(hours) for _, hours in rows(ground, "kept")] == [6.5]
    assert len(rows(ground, "past")) == 2
    assert views.get("kept").refresh().version == 1


def test_a_column_is_added_and_only_what_reads_the_past_is_made_anew(
    views: Views, database: Database, ground: Ground
) -> None:
    views.define("hours", HOURS)
    views.define("past", "select title, valid_to from tasks_history")
    before = ground.run("select 'warehouse.hours'::regclass::oid")
    with database.connection() as connection, connection.transaction():
        with views.rebuilding(connection, "tasks", whole=False) as away:
            assert away == ["past"]
            mine = Ground(connection)
            mine.run("drop view warehouse.tasks_history")
            for schema in ("warehouse", "warehouse_past"):
                mine.run(f"alter table {schema}.tasks add column status text")
            mine.run("create view warehouse.tasks_history as select *, now() as valid_to from warehouse.tasks")
    assert ground.run("select 'warehouse.hours'::regclass::oid") == before
    assert len(rows(ground, "past")) == 2


def test_a_column_that_a_view_needs_does_not_go(views: Views, database: Database, ground: Ground) -> None:
    views.define("hours", HOURS)
    with pytest.raises(WarehouseError, match="'hours' stands on 'tasks'"):
        with database.connection() as connection, connection.transaction():
            with views.rebuilding(connection, "tasks", "nothing"):
                connection.execute("drop view warehouse.tasks_history")
                connection.execute("alter table warehouse.tasks drop column hours")
    assert rows(ground, "hours") == [(1, 7)]


# --- in a run ---------------------------------------------------------------------------------------------


def test_a_version_says_which_run_made_it(make_ctx: MakeContext, ground: Ground) -> None:
    ctx = make_ctx()
    views = Views(ctx._database)

    from dataflows_sdk.engine.definitions import Workflow

    async def code(event: Any, step: Any) -> int:
        view = await step.run("define", lambda: views.define("hours", HOURS).version)
        return int(view)

    ctx.register(Workflow("defines", code))
    run = ctx.start("defines")
    assert run.result(timeout=20) == 1
    version = views.versions("hours")[0]
    assert (str(version.run), version.step) == (run.id, "define")
