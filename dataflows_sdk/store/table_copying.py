"""Reading tables of the warehouse in bulk, as `copying` reads the journal: users' names are put in by the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from dataflows_sdk.store.copying import Look, Moment, Rows
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement

#: the file of statements
_FILE = "table_mirror"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of the warehouse, what its rows were before, or the view of both, as the database has it."""

    table: str
    schema: str
    #: the view of today's rows and past versions
    is_history: bool
    #: another one of the same name has another oid, and another file after ``truncate`` and the like
    oid: int
    file: int
    #: of the table's shape
    version: int
    #: bytes
    size: int
    #: name and type, in order
    columns: tuple[tuple[str, str], ...]

    def is_as(self, other: Relation) -> bool:
        """Whether rows of the one are rows of the other."""
        return (self.oid, self.file, self.version, self.columns) == (
            other.oid,
            other.file,
            other.version,
            other.columns,
        )


def now(database: Database) -> tuple[Moment, list[str]]:
    """What is visible now, and the names of all tables of the warehouse, in one round trip.

    Raises:
        StoreUnavailableError: nobody answers.
    """
    *moment, names = database.read(_FILE, "now")[0]
    return Moment(*moment), names


def newest(database: Database) -> datetime:
    """The time of the database, or that of the newest write if that is later."""
    found: datetime = database.read(_FILE, "newest")[0][0]
    return found


def views(database: Database, names: Sequence[str]) -> list[Relation]:
    """Views of the warehouse of these folded names.

    Raises:
        StoreUnavailableError: nobody answers.
    """
    return [
        Relation(name, "warehouse", False, 0, 0, 0, 0, tuple((column, kind) for column, kind in columns or ()))
        for name, columns in database.read(_FILE, "views", (list(names),))
    ]


class Tables:
    """The warehouse as one `Look` sees it."""

    def __init__(self, seen: Look) -> None:
        self._seen = seen
        self.moment = seen.moment

    def relations(self, names: Sequence[str]) -> list[Relation]:
        """What there is of tables of these names."""
        return [
            Relation(*(*row, tuple((name, kind) for name, kind in columns or ())))
            for *row, columns in self._seen.rows("relations", list(names), file=_FILE)
        ]

    def writes_since(self, table: str, earlier: Moment) -> tuple[list[int], int]:
        """Writes to a table that an earlier moment did not see, and how many rows they changed."""
        ids, rows = self._seen.rows("writes_since", table, str(earlier.xmin), earlier.visible, file=_FILE)[0]
        return ids, rows

    def writes(self, earlier: Moment | None) -> Rows:
        """All writes, or those that an earlier moment did not see: id, run, step."""
        if earlier is None:
            return self._seen.copy("all_writes", file=_FILE)
        return self._seen.copy("some_writes", str(earlier.xmin), earlier.visible, file=_FILE)

    def all_rows(self, relation: Relation, columns: Sequence[str]) -> Rows:
        """Every row."""
        return self._seen.copy("all_rows", file=_FILE, parts=self._parts(relation, columns))

    def rows_by(self, relation: Relation, columns: Sequence[str], by: str, writes: Sequence[int]) -> Rows:
        """The rows whose column *by* is one of *writes*."""
        parts = {**self._parts(relation, columns), "by": sql.Identifier(by)}
        return self._seen.copy("rows_by", list(writes), file=_FILE, parts=parts)

    def rows_since(self, relation: Relation, columns: Sequence[str], earlier: Moment) -> Rows:
        """The rows that were written since, by whomever, and some more."""
        parts = self._parts(relation, columns)
        return self._seen.copy("rows_since", str(earlier.xmin), file=_FILE, parts=parts)

    def count(self, relation: Relation) -> int:
        """How many rows there are."""
        number: int = self._seen.composed("count", file=_FILE, parts=self._parts(relation, ()))[0][0]
        return number

    @staticmethod
    def _parts(relation: Relation, columns: Sequence[str]) -> Mapping[str, sql.Composable]:
        kinds = dict(relation.columns)
        return {
            "table": sql.Identifier(relation.schema, relation.table),
            "columns": sql.SQL(", ").join(_value(name, kinds[name]) for name in columns),
        }


def _value(name: str, kind: str) -> sql.Composable:
    if kind != "interval":
        return sql.Identifier("t", name)
    first, *rest = statement(_FILE, "as_interval").split("$c")
    parts: list[sql.Composable] = [sql.SQL(first)]
    for part in rest:
        parts += [sql.Identifier(name), sql.SQL(part)]
    return sql.Composed(parts)


def tables_to_lock(names: Sequence[str]) -> list[sql.Identifier]:
    """Tables of these names, and their pasts."""
    return [sql.Identifier(schema, name) for name in names for schema in ("warehouse", "warehouse_past")]
