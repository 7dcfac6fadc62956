"""Archives: runs and tables in a file, read without any PostgreSQL."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from dataflows_sdk.arguments import check_statuses, moment_or_ago
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.codec_view import LenientReader
from dataflows_sdk.core.durations import Duration, Instant, parse_duration
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable
from dataflows_sdk.engine import timeline
from dataflows_sdk.engine.state import JournalEvent, RunState, fold, parse
from dataflows_sdk.engine.timeline import StepView, Timeline
from dataflows_sdk.errors import ArchiveError, DefinitionError, RunNotFoundError, TableNotFoundError
from dataflows_sdk.past import Difference, run_difference
from dataflows_sdk.runs import Run
from dataflows_sdk.showing import Viewable
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import filled
from dataflows_sdk.warehouse.kinds import quoted

if TYPE_CHECKING:
    import duckdb

    from dataflows_sdk.warehouse.answer import Answer
    from dataflows_sdk.warehouse.archive_format import ArchiveTables, Info


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open what ``ctx.export(path)`` or ``dataflows export`` wrote: no database is needed.

    Args:
        path: of the file, or of the folder of Parquet files.

    Raises:
        ArchiveError: there is nothing, it is no archive, or one of a newer format.
    """
    return Archive(Path(path))


def archive_form(path: str, form: str | None) -> str:
    """``"duckdb"`` or ``"parquet"``: as somebody says, or as the path does.

    Raises:
        DefinitionError: neither says it.
    """
    if form is not None:
        if form not in ("duckdb", "parquet"):
            raise DefinitionError(f"an archive is written as 'duckdb' or 'parquet', not {form!r}")
        return form
    if path.endswith(("/", os.sep)):
        return "parquet"
    if path.endswith((".duckdb", ".db")):
        return "duckdb"
    raise DefinitionError(
        f"is {path!r} to be a file or a folder? Write 'name.duckdb', 'name/', or say format='duckdb' or 'parquet'"
    )


class Archive(ShownAsTable):
    """Runs and tables as they were when they were written. Closed by `close`, or at the end of a ``with``.

    Attributes:
        path: of the file or folder.
        info: the `format`, `created_at`, and the version of the `library` that wrote it.
    """

    def __init__(self, path: Path) -> None:
        from dataflows_sdk.warehouse.archive_format import ArchiveTables
        from dataflows_sdk.warehouse.lens import Lens

        if not path.exists():
            raise ArchiveError(f"there is no file {str(path)!r}")
        made: list[ArchiveTables] = []

        def make(connection: duckdb.DuckDBPyConnection) -> ArchiveTables:
            made.append(ArchiveTables(connection, path))
            return made[0]

        self.path = path
        self._lens = Lens(make)
        self._found = made[0]
        self.info: Info = self._found.info

    # --- runs --------------------------------------------------------------------------------------------

    def runs(
        self, workflow: str | None = None, status: str | Sequence[str] | None = None, *, limit: int = 50
    ) -> list[ArchivedRun]:
        """Runs, newest first.

        Args:
            workflow: only those of this name.
            status: one of the status words, or several.
            limit: how many at most.

        Raises:
            DefinitionError: an unknown status, or a limit below 1.
        """
        if limit < 1:
            raise DefinitionError(f"limit is 1 at least, not {limit}")
        rows = self._run("some_runs", workflow, check_statuses(status), limit)
        return Listing([ArchivedRun(self, row) for row in rows])

    def run(self, run_id: str | UUID) -> ArchivedRun:
        """The run of an id, or of the beginning of one (4 digits at least).

        Raises:
            RunNotFoundError: there is none in the archive, or several begin like this.
        """
        wanted = str(run_id).lower()
        rows = self._run("one_run", wanted) if len(wanted) >= 4 else []
        if len(rows) != 1:
            what = "several runs begin with {!r}; write more of the id" if rows else "the archive has no run {!r}"
            raise RunNotFoundError(what.format(str(run_id)))
        return ArchivedRun(self, rows[0])

    # --- tables ------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The names of the warehouse's tables; each has its history beside it: ``tasks_history``."""
        return list(self._found.names)

    def sql(
        self,
        query: str,
        *parameters: Any,
        as_of: Instant | Duration | None = None,
        timeout: Duration | None = None,
    ) -> Answer:
        """Ask DuckDB, as `Context.sql` does: ``runs``, ``steps``, ``events``, the tables and their histories.

        Args:
            query: DuckDB's SQL.
            parameters: for ``?`` in order, or one mapping for ``$name``.
            as_of: all tables, those of the journal too, as they were at an instant, or so long ago.
            timeout: how long a statement may take.

        Raises:
            QueryError: DuckDB cannot answer it, or it took too long.
        """
        from dataflows_sdk.warehouse.lens import caller_frames

        return self._lens.sql(
            query,
            parameters,
            caller_frames(2),
            as_of=None if as_of is None else moment_or_ago(as_of),
            timeout=None if timeout is None else parse_duration(timeout).total_seconds(),
        )

    def close(self) -> None:
        """Let go of the file; answers that were given out stay usable. Idempotent."""
        self._lens.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<archive {str(self.path)!r} of {self.info.created_at:%Y-%m-%d %H:%M:%S} UTC>"

    def _run(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._lens.look(lambda: self._found.run(name, *parameters))

    def _of_table(self, name: str, table: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if table not in self._found.names:
            known = ", ".join(self._found.names) or "none"
            raise TableNotFoundError(f"there is no table {table!r} in the archive; there are: {known}")
        return self._lens.look(lambda: self._found.of_table(name, table, *parameters))

    def _rows(self, name: str, table: str, moment: datetime, *parameters: Any) -> list[dict[str, Any]]:
        text = filled(statement("archive", name, "dataflows_sdk.warehouse"), {"table": quoted(table)})
        return self.sql(text, *parameters, as_of=moment).dicts()

    def _decode(self, tree: Any) -> Any:
        if type(tree) not in (dict, list):
            return tree
        text = json.dumps(tree)
        if '"$' not in text:
            return tree
        from dataflows_sdk.core.codec import blob_refs

        refs = list(blob_refs(text))
        blobs = {sha: bytes(data) for sha, data in self._run("blobs", refs)} if refs else {}
        return LenientReader(TYPES, blobs).value(tree)

    def _sheet(self) -> Sheet:
        tables = ", ".join(self.tables()) or "none"
        head = [("path", str(self.path)), ("written", self.info.created_at), ("tables", tables)]
        runs = [(run.id, run.workflow, run.status, run.created_at) for run in self.runs()]
        newest = Sheet("newest runs", runs, ("run", "workflow", "status", "created"), total=len(runs))
        return Sheet("archive", head, parts=[newest])


class ArchivedRun(Viewable):
    """A run in an archive: what can be read of a run, and nothing that would change it.

    Attributes:
        id, workflow, version, status: as of a `Run`.
        parent, forked_from: ids of other runs, or None.
        created_at, started_at, finished_at: times, None where that did not happen.
    """

    def __init__(self, archive: Archive, row: tuple[Any, ...]) -> None:
        self._archive = archive
        self.id: str
        self.workflow: str
        self.version: str
        self.status: str
        self.parent: str | None
        self.forked_from: str | None
        self.created_at: datetime
        self.started_at: datetime | None
        self.finished_at: datetime | None
        (self.id, self.workflow, self.version, self.status, self._input, self._result, self._error) = row[:7]
        (self.parent, self.forked_from, self.created_at, self.started_at, self.finished_at) = row[7:]

    @property
    def input(self) -> Any:
        """What the run was called with."""
        return self._value(self._input)

    @property
    def result(self) -> Any:
        """What it returned; None where it did not."""
        return self._value(self._result)

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it failed."""
        found: dict[str, Any] | None = None if self._error is None else json.loads(self._error)
        return found

    def events(self) -> list[JournalEvent]:
        """The whole journal of the run, in order."""
        rows = self._archive._run("events", self.id)
        return Listing([parse(seq, kind, key, data, at) for seq, kind, key, data, at in rows])

    def timeline(self) -> Timeline:
        """The steps in the order in which they began, each with its times, input, output or error."""
        return timeline.build(self.events(), self.status, self._archive._decode)

    @property
    def steps(self) -> list[StepView]:
        """The steps of the timeline."""
        return list(self.timeline())

    def state(self) -> RunState:
        """The fold of the run's journal."""
        state = RunState()
        for event in self.events():
            fold(state, event)
        return state

    def wrote(self) -> list[dict[str, Any]]:
        """What it wrote to the tables of the archive, in order: table, step, time, how many rows of which kind."""
        names = ("write", "step", "at", "inserted", "updated", "deleted")
        found = [
            {"table": table, **dict(zip(names, row, strict=True))}
            for table in self._archive.tables()
            for row in self._archive._of_table("wrote", table, self.id)
        ]
        return Listing(sorted(found, key=lambda each: (each["at"], each["write"])))

    def said(self) -> list[dict[str, Any]] | None:
        """What it said to the memory, in order, as of `Memory.said`; None where the archive has nothing of a memory."""
        if "said" not in self._archive._found.besides:
            return None
        names = ("act", "at", "step", "item", "collection", "scope", "origin", "ref", "part", "text")
        return Listing([dict(zip(names, row, strict=True)) for row in self._archive._run("said", self.id)])

    @property
    def source(self) -> str:
        """The source of the workflow's version that the run was started with; empty where the archive has none."""
        return self._version()[0]

    def diff(self, other: ArchivedRun | Run) -> Difference:
        """How another run differs from this one, as of `Run.diff`; it may be in another archive, or in a database."""
        return run_difference(self, other)

    def _version(self) -> tuple[str, str | None]:
        """The source and, of a flow, the document."""
        if "versions" not in self._archive._found.besides:
            return "", None
        rows = self._archive._run("version", self.workflow, self.version)
        kind, source, document = rows[0] if rows else ("", "", None)
        return source or "", document if kind == "flow" else None

    def _value(self, text: str | None) -> Any:
        return None if text is None else self._archive._decode(json.loads(text))

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.workflow!r}: {self.status} (archived)>"


__all__ = ["Archive", "ArchivedRun", "open_archive"]
