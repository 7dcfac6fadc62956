"""A warehouse to ask questions of, and things beside it that nobody may reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from dataflows_memory.gate import Reader, Relation, readable
from dataflows_sdk.store.database import Database
from dataflows_sdk.testing.databases import TestDatabases
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.views import Views

FIRST = datetime(2026, 10, 1, 12, tzinfo=UTC)


class Ground:
    """The database, who may read it, and the clock of its warehouse."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)
        self.moment = FIRST
        self.warehouse = Warehouse(self.database, now=lambda: self.moment)
        self.admin = psycopg.connect(url, autocommit=True)
        self._fill()
        self.relations: list[Relation] = readable(self.database, history=True)
        self.reader = Reader(self.database, self.relations, timeout="20s")

    def run(self, text: str) -> list[tuple[Any, ...]]:
        cursor = self.admin.execute(text)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []

    def close(self) -> None:
        self.reader.revoke()
        self.admin.close()
        self.database.close()

    def _fill(self) -> None:
        projects = self.warehouse.table(
            "projects", {"id": int, "name": str, "budget": Decimal, "api_key": str}, key="id"
        )
        projects.upsert(
            [
                {"id": at, "name": name, "budget": budget, "api_key": f"sk-{at}"}
                for at, (name, budget) in enumerate(
                    [("Fence", Decimal("1000.50")), ("Roof", Decimal(20000)), ("Well", None)], 1
                )
            ]
        )
        tasks = self.warehouse.table(
            "tasks",
            {
                "id": int, "name": str, "status": str, "hours": float, "due": date, "made_at": datetime,
                "project_id": int, "done": bool, "data": dict,
            },
            key="id",
            references={"project_id": "projects.id"},
        )  # fmt: skip
        statuses = ("open", "done", "blocked")
        tasks.upsert(
            [
                {
                    "id": at,
                    "name": f"Task {at}" if at % 7 else f"O'Brien's \\ \"{at}\"",
                    "status": statuses[at % 3],
                    "hours": at * 0.5 if at % 5 else None,
                    "due": date(2026, 9, 1) + timedelta(days=at),
                    "made_at": FIRST - timedelta(hours=at),
                    "project_id": at % 3 + 1,
                    "done": at % 3 == 1,
                    "data": {"n": at, "a": {"b": [at, "x"]}, "tags": ["red", "blue"][: at % 3], "a.b": "dot"},
                }
                for at in range(1, 41)
            ]
        )
        self.moment = FIRST + timedelta(days=1)
        tasks.upsert([{"id": 1, "status": "late"}])
        tasks.delete(2)
        self.moment = FIRST + timedelta(days=2)
        self.warehouse.table("My Table", {"Quoted Name": str, "n": int}, key="n").upsert(
            [{"Quoted Name": 'a "b"', "n": 1}, {"Quoted Name": "c", "n": 2}]
        )
        Views(self.database).define(
            "open_hours", "select project_id, sum(hours) as hours from tasks where status = 'open' group by 1"
        )
        self.run("create table public.hits (n int)")
        for head in ("count_up() returns int", "upper(int) returns text"):
            body = "'insert into public.hits values (1); select null::" + head.rpartition(" ")[2] + "'"
            self.run(f"create function public.{head} language sql as {body}")
        self.run("create sequence public.seq")
        self.run("grant all on public.hits, public.seq to public")
        self.run("create table dataflows.tokens (secret text)")
        self.run("insert into dataflows.tokens values ('TOP-SECRET')")
        self.run("analyze")


@contextmanager
def made(databases: TestDatabases) -> Iterator[Ground]:
    url = databases.create()
    try:
        ground = Ground(url)
        try:
            yield ground
        finally:
            ground.close()
    finally:
        databases.drop(url)
