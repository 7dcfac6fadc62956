"""Ending queries of DuckDB that take too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.errors import QueryError

#: seconds between interruptions: one that comes between two statements has no effect
_AGAIN = 0.05


@contextmanager
def deadline(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Interrupt what runs on a connection when it takes longer than so many *seconds*; None lets it run.

    Raises:
        QueryError: it took longer.
    """
    if seconds is None:
        yield
        return
    over, passed = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            passed.set()
            connection.interrupt()
            wait = _AGAIN

    watcher = threading.Thread(target=watch, name="dataflows-deadline", daemon=True)
    watcher.start()
    try:
        yield
    except duckdb.Error as error:
        if not passed.is_set():
            raise
        raise QueryError(
            f"the query was interrupted after its timeout of {format_duration(seconds)}; "
            "let it read less (where, limit, using sample), or give it more time"
        ) from error
    finally:
        over.set()
        watcher.join()
