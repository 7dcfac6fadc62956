"""Runs that wait for a row: what they wait for is kept as a row, and looked at when its table was written to.

A wait begins with a snapshot of PostgreSQL. Whatever was committed after it is looked at, version by version, so that
nothing is missed between the look and the wait, nor a value that stood there only for a moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from dataflows_sdk.errors import DefinitionError, StoreUnavailableError, TableNotFoundError
from dataflows_sdk.flow import conditions
from dataflows_sdk.warehouse import statements
from dataflows_sdk.warehouse.asked import by_key, column_named
from dataflows_sdk.warehouse.changed import EVENTS, record
from dataflows_sdk.warehouse.rows import Row
from dataflows_sdk.warehouse.shape import zone_of

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.warehouse.desk import Warehouse
    from dataflows_sdk.warehouse.shape import Shape

T = TypeVar("T")
#: the condition on a version: the field's value stands beside the one before
_FIELD, _VALUE = "field", "value"
_ANY = {"op": "changed"}


@dataclass(frozen=True, slots=True)
class _Step:
    """From one version of a row to the next; None where it was not there."""

    write: int
    before: Row | None
    after: Row | None

    @property
    def event(self) -> str:
        return EVENTS["insert" if self.before is None else "delete" if self.after is None else "update"]


class RowWaits:
    """The waits of a database. Every method blocks; they wait, too, until a database that is gone answers again."""

    def __init__(self, database: Database, warehouse: Warehouse) -> None:
        self._database = database
        self._warehouse = warehouse

    def begin(self, wait: UUID, run: UUID, table: str, key: Any, field: str, wanted: Mapping[str, Any] | None) -> None:
        """From now on nothing of the row is missed. Saying it again changes nothing.

        Args:
            wanted: ``op`` and ``value``; None for any change of the field.

        Raises:
            TableNotFoundError: there is no such table.
            DefinitionError: the key, the field or the condition cannot be.
        """

        def work() -> None:
            shape = self._warehouse._catalogue.get(table)
            _, texts = by_key(shape, key, 1, zone_of(shape))
            column_named(shape, field)
            if wanted is not None:
                for _, problem in conditions.check({"field": _FIELD, **wanted}):
                    raise DefinitionError(problem.replace(f"'{_FIELD}'", repr(field), 1))
            text = None if wanted is None else json.dumps(dict(wanted), default=str)
            now = self._warehouse._writer.origin(None).now
            parameters = (wait, run, table, json.dumps(texts), field, text, now)
            self._database.read("rowtriggers", "wait", parameters)

        self._patiently(work)

    def look(self, wait: UUID) -> tuple[UUID, dict[str, Any]] | None:
        """Whether the row is, or was since the wait began, what is waited for: the run, and what happened."""
        return self._patiently(lambda: self._look(wait))

    def end(self, wait: UUID) -> None:
        """It is over."""
        self._database.read("rowtriggers", "waited", ([wait],))

    def touched(self, table: str, heard: str) -> list[UUID]:
        """Waits for rows of a table that were written to after a snapshot."""
        shape = self._warehouse._catalogue.find(table)
        if shape is None:
            return []  # it was dropped; who waits has his timeout

        def work(shape: Shape) -> list[UUID]:
            text = statements.touched(shape, _same_row(shape, lambda at: f"(q.key ->> {at})"))
            return [row[0] for row in self._database.query(text, [table, heard])]

        return self._warehouse._writer.attempts(table, work)

    # --- one wait ----------------------------------------------------------------------------------------

    def _look(self, wait: UUID) -> tuple[UUID, dict[str, Any]] | None:
        rows = self._database.read("rowtriggers", "waiting", ([wait],))
        if not rows:
            return None
        _, run, table, key, field, wanted, seen = rows[0]
        try:
            steps = self._steps(table, json.loads(key))
        except TableNotFoundError:
            return None
        later = dict(self._database.read("rowtriggers", "unseen", (seen, [step.write for step in steps])))
        before = [step for step in steps if step.write not in later]
        condition = None if wanted is None else json.loads(wanted)
        if condition is not None and "changed" not in condition["op"]:
            held = _Step(0, None, before[-1].after if before else None)
            if _fits(condition, field, held):
                return run, _told(table, held, "held", None)
        for step in steps:
            if step.write in later and _fits(condition, field, step):
                return run, _told(table, step, step.event, later[step.write])
        return None

    def _steps(self, table: str, key: list[str]) -> list[_Step]:
        """What happened to a row, oldest first."""

        def work(shape: Shape) -> list[_Step]:
            condition = _same_row(shape, lambda at: f"${at + 1}::text")
            rows = self._database.query(statements.versions(shape, condition), key)
            return list(_between(shape, rows))

        return self._warehouse._writer.attempts(table, work)

    def _patiently(self, work: Callable[[], T]) -> T:
        attempt = 0
        while True:
            try:
                return work()
            except StoreUnavailableError:
                if self._database.closed:
                    raise
                time.sleep(min(1.0, 0.05 * 2 ** min(attempt, 5)))
                attempt += 1


def _same_row(shape: Shape, text: Callable[[int], str]) -> str:
    parts = []
    for at, name in enumerate(shape.row_key):
        column = column_named(shape, name)
        parts.append(f"t.{statements.quoted(name)} = {text(at)}::{column.postgres}")
    return " and ".join(parts)


def _between(shape: Shape, rows: list[tuple[Any, ...]]) -> Iterator[_Step]:
    names = statements.columns_of(shape)
    last: Row | None = None
    for found in rows:
        row = Row(shape.name, dict(zip(names, found[: len(names)], strict=True)))
        _, deleted, ended_by = found[len(names) : len(names) + 3]
        yield _Step(row["_write"], last, row)
        last = row
        if deleted:
            yield _Step(ended_by, row, None)
            last = None


def _fits(wanted: Mapping[str, Any] | None, field: str, step: _Step) -> bool:
    before = None if step.before is None else step.before[field]
    after = None if step.after is None else step.after[field]
    wanted = wanted if wanted is not None else _ANY
    # the value is looked up and not written into the condition: what looks like a template in data is none
    condition = {"field": _FIELD, "op": wanted["op"], **({"value": "{{value}}"} if "value" in wanted else {})}
    facts = conditions.Facts({_VALUE: wanted.get("value")}, {_FIELD: after}, {_FIELD: before})
    return conditions.holds(condition, facts)


def _told(table: str, step: _Step, event: str, at: datetime | None) -> dict[str, Any]:
    data: dict[str, Any] = {"event": event, "object": table, "at": at}
    some = step.after if step.after is not None else step.before
    data["record"] = {} if some is None else record(some)
    if step.before is not None:
        data["old_record"] = record(step.before)
    return data
