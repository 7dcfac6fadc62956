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
    ├── RecallError                      the memory cannot remember or be asked so
    │   └── ItemNotFoundError            no item of that number
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

The first paragraph of a class's docstring is its message where none is given.
"""

from __future__ import annotations

from dataflows_sdk.errors.base import (
    DataflowsError,
    DefinitionError,
    MissingExtraError,
    NonRetryableError,
    RetryAfter,
)
from dataflows_sdk.errors.engine import (
    Cancelled,
    ControlFlow,
    EventTimeoutError,
    ExecutorError,
    JoinError,
    NonDeterminismError,
    NotInWorkflowError,
    OwnershipLost,
    RecordedError,
    RunCancelled,
    RunError,
    RunFailed,
    RunFinishedError,
    RunNotFoundError,
    RunQuarantined,
    StepCollisionError,
    StepFailed,
    StepTimeoutError,
    Suspended,
    UncertainStepError,
    WorkerLostError,
    WorkflowNotFoundError,
)
from dataflows_sdk.errors.flows import (
    ApprovalClosedError,
    ApprovalRejectedError,
    ConditionError,
    DuplicateWorkflowError,
    FlowNotActiveError,
    FlowNotFoundError,
    FlowStatusError,
    FlowValidationError,
    InputError,
    InvalidDurationError,
    InvalidInputSchemaError,
    InvalidScheduleError,
    NodeConfigError,
    NodeUnavailableError,
    RateLimitedError,
    SnippetError,
    SnippetTimeoutError,
    SnippetWorkerError,
    TemplateError,
    TriggerNotFoundError,
    WebhookBodyError,
    WebhookNotFoundError,
    WebhookRefusedError,
)
from dataflows_sdk.errors.memory import (
    BudgetUsedUpError,
    DocumentError,
    EmbeddingError,
    EmbeddingRefusedError,
    ItemNotFoundError,
    ModelError,
    ModelRefusedError,
    RecallError,
    ToolArgumentError,
    ToolError,
)
from dataflows_sdk.errors.services import (
    ConnectionAuthError,
    ConnectionNotFoundError,
    DecryptionError,
    EgressDeniedError,
    EncryptionKeyError,
    HttpStatusError,
    MailError,
    MailRefusedError,
    MissingScopeError,
    PublishedCodeError,
    PublishError,
    ServiceClientNotFoundError,
    SigningKeyError,
    UnexpectedStatusError,
)
from dataflows_sdk.errors.store import (
    ArchiveError,
    BlobMissingError,
    ConsumerNotFoundError,
    EmbeddedServerError,
    InvalidIdError,
    NotSerializableError,
    SchemaVersionError,
    StoreError,
    StoreExtensionError,
    StoreUnavailableError,
    StoreVersionError,
    StreamNotFoundError,
    UnknownTypeError,
    ValueCodecError,
)
from dataflows_sdk.errors.warehouse import (
    BadRow,
    BadRowsError,
    QueryError,
    QueryRefusedError,
    ShapeError,
    SourceNotFoundError,
    SyncCursorError,
    SyncDeleteError,
    SyncError,
    TableNotFoundError,
    UnreadableSourceError,
    ViewNotFoundError,
    WarehouseError,
)

__all__ = [
    "ApprovalClosedError",
    "ApprovalRejectedError",
    "ArchiveError",
    "BadRow",
    "BadRowsError",
    "BlobMissingError",
    "BudgetUsedUpError",
    "Cancelled",
    "ConditionError",
    "ConnectionAuthError",
    "ConnectionNotFoundError",
    "ConsumerNotFoundError",
    "ControlFlow",
    "DataflowsError",
    "DecryptionError",
    "DefinitionError",
    "DocumentError",
    "DuplicateWorkflowError",
    "EgressDeniedError",
    "EmbeddedServerError",
    "EmbeddingError",
    "EmbeddingRefusedError",
    "EncryptionKeyError",
    "EventTimeoutError",
    "ExecutorError",
    "FlowNotActiveError",
    "FlowNotFoundError",
    "FlowStatusError",
    "FlowValidationError",
    "HttpStatusError",
    "InputError",
    "InvalidDurationError",
    "InvalidIdError",
    "InvalidInputSchemaError",
    "InvalidScheduleError",
    "ItemNotFoundError",
    "JoinError",
    "MailError",
    "MailRefusedError",
    "MissingExtraError",
    "MissingScopeError",
    "ModelError",
    "ModelRefusedError",
    "NodeConfigError",
    "NodeUnavailableError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotInWorkflowError",
    "NotSerializableError",
    "OwnershipLost",
    "PublishError",
    "PublishedCodeError",
    "QueryError",
    "QueryRefusedError",
    "RateLimitedError",
    "RecallError",
    "RecordedError",
    "RetryAfter",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunFinishedError",
    "RunNotFoundError",
    "RunQuarantined",
    "SchemaVersionError",
    "ServiceClientNotFoundError",
    "ShapeError",
    "SigningKeyError",
    "SnippetError",
    "SnippetTimeoutError",
    "SnippetWorkerError",
    "SourceNotFoundError",
    "StepCollisionError",
    "StepFailed",
    "StepTimeoutError",
    "StoreError",
    "StoreExtensionError",
    "StoreUnavailableError",
    "StoreVersionError",
    "StreamNotFoundError",
    "Suspended",
    "SyncCursorError",
    "SyncDeleteError",
    "SyncError",
    "TableNotFoundError",
    "TemplateError",
    "ToolArgumentError",
    "ToolError",
    "TriggerNotFoundError",
    "UncertainStepError",
    "UnexpectedStatusError",
    "UnknownTypeError",
    "UnreadableSourceError",
    "ValueCodecError",
    "ViewNotFoundError",
    "WarehouseError",
    "WebhookBodyError",
    "WebhookNotFoundError",
    "WebhookRefusedError",
    "WorkerLostError",
    "WorkflowNotFoundError",
]

# Journals and pickles name a class by its module. It is this one, in whichever file a class stands: what was recorded
# before the files were is read as before, and what is recorded now by those who have one file.
for _name in __all__:
    globals()[_name].__module__ = __name__
