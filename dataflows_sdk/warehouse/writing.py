"""The way of rows into a table: checked, in one transaction, by one statement for each lot of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from dataflows_sdk.bars import bar
from dataflows_sdk.core.current import StepInfo, current_step
from dataflows_sdk.errors import BadRowsError, DefinitionError, NotInWorkflowError, ShapeError, WarehouseError
from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.joined import JoinedTransaction
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.asked import Asked
from dataflows_sdk.warehouse.catalogue import Catalogue, said
from dataflows_sdk.warehouse.columns import Column, Misfit
from dataflows_sdk.warehouse.declare import columns_of_frame, columns_of_rows
from dataflows_sdk.warehouse.families import Families
from dataflows_sdk.warehouse.frames import Frame
from dataflows_sdk.warehouse.kept_out import check_aside, check_csv, check_rows
from dataflows_sdk.warehouse.lists import Lists, plain
from dataflows_sdk.warehouse.lots import BAD_CLASSES, FIRST, MANY, Again, How, Origin, of_table
from dataflows_sdk.warehouse.rows import Bad, Row, Texts, Written, as_mapping, checked, rows_in_parts
from dataflows_sdk.warehouse.shape import Shape, columns_with, zone_of

if TYPE_CHECKING:
    from dataflows_sdk.core.kept_out import Finder
    from dataflows_sdk.store.database import Connection

T = TypeVar("T")

#: rows that are checked and written together
_PART = 50_000
_TRIES = 8
#: how often others may be quicker with the same rows
_RACES = 50
#: statements that are kept as text
_TEXTS = 500
#: another transaction was in the way: deadlock, serialization
_AGAIN = frozenset({"40P01", "40001"})
#: the table is not as we know it: no such table, column, function for these types; another type; a plan of before
_STALE = frozenset({"42P01", "42703", "42883", "42804", "0A000", "42P10"})
_joining = threading.Lock()


@dataclass(frozen=True, slots=True)
class _OneRow:
    """What is sent for a single row: the statement, the one that puts its versions in order, the columns it gives."""

    text: str
    in_order: str | None
    columns: tuple[str, ...]


class Writer:
    """Writes to the tables of one database. Thread-safe.

    Args:
        now: the moment of a write where time is virtual; None for the database's own clock.
        on_loop: whether this is the thread of the engine's loop, which must not block.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        now: Callable[[], datetime | None],
        on_loop: Callable[[], bool],
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._now = now
        self._on_loop = on_loop
        #: told the table after a transaction of its own; what a step writes, the engine tells
        self.wrote: Callable[[str], None] = lambda _: None
        #: writes the lists that are tables of their own
        self.families = Families(self, catalogue)
        #: finds secrets in rows
        self.finder: Finder | None = None
        self._texts: dict[tuple[Any, ...], _OneRow] = {}

    # --- transactions ------------------------------------------------------------------------------------

    def joined(self) -> Any:
        """The transaction of the step that is running here; None outside of one.

        Raises:
            NotInWorkflowError: the step is over.
            DefinitionError: a blocking call on the engine's loop.
        """
        if self._on_loop():
            raise DefinitionError(
                "this would block the engine's loop: in an async function await the method of the same name with an a, "
                "such as `await table.aupsert(...)`"
            )
        info = current_step.get()
        if info is None or info.home is not self._database:
            return None
        return _transaction_of(info)

    @contextmanager
    def transaction(self, *tables: str) -> Iterator[Connection]:
        """The connection of the step's transaction, or of one of its own, to write to tables."""
        joined = self.joined()
        if joined is not None:
            with joined.work() as connection:
                joined.marks.update(tables)
                yield connection
            return
        with self._database.connection() as connection, connection.transaction():
            yield connection
        for table in tables:
            self.wrote(table)

    def attempts(self, table: str, work: Callable[[Shape], T]) -> T:
        """Do *work* on a table, again where others were in the way or the table is not as it was known."""
        races = 0
        left = _TRIES
        while True:
            shape = self._catalogue.get(table)
            try:
                return work(shape)
            except Again:
                races += 1
                if races > _RACES:
                    raise WarehouseError(
                        f"table {table!r}: others write the very same rows all the time; try again"
                    ) from None
                time.sleep(random.random() * 0.001 * races)  # noqa: S311 - no secret
            except BadRowsError:
                if not left or self._catalogue.is_current(shape):
                    raise
                left -= 1
                self._catalogue.forget(table)  # they may fit what the table is now
            except DatabaseError as error:
                state = getattr(error, "sqlstate", None) or ""
                mine = self.joined() is not None
                if not left or (state in _AGAIN and mine) or state not in _AGAIN | _STALE:
                    raise self._refused(table, error) from error
                left -= 1
                if state in _STALE:
                    self._catalogue.forget(table)
                    if state == "0A000":
                        self._database.fresh()

    @staticmethod
    def _refused(table: str, error: Exception) -> Exception:
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith(BAD_CLASSES):
            return BadRowsError(f"table {table!r}: PostgreSQL refuses: {said(error)}; nothing was written", (), 1)
        if state in _STALE or state.startswith("42"):
            return WarehouseError(f"table {table!r}: {said(error)}")
        return error

    def origin(self, source: str | None) -> Origin:
        """Who writes here and now."""
        info = current_step.get()
        run, step = (None, None) if info is None or not info.active else (info.run_id, info.key)
        return Origin(self._now(), run, step, source)

    # --- rows --------------------------------------------------------------------------------------------

    def one(
        self,
        table: str,
        row: Any,
        source: str | None,
        model: type[BaseModel] | None,
        *,
        insert: bool,
        fixed: bool = False,
    ) -> Row:
        """Upsert, or insert, one row, and give it as it is then.

        With *fixed* no column is added or widened, and values are read from texts.
        """

        def work(shape: Shape) -> Row:
            shape = shape if fixed else self._evolved(shape, [row])
            if shape.children and not fixed:
                self.families.evolve(shape, [row])
            bad, lists, coerce = Bad(), Lists(shape), fixed or shape.bad == "coerce"
            rows = checked(
                shape,
                [row],
                bad,
                model=model,
                coerce=coerce,
                zone=zone_of(shape),
                keyed=_keyed(shape, insert),
                lists=lists if shape.children else None,
            )
            if bad.count:
                raise of_table(table, bad.error(1))
            texts = rows[0]
            check_rows(self.finder, table, [texts])
            if lists:
                how = How(self.origin(source or shape.source), coerce, insert)
                return self.families.one(shape, texts, lists, how)
            known = self._texts_of_one(shape, texts.columns, insert=insert)
            parameters = [*self.origin(source or shape.source).parameters(table), *texts.rows[0]]
            joined = self.joined()
            found = None if joined is None else joined.first(known.text, parameters)
            if found is None:
                with self.transaction(table) as connection:
                    found = Database.execute(connection, known.text, parameters, prepare=True)
                    if not found:
                        raise Again
                    if found[0][0] and joined is None and known.in_order is not None:
                        Database.execute(connection, known.in_order, [found[0][-1]], prepare=True)
            if not found:
                raise Again
            if joined is not None:
                joined.marks.add(table)
                if found[0][0] and known.in_order is not None:
                    joined.later(known.in_order, [found[0][-1]])
            return Row(table, dict(zip(known.columns, found[0][1:], strict=True)))

        return self.attempts(table, work)

    def _texts_of_one(self, shape: Shape, columns: tuple[Column, ...], *, insert: bool) -> _OneRow:
        place = (shape.name, shape.version, columns, insert)
        found = self._texts.get(place)
        if found is None:
            if insert:
                text = statements.insert(shape, statements.Incoming("one", columns), row=True)
            else:
                text = statements.upsert_one(shape, columns)
            in_order = statements.in_order(shape) if shape.key else None
            if len(self._texts) >= _TEXTS:
                self._texts.clear()
            found = self._texts[place] = _OneRow(text, in_order, tuple(statements.columns_of(shape)))
        return found

    def many(
        self,
        table: str,
        rows: Iterable[Any],
        source: str | None,
        model: type[BaseModel] | None,
        *,
        insert: bool,
        fixed: bool = False,
    ) -> Written:
        """Upsert, or insert, rows; all of them or, if one is refused, none. *fixed* as for `one`."""

        def work(shape: Shape) -> Written:
            bad, total = Bad(), Written(table)
            origin = self.origin(source or shape.source)
            how = How(origin, fixed or shape.bad == "coerce", insert)
            seen: dict[Any, Any] = {}
            position = 0
            for part in parts:  # before the transaction, which would stand in the way of changes to the table
                shape = shape if fixed else self._evolved(shape, part)
                if shape.children and not fixed:
                    self.families.evolve(shape, part)
            with self.transaction(*self.families.names(shape)) as connection, bar(f"rows into {table}", count) as tell:
                for part in parts:
                    tell(position)
                    lists = Lists(shape)
                    texts = checked(
                        shape,
                        part,
                        bad,
                        model=model,
                        coerce=how.coerce,
                        zone=zone_of(shape),
                        offset=position,
                        keyed=_keyed(shape, insert),
                        known=seen,
                        lists=lists if shape.children else None,
                    )
                    position += len(part)
                    check_rows(self.finder, table, texts)
                    if bad.count and shape.bad != "aside":
                        continue
                    if lists:
                        total += self.families.many(connection, shape, texts, lists, bad, how)
                    else:
                        for group in texts:
                            total += self._group(connection, shape, group, origin, bad, insert=insert)
                if bad.count and (shape.bad != "aside" or not self._catalogue.is_current(shape)):
                    raise of_table(table, bad.error(position))
                self.set_aside(connection, origin, table, bad)
            return total + Written(table, aside=bad.count)

        parts = list(rows_in_parts(rows, _PART))  # the work may be done again
        count = sum(map(len, parts))
        return self.attempts(table, work)

    def columns_at_once(self, table: str, data: Any, source: str | None, *, insert: bool) -> Written:
        """Upsert, or insert, the rows of a DataFrame, of Arrow, of a relation or of files; all of them or none."""

        def work(shape: Shape) -> Written:
            keyed = _keyed(shape, insert)
            with Frame.open(data, shape.timezone) as frame:
                shape = self._evolved_for(shape, frame)
                try:
                    found = frame.checked(shape.columns, shape.key if keyed else (), shape.bad)
                except BadRowsError as error:
                    raise of_table(table, error) from None
                if found.new:
                    names = ", ".join(repr(column.name) for column in found.new)
                    raise ShapeError(
                        f"table {table!r} has no column {names}; evolve=True at the table would add it, and so would "
                        "ctx.warehouse.table() with it"
                    )
                origin = self.origin(source or shape.source)
                with self.transaction(table) as connection:
                    written = self.copied(
                        connection,
                        shape,
                        found.columns,
                        found.count,
                        lambda external: check_csv(self.finder, table, found.csv(keyed=external)),
                        origin,
                        insert=insert,
                    )
                    bad = Bad()
                    for _, reason, row in found.aside:
                        bad.aside.append((reason, row))
                    self.set_aside(connection, origin, table, bad)
            return written + Written(table, unchanged=found.repeated, aside=len(bad.aside))

        return self.attempts(table, work)

    def _evolved_for(self, shape: Shape, frame: Frame) -> Shape:
        """The table with the columns that a frame has, if it may have them."""
        if not shape.evolve:
            return shape
        columns = columns_of_frame(shape, frame)
        return shape if columns == shape.columns else self._catalogue.evolve(shape, columns, self._holding(shape.name))

    def delete(self, table: str, asked: Callable[[Shape, int], Asked], source: str | None) -> Written:
        """Delete the rows of a condition."""

        def work(shape: Shape) -> Written:
            origin = self.origin(source or shape.source)
            if shape.children:
                condition, values = asked(shape, 1)
                with self.transaction(*self.families.names(shape)) as connection:
                    return self.families.delete(connection, shape, condition, values, origin)
            condition, values = asked(shape, statements.BEFORE + 1)
            parameters = [*origin.parameters(table), *values]
            with self.transaction(table) as connection:
                ((gone, write),) = Database.execute(connection, statements.delete(shape, condition), parameters)
            return Written(table, deleted=gone, write=write)

        return self.attempts(table, work)

    def set_aside(self, connection: Connection, origin: Origin, table: str, bad: Bad) -> None:
        """Keep the rows that do not fit."""
        if bad.aside:
            check_aside(self.finder, table, bad)
            reasons, rows = [reason for reason, _ in bad.aside], [row for _, row in bad.aside]
            Database.execute(connection, statements.fixed("aside"), [*origin.parameters(table), reasons, rows])

    def _evolved(self, shape: Shape, part: Sequence[Any]) -> Shape:
        """The table with the columns that the rows need, if it may have them."""
        if not shape.evolve or not part:
            return shape
        rows = []
        for row in part:
            with suppress(Misfit):  # what is no row at all, the check says
                rows.append(plain(shape, as_mapping(row)))
        if shape.bad != "refuse":  # what does not fit is not a reason to change the table
            columns = columns_with(shape, rows)
        else:
            columns = columns_of_rows(shape.name, rows, shape.columns, zone_of(shape))
        if columns == shape.columns:
            return shape
        return self._catalogue.evolve(shape, columns, self._holding(shape.name))

    def _holding(self, table: str) -> Any:
        """The step's transaction, if it has written to the table and so stands in the way of others who change it."""
        joined = self.joined()
        return joined if joined is not None and table in joined.marks else None

    # --- a lot of rows -----------------------------------------------------------------------------------

    def _group(
        self, connection: Connection, shape: Shape, texts: Texts, origin: Origin, bad: Bad, *, insert: bool
    ) -> Written:
        """Rows with the same columns; where some of them do not fit, says PostgreSQL, those are found."""
        try:
            with connection.transaction():
                return self._lot(connection, shape, texts, origin, insert=insert)
        except DatabaseError as error:
            if not (getattr(error, "sqlstate", None) or "").startswith(BAD_CLASSES):
                raise
            if len(texts.rows) == 1:
                names = [column.name for column in texts.columns]
                row = dict(zip(names, texts.rows[0], strict=True))
                bad.add(texts.positions[0], None, row, said(error), row)
                return Written(shape.name)
        middle = len(texts.rows) // 2
        halves = (
            Texts(texts.columns, texts.rows[:middle], texts.positions[:middle]),
            Texts(texts.columns, texts.rows[middle:], texts.positions[middle:]),
        )
        total = Written(shape.name)
        for half in halves:
            total += self._group(connection, shape, half, origin, bad, insert=insert)
        return total

    def _lot(self, connection: Connection, shape: Shape, texts: Texts, origin: Origin, *, insert: bool) -> Written:
        if len(texts.rows) <= MANY:
            incoming = statements.Incoming("lists", texts.columns)
            return self._write(connection, shape, incoming, origin, texts.lists(), insert=insert)
        keys = [[column.name for column in texts.columns].index(name) for name in shape.key]
        return self.copied(
            connection,
            shape,
            texts.columns,
            len(texts.rows),
            lambda external: texts.csv(keys if external else None),
            origin,
            insert=insert,
        )

    def copied(
        self,
        connection: Connection,
        shape: Shape,
        columns: Sequence[Column],
        count: int,
        csv: Callable[[bool], Iterable[bytes]],
        origin: Origin,
        *,
        insert: bool,
    ) -> Written:
        """Rows that come as CSV.

        Args:
            csv: the rows with these columns; with True, with the key as text at the end, too.
        """
        if count >= FIRST and self._may_load(connection, shape):
            return self._load(connection, shape, columns, csv(True), origin)
        Database.execute(connection, statements.stage(columns))
        Database.copy_in(connection, statements.stage_copy(columns), csv(False))
        if insert:
            incoming = statements.Incoming("staged", tuple(columns))
            written = self._write(connection, shape, incoming, origin, [], insert=True)
            Database.execute(connection, statements.fixed("unstage_rows"))
            return written
        Database.execute(connection, statements.fixed("stage_room"))
        Database.execute(connection, statements.stage_new(shape, columns))
        Database.execute(connection, statements.fixed("stage_known"))
        incoming = statements.Incoming("changed", tuple(columns))
        written = self._write(connection, shape, incoming, origin, [], insert=False)
        Database.execute(connection, statements.fixed("unstage"))
        return replace(written, unchanged=count - written.inserted - written.updated)

    def _write(
        self,
        connection: Connection,
        shape: Shape,
        incoming: statements.Incoming,
        origin: Origin,
        values: Sequence[Any],
        *,
        insert: bool,
    ) -> Written:
        parameters = [*origin.parameters(shape.name), *values]
        prepare = incoming.kind == "lists"
        if insert:
            text = statements.insert(shape, incoming, row=False)
            ((inserted, write),) = Database.execute(connection, text, parameters, prepare=prepare)
            if inserted:
                self._in_order(connection, shape, write)
            return Written(shape.name, inserted=inserted, write=write)
        text = statements.upsert(shape, incoming)
        total = Written(shape.name)
        for _ in range(_RACES):
            ((all_, fresh, different, inserted, updated, write),) = Database.execute(
                connection, text, parameters, prepare=prepare
            )
            done = (inserted, updated) == (fresh, different)
            if not done:  # others were quicker with some rows, which are looked at again
                Database.execute(connection, statements.fixed("really"), [write, inserted, updated])
                write = write if inserted + updated else None
            if inserted:
                self._in_order(connection, shape, write)
            total += Written(shape.name, inserted, updated, write=write)
            if done:
                return total + Written(shape.name, unchanged=all_ - total.inserted - total.updated)
        raise Again

    @staticmethod
    def _in_order(connection: Connection, shape: Shape, write: int) -> list[tuple[Any, ...]]:
        if not shape.key:
            return []
        return Database.execute(connection, statements.in_order(shape), [write], prepare=True)

    # --- the first rows ----------------------------------------------------------------------------------

    def _may_load(self, connection: Connection, shape: Shape) -> bool:
        """Whether the table is empty, and nobody else has to do with it now."""
        try:
            with connection.transaction():
                Database.execute(connection, statements.load("load_lock", shape))
        except DatabaseError as error:
            if getattr(error, "sqlstate", None) != "55P03":
                raise
            return False
        name = statements.table_name(shape.name)
        return Database.execute(connection, statements.load("load_empty", shape), [name]) == [(True,)]

    def _load(
        self, connection: Connection, shape: Shape, columns: Sequence[Column], csv: Iterable[bytes], origin: Origin
    ) -> Written:
        """COPY straight into the table, and make its indexes afterwards."""
        parameters = origin.parameters(shape.name)
        ((write, at),) = Database.execute(connection, statements.load("load_write", shape), parameters)
        name = statements.table_name(shape.name)
        indexes = Database.execute(connection, statements.fixed("load_indexes"), [name])
        for drop, _ in indexes:
            Database.execute(connection, drop)
        words = {"source": origin.source, "at": at.isoformat(), "run": origin.run, "write": str(write)}
        quoted = {word: "null" if value is None else statements.literal(value) for word, value in words.items()}
        Database.execute(connection, statements.load("load_defaults", shape, words=quoted))
        count = Database.copy_in(connection, statements.load("load_copy", shape, columns), csv)
        Database.execute(connection, statements.load("load_done", shape))
        for _, make in indexes:
            Database.execute(connection, make)
        Database.execute(connection, statements.fixed("load_count"), [write, count])
        return Written(shape.name, inserted=count, write=write)


def _transaction_of(info: StepInfo) -> Any:
    if not info.active:
        raise NotInWorkflowError(f"step {info.name!r} is over: what its function still writes is refused")
    with _joining:
        if info.joined is None:
            info.joined = JoinedTransaction(info.home)
        return info.joined


def _keyed(shape: Shape, insert: bool) -> bool:
    if not shape.key and not insert:
        raise ShapeError(
            f"table {shape.name!r} has no key, so that rows can only be inserted; make it with key= to upsert"
        )
    return bool(shape.key)
