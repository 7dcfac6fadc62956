"""A table of the warehouse, as users have it in hand."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic import BaseModel

from dataflows_sdk.core.shown import Sheet, ShownAsTable, counted
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.warehouse.asked import by_key, where
from dataflows_sdk.warehouse.columns import shortened
from dataflows_sdk.warehouse.frames import Frame, is_columnar
from dataflows_sdk.warehouse.lists import rows_of
from dataflows_sdk.warehouse.rows import Row, Written
from dataflows_sdk.warehouse.shape import Shape, zone_of

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.asked import Asked
    from dataflows_sdk.warehouse.columns import Column
    from dataflows_sdk.warehouse.desk import Warehouse
    from dataflows_sdk.warehouse.reading import Version, Why

T = TypeVar("T")


#: rows that a notebook shows of a table
_FIRST = 20


class Table(ShownAsTable):
    """Rows in, rows out. Made by `Warehouse.table`.

    Inside a step's function what is written commits together with the step's record, or not at all; elsewhere every
    call is a transaction of its own. Unchanged rows write nothing. Every method has an awaitable twin with an ``a``
    before its name, which works in a thread; in ``async def`` steps that is the one to use.

    Attributes:
        name: of the table: ``warehouse.<name>`` in PostgreSQL, ``<name>`` in ``ctx.sql``.
    """

    def __init__(self, warehouse: Warehouse, name: str, model: type[BaseModel] | None = None) -> None:
        self._warehouse = warehouse
        self.name = name
        self._model = model

    @property
    def shape(self) -> Shape:
        """What it looks like.

        Raises:
            TableNotFoundError: it was dropped.
        """
        return self._warehouse._catalogue.get(self.name)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The user's columns; each table has `id` and provenance besides."""
        return self.shape.columns

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which rows are told apart; none if rows are only inserted."""
        return self.shape.key

    # --- writing -----------------------------------------------------------------------------------------

    @overload
    def upsert(self, rows: Mapping[str, Any] | BaseModel | None = None, /, **values: Any) -> Row: ...
    @overload
    def upsert(self, rows: Iterable[Any], /) -> Written: ...
    def upsert(self, rows: Any = None, /, **values: Any) -> Row | Written:
        """Insert a row, or update the one of the same key; several rows as `upsert_many`.

        Columns that the row does not name stay as they are. With a model, a row is a whole one: fields that are left
        out have the model's defaults. A list that is a table of its own (``children=``) is replaced where the row
        names it, and stays as it is where it does not.

        Args:
            rows: a mapping, a model or a dataclass; or several.
            values: the row as keywords instead: ``upsert(clickup_id="T-17", name="Paint the fence")``.

        Returns:
            the row as it is now, with its `id` and provenance; for several rows what was done.

        Raises:
            BadRowsError: a value does not fit its column, or the key is missing. Nothing was written.
            ShapeError: the table has no key.
        """
        if rows is not None and not _is_row(rows):
            if values:
                raise DefinitionError(f"table {self.name!r}: give rows, or the columns of one row, not both")
            return self.upsert_many(rows)
        return self._warehouse._writer.one(self.name, _row(rows, values), None, self._model, insert=False)

    def upsert_many(self, rows: Any, *, source: str | None = None) -> Written:
        """Insert or update many rows, all or none of them.

        Args:
            rows: an iterable of mappings, models or dataclasses; a DataFrame, an Arrow table, a DuckDB relation, an
                answer of `ctx.sql`; or the path of a Parquet, CSV or JSON Lines file (``"data/*.parquet"``).
            source: where they come from, instead of the table's source.

        Returns:
            how many were inserted, updated, unchanged, and set aside.

        Raises:
            UnreadableSourceError: a file or a DataFrame cannot be read as rows.
            BadRowsError: rows do not fit; ``.rows`` says which and why. Nothing was written. With ``bad="aside"`` at
                the table they are set aside instead.
        """
        return self._many(rows, source, insert=False)

    def _many(self, rows: Any, source: str | None, *, insert: bool) -> Written:
        writer = self._warehouse._writer
        if not is_columnar(rows):
            return writer.many(self.name, rows, source, self._model, insert=insert)
        lists = self.shape.children
        if self._model is None and not lists:
            return writer.columns_at_once(self.name, rows, source, insert=insert)
        with Frame.open(rows, self.shape.timezone) as frame:
            if self._model is None and not any(column.name in lists for column in frame.columns):
                return writer.columns_at_once(self.name, rows, source, insert=insert)
            # the model judges row by row, and lists are taken out of each row
            return writer.many(self.name, rows_of(frame, rows, self.shape), source, self._model, insert=insert)

    @overload
    def insert(self, rows: Mapping[str, Any] | BaseModel | None = None, /, **values: Any) -> Row: ...
    @overload
    def insert(self, rows: Iterable[Any], /) -> Written: ...
    def insert(self, rows: Any = None, /, **values: Any) -> Row | Written:
        """Insert one row, or several; a key that is there already is an error.

        Raises:
            BadRowsError: rows do not fit, or a key is there already. Nothing was written.
        """
        if rows is not None and not _is_row(rows):
            if values:
                raise DefinitionError(f"table {self.name!r}: give rows, or the columns of one row, not both")
            return self._many(rows, None, insert=True)
        return self._warehouse._writer.one(self.name, _row(rows, values), None, self._model, insert=True)

    def update(self, key: Any, /, **values: Any) -> Row | None:
        """Change some columns of a row that is there.

        Returns:
            the row as it is now; None if there is none of that key.

        Raises:
            BadRowsError: a value does not fit its column.
            DefinitionError: *values* change the key.
        """
        shape = self.shape
        if moved := [name for name in values if name in shape.row_key]:
            raise DefinitionError(f"table {self.name!r}: {moved[0]!r} is its key, which stays; insert another row")
        with self._warehouse._writer.transaction(self.name):
            before = self.get(key)
            if before is None or not values:
                return before
            row = {name: before[name] for name in shape.row_key} | values
            return self._warehouse._writer.one(self.name, row, None, None, insert=False)

    def delete(self, key: Any = None, /, *, where: Any = None, all: bool = False) -> Written:
        """Delete the row of a key, or the rows of conditions, with what is in their lists. Their history stays.

        Args:
            key: a value, a tuple for a key of several columns, or a `Row`.
            where: conditions as for `find`.
            all: every row; instead of the others.

        Raises:
            DefinitionError: not exactly one of the three.
            BadRowsError: rows of another table refer to one of these.
        """
        if sum((key is not None, where is not None, all)) != 1:
            raise DefinitionError(
                f"table {self.name!r}: delete(key), delete(where=...) or delete(all=True), one of them"
            )
        if where is not None and not where:
            raise DefinitionError(
                f"table {self.name!r}: delete(where={where!r}) would be every row; say all=True for that"
            )

        def asked(shape: Shape, first: int) -> Asked:
            if key is not None:
                return by_key(shape, key, first, zone_of(shape))
            return _where(shape, None if all else where, first, zone_of(shape))

        return self._warehouse._writer.delete(self.name, asked, None)

    # --- reading -----------------------------------------------------------------------------------------

    def get(self, key: Any) -> Row | None:
        """The row of a key; None if there is none. Inside a step it sees what the step has written."""
        return self._warehouse._reader.get(self.name, key)

    def find(
        self, where: Any = None, *, order: Any = None, limit: int | None = None, offset: int = 0, after: Any = None
    ) -> list[Row]:
        """Rows, by their key unless said otherwise; those that are equal in *order* by their key, too.

        Args:
            where: ``{"status": "open"}`` (a list: one of these), or triples ``[("hours", "gt", 8)]`` with the operators
                of conditions: eq, neq, gt, gte, lt, lte, in, nin, contains, starts_with, ends_with, like, ilike,
                is_null, not_null, each also with ``not.`` before it. All must hold.
            order: ``"hours"``, ``"-hours"`` for descending, or several.
            limit, offset: a page of them.
            after: a row: only those behind it in this order, whether it is still there or not. Pages by the last row
                of the one before pass nothing over and give nothing twice, whatever is written in between.

        Raises:
            DefinitionError: it names no column, or a value does not fit; or *after* lacks a column of the order.
        """
        return self._warehouse._reader.find(self.name, where, order, limit, offset, None, after)

    def count(self, where: Any = None) -> int:
        """How many rows there are."""
        return self._warehouse._reader.count(self.name, where)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        return True  # the table is there, however many rows it has

    def browse(self, *, limit: int = 50) -> Any:
        """The rows as a list in a notebook: in pages, with a filter, and of each row its history and why it is so.

        Args:
            limit: rows on a page, at most 200.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
            DefinitionError: a limit out of range.
            TableNotFoundError: it was dropped.
        """
        return self._warehouse._browse(self, limit)

    def history(self, key: Any) -> list[Version]:
        """Every version of a row, oldest first; a time in which it was deleted is one, too."""
        return self._warehouse._reader.history(self.name, key)

    def why(self, key: Any) -> Why | None:
        """Which run and step wrote the row last, and how that run began; None if there never was such a row."""
        return self._warehouse._reader.why(self.name, key)

    def aside(self, limit: int = 100) -> list[dict[str, Any]]:
        """Rows that did not fit and were set aside: the row, the reason, when, by which run; newest first."""
        return self._warehouse._reader.aside(self.name, limit)

    def drop(self) -> None:
        """Remove the table with its history, and the tables of its lists.

        Raises:
            WarehouseError: views, or references of other tables, stand on it; or it keeps the lists of another one.
        """
        self._warehouse._catalogue.drop(self.name)

    def __repr__(self) -> str:
        shape = self._warehouse._catalogue.find(self.name)
        if shape is None:
            return f"<table {self.name!r}, which is not there any more>"
        columns = ", ".join(f"{each.name} {each.type}" for each in shape.columns[:12])
        more = f", and {len(shape.columns) - 12} more" if len(shape.columns) > 12 else ""
        lists = "".join(f"; {name} in {child.table}" for name, child in shape.children.items())
        return f"<table {self.name!r}: {columns}{more}; key {', '.join(shape.key) or '(none)'}{lists}>"

    # --- the awaitable face ------------------------------------------------------------------------------

    async def aupsert(self, rows: Any = None, /, **values: Any) -> Any:
        """`upsert`, to be awaited."""
        return await in_thread(self.upsert, rows, **values)

    async def aupsert_many(self, rows: Any, *, source: str | None = None) -> Written:
        """`upsert_many`, to be awaited."""
        return await in_thread(self.upsert_many, rows, source=source)

    async def ainsert(self, rows: Any = None, /, **values: Any) -> Any:
        """`insert`, to be awaited."""
        return await in_thread(self.insert, rows, **values)

    async def aupdate(self, key: Any, /, **values: Any) -> Row | None:
        """`update`, to be awaited."""
        return await in_thread(self.update, key, **values)

    async def adelete(self, key: Any = None, /, *, where: Any = None, all: bool = False) -> Written:
        """`delete`, to be awaited."""
        return await in_thread(self.delete, key, where=where, all=all)

    async def aget(self, key: Any) -> Row | None:
        """`get`, to be awaited."""
        return await in_thread(self.get, key)

    async def afind(
        self, where: Any = None, *, order: Any = None, limit: int | None = None, offset: int = 0, after: Any = None
    ) -> list[Row]:
        """`find`, to be awaited."""
        return await in_thread(self.find, where, order=order, limit=limit, offset=offset, after=after)

    def _sheet(self) -> Sheet:
        shape, rows = self.shape, self.find(limit=_FIRST)
        key = f", key {', '.join(self.key)}" if self.key else ""
        names = [column.name for column in shape.columns]
        first = [[row.get(name) for name in names] for row in rows]
        return Sheet(f"{self.name}: {counted(self.count(), 'row')}{key}", first, names, total=self.count())


async def in_thread(fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a blocking method in a thread that knows the step which asks."""
    return await asyncio.to_thread(functools.partial(fn, *args, **kwargs))


_where = where


def _is_row(rows: Any) -> bool:
    return isinstance(rows, Mapping | BaseModel) or hasattr(rows, "__dataclass_fields__") or hasattr(rows, "_asdict")


def _row(row: Any, values: dict[str, Any]) -> Any:
    if row is None:
        return values
    if not values:
        return row
    if isinstance(row, Mapping):
        return {**row, **values}
    raise DefinitionError(f"give the row {shortened(row)}, or its columns as keywords, not both")
