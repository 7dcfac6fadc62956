"""Triggers: what starts a run. Their configs; how they fire is the business of `dataflows_sdk.triggers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dataflows_sdk.flow import conditions as language
from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.nodes.registry import Config, NodeType, register
from dataflows_sdk.triggers.schedule import check_schedule
from dataflows_sdk.triggers.signatures import check_verification

RecordEvent = Literal["created", "updated", "deleted"]


class RecordTrigger(Config):
    """A record of the warehouse was created, updated or deleted."""

    object: str = Field(min_length=1, description="the table")
    event: RecordEvent | list[RecordEvent] = "created"
    conditions: Any = Field(default=None, description="on the fields of the record; `changed` knows what it was")


class RateLimit(Config):
    """At most so many, in a time."""

    rate: float = Field(gt=0, description="how many")
    per_seconds: float = Field(default=1.0, gt=0, description="in how many seconds")
    burst: int | None = Field(default=None, ge=1, description="how many at once; the rate by default")


class ScheduleTrigger(Config):
    """At certain times."""

    cron: str | None = Field(default=None, description="5 fields, 6 with seconds, or @daily and the like")
    every: str | int | float | None = Field(default=None, description='or an interval: "1h"')
    timezone: str = Field(default="UTC", description="an IANA zone such as Europe/Berlin")
    catchup: Literal["one", "all", "skip"] = Field(default="one", description="what becomes of times that were missed")
    overlap: Literal["allow", "skip", "queue", "cancel_previous"] = Field(
        default="allow", description="what if the run before is still going"
    )
    start: str | None = Field(default=None, description="not before this instant")
    end: str | None = Field(default=None, description="not after this instant")

    @model_validator(mode="after")
    def _one(self) -> ScheduleTrigger:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give cron or every")
        return self


class WebhookTrigger(Config):
    """Somebody calls the flow's address."""

    path: str | None = Field(default=None, description="a readable end of the address, besides its secret token")
    verification_type: Literal[
        "none", "hmac", "token", "basic", "github", "stripe", "slack", "shopify", "nango", "standard"
    ] = "none"
    verification_config: dict[str, Any] = Field(default_factory=dict, description="secret, header, … of that type")
    rate_limit: RateLimit | None = Field(default=None, description="calls beyond it are told to come again")


class ManualTrigger(Config):
    """Somebody starts it, from code or over HTTP."""

    input_schema: dict[str, Any] | bool | None = Field(default=None, description="JSON Schema of the input")


class IntegrationTrigger(Config):
    """Something happened at a connected service."""

    connection_id: str = Field(min_length=1)
    event: str = Field(min_length=1)
    mode: Literal["webhook", "polling"] = "webhook"
    poll_interval_seconds: int | float = Field(default=60, gt=0)
    filter: Any = Field(default=None, description="conditions on the payload")


class EventTrigger(Config):
    """Somebody emits an event: ``ctx.emit("order.paid", {...})``, or ``step.emit`` in another workflow."""

    event: str = Field(
        min_length=1, description="its name, or a pattern: `order.*` is one more word, `order.>` one or more"
    )
    conditions: Any = Field(default=None, description="on its payload")


class ServiceTrigger(Config):
    """A service told that something happened: ``ctx.triggers.receive("shopify", "order.created", {...})``."""

    service: str = Field(min_length=1, description="which one")
    event: str = Field(min_length=1, description="its name for it, or a pattern as for events")
    conditions: Any = Field(default=None, description="on its payload")


def _check_record(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(language.check(config.get("conditions"), "/conditions"))


def _check_integration(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(language.check(config.get("filter"), "/filter"))


def _check_schedule(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return check_schedule({key: value for key, value in config.items() if key in ScheduleTrigger.model_fields})


def _check_webhook(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    kind, settings = config.get("verification_type", "none"), config.get("verification_config") or {}
    return [("/verification_config", message) for message in check_verification(kind, settings)]


def _check_manual(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    schema = config.get("input_schema")
    if schema is None:
        return []
    from dataflows_sdk.triggers.inputs import check_schema  # jsonschema takes its time to be imported

    return [(f"/input_schema{each.pointer}", each.message) for each in check_schema(schema)]


register(
    NodeType(
        NodeKind(
            "trigger_record", "trigger: record", trigger=True, config=RecordTrigger, check=_check_record, standard=True
        ),
        "A record was created, updated or deleted.",
        "trigger",
        example={
            "object": "orders",
            "event": "created",
            "conditions": [{"field": "amount", "op": "gt", "value": 100}],
        },
        output="`{event, object, record, old_record, changed_fields, event_id}`",
    )
)
register(
    NodeType(
        NodeKind(
            "trigger_schedule",
            "trigger: schedule",
            trigger=True,
            config=ScheduleTrigger,
            check=_check_schedule,
            standard=True,
        ),
        "A cron expression or an interval, in a time zone.",
        "trigger",
        example={"cron": "0 9 * * 1-5", "timezone": "America/New_York"},
        output="`{scheduled_at, fired_at}`",
    )
)
register(
    NodeType(
        NodeKind(
            "trigger_webhook",
            "trigger: webhook",
            trigger=True,
            config=WebhookTrigger,
            check=_check_webhook,
            standard=True,
        ),
        "A call of the flow's address, with its signature verified.",
        "trigger",
        example={"verification_type": "github", "verification_config": {"secret": "…"}},
        output="`{body, headers, query, method}`",
    )
)
register(
    NodeType(
        NodeKind(
            "trigger_manual",
            "trigger: manual",
            trigger=True,
            config=ManualTrigger,
            check=_check_manual,
            standard=True,
        ),
        "A start by hand; the input is checked against a JSON Schema.",
        "trigger",
        example={"input_schema": {"type": "object", "required": ["order_id"]}},
        output="the input",
    )
)
register(
    NodeType(
        NodeKind(
            "trigger_integration",
            "trigger: integration",
            trigger=True,
            config=IntegrationTrigger,
            check=_check_integration,
            standard=True,
        ),
        "An event of a connected service.",
        "trigger",
        example={"connection_id": "conn_github", "event": "push"},
        output="the event of the service",
    )
)
register(
    NodeType(
        NodeKind("trigger_event", "trigger: event", trigger=True, config=EventTrigger, check=_check_record),
        "An event of that name was emitted, in code: `ctx.emit`, `step.emit`.",
        "trigger",
        example={"event": "order.paid", "conditions": [{"field": "amount", "op": "gt", "value": 100}]},
        output="the payload of the event",
    )
)
register(
    NodeType(
        NodeKind("trigger_service", "trigger: service", trigger=True, config=ServiceTrigger, check=_check_record),
        "A service told that something happened, by `ctx.triggers.receive`.",
        "trigger",
        example={"service": "shopify", "event": "order.created"},
        output="the payload of the event",
    )
)
