"""What a context offers of triggers: ``ctx.triggers``."""

from __future__ import annotations

import builtins
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.errors import (
    DefinitionError,
    FlowNotFoundError,
    NodeUnavailableError,
    TriggerNotFoundError,
    WorkflowNotFoundError,
)
from dataflows_sdk.firing.code import Declared
from dataflows_sdk.firing.heard import Ear, topic_of
from dataflows_sdk.firing.limits import RateLimit
from dataflows_sdk.firing.rows import RowEar, object_of
from dataflows_sdk.firing.source import Deferred, Delivery, Source, Trigger, trigger_of
from dataflows_sdk.firing.starting import Starter
from dataflows_sdk.firing.times import Clockwork, schedule_of
from dataflows_sdk.firing.webhooks import Gate
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.flow.sources import TriggerSpec, on_event, on_record, on_schedule, on_service
from dataflows_sdk.triggers.schedule import Firing

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.definitions import Workflow
    from dataflows_sdk.flows import SavedFlow

log = logging.getLogger("dataflows.triggers")

_TOKEN_BYTES = 32
_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_SCHEDULE, _WEBHOOK, _MANUAL = "trigger_schedule", "trigger_webhook", "trigger_manual"
#: sources of events that belong to parts to come
_TO_COME = {"auth": "logins", "storage": "a store of documents"}
_RECORD = ("created", "updated", "deleted")


class Triggers(ShownAsTable):
    """The triggers of a database: of active flows, of workflows in code, and those made by hand."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starter = Starter(context)
        self._clockwork = Clockwork(context, self._starter)
        self._ear = Ear(context, self._starter)
        self._rows = RowEar(context, self._starter)
        self._gate = Gate(context, self._starter)
        self._declared = Declared(context, self._put_code)
        self._seen = _LONG_AGO

    # --- looking -----------------------------------------------------------------------------------------

    def of(self, flow: SavedFlow | Workflow | str | UUID) -> builtins.list[Trigger]:
        """The triggers of a flow, or of a workflow in code."""
        self.declare()
        if self._is_code(flow):
            return self._list(workflow=str(getattr(flow, "name", flow)))
        return self._list(flow=self._context.flows.get(flow).id)  # type: ignore[arg-type]

    def list(self) -> builtins.list[Trigger]:
        """All triggers."""
        self.declare()
        return self._list()

    def get(self, trigger: Trigger | str | UUID) -> Trigger:
        """A trigger by its id, as it stands now.

        Raises:
            TriggerNotFoundError: there is none.
        """
        identifier = trigger.id if isinstance(trigger, Trigger) else parse_id(trigger)
        found = self._list(trigger=identifier)
        if not found:
            raise TriggerNotFoundError(f"there is no trigger {identifier}; ctx.triggers.list() lists those that exist")
        return found[0]

    def _list(
        self, *, flow: UUID | None = None, workflow: str | None = None, trigger: UUID | None = None
    ) -> builtins.list[Trigger]:
        rows = self._context._read("triggers", "list", (flow, workflow, trigger))
        return Listing([trigger_of(row) for row in rows])

    def preview(
        self, flow: SavedFlow | Workflow | TriggerSpec | str | UUID | Flow, n: int = 5
    ) -> builtins.list[Firing]:
        """When schedules fire next, with the local time and what is special about it.

        Args:
            flow: whose schedules; or one schedule, as `on_schedule` gives it.
            n: how many firings.
        """
        now = self._context._engine.clock.now()
        found = [
            firing
            for kind, config in self._configs(flow)
            if kind == _SCHEDULE
            for firing in schedule_of(config).preview(n, now)
        ]
        return sorted(found)[:n]

    def _configs(self, flow: Any) -> builtins.list[tuple[str, Mapping[str, Any]]]:
        if isinstance(flow, TriggerSpec):
            return [(flow.type, flow.config)]
        if isinstance(flow, Flow):
            return [(node.type, node.config) for node in flow.spec.triggers]
        return [(each.type, each.config) for each in self._standing(flow)]

    def _standing(self, flow: Any) -> builtins.list[Source]:
        """The triggers that a flow or workflow has by its content, on or off."""
        if self._is_code(flow):
            workflow = self._context._engine.resolve(flow)
            specs = workflow.triggers
            nodes = [(name, each.type, each.config) for name, each in zip(names(len(specs)), specs, strict=True)]
            standing: tuple[UUID | None, str, int | None] = None, workflow.name, None
        else:
            saved = self._context.flows.get(flow)
            nodes = [(node.id, node.type, node.config) for node in saved.flow().spec.triggers]
            standing = saved.id, saved.name, saved.version
        origin = "code" if standing[0] is None else "flow"
        none = UUID(int=0)
        return [Source(none, kind, name, origin, config, *standing, None, None, None) for name, kind, config in nodes]

    def _is_code(self, flow: Any) -> bool:
        if hasattr(flow, "fn"):
            return True
        known = self._context._catalog.get(flow) if isinstance(flow, str) else None
        return known is not None and known.kind == "code"

    # --- standing ----------------------------------------------------------------------------------------

    def sync(self, saved: SavedFlow) -> None:
        """Make the triggers of a flow what its status and its newest content say."""
        nodes = saved.flow().spec.triggers if saved.status == "active" else ()
        self._put(saved.id, None, [(node.id, node.type, node.config) for node in nodes])

    def forget(self, saved: SavedFlow) -> None:
        """Turn off what a deleted flow had, and drop its firings that wait for room."""
        self._put(saved.id, None, [])
        self._context._read("triggers", "forget_deferred", (saved.id,))

    def _put_code(self, workflow: str, specs: tuple[TriggerSpec, ...]) -> None:
        nodes = zip(names(len(specs)), specs, strict=True)
        self._put(None, workflow, [(node, spec.type, spec.config) for node, spec in nodes])

    def _put(
        self, flow: UUID | None, workflow: str | None, nodes: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> None:
        """These are the triggers of a flow, or of a workflow in code, and no others."""
        read, now = self._context._read, self._context._engine.clock.now()
        for node, kind, config in nodes:
            read("triggers", "put", (new_uuid(), flow, workflow, node, *self._row(kind, config, now)))
        read("triggers", "turn_off", (flow, workflow, [node for node, *_ in nodes]))

    @staticmethod
    def _row(kind: str, config: Mapping[str, Any], now: datetime) -> tuple[Any, ...]:
        """Type, config, token, next time, now, topic, table."""
        token = secrets.token_urlsafe(_TOKEN_BYTES) if kind == _WEBHOOK else None
        following = schedule_of(config).next_after(now) if kind == _SCHEDULE else None
        about = json.dumps(config, sort_keys=True), token, following, now
        return kind, *about, topic_of(kind, config), object_of(kind, config)

    # --- by hand -----------------------------------------------------------------------------------------

    def create(
        self, event: str | TriggerSpec, target: Any, *, where: Any = None, enabled: bool = True, source: str = "custom"
    ) -> Trigger:
        """Let something that happens begin a workflow or call a function.

        Args:
            event: what happens: `on_schedule`, `on_event`, `on_record`, `on_webhook` or `on_service` with their
                arguments, or a text: ``"custom:order.paid"``, ``"cron:0 9 * * *"``,
                ``"service:shopify/order.created"``, ``"record:orders.created"`` (``cdc:`` is the same; without an event
                any of the three).
            target: ``"workflow:<name>"``, ``"function:<slug>"``, or a workflow or saved flow.
            where: conditions on the payload, or on the record.
            enabled: whether it is on.
            source: of a text without one: ``custom``, ``cron``, ``service`` or ``record``.

        Raises:
            DefinitionError: the event or the target cannot be read.
            NodeUnavailableError: events of this source belong to a part that this version does not have.
            WorkflowNotFoundError, NonRetryableError: there is no such workflow, or no such function.
        """
        spec = event if isinstance(event, TriggerSpec) else _event(event, source, where)
        if isinstance(event, TriggerSpec) and where is not None:
            raise DefinitionError("where= goes with the event: df.on_event('order.paid', where=…)")
        if spec.type == _MANUAL:
            raise DefinitionError("a start by hand needs no trigger: ctx.start(workflow, payload)")
        now, identifier = self._context._engine.clock.now(), new_uuid()
        kind, config, token, following, *rest = self._row(spec.type, spec.config, now)
        about = (kind, config, token, following if enabled else None, *rest, enabled)
        self._context._read("triggers", "create", (identifier, *self._target(target), *about))
        return self.get(identifier)

    def _target(self, target: Any) -> tuple[UUID | None, str | None, str | None]:
        """Flow, workflow, function: one of them."""
        context = self._context
        kind, separator, name = target.partition(":") if isinstance(target, str) else ("workflow", ":", target)
        if not separator or kind not in ("workflow", "function"):
            raise DefinitionError(
                f"target={target!r}: write 'workflow:<name>' or 'function:<slug>', or give a workflow or a saved flow"
            )
        if kind == "function":
            registered = context._engine.services.functions.is_callable(name)
            if not registered:
                context.functions.versions(name)
            return None, None, name
        if self._is_code(name):
            return None, context._definition(name).name, None
        if isinstance(name, Flow):
            raise DefinitionError(f"flow {name.name!r} is not saved; ctx.flows.save(flow).activate() keeps it")
        try:
            return context.flows.get(name).id, None, None
        except FlowNotFoundError:
            raise WorkflowNotFoundError(
                f"there is no workflow {name!r}: no saved flow has that name, and this process has no code of it"
            ) from None

    def enable(self, trigger: Trigger | str | UUID) -> Trigger:
        """Turn a trigger on that was made by hand; what it missed is not caught up."""
        return self._switch(trigger, True)

    def disable(self, trigger: Trigger | str | UUID) -> Trigger:
        """Turn a trigger off that was made by hand."""
        return self._switch(trigger, False)

    def _switch(self, trigger: Trigger | str | UUID, enabled: bool) -> Trigger:
        known = self.get(trigger)
        now = self._context._engine.clock.now()
        on = enabled and known.type == _SCHEDULE
        following = (known.next_at or schedule_of(known.config).next_after(now)) if on else None
        if not self._context._read("triggers", "switch", (known.id, enabled, following, now)):
            raise DefinitionError(_not_by_hand(known))
        return self.get(known.id)

    def delete(self, trigger: Trigger | str | UUID) -> None:
        """Remove a trigger that was made by hand, with its firings that wait for room."""
        known = self.get(trigger)
        if not self._context._read("triggers", "delete", (known.id,)):
            raise DefinitionError(_not_by_hand(known))

    # --- limits ------------------------------------------------------------------------------------------

    def limit(
        self, rate: float, per_seconds: float = 60.0, *, burst: int | None = None, workflow: str | None = None
    ) -> None:
        """Let triggers begin at most `rate` runs in `per_seconds`: of one workflow, or of all together.

        What finds no room begins later, in order; callers of webhooks are told to come again. Starts by hand, and
        backfills, are not limited. ``unlimit`` removes it.

        Raises:
            DefinitionError: the numbers make no sense.
        """
        self._starter.limits.set(workflow, rate, per_seconds, burst)

    def unlimit(self, workflow: str | None = None) -> bool:
        """Remove the limit of a workflow, or that for all; whether there was one."""
        return self._starter.limits.remove(workflow)

    def limits(self) -> builtins.list[RateLimit]:
        """The limits that are set."""
        return self._starter.limits.list()

    def deferred(self, limit: int = 1_000) -> builtins.list[Deferred]:
        """Firings that wait for room, the oldest first."""
        rows = self._context._read("triggers", "all_deferred", (limit,))
        return Listing(
            Deferred(trigger, f"workflow:{name}" if slug is None else f"function:{slug}", event, at)
            for trigger, name, slug, event, at in rows
        )

    # --- at work -----------------------------------------------------------------------------------------

    def tick(self, now: datetime | None = None) -> int:
        """Fire what is due, and begin what waited for room; how many runs that began.

        The background does this every second.
        """
        self.declare()
        moment = now if now is not None else self._context._engine.clock.now()
        begun = self._clockwork.resume(moment) + self._clockwork.tick(moment)
        return begun + (self._rows.hear(moment) if self._rows.is_due() else 0)

    def backfill(
        self, flow: SavedFlow | Workflow | str | UUID, start: datetime, end: datetime, *, limit: int = 1_000
    ) -> builtins.list[Delivery]:
        """Run a flow for the times of its schedules between two instants; what ran already begins nothing."""
        return self._clockwork.backfill(self._standing(flow), start, end, limit)

    def hear(self) -> int:
        """Begin the runs of what listens for events that were emitted, or for rows that were written; how many.

        The background does this too.
        """
        self.declare()
        return self._ear.hear() + self._rows.hear()

    def hear_rows(self) -> int:
        """The half of `hear` that is about rows, if there is something new."""
        return self._rows.hear() if self._rows.is_due() else 0

    def receive(
        self, service: str, event: str, payload: Any = None, *, id: str | None = None
    ) -> builtins.list[Delivery]:
        """A service told that something happened: begin the runs of everything that listens for it.

        The event is in the database before this returns; who dies in between loses nothing. Runs may wait for it too:
        ``step.wait_for_event("service/<service>/<event>")``.

        Args:
            id: of the delivery, by the service; the same one again begins nothing.

        Returns:
            the runs that listen, begun now or by an earlier delivery; without those that wait for room under a limit.

        Raises:
            DefinitionError: a name cannot be.
            NotSerializableError: the payload cannot be stored.
        """
        self.declare()
        return self._ear.receive(service, event, payload, id)

    def fire(self, trigger: TriggerSpec, payload: Any = None, *, id: str | None = None) -> builtins.list[Delivery]:
        """Let something happen, as a test would: ``ctx.triggers.fire(azure.on_work_item_created(), {"id": 7})``.

        Raises:
            DefinitionError: schedules fire by themselves, webhooks are called by `deliver`.
        """
        self.declare()
        topic = topic_of(trigger.type, trigger.config) if isinstance(trigger, TriggerSpec) else None
        if topic is None:
            raise DefinitionError(
                f"{trigger!r} cannot be fired: events of on_event() and on_service() can; a schedule fires by itself "
                "(ctx.triggers.tick(now)), a webhook is called (ctx.triggers.deliver(token, …))"
            )
        return self._ear.tell(topic, payload, id)

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
            WebhookNotFoundError: nothing that is active has that token (404).
            WebhookRefusedError: the signature is wrong (401).
            WebhookBodyError: the body is not what it says it is, or too large (400, 413).
            RateLimitedError: too many at once; `.retry_after` seconds (429).
        """
        return self._gate.deliver(token, headers, body, method, query)

    # --- in the background -------------------------------------------------------------------------------

    def declare(self) -> None:
        """Bring into the database what the workflows of this process declare as their triggers."""
        self._declared.look()

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

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "triggers")


def names(count: int) -> builtins.list[str]:
    """What the triggers of a workflow in code are called: as a flow's, where nobody gives them names."""
    return ["trigger", *(f"trigger_{number}" for number in range(2, count + 1))][:count]


def _event(text: str, source: str, where: Any) -> TriggerSpec:
    if not isinstance(text, str) or not text:
        raise DefinitionError(f"event={text!r}: write 'custom:order.paid', or df.on_event('order.paid')")
    head, separator, rest = text.partition(":")
    known = ("custom", "cron", "service", "record", "cdc", *_TO_COME)
    kind, name = (head, rest) if separator and head in known else (source, text)
    if kind in _TO_COME:
        raise NodeUnavailableError(
            f"events of the source {kind!r} need {_TO_COME[kind]}, which this version does not have yet"
        )
    if kind == "custom":
        return on_event(name, where=where)
    if kind == "cron":
        if where is not None:
            raise DefinitionError("a schedule has no payload that where= could be about")
        return on_schedule(name)
    if kind == "service":
        service, slash, event = name.partition("/")
        if slash:
            return on_service(service, event, where=where)
        raise DefinitionError(f"event={text!r}: write 'service:<service>/<event>'")
    if kind in ("record", "cdc"):
        table, dot, event = name.rpartition(".")
        if dot and event in _RECORD:
            return on_record(table, event, where=where)
        return on_record(name, _RECORD, where=where)
    raise DefinitionError(f"source={kind!r}: there are {', '.join(known)}")


def _not_by_hand(trigger: Trigger) -> str:
    where = f"flow {trigger.target.partition(':')[2]!r}" if trigger.origin == "flow" else "its workflow's code"
    return f"trigger {trigger.node!r} belongs to {where}; change it there, or pause the flow"
