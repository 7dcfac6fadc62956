"""What a table has, what it had, and who wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.shown import Listing, ShownAsTable
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.asked import behind, by_key, complete, where
from dataflows_sdk.warehouse.catalogue import Catalogue
from dataflows_sdk.warehouse.rows import Row
from dataflows_sdk.warehouse.shape import PROVENANCE, Shape, zone_of
from dataflows_sdk.warehouse.writing import Writer

_OURS = frozenset(name for name, _ in PROVENANCE)


@dataclass(frozen=True)
class Version(ShownAsTable):
    """A row as it was for some time; or, with ``operation="delete"``, that it was not there.

    Attributes:
        row: what it was; None while it was deleted.
        valid_from, valid_to: from when, and until just before when; `valid_to` is None if it is so today.
        operation: how that began: ``"insert"``, ``"update"`` or ``"delete"``.
        run, step: the run and the step that wrote it, if one did.
    """

    row: Row | None
    valid_from: datetime
    valid_to: datetime | None
    operation: str
    run: str | None
    step: str | None
    source: str | None


@dataclass(frozen=True)
class Why(ShownAsTable):
    """Where a row comes from.

    Attributes:
        table, key: which row.
        row: as it is; None if it was deleted.
        operation: what was done last: ``"insert"``, ``"update"`` or ``"delete"``.
        at: when.
        run, step: the run and the step that did it; None if it was done outside of a run.
        workflow, workflow_version: what ran, and the version of its source.
        event: the seq of the step's record in the run's journal.
        trigger: how the run began: its input, and who or what started it, as they are in its first event.
        source: where the row came from.
        versions: how many there were.
    """

    table: str
    key: tuple[Any, ...]
    row: Row | None
    operation: str
    at: datetime
    run: str | None
    step: str | None
    source: str | None
    versions: int
    workflow: str | None = None
    workflow_version: str | None = None
    event: int | None = None
    trigger: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        done = {"insert": "inserted", "update": "updated", "delete": "deleted"}[self.operation]
        key = ", ".join(str(part) for part in self.key)
        by = f"by step {self.step!r} of {self.workflow} (run {self.run})" if self.run else "outside of a run"
        return f"{self.table} {key}: {done} {self.at:%Y-%m-%d %H:%M:%S} UTC {by}; {self.versions} versions"


@dataclass(frozen=True)
class RowChange(ShownAsTable):
    """One row that a write changed.

    Attributes:
        operation: ``"insert"``, ``"update"`` or ``"delete"``.
        row: after it; None when it was deleted.
        before: before it; None when it was inserted.
        write: the number of the write.
    """

    table: str
    operation: str
    row: Row | None
    before: Row | None
    at: datetime
    run: str | None
    step: str | None
    source: str | None
    write: int

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the user's columns that are not as they were."""
        after, before = dict(self.row or {}), dict(self.before or {})
        names = dict.fromkeys([*after, *before])
        return tuple(
            name
            for name in names
            if name not in _OURS
            and not (name == "id" and self.operation == "update")
            and after.get(name) != before.get(name)
        )


@dataclass(frozen=True)
class Difference(ShownAsTable):
    """A row that was not the same at two moments.

    Attributes:
        key: of the row.
        before, after: what it was; None when it was not there.
        changed: the columns that differ.
    """

    key: tuple[Any, ...]
    before: Row | None
    after: Row | None
    changed: tuple[str, ...]

    @property
    def operation(self) -> str:
        """``"insert"``, ``"update"`` or ``"delete"``."""
        return "insert" if self.before is None else "delete" if self.after is None else "update"


class Reader:
    """Reads the tables of one database. Thread-safe."""

    def __init__(self, database: Database, catalogue: Catalogue, writer: Writer) -> None:
        self._database = database
        self._catalogue = catalogue
        self._writer = writer

    # --- rows --------------------------------------------------------------------------------------------

    def get(self, table: str, key: Any, at: datetime | None = None) -> Row | None:
        """The row of a key, today or at a moment."""

        def work(shape: Shape) -> Row | None:
            condition, values = by_key(shape, key, 1 if at is None else 2, zone_of(shape))
            rows = self._rows(shape, condition, values, (), "", at)
            return rows[0] if rows else None

        return self._writer.attempts(table, work)

    def find(
        self,
        table: str,
        conditions: Any,
        order: Any,
        limit: int | None,
        offset: int,
        at: datetime | None = None,
        after: Any = None,
    ) -> list[Row]:
        """The rows of conditions, today or at a moment; all of them, or those behind a row."""
        for name, value in (("limit", limit), ("offset", offset)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise DefinitionError(f"{name} is a whole number from 0 on, not {value!r}")

        def work(shape: Shape) -> list[Row]:
            first = 1 if at is None else 2
            condition, values = where(shape, conditions, first, zone_of(shape))
            by = complete(shape, order)
            if after is not None:
                more, further = behind(shape, by, after, first + len(values), zone_of(shape))
                condition, values = f"({condition}) and {more}", [*values, *further]
            page = ("" if limit is None else f"limit {limit} ") + (f"offset {offset}" if offset else "")
            return self._rows(shape, condition, values, by, page, at)

        return self._writer.attempts(table, work)

    def count(self, table: str, conditions: Any) -> int:
        """How many rows there are."""

        def work(shape: Shape) -> int:
            condition, values = where(shape, conditions, 1, zone_of(shape))
            found: int = self._query(shape, statements.count(shape, condition), values)[0][0]
            return found

        return self._writer.attempts(table, work)

    def _rows(
        self, shape: Shape, condition: str, values: list[Any], order: Any, page: str, at: datetime | None
    ) -> list[Row]:
        if at is None:
            text = statements.select(shape, condition, order, page)
        else:
            text, values = statements.as_of(shape, condition, order, page), [at, *values]
        names = statements.columns_of(shape)
        return Listing(
            [Row(shape.name, dict(zip(names, row, strict=True))) for row in self._query(shape, text, values)]
        )

    def _query(self, shape: Shape, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """In the step's transaction, if it wrote to the table: it sees what it has written."""
        info = current_step.get()
        joined = info.joined if info is not None and info.home is self._database and info.active else None
        if joined is not None and shape.name in joined.marks:
            with joined.work() as connection:
                return Database.execute(connection, text, values)
        return self._database.query(text, values)

    # --- the past ----------------------------------------------------------------------------------------

    def history(self, table: str, key: Any) -> list[Version]:
        """Every version of a row, oldest first."""

        def work(shape: Shape) -> list[Version]:
            return Listing(self._versions(shape, key))

        return self._writer.attempts(table, work)

    def _versions(self, shape: Shape, key: Any) -> Iterator[Version]:
        condition, values = by_key(shape, key, 1, zone_of(shape))
        names = statements.columns_of(shape)
        rows = self._query(shape, statements.versions(shape, condition), values)
        for at, found in enumerate(rows):
            row = Row(shape.name, dict(zip(names, found[: len(names)], strict=True)))
            until, deleted, _, run, step, source, ended_run, ended_step = found[len(names) :]
            operation = "insert" if row["_version"] == 1 else "update"
            yield Version(row, row["_synced_at"], until, operation, _text(run), step, source)
            if deleted:
                following = rows[at + 1] if at + 1 < len(rows) else None
                again = None if following is None else following[names.index("_synced_at")]
                yield Version(None, until, again, "delete", _text(ended_run), ended_step, None)

    def why(self, table: str, key: Any) -> Why | None:
        """Who did what to a row last."""
        versions = self.history(table, key)
        if not versions:
            return None
        last = versions[-1]
        shape = self._catalogue.get(table)
        some = last.row or next(each.row for each in reversed(versions) if each.row is not None)
        told: dict[str, Any] = {}
        if last.run is not None:
            rows = self._database.query(_sql("why"), [last.run, last.step])
            if rows:
                workflow, version, event, data = rows[0]
                told = {"workflow": workflow, "workflow_version": version, "event": event, "trigger": data or {}}
                if isinstance(data, str):
                    told["trigger"] = json.loads(data)
        return Why(
            table=table,
            key=tuple(some[name] for name in shape.row_key),
            row=last.row,
            operation=last.operation,
            at=last.valid_from,
            run=last.run,
            step=last.step,
            source=last.source if last.row is not None else some["_source"],
            versions=sum(1 for each in versions if each.row is not None),
            **told,
        )

    def diff(self, table: str, earlier: datetime, later: datetime, limit: int) -> list[Difference]:
        """Rows that were not the same at two moments."""

        def work(shape: Shape) -> list[Difference]:
            names = statements.columns_of(shape)
            found: list[Difference] = Listing()
            for row in self._query(shape, statements.differences(shape), [earlier, later, limit]):
                one, other = (
                    _row(shape.name, names, row[: len(names)]),
                    _row(shape.name, names, row[len(names) :]),
                )
                some = one or other
                assert some is not None
                mine = [column.name for column in shape.columns]
                was, became = dict(one or {}), dict(other or {})
                differ = [name for name in mine if was.get(name) != became.get(name)]
                found.append(Difference(tuple(some[name] for name in shape.row_key), one, other, tuple(differ)))
            return found

        return self._writer.attempts(table, work)

    def of_write(
        self, table: str, write: int, skip: int, limit: int, origin: tuple[datetime, str | None, str | None, str | None]
    ) -> list[RowChange]:
        """What a write changed, by key: some of it. *origin* is the write's time, run, step and source."""
        shape = self._catalogue.find(table)
        if shape is None:
            return []  # the table was dropped since

        def work(shape: Shape) -> list[RowChange]:
            names = statements.columns_of(shape)
            rows = self._database.query(statements.changed(shape), [write, skip, limit])
            return [
                RowChange(
                    table,
                    kind,
                    _row(table, names, both[: len(names)]),
                    _row(table, names, both[len(names) :]),
                    *origin,
                    write,
                )
                for kind, *both in rows
            ]

        return self._writer.attempts(table, work)

    def wrote(self, run: UUID) -> list[dict[str, Any]]:
        """What a run wrote, in order."""
        names = ("table", "step", "at", "source", "inserted", "updated", "deleted", "write")
        return Listing([dict(zip(names, row, strict=True)) for row in self._database.query(_sql("by_run"), [run])])

    def aside(self, table: str, limit: int) -> list[dict[str, Any]]:
        """Rows that were set aside, newest first."""
        names = ("id", "at", "reason", "row", "source", "run", "step")
        rows = self._database.query(_sql("aside"), [table, limit])
        return Listing([dict(zip(names, row, strict=True)) for row in rows])

    def forget_aside(self, table: str, ids: Sequence[int] | None) -> None:
        """They were looked after."""
        self._database.query(_sql("forget_aside"), [table, None if ids is None else list(ids)])


def _row(table: str, names: Sequence[str], values: Sequence[Any]) -> Row | None:
    found = dict(zip(names, values, strict=True))
    return Row(table, found) if found["_write"] is not None else None


def _text(run: Any) -> str | None:
    return None if run is None else str(run)


def _sql(name: str) -> str:
    return statement("writes", name, "dataflows_sdk.warehouse")
