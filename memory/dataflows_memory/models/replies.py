"""What a model said, as plain values that a journal keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflows_memory.models.costs import Used
from dataflows_sdk.core.shown import ShownAsTable


@dataclass(frozen=True, slots=True)
class Call(ShownAsTable):
    """A tool that the model wants called.

    Attributes:
        id: by which the answer is given.
        name: of the tool, as the model wrote it.
        arguments: JSON, as the model wrote it; it may be broken.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply(ShownAsTable):
    """One answer.

    Attributes:
        text: what it says; may be empty where it calls tools.
        calls: the tools that it wants called.
        finish: why it ended: ``"stop"``, ``"tool_calls"``, ``"length"``, ``"content_filter"``.
        used: tokens and money.
        model: that answered, as the endpoint calls it.
    """

    text: str
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    used: Used = field(default_factory=Used)
    model: str = ""

    def message(self) -> dict[str, Any]:
        """As the next request tells the model what it said."""
        told: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.calls:
            told["tool_calls"] = [
                {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
                for each in self.calls
            ]
        return told

    def to_json(self) -> dict[str, Any]:
        """As a journal keeps it."""
        return {
            "text": self.text,
            "calls": [[each.id, each.name, each.arguments] for each in self.calls],
            "finish": self.finish,
            "used": self.used.to_json(),
            "model": self.model,
        }

    @staticmethod
    def of_json(given: Mapping[str, Any]) -> Reply:
        """From `to_json`."""
        calls = tuple(Call(*each) for each in given["calls"])
        return Reply(given["text"], calls, given["finish"], Used.of_json(given["used"]), given["model"])
