"""Reading the journal in bulk: one snapshot of the database, and rows as CSV straight from the server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dataflows_sdk.errors import StoreError, StoreUnavailableError
from dataflows_sdk.store.database import Connection, Database
from dataflows_sdk.store.sqlfiles import statement

_PARAMETER = re.compile(r"\$(\d+)")
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

    def rows(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement of ``mirror.sql``."""
        return Database.run(self._connection, "mirror", name, parameters)

    def copy(self, name: str, *parameters: Sequence[str] | Sequence[int]) -> Iterator[bytes | bytearray | memoryview]:
        """The rows of a COPY of ``mirror.sql``: one line of CSV (RFC 4180, UTF-8, no header) for each.

        NULL is nothing at all, an empty text is ``""``. Whoever stops before the end has to leave the look.
        """
        cursor = self._connection.cursor()
        with cursor.copy(self._bound(statement("mirror", name), parameters)) as copy:
            yield from copy

    def _bound(self, text: str, parameters: Sequence[Any]) -> sql.SQL:
        def literal(found: re.Match[str]) -> str:
            return sql.Literal(list(parameters[int(found[1]) - 1])).as_string(self._connection)

        # The text is a file of this package's, and what is put in was escaped by the driver.
        return sql.SQL(_PARAMETER.sub(literal, text))


@contextmanager
def look(database: Database) -> Iterator[Look]:
    """A snapshot of *database* until the end of the block.

    Raises:
        StoreUnavailableError: nobody answers, or the connection broke.
        StoreError: PostgreSQL refused to read.
    """
    try:
        with database.connection() as connection:
            Database.run(connection, "mirror", "begin", ())
            yield Look(connection)
            Database.run(connection, "mirror", "end", ())
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(f"the journal could not be read: {str(error).strip()}") from error
    except psycopg.Error as error:
        raise StoreError(f"PostgreSQL refused to read the journal: {str(error).strip()}") from error
