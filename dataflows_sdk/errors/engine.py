"""Of runs and their steps, and the control flow of the engine."""

from __future__ import annotations

from typing import Any

from dataflows_sdk.errors.base import DataflowsError


class RunError(DataflowsError):
    """A run did not give a result."""

    def __init__(self, message: str | None = None, run_id: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """The run failed.

    Attributes:
        error: the recorded error: ``type``, ``message``, ``traceback`` and, where there is one, ``cause``.
    """

    def __init__(
        self, message: str | None = None, run_id: str | None = None, error: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, run_id)
        self.error = error or {}


class StepFailed(RunFailed):
    """A step failed for good."""

    def __init__(
        self,
        message: str | None = None,
        run_id: str | None = None,
        error: dict[str, Any] | None = None,
        step: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(message, run_id, error)
        self.step = step
        self.attempts = attempts


class RunCancelled(RunError):
    """The run was cancelled."""


class RunQuarantined(RunError):
    """The run was set aside because it cannot go on as it is."""

    def __init__(
        self, message: str | None = None, run_id: str | None = None, reason: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, run_id)
        self.reason = reason or {}


class RunNotFoundError(DataflowsError):
    """There is no such run."""


class RunFinishedError(DataflowsError):
    """The run is already over."""


class WorkflowNotFoundError(DataflowsError):
    """No workflow of that name is known to this process."""


class StepCollisionError(DataflowsError):
    """Two live steps of one scope have the same name."""


class NonDeterminismError(DataflowsError):
    """The code asks for another step than the one that was recorded."""

    def __init__(self, message: str | None = None, recorded: str = "", asked: str = "") -> None:
        super().__init__(message)
        self.recorded = recorded
        self.asked = asked


class JoinError(DataflowsError):
    """Fewer branches can still arrive than the join needs."""


class UncertainStepError(DataflowsError):
    """A step may have run before a crash, its result was not recorded, and its policy is to fail."""


class StepTimeoutError(DataflowsError):
    """An attempt of a step took longer than its timeout."""


class ExecutorError(DataflowsError):
    """An executor did not run a step."""


class WorkerLostError(ExecutorError):
    """The process or machine that ran a step was lost before it answered; the step may have had its effect."""


class EventTimeoutError(DataflowsError):
    """No event came in time."""


class NotInWorkflowError(DataflowsError):
    """A step verb was called outside of its running workflow."""


class RecordedError(DataflowsError):
    """An exception that happened at another time or in another process, carried as it was recorded.

    It stands for exceptions that cannot be what they were: their class is of a module that is not loaded here (names in
    records are never imported) or local to a function, or their text needs what JSON does not hold.

    Attributes:
        error: the recorded error: ``type``, ``message``, ``traceback`` and, where it has them, ``cause``,
            ``notes``.
    """

    def __init__(self, message: str | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error = error or {}

    @property
    def type(self) -> str:
        """The class of the original, for example ``builtins:KeyError`` or ``shop.models:OutOfStock``."""
        return str(self.error.get("type", ""))


class ControlFlow(BaseException):
    """Control flow of the engine: let it pass (a bare ``except:`` or ``except BaseException`` must re-raise it)."""


class Suspended(ControlFlow):
    """The run goes to sleep here; this is not an error.

    It unwinds the workflow function so that a waiting run holds no thread; ``finally`` blocks run. When the
    timer fires or the event comes, the function is called again and recorded steps return at once.
    """


class OwnershipLost(ControlFlow):
    """Another process owns this run now: this one stops and records nothing more."""


class Cancelled(ControlFlow):
    """Somebody cancelled this run; it arrives at the next step or await."""
