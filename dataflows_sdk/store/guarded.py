"""Queries of others: read-only, ended in time from inside and outside, cut by rows and by size."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store.database import Connection
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.store.statements import RefusedError, alone, named

_WORD = re.compile(r"\{(\w+)\}")
#: rows that are fetched at a time
_PAGE = 100
#: seconds that the server has for ending a query on request, before the connection is cut
_GRACE = 2.0
#: types whose values come as they are; all else comes as PostgreSQL writes it
_NATIVE = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "numeric"})


class TooLongError(Exception):
    """The query was ended from outside."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a query gave.

    Attributes:
        columns: names and types.
        rows: numbers and booleans as they are, all else as text.
        more: whether there were more rows than fetched.
        cut: places of values that are not whole: row and column.
    """

    columns: tuple[tuple[str, str], ...]
    rows: list[tuple[Any, ...]]
    more: bool
    cut: tuple[tuple[int, int], ...]


def read_guarded(
    connection: Connection, text: str, *, seconds: float, rows: int, size: int, cell: int, role: str | None = None
) -> Found:
    """Run one query in a read-only transaction that is rolled back.

    Args:
        connection: nobody else uses it meanwhile; it is closed when the query had to be ended by force.
        text: one query. It cannot be several: it goes over the extended protocol, as a part of another.
        seconds: for each statement by the server's clock, and for all by ours.
        rows: at the most.
        size: characters of all texts in all rows, at the most; the row that goes beyond is the last.
        cell: characters of one text.
        role: run it as this one.

    Raises:
        RefusedError: PostgreSQL does not want it.
        TooLongError: it took too long, and the server did not end it itself.
        StoreUnavailableError: the connection broke.
    """
    connection.prepare_threshold = None  # what is prepared would be gone after the cleaning
    with _ended_after(connection, seconds + 0.5):
        try:
            _fixed(connection, "begin")
            _fixed(connection, "settings", [max(1, round(seconds * 1000))])
            if role is not None:
                for (taken,) in _fixed(connection, "role", [role]):
                    alone(connection, taken)
            return _read(connection, text, rows, size, cell)
        finally:
            _over(connection)


def _read(connection: Connection, text: str, rows: int, size: int, cell: int) -> Found:
    columns = _columns(connection, _filled("columns", query=text))
    if not columns:
        return Found((), [], False, ())
    names = [f"c{at}" for at in range(len(columns))]
    shown = ", ".join(
        name if kind in _NATIVE else f"pg_catalog.left({name}::pg_catalog.text, {cell + 1}) as {name}"
        for name, (_, kind) in zip(names, columns, strict=True)
    )
    alone(connection, _filled("cursor", shown=shown, names=", ".join(names), query=text))
    found: list[tuple[Any, ...]] = []
    cut: list[tuple[int, int]] = []
    so_far = 0
    while True:
        page = alone(connection, _filled("fetch", rows=str(min(_PAGE, rows + 1 - len(found)))))
        for row in page:
            if len(found) == rows or so_far > size:
                return Found(columns, found, True, tuple(cut))
            values = list(row)
            for at, value in enumerate(values):
                if isinstance(value, str):
                    if len(value) > cell and columns[at][1] not in _NATIVE:
                        values[at] = value[:cell]
                        cut.append((len(found), at))
                    so_far += len(value)
                else:
                    so_far += 8
            found.append(tuple(values))
        if len(page) < _PAGE:
            return Found(columns, found, False, tuple(cut))


def _columns(connection: Connection, text: str) -> tuple[tuple[str, str], ...]:
    cursor = psycopg.RawCursor(connection)
    try:
        cursor.execute(text, None, binary=True)
    except psycopg.Error as error:
        if connection.closed or error.sqlstate is None:
            raise StoreUnavailableError(f"PostgreSQL cut the connection: {str(error).strip()}") from error
        raise RefusedError(error) from error
    types = connection.adapters.types
    found = []
    for column in cursor.description or ():
        known = types.get(column.type_code)
        array = known is not None and known.array_oid == column.type_code
        name = "" if known is None else known.name
        found.append((column.name, f"{name}[]" if array else name))
    return tuple(found)


def _filled(name: str, **words: str) -> str:
    # in one pass: what looks like a place in braces in a query is text of the query
    return _WORD.sub(lambda found: words[found[1]], statement("guarded", name))


def _fixed(connection: Connection, name: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return named(connection, "guarded", name, parameters, package="dataflows_sdk.store")


def _over(connection: Connection) -> None:
    """Nothing is left of the transaction, nor of what a query may have put into the session."""
    try:
        _fixed(connection, "end")
        _fixed(connection, "clean")
        connection.execute("set timezone to 'UTC'")
    except (psycopg.Error, RefusedError, StoreUnavailableError):
        connection.close()


@contextmanager
def _ended_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Whatever the session made of its own timeout: asks the server to stop, and then hangs up."""
    late = threading.Event()
    over = threading.Event()

    def end() -> None:
        if over.wait(seconds):
            return
        late.set()
        with suppress(psycopg.Error, OSError):
            connection.cancel_safe(timeout=_GRACE)
        if not over.wait(_GRACE):
            _hang_up(connection)

    watcher = threading.Thread(target=end, name="dataflows-guard", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        if late.is_set():
            raise TooLongError(f"ended from outside after {seconds:g} seconds") from error
        raise
    finally:
        over.set()
        watcher.join()


def _hang_up(connection: Connection) -> None:
    with suppress(psycopg.Error, OSError):
        copy = socket.socket(fileno=os.dup(connection.pgconn.socket))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)
