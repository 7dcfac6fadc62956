"""Every exception of the library, in one tree.

What a user may catch::

    DataflowsError
    ├── DefinitionError                  a workflow or flow is written wrongly; found before anything runs
    │   ├── DuplicateWorkflowError       two different functions under one workflow name
    │   ├── FlowValidationError          a DAG with problems; `.problems` lists every one
    │   ├── InvalidDurationError         "7 parsecs", a negative timeout, a date beyond the calendar
    │   ├── TemplateError                `{{…}}` that is no path, or one that leads nowhere in a strict flow
    │   ├── ConditionError               a condition or an expression that cannot be read
    │   ├── NodeConfigError              a node's config, with its templates filled in, does not fit its type
    │   ├── PublishError                 a workflow that cannot be published; the message names the variable
    │   ├── InvalidScheduleError         cron "61 * * * *", the zone "Mars/Base", an interval below a second
    │   ├── InvalidInputSchemaError      the JSON Schema of an input that is none; `.problems` lists every fault
    │   └── ShapeError                   a table of the warehouse that cannot look so, or not change so
    ├── WarehouseError                   tables and views of the warehouse
    │   ├── ViewNotFoundError            no view of that name, or no version of that number
    │   ├── TableNotFoundError           no table of that name; the message names those there are
    │   ├── BadRowsError                 rows that do not fit their table; nothing was written; `.rows`, `.count`
    │   └── UnreadableSourceError        a file, DataFrame or Arrow table that cannot be read as rows
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
    ├── SigningKeyError                  no key to sign or verify published code with, or one that is no good
    ├── EncryptionKeyError               no key to encrypt secrets with, or one that is no good
    ├── ServiceClientNotFoundError       no service client of that name
    ├── ConnectionNotFoundError          no connection of that id
    ├── PublishedCodeError               published code that is not accepted here; `.workflow` says which
    ├── FlowNotFoundError                no saved flow, or no version of it, of that name or number
    ├── FlowNotActiveError               a saved flow that is not active takes no runs
    ├── TriggerNotFoundError             no trigger of that id
    ├── StreamNotFoundError              no stream of messages of that name
    ├── ConsumerNotFoundError            no consumer of that name at a stream
    ├── WebhookNotFoundError             no active flow has a webhook of that token
    ├── WebhookRefusedError              the signature of a call is wrong
    ├── WebhookBodyError                 the body of a call is not what it says it is, or too large
    ├── RateLimitedError                 too many calls; `.retry_after` seconds
    ├── InputError                       a run's input does not fit the flow's schema; `.problems`
    ├── FlowStatusError                  a saved flow cannot go from its status to that one
    ├── StepCollisionError               two live steps with one name in one scope
    ├── NonDeterminismError              the code asks for another step than the one recorded; `.recorded`, `.asked`
    ├── QueryError                       `ctx.sql` cannot answer: the message names the tables that exist
    │   └── QueryRefusedError            SQL that a model wrote and that may not run; `.problem`, `.instead`
    ├── ToolError                        tools for agents: names that collide, a function that can be none
    │   └── ToolArgumentError            arguments that a model gave do not fit; `.problems`
    ├── SyncError                        a sync cannot go on; what it stored is kept, the next one goes on from there
    │   ├── SyncCursorError              a cursor that does not move, goes backwards or in a circle (NonRetryableError)
    │   ├── SyncDeleteError              rows that a full sync did not find are not deleted (NonRetryableError)
    │   └── SourceNotFoundError          the source of a sync is not to be had in this process (NonRetryableError)


    ├── EmbeddingError                   texts were not made into vectors; `.done` has those that were, `.status`
    ├── ModelError                       a model did not answer; `.status`
    ├── BudgetUsedUpError                a run waits because its tokens or money are used up; `.run_id`
    ├── DocumentError                    a document that cannot be read, or not cut so; it says what is wrong with it
    ├── ArchiveError                     a file that is no archive, or of a newer format; one that cannot be written
    ├── JoinError                        a join of a flow that can no longer hold
    ├── UncertainStepError               a step may have run and was not recorded, and its policy is "fail"
    ├── StepTimeoutError                 an attempt of a step took longer than its timeout
    ├── EventTimeoutError                no event came in time, and the wait said on_timeout="raise"
    ├── ApprovalRejectedError            an approval was rejected, and the flow has no way for that
    ├── ApprovalClosedError              an answer to an approval that is answered, too late, or not theirs; `.reason`
    ├── NotInWorkflowError               a step verb outside of a running workflow
    ├── HttpStatusError                  an HTTP answer that is an error; `.status`, `.body`, `.headers`
    ├── MailError                        the mail server did not take a message; `.code`
    ├── SnippetTimeoutError              a snippet of a document ran longer than its timeout_ms; retryable
    ├── SnippetWorkerError               the process for snippets did not start, or was ended; retryable
    ├── ExecutorError                    what a step asked for with executor= did not run it; retryable
    │   └── WorkerLostError              … because the process or machine that ran it was lost; retryable
    ├── RecordedError                    an exception of another time or process, as it was recorded; `.error`
    └── MissingExtraError                an optional part is not installed; the message names the extra

What a step may raise to steer its own retries::

    NonRetryableError                    do not try again
    ├── SnippetError                     a snippet cannot be read, threw, took too much memory; `.kind`, `.line`
    ├── NodeUnavailableError             a node type that needs a part which this process does not have
    ├── EgressDeniedError                an address that flows may not call; `.code`, `.url`
    ├── DecryptionError                  a secret that no key opens, or that was changed; `.table`, `.row`, `.column`
    ├── MissingScopeError                a connection may not do what a call needs; `.missing`
    ├── ConnectionAuthError              a connection whose access ended, or a token that goes elsewhere; `.connection`
    ├── EmbeddingRefusedError            also an EmbeddingError: the endpoint or the model will never take it
    ├── ModelRefusedError                also a ModelError: the endpoint or the model will never take it
    ├── UnexpectedStatusError            also an HttpStatusError: no error, but not the status that was expected
    └── MailRefusedError                 also a MailError: the server will never take this message
    RetryAfter                           try again, but not before so many seconds

Control flow of the engine derives from BaseException, so that ``except Exception`` in a workflow cannot swallow it::

    ControlFlow(BaseException)
    ├── Suspended                        the run goes to sleep; it will be replayed up to here
    ├── OwnershipLost                    another process owns the run now; stop, touch nothing
    └── Cancelled                        somebody cancelled the run

The docstring of a class is its message where none is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


class TemplateError(DefinitionError):
    """A template cannot be read, or leads nowhere."""


class ConditionError(DefinitionError):
    """A condition or an expression cannot be read."""


class NodeConfigError(DefinitionError):
    """The config of a node does not fit its type."""


class PublishError(DefinitionError):
    """A workflow cannot be published: a part of it cannot be written down as source."""


class InvalidScheduleError(DefinitionError):
    """A schedule cannot be read, or would never fire."""


class InvalidInputSchemaError(DefinitionError):
    """Not a JSON Schema that inputs can be checked with."""

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        #: every problem found, with its JSON pointer into the schema
        self.problems = list(problems)


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
    """

    def __init__(self, message: str | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        #: the recorded error: ``type``, ``message``, ``traceback`` and, where it has them, ``cause``, ``notes``
        self.error = error or {}

    @property
    def type(self) -> str:
        """The class of the original, for example ``builtins:KeyError`` or ``shop.models:OutOfStock``."""
        return str(self.error.get("type", ""))


class SnippetTimeoutError(DataflowsError):
    """timeout: a snippet ran longer than it may."""


class SnippetWorkerError(DataflowsError):
    """The process that runs snippets did not start, or was ended by somebody else."""


class ShapeError(DefinitionError):
    """A table cannot look like this."""


class RecallError(DataflowsError):
    """The memory cannot remember or be asked so."""


class ItemNotFoundError(RecallError):
    """There is no item of this number in the memory."""


class WarehouseError(DataflowsError):
    """A table or view of the warehouse cannot do this."""


class TableNotFoundError(WarehouseError):
    """There is no table of this name in the warehouse."""


class BadRow(NamedTuple):
    """Why a row does not fit."""

    #: which row it is; the first one is 0
    position: int
    #: the column that does not fit; None where it is the row as a whole
    column: str | None
    #: what is there, shortened
    value: str
    #: what is wrong with it
    reason: str

    def __str__(self) -> str:
        return f"row {self.position}" + (f", {self.column!r}" if self.column is not None else "") + f": {self.reason}"


class ViewNotFoundError(WarehouseError):
    """There is no such view in the warehouse."""


class BadRowsError(WarehouseError):
    """Rows do not fit their table; nothing was written.

    Attributes:
        rows: the first of them, with what is wrong.
        count: how many there are.
    """

    def __init__(self, message: str, rows: Sequence[BadRow], count: int) -> None:
        super().__init__(message)
        self.rows = tuple(rows)
        self.count = count


class UnreadableSourceError(WarehouseError):
    """A file, DataFrame or Arrow table cannot be read as rows."""


class QueryError(DataflowsError):
    """A query cannot be answered."""


class QueryRefusedError(QueryError):
    """A query that may not be run.

    Attributes:
        problem: what was refused, for a model to read.
        line, column: where it stands in the text, from 1; None where no single place is to blame.
        instead: what may be written instead; may be empty.
    """

    def __init__(self, problem: str, *, line: int | None = None, column: int | None = None, instead: str = "") -> None:
        where = "" if line is None else f" (line {line}, column {column})"
        super().__init__(f"refused: {problem}{where}" + (f". {instead}" if instead else ""))
        self.problem = problem
        self.line = line
        self.column = column
        self.instead = instead


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


class SyncError(DataflowsError):
    """A sync cannot go on."""


class ArchiveError(DataflowsError):
    """Not an archive that can be read, or one that cannot be written."""


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


class MissingExtraError(DataflowsError, ImportError):
    """An optional part of dataflows-sdk is not installed."""


# --- raised by steps --------------------------------------------------------------------------------------


class SigningKeyError(DataflowsError):
    """There is no key to sign or verify published code with, or it is no good."""


class EncryptionKeyError(DataflowsError):
    """There is no key to encrypt secrets with, or it is no good."""


class ServiceClientNotFoundError(DataflowsError):
    """There is no such service client."""


class ConnectionNotFoundError(DataflowsError):
    """There is no such connection."""


class PublishedCodeError(DataflowsError):
    """Published code that is not there, cannot be verified, or does not fit this process."""

    def __init__(self, message: str | None = None, workflow: str = "") -> None:
        super().__init__(message)
        #: the name under which it was published
        self.workflow = workflow


class FlowNotFoundError(DataflowsError):
    """There is no such flow."""


class FlowNotActiveError(DataflowsError):
    """The flow is not active."""


class FlowStatusError(DataflowsError):
    """The flow cannot change its status in that way."""


class TriggerNotFoundError(DataflowsError):
    """There is no such trigger."""


class StreamNotFoundError(DataflowsError):
    """There is no such stream."""


class ConsumerNotFoundError(DataflowsError):
    """There is no such consumer."""


class WebhookNotFoundError(DataflowsError):
    """There is no such webhook."""


class WebhookRefusedError(DataflowsError):
    """The call is not genuine."""


class WebhookBodyError(DataflowsError):
    """The body of the call cannot be read."""


class RateLimitedError(DataflowsError):
    """Too many calls."""

    def __init__(self, message: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message)
        #: seconds until the next one is taken
        self.retry_after = retry_after


class InputError(DefinitionError):
    """The input does not fit."""

    def __init__(self, message: str | None = None, problems: Sequence[Any] = ()) -> None:
        super().__init__(message)
        #: pairs of JSON pointer and message
        self.problems = list(problems)


class ApprovalRejectedError(DataflowsError):
    """An approval was rejected."""


class ApprovalClosedError(DataflowsError):
    """The answer to an approval is not taken."""

    def __init__(self, message: str | None = None, reason: str = "") -> None:
        super().__init__(message)
        #: "answered", "expired", "finished" or "forbidden"
        self.reason = reason


class NonRetryableError(DataflowsError):
    """The step that raises it must not be tried again."""


class SyncCursorError(SyncError, NonRetryableError):
    """The cursor of a sync does not move forwards."""


class SyncDeleteError(SyncError, NonRetryableError):
    """Rows that a full sync did not find are not deleted."""


class SourceNotFoundError(SyncError, NonRetryableError):
    """The source of a sync is not to be had in this process."""


class NodeUnavailableError(NonRetryableError):
    """The node needs a part of the library that this process does not have."""


class EgressDeniedError(NonRetryableError):
    """An address that flows may not call."""

    def __init__(self, message: str | None = None, code: str = "", url: str = "") -> None:
        super().__init__(message)
        #: invalid_url, invalid_scheme, denied_hostname, denied_ip, denied_dns, allowlist_miss,
        #: dns_resolution_failed or redirect_denied
        self.code = code
        #: what was to be called, without a password
        self.url = url


class EmbeddingRefusedError(EmbeddingError, NonRetryableError):
    """The endpoint or the model will not take these texts, however often they are sent."""


class ModelRefusedError(ModelError, NonRetryableError):
    """The endpoint or the model will not take this conversation, however often it is sent."""


class DecryptionError(NonRetryableError):
    """A secret cannot be decrypted."""

    def __init__(self, message: str | None = None, table: str = "", row: str = "", column: str = "") -> None:
        super().__init__(message)
        self.table = table
        self.row = row
        self.column = column


class MissingScopeError(NonRetryableError):
    """The connection lacks scopes that the call needs."""

    def __init__(self, message: str | None = None, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        #: the scopes, in the order in which they were asked for
        self.missing = list(missing)


class ConnectionAuthError(NonRetryableError):
    """A connection gives no access."""

    def __init__(self, message: str | None = None, connection: str = "") -> None:
        super().__init__(message)
        #: its id
        self.connection = connection


class HttpStatusError(DataflowsError):
    """The server answered with an error.

    Whether a step tries again follows the status and ``Retry-After``, see `dataflows_sdk.core.retry`.
    """

    def __init__(
        self, message: str | None = None, status: int = 0, body: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        #: the beginning of the answer, as text
        self.body = body
        #: by lower-case name
        self.headers = dict(headers or {})

    @property
    def response(self) -> HttpStatusError:
        """Itself: the shape that httpx and requests have, by which retries know an HTTP answer."""
        return self

    @property
    def status_code(self) -> int:
        """The status, under the name that httpx and requests give it."""
        return self.status


class UnexpectedStatusError(HttpStatusError, NonRetryableError):
    """The server answered, without an error, and not as expected."""


class MailError(DataflowsError):
    """The mail server did not take the message."""

    def __init__(self, message: str | None = None, code: int | None = None) -> None:
        super().__init__(message)
        #: what the server answered, for example 451; None where it did not answer
        self.code = code


class MailRefusedError(MailError, NonRetryableError):
    """The mail server will not take this message, however often it is sent."""


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
