"""Records, integrations and notifications."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from dataflows_sdk.errors import NodeUnavailableError
from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.nodes.notify import Notification
from dataflows_sdk.nodes.registry import Call, Config, NodeType, Text, register


class RecordAction(Config):
    """Create, update, upsert or delete a record of the warehouse."""

    object: str = Field(min_length=1, description="the table")
    operation: Literal["create", "update", "upsert", "delete"]
    data: dict[str, Any] | None = None
    id: Any = Field(default=None, description="the record's key")
    where: dict[str, Any] | list[dict[str, Any]] | None = Field(default=None, description="or conditions on records")

    @model_validator(mode="after")
    def _aimed(self) -> RecordAction:
        if self.operation in ("update", "delete") and self.id is None and not self.where:
            raise ValueError(f"{self.operation} needs an id or a where: without one it would hit every record")
        if self.operation != "delete" and self.data is None:
            raise ValueError(f"{self.operation} needs data")
        return self


class IntegrationAction(Config):
    """An action of a connected service."""

    connection_id: str = Field(min_length=1)
    action_key: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


class NotificationAction(Config):
    """Tell whoever is listening."""

    channel: Text | None = None
    user_id: Text | None = None
    title: Text = Field(default="")
    message: Text = Field(default="")
    data: Any = None
    level: Literal["info", "success", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _aimed(self) -> NotificationAction:
        if self.channel is None and self.user_id is None:
            raise ValueError("give a channel or a user_id")
        return self


async def write_record(config: RecordAction, call: Call) -> Any:
    """Write through the warehouse of this process."""
    records = call.services.records or call.records
    if records is None:
        raise NodeUnavailableError(f"node {call.node!r}: action_record needs a context with a database")
    return await records(config, call)


async def run_action(config: IntegrationAction, call: Call) -> Any:
    """Run an action of a connector."""
    actions = call.services.actions
    if actions is None:
        raise NodeUnavailableError(
            f"node {call.node!r}: action_integration needs the connection {config.connection_id!r}, and this version "
            "has no connections yet; use action_http meanwhile"
        )
    return await actions(config, call)


async def notify(config: NotificationAction, call: Call) -> dict[str, Any]:
    """Publish to the subscribers of this process; nobody listening is no error, and nothing is kept."""
    heard = call.services.notifications.publish(
        Notification(
            config.channel, config.user_id, config.title, config.message, config.data, config.level, call.run_id
        )
    )
    return {"heard_by": heard}


register(
    NodeType(
        NodeKind("action_record", "record", config=RecordAction, standard=True),
        "Creates, updates, upserts or deletes a record.",
        "action",
        write_record,
        {"object": "orders", "operation": "update", "id": "{{trigger.id}}", "data": {"status": "paid"}},
        "the record; `{count}` for a deletion, and for an update by `where`",
    )
)
register(
    NodeType(
        NodeKind("action_integration", "integration", config=IntegrationAction, standard=True),
        "Runs an action of a connected service.",
        "action",
        run_action,
        {
            "connection_id": "conn_slack_123",
            "action_key": "send_message",
            "params": {"channel": "#sales", "text": "New order: {{trigger.record.name}}"},
        },
        "the body of the answer, with status and headers beside it",
    )
)
register(
    NodeType(
        NodeKind("action_notification", "notification", config=NotificationAction, standard=True),
        "Tells whoever is listening right now.",
        "action",
        notify,
        {"channel": "ops", "title": "New order", "message": "{{trigger.id}}"},
        "`{heard_by: number of listeners}`",
    )
)
