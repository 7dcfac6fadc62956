"""Every exception of the library, in one tree.

What a user may catch::

    DataflowsError
    ├── DefinitionError                  a workflow or flow is written wrongly; found before anything runs
    │   ├── DuplicateWorkflowError       two different functions under one workflow name
    │   ├── FlowValidationError          a DAG with problems; `.problems` lists every one
    │   └── InvalidDurationError         "7 parsecs", a negative timeout, a date beyond the calendar
    ├── StoreError                       the database
    │   ├── StoreUnavailableError        nobody answers there (yet)
    │   ├── StoreVersionError            PostgreSQL too old
    │   ├── StoreExtensionError          the extension `vector` is missing
    │   ├── SchemaVersionError           the schema is newer than this library, or was edited by hand
    │   └── EmbeddedServerError          the embedded PostgreSQL cannot start here
    ├── ValueCodecError                  a value and its JSON
    │   ├── NotSerializableError         a value that would not come back equal; `.path` says where
    │   ├── UnknownTypeError             a tagged value whose type this process does not know
    │   ├── BlobMissingError             a large value whose content is not in the store
    │   └── InvalidIdError               a text that is not an id (also a ValueError)
    ├── RunError                         a run did not give a result; `.run_id`
    │   ├── RunFailed                    its code raised
    │   │   └── StepFailed               … because a step failed for good; `.step`, `.attempts`
    │   ├── RunCancelled                 somebody cancelled it
    │   └── RunQuarantined               it was set aside; `.reason` says why and what to do
    ├── RunNotFoundError                 no run of that id
    ├── RunFinishedError                 the run is over: it takes no event and no cancel
    ├── WorkflowNotFoundError            the database names a workflow that this process does not have
    ├── StepCollisionError               two live steps with one name in one scope
    ├── NonDeterminismError              the code asks for another step than the one recorded; `.recorded`, `.asked`
    ├── QueryError                       `ctx.sql` cannot answer: the message names the tables that exist
    ├── JoinError                        a join of a flow that can no longer hold
    ├── UncertainStepError               a step may have run and was not recorded, and its policy is "fail"
    ├── StepTimeoutError                 an attempt of a step took longer than its timeout
    ├── EventTimeoutError                no event came in time, and the wait said on_timeout="raise"
    ├── NotInWorkflowError               a step verb outside of a running workflow
    ├── RecordedError                    an exception of another time or process, as it was recorded; `.error`
    └── MissingExtraError                an optional part is not installed; the message names the extra

What a step may raise to steer its own retries::

    NonRetryableError                    do not try again
    RetryAfter                           try again, but not before so many seconds

Control flow of the engine derives from BaseException, so that ``except Exception`` in a workflow cannot swallow it::

    ControlFlow(BaseException)
    ├── Suspended                        the run goes to sleep; it will be replayed up to here
    ├── OwnershipLost                    another process owns the run now; stop, touch nothing
    └── Cancelled                        somebody cancelled the run

The docstring of a class is its message where none is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class DataflowsError(Exception):
    """Something went wrong in dataflows."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").strip())


# --- definitions ------------------------------------------------------------------------------------------


class DefinitionError(DataflowsError):
    """A workflow or flow is not written correctly."""


class DuplicateWorkflowError(DefinitionError):
    """Another function is already registered under this workflow name."""


class InvalidDurationError(DefinitionError):
    """Not a duration: write "500ms", "15s", "30m", "24h", "7d", a number of seconds or a timedelta."""


class FlowValidationError(DefinitionError):
    """The flow has problems."""

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        #: every problem found, in the order of the nodes
        self.problems = list(problems)


# --- the store --------------------------------------------------------------------------------------------


class StoreError(DataflowsError):
    """The database refused."""


class StoreUnavailableError(StoreError):
    """No PostgreSQL answers there."""


class StoreVersionError(StoreError):
    """The PostgreSQL there is too old: version 14 or later is needed."""


class StoreExtensionError(StoreError):
    """The PostgreSQL extension `vector` is missing."""


class SchemaVersionError(StoreError):
    """The schema in the database does not fit this version of the library."""


class EmbeddedServerError(StoreError):
    """The embedded PostgreSQL cannot run here."""


# --- values -----------------------------------------------------------------------------------------------


class ValueCodecError(DataflowsError):
    """A value cannot be written or read."""


class NotSerializableError(ValueCodecError):
    """A value would not come back equal from the journal."""

    def __init__(self, message: str | None = None, path: str = "$") -> None:
        super().__init__(message)
        #: where in the value, for example ``$.orders[3].file``
        self.path = path


class UnknownTypeError(ValueCodecError):
    """A recorded value has a type that this process does not know."""


class BlobMissingError(ValueCodecError):
    """The content of a large value is not in the store."""


class InvalidIdError(ValueCodecError, ValueError):
    """Not an id: ids are UUIDs such as 0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77."""


# --- runs -------------------------------------------------------------------------------------------------


class RunError(DataflowsError):
    """A run did not give a result."""

    def __init__(self, message: str | None = None, run_id: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunFailed(RunError):
    """The run failed."""

    def __init__(
        self, message: str | None = None, run_id: str | None = None, error: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, run_id)
        #: the recorded error: ``type``, ``message``, ``traceback`` and, where there is one, ``cause``
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


class EventTimeoutError(DataflowsError):
    """No event came in time."""


class NotInWorkflowError(DataflowsError):
    """A step verb was called outside of its running workflow."""


class RecordedError(DataflowsError):
    """An exception that happened at another time or in another process, carried as it was recorded.

    It stands for exceptions whose class is not rebuilt from a payload: names in payloads are never imported.
    """

    def __init__(self, message: str | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        #: the recorded error: ``type``, ``message``, ``traceback`` and, where it has them, ``cause``, ``notes``
        self.error = error or {}

    @property
    def type(self) -> str:
        """The class of the original, for example ``builtins:KeyError`` or ``shop.models:OutOfStock``."""
        return str(self.error.get("type", ""))


class QueryError(DataflowsError):
    """DuckDB cannot answer this query."""


class MissingExtraError(DataflowsError, ImportError):
    """An optional part of dataflows-sdk is not installed."""


# --- raised by steps --------------------------------------------------------------------------------------


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


# --- control flow -----------------------------------------------------------------------------------------


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
