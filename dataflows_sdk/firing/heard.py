"""Events that were emitted, and the runs which begin for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.core.subjects import is_pattern
from dataflows_sdk.errors import DefinitionError, InputError, ValueCodecError
from dataflows_sdk.firing.source import Delivery, Source, service_topic
from dataflows_sdk.firing.starting import log
from dataflows_sdk.flow.conditions import Facts, holds

if TYPE_CHECKING:
    from psycopg import Connection

    from dataflows_sdk.context import Context
    from dataflows_sdk.firing.starting import Starter

_AT_ONCE = 50
_REMEMBERED = 100_000
_PAGE = 500
_NO_ID = UUID(int=0)


def topic_of(kind: str, config: Mapping[str, Any]) -> str | None:
    """The events that a trigger listens for: a name or a pattern; None where it listens for none."""
    if kind == "trigger_event":
        return str(config["event"])
    if kind == "trigger_service":
        return service_topic(config["service"], config["event"])
    return None


class Ear:
    """Hears what is emitted, and begins runs."""

    def __init__(self, context: Context, starter: Starter) -> None:
        self._context = context
        self._starter = starter
        #: events that this process answered, so that looking back costs nothing
        self._heard: set[tuple[UUID, UUID]] = set()

    def hear(self) -> int:
        """Begin the runs for what was emitted since the last look; how many.

        A trigger remembers a transaction before which it has heard everything: the oldest that was under way when it
        looked. Times would not do, for an event may be committed after one that is younger.
        """
        database, begun = self._context._database, 0
        while True:
            with database.connection() as connection, connection.transaction():
                horizon, restored = database.run(connection, "triggers", "horizon", ())[0]
                if restored:
                    database.run(connection, "triggers", "rebase", ())
                    continue
                rows = database.run(connection, "triggers", "listening", (_AT_ONCE, self._context._code_names()))
                fresh = 0
                for row in rows:
                    fresh += self._catch_up(connection, Source.of(row), *row[11:])
                    database.run(connection, "triggers", "heard", (row[0], horizon))
            begun += fresh
            if len(rows) < _AT_ONCE or not fresh:
                return begun

    def _catch_up(self, connection: Connection[Any], source: Source, topic: str, heard: str) -> int:
        """Answer what one trigger has not heard: how many runs that began."""
        place, begun, run = (heard, _NO_ID), 0, self._context._database.run
        statement = "emitted_like" if is_pattern(topic) else "emitted"
        while emitted := run(connection, "triggers", statement, (topic, *place, _PAGE)):
            for event, name, text, xid in emitted:
                place = xid, event
                if (source.trigger, event) not in self._heard:
                    made = self._answer(connection, source, event, name, partial(self._stored, text))
                    begun += made is not None and made.created
                    self._remember((source.trigger, event))
        return begun

    def _answer(
        self, connection: Connection[Any], source: Source, event: UUID, name: str, load: Callable[[], Any]
    ) -> Delivery | None:
        """Begin the run of an event; one that can never begin must not stand in the way of the others."""
        now = self._context._engine.clock.now()
        try:
            value = load()
            if not _concerns(source, value):
                return None
            return self._starter.begin_or_defer(connection, source, name, f"event:{event}", value, now)
        except (DefinitionError, InputError, ValueCodecError) as error:
            log.warning("%s cannot begin a run for event %s: %s", source, event, error)
            return None

    def _stored(self, text: str) -> Any:
        return self._context._decode(json.loads(text), strict=True)

    def _remember(self, heard: tuple[UUID, UUID]) -> None:
        if len(self._heard) > _REMEMBERED:
            self._heard.clear()  # the key of the run makes it happen once in any case
        self._heard.add(heard)

    # --- told by a caller who wants to know the runs -----------------------------------------------------

    def receive(self, service: str, event: str, payload: Any, delivery: str | None) -> list[Delivery]:
        """Store an event of a service, and begin the runs for it."""
        return self.tell(service_topic(service, event), payload, delivery)

    def tell(self, name: str, payload: Any, delivery: str | None) -> list[Delivery]:
        """Emit an event, and begin the runs for it at once."""
        context = self._context
        if is_pattern(name):
            raise DefinitionError(f"{name!r} is a pattern; what happens has one name")
        event = new_uuid() if delivery is None else _id_of(name, delivery)
        context.emit(name, payload, id=event)
        found: list[Delivery] = []
        database = context._database
        with database.connection() as connection, connection.transaction():
            for row in database.run(connection, "triggers", "concerned", (name, context._code_names())):
                source = Source.of(row)
                made = self._answer(connection, source, event, name, lambda: payload)
                if made is not None:
                    found.append(made)
                self._remember((source.trigger, event))
        return found


def _concerns(source: Source, value: Any) -> bool:
    base = value if isinstance(value, Mapping) else {"payload": value}
    return holds(source.config.get("conditions"), Facts({"payload": value}, base))


def _id_of(name: str, delivery: str) -> UUID:
    """The id of an event, made of the one that its sender gave it."""
    if not isinstance(delivery, str) or not delivery:
        raise DefinitionError(f"the id of a delivery is a text, not {delivery!r}")
    return UUID(bytes=hashlib.sha256(f"{name}\n{delivery}".encode(errors="surrogatepass")).digest()[:16], version=4)
