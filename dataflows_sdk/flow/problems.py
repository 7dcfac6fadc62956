"""What validation finds: plain values, collected and reported all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import FlowValidationError


@dataclass(frozen=True, slots=True)
class Problem(ShownAsTable):
    """One thing that is wrong, or doubtful, in a flow.

    Attributes:
        code: a stable word for programs, for example ``"unknown-reference"``.
        node: the node it is about; None for the flow as a whole.
        message: one sentence that names the thing and the value.
        hint: the way out, where one is known.
        severity: an ``"error"`` refuses the flow, a ``"warning"`` lets it run.
        path: JSON pointer into the document, for example ``/nodes/3/on_error``.
    """

    code: str
    node: str | None
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    path: str = ""

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node is not None else ""
        mark = "warning: " if self.severity == "warning" else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{mark}{where}{self.message}{hint} [{self.code}]"


def raise_for(name: str, problems: Sequence[Problem]) -> None:
    """Raise FlowValidationError with every problem in its message, if one of them is an error."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    count = f"{len(errors)} problems" if len(errors) > 1 else "1 problem"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    raise FlowValidationError(f"flow {name!r} has {count}:\n{lines}", problems)


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
