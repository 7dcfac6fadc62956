"""Views of the warehouse in a query of DuckDB: PostgreSQL answers them, at every query, into temporary tables of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb

from dataflows_sdk.store import table_copying
from dataflows_sdk.store.copying import look
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import Intake, filled
from dataflows_sdk.warehouse.kinds import Digits, field_of, kind_of, quoted

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.store.table_copying import Relation


def bring_views(
    database: Database, connection: duckdb.DuckDBPyConnection, names: Collection[str], directory: Path
) -> set[str]:
    """Make the rows of views known to one connection, as they are now.

    Args:
        names: folded; of which some may be views.
        directory: for the rows on their way; nobody else may read it.

    Returns:
        the folded names of those that are.

    Raises:
        StoreError: PostgreSQL cannot read a view.
    """
    found = table_copying.views(database, sorted(names)) if names else []
    if not found:
        return set()
    with look(database) as seen, TemporaryDirectory(dir=directory) as place:
        tables = table_copying.Tables(seen)
        for view in found:
            _bring(view, tables, connection, Path(place))
    return {view.table.lower() for view in found}


def _bring(view: Relation, tables: table_copying.Tables, connection: duckdb.DuckDBPyConnection, place: Path) -> None:
    target = quoted("temp", view.table)
    kinds = [kind_of(name, kind) for name, kind in view.columns]  # text for decimals
    columns = ", ".join(f"{quoted(name)} {kind}" for (name, _), kind in zip(view.columns, kinds, strict=True))

    def run(name: str, **parts: str) -> list[tuple[Any, ...]]:
        text = filled(statement("table_mirror", name, "dataflows_sdk.warehouse"), parts)
        return connection.execute(text).fetchall()

    run("view", table=target, columns=columns)
    names = [name for name, _ in view.columns]
    Intake(connection, place).read(tables.all_rows(view, names), [field_of(kind) for kind in kinds], target)
    for name, kind in view.columns:
        if kind == "numeric":
            need = Digits(*run("digits", c=quoted(name), source=target)[0])
            run("widen", table=target, c=quoted(name), kind=need.kind)
