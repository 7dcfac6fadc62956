"""Tools over the warehouse: questions in SQL, what the tables are, and where a row comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory.gate.describing import describe
from dataflows_memory.gate.reader import Reader
from dataflows_memory.gate.relations import Relation, near
from dataflows_sdk.errors import ToolError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

Key = str | int | list[str | int]


class RowTools:
    """What a set of tools may read of the warehouse; bound when it is made.

    Args:
        context: whose warehouse.
        relations: the tables and views.
        may_see: whether the input of a run of this workflow may be shown.
        timeout: seconds of a query.
    """

    def __init__(
        self, context: Context, relations: Iterable[Relation], may_see: Callable[[str | None], bool], timeout: float
    ) -> None:
        self._context = context
        self.reader = Reader(context._database, relations, timeout=timeout)
        self._tables = {each.name: each for each in self.reader.relations if each.versioned}
        self._may_see = may_see

    def describe_tables(self) -> str:
        """The tables and views that can be asked with sql: columns, types, keys, and values of columns that have few.
        Call it before you write a query.
        """
        return describe(self.reader, self._context._database)

    def sql(self, query: str, as_of: str | None = None, rows: int | None = None) -> dict[str, Any]:
        """Answer a question with one SELECT of PostgreSQL over the tables that describe_tables lists. Nothing
        else runs.

        Args:
            query: one SELECT.
            as_of: read the tables as they were then: ISO time, or so long ago ("2d").
            rows: how many at the most.
        """
        if rows is not None and rows < 1:
            raise ToolError(f"rows={rows}: ask for at least one")
        return self.reader.query(query, as_of=self._moment(as_of), rows=rows).to_json()

    def why(self, table: str, key: Key) -> dict[str, Any]:
        """Which run and step wrote a row last, when, from which source, and how that run began.

        Args:
            table: its name.
            key: the value of its key column; a list of values where the key has several columns.
        """
        relation = self._table(table)
        found = self._context.warehouse.why(table, _key(key))
        if found is None:
            raise ToolError(f"table {table} never had a row with the key {key!r:.100}")
        told = {
            "table": found.table,
            "key": list(found.key),
            "row": _shown(relation, found.row),
            "operation": found.operation,
            "at": found.at,
            "run": found.run,
            "workflow": found.workflow,
            "step": found.step,
            "source": found.source,
            "versions": found.versions,
        }
        if found.run is not None and self._may_see(found.workflow):
            told["trigger"] = found.trigger
        return told

    def history(self, table: str, key: Key, last: int = 20) -> dict[str, Any]:
        """What a row was over time, oldest first: each version, from when until when, and which run and step wrote it.

        Args:
            table: its name.
            key: the value of its key column; a list of values where the key has several columns.
            last: how many versions, the newest ones.
        """
        if not 1 <= last <= 200:
            raise ToolError(f"last={last}: 1 to 200 versions are shown")
        relation = self._table(table)
        found = self._context.warehouse.history(table, _key(key))
        if not found:
            raise ToolError(f"table {table} never had a row with the key {key!r:.100}")
        versions = [
            {
                "operation": each.operation,
                "valid_from": each.valid_from,
                "valid_to": each.valid_to,
                "row": _shown(relation, each.row),
                "run": each.run,
                "step": each.step,
                "source": each.source,
            }
            for each in found[-last:]
        ]
        return {"versions": versions, "earlier": max(0, len(found) - last)}

    def _table(self, name: str) -> Relation:
        relation = self._tables.get(name)
        if relation is None:
            raise ToolError(f"there is no table {name!r:.100} with a past among those that may be read; "
                            f"{near(name, self._tables)}")  # fmt: skip
        return relation

    def _moment(self, text: str | None) -> datetime | None:
        return None if text is None else self._context.warehouse._ago(text)


def _key(key: Key) -> Any:
    return tuple(key) if isinstance(key, list) and len(key) != 1 else key[0] if isinstance(key, list) else key


def _shown(relation: Relation, row: Any) -> dict[str, Any] | None:
    """Only the columns that a query may read, too."""
    return None if row is None else {name: value for name, value in dict(row).items() if name in relation.columns}
