"""What `ctx.sql` reads, as copies in DuckDB.

A refresh is exact: it reads one snapshot of PostgreSQL and leaves all that it was asked for as it was in it. When
nothing at all was written since, one round trip tells so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dataflows_sdk.store.copying import Look, look, moment
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import Intake
from dataflows_sdk.warehouse.journal_mirror import TABLES, JournalMirror

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

__all__ = ["TABLES", "Mirrors"]

#: deleted rows before DuckDB is asked to give their room back
_DEAD = 100_000


class Mirrors:
    """Copies of PostgreSQL's tables in a DuckDB database. Thread-safe.

    Args:
        database: where the journal is.
        connection: to a DuckDB instance; the mirrors are its database ``dataflows``.
        directory: for the rows on their way; nobody else may read it.
    """

    def __init__(self, database: Database, connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
        self._database = database
        self._connection = connection
        self._lock = threading.Lock()
        self._run("attach")
        self._intake = Intake(connection, directory)
        self._journal = JournalMirror(connection, self._intake)

    @property
    def rows_read(self) -> int:
        """Rows read from PostgreSQL so far."""
        return self._intake.rows_read

    def refresh(self, tables: Collection[str]) -> None:
        """Bring *tables* to what PostgreSQL shows now.

        Raises:
            StoreError: the journal cannot be read; the mirrors are as before.
        """
        with self._lock:
            if self._journal.is_fresh(tables, moment(self._database)):
                return
            with look(self._database) as seen:
                self._transact(seen, tables)
            self._tidy()

    def close(self) -> None:
        """Wait for a refresh that is under way, give the room back, and end."""
        with self._lock:
            with contextlib.suppress(duckdb.Error):  # somebody reads just now: it goes with the last relation
                self._journal.drop()
            self._connection.close()

    def _transact(self, seen: Look, tables: Collection[str]) -> None:
        undo: list[Callable[[], None]] = []
        self._run("begin")
        try:
            self._journal.bring(tables, seen, undo)
            self._run("commit")
        except BaseException:
            for each in undo:
                each()
            with contextlib.suppress(duckdb.Error):
                self._run("rollback")
            raise

    def _tidy(self) -> None:
        if self._journal.dead >= _DEAD:
            self._journal.dead = 0
            with contextlib.suppress(duckdb.Error):  # somebody reads just now; the next time will do
                self._run("tidy")

    def _run(self, name: str) -> None:
        self._connection.execute(statement("mirror", name, "dataflows_sdk.warehouse"))
