"""Of workflows, flows, triggers and approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors.base import DataflowsError, DefinitionError, NonRetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class DuplicateWorkflowError(DefinitionError):
    """Another function is already registered under this workflow name."""


class FlowValidationError(DefinitionError):
    """The flow has problems.

    Attributes:
        problems: every problem found, in the order of the nodes.
    """

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class InvalidDurationError(DefinitionError):
    """Not a duration: write "500ms", "15s", "30m", "24h", "7d", a number of seconds or a timedelta."""


class TemplateError(DefinitionError):
    """A template cannot be read, or leads nowhere."""


class ConditionError(DefinitionError):
    """A condition or an expression cannot be read."""


class NodeConfigError(DefinitionError):
    """The config of a node does not fit its type."""


class InvalidScheduleError(DefinitionError):
    """A schedule cannot be read, or would never fire."""


class InvalidInputSchemaError(DefinitionError):
    """Not a JSON Schema that inputs can be checked with.

    Attributes:
        problems: every problem found, with its JSON pointer into the schema.
    """

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class InputError(DefinitionError):
    """The input does not fit.

    Attributes:
        problems: pairs of JSON pointer and message.
    """

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class FlowNotFoundError(DataflowsError):
    """There is no such flow."""


class FlowNotActiveError(DataflowsError):
    """The flow is not active."""


class FlowStatusError(DataflowsError):
    """The flow cannot change its status in that way."""


class TriggerNotFoundError(DataflowsError):
    """There is no such trigger."""


class WebhookNotFoundError(DataflowsError):
    """There is no such webhook."""


class WebhookRefusedError(DataflowsError):
    """The call is not genuine."""


class WebhookBodyError(DataflowsError):
    """The body of the call cannot be read."""


class RateLimitedError(DataflowsError):
    """Too many calls.

    Attributes:
        retry_after: seconds until the next one is taken.
    """

    def __init__(self, message: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApprovalRejectedError(DataflowsError):
    """An approval was rejected."""


class ApprovalClosedError(DataflowsError):
    """The answer to an approval is not taken.

    Attributes:
        reason: "answered", "expired", "finished" or "forbidden".
    """

    def __init__(self, message: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class NodeUnavailableError(NonRetryableError):
    """The node needs a part of the library that this process does not have."""


class SnippetTimeoutError(DataflowsError):
    """timeout: a snippet ran longer than it may."""


class SnippetWorkerError(DataflowsError):
    """The process that runs snippets did not start, or was ended by somebody else."""


class SnippetError(NonRetryableError):
    """A snippet of a document failed, and would fail again.

    Attributes:
        kind: ``syntax`` (it cannot be read), ``thrown``, ``memory``, ``result`` (not JSON, or too large), ``input``
            (a value that has no JSON) or ``ended`` (it took its process down).
        error_name, error_message: of the exception that the snippet raised, for example ``TypeError`` and
            ``cannot read property 'x' of undefined``.
        line, column: where in the snippet, counted from 1; None where that is not known.
    """

    def __init__(
        self,
        message: str | None = None,
        kind: str = "thrown",
        error_name: str = "",
        error_message: str = "",
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.error_name = error_name
        self.error_message = error_message
        self.line = line
        self.column = column
