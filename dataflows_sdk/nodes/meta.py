"""Meta: runs that start runs, and where errors go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field

from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.nodes.registry import Config, NodeType, register

#: how deep sub-workflows may nest
DEEPEST = 10


class SubworkflowConfig(Config):
    """Run another workflow as a child."""

    workflow_id: str = Field(
        min_length=1, validation_alias=AliasChoices("workflow_id", "workflow"), description="its id or name"
    )
    input: Any = Field(default=None, description="the child's input; this run's trigger data by default")
    mode: Literal["sync", "async"] = Field(default="sync", description="wait for its output, or only start it")
    max_depth: int = Field(default=DEEPEST, ge=1, le=100)


class ErrorConfig(Config):
    """The target of ``on_error: "goto:<id>"``."""


register(
    NodeType(
        NodeKind("meta_subworkflow", "sub-workflow", config=SubworkflowConfig, standard=True),
        "Runs another workflow as a child.",
        "meta",
        example={"workflow_id": "send-invoice", "input": {"order": "{{trigger.id}}"}, "mode": "sync"},
        output="the child's output; with mode `async` `{run_id}`",
    )
)
register(
    NodeType(
        NodeKind("meta_error", "error handler", handler=True, config=ErrorConfig, standard=True),
        'Entered only by `on_error: "goto:<id>"`.',
        "meta",
        example={},
        output="`{error: {type, message}, node_id, attempt}`",
    )
)
