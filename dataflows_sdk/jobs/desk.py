"""``ctx.jobs``: enqueue a run in the background, see how it stands, have its end told to a URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.arguments import check_key, check_statuses
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.engine.state import TERMINAL, RunState
from dataflows_sdk.errors import DefinitionError, EgressDeniedError, RunNotFoundError
from dataflows_sdk.jobs.callback import Callback, check_retry
from dataflows_sdk.jobs.work import DELIVER, JOB, JOB_NAME
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: seconds between looks at a job whose run failed and may be tried again
_LOOK_FIRST, _LOOK_LAST = 0.02, 0.5


@dataclass(frozen=True, slots=True)
class CallbackState(ShownAsTable):
    """How the delivery of a job's end stands.

    Attributes:
        url: whom it is told.
        state: ``"waiting"`` for the end of the run, ``"delivering"``, ``"retrying"``, ``"delivered"``, or ``"failed"``
            for good; ``job.redeliver()`` begins anew.
        attempts: how often it was tried.
        status: what the other side answered at last, if it did.
        error: why the last attempt failed.
        next_at: when it is tried again.
        delivered_at: when it was received.
    """

    url: str
    state: str
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    next_at: datetime | None = None
    delivered_at: datetime | None = None


class Job(ShownAsTable):
    """A background job. What it says is read from the database when it is asked."""

    def __init__(self, context: Context, job: UUID) -> None:
        self._context = context
        self._id = job

    @property
    def id(self) -> str:
        """The job's id; the runs that it makes have their own."""
        return str(self._id)

    @property
    def keeper(self) -> Run:
        """The run of ``dataflows.job`` that looks after it: its journal tells of attempts and of the delivery.

        Where a delivery was begun anew, the fork that does it.
        """
        run = Run(self._context, self._id)
        while forks := self._context._runs(forked_from=run._id, limit=1):
            run = forks[0]
        return run

    @property
    def runs(self) -> list[Run]:
        """The runs of the workflow, one for each attempt, the first one first."""
        rows = self._rows()
        return [Run(self._context, row[0]) for row in reversed(rows)]

    @property
    def run(self) -> Run:
        """The run of the last attempt."""
        return Run(self._context, self._rows()[0][0])

    @property
    def workflow(self) -> str:
        """The workflow that the job runs."""
        return str(self._rows()[0][1])

    @property
    def attempts(self) -> int:
        """How many runs were begun for it."""
        return len(self._rows())

    @property
    def status(self) -> str:
        """The status of the last attempt; ``"retrying"`` when it failed and another one will come."""
        rows = self._rows()
        while rows[0][2] == "failed":
            if self._more(len(rows)):
                return "retrying"
            before, rows = rows, self._rows()
            if len(rows) == len(before):  # otherwise there were more attempts meanwhile
                break
        return str(rows[0][2])

    @property
    def error(self) -> dict[str, Any] | None:
        """Type, message and step of the last attempt's failure."""
        return self.run.error

    @property
    def created_at(self) -> datetime:
        """When it was enqueued."""
        return Run(self._context, self._id).created_at

    @property
    def callback(self) -> CallbackState | None:
        """How the delivery stands; None where nobody is told."""
        state = self.keeper.state()
        spec = state.created["input"]
        if not spec.get("callback"):
            return None
        url = str(spec["callback"]["url"])
        record = state.steps.get(DELIVER)
        if record is None:
            over = state.status in TERMINAL
            return CallbackState(url, "failed" if over else "waiting", error="the job was cancelled" if over else None)
        if record.state == "completed":
            value = record.data["value"]
            at = next(event.at for event in self.keeper.events() if event.seq == record.seq)
            return CallbackState(url, "delivered", record.attempt, value["status"], delivered_at=at)
        words = {"retrying": "retrying", "failed": "failed"}
        failure = record.data.get("error") or {}
        message = failure.get("message")
        return CallbackState(
            url, words.get(record.state, "delivering"), record.attempt, _status_of(message), message, record.until
        )

    def result(self, timeout: Duration | None = None) -> Any:
        """Wait for the job and give what its workflow returned. A callback that is on its way is not waited for.

        Raises:
            StepFailed, RunFailed, RunCancelled, RunQuarantined: its last attempt gave no result.
            TimeoutError: it is not over yet.
        """
        deadline = None if timeout is None else time.monotonic() + parse_duration(timeout).total_seconds()
        while True:
            rows = self._rows()
            run = Run(self._context, rows[0][0])
            run.wait(_left(deadline))
            if run.status != "failed" or not self._goes_on(len(rows), deadline):
                return run.result()

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.to_thread(self.result).__await__()

    def wait(self, timeout: Duration | None = None) -> Job:
        """Wait until everything is over, the delivery too; TimeoutError when that takes longer than *timeout*."""
        self.keeper.wait(timeout)
        return self

    def cancel(self, reason: str = "") -> Job:
        """Ask for the job's end; its callback is told.

        Raises:
            RunFinishedError: it is already over.
        """
        run = self.run
        if run.status in TERMINAL and self.status == "retrying":
            self.keeper.cancel(reason)  # between two attempts there is nothing else to end
        else:
            run.cancel(reason)
        return self

    def redeliver(self) -> Job:
        """Tell the callback again, after it was given up.

        Raises:
            DefinitionError: it was not given up.
        """
        state, keeper = self.callback, self.keeper
        if state is None or state.state != "failed" or keeper.status != "failed":
            raise DefinitionError(f"the callback of job {self.id} was not given up, so that it is not begun anew")
        keeper.fork(at=DELIVER)
        return self

    # --- looking -----------------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[Any, ...]]:
        rows = self._context._read("jobs", "runs_of", (self._id,))
        if not rows:
            raise RunNotFoundError(f"there is no job {self.id}; ctx.jobs.list() gives those that exist")
        return rows

    def _more(self, attempts: int) -> bool:
        """Whether another attempt comes after so many, as far as that is decided or can still be."""
        state = self.keeper.state()
        return _verdict(state, attempts) is not False

    def _goes_on(self, attempts: int, deadline: float | None) -> bool:
        """Wait until it is decided whether there is another attempt, and until that was begun."""
        pause = _LOOK_FIRST
        while True:
            state = self.keeper.state()
            decided = _verdict(state, attempts)
            if len(self._rows()) > attempts:  # after the look at the state: the job may be over, by later attempts
                return True
            if decided is False:
                return False
            left = _left(deadline)
            if left is not None and left <= 0:
                raise TimeoutError(f"job {self.id} is not over yet: it is tried again")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(_LOOK_LAST, pause * 2)

    def __repr__(self) -> str:
        rows = self._rows()
        return f"<job {self.id} of {rows[0][1]!r}: {self.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other._id == self._id

    def __hash__(self) -> int:
        return hash((Job, self._id))

    def _sheet(self) -> Sheet:
        names = ("id", "workflow", "status", "attempts", "created_at", "error", "callback")
        return Sheet("job", [(name, getattr(self, name)) for name in names])


def _verdict(state: RunState, attempts: int) -> bool | None:
    """Whether another attempt follows the one of that number; None while that is not decided."""
    policy = state.created["input"].get("retry")
    if not policy or attempts > policy["max_retries"] or state.status in TERMINAL:
        return False
    record = state.steps.get(f"attempt {attempts}")
    if record is None or record.state != "completed":
        return None
    return record.data["value"]["pause"] is not None


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _status_of(message: object) -> int | None:
    """The status in the message of an `HttpStatusError`."""
    import re

    match = re.search(r" answered ([1-5][0-9]{2})\b", message) if isinstance(message, str) else None
    return int(match[1]) if match else None


class Jobs(ShownAsTable):
    """``ctx.jobs``: background jobs of a database."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def enqueue(
        self,
        workflow: Any,
        payload: Any = None,
        *,
        callback: Callback | str | None = None,
        retry: Retry | None = None,
        queue: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        connection: Any = None,
    ) -> Job:
        """Run a workflow in the background; returns after one commit.

        Args:
            workflow, payload: as for `Context.start`.
            callback: a URL that gets a POST when the job is over, or a `Callback`.
            retry: how often the whole run is begun again when it fails, besides what its steps do by themselves.
            queue, priority, key: as for `Context.start`; they hold for every attempt.
            idempotency_key: enqueuing this workflow a second time with the key gives the first job.
            connection: of psycopg, in a transaction of yours: the job exists if and only if that commits.

        Raises:
            DefinitionError, WorkflowNotFoundError, NotSerializableError: see `Context.start`.
            EgressDeniedError: the callback may not be called. Nothing was enqueued.
        """
        context = self._context
        policy = None if retry is None else check_retry("a job's retry", retry)
        told = Callback.of(callback)
        definition = context._definition(workflow)
        event = definition.event(payload)
        check_key(idempotency_key)
        if told is not None:
            self._check(told)
        job, run = new_uuid(), new_uuid()
        spec = {
            "workflow": definition.name,
            "job": str(job),
            "run": str(run),
            "retry": None if policy is None else policy.to_json(),
            "callback": None if told is None else told.to_json(),
        }
        given = {"queue": queue, "priority": priority, "key": key}
        options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        named = None if idempotency_key is None else f"{definition.name}:{idempotency_key}"
        with ExitStack() as stack:
            if connection is None:
                connection = stack.enter_context(context._database.connection())
                transaction: AbstractContextManager[Any] = connection.transaction()
                stack.enter_context(transaction)
            made = context.start(JOB, spec, id=job, idempotency_key=named, connection=connection)
            if made._id != job:
                return Job(context, made._id)
            context.start(definition, event, id=run, connection=connection, **options)
            context._database.run(connection, "jobs", "adopt", (run, job, "end 1"))
        # workers may serve other queues only, and this process may know no workflow: who tells the callback then?
        context._catalog.take_own(JOB_NAME)
        return Job(context, job)

    def get(self, job: str | UUID) -> Job:
        """The job of an id.

        Raises:
            RunNotFoundError: there is none, or it is a run that is no job.
        """
        run = self._context.get(job)
        if run.workflow != JOB_NAME:
            raise RunNotFoundError(
                f"run {run.id} of {run.workflow!r} is no job; ctx.jobs.list() gives those that exist"
            )
        return Job(self._context, run._id)

    def list(
        self,
        workflow: str | None = None,
        status: str | Sequence[str] | None = None,
        *,
        limit: int = 50,
        before: Job | str | UUID | None = None,
    ) -> list[Job]:
        """Jobs, the newest first.

        Args:
            workflow: only those of this workflow.
            status: only those whose last attempt has this status, or one of these.
            limit: at most so many, 1 to 10,000.
            before: only those older than this one.

        Raises:
            DefinitionError: an unknown status, or a limit out of range.
        """
        wanted = check_statuses(status)
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise DefinitionError(f"limit lies between 1 and 10,000, not {limit!r}")
        last = None if before is None else before._id if isinstance(before, Job) else parse_id(before)
        rows = self._context._read("jobs", "list", (JOB_NAME, workflow, wanted, last, limit))
        return Listing([Job(self._context, row[0]) for row in rows])

    def _check(self, callback: Callback) -> None:
        """Whether it may be called, as far as that can be told now."""
        from dataflows_sdk.nodes.http import is_final
        from dataflows_sdk.triggers.signing import signed_headers

        context = self._context
        engine = context._engine
        services = engine.services
        if callback.secret_env is not None:
            if callback.secret_env not in services.env:
                raise DefinitionError(
                    f"secret_env names {callback.secret_env!r}, which flows may not read here: "
                    f"connect(services=df.Services(env=[{callback.secret_env!r}]))"
                )
            signed_headers(services.env[callback.secret_env], "check", engine.clock.now(), b"")
        try:
            engine.ask(services.egress.check(callback.url))
        except EgressDeniedError as error:
            if error.code == "dns_resolution_failed" and not is_final(error.__cause__):
                return  # a resolver that is away for a moment keeps nobody from enqueuing
            raise

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "jobs")
