"""Triggers at work: schedules that fire, addresses that are called. ``ctx.triggers``.

Every firing has an id that is the same in every process, and the run's idempotency key is made of it, so that a due
time or a delivery begins one run however many processes look after it, and however often it is delivered.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.errors import (
    DataflowsError,
    DefinitionError,
    RateLimitedError,
    WebhookBodyError,
    WebhookNotFoundError,
    WebhookRefusedError,
)
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.flow.conditions import Facts, holds
from dataflows_sdk.triggers.deliveries import parse_body, read_headers, safe_headers
from dataflows_sdk.triggers.keys import run_key
from dataflows_sdk.triggers.limits import Bucket
from dataflows_sdk.triggers.schedule import Firing, Schedule, backfill, decide_overlap, due, firing_id
from dataflows_sdk.triggers.signatures import secret_headers, verify

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.flows import SavedFlow
    from dataflows_sdk.runs import Run

log = logging.getLogger("dataflows.triggers")

_AT_ONCE = 50
_LONGEST_BODY = 1024 * 1024
_TOKEN_BYTES = 32
_LOOK_BACK = timedelta(seconds=10)
_REMEMBERED = 100_000
_PAGE = 500
_NO_ID = UUID(int=0)
_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger node of a saved flow.

    Attributes:
        token: the end of a webhook's address, ``/webhooks/workflow/<token>``.
        next_at: when a schedule fires next; `last_at`: up to when it has fired.
    """

    id: UUID
    flow_id: UUID
    node: str
    type: str
    config: Mapping[str, Any]
    token: str | None
    enabled: bool
    next_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a run comes from: a trigger node of a flow, and the version that is to run."""

    flow: UUID
    name: str
    version: int
    node: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a call: the run, and whether this call began it."""

    run: Run
    created: bool
    event_id: str


class Triggers:
    """The triggers of a database's active flows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._versions: dict[UUID, int] = {}
        self._seen = _LONG_AGO
        self._lock = threading.Lock()
        #: events that this process answered, so that looking back costs nothing
        self._heard: set[tuple[UUID, UUID]] = set()

    # --- looking -----------------------------------------------------------------------------------------

    def of(self, flow: SavedFlow | str | UUID) -> list[Trigger]:
        """The triggers of a flow."""
        saved = self._context.flows.get(flow)
        rows = self._context._read("triggers", "of_flow", (saved.id,))
        return [Trigger(row[0], row[1], row[2], row[3], json.loads(row[4]), *row[5:9]) for row in rows]

    def preview(self, flow: SavedFlow | str | UUID | Flow, n: int = 5) -> list[Firing]:
        """When the schedules of a flow fire next, with the local time and what is special about it."""
        content = flow if isinstance(flow, Flow) else self._context.flows.get(flow).flow()
        now = self._context._engine.clock.now()
        found = [
            firing
            for node in content.spec.triggers
            if node.type == _SCHEDULE
            for firing in _schedule(node.config).preview(n, now)
        ]
        return sorted(found)[:n]

    # --- standing ----------------------------------------------------------------------------------------

    def sync(self, saved: SavedFlow) -> None:
        """Make the triggers of a flow what its status and its newest content say."""
        context = self._context
        if saved.status != "active":
            context._read("triggers", "turn_off", (saved.id, []))
            return
        now = context._engine.clock.now()
        nodes = saved.flow().spec.triggers
        for node in nodes:
            token = secrets.token_urlsafe(_TOKEN_BYTES) if node.type == _WEBHOOK else None
            following = _schedule(node.config).next_after(now) if node.type == _SCHEDULE else None
            text = json.dumps(node.config, sort_keys=True)
            context._read("triggers", "put", (new_uuid(), saved.id, node.id, node.type, text, token, following, now))
        context._read("triggers", "turn_off", (saved.id, [node.id for node in nodes]))

    # --- schedules ---------------------------------------------------------------------------------------

    def tick(self, now: datetime | None = None) -> int:
        """Fire what is due; how many runs that began. The background does this every second."""
        context = self._context
        moment = now if now is not None else context._engine.clock.now()
        begun = 0
        database = context._database
        with database.connection() as connection, connection.transaction():
            rows = database.run(connection, "triggers", "due", (moment, _AT_ONCE))
            for trigger, flow, node, text, last_at, name, version in rows:
                source = _Source(flow, name, version, node)
                try:
                    count, cursor, again = self._fire(source, json.loads(text), last_at or moment, moment)
                except DataflowsError as error:
                    log.warning("the schedule of flow %r (node %r) could not fire: %s", name, node, error)
                    count, cursor, again = 0, last_at, moment + timedelta(minutes=1)
                begun += count
                database.run(connection, "triggers", "fired", (trigger, cursor, again))
        return begun

    def hear(self) -> int:
        """Begin the runs of flows that listen for events which were emitted; how many. The background does this too."""
        context = self._context
        begun = 0
        database = context._database
        with database.connection() as connection, connection.transaction():
            for trigger, flow, node, text, last_at, since, name, version in database.run(
                connection, "triggers", "listening", (_AT_ONCE,)
            ):
                config, source = json.loads(text), _Source(flow, name, version, node)
                # One that was emitted a moment earlier may be committed a moment later: look back a little.
                place = max(since, last_at - _LOOK_BACK), _NO_ID
                cursor = last_at
                while emitted := database.run(connection, "triggers", "emitted", (config["event"], *place, _PAGE)):
                    for event, payload, at in emitted:
                        place, cursor = (at, event), max(cursor, at)
                        if (trigger, event) not in self._heard:
                            begun += self._answer(source, config, event, payload)
                            self._remember((trigger, event))
                database.run(connection, "triggers", "fired", (trigger, cursor, None))
        return begun

    def _answer(self, source: _Source, config: Mapping[str, Any], event: UUID, payload: str) -> int:
        value = self._context._decode(json.loads(payload), strict=True)
        base = value if isinstance(value, Mapping) else {"payload": value}
        if not holds(config.get("conditions"), Facts({"payload": value}, base)):
            return 0
        return int(self._start(source, config["event"], f"event:{event}", value).created)

    def _remember(self, heard: tuple[UUID, UUID]) -> None:
        if len(self._heard) > _REMEMBERED:
            self._heard.clear()  # the key of the run makes it happen once in any case
        self._heard.add(heard)

    def _fire(
        self, source: _Source, config: Mapping[str, Any], last_at: datetime, now: datetime
    ) -> tuple[int, datetime, datetime | None]:
        """Fire what a schedule owes: how many runs, up to when it has fired, and when to look again."""
        schedule = _schedule(config)
        name, node = source.name, source.node
        owed = due(schedule, last_at, now)
        if owed.skipped:
            log.warning("the schedule of flow %r (node %r) passed over %d firings", name, node, owed.skipped)
        begun = 0
        cursor = last_at
        for at in owed.firings:
            policy = config.get("overlap", "allow")
            going = (
                [row[0] for row in self._context._read("triggers", "unfinished", (name, node))]
                if policy != "allow"
                else []
            )
            decision = decide_overlap(policy, len(going))
            if decision == "queue":
                return begun, cursor, now + timedelta(seconds=1)
            if decision == "cancel_then_start":
                for run in going:
                    self._context.cancel(run, f"the schedule of {name!r} fired again")
            if decision != "skip":
                identifier = firing_id(f"{source.flow}:{node}", at)
                payload = {"scheduled_at": at.isoformat(), "fired_at": now.isoformat()}
                begun += self._start(source, "schedule", identifier, payload).created
            cursor = at
        return begun, owed.cursor, now if owed.more else schedule.next_after(max(now, owed.cursor))

    def backfill(
        self, flow: SavedFlow | str | UUID, start: datetime, end: datetime, *, limit: int = 1_000
    ) -> list[Delivery]:
        """Run a flow for the times of its schedules between two instants; what ran already begins nothing."""
        saved = self._context.flows.get(flow)
        found: list[Delivery] = []
        for node in saved.flow().spec.triggers:
            if node.type != _SCHEDULE:
                continue
            source = _Source(saved.id, saved.name, saved.version, node.id)
            trigger = f"{saved.id}:{node.id}"
            for planned in backfill(_schedule(node.config), start, end, limit, trigger_id=trigger):
                payload = {"scheduled_at": planned.at.isoformat(), "fired_at": None}
                found.append(self._start(source, "schedule", planned.id, payload))
        return found

    # --- webhooks ----------------------------------------------------------------------------------------

    def deliver(
        self,
        token: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        method: str = "POST",
        query: Mapping[str, Any] | None = None,
    ) -> Delivery:
        """Somebody called the address of a webhook: verify, and begin a run. For the server that listens there.

        Raises:
            WebhookNotFoundError: no active flow has that token (404).
            WebhookRefusedError: the signature is wrong (401).
            WebhookBodyError: the body is not what it says it is, or too large (400, 413).
            RateLimitedError: too many at once; `.retry_after` seconds (429).
        """
        rows = self._context._read("triggers", "by_token", (token,)) if isinstance(token, str) and token else []
        if not rows or rows[0][6] != "active":
            raise WebhookNotFoundError("there is no webhook of that token, or its flow is not active")
        trigger, flow, node, _type, text, name, _status, version = rows[0]
        config = json.loads(text)
        if len(body) > _LONGEST_BODY:
            raise WebhookBodyError(f"the body has {len(body)} bytes, more than {_LONGEST_BODY}")
        kind, settings = config.get("verification_type", "none"), config.get("verification_config") or {}
        now = self._context._engine.clock.now()
        verdict = verify(kind, settings, headers, body, now)
        if not verdict.ok:
            log.warning("a call of the webhook of flow %r was refused: %s", name, verdict.reason)
            raise WebhookRefusedError(verdict.reason)
        known = read_headers(headers)
        parsed = parse_body(next(iter(known.get("content-type", ())), None), body)
        if parsed.problem is not None:
            raise WebhookBodyError(parsed.problem)
        self._limit(trigger, config, now, name)
        payload = {
            "body": parsed.value,
            "headers": safe_headers(headers, secret_headers(kind, settings)),
            "query": dict(query or {}),
            "method": method,
        }
        source = _Source(flow, name, version, node)
        return self._start(source, "webhook", f"{trigger}:{verdict.delivery_id}", payload)

    def _limit(self, trigger: UUID, config: Mapping[str, Any], now: datetime, name: str) -> None:
        given = config.get("rate_limit")
        if not given:
            return
        bucket = Bucket(given["rate"], given.get("per_seconds", 1.0), given.get("burst"))
        database = self._context._database
        with database.connection() as connection, connection.transaction():
            (stored,) = database.run(connection, "triggers", "bucket", (trigger,))[0]
            taken = bucket.take(None if stored is None else json.loads(stored), now)
            database.run(connection, "triggers", "set_bucket", (trigger, json.dumps(taken.state)))
        if not taken.allowed:
            raise RateLimitedError(
                f"flow {name!r} takes no more calls for {taken.retry_after:.1f} s", taken.retry_after
            )

    def _start(self, source: _Source, kind: str, identifier: str, payload: Any) -> Delivery:
        self._know(source)
        event = Event(payload, kind, "", identifier, None, source.node)
        run_id = new_uuid()
        key = run_key(str(source.flow), identifier)
        run = self._context.start(source.name, event, id=run_id, idempotency_key=key)
        return Delivery(run, run._id == run_id, identifier)

    def _know(self, source: _Source) -> None:
        with self._lock:
            known = self._versions.get(source.flow) == source.version
            if known and self._context._catalog.get(source.name) is not None:
                return
            self._context.flows.register(self._context.flows.get(source.flow))
            self._versions[source.flow] = source.version

    # --- in the background -------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Learn the flows that were saved since the last look, so that this process takes on their runs; how many."""
        rows = self._context._read("flows", "runnable", (self._seen,))
        for name, document, updated_at in rows:
            try:
                flow = Flow.from_json(json.loads(document), name=name)
                if flow.portable:
                    self._context._catalog_take(flow)
            except DefinitionError as error:
                log.warning("the saved flow %r cannot be read by this version: %s", name, error)
            self._seen = max(self._seen, updated_at)
        return len(rows)


_SCHEDULE, _WEBHOOK = "trigger_schedule", "trigger_webhook"


def _schedule(config: Mapping[str, Any]) -> Schedule:
    return Schedule.from_config({key: config[key] for key in _FIELDS if config.get(key) is not None})


_FIELDS = ("cron", "every", "timezone", "catchup", "overlap", "start", "end")
