"""What an agent gives: its result, and its text as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dataflows_memory.models.costs import Paid, Used
from dataflows_sdk.core.shown import ShownAsTable


@dataclass(frozen=True, slots=True)
class ToolUse(ShownAsTable):
    """One call of a tool.

    Attributes:
        name, arguments: as the model wrote them.
        told: what the model heard of it.
        error: whether that was an error, a refusal of a person included.
        step: its name in the run; None where nothing was called.
    """

    name: str
    arguments: str
    told: str
    error: bool
    step: str | None


@dataclass(frozen=True, slots=True)
class AgentResult(Paid, ShownAsTable):
    """What an agent came to.

    Attributes:
        text: the last thing that it said.
        value: the text as the type that was asked for; the text itself where none was.
        stopped: why it ended: ``"done"``, or ``"turns"`` where it had no further turn; *value* is None then.
        turns: how often the model was asked.
        tools: every tool that it called.
        used: tokens, money and calls of the model.
        seconds: from the task to the result, waits for people included.
        run: id of the run that has every step of it.
        model: that was asked.
    """

    text: str
    value: Any
    stopped: Literal["done", "turns"]
    turns: int
    tools: tuple[ToolUse, ...]
    used: Used
    seconds: float
    run: str
    model: str

    @staticmethod
    def of_json(given: Mapping[str, Any], run: str, value: Any) -> AgentResult:
        """From the result of a run."""
        return AgentResult(
            given["text"],
            value,
            given["stopped"],
            given["turns"],
            tuple(ToolUse(**each) for each in given["tools"]),
            Used.of_json(given["used"]),
            given["seconds"],
            run,
            given["model"],
        )


@dataclass(frozen=True, slots=True)
class Piece(ShownAsTable):
    """A piece of an agent's text.

    Attributes:
        id: grows; give it as `after` to go on behind it.
        turn: the call of the model that it belongs to, from 1.
        text: what was said. Empty where *anew*.
        anew: the text of this turn begins (again): what was told of the turn before is void. A process or a connection
            was lost in the middle of it, or the turn only begins.
    """

    id: int
    turn: int
    text: str
    anew: bool
