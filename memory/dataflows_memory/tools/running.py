"""Tools over runs: start one, wait for it in bounded time, look at it, send it an event, ask a person."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_memory.tools.parameters import Parameters, checked_key
from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.errors import DataflowsError, InvalidIdError, RunNotFoundError, ToolError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.runs import Run

#: the flow by which people are asked
ASK = "ask-person"
_MOST_RUNS, _MOST_STEPS = 50, 200
_LONGEST_QUESTION = 4_000
#: for so long a repeated call is known
_REPEATED = "7d"
#: events by which the engine hears of answers, rows and children; a model that could send them could approve for people
_OWN_EVENTS = ("approval:", "resolve:", "row:", "child:", "cancel:")
_OPEN = ("queued", "running", "sleeping", "waiting")


@dataclass(frozen=True, slots=True)
class Offer:
    """A workflow that a model may start.

    Attributes:
        name: of the workflow.
        description: what it does.
        parameters: of its input.
        start: starts a run with an input, and options of `Context.start`.
    """

    name: str
    description: str
    parameters: Parameters
    start: Callable[..., Run]


def offer_of(context: Context, workflow: Any) -> Offer:
    """A workflow, a flow, or the name of one: in code here, saved in the database, or known to workers only.

    Raises:
        WorkflowNotFoundError: there is none of this name.
        FlowValidationError, DefinitionError: it can be none.
    """
    saved = None
    if isinstance(workflow, str) and context._catalog.get(workflow) is None:
        saved = next((each for each in context.flows.list(status="active", limit=1_000) if each.name == workflow), None)
    definition = context._engine.resolve(saved.flow()) if saved is not None else context._definition(workflow)
    told = (getattr(definition, "description", "") or "").strip().split("\n\n")[0]
    start = saved.start if saved is not None else _starter(context, definition.name)
    return Offer(definition.name, " ".join(told.split()), Parameters.of_workflow(definition), start)


def _starter(context: Context, name: str) -> Callable[..., Run]:
    return lambda payload, **options: context.start(name, payload, **options)


class RunTools:
    """What a set of tools may do with runs; bound when it is made.

    Args:
        context: whose runs.
        seconds: how long a call waits at the most.
        visible: the workflows whose runs may be seen; None: all.
    """

    def __init__(self, context: Context, seconds: float, visible: frozenset[str] | None) -> None:
        self._context = context
        self._seconds = seconds
        self._visible = visible

    def may_see(self, workflow: str | None) -> bool:
        """Whether runs of this workflow may be seen."""
        return self._visible is None or workflow in self._visible

    def starting(self, offer: Offer) -> Callable[..., Awaitable[dict[str, Any]]]:
        """What starts runs of a workflow and waits for them, in bounded time."""

        async def start(input: Any = None, idempotency_key: str | None = None) -> dict[str, Any]:
            run = await asyncio.to_thread(partial(offer.start, input, **_once(idempotency_key, input)))
            return await self._until(run, self._seconds)

        return start

    async def wait(self, run: str, seconds: float | None = None) -> dict[str, Any]:
        """Wait for the end of a run, in bounded time, and give its result; or say that it still goes on.

        Args:
            run: the id that starting it gave.
            seconds: how long; by default as long as a call may.
        """
        if seconds is not None and not seconds >= 0:
            raise ToolError(f"seconds={seconds}: wait for 0 seconds or more")
        found = await asyncio.to_thread(self._run, run)
        return await self._until(found, self._seconds if seconds is None else min(seconds, self._seconds))

    def runs(
        self,
        workflow: str | None = None,
        status: str | None = None,
        since: str | None = None,
        limit: int = 20,
    ) -> dict[str, Any]:
        """List runs, newest first: what ran, when, and how it ended.

        Args:
            workflow: only those of this name.
            status: queued, running, sleeping, waiting, succeeded, failed, cancelled or quarantined.
            since: created since then: an ISO time, or a duration such as "24h".
            limit: how many, 1 to 50.
        """
        if not 1 <= limit <= _MOST_RUNS:
            raise ToolError(f"limit={limit}: 1 to {_MOST_RUNS} runs are listed")
        if workflow is not None and not self.may_see(workflow):
            raise ToolError(f"runs of {workflow!r:.100} are not to be seen here; there are: {self._names()}")
        names = [workflow] if workflow is not None or self._visible is None else sorted(self._visible)
        rows = [
            row
            for name in names
            for row in self._context.runs(name, status, since=since, limit=limit).rows()
        ]  # fmt: skip
        rows.sort(key=lambda row: row["created_at"], reverse=True)
        kept = ("id", "workflow", "status", "created_at", "finished_at", "seconds", "wake_at")
        return {"runs": [{name: row[name] for name in kept} for row in rows[:limit]]}

    def run(self, run: str) -> dict[str, Any]:
        """Look at one run: its status, input, steps, result or error, what it waits for, and what it wrote.

        Args:
            run: its id, or the beginning of it.
        """
        found = self._run(run)
        steps = list(found.timeline())
        told = {
            **self._head(found),
            "created_at": found.created_at,
            "finished_at": found.finished_at,
            "input": found.input,
            "explanation": str(found.explain()),
            "steps": [_step(each) for each in steps[:_MOST_STEPS]],
            "more_steps": max(0, len(steps) - _MOST_STEPS),
            "wrote": found.wrote()[:_MOST_STEPS],
        }
        return told | self._outcome(found)

    def send_event(self, run: str, name: str, payload: Any = None) -> dict[str, Any]:
        """Send an event to a run that waits for one of this name, or will.

        Args:
            run: its id.
            name: of the event.
            payload: what the run gets.
        """
        if name.strip().lower().startswith(_OWN_EVENTS):
            raise ToolError(
                f"an event {name!r:.100} would answer for a person, or for the engine, and is not sent from here"
            )
        found = self._run(run)
        found.send_event(name, payload)
        return {"run": found.id, "sent": name}

    def approvals(self) -> dict[str, Any]:
        """List what runs ask people and nobody has answered yet. Only a person can answer; this does not."""
        found = [each for each in self._context.approvals.pending() if self.may_see(each.workflow)]
        names = ("id", "workflow", "message", "approvers", "requested_at", "expires_at")
        return {
            "pending": [
                {"run": str(each.run_id), **{name: getattr(each, name) for name in names}}
                for each in found[:_MOST_RUNS]
            ],
            "more": max(0, len(found) - _MOST_RUNS),
        }

    async def ask_person(self, question: str, idempotency_key: str | None = None) -> dict[str, Any]:
        """Ask a person to approve something, and wait for the answer in bounded time. It is theirs alone to give.

        Args:
            question: what you want to do and why, so that somebody who knows nothing of it can decide.
            idempotency_key: unique to this question; when it is asked again with the same key, it is asked once.
        """
        if not question.strip() or len(question) > _LONGEST_QUESTION:
            raise ToolError(f"a question has 1 to {_LONGEST_QUESTION:,} characters, not {len(question):,}")
        run = await asyncio.to_thread(self._ask, question, _once(idempotency_key, question))
        return await self._until(run, self._seconds)

    # --- within ------------------------------------------------------------------------------------------

    def _ask(self, question: str, options: dict[str, Any]) -> Run:
        saved = next((each for each in self._context.flows.list(limit=1_000) if each.name == ASK), None)
        if saved is None:
            from dataflows_sdk.flow.builder import flow

            # saved, so that any worker goes on with it, also when this process is gone
            made = flow(ASK).on_manual().approval("answer", "{{ trigger.question }}", timeout="30d")
            saved = self._context.flows.save(made, description="Agents ask people by it.", automatic=True)
        if saved.status != "active":
            saved.activate()
        return saved.start({"question": question}, **options)

    def _run(self, given: str) -> Run:
        try:
            found = self._context.get(given)
            if self.may_see(found.workflow):
                return found
        except (RunNotFoundError, InvalidIdError):
            pass
        raise RunNotFoundError(f"there is no run {given!r:.60} to be seen here; runs lists those that are")

    async def _until(self, run: Run, seconds: float) -> dict[str, Any]:
        try:
            await asyncio.wait_for(_end(run), seconds)
        except TimeoutError:
            return await asyncio.to_thread(self._handle, run, seconds)
        return await asyncio.to_thread(self._ended, run)

    def _handle(self, run: Run, seconds: float) -> dict[str, Any]:
        if run.refresh().status not in _OPEN:
            return self._ended(run)
        return {
            **self._head(run),
            "explanation": run.explain().summary,
            "next": f"It is not over after {format_duration(seconds)} and goes on; call wait with this run again.",
        }

    def _ended(self, run: Run) -> dict[str, Any]:
        told = {**self._head(run.refresh()), **self._outcome(run)}
        if "error" not in told:
            return told
        error = told["error"] or {}
        if error.get("type", "").endswith("ApprovalRejectedError") and run.workflow == ASK:
            return {**self._head(run), "result": {"decision": "rejected"}, "note": error.get("message")}
        where = f" in step {error['step']!r}" if "step" in error else ""
        what = ": ".join(str(error[name]) for name in ("type", "message") if error.get(name))
        raise ToolError(f"run {run.id} of {run.workflow!r} {told['status']}{where}{': ' if what else ''}{what}")

    def _head(self, run: Run) -> dict[str, Any]:
        return {"run": run.id, "workflow": run.workflow, "status": run.status}

    def _outcome(self, run: Run) -> dict[str, Any]:
        if run.status in _OPEN:
            return {}
        if run.status == "succeeded":
            rows = self._context._read("look", "outcome", (UUID(run.id),))
            # leniently: this process need not have the classes of the value
            return {"result": self._context._decode(json.loads(rows[0][1]).get("value"))}
        found = run.error
        if isinstance(found, Mapping):
            return {"error": {name: found[name] for name in ("type", "message", "step", "code") if name in found}}
        return {"error": {"message": found} if found else {}}

    def _names(self) -> str:
        return ", ".join(sorted(self._visible or ())) or "none"


def _once(key: str | None, given: Any) -> dict[str, Any]:
    """Options of a start that is repeated. What is asked is a part of the key: other arguments are another call."""
    if key is None:
        return {}
    content = json.dumps([checked_key(key), given], sort_keys=True, default=str)
    return {"idempotency_key": f"tool:{hashlib.sha256(content.encode()).hexdigest()}", "idempotency_ttl": _REPEATED}


def _step(step: Any) -> dict[str, Any]:
    told = {
        "key": step.key,
        "op": step.op,
        "status": step.status,
        "attempt": step.attempt,
        "started_at": step.started_at,
        "seconds": step.seconds,
    }
    if step.error is not None:
        told["error"] = {name: step.error[name] for name in ("type", "message") if name in step.error}
    return told


async def _end(run: Run) -> None:
    try:
        await run
    except TimeoutError:
        raise
    except DataflowsError:
        return  # how it ended, or that its value cannot be made here, is told from the journal
