"""Tables that watch for what others do to their rows, with SQL of their own: it becomes versions, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_sdk.errors import WarehouseError
from dataflows_sdk.store.database import DatabaseError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.catalogue import said

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.warehouse.catalogue import Catalogue

#: one process at a time makes the functions; it is no name of a table
_FUNCTIONS = ""


class Watching:
    """Makes tables watch. Thread-safe."""

    def __init__(self, database: Database, catalogue: Catalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    def watch(self, table: str) -> None:
        """From now on rows of a table have versions whoever writes them.

        Raises:
            TableNotFoundError: there is no such table.
            WarehouseError: this role may make no triggers on it, or others hold on to it.
        """
        self._catalogue.get(table)
        name = statements.table_name(table)
        with self._catalogue._change(table) as connection:
            try:
                self._catalogue._run(connection, "lock", _FUNCTIONS)
                connection.execute(_sql("functions"))
                connection.execute(_sql("unwatch").replace("{table}", name))
                connection.execute(_sql("watch").replace("{table}", name))
            except DatabaseError as error:
                raise WarehouseError(f"table {table!r} cannot be watched: {said(error)}") from error

    def unwatch(self, table: str) -> None:
        """No longer; what others do to its rows leaves no version from now on.

        Raises:
            TableNotFoundError: there is no such table.
        """
        self._catalogue.get(table)
        with self._catalogue._change(table) as connection:
            try:
                connection.execute(_sql("unwatch").replace("{table}", statements.table_name(table)))
            except DatabaseError as error:
                raise WarehouseError(f"table {table!r}: {said(error)}") from error

    def watched(self) -> list[str]:
        """The tables that are watched, by name."""
        return [row[0] for row in self._database.query(_sql("watched"))]


def _sql(name: str) -> str:
    return statement("watch", name, "dataflows_sdk.warehouse")
