"""Writing an archive: one snapshot of runs and tables, in a file of DuckDB or a folder of Parquet."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from dataflows_sdk.core.codec import blob_refs
from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.errors import ArchiveError, TableNotFoundError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.archive_besides import Besides, Memory
from dataflows_sdk.warehouse.archive_format import FORMAT, MANIFEST, moment, write_folder
from dataflows_sdk.warehouse.intake import filled
from dataflows_sdk.warehouse.journal_mirror import TABLES
from dataflows_sdk.warehouse.kinds import quoted
from dataflows_sdk.warehouse.mirror import Mirrors
from dataflows_sdk.warehouse.table_mirror import folded
from dataflows_sdk.warehouse.table_views import PLACES, WRITES, TableViews

#: hears what is done, how much of it, and how much there is; None where nobody knows yet
Told = Callable[[str, int, int | None], None]

#: large values at a time
_BLOBS = 20
_DATABASE = "archive"


class Exporter:
    """Writes archives of one database.

    Args:
        database: what is written.
        told: hears how it goes.
        redactor: masks what is not masked in the database: the code.
        memory: where one is used.
    """

    def __init__(
        self,
        database: Database,
        told: Told | None = None,
        redactor: Redactor = REDACTOR,
        memory: Memory | None = None,
    ) -> None:
        self._database = database
        self._told = told or _silent
        self._besides = Besides(database, redactor, memory)

    def write(
        self, path: Path, form: str, tables: Sequence[str] | None, runs: Sequence[str] | None, *, replace: bool
    ) -> None:
        """Write an archive: all at once, or nothing.

        Args:
            path: of the file or folder.
            form: ``"duckdb"`` or ``"parquet"``.
            tables: of the warehouse; None for all.
            runs: ids; None for all.
            replace: take the place of an archive that is there.

        Raises:
            ArchiveError: something is there already, or cannot be written.
            TableNotFoundError: one of *tables* is not there.
        """
        if path.exists() and not (replace and is_archive(path)):
            more = "" if replace else "; replace=True puts an archive in the place of another"
            raise ArchiveError(f"{str(path)!r} is there already{more}")
        if not path.parent.is_dir():
            raise ArchiveError(f"there is no folder {str(path.parent)!r}")
        beside = path.parent / f".{path.name}.{uuid4().hex[:8]}.part"
        try:
            self._fill(beside, form, tables, runs)
            _put(beside, path)
        except OSError as error:
            raise ArchiveError(f"{str(path)!r} could not be written: {error}") from error
        except duckdb.IOException as error:
            raise ArchiveError(f"{str(path)!r} could not be written: {str(error).strip()}") from error
        finally:
            _remove(beside)

    def _fill(self, beside: Path, form: str, tables: Sequence[str] | None, runs: Sequence[str] | None) -> None:
        with tempfile.TemporaryDirectory(prefix="dataflows-export-") as directory:
            root = duckdb.connect(":memory:", config={"temp_directory": str(Path(directory) / "spill")})
            root.execute("set global timezone = 'UTC'")
            mirrors = Mirrors(
                self._database, root.cursor(), Path(directory), lambda rows: self._told("reading rows", rows, None)
            )
            connection = root.cursor()
            try:
                names = self._names(mirrors.names(), tables)
                wanted = {folded(f"{name}_history") for name in names}
                mirrors.refresh(TABLES, wanted)
                target = str(beside) if form == "duckdb" else str(Path(directory) / "archive.duckdb")
                connection.execute(f"attach '{target.replace(chr(39), chr(39) * 2)}' as {_DATABASE}")
                self._copy(connection, names, runs)
                if form == "parquet":
                    beside.mkdir()
                    write_folder(connection, _DATABASE, beside, lambda table: self._told(f"writing {table}", 0, None))
                connection.execute(f"detach {_DATABASE}")
            finally:
                connection.close()
                mirrors.close()
                root.close()

    @staticmethod
    def _names(there: Collection[str], asked: Sequence[str] | None) -> list[str]:
        if asked is None:
            return sorted(there)
        for name in asked:
            if name not in there:
                known = ", ".join(sorted(there)) or "none yet"
                raise TableNotFoundError(f"there is no table {name!r} in the warehouse; there are: {known}")
        return sorted(set(asked))

    def _copy(self, connection: duckdb.DuckDBPyConnection, names: Sequence[str], runs: Sequence[str] | None) -> None:
        total = len(TABLES) + len(names)
        _run(connection, "create")
        _run(connection, "note", "format", str(FORMAT))
        _run(connection, "note", "created_at", moment())
        _run(connection, "note", "library", version("dataflows-sdk"))
        _run(connection, "kept", list(runs or ()))
        for n, table in enumerate(TABLES):
            self._told(f"writing {table}", n, total)
            where = "true" if runs is None else _kept("id" if table == "runs" else "run")
            self._table(connection, ("main", table), ("main", table), where)
        self._blobs(connection, "true" if runs is None else _kept("run"))
        self._besides.write(connection, _DATABASE)
        for n, name in enumerate(names):
            self._told(f"writing {name}", len(TABLES) + n, total)
            for place in PLACES:
                self._table(connection, (place, name), (place, name), "true")
            _run(connection, "note_table", name, n)
        self._table(connection, WRITES, WRITES, "true")
        for name in names:
            described = {place: _columns(connection, place, name) for place in PLACES}
            shown = _columns(connection, PLACES[0], f"{name}_history")
            views = TableViews(name, described[PLACES[0]], described[PLACES[1]], shown)
            connection.execute(f"use {_DATABASE}")
            connection.execute(views.history(None))
            connection.execute("use memory")
        self._told("done", total, total)

    @staticmethod
    def _table(
        connection: duckdb.DuckDBPyConnection, source: tuple[str, str], into: tuple[str, str], where: str
    ) -> None:
        parts = {"into": quoted(_DATABASE, *into), "table": quoted("dataflows", *source), "where": where}
        _run(connection, "copy", **parts)

    def _blobs(self, connection: duckdb.DuckDBPyConnection, where: str) -> None:
        found: dict[str, None] = {}
        for (text,) in _run(connection, "referring", where=where):
            found.update(dict.fromkeys(blob_refs(text)))
        names = list(found)
        for start in range(0, len(names), _BLOBS):
            self._told("writing large values", start, len(names))
            rows = self._database.read("look", "blobs", (names[start : start + _BLOBS],))
            _run(connection, "note_blobs", [sha for sha, _ in rows], [bytes(data) for _, data in rows])


def _silent(what: str, done: int, total: int | None) -> None:
    """Nobody listens."""


def _kept(column: str) -> str:
    return filled(statement("archive", "of_kept", "dataflows_sdk.warehouse"), {"column": column})


def is_archive(path: Path) -> bool:
    """Whether it looks like one of ours: nothing else is ever replaced."""
    if path.is_dir():
        return (path / MANIFEST).is_file()
    with contextlib.suppress(duckdb.Error), duckdb.connect(str(path), read_only=True) as connection:
        return bool(connection.execute("select count(*) from internal.archive").fetchall()[0][0])
    return False


def _put(beside: Path, path: Path) -> None:
    """In the place of what was there: a folder cannot be replaced at once, so the old one steps aside first."""
    if not path.is_dir():
        beside.replace(path)
        return
    aside = path.parent / f".{path.name}.{uuid4().hex[:8]}.old"
    path.replace(aside)
    try:
        beside.replace(path)
    except OSError:
        aside.replace(path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    Path(f"{path}.wal").unlink(missing_ok=True)


def _columns(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[str]:
    return [name for name, _ in _run(connection, "columns", schema, table)]


def _run(connection: duckdb.DuckDBPyConnection, name: str, *parameters: Any, **parts: str) -> list[tuple[Any, ...]]:
    text = filled(statement("archive", name, "dataflows_sdk.warehouse"), {"database": _DATABASE, **parts})
    return connection.execute(text, list(parameters)).fetchall() if parameters else connection.execute(text).fetchall()
