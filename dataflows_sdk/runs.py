"""Handles on runs: `Run` for one, `Runs` for a page of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.bars import bar, place
from dataflows_sdk.core.durations import Duration, format_duration, parse_duration
from dataflows_sdk.core.shown import MARKS, MOST_ROWS, Listing, Sheet, ShownAsTable, counted
from dataflows_sdk.engine import timeline
from dataflows_sdk.engine.outcome import Outcome
from dataflows_sdk.engine.replay import Replay, dry_replay
from dataflows_sdk.engine.state import FINISHED, TERMINAL, JournalEvent, RunState, fold, parse
from dataflows_sdk.engine.tally import Tally
from dataflows_sdk.engine.timeline import StepView, Timeline
from dataflows_sdk.errors import (
    DefinitionError,
    RunCancelled,
    RunFailed,
    RunNotFoundError,
    RunQuarantined,
    StepFailed,
    StoreUnavailableError,
)
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.noderuns import StepRun, step_runs
from dataflows_sdk.past import Difference, Explanation, Moment, explain, run_difference
from dataflows_sdk.showing import Viewable
from dataflows_sdk.streams import StreamEvent, afollow, follow

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.outcome import End

_COLUMNS = (
    "id",
    "workflow",
    "version",
    "status",
    "epoch",
    "owner",
    "wake_at",
    "waits",
    "last_seq",
    "parent",
    "parent_key",
    "forked_from",
    "idempotency_key",
    "created_at",
    "started_at",
    "finished_at",
    "heartbeat_at",
    "worker",
)


#: how long a run that began in this process is expected to end in it before the database is asked
_NEAR_SECONDS = 1.0
#: and then, while somebody waits and watches, how often its journal is read
_LOOK = 0.3


class Run(Viewable):
    """One run, in this process or any other. Attributes are read from the database when they are asked for.

    ``await run`` and `result` wait for its end; everything else looks at the journal, in whatever state the run is.
    """

    def __init__(
        self, context: Context, run_id: UUID, outcome: Outcome | None = None, row: Sequence[Any] | None = None
    ) -> None:
        self._context = context
        self._id = run_id
        self._outcome = outcome
        self._row: dict[str, Any] | None = None if row is None else dict(zip(_COLUMNS, row, strict=True))

    @property
    def id(self) -> str:
        """The run's id, a UUIDv7."""
        return str(self._id)

    # --- the head ----------------------------------------------------------------------------------------

    def refresh(self) -> Run:
        """Read the run's standing again.

        Raises:
            RunNotFoundError: it does not exist, or retention took it.
        """
        rows = self._context._read("look", "run", (self._id,))
        if not rows:
            raise RunNotFoundError(f"there is no run {self.id}; ctx.runs() lists those that exist")
        self._row = dict(zip(_COLUMNS, rows[0], strict=True))
        return self

    def _head(self) -> dict[str, Any]:
        if self._row is None or self._row["status"] not in FINISHED:
            self.refresh()
        assert self._row is not None
        return self._row

    @property
    def status(self) -> str:
        """One of queued, running, sleeping, waiting, succeeded, failed, cancelled, quarantined."""
        return str(self._head()["status"])

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return str(self._head()["workflow"])

    @property
    def version(self) -> str:
        """The hash of the code that the run was started with."""
        return str(self._head()["version"])

    @property
    def created_at(self) -> datetime:
        """When it was started, by the database's clock."""
        value: datetime = self._head()["created_at"]
        return value

    @property
    def started_at(self) -> datetime | None:
        value: datetime | None = self._head()["started_at"]
        return value

    @property
    def finished_at(self) -> datetime | None:
        value: datetime | None = self._head()["finished_at"]
        return value

    @property
    def parent(self) -> Run | None:
        """The run whose child this is."""
        parent = self._head()["parent"]
        return None if parent is None else Run(self._context, parent)

    @property
    def forked_from(self) -> Run | None:
        """The run that this one is a fork of."""
        origin = self._head()["forked_from"]
        return None if origin is None else Run(self._context, origin)

    @property
    def idempotency_key(self) -> str | None:
        value: str | None = self._head()["idempotency_key"]
        return value

    def children(self) -> list[Run]:
        """The runs that this one invoked, oldest first."""
        found = self._context._runs(parent=self._id, limit=10_000)
        return list(reversed(found))

    @property
    def input(self) -> Any:
        """The payload that the run was started with."""
        first = self._events(up_to=1)[0].data
        # one that was gathered from several starts has the others in later events
        created = self.state().created if first.get("status") == "sleeping" else first
        return self._decode(created.get("input"))

    @property
    def error(self) -> dict[str, Any] | None:
        """Type, message, traceback and step of a failure; the reason of a quarantine."""
        found = self._context._read("look", "outcome", (self._id,))
        if not found or found[0][0] not in TERMINAL:
            return None
        data: dict[str, Any] = json.loads(found[0][1])
        return data.get("error") or data.get("reason") or None

    # --- waiting -----------------------------------------------------------------------------------------

    def wait(self, timeout: Duration | None = None) -> Run:
        """Wait until the run is over or quarantined; TimeoutError when it takes longer than *timeout*."""
        self._wait(None if timeout is None else parse_duration(timeout).total_seconds())
        return self

    def result(self, timeout: Duration | None = None) -> Any:
        """Wait for the run and give what its code returned.

        Raises:
            StepFailed, RunFailed: it failed; the recorded error is the cause.
            RunCancelled, RunQuarantined: it gave no result.
            TimeoutError: it is not over yet. The run goes on.
        """
        seconds = None if timeout is None else parse_duration(timeout).total_seconds()
        return self._give(*self._wait(seconds))

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async().__await__()

    def _watched(self) -> Outcome:
        """What tells of the run's end, whoever executes it."""
        outcome = self._outcome
        if outcome is None:
            outcome = self._outcome = Outcome()
            self._context._engine.watch(self._id, outcome)
        elif outcome.dropped:
            self._context._engine.watch(self._id, outcome)
        else:
            outcome.wanted = True
        return outcome

    async def _result_async(self) -> Any:
        outcome = self._watched()
        if not outcome.done():
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            bridge = self._context._bridge(loop)

            def told() -> None:
                if not future.done():
                    future.set_result(None)

            outcome.when_done(lambda: bridge.call(told))
            await asyncio.wait([future], timeout=_NEAR_SECONDS)
            if not outcome.done():
                await asyncio.to_thread(self.refresh)
                # It takes longer than a moment: it may have left this process before it was known that we wait.
                self._context._engine.watch(self._id, outcome)
                await future
        return self._give(*outcome.end())

    def _wait(self, seconds: float | None) -> End:
        outcome = self._watched()
        if not outcome.done():
            deadline = None if seconds is None else time.monotonic() + seconds
            if not outcome.wait(_NEAR_SECONDS if seconds is None else min(seconds, _NEAR_SECONDS)):
                self.refresh()
                self._context._engine.watch(self._id, outcome)
                if not self._wait_and_tell(outcome, deadline):
                    raise TimeoutError(
                        f"run {self.id} is not over after {seconds:g} s; it goes on, "
                        "and run.explain() says what it waits for"
                    )
        return outcome.end()

    def _wait_and_tell(self, outcome: Outcome, deadline: float | None) -> bool:
        """Wait for longer than a moment, and say in a notebook how far it is; whether it is over."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if place() == "nowhere":
            return outcome.wait(left)
        with bar(self.workflow, after=0) as tell:
            tally, seq = Tally(), 0
            while not outcome.wait(_LOOK if left is None else min(_LOOK, left)):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if left == 0:
                    return False
                events = self._after(seq)
                seq = events[-1].seq if events else seq
                for event in events:
                    tally.take(event)
                tell(tally.done, None, tally.text)
            return True

    def _give(self, status: str, text: str) -> Any:
        data: dict[str, Any] = json.loads(text)
        if status == "succeeded":
            return self._decode(data.get("value"), strict=True)
        if status == "cancelled":
            reason = data.get("reason")
            raise RunCancelled(f"run {self.id} was cancelled" + (f": {reason}" if reason else ""), self.id)
        if status == "quarantined":
            reason = data.get("reason") or {}
            raise RunQuarantined(f"run {self.id} is quarantined: {reason.get('message', '')}", self.id, reason)
        error = data.get("error") or {}
        cause = self._context._engine.values.error(error)
        what = f"{error.get('type', 'Error')}: {error.get('message', '')}"
        if "step" in error:
            tries = f" after {error['attempts']} attempts" if error.get("attempts", 1) > 1 else ""
            raise StepFailed(
                f"run {self.id} failed in step {error['step']!r}{tries}: {what}",
                self.id,
                error,
                error["step"],
                error.get("attempts", 1),
            ) from cause
        raise RunFailed(f"run {self.id} failed: {what}", self.id, error) from cause

    def _decode(self, tree: Any, *, strict: bool = False) -> Any:
        return self._context._decode(tree, strict=strict)

    # --- the past ----------------------------------------------------------------------------------------

    def _events(self, up_to: int | None = None) -> list[JournalEvent]:
        rows = self._context._read("look", "events", (self._id, 0, up_to))
        if not rows:
            raise RunNotFoundError(f"there is no run {self.id}; ctx.runs() lists those that exist")
        return Listing([parse(seq, kind, key, data, at) for seq, kind, key, data, at, _ in rows])

    def events(self) -> list[JournalEvent]:
        """The whole journal of the run, in order; each with seq, kind, key, data and at."""
        return self._events()

    def stream(self, after: int = 0) -> Iterator[StreamEvent]:
        """What happens in the run, as it happens: an iterator that waits, and ends when the run is over.

        Args:
            after: the id of the last event that is known already; 0 begins with what happened first.
        """
        return follow(self._after, self._is_over, after)

    def astream(self, after: int = 0) -> AsyncIterator[StreamEvent]:
        """`stream` for code on an event loop: ``async for event in run.astream()``."""
        return afollow(self._after, self._is_over, after)

    def _after(self, seq: int) -> list[JournalEvent]:
        rows = self._context._read("look", "events", (self._id, seq, None))
        if not rows and not seq:
            raise RunNotFoundError(f"there is no run {self.id}; ctx.runs() lists those that exist")
        return [parse(seq, kind, key, data, at) for seq, kind, key, data, at, _ in rows]

    def _is_over(self, seq: int) -> bool:
        """Whether the run is over and its last event is not behind *seq*."""
        row = self._context._read("look", "run", (self._id,))
        return not row or (row[0][3] in TERMINAL and row[0][8] <= seq)

    def timeline(self) -> Timeline:
        """The steps in the order in which they began, each with its times, input, output or error."""
        return timeline.build(self._events(), self.status, self._decode)

    def at(self, point: str | int) -> Moment:
        """The run as it was when a step began, or after the event with a given seq.

        The moment has the step's `inputs`, the `results` so far, what was `waiting`, and the `source` that ran.

        Raises:
            DefinitionError: no such step or event.
        """
        return Moment(self, self._events(), point)

    def replay(self, workflow: Any = None) -> Replay:
        """Today's code against what is recorded, without any effect: does it still fit, and where not?

        Args:
            workflow: other code to try; by default the workflow of this name in this process.
        """
        engine = self._context._engine
        definition = engine.resolve(self.workflow if workflow is None else workflow)
        result: Replay = engine.ask(dry_replay(engine, self._id, definition, self._events()))
        return result

    def debug(self, workflow: Any = None, *, debugger: Any = None) -> Replay:
        """Step through today's code against what is recorded, in pdb; in a notebook in IPython's debugger.

        It stops at the workflow's first line. Steps give what is recorded and have no effect; where the code asks for
        something that is not recorded, it ends.

        Args:
            workflow: other code; by default the workflow of this name in this process.
            debugger: another `pdb.Pdb`.

        Returns:
            what `replay` gives.

        Raises:
            DefinitionError: it is a flow, which has no code to step through.
            WorkflowNotFoundError: this process has no workflow of that name.
        """
        from dataflows_sdk.engine.debugging import debug

        engine = self._context._engine
        definition = engine.resolve(self.workflow if workflow is None else workflow)
        return debug(engine, self._id, definition, self._events(), debugger)

    def fork(
        self,
        at: str | int | Sequence[str] | None = None,
        set: Mapping[str, Any] | None = None,
        *,
        workflow: Any = None,
    ) -> Run:
        """A new run that shares this one's past up to a step and does the rest again, with today's code.

        That of a saved flow does the rest on its own version; ``workflow=ctx.flows.get(name).flow()`` takes the newest.

        Args:
            at: the step that is done again first: its name, its key (``squares[1]``), a seq, or a sequence of keys
                to go into children: ``["ship-order", "charge"]`` forks the child of step ``ship-order`` at
                ``charge`` and this run around it.
            set: values to take instead of what earlier steps returned.
            workflow: other code.

        Raises:
            DefinitionError: no such step, or one that cannot be replaced.
        """
        return self._context._fork(self, at, set or {}, workflow)

    def diff(self, other: Run) -> Difference:
        """What differs between two runs: input, steps, results, errors, end."""
        return run_difference(self, other)

    def explain(self) -> Explanation:
        """Why the run is not over: what it waits for, since when, and what would wake it. Or how it ended."""
        return explain(self)

    def wrote(self) -> list[dict[str, Any]]:
        """What it wrote to the warehouse, in order: table, step, time, source, how many rows of which kind."""
        return self._context.warehouse._reader.wrote(self._id)

    @property
    def source(self) -> str:
        """The source of the workflow's version that the run was started with."""
        rows = self._context._read("look", "version", (self.workflow, self.version))
        return str(rows[0][1] or "") if rows else ""

    def nodes(self) -> list[StepRun]:
        """The nodes of a flow's run, each as it stands: first those that began, then those that did not."""
        rows = self._context._read("look", "version", (self.workflow, self.version))
        spec = FlowSpec.from_document(rows[0][2]) if rows and rows[0][0] == "flow" and rows[0][2] else None
        return step_runs(self._id, self.timeline(), self._events(), spec, self.status)

    def outputs(self) -> dict[str, Any]:
        """What templates could read of a flow's run: ``{"trigger": …, "steps": {node: {"output": …}}}``."""
        steps: dict[str, Any] = {}
        for each in self.nodes():
            if each.loop_group_id is None and each.status in ("completed", "failed"):
                steps[each.node_id] = {"output": each.output} | ({"error": each.error} if each.error else {})
        return {"trigger": self._decode(self.state().created.get("input")), "steps": steps}

    def state(self) -> RunState:
        """The fold of the run's journal."""
        state = RunState()
        for event in self._events():
            fold(state, event)
        return state

    # --- doing something ---------------------------------------------------------------------------------

    def send_event(self, name: str, payload: Any = None, *, dedupe_key: str | None = None) -> Run:
        """Send an event to this run; see `Context.send_event`."""
        self._context.send_event(self, name, payload, dedupe_key=dedupe_key)
        return self

    def cancel(self, reason: str = "") -> Run:
        """Ask for the run's end; it comes at its next step or wait, after its compensations.

        Raises:
            RunFinishedError: it is already over.
        """
        self._context.cancel(self, reason)
        return self

    def resume(self, *, version: str = "current") -> Run:
        """Let a quarantined run go on: with today's code, or with ``version="recorded"`` on the code it began with.

        Raises:
            DefinitionError: it is not quarantined, or this process does not have that version.
        """
        self._context._resume(self, version)
        self._outcome = None  # it told of the quarantine
        return self

    def resolve(self, step: str, action: str = "retry") -> Run:
        """Answer an uncertain step whose policy is ``"ask"``: ``"retry"`` it, or ``"fail"`` it."""
        if action not in ("retry", "fail"):
            raise DefinitionError(f"an uncertain step is resolved with 'retry' or 'fail', not {action!r}")
        self._context.send_event(self, f"resolve:{step}", {"action": action})
        return self

    # --- shown -------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        try:
            head = self._head()
        except (RunNotFoundError, StoreUnavailableError):
            return f"<run {self.id}>"
        text = f"<run {self.id} of {head['workflow']!r}: {head['status']}"
        if head["finished_at"] is not None and head["started_at"] is not None:
            text += f" in {format_duration(head['finished_at'] - head['started_at'])}"
        return text + ">"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


class Runs(Sequence[Run], ShownAsTable):
    """A page of runs, newest first; `next` gives the one after it."""

    def __init__(self, runs: list[Run], more: Mapping[str, Any] | None) -> None:
        self._runs = runs
        self._more = more

    def __getitem__(self, index: Any) -> Any:
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    @property
    def next(self) -> Runs | None:
        """The next page, or None."""
        if self._more is None or not self._runs:
            return None
        context, options = self._more["context"], self._more["options"]
        return context.runs(**options, before=self._runs[-1].id)  # type: ignore[no-any-return]

    def rows(self) -> list[dict[str, Any]]:
        """A dict per run, ready for a DataFrame."""
        now = datetime.now(UTC)
        found = []
        for run in self._runs:
            head = run._row or run._head()
            began, ended = head["started_at"], head["finished_at"]
            seconds = (ended or now) - began if began is not None else timedelta(0)
            found.append(
                {
                    "id": run.id,
                    "workflow": head["workflow"],
                    "status": head["status"],
                    "created_at": head["created_at"],
                    "started_at": began,
                    "finished_at": ended,
                    "seconds": seconds.total_seconds(),
                    "wake_at": head["wake_at"],
                    "version": head["version"],
                }
            )
        return found

    def df(self) -> Any:
        """The page as a pandas DataFrame."""
        try:
            import pandas as pd
        except ImportError:
            from dataflows_sdk.errors import MissingExtraError

            raise MissingExtraError('Runs.df() needs pandas: pip install "dataflows-sdk[frames]"') from None
        return pd.DataFrame(self.rows())

    def __repr__(self) -> str:
        if not self._runs:
            return "(no runs)"
        lines = [
            f"{row['id']}  {row['status']:<11} {row['created_at']:%Y-%m-%d %H:%M:%S}  {row['workflow']}"
            for row in self.rows()
        ]
        return "\n".join(lines)

    def _sheet(self) -> Sheet:
        columns = ("run", "workflow", "status", "created", "took")
        rows = [
            (row["id"], row["workflow"], f"{MARKS[row['status']]} {row['status']}", row["created_at"],
             format_duration(row["seconds"]) if row["started_at"] is not None else "")
            for row in Runs(self._runs[:MOST_ROWS], None).rows()
        ]  # fmt: skip
        notes = ["there are older ones: .next"] if self._more is not None else []
        return Sheet(counted(len(self), "run"), rows, columns, total=len(self), notes=notes)


__all__ = ["Run", "Runs", "StepView"]
