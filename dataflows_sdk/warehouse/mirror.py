"""What `ctx.sql` reads, as copies in DuckDB.

A refresh is exact: it reads one snapshot of PostgreSQL and leaves all that it was asked for as it was in it. When
nothing at all was written since, one round trip tells so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dataflows_sdk.store import table_copying
from dataflows_sdk.store.copying import Look, TableGoneError, look, moment
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.store.table_copying import Tables
from dataflows_sdk.warehouse.intake import Intake
from dataflows_sdk.warehouse.journal_mirror import TABLES, JournalMirror
from dataflows_sdk.warehouse.journal_past import make_past, sources
from dataflows_sdk.warehouse.table_mirror import TableMirrors, Want, wants

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

__all__ = ["TABLES", "Mirrors"]

#: deleted rows before DuckDB is asked to give their room back
_DEAD = 100_000
#: how often a refresh begins again because a table was dropped while it looked
_ATTEMPTS = 5


class Mirrors:
    """Copies of PostgreSQL's tables in a DuckDB database. Thread-safe.

    Args:
        database: where the journal is.
        connection: to a DuckDB instance; the mirrors are its database ``dataflows``.
        directory: for the rows on their way; nobody else may read it.
        told: hears how many rows were read, now and then.
    """

    def __init__(
        self,
        database: Database,
        connection: duckdb.DuckDBPyConnection,
        directory: Path,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._database = database
        self._connection = connection
        self._lock = threading.Lock()
        self._run("attach")
        self._intake = Intake(connection, directory, told)
        self._journal = JournalMirror(connection, self._intake)
        self._tables = TableMirrors(connection, self._intake)
        make_past(connection)

    @property
    def rows_read(self) -> int:
        """Rows read from PostgreSQL so far."""
        return self._intake.rows_read

    def refresh(
        self, tables: Collection[str], others: Collection[str] = (), *, past: bool = False, anew: bool = False
    ) -> set[str]:
        """Bring to what PostgreSQL shows now what a query reads.

        Args:
            tables: of the journal.
            others: folded names of which some may be tables of the warehouse, or their histories.
            past: whether they are asked for as they were at another time.
            anew: read those of the warehouse as a whole, whatever is known of them.

        Returns:
            those of *others* that are.

        Raises:
            StoreError: the database cannot be read; the mirrors are as before.
            QueryError: a table has what DuckDB has no room for.
        """
        tables = sources(tables) if past else tables
        with self._lock:
            for attempt in range(_ATTEMPTS):
                now, names = table_copying.now(self._database) if others else (moment(self._database), None)
                wanted = wants(others, names or (), past=past)
                if anew:
                    self._tables.forget({want.name for want in wanted.values()})
                gone = self._tables.names.difference(names) if names is not None else set()
                fresh = self._journal.is_fresh(tables, now) and self._tables.is_fresh(wanted.values(), now)
                if fresh and not gone:
                    break
                try:
                    self._look(tables, set(wanted.values()), gone)
                    break
                except TableGoneError:
                    if attempt == _ATTEMPTS - 1:
                        raise
            return set(wanted)

    def newest(self) -> datetime:
        """The time of the database, or that of the newest write if that is later.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        return table_copying.newest(self._database)

    def names(self) -> list[str]:
        """All tables of the warehouse.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        return table_copying.now(self._database)[1]

    def _look(self, tables: Collection[str], wanted: Collection[Want], gone: Collection[str]) -> None:
        locked = table_copying.tables_to_lock([want.name for want in wanted])
        with look(self._database, locked) as seen:
            self._transact(seen, tables, wanted, gone)
        self._tables.make_past_views()
        self._tidy()

    def close(self) -> None:
        """Wait for a refresh that is under way, give the room back, and end."""
        with self._lock:
            with contextlib.suppress(duckdb.Error):  # somebody reads just now: it goes with the last relation
                self._journal.drop()
                self._tables.drop()
            self._connection.close()

    def _transact(self, seen: Look, tables: Collection[str], wanted: Collection[Want], gone: Collection[str]) -> None:
        undo: list[Callable[[], None]] = []
        self._run("begin")
        try:
            if tables:
                self._journal.bring(tables, seen, undo)
            self._tables.bring(wanted, gone, Tables(seen), undo)
            self._run("commit")
        except BaseException:
            for each in undo:
                each()
            with contextlib.suppress(duckdb.Error):
                self._run("rollback")
            raise

    def _tidy(self) -> None:
        if self._journal.dead + self._tables.dead >= _DEAD:
            self._journal.dead = self._tables.dead = 0
            with contextlib.suppress(duckdb.Error):  # somebody reads just now; the next time will do
                self._run("tidy")

    def _run(self, name: str) -> None:
        self._connection.execute(statement("mirror", name, "dataflows_sdk.warehouse"))
