"""Mirrors of the journal's tables in DuckDB, refreshed by what changed.

What has to be read is found by transaction ids, not by times or by the order of ids, so that neither several writers,
nor commits that become visible late, nor a wrong clock, nor deletions can hide a row (`store/sql/mirror.sql` says how).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import duckdb

from dataflows_sdk.store.copying import Look, Moment
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import Field, Intake, Lines

T = TypeVar("T")

#: the tables of `ctx.sql`; their columns are those of PostgreSQL's views of the same names
TABLES = ("runs", "steps", "events")

#: runs in one COPY; beyond so many that changed, everything is read again
_AT_ONCE = 5_000
_RELOAD = 50_000


class JournalMirror:
    """Copies of the journal's tables in the database ``dataflows`` of a DuckDB instance.

    Args:
        connection: to DuckDB.
        intake: reads rows for that connection.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, intake: Intake) -> None:
        self._connection = connection
        self._intake = intake
        #: the moment of the heads, and for each mirror that is loaded its own
        self._heads: Moment | None = None
        self._fresh: dict[str, Moment] = {}
        #: rows that were deleted here and still take room
        self.dead = 0
        self._run("create")

    def is_fresh(self, tables: Collection[str], now: Moment) -> bool:
        """Whether *tables* are as the views are now."""
        return all((then := self._fresh.get(table)) is not None and then.sees_the_same(now) for table in tables)

    def bring(self, tables: Collection[str], seen: Look, undo: list[Callable[[], None]]) -> None:
        """Bring *tables* to what is *seen*; *undo* gets what to call when that is rolled back."""
        heads, before = self._heads, dict(self._fresh)

        def forget() -> None:
            self._heads, self._fresh = heads, before

        undo.append(forget)
        if heads is not None and not heads.leads_to(seen.moment):  # another journal
            self._heads, self._fresh = None, {}
            self.drop()
            self._run("create")
        self._take_heads(seen)
        for table in TABLES:
            if table in tables and not self.is_fresh([table], seen.moment):
                self._bring(table, seen)
        self._heads = seen.moment
        self._fresh.update(dict.fromkeys(tables, seen.moment))

    def drop(self) -> None:
        """Give the room back."""
        self._run("drop")

    # --- which runs --------------------------------------------------------------------------------------

    def _take_heads(self, seen: Look) -> None:
        """Learn which heads were written since, and which are gone."""
        if self._heads is not None and self._heads.sees_the_same(seen.moment):
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
            self.dead += len(runs)

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
                before = self._intake.rows_read
                self._read(seen.copy(f"some_{table}", runs, lows), table, "staged")
                self.dead += self._intake.rows_read - before
            if table == "steps":
                seen.rows("after_some_steps")
            self._run(f"merge_{table}")
            self._mark(table, [(run, n, top) for run, _, n, top in news])

    def _mark(self, table: str, marks: Sequence[tuple[str, int, int]]) -> None:
        if marks:
            self._run("marked", table, *_columns(marks))
            self._run("remark")

    # --- statements --------------------------------------------------------------------------------------

    def _stage(self, table: str) -> None:
        self._connection.execute(_sql("staging").replace("$table", table))

    def _read(self, lines: Lines, table: str, into: str) -> None:
        """Append rows to *into*, which has the columns of *table*."""
        self._intake.read(lines, [Field.of(kind) for _, kind in self._run("columns", table)], into)

    def _run(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if parameters:
            return self._connection.execute(_sql(name), list(parameters)).fetchall()
        return self._connection.execute(_sql(name)).fetchall()


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _sql(name: str) -> str:
    return statement("journal_mirror", name, "dataflows_sdk.warehouse")
