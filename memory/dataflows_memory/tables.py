"""Rows of the warehouse as items: each version of a row is one, true as long as the row was so, written by its run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from string import Formatter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_memory.items import New
from dataflows_memory.writing import Stored, Writer
from dataflows_sdk.errors import RecallError
from dataflows_sdk.warehouse.feed import far

if TYPE_CHECKING:
    from dataflows_memory.store import Store
    from dataflows_memory.writing import Keeper
    from dataflows_sdk.warehouse.desk import Warehouse
    from dataflows_sdk.warehouse.reading import RowChange

#: changes that are read at a time
_PAGE = 500
_TEXT = Formatter()


@dataclass(frozen=True, slots=True)
class Source:
    """A table whose rows are items."""

    id: int
    place: int
    name: str
    template: str
    meta: tuple[str, ...]
    cursor: str | None

    @staticmethod
    def of(row: Sequence[Any]) -> Source:
        """From a row of the statement ``sources``."""
        id_, place, name, template, meta, cursor = row
        return Source(id_, place, name, template, tuple(meta), cursor)


class Tables:
    """Follows tables of the warehouse.

    Args:
        store: where items are kept.
        warehouse: whose rows they are.
        now: the moment where time is virtual; gives None for the database's clock.
    """

    def __init__(self, store: Store, warehouse: Warehouse, now: Callable[[], datetime | None]) -> None:
        self._store = store
        self._warehouse = warehouse
        self._now = now

    def declare(self, place: int, name: str, template: str, meta: Sequence[str]) -> Source:
        """Have a source for a table; where one is there that says otherwise, its items are made anew."""
        table = self._warehouse.table(name)
        if not table.key:
            raise RecallError(f"table {name!r} has no key, so that its rows cannot be told apart in the memory")
        known = {column.name for column in table.columns}
        for column in [*columns_in(template), *meta]:
            if column not in known:
                raise RecallError(f"table {name!r} has no column {column!r}; it has {', '.join(sorted(known))}")
        wanted = (template, tuple(meta))
        self._store.ask("items", "make_source", [place, name, template, list(meta)])
        source = self.source(place, name)
        assert source is not None
        if (source.template, source.meta) != wanted:
            with self._store.together() as connection:
                self._forget(connection, source)
                self._store.run(connection, "items", "change_source", [source.id, template, list(meta)])
            source = self.source(place, name)
            assert source is not None
        return source

    def source(self, place: int, name: str) -> Source | None:
        """What there is for a table."""
        return next((source for source in self.sources([place]) if source.name == name), None)

    def sources(self, places: Sequence[int]) -> list[Source]:
        """Everything that is followed in some places."""
        return [Source.of(row) for row in self._store.ask("items", "sources", [list(places)])]

    def drop(self, source: Source) -> None:
        """Follow a table no longer, and forget its items."""
        with self._store.together() as connection:
            self._forget(connection, source)
            self._store.run(connection, "items", "drop_source", [source.id])

    def follow(self, source: Source, keeper: Keeper, most: int | None = None) -> tuple[Stored, bool]:
        """Read what changed since, and whether that is everything.

        Items and the place in the changes commit together, so that nothing is read twice or left out.

        Args:
            source: the table.
            keeper: writes the items.
            most: how many changes at the most; None: all.
        """
        total, left = Stored(()), most
        with alone(self._store, source) as mine:
            if not mine:
                return total, False
            source = next(each for each in self.sources([source.place]) if each.id == source.id)
            while left is None or left > 0:
                changes = self._warehouse.changes(since=source.cursor, table=source.name, limit=_PAGE)
                if not changes:
                    if far(source.cursor, changes.cursor):
                        self._store.ask("items", "move_source", [source.id, changes.cursor])
                    return total, True
                sent = keeper.warm(new for _, _, new in self._versions(source, changes) if new is not None)
                with self._store.together() as connection:
                    for news, gone in self._rounds(source, changes):
                        total += replace(keeper.put(source.place, news, nobody(self._now()), gone=gone), items=())
                    self._store.run(connection, "items", "move_source", [source.id, changes.cursor])
                total += Stored((), embedded=sent)
                if len(changes) < _PAGE:
                    return total, True
                left = None if left is None else left - len(changes)
                source = next(each for each in self.sources([source.place]) if each.id == source.id)
        return total, False

    def _rounds(
        self, source: Source, changes: Iterable[RowChange]
    ) -> Iterator[tuple[list[New], dict[tuple[str, str], datetime]]]:
        """Changes in an order in which each row stands but once in a round."""
        rounds: list[tuple[list[New], dict[tuple[str, str], datetime]]] = []
        seen: dict[str, int] = {}
        for ref, at, new in self._versions(source, changes):
            number = seen.get(ref, 0)
            seen[ref] = number + 1
            if number == len(rounds):
                rounds.append(([], {}))
            news, gone = rounds[number]
            if new is None:
                gone["row", ref] = at
            else:
                news.append(new)
        yield from rounds

    def _versions(self, source: Source, changes: Iterable[RowChange]) -> Iterator[tuple[str, datetime, New | None]]:
        """What each change makes true; None where the row was deleted, or has no words any more."""
        key = self._warehouse.table(source.name).key
        for change in changes:
            row = change.row if change.row is not None else change.before
            assert row is not None
            ref = f"{source.name}/{','.join(str(row[column]) for column in key)}"
            text = "" if change.row is None else rendered(source.template, change.row)
            if not text.strip():
                yield ref, change.at, None
                continue
            meta = {column: _plain(row.get(column)) for column in source.meta}
            yield (
                ref,
                change.at,
                New(text, "row", ref, meta=meta, valid_from=change.at, run=change.run, step=change.step),
            )

    def _forget(self, connection: Any, source: Source) -> None:
        ids = [id_ for (id_,) in self._store.run(connection, "items", "rows_of", [source.place, source.name])]
        self._store.run(connection, "items", "forget", [ids])


@contextmanager
def alone(store: Store, source: Source) -> Iterator[bool]:
    """Whether nobody else follows a source at this moment; nobody will until the end of the block."""
    with store.database.connection() as connection:
        ((mine,),) = store.run(connection, "items", "own_source", [source.id])
        try:
            yield mine
        finally:
            if mine:
                store.run(connection, "items", "leave_source", [source.id])


def nobody(now: datetime | None) -> Writer:
    """Who writes is whoever wrote the row; it is known from *now* on."""
    return Writer(now, None, None)


def columns_in(template: str) -> list[str]:
    """The columns that a template names.

    Raises:
        RecallError: it names none, or something else than columns.
    """
    try:
        fields = [field for _, field, _, _ in _TEXT.parse(template) if field is not None]
    except ValueError as error:
        raise RecallError(f"text={template!r} cannot be read: {error}") from None
    if not fields:
        raise RecallError(f"text={template!r} names no column: write '{{name}}: {{notes}}'")
    for field in fields:
        if not field or any(sign in field for sign in ".[]"):
            raise RecallError(f"text={template!r} names {field!r}, which is no column: write '{{name}}'")
    return fields


def rendered(template: str, row: Mapping[str, Any]) -> str:
    """A row in words; what it does not have is left out."""
    pieces: list[str] = []
    for literal, field, spec, _ in _TEXT.parse(template):
        pieces.append(literal)
        if field is not None and (value := row.get(field)) is not None:
            pieces.append(format(value, spec) if spec else _shown(value))
    return "".join(pieces)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it, so that it can be compared with."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, UUID | bytes):
        return str(value) if isinstance(value, UUID) else value.hex()
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)
