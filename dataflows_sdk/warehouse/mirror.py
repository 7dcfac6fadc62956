"""Mirrors of the journal's tables in DuckDB, refreshed by what changed.

A refresh is exact: it reads one snapshot of PostgreSQL and leaves the mirrors as the views were in it. What has to be
read is found by transaction ids, not by times or by the order of ids, so that neither several writers, nor commits
that become visible late, nor a wrong clock, nor deletions can hide a row (`store/sql/mirror.sql` says how). When
nothing at all was written since, one round trip tells so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from dataflows_sdk.store.copying import Look, Moment, look, moment
from dataflows_sdk.store.sqlfiles import statement

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

T = TypeVar("T")

#: the tables of `ctx.sql`; their columns are those of PostgreSQL's views of the same names
TABLES = ("runs", "steps", "events")

#: runs in one COPY; beyond so many that changed, everything is read again
_AT_ONCE = 5_000
_RELOAD = 50_000
#: bytes of CSV on disk at a time; DuckDB reads rows by the thousand, and they may be long
_FILE = 16 * 1024 * 1024
#: deleted rows before DuckDB is asked to give their room back
_DEAD = 100_000
#: transaction ids wrap around: a snapshot older than this many cannot be compared
_WRAP = 2**30


class Mirrors:
    """Copies of the journal's tables in a DuckDB database. Thread-safe.

    Args:
        database: where the journal is.
        connection: to a DuckDB instance; the mirrors are its database ``dataflows``.
        directory: for the rows on their way; nobody else may read it.
    """

    def __init__(self, database: Database, connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
        self._database = database
        self._connection = connection
        self._file = directory / "rows.csv"
        self._lock = threading.Lock()
        #: the moment of the heads, and for each mirror that is loaded the `visible` of its own
        self._heads: Moment | None = None
        self._fresh: dict[str, str] = {}
        self._dead = 0
        #: rows read from PostgreSQL so far
        self.rows_read = 0
        self._connection.execute(_sql("attach"))
        self._connection.execute(_sql("create"))

    def refresh(self, tables: Collection[str]) -> None:
        """Bring *tables* to what PostgreSQL shows now.

        Raises:
            StoreError: the journal cannot be read; the mirrors are as before.
        """
        with self._lock:
            now = moment(self._database)
            if self._heads is not None and not _comparable(self._heads, now):
                self._reset()
            if all(self._fresh.get(table) == now.visible for table in tables):
                return
            with look(self._database) as seen:
                if self._heads is not None and not _comparable(self._heads, seen.moment):
                    self._reset()  # the server was replaced between two of our statements
                self._transact(seen, tables)
            self._tidy()

    def close(self) -> None:
        """Wait for a refresh that is under way, give the room back, and end."""
        with self._lock:
            with contextlib.suppress(duckdb.Error):  # somebody reads just now: it goes with the last relation
                self._connection.execute(_sql("drop"))
            self._connection.close()

    def _transact(self, seen: Look, tables: Collection[str]) -> None:
        fresh = dict(self._fresh)
        self._connection.execute("begin")
        try:
            self._take_heads(seen)
            for table in TABLES:
                if table in tables and fresh.get(table) != seen.moment.visible:
                    self._bring(table, seen)
                    fresh[table] = seen.moment.visible
            self._connection.execute("commit")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                self._connection.execute("rollback")
            raise
        self._heads, self._fresh = seen.moment, fresh

    def _reset(self) -> None:
        self._heads, self._fresh = None, {}
        self._connection.execute(_sql("drop"))
        self._connection.execute(_sql("create"))

    def _tidy(self) -> None:
        if self._dead >= _DEAD:
            self._dead = 0
            with contextlib.suppress(duckdb.Error):  # somebody reads just now; the next time will do
                self._connection.execute(_sql("tidy"))

    # --- which runs --------------------------------------------------------------------------------------

    def _take_heads(self, seen: Look) -> None:
        """Learn which heads were written since, and which are gone."""
        if self._heads is not None and self._heads.visible == seen.moment.visible:
            return
        since = None if self._heads is None else str(self._heads.xmin)
        total, ids, born, running = seen.rows("changes", since)[0]
        if ids:
            self._run("incoming", ids, born, running)
            self._run("take_heads")
            if self._fresh:
                self._run("note_stale", list(self._fresh))
        # Every head there is was known or has just come: when there are more here than there, some were deleted.
        if self._run("count_heads")[0][0] != total:
            self._run("present", seen.rows("ids")[0][0])
            self._run("forget")

    # --- their rows --------------------------------------------------------------------------------------

    def _bring(self, table: str, seen: Look) -> None:
        if table not in self._fresh:
            self._load(table, seen)
        elif table == "runs":
            self._update_runs(seen)
        else:
            self._update(table, seen)
        self._run("settle", table)

    def _load(self, table: str, seen: Look) -> None:
        """Everything anew."""
        self._connection.execute(_sql("empty").replace("$table", table))
        self._read(seen.copy(f"all_{table}"), table, f"dataflows.main.{table}")
        if table != "runs":
            self._run("unmark", table)
            self._mark(table, seen.rows("open_marks"))

    def _update_runs(self, seen: Look) -> None:
        runs = [run for (run,) in self._run("stale_runs")]
        if len(runs) > _RELOAD:
            self._load("runs", seen)
        elif runs:
            self._stage("runs")
            for part in _parts(runs):
                self._read(seen.copy("some_runs", part), "runs", "staged")
            self._run("merge_runs")
            self._dead += len(runs)

    def _update(self, table: str, seen: Look) -> None:
        suspects = self._run("suspects", table)
        news: list[tuple[str, int, int, int]] = []
        for part in _parts(suspects):
            news += seen.rows("news", *_columns(part))
        if len(news) > _RELOAD:
            self._load(table, seen)
        elif news:
            self._stage(table)
            self._run("restart", [run for run, low, _, _ in news if low == 0])
            if table == "steps":
                seen.rows("before_some_steps")
            for part in _parts(news):
                runs, lows, _, _ = _columns(part)
                before = self.rows_read
                self._read(seen.copy(f"some_{table}", runs, lows), table, "staged")
                self._dead += self.rows_read - before
            if table == "steps":
                seen.rows("after_some_steps")
            self._run(f"merge_{table}")
            self._mark(table, [(run, n, top) for run, _, n, top in news])

    def _mark(self, table: str, marks: Sequence[tuple[str, int, int]]) -> None:
        if marks:
            self._run("marked", table, *_columns(marks))
            self._run("remark")

    # --- from CSV to DuckDB ------------------------------------------------------------------------------

    def _stage(self, table: str) -> None:
        self._connection.execute(_sql("staging").replace("$table", table))

    def _read(self, lines: Iterator[bytes | bytearray | memoryview], table: str, into: str) -> None:
        """Append rows to *into*, which has the columns of *table*, by way of a file of bounded size."""
        columns = self._run("columns", table)
        types = ", ".join(f"'{name}': '{_on_the_way(kind)}'" for name, kind in columns)
        values = ", ".join(_value(name, kind) for name, kind in columns)
        text = _sql("stage").replace("$table", into).replace("$columns", f"{{{types}}}").replace("$values", values)
        more = True
        try:
            while more:
                size = longest = 0
                with self._file.open("wb") as file:
                    for line in lines:
                        file.write(line)
                        length = len(line)
                        size += length
                        longest = max(longest, length)
                        self.rows_read += 1
                        if size >= _FILE:
                            break
                    else:
                        more = False
                if size:
                    self._connection.execute(text, [str(self._file), max(longest + 1, 1 << 21)])
        finally:
            self._file.unlink(missing_ok=True)

    def _run(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if parameters:
            return self._connection.execute(_sql(name), list(parameters)).fetchall()
        return self._connection.execute(_sql(name)).fetchall()


def _comparable(earlier: Moment, later: Moment) -> bool:
    """Whether what changed between two moments can be told from transaction ids."""
    return (
        earlier.origin == later.origin
        and earlier.xmin <= later.xmin
        and earlier.xmax <= later.xmax
        and later.xmax - earlier.xmin < _WRAP
    )


def _on_the_way(kind: str) -> str:
    return "VARCHAR" if kind == "JSON" or kind.endswith("[]") else kind


def _value(name: str, kind: str) -> str:
    """A column of the file as the value of a column of the mirror."""
    column = f'"{name}"'
    if kind == "JSON":
        return f"cast({column} as json)"
    if kind.endswith("[]"):
        return f"cast(cast({column} as json) as {kind})"
    return column


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _sql(name: str) -> str:
    return statement("mirror", name, "dataflows_sdk.warehouse")
