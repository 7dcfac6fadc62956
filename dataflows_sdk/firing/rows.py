"""Rows that were written, the runs that begin for them, and the runs that wait for them.

Nothing is written down for this besides the rows themselves: `dataflows.write` and the versions are what is read
(decision 0019). Each listener keeps a snapshot of PostgreSQL in which it has heard every write.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.errors import ConditionError, DataflowsError, DefinitionError, InputError, ValueCodecError
from dataflows_sdk.firing.source import Source
from dataflows_sdk.flow.conditions import Facts, holds
from dataflows_sdk.warehouse.changed import EVENTS, told

if TYPE_CHECKING:
    from psycopg import Connection

    from dataflows_sdk.context import Context
    from dataflows_sdk.firing.starting import Starter
    from dataflows_sdk.warehouse.reading import RowChange

log = logging.getLogger("dataflows.triggers")

#: rows that are looked at together; the runs for them are begun together
_ROWS = 2_000
#: writes that are looked at, at a time
_WRITES = 500
#: seconds after which those who hear nothing are told that there was nothing
_SELDOM = 30.0


@dataclass(frozen=True, slots=True)
class _Firing:
    """A row that fits: what begins its run, and where it stands."""

    event_id: str
    payload: dict[str, Any]
    write: int
    passed: int


class RowEar:
    """Hears what is written to the warehouse, begins runs, and wakes those that wait."""

    def __init__(self, context: Context, starter: Starter) -> None:
        self._context = context
        self._starter = starter
        self._told = time.monotonic()

    def hear(self, now: datetime | None = None) -> int:
        """Begin the runs for what was written since the last look, and wake those who wait for it; how many began."""
        database, begun = self._context._database, 0
        self._restored()
        while (count := self._next(now)) is not None:
            begun += count
        self._wake()
        if time.monotonic() - self._told > _SELDOM:
            self._told = time.monotonic()
            database.read("rowtriggers", "nothing_new")
            database.read("rowtriggers", "forget_waits")
        return begun

    def is_due(self) -> bool:
        """Whether somebody has not heard something."""
        if time.monotonic() - self._told > _SELDOM:
            return True
        return bool(self._context._database.read("rowtriggers", "unheard")[0][0])

    def _restored(self) -> None:
        database = self._context._database
        if database.read("rowtriggers", "restored")[0][0]:
            database.read("rowtriggers", "rebase")

    # --- triggers ----------------------------------------------------------------------------------------

    def _next(self, now: datetime | None) -> int | None:
        """Take one trigger a piece further: how many runs that began; None if none has anything to hear.

        The runs are begun before the place is kept. Who dies in between begins them again, and the keys of the runs
        let that be nothing.
        """
        database = self._context._database
        now = now if now is not None else self._context._engine.clock.now()
        with database.connection() as connection, connection.transaction():
            rows = database.run(connection, "rowtriggers", "listening", (now, self._context._code_names()))
            if not rows:
                return None
            source = Source.of(rows[0])
            table, heard, until, write, passed = rows[0][11:]
            return self._further(connection, source, table, heard, until, (write, passed), now)

    def _further(
        self,
        connection: Connection[Any],
        source: Source,
        table: str,
        heard: str,
        until: str | None,
        place: tuple[int, int],
        now: datetime,
    ) -> int:
        run, looked, lot = self._context._database.run, 0, list[_Firing]()
        found = run(connection, "rowtriggers", "writes", (table, heard, until, place[0], _WRITES))
        until = found[0][0]
        writes = [each[1:] for each in found if each[1] is not None]
        wanted = source.config.get("event", "created")
        events = {wanted} if isinstance(wanted, str) else set(wanted)
        for identifier, at, by, step, origin, *counts in writes:
            passed = place[1] if identifier == place[0] else 0
            place = identifier, passed
            if not any(count for event, count in zip(EVENTS.values(), counts, strict=True) if event in events):
                place = identifier + 1, 0
                continue
            about = at, None if by is None else str(by), step, origin
            page = _ROWS - looked
            changes = self._context.warehouse._reader.of_write(table, identifier, passed, page, about)
            looked += len(changes)
            for number, change in enumerate(changes, passed):
                firing = self._firing(source, change, (identifier, number)) if _is(change, events) else None
                if firing is not None:
                    lot.append(firing)
            if looked >= _ROWS:
                place = identifier, passed + len(changes)
                break
            place = identifier + 1, 0
        over = len(writes) < _WRITES and (not writes or place == (writes[-1][0] + 1, 0))
        begun, stopped = self._begin(source, lot, now)
        if stopped is not None:
            firing, wait = stopped
            again = now + timedelta(seconds=wait)
            run(connection, "rowtriggers", "place", (source.trigger, until, firing.write, firing.passed, again))
        elif over:
            run(connection, "rowtriggers", "heard", (source.trigger, until, writes[-1][0] if writes else 0))
        else:
            run(connection, "rowtriggers", "place", (source.trigger, until, *place, None))
        return begun

    def _firing(self, source: Source, change: RowChange, place: tuple[int, int]) -> _Firing | None:
        """What a change of a row begins; None if the conditions do not hold."""
        payload = told(change, _event_id(change, self._keys(change)))
        before = payload.get("old_record") if payload["event"] == "updated" else None
        try:
            if holds(source.config.get("conditions"), Facts({"trigger": payload}, payload["record"], before)):
                return _Firing(payload["event_id"], payload, *place)
        except ConditionError as error:
            log.warning("%s cannot look at %s: %s", source, payload["event_id"], error)
        return None

    def _keys(self, change: RowChange) -> Sequence[str]:
        return self._context.warehouse._catalogue.get(change.table).row_key

    def _begin(self, source: Source, lot: Sequence[_Firing], now: datetime) -> tuple[int, tuple[_Firing, float] | None]:
        """Begin the runs of a lot: how many are new; and under a limit the first that has to wait, and for how long.

        What waits stays where it is, in the list of writes.
        """
        if not lot:
            return 0, None
        if not self._starter.limits.concern(source):
            return self._starter.begin_many(source, [(each.event_id, _topic(each), each.payload) for each in lot]), None
        begun = 0
        for each in lot:
            wait = self._starter.limits.take(source, each.event_id, now)
            if wait:
                return begun, (each, wait)
            begun += self._one(source, each)
        return begun, None

    def _one(self, source: Source, firing: _Firing) -> bool:
        try:
            return self._starter.begin(source, _topic(firing), firing.event_id, firing.payload).created
        except (DefinitionError, InputError, ValueCodecError) as error:
            log.warning("%s cannot begin a run for %s: %s", source, firing.event_id, error)
            return False

    # --- those who wait ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Tell the runs whose row is as they wanted; the message is in their inbox before the wait is forgotten."""
        context, database = self._context, self._context._database
        waits = context._row_waits
        with database.connection() as connection, connection.transaction():
            for table, heard, until in database.run(connection, "rowtriggers", "ears", ()):
                for identifier in waits.touched(table, heard):
                    self._tell(identifier)
                database.run(connection, "rowtriggers", "looked", (table, until))

    def _tell(self, identifier: UUID) -> None:
        context = self._context
        try:
            found = context._row_waits.look(identifier)
            if found is not None:
                run, payload = found
                context._tell_waiting(run, identifier, payload)
        except DataflowsError as error:
            log.warning("the wait %s for a row: %s", identifier, error)


def _is(change: RowChange, events: set[str]) -> bool:
    return EVENTS[change.operation] in events


def _topic(firing: _Firing) -> str:
    return f"{firing.payload['object']}.{firing.payload['event']}"


def _event_id(change: RowChange, keys: Sequence[str]) -> str:
    """What tells a change from every other: the write, what was done, and the row."""
    row: Mapping[str, Any] = change.row or change.before or {}
    key = json.dumps([str(row.get(name)) for name in keys])
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"row:{change.write}:{EVENTS[change.operation]}:{digest}"


def object_of(kind: str, config: Mapping[str, Any]) -> str | None:
    """The table whose rows a trigger listens to; None where it listens to none."""
    return str(config["object"]) if kind == "trigger_record" else None
