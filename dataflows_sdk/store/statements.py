"""Statements that are not known beforehand: texts of users, and DDL that PostgreSQL itself has put together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg

from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store.database import Connection
from dataflows_sdk.store.sqlfiles import statement


class RefusedError(Exception):
    """PostgreSQL refused a statement; whoever sent it knows what to say about that.

    Args:
        error: of the driver.
    """

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(error.diag.message_primary or str(error).strip())
        self.sqlstate = error.sqlstate or ""
        self.message = str(self)
        self.detail = error.diag.message_detail or ""
        self.hint = error.diag.message_hint or ""
        position = error.diag.statement_position
        #: where in the statement, counted in characters from 0
        self.position = int(position) - 1 if position else None


def named(
    connection: Connection, file: str, name: str, parameters: Sequence[Any] = (), *, package: str
) -> list[tuple[Any, ...]]:
    """Run a named statement of a package, with ``$1`` parameters.

    Raises:
        RefusedError: PostgreSQL does not want it.
        StoreUnavailableError: the connection broke.
    """
    return _run(connection, statement(file, name, package), parameters)


def alone(connection: Connection, text: str) -> list[tuple[Any, ...]]:
    """Run one statement; that there are several in a text is an error.

    Raises:
        RefusedError: PostgreSQL does not want it.
        StoreUnavailableError: the connection broke.
    """
    # Only the extended protocol, which binary results need, insists on one statement.
    return _run(connection, text, None, binary=True)


def interrupt(connection: Connection) -> None:
    """Have the server cancel the statement that runs on a connection of another thread; if that fails it goes on."""
    with contextlib.suppress(psycopg.Error, OSError):
        connection.cancel()


def _run(
    connection: Connection, text: str, parameters: Sequence[Any] | None, *, binary: bool = False
) -> list[tuple[Any, ...]]:
    cursor = psycopg.RawCursor(connection, row_factory=psycopg.rows.tuple_row)
    try:
        cursor.execute(text, parameters or None, binary=binary)
        return cursor.fetchall() if cursor.description is not None else []
    except psycopg.Error as error:
        if connection.closed or error.sqlstate is None:
            raise StoreUnavailableError(f"PostgreSQL cut the connection: {str(error).strip()}") from error
        raise RefusedError(error) from error
