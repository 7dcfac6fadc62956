"""Views, standard views and BI roles where users find them: ``ctx.warehouse``."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DefinitionError, ViewNotFoundError, WarehouseError


def rows(ctx: Context, sql: str) -> list[Any]:
    with psycopg.connect(ctx.url) as connection:
        return sorted(connection.execute(sql).fetchall())  # type: ignore[call-overload]


def test_views_of_tables(ctx: Context) -> None:
    tasks = ctx.warehouse.table("tasks", {"task_id": str, "hours": int}, key="task_id")
    tasks.upsert_many([{"task_id": "a", "hours": 3}, {"task_id": "b", "hours": 4}])
    view = ctx.warehouse.view("hours", "select sum(hours) as hours from tasks", description="All of them")
    assert ctx.warehouse.view("hours") == view
    assert ctx.warehouse.views() == [view]
    assert rows(ctx, "select * from warehouse.hours") == [(7,)]
    with pytest.raises(ViewNotFoundError, match="there are: hours"):
        ctx.warehouse.view("other")
    with pytest.raises(DefinitionError, match="options go with a text"):
        ctx.warehouse.view("hours", materialized=True)
    with pytest.raises(DefinitionError, match="would stand before the table 'tasks'"):
        ctx.warehouse.view("tasks", "select 1 as n")
    view.drop()
    assert [each.sql is None for each in ctx.warehouse.view_versions("hours")] == [False, True]
    assert ctx.warehouse.restore_view("hours", 1).version == 3


def test_tables_change_under_views(ctx: Context) -> None:
    tasks = ctx.warehouse.table("tasks", {"task_id": str, "hours": int}, key="task_id")
    tasks.upsert(task_id="a", hours=3)
    hours = ctx.warehouse.view("hours", "select sum(hours) as hours from tasks", materialized=True, key="hours")
    ctx.warehouse.view("past", "select task_id, hours, operation from tasks_history")
    ctx.warehouse.view("above", "select hours + 1 as more from hours")
    ctx.warehouse.table("tasks", {"task_id": str, "hours": int, "status": str})  # another column
    assert hours.staleness().fresh
    ctx.warehouse.table("tasks", {"task_id": str, "hours": "decimal", "status": str})  # a wider one
    ctx.warehouse.table("tasks").upsert(task_id="a", hours=2.5)
    assert (hours.staleness().writes, hours.staleness().counted) == (1, True)
    hours.refresh()
    assert [float(more) for (more,) in rows(ctx, "select * from warehouse.above")] == [3.5]
    assert [(task, float(value), how) for task, value, how in rows(ctx, "select * from warehouse.past")] == [
        ("a", 2.5, "update"),
        ("a", 3.0, "insert"),
    ]
    ctx.warehouse.table("tasks", rename={"hours": "spent"})
    assert [float(value) for (value,) in rows(ctx, "select * from warehouse.hours")] == [2.5]
    assert ctx.warehouse.view("past").columns[1].name == "hours"


def test_a_table_that_was_changed_by_hand_under_a_view_of_its_past(ctx: Context) -> None:
    ctx.warehouse.table("tasks", {"task_id": str, "hours": int}, key="task_id").upsert(task_id="a", hours=3)
    ctx.warehouse.view("past", "select task_id from tasks_history")
    with psycopg.connect(ctx.url) as connection:
        connection.execute("alter table warehouse.tasks add column note text")
    ctx.warehouse._catalogue.forget("tasks")
    assert "note" in [column.name for column in ctx.warehouse.table("tasks").columns]
    assert rows(ctx, "select * from warehouse.past") == [("a",)]


def test_a_view_of_a_table_that_is_to_go(ctx: Context) -> None:
    ctx.warehouse.table("tasks", {"task_id": str}, key="task_id")
    ctx.warehouse.view("all_tasks", "select * from tasks")
    with pytest.raises(WarehouseError, match="all_tasks"):
        ctx.warehouse._catalogue.drop("tasks")


def test_a_table_cannot_take_the_name_of_a_view(ctx: Context) -> None:
    ctx.warehouse.view("one", "select 1 as n")
    with pytest.raises(DefinitionError, match="one"):
        ctx.warehouse.table("one", {"n": int}, key="n")
    assert rows(ctx, "select * from warehouse.one") == [(1,)]


def test_views_on_a_loop(ctx: Context) -> None:
    async def main() -> datetime | None:
        view = await ctx.warehouse.aview("one", "select 1 as n", materialized=True)
        return (await view.arefresh()).refreshed_at

    assert asyncio.run(main()) is not None


def test_a_workflow_refreshes_what_is_due(ctx: Context) -> None:
    tasks = ctx.warehouse.table("tasks", {"task_id": str}, key="task_id")
    view = ctx.warehouse.view("n", "select count(*) as n from tasks", materialized=True, refresh="1s")
    tasks.upsert(task_id="a")

    @df.workflow("refresh-views", trigger=df.on_schedule(every="1s"))
    async def refresh_views(event: Any, step: Any) -> Any:
        return await step.run("refresh", ctx.warehouse.refresh_due, retry=df.Retry(3))

    ctx.register(refresh_views)
    assert view.due_at is not None
    run = ctx.start(refresh_views)
    run.result(timeout=20)
    deadline = datetime.now(view.due_at.tzinfo) + timedelta(seconds=30)
    while rows(ctx, "select * from warehouse.n") != [(1,)]:
        assert datetime.now(view.due_at.tzinfo) < deadline
    assert view.staleness().fresh


def test_bi_access_to_the_embedded_database(tmp_path: Path) -> None:
    with df.connect(directory=tmp_path / "data", work=False) as ctx:
        ctx.warehouse.table("tasks", {"task_id": str}, key="task_id").upsert(task_id="a")
        access = ctx.warehouse.bi_access("metabase")
        assert "@127.0.0.1:" in access.dsn.reveal()
        ctx.warehouse.view("all_tasks", "select task_id from tasks")
        with psycopg.connect(access.dsn, autocommit=True) as connection:
            assert connection.execute("select * from all_tasks").fetchall() == [("a",)]
            assert connection.execute("select operation from tasks_history").fetchall() == [("insert",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from dataflows.kv")
        access.revoke()


def test_bi_access_to_a_server(ctx: Context) -> None:
    access = ctx.warehouse.bi_access(f"metabase_{secrets.token_hex(4)}")
    ctx.warehouse.table("tasks", {"task_id": str}, key="task_id").upsert(task_id="a")
    with psycopg.connect(access.dsn) as connection:
        assert connection.execute("select task_id from tasks").fetchall() == [("a",)]
    access.revoke()
