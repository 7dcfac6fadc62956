"""What an archive is: which tables are in it, and how it is told from any other file.

A file is a DuckDB database, a folder has a Parquet file for each table and a list of them. Both have the layout of the
mirrors, and a table ``internal.archive`` that says which format it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import ArchiveError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import filled
from dataflows_sdk.warehouse.journal_past import make_past
from dataflows_sdk.warehouse.kinds import quoted
from dataflows_sdk.warehouse.table_mirror import wants
from dataflows_sdk.warehouse.table_views import PLACES, TableViews

#: goes up when an older version of this library could no longer read what is written
FORMAT = 1
#: the list of files in a folder
MANIFEST = "archive.json"
#: types that Parquet has not, or not wholly: they are written as text
_AS_TEXT = re.compile(r"INTERVAL|JSON|TIME|TIME WITH TIME ZONE")


@dataclass(frozen=True, slots=True)
class Info(ShownAsTable):
    """What an archive says of itself."""

    format: int
    created_at: datetime
    library: str


class ArchiveTables:
    """The tables of an archive, for a `Lens`: they never change.

    Args:
        connection: of the lens.
        path: of the archive.

    Raises:
        ArchiveError: it is none, or of a newer format.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        try:
            if path.is_dir():
                _attach_folder(connection, path)
            else:
                connection.execute(f"attach {_text(str(path))} as dataflows (read_only, type duckdb)")
            rows = dict(self.run("info"))
        except (duckdb.Error, OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ArchiveError(
                f"{str(path)!r} is no archive of dataflows: {reason}; ctx.export(path) makes one"
            ) from error
        number = int(rows.get("format", 0))
        if number > FORMAT:
            raise ArchiveError(
                f"{str(path)!r} is an archive of format {number}, written by dataflows-sdk {rows.get('library')}; this "
                f"version reads format {FORMAT}: install a newer dataflows-sdk"
            )
        self.info = Info(number, datetime.fromisoformat(rows["created_at"]), rows["library"])
        self.names = [name for (name,) in self.run("tables")]
        #: which of what came later are in it: ``"versions"``, ``"said"``
        self.besides = {name for (name,) in self.run("besides")}
        connection.execute("attach ':memory:' as dataflows_past; create schema dataflows_past.warehouse")
        make_past(connection)
        for name in self.names:
            columns = [[column for column, _ in self.run("columns", schema, name)] for schema in PLACES]
            shown = [column for column, _ in self.run("columns", PLACES[0], f"{name}_history")]
            connection.execute(TableViews(name, columns[0], columns[1], shown).of_other_times())

    def run(self, name: str, *parameters: Any, **parts: str) -> list[tuple[Any, ...]]:
        """A statement about the archive."""
        text = filled(_sql(name), parts)
        return self._connection.execute(text, list(parameters) or None).fetchall()

    def of_table(self, name: str, table: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A statement about a table and its past."""
        today, past = (quoted("dataflows", schema, table) for schema in PLACES)
        return self.run(name, *parameters, today=today, past=past)

    def refresh(
        self, tables: Collection[str], others: Collection[str] = (), *, past: bool = False, anew: bool = False
    ) -> set[str]:
        """Those of *others* that are tables."""
        del tables, anew  # nothing changes here
        return set(wants(others, self.names, past=past))

    def newest(self) -> datetime:
        """When it was written."""
        return self.info.created_at

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


# --- a folder of Parquet ----------------------------------------------------------------------------------


def write_folder(
    connection: duckdb.DuckDBPyConnection, database: str, folder: Path, told: Callable[[str], None]
) -> None:
    """Write all tables of *database* as Parquet, and the list of them."""
    files: list[dict[str, Any]] = []
    for schema, table in connection.execute(_sql("contents"), [database]).fetchall():
        told(table)
        readable = re.sub(r"[^A-Za-z0-9_-]+", "_", table)[:40]
        name = f"{len(files):03}-{schema}-{readable}.parquet"
        columns = _described(connection, quoted(database, schema, table))
        values = ", ".join(
            f"cast({quoted(column)} as varchar) as {quoted(column)}" if _AS_TEXT.fullmatch(kind) else quoted(column)
            for column, kind in columns
        )
        parts = {"values": values, "table": quoted(database, schema, table), "file": _text(str(folder / name))}
        connection.execute(filled(_sql("to_parquet"), parts))
        each: dict[str, Any] = {"schema": schema, "table": table, "file": name, "columns": columns}
        if schema == PLACES[0]:
            described = _described(connection, quoted(database, schema, f"{table}_history"))
            each["history"] = [column for column, _ in described]
        files.append(each)
    text = json.dumps({"format": FORMAT, "files": files}, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _described(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, *_ in connection.execute(f"describe {table}").fetchall()]


def _attach_folder(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    found: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    connection.execute("attach ':memory:' as dataflows")
    before = {each["table"]: each["columns"] for each in found["files"] if each["schema"] == PLACES[1]}
    for each in found["files"]:
        schema, table, columns = each["schema"], each["table"], each["columns"]
        connection.execute(f"create schema if not exists {quoted('dataflows', schema)}")
        listed = ", ".join(
            f"cast({quoted(name)} as {kind}) as {quoted(name)}" if _AS_TEXT.fullmatch(kind) else quoted(name)
            for name, kind in columns
        )
        file = folder / Path(each["file"]).name  # nothing outside of the folder
        if not file.is_file():
            raise ValueError(f"{file.name} is missing")
        parts = {"view": quoted("dataflows", schema, table), "values": listed, "file": _text(str(file))}
        connection.execute(filled(_sql("from_parquet"), parts))
    for each in found["files"]:
        if each["schema"] == PLACES[0]:
            name, columns, past = each["table"], each["columns"], before[each["table"]]
            views = TableViews(name, [one for one, _ in columns], [one for one, _ in past], each["history"])
            connection.execute(views.history("dataflows"))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _sql(name: str) -> str:
    return statement("archive", name, "dataflows_sdk.warehouse")


def moment() -> str:
    """Now, as it is written in an archive."""
    return datetime.now(UTC).isoformat()
