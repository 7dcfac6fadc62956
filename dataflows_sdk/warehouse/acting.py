"""What nodes of type ``action_record`` do: create, update, upsert and delete rows, by name and by value only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError, NonRetryableError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.asked import by_key, column_named, where
from dataflows_sdk.warehouse.changed import record
from dataflows_sdk.warehouse.columns import shortened
from dataflows_sdk.warehouse.shape import zone_of
from dataflows_sdk.warehouse.table import in_thread

if TYPE_CHECKING:
    from dataflows_sdk.nodes.data import RecordAction
    from dataflows_sdk.nodes.registry import Call
    from dataflows_sdk.warehouse.desk import Warehouse
    from dataflows_sdk.warehouse.shape import Shape

_NULLS = ("is_null", "not_null", "not.is_null", "not.not_null")


class Records:
    """Writes what nodes ask for. Within the step, so that the rows commit with its record.

    Tables and columns are those of the catalogue; a document can make neither. Values of columns that are no texts may
    come as texts, for that is what templates and JSON give.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    async def __call__(self, config: RecordAction, call: Call) -> Any:
        """The row, or how many rows were changed."""
        return await in_thread(self._act, config, call.node)

    def _act(self, config: RecordAction, node: str) -> Any:
        try:
            shape = self._warehouse._catalogue.get(config.object)
            names = {column.name for column in shape.columns} | set(shape.children)
            names |= {"id"} if config.operation == "create" else set()
            if unknown := [name for name in config.data or () if name not in names]:
                column_named(shape, unknown[0])
            if self._warehouse._writer.joined() is None:
                raise DefinitionError("records are written within a step of a run")
            if config.operation == "delete":
                return {"count": self._delete(shape, config)}
            if config.operation != "update":
                return self._put(shape, config)
            if config.id is None:
                return {"count": self._update_where(shape, config)}
            return self._update(shape, config)
        except DefinitionError as error:
            raise NonRetryableError(f"node {node!r}: {error}") from error

    # --- one row -----------------------------------------------------------------------------------------

    def _put(self, shape: Shape, config: RecordAction) -> dict[str, Any]:
        data = dict(config.data or {})
        if config.id is not None:
            data = {**_key(shape, config.id), **data}
        insert = config.operation == "create"
        row = self._warehouse._writer.one(shape.name, data, None, None, insert=insert, fixed=True)
        return record(row)

    def _update(self, shape: Shape, config: RecordAction) -> dict[str, Any]:
        data = self._without_key(shape, config.data or {})
        condition, values = by_key(shape, config.id, 1, zone_of(shape))
        with self._warehouse._writer.transaction(shape.name) as connection:
            found = self._locked(connection, shape, condition, values)
            if not found:
                raise NonRetryableError(
                    f"table {shape.name!r} has no row {shortened(config.id)} to update; upsert makes one"
                )
            row = self._warehouse._writer.one(shape.name, found[0] | data, None, None, insert=False, fixed=True)
        return record(row)

    # --- those of conditions -----------------------------------------------------------------------------

    def _update_where(self, shape: Shape, config: RecordAction) -> int:
        data = self._without_key(shape, config.data or {})
        condition, values = where(shape, _told(shape, config), 1, zone_of(shape))
        with self._warehouse._writer.transaction(shape.name) as connection:
            rows = [each | data for each in self._locked(connection, shape, condition, values)]
            if not rows:
                return 0
            return self._warehouse._writer.many(shape.name, rows, None, None, insert=False, fixed=True).updated

    def _delete(self, shape: Shape, config: RecordAction) -> int:
        writer = self._warehouse._writer
        if config.id is not None:
            return writer.delete(shape.name, lambda now, at: by_key(now, config.id, at, zone_of(now)), None).deleted
        conditions = _told(shape, config)
        return writer.delete(shape.name, lambda now, at: where(now, conditions, at, zone_of(now)), None).deleted

    @staticmethod
    def _locked(connection: Any, shape: Shape, condition: str, values: list[Any]) -> list[dict[str, Any]]:
        """The keys of rows, which stay as they are until the transaction ends."""
        order = [(name, False) for name in shape.row_key]
        names = statements.columns_of(shape)
        found = Database.execute(connection, statements.select(shape, condition, order, "for update of t"), values)
        rows = (dict(zip(names, row, strict=True)) for row in found)
        return [{name: row[name] for name in shape.row_key} for row in rows]

    @staticmethod
    def _without_key(shape: Shape, data: Mapping[str, Any]) -> dict[str, Any]:
        moved = [name for name in data if name in shape.row_key]
        if moved:
            raise DefinitionError(f"table {shape.name!r}: {moved[0]!r} is its key, which stays; create another row")
        if not shape.key:
            raise DefinitionError(f"table {shape.name!r} has no key, so that its rows can only be created and deleted")
        return dict(data)


def _key(shape: Shape, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    values = given if isinstance(given, list | tuple) else [given]
    if len(values) != len(shape.row_key):
        by_key(shape, given)  # says what is wrong
    return dict(zip(shape.row_key, values, strict=True))


def _told(shape: Shape, config: RecordAction) -> Any:
    """The conditions, which must not be empty: a template that led nowhere is null, and null would be many rows."""
    conditions = config.where
    if isinstance(conditions, Mapping) and "field" not in conditions:
        empty = [name for name, value in conditions.items() if value is None]
    else:
        several = [conditions] if isinstance(conditions, Mapping) else conditions or []
        empty = [
            str(each.get("field"))
            for each in several
            if each.get("value") is None and each.get("op", "eq") not in _NULLS
        ]
    if empty:
        raise DefinitionError(
            f"table {shape.name!r}: the condition on {empty[0]!r} has no value (a template that led nowhere?); "
            "rows in which it is null are asked for with op is_null"
        )
    return conditions
