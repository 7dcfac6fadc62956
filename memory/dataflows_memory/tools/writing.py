"""Tools that write rows, of tables that a person named: insert, update and delete, typed by the table's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_memory.tools.parameters import Parameters
from dataflows_sdk.core.redact_patterns import is_secret_name
from dataflows_sdk.errors import DefinitionError, TableNotFoundError, ToolError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.warehouse.columns import Column
    from dataflows_sdk.warehouse.table import Table

_KINDS: dict[str, Any] = {
    "int": int,
    "decimal": Decimal,
    "float": float,
    "bool": bool,
    "text": str,
    "date": date,
    "time": time,
    "timestamp": datetime,
    "timestamptz": datetime,
    "interval": timedelta,
    "uuid": UUID,
    "json": Any,
}


@dataclass(frozen=True, slots=True)
class Write:
    """A tool to be made.

    Attributes:
        name: ``insert_tasks``, before it is made one that models can call.
        description: for the model.
        parameters: of its arguments.
        function: that does it.
        dangerous: whether what it does is gone from the table.
    """

    name: str
    description: str
    parameters: Parameters
    function: Callable[..., Any]
    dangerous: bool = False


def writes_of(context: Context, name: str, hide: Mapping[str, Iterable[str]] | None) -> list[Write]:
    """The tools of one table. A row is named by its key: no call reaches more than one row, and none reaches all.

    Columns that are hidden cannot be written; by default those whose name sounds like a secret. Of a table without
    a key rows are only inserted, and deleted by their ``id``.

    Args:
        context: whose warehouse.
        name: of the table.
        hide: columns that cannot be written, by table.

    Raises:
        DefinitionError: there is no such table.
        ToolError: a row could not be named without a column that is hidden.
    """
    try:
        table = context.warehouse.table(name)
        columns = table.columns
    except TableNotFoundError:
        raise DefinitionError(f"there is no table {name!r:.100} that could be written") from None
    hidden = set((hide or {}).get(name, ()))
    shown = [each for each in columns if not (is_secret_name(each.name) if hide is None else each.name in hidden)]
    shown = [each for each in shown if each.type in _KINDS]
    known = {each.name for each in shown}
    for each in columns:
        if each.name not in known and (each.name in table.key or not each.nullable):
            raise ToolError(
                f"table {name!r} cannot be written by tools: no row is without {each.name!r}, which is hidden"
            )
    return _Writes(table, shown).made()


class _Writes:
    """The functions of one table."""

    def __init__(self, table: Table, columns: list[Column]) -> None:
        self._table = table
        self._columns = columns
        self._key = table.shape.row_key

    def made(self) -> list[Write]:
        name, keyed = self._table.name, bool(self._table.key)
        key = {each.name: (_KINDS[each.type], ...) for each in self._columns if each.name in self._key}
        key = key or dict.fromkeys(self._key, (int, ...))
        rest = [each for each in self._columns if each.name not in self._key]
        named = " and ".join(self._key)
        needed = {each.name: (_KINDS[each.type], ... if not each.nullable else None) for each in self._columns}
        found = [
            Write(
                f"insert_{name}",
                f"Insert one row into {name}. A key that is there already is an error: update it instead."
                if keyed
                else f"Insert one row into {name}.",
                Parameters.of_fields(f"insert {name}", needed),
                self.insert,
            )
        ]
        if keyed and rest:
            changes: dict[str, Any] = {each.name: (_KINDS[each.type], None) for each in rest}
            free = [each.name for each in rest if each.nullable]
            if free and "clear" not in {**key, **changes}:
                changes["clear"] = (list[str], None)
            found.append(
                Write(
                    f"update_{name}",
                    f"Change columns of the one row of {name} that {named} names; those that are not given stay. "
                    "clear lists columns to be emptied.",
                    Parameters.of_fields(f"update {name}", {**key, **changes}),
                    self.update,
                )
            )
        found.append(
            Write(
                f"delete_{name}",
                f"Delete the one row of {name} that {named} names. Its history stays.",
                Parameters.of_fields(f"delete {name}", key),
                self.delete,
                dangerous=True,
            )
        )
        return found

    def insert(self, /, **values: Any) -> dict[str, Any]:
        row = self._table.insert({name: value for name, value in values.items() if value is not None})
        return self._told("inserted", {name: row[name] for name in self._key})

    def update(self, /, **values: Any) -> dict[str, Any]:
        key = {name: values.pop(name) for name in self._key}
        given = values.pop("clear", None) if "clear" not in {each.name for each in self._columns} else None
        clear = list(dict.fromkeys(given or ()))
        changed = {name: value for name, value in values.items() if value is not None}
        free = {each.name for each in self._columns if each.nullable and each.name not in key}
        for name in clear:
            if name not in free:
                raise ToolError(
                    f"clear: {name!r:.100} cannot be emptied; there are: {', '.join(sorted(free)) or 'none'}"
                )
            if name in changed:
                raise ToolError(f"{name!r} is to be changed and to be emptied: say one of them")
        if not changed and not clear:
            raise ToolError("there is nothing to change: give a column besides the key, or clear")
        row = self._table.update(self._one(key), **changed, **dict.fromkeys(clear))
        if row is None:
            raise self._no_row(key)
        return self._told("updated", key)

    def delete(self, /, **key: Any) -> dict[str, Any]:
        if not self._table.delete(self._one(key)).deleted:
            raise self._no_row(key)
        return self._told("deleted", key)

    def _one(self, key: Mapping[str, Any]) -> Any:
        values = tuple(key[name] for name in self._key)
        return values if len(values) > 1 else values[0]

    def _no_row(self, key: Mapping[str, Any]) -> ToolError:
        told = ", ".join(f"{name}={value!r:.100}" for name, value in key.items())
        return ToolError(f"table {self._table.name!r} has no row with {told}; nothing was changed")

    def _told(self, what: str, key: Mapping[str, Any]) -> dict[str, Any]:
        # and not the row: what may not be read is not read by writing
        return {"table": self._table.name, what: dict(key)}


__all__ = ["Write", "writes_of"]
