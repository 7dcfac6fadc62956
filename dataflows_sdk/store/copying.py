"""Reading the journal in bulk: one snapshot of the database, and rows as CSV straight from the server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dataflows_sdk.errors import StoreError, StoreUnavailableError
from dataflows_sdk.store.database import Connection, Database
from dataflows_sdk.store.sqlfiles import statement

_PARAMETER = re.compile(r"\$(\w+)")

Parts = Mapping[str, sql.Composable]
Rows = Iterator[bytes | bytearray | memoryview]
#: transaction ids wrap around: a snapshot older than this many cannot be compared
_WRAP = 2**30


@dataclass(slots=True, frozen=True)
class Moment:
    """What is visible to a statement. Two moments with equal `visible` and `origin` see exactly the same rows."""

    visible: str
    #: every transaction before this id is over, and seen if it was committed
    xmin: int
    #: no transaction from this id on is seen
    xmax: int
    #: which start of which server, which database and table: moments of two origins cannot be compared
    origin: str

    def sees_the_same(self, other: Moment) -> bool:
        """Whether both see exactly the same rows."""
        return self.visible == other.visible and self.origin == other.origin

    def leads_to(self, later: Moment) -> bool:
        """Whether transaction ids tell what changed between this moment and a later one."""
        return (
            self.origin == later.origin
            and self.xmin <= later.xmin
            and self.xmax <= later.xmax
            and later.xmax - self.xmin < _WRAP
        )


def moment(database: Database) -> Moment:
    """What is visible now, in one round trip.

    Raises:
        StoreUnavailableError: nobody answers.
    """
    return Moment(*database.read("mirror", "moment")[0])


class Look:
    """One snapshot of the database: whatever is read through it is true of the same moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.moment = Moment(*self.rows("moment")[0])

    def rows(self, name: str, *parameters: Any, file: str = "mirror") -> list[tuple[Any, ...]]:
        """The rows of a statement of a file, ``mirror.sql`` if nothing is said."""
        return Database.run(self._connection, file, name, parameters)

    def composed(self, name: str, file: str, parts: Parts) -> list[tuple[Any, ...]]:
        """The rows of a statement in which *parts* are put in by name."""
        cursor = self._connection.cursor()
        cursor.execute(_bound(self._connection, statement(file, name), (), parts))
        return cursor.fetchall() if cursor.description is not None else []

    def copy(self, name: str, *parameters: Any, file: str = "mirror", parts: Parts | None = None) -> Rows:
        """The rows of a COPY: one line of CSV (RFC 4180, UTF-8, no header) for each.

        NULL is nothing at all, an empty text is ``""``. Whoever stops before the end has to leave the look.
        """
        cursor = self._connection.cursor()
        with cursor.copy(_bound(self._connection, statement(file, name), parameters, parts or {})) as copy:
            yield from copy


def _bound(connection: Connection, text: str, parameters: Sequence[Any], parts: Parts) -> sql.SQL:
    def put_in(found: re.Match[str]) -> str:
        if found[1].isdigit():
            return sql.Literal(parameters[int(found[1]) - 1]).as_string(connection)
        return parts[found[1]].as_string(connection)

    # The text is a file of this package's, without its comments, and what is put in was escaped by the driver.
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return sql.SQL(_PARAMETER.sub(put_in, body))


@contextmanager
def look(database: Database, locked: Sequence[sql.Identifier] = ()) -> Iterator[Look]:
    """A snapshot of *database* until the end of the block.

    Args:
        database: where to look.
        locked: tables that nobody may rewrite meanwhile, because a snapshot would find them empty.

    Raises:
        TableGoneError: one of those is not there.
        StoreUnavailableError: nobody answers, or the connection broke.
        StoreError: PostgreSQL refused to read.
    """
    try:
        with database.connection() as connection:
            Database.run(connection, "mirror", "begin", ())
            for table in locked:  # before the snapshot is taken, which the first statement after these does
                _lock(connection, table)
            yield Look(connection)
            Database.run(connection, "mirror", "end", ())
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(f"the database could not be read: {str(error).strip()}") from error
    except psycopg.Error as error:
        raise StoreError(f"PostgreSQL refused to read: {str(error).strip()}") from error


class TableGoneError(StoreError):
    """A table was dropped or renamed since its name was read."""


def _lock(connection: Connection, table: sql.Identifier) -> None:
    try:
        connection.execute(_bound(connection, statement("mirror", "lock"), (), {"table": table}))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise TableGoneError(str(error).strip()) from error
