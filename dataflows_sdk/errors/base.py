"""What the others derive from, and what any step may raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class DataflowsError(Exception):
    """Something went wrong in dataflows."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else _said(type(self)))


class DefinitionError(DataflowsError):
    """A workflow or flow is not written correctly."""


class NonRetryableError(DataflowsError):
    """The step that raises it must not be tried again."""


class RetryAfter(DataflowsError):
    """Try again, but not before a given time.

    Raise it in a step when the other side says when: ``raise RetryAfter(2.5)``.

    Args:
        delay: seconds, a duration such as ``"30s"``, or an aware datetime.
    """

    def __init__(self, delay: float | str | datetime, message: str | None = None) -> None:
        super().__init__(message if message is not None else f"asked to be retried after {delay}")
        self.delay = delay


class MissingExtraError(DataflowsError, ImportError):
    """An optional part of dataflows-sdk is not installed."""


def _said(kind: type[DataflowsError]) -> str:
    return " ".join((kind.__doc__ or "").strip().partition("\n\n")[0].split())
