"""Schedules that fire, and firings that waited for room."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DataflowsError
from dataflows_sdk.firing.source import Delivery, Source
from dataflows_sdk.triggers.schedule import Schedule, backfill, decide_overlap, due, firing_id

if TYPE_CHECKING:
    from psycopg import Connection

    from dataflows_sdk.context import Context
    from dataflows_sdk.firing.starting import Starter

log = logging.getLogger("dataflows.triggers")

_AT_ONCE = 50
_FIELDS = ("cron", "every", "timezone", "catchup", "overlap", "start", "end")


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a trigger's config describes."""
    return Schedule.from_config({key: config[key] for key in _FIELDS if config.get(key) is not None})


class Clockwork:
    """Fires what is due."""

    def __init__(self, context: Context, starter: Starter) -> None:
        self._context = context
        self._starter = starter

    def tick(self, now: datetime) -> int:
        """Fire the schedules that are due; how many runs that began."""
        database, begun = self._context._database, 0
        with database.connection() as connection, connection.transaction():
            for row in database.run(connection, "triggers", "due", (now, _AT_ONCE, self._context._code_names())):
                source = Source.of(row)
                try:
                    count, cursor, again = self._fire(connection, source, now)
                except DataflowsError as error:
                    log.warning("%s could not fire: %s", source, error)
                    count, cursor, again = 0, source.last_at or now, now + timedelta(minutes=1)
                begun += count
                database.run(connection, "triggers", "fired", (source.trigger, cursor, again))
        return begun

    def _fire(
        self, connection: Connection[Any], source: Source, now: datetime
    ) -> tuple[int, datetime, datetime | None]:
        """Fire what a schedule owes: how many runs, up to when it has fired, and when to look again."""
        schedule = schedule_of(source.config)
        cursor = source.last_at or now
        owed = due(schedule, cursor, now)
        if owed.skipped:
            log.warning("%s passed over %d firings", source, owed.skipped)
        begun = 0
        for at in owed.firings:
            policy = source.config.get("overlap", "allow")
            going = self._unfinished(source) if policy != "allow" else []
            decision = decide_overlap(policy, len(going))
            if decision == "queue":
                return begun, cursor, now + timedelta(seconds=1)
            if decision == "cancel_then_start":
                for run in going:
                    self._context.cancel(run, f"the schedule of {source.name!r} fired again")
            if decision != "skip":
                payload = {"scheduled_at": at.isoformat(), "fired_at": now.isoformat()}
                identifier = firing_id(source.schedule_id, at)
                made = self._starter.begin_or_defer(connection, source, "schedule", identifier, payload, now)
                begun += made is not None and made.created
            cursor = at
        return begun, owed.cursor, now if owed.more else schedule.next_after(max(now, owed.cursor))

    def _unfinished(self, source: Source) -> list[Any]:
        return [row[0] for row in self._context._read("triggers", "unfinished", (source.name, source.node))]

    def backfill(self, sources: Sequence[Source], start: datetime, end: datetime, limit: int) -> list[Delivery]:
        """Fire schedules for the times between two instants."""
        found: list[Delivery] = []
        for source in sources:
            if source.type != "trigger_schedule":
                continue
            for planned in backfill(schedule_of(source.config), start, end, limit, trigger_id=source.schedule_id):
                payload = {"scheduled_at": planned.at.isoformat(), "fired_at": None}
                found.append(self._starter.begin(source, "schedule", planned.id, payload))
        return found

    def resume(self, now: datetime) -> int:
        """Begin what waited for room, as far as there is some; how many runs."""
        database = self._context._database
        with database.connection() as connection, connection.transaction():
            rows = database.run(connection, "triggers", "resuming", (now, _AT_ONCE, self._context._code_names()))
            return sum(self._starter.resume(connection, Source.of(row), now) for row in rows)
