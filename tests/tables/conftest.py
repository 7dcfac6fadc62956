"""A warehouse on a database of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from dataflows_sdk.arguments import moment_or_ago
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.reading import RowChange

Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def warehouse(database: Database) -> Warehouse:
    return Warehouse(database, ago=moment_or_ago)


@pytest.fixture
def sql(database_url: str) -> Iterator[Sql]:
    """What somebody else does with PostgreSQL."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def run(text: str, *parameters: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(text, parameters)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description is not None else []

        yield run


def everything(warehouse: Warehouse, since: Any = None, **options: Any) -> Iterator[RowChange]:
    """Every change, page by page."""
    while changes := warehouse.changes(since, **options):
        yield from changes
        since = changes.cursor
