"""Rows together with the lists that are tables of their own: one transaction, and a statement for each lot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse import family_statements, statements
from dataflows_sdk.warehouse.kept_out import check_rows
from dataflows_sdk.warehouse.lists import BadObjects, Held, Lists, Rows, elements, merge
from dataflows_sdk.warehouse.lots import BAD_CLASSES, FIRST, MANY, Again, How, of_table
from dataflows_sdk.warehouse.rows import Bad, Row, Texts, Written, checked
from dataflows_sdk.warehouse.shape import zone_of

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Connection
    from dataflows_sdk.warehouse.catalogue import Catalogue
    from dataflows_sdk.warehouse.lots import Origin
    from dataflows_sdk.warehouse.shape import Child, Shape
    from dataflows_sdk.warehouse.writing import Writer


class Families:
    """Writes the lists of rows of one database. Thread-safe.

    A row's list is replaced as a whole while the row is locked, so that of two who write the same row one is first
    with all of it.
    """

    def __init__(self, writer: Writer, catalogue: Catalogue) -> None:
        self._writer = writer
        self._catalogue = catalogue

    def names(self, shape: Shape) -> list[str]:
        """The tables that a write to this one may change."""
        return [shape.name, *(each.name for each in self._catalogue.family(shape))] if shape.children else [shape.name]

    def evolve(self, shape: Shape, part: Sequence[Any]) -> None:
        """Let the tables of the lists have the columns that these bring, if they may."""
        if not shape.evolve:
            return
        for column, child in shape.children.items():
            below = self._child(shape, child)
            found = [
                {name: value for name, value in each.items() if name not in child.parent}
                for each in elements(column, part)
            ]
            if found:
                self.evolve(self._writer._evolved(below, found), found)

    def _child(self, shape: Shape, child: Child) -> Shape:
        """The look of a child table; what happens to bad rows and the like is for its parent to say."""
        return replace(
            self._catalogue.get(child.table),
            evolve=shape.evolve,
            source=shape.source,
            timezone=shape.timezone,
            bad=shape.bad,
        )

    # --- a call ------------------------------------------------------------------------------------------

    def one(self, shape: Shape, texts: Texts, lists: Lists, how: How) -> Row:
        """One row with its lists, and give it as it is then."""
        shape = replace(shape, bad="coerce" if how.coerce else "refuse")
        writer, bad = self._writer, Bad()
        known = writer._texts_of_one(shape, texts.columns, insert=how.insert)
        with writer.transaction(*self.names(shape)) as connection:
            locked = 0 if how.insert else self._lock(connection, shape, list(lists.held.values()))
            parameters = [*how.origin.parameters(shape.name), *texts.rows[0]]
            found = Database.execute(connection, known.text, parameters, prepare=True)
            if not found or not (locked or found[0][0]):
                raise Again
            if found[0][0] and known.in_order is not None:
                Database.execute(connection, known.in_order, [found[0][-1]], prepare=True)
            row = Row(shape.name, dict(zip(known.columns, found[0][1:], strict=True)))
            self._lists(connection, shape, lists, self._at(connection, how, row["_write"]), bad)
            if bad.count:
                raise of_table(shape.name, bad.error(1))
        return row

    def many(
        self, connection: Connection, shape: Shape, texts: Sequence[Texts], lists: Lists, bad: Bad, how: How
    ) -> Written:
        """Rows that were checked, with their lists."""
        owners = list(lists.held.values())
        locked = 0 if how.insert or not owners else self._lock(connection, shape, owners)
        total, since = Written(shape.name), len(bad.aside)
        for group in texts:
            total += self._writer._group(connection, shape, group, how.origin, bad, insert=how.insert)
        lists.settle(bad, since)
        if locked + total.inserted < len(lists.held):
            raise Again  # others inserted some of them meanwhile, and their lists are not settled
        children = self._lists(connection, shape, lists, self._at(connection, how, total.write), bad)
        return replace(total, children=children)

    def delete(
        self, connection: Connection, shape: Shape, condition: str, values: Sequence[Any], origin: Origin
    ) -> Written:
        """Delete rows and, before them, what is in their lists."""
        Database.execute(connection, family_statements.doom(shape, condition), values)
        if origin.now is None:
            ((now,),) = Database.execute(connection, _sql("now"))
            origin = replace(origin, now=now)  # all of it in the same moment
        condition = family_statements.doomed(shape)
        children = self._bury(connection, shape, condition, [], origin)
        text = statements.delete(shape, condition)
        ((gone, write),) = Database.execute(connection, text, origin.parameters(shape.name))
        Database.execute(connection, _sql("undoom"))
        return Written(shape.name, deleted=gone, write=write, children=children)

    def _bury(
        self, connection: Connection, shape: Shape, condition: str, values: Sequence[Any], origin: Origin
    ) -> dict[str, Written]:
        """Delete what is in the lists of the rows of a condition over ``t``, the deepest first."""
        found = {}
        for column, child in shape.children.items():
            below = self._child(shape, child)
            theirs = family_statements.belonging(shape, child, condition)
            deeper = self._bury(connection, below, theirs, values, origin)
            parameters = [*origin.parameters(below.name), *values]
            ((gone, write),) = Database.execute(connection, statements.delete(below, theirs), parameters)
            found[column] = Written(below.name, deleted=gone, write=write, children=deeper)
        return found

    # --- lists -------------------------------------------------------------------------------------------

    def _lists(self, connection: Connection, shape: Shape, lists: Lists, how: How, bad: Bad) -> dict[str, Written]:
        """Make the child tables say what the lists say."""
        done: dict[str, Written] = {}
        for column, child in shape.children.items():
            owners = [held for held in lists.held.values() if column in held.lists]
            if not owners:
                continue
            table = self._child(shape, child)
            faults = BadObjects(table=shape.name, column=column, child=child)
            below = Lists(table) if table.children else None
            found = Rows(table, child, owners, faults).rows
            groups = checked(table, found, faults, coerce=how.coerce, zone=zone_of(table), lists=below)
            check_rows(self._writer.finder, table.name, groups)
            texts = groups[0] if groups else Texts(table.columns, [], [])
            if faults.count and not self._catalogue.is_current(table):
                self._catalogue.forget(table.name)
                raise Again  # they may fit what the table is now
            if faults.count and shape.bad != "aside":
                merge(bad, faults)
                continue
            since = len(faults.aside)
            written = self._put(connection, table, child, owners, texts, how, faults)
            if faults.count and shape.bad != "aside":
                merge(bad, faults)
                continue
            self._writer.set_aside(connection, how.origin, table.name, faults)
            how = self._at(connection, how, written.write)
            if below is not None:
                below.settle(faults, since)
                written = replace(written, children=self._lists(connection, table, below, how, bad))
            done[column] = replace(written, aside=faults.count)
        return done

    def _put(
        self,
        connection: Connection,
        table: Shape,
        child: Child,
        owners: Sequence[Held],
        texts: Texts,
        how: How,
        faults: BadObjects,
    ) -> Written:
        """Replace lists; where some objects do not fit, says PostgreSQL, those are found."""
        try:
            with connection.transaction():
                return self._lot(connection, table, child, owners, texts, how)
        except DatabaseError as error:
            if not (getattr(error, "sqlstate", None) or "").startswith(BAD_CLASSES):
                raise
        if len(owners) == 1:
            self._writer._group(connection, table, texts, how.origin, faults, insert=False)
            return self._lot(connection, table, child, owners, texts.without(faults.positions), how)
        total, middle = Written(table.name), len(owners) // 2
        for half in (owners[:middle], owners[middle:]):
            mine = {held.position for held in half}
            others = [at for at in texts.positions if faults.places[at][0].position not in mine]
            total += self._put(connection, table, child, half, texts.without(others), how, faults)
        return total

    def _lot(
        self, connection: Connection, table: Shape, child: Child, owners: Sequence[Held], texts: Texts, how: How
    ) -> Written:
        if len(texts.rows) >= FIRST and self._writer._may_load(connection, table):
            keys = [[column.name for column in texts.columns].index(name) for name in table.key]
            return self._writer._load(connection, table, texts.columns, texts.csv(keys), how.origin)
        given = family_statements.given_columns(table, child)
        if len(texts.rows) <= MANY and len(owners) <= MANY:
            incoming = statements.Incoming("lists", texts.columns)
            kept = f"({incoming.text})"
            source = family_statements.listed(given, statements.BEFORE + len(texts.columns) + 1)
            values: list[Any] = [*texts.lists(), *_keys(owners, len(given))]
        else:
            self._stage_owners(connection, given, owners)
            Database.execute(connection, statements.stage(texts.columns))
            Database.copy_in(connection, statements.stage_copy(texts.columns), texts.csv(None))
            Database.execute(connection, statements.fixed("stage_room"))
            Database.execute(connection, statements.stage_new(table, texts.columns))
            Database.execute(connection, statements.fixed("stage_known"))
            incoming = statements.Incoming("changed", texts.columns)
            kept, source, values = "staged", family_statements.staged(given), []
        gone = family_statements.gone(table, child, source, kept)
        deeper = self._bury(connection, table, gone, values, how.origin) if table.children else {}
        text = family_statements.replaced(table, incoming, gone)
        parameters = [*how.origin.parameters(table.name), *values]
        ((fresh, different, over, inserted, updated, deleted, write),) = Database.execute(
            connection, text, parameters, prepare=bool(values)
        )
        if (fresh, different, over) != (inserted, updated, deleted):
            raise Again  # somebody wrote to the child table itself
        if inserted:
            self._writer._in_order(connection, table, write)
        if not values:
            Database.execute(connection, statements.fixed("unstage"))
            Database.execute(connection, _sql("unstage_owners"))
        unchanged = len(texts.rows) - inserted - updated
        return Written(table.name, inserted, updated, unchanged, deleted, write=write, children=deeper)

    # --- small things ------------------------------------------------------------------------------------

    def _lock(self, connection: Connection, shape: Shape, owners: Sequence[Held]) -> int:
        """Lock the rows that are there, in the order of their keys; how many they are."""
        given = [column for name in shape.key if (column := shape.column(name)) is not None]
        values: list[Any] = []
        if len(owners) <= MANY:
            source, values = family_statements.listed(given, 1), _keys(owners, len(given))
        else:
            self._stage_owners(connection, given, owners)
            source = family_statements.staged(given)
        text = family_statements.lock(shape, source)
        ((locked,),) = Database.execute(connection, text, values, prepare=bool(values))
        if not values:
            Database.execute(connection, _sql("unstage_owners"))
        return int(locked)

    @staticmethod
    def _stage_owners(connection: Connection, given: Sequence[Any], owners: Sequence[Held]) -> None:
        keys = Texts(given, [held.key for held in owners], [])
        Database.execute(connection, family_statements.stage_owners(given))
        Database.copy_in(connection, _sql("copy_owners"), keys.csv(None))
        Database.execute(connection, _sql("know_owners"))

    @staticmethod
    def _at(connection: Connection, how: How, write: int | None) -> How:
        """The same moment for what is written next as for what this transaction has written."""
        if how.origin.now is not None or write is None:
            return how
        rows = Database.execute(connection, _sql("moment"), [write], prepare=True)
        return replace(how, origin=replace(how.origin, now=rows[0][0])) if rows else how


def _keys(owners: Sequence[Held], count: int) -> list[list[str | None]]:
    return [[held.key[at] for held in owners] for at in range(count)]


def _sql(name: str) -> str:
    return statement("families", name, "dataflows_sdk.warehouse")
