"""Reading another PostgreSQL, page by page, in transactions that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from dataflows_sdk.errors import StoreUnavailableError, SyncError

__all__ = ["read_rows"]


def read_rows(
    url: str,
    query: str,
    order: Sequence[str],
    after: Sequence[Any] | None,
    since: Any,
    size: int,
    known: tuple[str | None, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of a query in the order of some columns, beginning behind a place.

    Args:
        url: of the database.
        query: a select, or ``table <name>``.
        order: columns that tell rows apart, in this order; they are not null.
        after: their values in the last row that is known; None for the beginning.
        since: the first column has at least this value; None for all.
        size: how many rows.
        known: user and password, in place of those of the URL; without a user, that of the URL.

    Raises:
        StoreUnavailableError: nobody answers.
        SyncError: the database does not understand the query.
    """
    columns = sql.SQL(", ").join(sql.Identifier("q", name) for name in order)
    conditions = [sql.SQL("{} is not null").format(sql.Identifier("q", name)) for name in order]
    parameters: list[Any] = []
    if after is not None:
        conditions.append(sql.SQL("({}) > ({})").format(columns, sql.SQL(", ").join(sql.Placeholder() for _ in after)))
        parameters += after
    elif since is not None:
        conditions.append(sql.SQL("{} >= {}").format(sql.Identifier("q", order[0]), sql.Placeholder()))
        parameters.append(since)
    # the query is the user's own text; a percent sign in it is not a placeholder
    text = sql.SQL(query.replace("%", "%%"))
    statement = sql.SQL("select * from ({}\n) q where {} order by {} limit {}").format(
        text, sql.SQL(" and ").join(conditions), columns, sql.Literal(size)
    )
    user, password = known if known is not None else (None, None)
    given: dict[str, Any] = {
        name: value for name, value in (("user", user), ("password", password)) if value is not None
    }
    try:
        connection = psycopg.connect(
            url, connect_timeout=10, application_name="dataflows sync", row_factory=dict_row, **given
        )
    except psycopg.Error as error:
        raise StoreUnavailableError(
            f"the source's PostgreSQL does not answer: {' '.join(str(error).split())}"
        ) from None
    try:
        with connection:
            connection.read_only = True
            return connection.execute(statement, parameters).fetchall()
    except psycopg.OperationalError as error:
        raise StoreUnavailableError(f"the source's PostgreSQL broke off: {' '.join(str(error).split())}") from None
    except psycopg.Error as error:
        raise SyncError(f"the source's PostgreSQL does not take the query: {' '.join(str(error).split())}") from None
    finally:
        connection.close()
