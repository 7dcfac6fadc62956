"""Queries of DuckDB that can be ended: after a time, and by Ctrl-C, for which DuckDB itself does not look."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import duckdb

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.errors import QueryError

T = TypeVar("T")

#: seconds between interruptions: one that comes between two statements has no effect
_AGAIN = 0.05


def interruptible(connection: duckdb.DuckDBPyConnection, seconds: float | None, work: Callable[[], T]) -> T:
    """What *work* gives, which uses a connection that nobody else does.

    Args:
        connection: it is interrupted.
        seconds: after which that happens; None waits for ever.
        work: runs in a thread of its own when somebody may interrupt it.

    Raises:
        QueryError: it took longer.
        KeyboardInterrupt: by Ctrl-C, when the work is over.
    """
    if seconds is None and threading.current_thread() is not threading.main_thread():
        return work()
    values: list[T] = []
    errors: list[BaseException] = []
    over = threading.Event()  # a thread whose `join` is interrupted counts as ended, though it goes on

    def do() -> None:
        try:
            values.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the work was asked for
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=do, name="dataflows-query", daemon=True).start()
    try:
        late = not over.wait(seconds)
    except BaseException:
        _interrupt(connection, over)
        raise
    if late:
        _interrupt(connection, over)
        if errors:
            raise QueryError(
                f"the query was interrupted after its timeout of {format_duration(seconds or 0)}; "
                "let it read less (where, limit, using sample), or give it more time"
            ) from errors[0]
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # an error that holds its own frame would hold the connection
    return values[0]


def _interrupt(connection: duckdb.DuckDBPyConnection, over: threading.Event) -> None:
    while not over.is_set():
        connection.interrupt()
        over.wait(_AGAIN)
