"""A lens on a database of the test's own, and a hand that writes the journal as engines do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.lens import Lens, caller_frames
from dataflows_sdk.warehouse.mirror import TABLES

from ..conftest import wait_until
from .tables import Hand


class Journal:
    """Writes by the engine's rules: a run's head is written with its events, or the run is running.

    Args:
        connection: in autocommit mode; `together` makes one transaction of several writes.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.together = connection.transaction

    def run(self, *arguments: Any, sql: str) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql, arguments)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []

    def create(self, run: UUID | None = None, workflow: str = "w", status: str = "running", data: str = "{}") -> UUID:
        run = run or uuid4()
        with self.together():
            self.run(
                run,
                workflow,
                status,
                sql="""insert into dataflows.run (id, workflow, version, status, last_seq, created_at, started_at)
                       values (%s, %s, 'v', %s, 1, clock_timestamp(), now())""",
            )
            self.append(run, 1, "run.created", None, data)
        return run

    def append(self, run: UUID, seq: int, kind: str, key: str | None, data: str = "{}") -> None:
        self.run(
            run,
            seq,
            kind,
            key,
            data,
            sql="""insert into dataflows.event (run, seq, epoch, kind, key, data, at)
                   values (%s, %s, 1, %s, %s, %s, clock_timestamp())""",
        )

    def head(self, run: UUID, status: str, seq: int, kind: str, data: str = "{}") -> None:
        """A change of status, with its event."""
        with self.together():
            self.append(run, seq, kind, None, data)
            self.run(
                status,
                seq,
                status,
                run,
                sql="""update dataflows.run set status = %s, last_seq = %s,
                              finished_at = case when %s in ('succeeded', 'failed', 'cancelled') then now() end
                       where id = %s""",
            )

    def finish(self, run: UUID, seq: int) -> None:
        self.head(run, "succeeded", seq, "run.completed", '{"value": 7}')

    def delete(self, run: UUID) -> None:
        with self.together():
            self.run(run, sql="delete from dataflows.event where run = %s")
            self.run(run, sql="delete from dataflows.run where id = %s")

    def settle(self) -> None:
        """Wait until no transaction anywhere on the server, of any test, is as old as what was written here.

        What came after the oldest one that is open is read again by every refresh, which is right, and counts.
        """
        written = self.run(sql="select pg_current_xact_id()::text")[0][0]
        wait_until(
            lambda: self.run(written, sql="select pg_snapshot_xmin(pg_current_snapshot()) > %s::text::xid8")[0][0],
            "no transaction of another test is open since",
            60,
        )


@contextmanager
def writing(url: str) -> Iterator[Journal]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Journal(connection)


@pytest.fixture
def journal(database_url: str) -> Iterator[Journal]:
    with writing(database_url) as journal:
        yield journal


@pytest.fixture
def another(database_url: str) -> Iterator[Journal]:
    """A second writer, for what two do at once."""
    with writing(database_url) as journal:
        yield journal


@pytest.fixture
def lens(database_url: str) -> Iterator[Lens]:
    database = Database(database_url)
    lens = Lens(database)
    yield lens
    lens.close()
    database.close()


@pytest.fixture
def sql(lens: Lens) -> Callable[..., Any]:
    """`ctx.sql` without a context."""

    def ask(query: str, *parameters: Any, **options: Any) -> Any:
        return lens.sql(query, parameters, caller_frames(2), **options)

    return ask


Same = Callable[[Any, Journal], None]


@pytest.fixture
def same() -> Same:
    """``same(sql, journal)``: every mirror has exactly the rows of its view, to the letter of its JSON."""

    def compare(sql: Any, journal: Journal) -> None:
        for table in TABLES:
            columns = [(row[0], str(row[1])) for row in sql(f"describe {table}").fetchall()]
            there = ", ".join(
                f'"{name}"::text' if kind == "JSON" or name in ("id", "run", "parent", "forked_from") else f'"{name}"'
                for name, kind in columns
            )
            here = ", ".join(f'"{name}"::varchar' if kind == "JSON" else f'"{name}"' for name, kind in columns)
            expected = journal.run(sql=f"select {there} from dataflows.{table}")
            found = sql(f"select {here} from {table}").fetchall()
            assert sorted(found, key=repr) == sorted(expected, key=repr), table

    return compare


@pytest.fixture
def hand(database_url: str) -> Iterator[Hand]:
    """Writes tables of the warehouse."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Hand(connection)
