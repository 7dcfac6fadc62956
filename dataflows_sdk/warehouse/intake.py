"""Rows as CSV, straight from PostgreSQL, into tables of DuckDB, by way of files of bounded size.

Not as COPY's binary form: that is no smaller and no quicker to come by, and Python would have to take it apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dataflows_sdk.store.sqlfiles import statement

#: bytes of CSV on disk at a time; DuckDB reads rows by the thousand, and they may be long
_FILE = 16 * 1024 * 1024

_PART = re.compile(r"\$([a-z]+)")

Lines = Iterator[bytes | bytearray | memoryview]


@dataclass(frozen=True, slots=True)
class Field:
    """A column on its way: its type in the file, and what becomes of it; ``$c`` stands for the column of the file."""

    via: str
    value: str = "$c"

    @staticmethod
    def of(kind: str) -> Field:
        """What a column of DuckDB's type *kind* is read as."""
        if kind == "JSON":
            return Field("VARCHAR", "cast($c as json)")
        if kind.endswith("[]"):
            return Field("VARCHAR", f"cast(cast($c as json) as {kind})")
        return Field(kind)


@dataclass(frozen=True, slots=True)
class Batch:
    """A file of rows, and the length of its longest line."""

    path: Path
    longest: int


class Intake:
    """Reads rows for one DuckDB connection.

    Args:
        connection: to DuckDB.
        directory: for the rows on their way; nobody else may read it.
        told: hears how many rows were read, now and then.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, directory: Path, told: Callable[[int], None] | None = None
    ) -> None:
        self._connection = connection
        self._told = told
        self._file = directory / "rows.csv"
        #: rows read so far
        self.rows_read = 0

    def read(self, lines: Lines, fields: Sequence[Field], into: str) -> None:
        """Append rows to *into*: a table by its quoted name, with as many columns as there are *fields*."""
        for batch in self.batches(lines):
            self.insert(batch, fields, into)

    def batches(self, lines: Lines) -> Iterator[Batch]:
        """The rows by the file; each file is gone when the next one is asked for."""
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
                if self._told is not None:
                    self._told(self.rows_read)
                if size:
                    yield Batch(self._file, longest)
        finally:
            self._file.unlink(missing_ok=True)

    def insert(self, batch: Batch, fields: Sequence[Field], into: str) -> None:
        """Append the rows of one file."""
        columns = ", ".join(f"'c{n}': '{field.via}'" for n, field in enumerate(fields))
        values = ", ".join(field.value.replace("$c", f"c{n}") for n, field in enumerate(fields))
        parts = {"table": into, "columns": f"{{{columns}}}", "values": values}
        text = filled(statement("intake", "insert", "dataflows_sdk.warehouse"), parts)
        self._connection.execute(text, [str(batch.path), max(batch.longest + 1, 1 << 21)])


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A statement with its parts put in by ``$name``, all at once: a user's name may look like one of them."""
    return _PART.sub(lambda found: parts.get(found[1], found[0]), text)
