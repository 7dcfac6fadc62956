"""How a firing begins its run, or waits for room under a limit."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.engine.outcome import Reply
from dataflows_sdk.engine.starting import start_run
from dataflows_sdk.errors import DefinitionError, InputError, ValueCodecError
from dataflows_sdk.firing.limits import Limits
from dataflows_sdk.firing.source import Delivery, Source, names_of
from dataflows_sdk.nodes.functions import calling

if TYPE_CHECKING:
    from psycopg import Connection

    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.definitions import Workflow

log = logging.getLogger("dataflows.triggers")

_AT_ONCE = 50


class Starter:
    """Begins the runs of what fires."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.limits = Limits(context._database)
        self._versions: dict[UUID, int] = {}
        self._lock = threading.Lock()

    def begin(self, source: Source, topic: str, event_id: str, payload: Any) -> Delivery:
        """Begin the run of a firing, unless an earlier one did.

        Args:
            topic: what the event is called; see `service_topic`.

        Raises:
            FlowNotFoundError, WorkflowNotFoundError, DefinitionError: it cannot begin.
        """
        if source.flow is not None:
            self._know(source.flow, source.name, source.version)
        target: Any = source.name if source.function is None else calling(source.function)
        service, name = names_of(topic)
        event = Event(payload, name, service, event_id, None, source.node)
        run_id = new_uuid()
        run = self._context.start(target, event, id=run_id, idempotency_key=source.key(event_id))
        return Delivery(run, run._id == run_id, event_id)

    def begin_many(self, source: Source, firings: Sequence[tuple[str, str, Any]]) -> int:
        """Begin the runs of many firings, in their order and in few commits; how many of them are new.

        Those that find no room in this process are queued. One that can never begin is told to the log.

        Args:
            firings: id of the event, its topic, payload.

        Raises:
            FlowNotFoundError, WorkflowNotFoundError, DefinitionError: none of them can begin.
            StoreError: some of them may have begun; the same call again begins the others.
        """
        if source.flow is not None:
            self._know(source.flow, source.name, source.version)
        context = self._context
        definition = context._definition(source.name if source.function is None else calling(source.function))
        asked: list[tuple[UUID, str, Event[Any]]] = []
        for event_id, topic, payload in firings:
            service, name = names_of(topic)
            try:
                event = definition.event(Event(payload, name, service, event_id, None, source.node))
            except (DefinitionError, InputError) as error:
                log.warning("%s cannot begin a run for %s: %s", source, event_id, error)
                continue
            asked.append((new_uuid(), event_id, event))
        return self._start(source, definition, asked) if asked else 0

    def _start(self, source: Source, definition: Workflow, asked: Sequence[tuple[UUID, str, Event[Any]]]) -> int:
        context, answer = self._context, Reply()
        context._be_owner()
        engine = context._engine
        engine.not_from_inside()
        new, left, errors = 0, len(asked), list[BaseException]()

        def told(run: UUID, event_id: str) -> Callable[[Any, BaseException | None], None]:
            def one(started: Any, error: BaseException | None) -> None:
                nonlocal new, left
                left -= 1
                if isinstance(error, ValueCodecError):
                    log.warning("%s cannot begin a run for %s: %s", source, event_id, error)
                elif error is not None:
                    errors.append(error)
                else:
                    new += started[0] == run
                if not left:
                    answer.set(new, errors[0] if errors else None)

            return one

        def begin() -> None:
            room = engine.concurrency - len(engine.live)
            for number, (run, event_id, event) in enumerate(asked):
                key = source.key(event_id)
                start_run(
                    engine,
                    definition,
                    event,
                    told(run, event_id),
                    idempotency_key=key,
                    run_id=run,
                    queued=number >= room,
                )

        engine.submit(begin)
        return int(answer.get())

    def begin_or_defer(
        self, connection: Connection[Any], source: Source, topic: str, event_id: str, payload: Any, now: datetime
    ) -> Delivery | None:
        """Begin the run of a firing if there is room; else note it, and give None.

        Raises:
            see `begin`.
        """
        others_wait = source.resume_at is not None  # they come first
        wait = 0.0 if others_wait else self.limits.take(source, event_id, now)
        if not wait and not others_wait:
            return self.begin(source, topic, event_id, payload)
        encoded = self._context._engine.values.encode(payload, f"payload of {source}")
        run = self._context._database.run
        run(connection, "triggers", "defer", (source.trigger, event_id, topic, encoded.text, now))
        run(connection, "triggers", "resume_at", (source.trigger, now + timedelta(seconds=wait)))
        return None

    def resume(self, connection: Connection[Any], source: Source, now: datetime) -> int:
        """Begin the runs of firings that waited for room, in order, as far as there is some; how many."""
        run, begun = self._context._database.run, 0
        waiting = run(connection, "triggers", "deferred", (source.trigger, _AT_ONCE))
        for event_id, topic, text in waiting:
            wait = self.limits.take(source, event_id, now)
            if wait:
                run(connection, "triggers", "resume_at_last", (source.trigger, now + timedelta(seconds=wait)))
                return begun
            begun += self._begin_or_leave(source, topic, event_id, text)
            run(connection, "triggers", "resumed", (source.trigger, event_id))
        run(connection, "triggers", "resume_at_last", (source.trigger, now if len(waiting) == _AT_ONCE else None))
        return begun

    def _begin_or_leave(self, source: Source, topic: str, event_id: str, text: str) -> bool:
        """Begin the run of a firing, and whether that was new; one that can never begin is told to the log."""
        try:
            payload = self._context._decode(json.loads(text), strict=True)
            return self.begin(source, topic, event_id, payload).created
        except (DefinitionError, InputError, ValueCodecError) as error:
            log.warning("%s cannot begin a run for %s: %s", source, event_id, error)
            return False

    def _know(self, flow: UUID, name: str, version: int | None) -> None:
        with self._lock:
            if self._versions.get(flow) == version and self._context._catalog.get(name) is not None:
                return
            flows = self._context.flows
            saved = flows.get(flow)
            flows.register(saved)
            self._versions[flow] = saved.version
