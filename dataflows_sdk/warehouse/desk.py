"""``ctx.warehouse``: tables that keep every version of every row, and know which run wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel

from dataflows_sdk.core.durations import parse_instant
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, counted
from dataflows_sdk.errors import DefinitionError, ShapeError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse import nested
from dataflows_sdk.warehouse.catalogue import Catalogue
from dataflows_sdk.warehouse.columns import Column, shortened
from dataflows_sdk.warehouse.declare import (
    columns_of_frame,
    columns_of_model,
    columns_of_rows,
    columns_of_types,
    is_model,
    is_types,
)
from dataflows_sdk.warehouse.feed import Changes, Cursor, Feed
from dataflows_sdk.warehouse.frames import Frame, is_columnar
from dataflows_sdk.warehouse.lists import rows_of
from dataflows_sdk.warehouse.reading import Difference, Reader, Version, Why
from dataflows_sdk.warehouse.rebuilding import rebuilding
from dataflows_sdk.warehouse.reporting import Reporting
from dataflows_sdk.warehouse.rows import Row, as_mapping
from dataflows_sdk.warehouse.shape import Child, Shape, check_table_name, guess_key
from dataflows_sdk.warehouse.table import Table, in_thread
from dataflows_sdk.warehouse.watching import Watching
from dataflows_sdk.warehouse.writing import Writer

_BAD = ("refuse", "aside", "coerce")
#: rows that are looked at for what a table is to look like
_SAMPLE = 10_000


class Warehouse(Reporting, ShownAsTable):
    """The tables of a database. Usable from any thread.

    Args:
        database: where they are.
        now: the moment of a write where time is virtual; None for the database's clock.
        on_loop: whether this is the thread of the engine's loop.
        ago: a moment from what a user gives: an instant, or a duration ago.
        address: where other programs reach the database; by default as we do.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime | None] = lambda: None,
        on_loop: Callable[[], bool] = lambda: False,
        ago: Callable[[Any], datetime] = parse_instant,
        address: Callable[[], str] | None = None,
    ) -> None:
        self._database = database
        self._address = address
        self._now = now
        self._catalogue = Catalogue(database)
        self._catalogue.rebuilding = rebuilding
        self._writer = Writer(database, self._catalogue, now, on_loop)
        self._reader = Reader(database, self._catalogue, self._writer)
        self._feed = Feed(database, self._catalogue, self._reader)
        self._watching = Watching(database, self._catalogue)
        self._ago = ago

    # --- tables ------------------------------------------------------------------------------------------

    def table(
        self,
        name: str,
        columns: Any = None,
        *,
        key: str | Iterable[str] | None = None,
        references: Mapping[str, str] | None = None,
        source: str | None = None,
        bad: str | None = None,
        rename: Mapping[str, str] | None = None,
        timezone: str | None = None,
        evolve: bool | None = None,
        children: Mapping[str, Any] | None = None,
    ) -> Table:
        """A table: the one that is there, made if need be, with the columns asked for.

        Saying it again is nothing new. New columns are added (null in rows that are there), types become wider where
        that loses nothing (a whole number a decimal, a date a timestamp, anything a text); a narrower type is refused.

        Args:
            name: of the table.
            columns: a pydantic model; a dict from names to types (``{"hours": float, "due": "date"}``); rows, a
                DataFrame, Arrow or a file, from which the columns are taken and which are not written; or None for a
                table that is there.
            key: the column, or columns, by which rows are told apart. By default the only column ``*_id`` that refers
                to no other table, else ``id``; ``()`` for a table into which rows are only inserted.
            references: which columns name rows of other tables: ``{"project_id": "projects"}`` (their `id`) or
                ``{"owner": "users.login"}`` (their key).
            source: where the rows come from, for ``_source``.
            bad: what happens to rows that do not fit: ``"refuse"`` (an error, and nothing is written), ``"aside"``
                (they are kept apart with the reason, the others are written) or ``"coerce"`` (numbers, moments and the
                like are read from texts first). ``"refuse"`` by default.
            rename: columns that have another name now: ``{"old": "new"}``.
            timezone: what moments without a zone are in, such as ``"UTC"``. Without it they are refused where the
                column has a zone.
            evolve: whether rows may bring new columns and wider types. By default if the columns come from rows.
            children: columns that hold lists of objects, each to be kept as a table of its own, and the key by which
                the objects of one list are told apart: ``{"labels": "id"}`` makes ``issues_labels`` with the columns
                ``issues_id``, ``id``, ...; ``()`` for their place in the list. Or with more words:
                ``{"labels": {"key": "id", "table": "tags", "parent": "issue", "columns": Label, "children": {...}}}``.

        Raises:
            TableNotFoundError: it is not there, and *columns* are not given.
            ShapeError: it cannot look so, or not change so; every problem of it.
        """
        check_table_name(name)
        model = columns if is_model(columns) else None
        if columns is None and not any((key is not None, references, rename, children)):
            shape = self._catalogue.get(name)
            if source is None and bad is None and timezone is None and evolve is None:
                return Table(self, name)
        known = self._catalogue.find(name)
        if columns is None:
            known = self._catalogue.get(name)
        targets = self._targets(name, references, known)
        lists = nested.wanted(name, children, known)
        evolves = _either(
            evolve, known.evolve if known is not None else None, columns is not None and _from_rows(columns)
        )
        if lists and is_columnar(columns):
            with Frame.open(columns, timezone) as frame:
                some = Shape(name, (), children={each: Child("", ()) for each in lists})
                columns = [row for _, row in zip(range(_SAMPLE), rows_of(frame, columns, some), strict=False)]
        elif lists and (isinstance(columns, BaseModel) or (isinstance(columns, Mapping) and not is_types(columns))):
            columns = [columns]
        found = self._columns(name, columns, known, timezone, rename)
        shape = Shape(
            name,
            found,
            self._key(name, key, [each for each in found if each.name not in lists], targets, known, rename),
            targets,
            evolves,
            _named(source, "source"),
            _zone(timezone),
            _choice(bad, known),
            parent=None if known is None else known.parent,
        )
        shape = nested.with_children(shape, lists, known)

        def columns_of(table: str, given: Any, before: Shape | None) -> tuple[Column, ...]:
            return self._columns(table, given, before, timezone, None)

        below = nested.shapes(shape, lists, columns, self._catalogue.find, columns_of)
        self._catalogue.put(shape, rename, children=below)
        return Table(self, name, model)

    def __getitem__(self, name: str) -> Table:
        """A table that is there.

        Raises:
            TableNotFoundError: it is not.
        """
        return self.table(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._catalogue.find(name) is not None

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables())

    def tables(self) -> list[Table]:
        """All tables, by name."""
        return Listing([Table(self, shape.name) for shape in self._catalogue.tables()])

    async def atable(self, name: str, columns: Any = None, **options: Any) -> Table:
        """`table`, to be awaited."""
        return await in_thread(self.table, name, columns, **options)

    def _columns(
        self, name: str, columns: Any, known: Shape | None, timezone: str | None, rename: Mapping[str, str] | None
    ) -> tuple[Column, ...]:
        if columns is None:
            assert known is not None
            names = {each.name for each in known.columns}
            new = {old: name for old, name in (rename or {}).items() if name not in names}
            return tuple(Column(new.get(each.name, each.name), each.type, each.nullable) for each in known.columns)
        if is_model(columns):
            return columns_of_model(name, columns)
        if is_types(columns):
            return columns_of_types(name, columns)
        if is_columnar(columns):
            with Frame.open(columns, timezone) as frame:
                return columns_of_frame(known if known is not None else Shape(name, ()), frame)
        rows = [columns] if isinstance(columns, Mapping | BaseModel) else columns
        if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
            raise DefinitionError(
                f"table {name!r}: columns are a pydantic model, a dict of types, or rows, not {shortened(columns)}"
            )
        if iter(rows) is rows:
            raise DefinitionError(
                f"table {name!r}: a generator would be used up by looking for its columns; give a list of some rows"
            )
        sample = [as_mapping(row) for _, row in zip(range(_SAMPLE), rows, strict=False)]
        if not sample:
            raise ShapeError(f"table {name!r}: there are no rows from which to take the columns")
        before = known.columns if known is not None else ()
        return columns_of_rows(name, sample, before, None if timezone is None else ZoneInfo(str(_zone(timezone))))

    def _targets(
        self, name: str, references: Mapping[str, str] | None, known: Shape | None
    ) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = dict(known.references) if known is not None and references is None else {}
        for column, target in (references or {}).items():
            table, _, other = str(target).partition(".")
            if not table:
                raise ShapeError(
                    f"table {name!r}: references {column!r} to {target!r}; write 'projects' or 'users.login'"
                )
            found[column] = (table, other or "id")
        return found

    @staticmethod
    def _key(
        name: str,
        key: str | Iterable[str] | None,
        columns: Sequence[Column],
        targets: Mapping[str, Any],
        known: Shape | None,
        rename: Mapping[str, str] | None,
    ) -> tuple[str, ...]:
        if key is None and known is not None:
            return tuple((rename or {}).get(each, each) for each in known.key)
        if key is None:
            return guess_key(name, columns, targets)
        return (key,) if isinstance(key, str) else tuple(key)

    # --- the past ----------------------------------------------------------------------------------------

    def browse(self, table: str, *, limit: int = 50) -> Any:
        """The rows of a table as a list in a notebook; see `Table.browse`."""
        return self[table].browse(limit=limit)

    def _browse(self, table: Table, limit: int) -> Any:
        """What shows things stands above us in the layers; a context's warehouse knows it."""
        del limit
        raise DefinitionError(f"table {table.name!r} belongs to no context, which is what shows it: ctx.warehouse")

    def history(self, table: str, key: Any) -> list[Version]:
        """Every version of a row, oldest first; a time in which it was deleted is one, too."""
        return self._reader.history(table, key)

    def why(self, table: str, key: Any) -> Why | None:
        """Which run and step wrote a row last, and how that run began; None if there never was such a row."""
        return self._reader.why(table, key)

    def as_of(self, moment: Any) -> AsOf:
        """The tables as they were: at an instant, or so long ago (``"2d"``).

        Raises:
            InvalidDurationError: it is neither.
        """
        return AsOf(self, self._ago(moment))

    def changes(self, since: Any = None, *, table: str | None = None, limit: int = 1_000) -> Changes:
        """What was changed: a feed that passes nothing over.

        A write is told once, as soon as it is committed; those of a row in the order of its versions. One that commits
        after others that began later is told after them.

        Args:
            since: the ``.cursor`` of the last changes; an instant or a duration (``"1h"`` ago); None for everything,
                ``"now"`` for none but the cursor from which to go on.
            table: only of this one.
            limit: rows at the most.

        Raises:
            DefinitionError: *since* is no cursor and no moment.
        """
        if since == "now":
            return self._feed.now()
        if since is None or (isinstance(since, str) and Cursor.parse(since) is not None):
            return self._feed.changes(since, table, limit)
        return self._feed.changes(self._ago(since), table, limit)

    def diff(self, earlier: Any, later: Any = None, *, table: str, limit: int = 10_000) -> list[Difference]:
        """The rows of a table that were not the same at two moments.

        Args:
            earlier, later: instants or durations ago; *later* is now by default.
            limit: rows at the most.
        """
        one = self._ago(earlier)
        other = self._ago("0s") if later is None else self._ago(later)
        if one > other:
            raise DefinitionError(
                f"diff: {one.isoformat()} is later than {other.isoformat()}; the earlier one comes first"
            )
        return self._reader.diff(table, one, other, limit)

    def aside(self, table: str, limit: int = 100) -> list[dict[str, Any]]:
        """Rows that did not fit a table and were set aside: the row, the reason, when, by which run; newest first."""
        return self._reader.aside(table, limit)

    def forget_aside(self, table: str, ids: Iterable[int] | None = None) -> None:
        """Rows that were set aside have been looked after: those of these ids, or all."""
        self._reader.forget_aside(table, None if ids is None else list(ids))

    # --- what others write -------------------------------------------------------------------------------

    def watch(self, table: str) -> None:
        """Give rows versions also when others change them with SQL of their own; the source is ``"foreign"``.

        Triggers in PostgreSQL do it, in the transaction of whoever writes. History, `changes`, `as_of` and triggers on
        rows then know of it. Nobody else may touch the columns that begin with ``_``.

        Raises:
            TableNotFoundError: there is no such table.
            WarehouseError: this role may make no triggers on it, or others hold on to it.
        """
        self._watching.watch(table)

    def unwatch(self, table: str) -> None:
        """No longer: what others do to the rows of a table leaves no version from now on.

        Raises:
            TableNotFoundError: there is no such table.
        """
        self._watching.unwatch(table)

    def watched(self) -> list[str]:
        """The tables that watch for others, by name."""
        return self._watching.watched()

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self._catalogue.tables()) or "no tables yet"
        return f"<warehouse: {names}>"

    def _sheet(self) -> Sheet:
        rows = [
            (each.name, ", ".join(each.key), ", ".join(column.name for column in each.columns))
            for each in self.tables()
        ]
        return Sheet(counted(len(rows), "table"), rows, ("table", "key", "columns"), total=len(rows))


class AsOf(ShownAsTable):
    """The tables as they were at a moment. Made by `Warehouse.as_of`.

    Attributes:
        moment: with a zone.
    """

    def __init__(self, warehouse: Warehouse, moment: datetime) -> None:
        self._warehouse = warehouse
        self.moment = moment

    def get(self, table: str, key: Any) -> Row | None:
        """The row of a key as it was; None if it was not there."""
        return self._warehouse._reader.get(table, key, self.moment)

    def find(
        self,
        table: str,
        where: Any = None,
        *,
        order: Any = None,
        limit: int | None = None,
        offset: int = 0,
        after: Any = None,
    ) -> list[Row]:
        """Rows as they were; arguments as for `Table.find`."""
        return self._warehouse._reader.find(table, where, order, limit, offset, self.moment, after)

    def __repr__(self) -> str:
        return f"<warehouse as of {self.moment.isoformat()}>"

    def _sheet(self) -> Sheet:
        return self._warehouse._sheet()._replace(title=repr(self))


class Names(ShownAsTable):
    """``ctx.db``: a table for each name, as an attribute: ``ctx.db.projects.upsert(clickup_id="P-1", name="Fence")``.

    A table that is not there yet is made by the first row that is written to it, with the columns of the row and the
    key that `Warehouse.table` would take.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __getattr__(self, name: str) -> Table:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Table:
        check_table_name(name)
        return FirstRows(self._warehouse, name)

    def __dir__(self) -> Iterable[str]:
        return [table.name for table in self._warehouse.tables()]

    def __repr__(self) -> str:
        return f"<tables by name: {self._warehouse!r}>"

    def _sheet(self) -> Sheet:
        return self._warehouse._sheet()


class FirstRows(Table):
    """A table that may not be there yet: its first row makes it."""

    def upsert(self, rows: Any = None, /, **values: Any) -> Any:
        self._make(rows, values)
        return super().upsert(rows, **values)

    def upsert_many(self, rows: Any, *, source: str | None = None) -> Any:
        if self._warehouse._catalogue.find(self.name) is None:
            rows = list(rows)
            self._make(rows, {})
        return super().upsert_many(rows, source=source)

    def insert(self, rows: Any = None, /, **values: Any) -> Any:
        self._make(rows, values)
        return super().insert(rows, **values)

    def _make(self, rows: Any, values: dict[str, Any]) -> None:
        if self._warehouse._catalogue.find(self.name) is None:
            first = values if rows is None else {**rows, **values} if isinstance(rows, Mapping) else rows
            self._warehouse.table(self.name, type(first) if isinstance(first, BaseModel) else first, evolve=True)


def _from_rows(columns: Any) -> bool:
    return not is_model(columns) and not is_types(columns)


def _either(said: bool | None, known: bool | None, default: bool) -> bool:
    return said if said is not None else known if known is not None else default


def _choice(bad: str | None, known: Shape | None) -> str:
    if bad is None:
        return known.bad if known is not None else "refuse"
    if bad not in _BAD:
        raise DefinitionError(f"bad= is one of {', '.join(_BAD)}, not {bad!r}")
    return bad


def _named(source: Any, what: str) -> str | None:
    if source is not None and not isinstance(source, str):
        raise DefinitionError(f"{what}= is a text, not {shortened(source)}")
    return source


def _zone(timezone: Any) -> str | None:
    if timezone is None:
        return None
    try:
        return ZoneInfo(timezone).key
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise DefinitionError(f"timezone={timezone!r} is no time zone; write 'UTC' or 'Europe/Berlin'") from None
