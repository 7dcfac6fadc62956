"""Where the rows of a page go: tables of the warehouse, in the transaction of the page's step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from dataflows_sdk.errors import NonRetryableError, SyncError
from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.rows import Written, as_mapping
from dataflows_sdk.warehouse.shape import Shape
from dataflows_sdk.warehouse.statements import quoted, table_name

__all__ = ["Stored", "Tables"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the rows of a page.

    Attributes:
        ids: the rows that the page named, as they are in the table now; only where they were asked for.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    aside: int = 0
    ids: tuple[str, ...] = ()


class Tables:
    """The tables of a sync.

    Args:
        engine: whose database they are in.
        sync: the name of the sync, which its rows have as their source.
        bad: what happens to rows that do not fit a table that is made, or None.
    """

    def __init__(self, engine: Any, sync: str, bad: str | None) -> None:
        clock = engine.clock
        self._warehouse = Warehouse(
            engine.database,
            now=clock.now if getattr(clock, "virtual", False) else lambda: None,
            on_loop=engine.on_loop,
        )
        self._warehouse._writer.finder = engine.values.finder
        self._sync, self._bad = sync, bad

    def transaction(self) -> AbstractContextManager[Any]:
        """The connection of the step that runs here: what is done with it commits with the step's record."""
        return self._warehouse._writer.transaction()

    def ready(self, table: str, key: Sequence[str], rows: Sequence[Any]) -> None:
        """See to it that the table is there, before the transaction that writes to it.

        Raises:
            NonRetryableError: it is there, with another key.
            ShapeError: it cannot be made of these rows.
        """
        known = self._warehouse._catalogue.find(table)
        if known is None:
            if rows:
                sample = [as_mapping(row) for row in rows]
                self._warehouse.table(table, sample, key=tuple(key) or None, evolve=True, bad=self._bad)
            return
        if key and tuple(key) != known.key:
            raise NonRetryableError(
                f"sync {self._sync!r}: the table {table!r} has the key ({', '.join(known.key)}), not ({', '.join(key)})"
            )
        if self._bad is not None and known.bad != self._bad:
            self._warehouse.table(table, bad=self._bad)

    def store(self, connection: Any, table: str, rows: Sequence[Any], deleted: Sequence[Any], *, ids: bool) -> Stored:
        """Upsert the rows of a page, and delete what it names as deleted.

        Raises:
            BadRowsError: rows do not fit; nothing of the page is stored.
            SyncError: rows that were stored are not found again by their keys.
        """
        shape = self._warehouse._catalogue.find(table)
        if shape is None:
            return Stored()  # nothing but deletions, and nothing to delete them from
        once = _once(rows, shape)
        written = self._warehouse.table(table).upsert_many(once, source=self._sync)
        gone = self._delete(shape, deleted) if deleted else 0
        found: tuple[str, ...] = ()
        if ids:
            shape = self._warehouse._catalogue.get(table)  # it may have grown
            found = tuple(self._ids(connection, shape, [_key(row, shape) for row in once]))
            stored = written.inserted + written.updated + written.unchanged
            if len(set(found)) < stored - gone:
                raise SyncError(
                    f"sync {self._sync!r}: {stored:,} rows of {table!r} were stored, and only {len(set(found)):,} "
                    "are found "
                    f"by their key ({', '.join(shape.key)}): a full sync would delete the others. Give the key a "
                    "plainer "
                    "type, or sync incrementally"
                )
        aside = written.aside + _aside(written)
        return Stored(written.inserted, written.updated, written.unchanged, gone, aside, found)

    def _delete(self, shape: Shape, keys: Sequence[Any]) -> int:
        documents = [_named(key, shape, self._sync) for key in keys]
        on = " and ".join(f"k.{quoted(name)} = t.{quoted(name)}" for name in shape.key)

        def asked(_: Shape, first: int) -> tuple[str, list[Any]]:
            source = f"jsonb_populate_recordset(null::{table_name(shape.name)}, ${first}::jsonb) k"
            return f"exists (select from {source} where {on})", [_text(documents)]

        return self._warehouse._writer.delete(shape.name, asked, self._sync).deleted

    def _ids(self, connection: Any, shape: Shape, keys: Sequence[dict[str, Any]]) -> list[str]:
        """The ids of the rows of some keys. Keys that are no keys at all, of rows that were set aside, have none."""
        if not keys:
            return []
        on = " and ".join(f"k.{quoted(name)} = t.{quoted(name)}" for name in shape.key)
        table = table_name(shape.name)
        text = statement("sync", "ids").replace("{table}", table).replace("{on}", on)
        try:
            with connection.transaction():
                return [row[0] for row in Database.execute(connection, text, [_text(keys)])]
        except DatabaseError as error:
            if not (getattr(error, "sqlstate", None) or "").startswith("22"):
                raise
        if len(keys) == 1:
            return []
        middle = len(keys) // 2
        return [*self._ids(connection, shape, keys[:middle]), *self._ids(connection, shape, keys[middle:])]

    # --- the end of a full pass --------------------------------------------------------------------------

    def gone(self, connection: Any, table: str, number: int) -> tuple[int, int]:
        """How many rows of this sync there are, and how many of these no page of the pass named."""
        if self._warehouse._catalogue.find(table) is None:
            return 0, 0
        text = statement("sync", "gone").replace("{table}", table_name(table))
        ((there, gone),) = Database.execute(connection, text, [self._sync, number, table])
        return there, gone

    def sweep(self, table: str, number: int) -> int:
        """Delete the rows of this sync that no page of the pass named."""

        def asked(_: Shape, first: int) -> tuple[str, list[Any]]:
            text = statement("sync", "not_named")
            for place in (3, 2, 1):
                text = text.replace(f"${place}", f"${first + place - 1}")
            return text, [self._sync, number, table]

        return self._warehouse._writer.delete(table, asked, self._sync).deleted


def _aside(written: Written) -> int:
    """What was set aside of the rows' lists."""
    return sum(each.aside + _aside(each) for each in written.children.values())


def _key(row: Any, shape: Shape) -> dict[str, Any]:
    values = as_mapping(row)
    return {name: values.get(name) for name in shape.key}


def _once(rows: Sequence[Any], shape: Shape) -> list[Any]:
    """Rows without those whose key comes again later on the page: the last one counts."""
    found: dict[Any, Any] = {}
    for number, row in enumerate(rows):
        key = tuple(_key(row, shape).values())
        try:
            hash(key)
        except TypeError:
            key = (number, None)  # what it is, the table says
        if not key or None in key:
            key = (number, None)
        found.pop(key, None)
        found[key] = row
    return list(found.values())


def _named(key: Any, shape: Shape, sync: str) -> dict[str, Any]:
    """A key that a page gave as deleted, by the columns."""
    if hasattr(key, "keys"):
        values = tuple(key.get(name) for name in shape.key)
    else:
        values = tuple(key) if isinstance(key, tuple | list) else (key,)
    if len(values) != len(shape.key) or None in values:
        raise NonRetryableError(
            f"sync {sync!r}: a page names {key!r:.100} as deleted; the key of {shape.name!r} is "
            f"({', '.join(shape.key)})"
        )
    return dict(zip(shape.key, values, strict=True))


def _text(documents: Sequence[Any]) -> str:
    return to_json(documents, inf_nan_mode="strings", fallback=str, bytes_mode="hex").decode()
