"""Of memory, models, agents and their tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors.base import DataflowsError, NonRetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RecallError(DataflowsError):
    """The memory cannot remember or be asked so."""


class ItemNotFoundError(RecallError):
    """There is no item of this number in the memory."""


class EmbeddingError(DataflowsError):
    """Texts were not made into vectors.

    Attributes:
        status: what the endpoint answered, for example 503; None where it did not answer or nobody was asked.
        headers: of that answer, by lower-case name; retries of a step follow its ``Retry-After``.
        done: position of a text → its vector, for those that were embedded (and paid for) before it went wrong.
    """

    def __init__(
        self,
        message: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        done: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.done = dict(done or {})

    @property
    def response(self) -> EmbeddingError:
        """Itself: the shape that httpx and requests have, by which retries know an HTTP answer."""
        return self

    @property
    def status_code(self) -> int | None:
        """The status, under the name that httpx and requests give it."""
        return self.status


class EmbeddingRefusedError(EmbeddingError, NonRetryableError):
    """The endpoint or the model will not take these texts, however often they are sent."""


class ModelError(DataflowsError):
    """A model did not answer.

    Attributes:
        status: what the endpoint answered, for example 503; None where it did not answer.
        headers: of that answer, by lower-case name; retries of a step follow its ``Retry-After``.
    """

    def __init__(
        self, message: str | None = None, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    @property
    def response(self) -> ModelError:
        """Itself: the shape that httpx and requests have, by which retries know an HTTP answer."""
        return self

    @property
    def status_code(self) -> int | None:
        """The status, under the name that httpx and requests give it."""
        return self.status


class ModelRefusedError(ModelError, NonRetryableError):
    """The endpoint or the model will not take this conversation, however often it is sent."""


class BudgetUsedUpError(DataflowsError):
    """A run waits: the tokens or the money that it may use are used up. Nothing is lost; it goes on when given more.

    Attributes:
        run_id: of the run that waits.
    """

    def __init__(self, message: str | None = None, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class DocumentError(DataflowsError):
    """A document cannot be read, or not be cut like this."""


class ToolError(DataflowsError):
    """A tool that cannot be offered to an agent."""


class ToolArgumentError(ToolError):
    """A model called a tool with arguments that do not fit.

    Attributes:
        problems: every fault, with the path of the argument.
    """

    def __init__(self, message: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)
