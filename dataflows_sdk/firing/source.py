"""What fires, and what begins then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.arguments import check_event_name
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.triggers.keys import run_key

if TYPE_CHECKING:
    from dataflows_sdk.runs import Run


@dataclass(frozen=True, slots=True)
class Trigger(ShownAsTable):
    """One trigger: a node of a saved flow, declared with a workflow's code, or made by hand.

    Attributes:
        node: of a flow; ``trigger``, ``trigger_2``, … of a workflow; its id of one that was made by hand.
        origin: ``flow``, ``code`` or ``hand``.
        target: what begins: ``workflow:<name>`` or ``function:<slug>``.
        token: the end of a webhook's address, ``/webhooks/workflow/<token>``.
        next_at: when a schedule fires next; `last_at`: up to when it has fired.
        resume_at: when firings that found no room under a limit are tried again; None if there are none.
    """

    id: UUID
    flow_id: UUID | None
    node: str
    type: str
    config: Mapping[str, Any]
    token: str | None
    enabled: bool
    next_at: datetime | None
    last_at: datetime | None
    resume_at: datetime | None
    origin: str
    target: str


def trigger_of(row: Sequence[Any]) -> Trigger:
    """A row of the statements that list triggers."""
    (identifier, flow, node, kind, config, token, enabled, next_at, last_at, resume_at, origin, name, function) = row
    target = f"workflow:{name}" if function is None else f"function:{function}"
    times = next_at, last_at, resume_at
    return Trigger(identifier, flow, node, kind, json.loads(config), token, enabled, *times, origin, target)


@dataclass(frozen=True, slots=True)
class Delivery(ShownAsTable):
    """What became of a firing.

    Attributes:
        run: that it began, or that an earlier one like it began.
        created: whether this one began it.
    """

    run: Run
    created: bool
    event_id: str


@dataclass(frozen=True, slots=True)
class Deferred(ShownAsTable):
    """A firing that found no room under a limit, and begins its run later."""

    trigger: UUID
    target: str
    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """A trigger that fires, and the content that is to run.

    Attributes:
        flow, version: of a saved flow, else None.
        name: of the workflow whose runs it begins; of a function that of the flow which calls it.
        function: the slug of the function that it calls.
    """

    trigger: UUID
    type: str
    node: str
    origin: str
    config: Mapping[str, Any]
    flow: UUID | None
    name: str
    version: int | None
    function: str | None
    last_at: datetime | None
    resume_at: datetime | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Source:
        """The first eleven columns of the statements about triggers that fire."""
        trigger, kind, node, origin, config, flow, name, version, function, last_at, resume_at = row[:11]
        called = f"function {function}" if function is not None else name
        content = json.loads(config)
        return cls(trigger, kind, node, origin, content, flow, called, version, function, last_at, resume_at)

    @property
    def scope(self) -> str:
        """What tells the firings of one thing from those of another: triggers of one flow are alternatives."""
        if self.origin == "hand":
            return str(self.trigger)
        return str(self.flow) if self.flow is not None else f"workflow:{self.name}"

    @property
    def schedule_id(self) -> str:
        """What the ids of a schedule's firings begin with."""
        return f"{self.scope}:{self.node}"

    def key(self, event_id: str) -> str:
        """The idempotency key of the run that a firing begins."""
        return run_key(self.scope, event_id)

    def __str__(self) -> str:
        what = f"function {self.function!r}" if self.function is not None else repr(self.name)
        return f"the trigger {self.node!r} of {what}"


_SERVICE = "service/"


def service_topic(service: str, event: str) -> str:
    """The name under which an event of a service is stored.

    Raises:
        DefinitionError: one of them is no name.
    """
    check_event_name(service)
    check_event_name(event)
    if "/" in service:
        raise DefinitionError(f"a service's name has no '/': {service!r}")
    return f"{_SERVICE}{service}/{event}"


def names_of(topic: str) -> tuple[str, str]:
    """The service, or nothing, and the event's own name: the way back from `service_topic`."""
    if not topic.startswith(_SERVICE):
        return "", topic
    service, _, name = topic.removeprefix(_SERVICE).partition("/")
    return service, name
