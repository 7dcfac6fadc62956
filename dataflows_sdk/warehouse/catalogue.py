"""The tables that there are: known from the database, made, and changed there."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.current import current_step
from dataflows_sdk.errors import ShapeError, TableNotFoundError, WarehouseError
from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.columns import EXACT_FLOAT, Column, type_of_postgres
from dataflows_sdk.warehouse.shape import PROVENANCE, Change, Shape, changes, check, check_parent, with_key

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Connection

log = logging.getLogger("dataflows.warehouse")

#: another transaction holds on to the table longer than this
_PATIENCE = "10s"
_LOCK_NOT_AVAILABLE = "55P03"


class Catalogue:
    """What the tables of one database look like, as this process knows it. Thread-safe.

    A look that is kept may be an old one: whoever runs into that calls `forget` and asks again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[str, Shape] = {}
        #: called within the transaction around changes of columns: views that stand on the table are made anew
        self.rebuilding: Callable[..., AbstractContextManager[Any]] | None = None

    def get(self, name: str) -> Shape:
        """The look of a table.

        Raises:
            TableNotFoundError: there is none of that name.
            ShapeError: it was changed by hand so that it cannot be used.
        """
        shape = self.find(name)
        if shape is None:
            names = ", ".join(each.name for each in self.tables()) or "there are none yet"
            raise TableNotFoundError(f"no table {name!r} in the warehouse; {names}")
        return shape

    def find(self, name: str) -> Shape | None:
        """The look of a table; None if there is none."""
        with self._lock:
            known = self._known.get(name)
        if known is not None:
            return known
        rows = self._read("get", name)
        if not rows:
            return None
        shape = Shape.of_json(name, *rows[0])
        if _as_it_is(shape, self._read("actual", name)) is not None:
            with self._change(name) as connection:
                shape = self._reconciled(connection, name)
        return self._keep(shape)

    def tables(self) -> list[Shape]:
        """All tables, by name."""
        return [Shape.of_json(*row) for row in self._read("list")]

    def is_current(self, shape: Shape) -> bool:
        """Whether the table still looks so, as far as it was changed here."""
        rows = self._read("get", shape.name)
        return bool(rows) and rows[0][1] == shape.version

    def forget(self, name: str) -> None:
        """What is known of a table may be old."""
        with self._lock:
            names = [name]
            while names:
                shape = self._known.pop(names.pop(), None)
                names += [child.table for child in shape.children.values()] if shape is not None else []

    def put(
        self,
        wanted: Shape,
        rename: Mapping[str, str] | None = None,
        joined: Any = None,
        children: Sequence[Shape] = (),
    ) -> Shape:
        """Make a table, or bring it to another look. The same look again changes nothing.

        Args:
            children: the tables of its lists, each before those of its own; they come and change with it.
            joined: the transaction of a step that has written to the table: it holds the table's locks.

        Raises:
            ShapeError: it cannot look so, or not change so.
            WarehouseError: others hold on to the table.
        """
        family = [(check(with_key(each)), None) for each in children]
        looks: list[tuple[Shape, Mapping[str, str] | None]] = [(check(with_key(wanted)), rename), *family]
        known = [self._as_known(*each) for each in looks]
        if all(known):
            return self.get(wanted.name)
        with self._change(wanted.name, joined) as connection:
            for each in children:
                self._run(connection, "lock", each.name)
            after = [self._brought(connection, *each) for each in looks]
        for each in after:
            self._keep(each)
        return after[0]

    def _as_known(self, wanted: Shape, rename: Mapping[str, str] | None) -> bool:
        known = self.find(wanted.name)
        if known is None:
            return False
        check_parent(known, wanted.parent)
        after, steps = changes(known, wanted, rename)
        return not steps and _same_options(known, after)

    def _brought(self, connection: Connection, wanted: Shape, rename: Mapping[str, str] | None) -> Shape:
        if not self._run(connection, "get", wanted.name):
            return self._create(connection, wanted)
        is_now = self._reconciled(connection, wanted.name)
        check_parent(is_now, wanted.parent)
        after, steps = changes(is_now, wanted, rename)
        if not steps and _same_options(is_now, after):
            return after
        return self._alter(connection, is_now, after, steps)

    def evolve(self, shape: Shape, columns: tuple[Column, ...], joined: Any = None) -> Shape:
        """A table with more columns, or wider ones."""
        return self.put(replace(shape, columns=columns), joined=joined)

    def drop(self, name: str) -> None:
        """Remove a table with its history, and the tables of its lists. What wrote to it stays in the list of writes.

        Raises:
            TableNotFoundError: there is none.
            WarehouseError: views, or references of other tables, stand on it; or it keeps the lists of another one.
        """
        shape = self.get(name)
        if shape.parent is not None:
            raise WarehouseError(
                f"table {name!r} keeps the lists {shape.parent[1]!r} of {shape.parent[0]!r}, and goes when that is "
                "dropped"
            )
        family = [shape, *self.family(shape)]
        with self._change(name) as connection:
            for each in reversed(family):
                try:
                    connection.execute(statements.drop_history(each))
                    connection.execute(f"drop table {statements.table_name(each.name)}")
                    connection.execute(f"drop table {statements.past_name(each.name)}")
                except DatabaseError as error:
                    raise WarehouseError(f"table {each.name!r} cannot be dropped: {said(error)}") from error
                self._run(connection, "forget", each.name)
        for each in family:
            self.forget(each.name)

    def family(self, shape: Shape) -> list[Shape]:
        """The tables of a table's lists and of their lists, each before its own."""
        found: list[Shape] = []
        for child in shape.children.values():
            each = self.get(child.table)
            found += [each, *self.family(each)]
        return found

    # --- within a transaction ----------------------------------------------------------------------------

    def _create(self, connection: Connection, shape: Shape) -> Shape:
        if self._run(connection, "exists", shape.name) == [(True,)]:
            raise ShapeError(
                f"table {shape.name!r}: the schema warehouse has something of that name which was not made here; "
                "take another name, or move it away"
            )
        self._check_references(connection, shape, shape.references)
        # a table of that name may have been here before, and what it looked like is kept
        shape = replace(shape, version=self._run(connection, "next_version", shape.name)[0][0])
        for text in statements.create(shape):
            self._execute(connection, shape.name, text)
        if shape.parent is not None:
            table, column = shape.parent
            parent = Shape.of_json(table, *self._run(connection, "get", table)[0])
            self._execute(connection, shape.name, statements.belongs(shape, parent, parent.children[column]))
        self._note(connection, shape, [Change("add", each.name, None, each.type) for each in shape.columns])
        return shape

    def _alter(self, connection: Connection, before: Shape, shape: Shape, steps: list[Change]) -> Shape:
        shape = replace(shape, version=before.version + 1)
        shape, steps = self._exact(connection, before, shape, steps)
        self._check_references(connection, shape, {step.column: None for step in steps if step.kind == "reference"})
        for step in steps:
            if step.kind == "rename":
                self._execute(connection, shape.name, *statements.alter(shape, step))
        rest = [step for step in steps if step.kind != "rename"]
        if any(step.kind != "reference" for step in rest):
            wider = any(step.kind == "widen" for step in rest)
            with self._without_views(connection, before, shape, whole=wider):
                for step in rest:
                    for text in statements.alter(shape, step):
                        self._execute(connection, shape.name, text)
        else:
            for step in rest:
                self._execute(connection, shape.name, *statements.alter(shape, step))
        self._note(connection, shape, steps)
        return shape

    @contextmanager
    def _without_views(self, connection: Connection, before: Shape, after: Shape, *, whole: bool) -> Iterator[None]:
        """What stands on the history is made anew, and (*whole*) what stands on the columns."""
        if self.rebuilding is None:
            self._execute(connection, before.name, statements.drop_history(before))
            yield
            self._execute(connection, after.name, statements.history_view(after))
            return
        with self.rebuilding(connection, before.name, whole=whole):
            self._execute(connection, before.name, statements.drop_history(before))
            yield
            self._execute(connection, after.name, statements.history_view(after))

    def _exact(
        self, connection: Connection, before: Shape, shape: Shape, steps: list[Change]
    ) -> tuple[Shape, list[Change]]:
        """A float holds whole numbers up to 2**53 only: where there are larger ones, a decimal does."""
        found: list[Change] = []
        for step in steps:
            if (step.kind, step.old, step.new) == ("widen", "int", "float"):
                name = statements.quoted(next(c.name for c in before.columns if c.name == step.column))
                tables = (statements.table_name(before.name), statements.past_name(before.name))
                asked = (statements.beyond(each, name, EXACT_FLOAT) for each in tables)
                if any(connection.execute(text).fetchone() == (True,) for text in asked):
                    if not shape.evolve:
                        raise ShapeError(
                            f"table {shape.name!r}: {step.column!r} has whole numbers beyond 2**53, which are not "
                            "exact as floats; make it a decimal"
                        )
                    step = replace(step, new="decimal")
                    columns = tuple(replace(c, type="decimal") if c.name == step.column else c for c in shape.columns)
                    shape = replace(shape, columns=columns)
            found.append(step)
        return shape, found

    def _check_references(self, connection: Connection, shape: Shape, wanted: Mapping[str, Any]) -> None:
        for column in wanted:
            table, other = shape.references[column]
            rows = self._run(connection, "get", table)
            if not rows and table != shape.name:
                raise ShapeError(f"table {shape.name!r}: {column!r} refers to {table!r}, and there is no such table")
            target = Shape.of_json(table, *rows[0]) if rows else shape
            unique = ("id",) if not target.own_id else ()
            if other not in unique and target.key != (other,):
                could = [*unique, *(target.key if len(target.key) == 1 else ())]
                raise ShapeError(
                    f"table {shape.name!r}: {column!r} refers to {table}.{other}, which does not tell its rows apart; "
                    + (
                        f"refer to {' or '.join(f'{table}.{each}' for each in could)}"
                        if could
                        else "nothing there does"
                    )
                )

    def _reconciled(self, connection: Connection, name: str) -> Shape:
        """The look as it is in the database, also where somebody changed the table by hand."""
        shape = Shape.of_json(name, *self._run(connection, "get", name)[0])
        found = _as_it_is(shape, self._run(connection, "actual", name))
        if found is None:
            return shape
        found = replace(found, version=shape.version + 1)
        log.warning("table %r of the warehouse was changed by hand; it is taken as it is now", name)
        past = statements.past_name(name)
        with self._without_views(connection, shape, found, whole=False):
            for column in found.columns:
                before = shape.column(column.name)
                quoted = statements.quoted(column.name)
                self._execute(
                    connection, name, f"alter table {past} add column if not exists {quoted} {column.postgres}"
                )
                if before is not None and before.type != column.type:
                    using = f"{quoted}::text::{column.postgres}"
                    self._execute(
                        connection,
                        name,
                        f"alter table {past} alter column {quoted} type {column.postgres} using {using}",
                    )
        self._note(connection, found, [])
        return found

    def _note(self, connection: Connection, shape: Shape, steps: list[Change]) -> None:
        info = current_step.get()
        noted = json.dumps([[step.kind, step.column, step.old, step.new] for step in steps])
        run, key = (None, None) if info is None else (info.run_id, info.key)
        self._run(connection, "put", shape.name, shape.to_json(), shape.version, noted, run, key)

    # --- the database ------------------------------------------------------------------------------------

    @contextmanager
    def _change(self, name: str, joined: Any = None) -> Iterator[Connection]:
        if joined is not None:
            with joined.work() as connection:
                self._run(connection, "lock", name)
                yield connection
            return
        with self._database.connection() as connection, connection.transaction():
            connection.execute(f"set local lock_timeout = '{_PATIENCE}'")
            self._run(connection, "lock", name)
            yield connection

    def _execute(self, connection: Connection, name: str, *texts: str) -> None:
        for text in texts:
            try:
                connection.execute(text)
            except DatabaseError as error:
                if getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                    raise WarehouseError(
                        f"table {name!r} cannot be changed: others hold on to it for longer than {_PATIENCE}; try again"
                    ) from error
                raise ShapeError(f"table {name!r} cannot be changed: {said(error)}") from error

    def _keep(self, shape: Shape) -> Shape:
        with self._lock:
            self._known[shape.name] = shape
        return shape

    def _read(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._database.query(_sql(name), parameters)

    @staticmethod
    def _run(connection: Connection, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return Database.execute(connection, _sql(name), parameters)


def _same_options(one: Shape, other: Shape) -> bool:
    options = ("evolve", "source", "timezone", "bad", "children")
    return all(getattr(one, name) == getattr(other, name) for name in options)


def _as_it_is(shape: Shape, actual: list[tuple[str, str]]) -> Shape | None:
    """The look that the columns in the database make; None when it is this one.

    Raises:
        ShapeError: the table, its key or a column of ours is gone.
    """
    names = {name for name, _ in actual}
    ours = [name for name, _ in PROVENANCE] + ([] if shape.own_id else ["id"])
    gone = [name for name in (*shape.key, *ours) if name not in names]
    if gone:
        what = "the table is" if not actual else f"{', '.join(gone)} are" if len(gone) > 1 else f"{gone[0]} is"
        raise ShapeError(
            f"table {shape.name!r}: {what} gone, by hand; put it back, or make the table anew under another name"
        )
    columns: list[Column] = []
    for name, kind in actual:
        if name in ours:
            continue
        before = shape.column(name)
        type_ = type_of_postgres(kind)
        if type_ is None:
            if before is not None:
                raise ShapeError(f"table {shape.name!r}: {name!r} is {kind} now, by hand, which is not known here")
            continue  # somebody's own column; we do not touch it
        columns.append(Column(name, type_, before.nullable if before is not None else True))
    if {(c.name, c.type) for c in columns} == {(c.name, c.type) for c in shape.columns}:
        return None
    order = {column.name: at for at, column in enumerate(shape.columns)}
    columns.sort(key=lambda column: order.get(column.name, len(order)))
    there = {column.name for column in columns}
    references = {name: target for name, target in shape.references.items() if name in there}
    return replace(shape, columns=tuple(columns), references=references)


def said(error: Exception) -> str:
    """What PostgreSQL says, in one line, with its advice."""
    diagnosis = getattr(error, "diag", None)
    parts = [getattr(diagnosis, name, None) for name in ("message_primary", "message_detail", "message_hint")]
    return " ".join(" ".join(part.split()) for part in parts if part).removesuffix(".") or " ".join(str(error).split())


def _sql(name: str) -> str:
    return statement("catalogue", name, "dataflows_sdk.warehouse")
