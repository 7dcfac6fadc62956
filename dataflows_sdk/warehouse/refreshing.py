"""Computing the kept rows of a view anew: because somebody says so, or because it is time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from dataflows_sdk.errors import DefinitionError, WarehouseError
from dataflows_sdk.store.statements import RefusedError, alone
from dataflows_sdk.warehouse.defining import schedule_of
from dataflows_sdk.warehouse.rebuilding import PATIENCE, missing, more, run

#: how long after a failure it is tried again, twice as long with each one
_AGAIN, _SELDOM = timedelta(seconds=10), timedelta(hours=1)


def refresh(connection: Any, name: str, now: datetime | None) -> None:
    """Compute the rows anew, in the caller's transaction.

    Args:
        now: the moment where time is virtual; None for the database's clock.

    Raises:
        ViewNotFoundError: there is no such view.
        DefinitionError: it keeps no rows.
        RefusedError: PostgreSQL does not want it.
    """
    rows = run(connection, "list", name)
    if not rows or rows[0][10] is None:
        raise missing(connection, name)
    if rows[0][11] != "m":
        raise DefinitionError(
            f"view {name!r} keeps no rows that could be refreshed: it is computed whenever it is read; "
            "materialized=True keeps them"
        )
    text, seen, began = run(connection, "refresh", name, bool(rows[0][4]))[0]
    alone(connection, text)
    schedule = schedule_of(rows[0][6])
    # after its end: one that takes longer than from one time to the next is not begun again at once
    next_at = None if schedule is None else schedule.next_after(now or run(connection, "clock")[0][0])
    run(connection, "refreshed", name, now or began, seen, next_at)


def refresh_if_due(
    connection: Any, name: str, now: datetime | None, stopped: Callable[[], bool] = lambda: False
) -> bool:
    """Refresh a view if it is time, and nobody else does so just now; whether it was.

    That it failed is written down in the transaction that holds the view, so that no other process tries it too.

    Args:
        connection: without a transaction.
        now: the moment where time is virtual, or another one than the database's.
        stopped: whether a statement that was cancelled is none of the view's failures.

    Raises:
        WarehouseError: PostgreSQL refused; it is tried again later.
    """
    with connection.transaction():
        # readers line up behind whoever waits for the readers that are there
        run(connection, "patience", PATIENCE)
        if not run(connection, "try_hold", name)[0][0]:
            return False
        due = run(connection, "still_due", name, now)
        if not due:
            return False
        try:
            with connection.transaction():  # a savepoint
                refresh(connection, name, now)
            return True
        except RefusedError as refused:
            if stopped():
                return False
            error = not_refreshed(name, refused)
            at = now or run(connection, "clock")[0][0]
            pause = min(_SELDOM, _AGAIN * 2 ** min(due[0][0], 20))
            run(connection, "not_refreshed", name, f"{refused.message}{more(refused)}", at, at + pause)
    raise error


def not_refreshed(name: str, refused: RefusedError) -> WarehouseError:
    """The error for a refresh that PostgreSQL refused."""
    return WarehouseError(f"view {name!r} was not refreshed and has its old rows: {refused.message}{more(refused)}")
