"""What starts a run, as a value: ``@df.workflow("nightly", trigger=df.on_schedule("0 9 * * *"))``.

The functions take what the methods of the same names of a flow take, and mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.builder import Flow, flow
from dataflows_sdk.flow.verbs_data import Conditions

_WORD = re.compile(r"on(_[a-z0-9]+)+")


@dataclass(frozen=True, slots=True)
class TriggerSpec(ShownAsTable):
    """What starts a run: the type and the config of the trigger node that means the same."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.config.items())
        return f"{self.type.replace('trigger_', 'on_')}({told})"


def on_schedule(cron: str | None = None, *, every: Any = None, tz: str | None = None, **config: Any) -> TriggerSpec:
    """At certain times: ``"0 9 * * 1-5"`` in a zone, or ``every="1h"``.

    Raises:
        FlowValidationError: such a time cannot be.
    """
    return _made(flow("trigger").on_schedule(cron, every=every, tz=tz, **config))


def on_webhook(verify: str | None = None, **config: Any) -> TriggerSpec:
    """When an address is called; ``verify="github", secret="…"`` checks the signature.

    `Triggers.of` shows the address.

    Raises:
        FlowValidationError: there is no such verification, or it lacks something.
    """
    return _made(flow("trigger").on_webhook(verify, **config))


def on_event(event: str, *, where: Conditions | None = None) -> TriggerSpec:
    """When an event is emitted whose name is *event*, or one of the pattern ``order.*`` or ``order.>``.

    Raises:
        FlowValidationError: the conditions cannot be read.
    """
    return _made(flow("trigger").on_event(event, where=where))


def on_record(object: str, event: str | Sequence[str] = "created", *, where: Conditions | None = None) -> TriggerSpec:
    """When a row of a table of the warehouse is ``"created"``, ``"updated"`` or ``"deleted"``, or several of these.

    Args:
        where: conditions on its fields: ``[("amount", "gt", 100)]``, ``[("status", "changed")]``.

    Raises:
        FlowValidationError: there is no such event, or the conditions cannot be read.
    """
    return _made(flow("trigger").on_record(object, event, where=where))


def on_service(service: str, event: str, *, where: Conditions | None = None) -> TriggerSpec:
    """When a service tells that something happened; `Triggers.receive` is how it gets to know.

    Raises:
        FlowValidationError: the conditions cannot be read.
    """
    return _made(flow("trigger").on_service(service, event, where=where))


def on_manual(schema: Mapping[str, Any] | None = None) -> TriggerSpec:
    """By hand, with an input that fits a JSON Schema.

    Raises:
        FlowValidationError: the schema is none.
    """
    return _made(flow("trigger").on_manual(schema))


def trigger_specs(given: Any, owner: str) -> tuple[TriggerSpec, ...]:
    """What was given as ``trigger=``: one, several in a list, or an object with ``type`` and ``config``.

    Raises:
        DefinitionError: it is none.
        FlowValidationError: it makes no sense.
    """
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
    found = []
    for each in several:
        if isinstance(each, TriggerSpec):
            found.append(each)
            continue
        if isinstance(each, str) or (not isinstance(each, Mapping) and not hasattr(each, "type")):
            raise DefinitionError(
                f"{owner}: trigger={each!r} is none; write trigger=df.on_schedule(every='1h'), df.on_event('paid'), "
                "df.on_webhook('github', secret='…'), df.on_service('shopify', 'order.created') or a list of them"
            )
        found.append(_made(flow("trigger").on(each)))
    return tuple(found)


class Service:
    """A service that tells when something happened, by its name.

    ``azure = df.Service("azure")`` gives triggers: ``azure.on("work_item.created")``, and by names of the form
    ``on_<object>_<verb>`` the same: ``azure.on_work_item_created()``.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name.strip():
            raise DefinitionError(f"a service has a name such as 'github', not {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"Service({self.name!r})"

    def on(self, event: str, *, where: Conditions | None = None) -> TriggerSpec:
        """When this happens."""
        return on_service(self.name, event, where=where)

    def __getattr__(self, name: str) -> Callable[..., TriggerSpec]:
        if not _WORD.fullmatch(name) or name.count("_") < 2:
            raise AttributeError(f"{self!r} has no attribute {name!r}; triggers are on_<object>_<verb>")
        thing, _, verb = name.removeprefix("on_").rpartition("_")

        def trigger(*, where: Conditions | None = None) -> TriggerSpec:
            return self.on(f"{thing}.{verb}", where=where)

        trigger.__name__ = name
        return trigger


def _made(flow: Flow) -> TriggerSpec:
    (node,) = flow.check().spec.triggers
    return TriggerSpec(node.type, dict(node.config))
