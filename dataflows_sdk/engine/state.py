"""A run is the fold of its events.

Pure: no I/O, no clock, no randomness. `fold` takes the state built so far and one event and gives the state after
it; folding the journal from the first event on always gives the same state, in every process. The state is updated
in place, because a run may have a hundred thousand events, but nothing outside of it is read or touched.

Kinds of events, and what their ``data`` holds:

========================  ==================================================================================
``run.created``           workflow, version, input, and where there is one: parent, fork, traceparent
``run.claimed``           worker, why (``queued``, ``sleeping``, ``waiting``: woken; ``lost``: taken over); the first
                          time version: the code that it begins with
``run.suspended``         status, until, waiting: what the run sleeps for
``run.released``          handed back by a process that shut down
``run.lost``              its worker is gone; it lined up again
``run.input``             before its start: another input in the place of the first (debounce), or beside it (batch)
``run.cancel_requested``  reason, message
``run.completed``         value
``run.failed``            error
``run.cancelled``         reason
``run.quarantined``       reason: code, message, and a difference where the code changed
``run.resumed``           a person let a quarantined run go on
``step.started``          op, name, attempt, input: the step outlived a moment and is now visible
``step.waiting``          op (``sleep``, ``wait``, ``child``), until, event, match, child
``step.completed``        op, name, n, attempt, took (seconds), value, input
``step.failed``           as above with error; retry_at when it will be tried again
``step.timed_out``        a wait whose time ran out
``step.skipped``          a node of a DAG that was not taken; reason
``scope.opened``          op, name, n; count or keys: the branches of a map, parallel or gather
``progress``              done, total, text
========================  ==================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic_core import from_json

from dataflows_sdk.core.shown import Sheet, ShownAsTable

StepState = Literal["started", "waiting", "retrying", "completed", "failed", "timed_out", "skipped"]

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "quarantined"})

_STEP_STATES: dict[str, StepState] = {
    "step.started": "started",
    "step.waiting": "waiting",
    "step.completed": "completed",
    "step.timed_out": "timed_out",
    "step.skipped": "skipped",
}
_ENDS = {
    "run.completed": "succeeded",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
    "run.quarantined": "quarantined",
}


@dataclass(slots=True)
class JournalEvent(ShownAsTable):
    """One event as it stands in the journal."""

    seq: int
    kind: str
    key: str
    data: dict[str, Any]
    at: datetime
    #: whether a tag of the codec is somewhere in the data: without one the values are what they look like
    tagged: bool = True


class StepRecord(ShownAsTable):
    """What the journal knows of one step: its last event and what came before it."""

    __slots__ = ("attempt", "data", "first_seq", "input", "key", "seq", "started_at", "state", "tagged", "until")

    def __init__(self, key: str, seq: int) -> None:
        self.key = key
        self.first_seq = seq
        self.seq = seq
        self.state: StepState = "started"
        self.attempt = 1
        self.data: dict[str, Any] = {}
        self.input: Any = None
        self.until: datetime | None = None
        self.started_at: datetime | None = None
        self.tagged = True

    @property
    def op(self) -> str:
        return str(self.data.get("op", "run"))

    @property
    def name(self) -> str:
        return str(self.data.get("name", self.key))

    @property
    def done(self) -> bool:
        return self.state in ("completed", "failed", "timed_out", "skipped")

    def _sheet(self) -> Sheet:
        return Sheet("StepRecord", [(name, getattr(self, name, None)) for name in self.__slots__])


@dataclass(slots=True)
class RunState(ShownAsTable):
    """A run at some point of its journal."""

    status: str = "queued"
    workflow: str = ""
    version: str = ""
    seq: int = 0
    created: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, StepRecord] = field(default_factory=dict)
    #: keys of the branches of every map, parallel and gather
    scopes: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: claims after a lost owner since the last progress of a step
    crashes: int = 0
    claims: int = 0
    #: how often a person let it out of quarantine, and when for the last time
    resumes: int = 0
    resumed_at: datetime | None = None
    #: when it was let go of for the last time, and the steps that were parked then, not waiting
    left_seq: int = 0
    parked: frozenset[str] = frozenset()
    cancel: dict[str, Any] | None = None
    #: the version that a person pinned the run to
    pinned: str | None = None
    suspended: dict[str, Any] | None = None
    outcome: dict[str, Any] | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None


def parse(seq: int, kind: str, key: str, data: str, at: datetime) -> JournalEvent:
    """An event from the columns of its row."""
    return JournalEvent(seq, kind, key, from_json(data), at, '"$' in data)


def fold(state: RunState, event: JournalEvent) -> RunState:
    """The state after *event*."""
    state.seq = event.seq
    if event.kind.startswith("step."):
        _fold_step(state, event)
    elif event.kind == "scope.opened":
        state.scopes[event.key] = event.data
    elif event.kind != "progress":
        _fold_run(state, event)
    return state


def _fold_run(state: RunState, event: JournalEvent) -> None:
    kind, data = event.kind, event.data
    if kind == "run.created":
        state.created = data
        state.workflow = data.get("workflow", "")
        state.version = data.get("version", "")
        state.created_at = event.at
        state.status = data.get("status", "running")
    elif kind == "run.claimed":
        state.status = "running"
        state.suspended = None
        state.claims += 1
        state.version = data.get("version", state.version)
        if data.get("why") == "lost":
            state.crashes += 1
    elif kind == "run.suspended":
        state.status = data["status"]
        state.suspended = data
        state.crashes = 0
        _leave(state, event)
    elif kind == "run.released":
        state.status = "queued"
        _leave(state, event)
    elif kind == "run.lost":
        state.status = "queued"
        state.crashes += 1
    elif kind == "run.input":
        _fold_input(state, data)
    elif kind == "run.cancel_requested":
        state.cancel = data
    elif kind == "run.resumed":
        state.status = "queued"
        state.outcome = None
        state.crashes = 0
        state.pinned = data.get("version")
        state.resumes += 1
        state.resumed_at = event.at
    elif kind in _ENDS:
        state.status = _ENDS[kind]
        state.outcome = data
        state.ended_at = event.at


def _leave(state: RunState, event: JournalEvent) -> None:
    state.left_seq = event.seq
    waiting = event.data.get("waiting") or ()
    state.parked = frozenset(each["key"] for each in waiting if each["op"] == "replay")


def _fold_input(state: RunState, data: dict[str, Any]) -> None:
    if data.get("batch"):
        state.created = {**state.created, "input": [*state.created["input"], data["input"]]}
    else:
        state.created = {**state.created, "input": data["input"]}


def _fold_step(state: RunState, event: JournalEvent) -> None:
    data = event.data
    record = state.steps.get(event.key)
    if record is None:
        record = state.steps[event.key] = StepRecord(event.key, event.seq)
    attempt = data.get("attempt", 1)
    if event.kind == "step.started" and record.state != "started" and attempt <= record.attempt:
        # A transaction commits by a connection of its own and may overtake the note that it began.
        return
    if record.started_at is None or attempt != record.attempt:
        record.started_at = event.at
    record.seq = event.seq
    record.attempt = attempt
    record.tagged = event.tagged
    if "input" in data:
        record.input = data["input"]
    if event.kind == "step.failed":
        retry_at = data.get("retry_at")
        record.state = "retrying" if retry_at else "failed"
        record.until = datetime.fromisoformat(retry_at) if retry_at else None
        state.crashes = 0
    else:
        record.state = _STEP_STATES[event.kind]
        until = data.get("until")
        record.until = datetime.fromisoformat(until) if until else None
        if record.state != "started":
            state.crashes = 0
    if record.state == "completed" and record.op == "child":
        data = {**record.data, **data}  # the child's id came with the event that started it
    record.data = data


def ordinals(state: RunState) -> dict[str, dict[int, StepRecord]]:
    """For each scope path, its steps and groups by the order in which the scope's own code asked for them.

    Steps that user-made tasks of a scope asked for have no order and are left out.
    """
    found: dict[str, dict[int, StepRecord]] = {}
    for record in state.steps.values():
        n = record.data.get("n")
        if n is not None:
            found.setdefault(scope_of(record.key), {})[n] = record
    for key, opened in state.scopes.items():
        if (n := opened.get("n")) is not None:
            found.setdefault(scope_of(key), {}).setdefault(n, StepRecord(key, 0))
    return found


def scope_of(key: str) -> str:
    """The path of the scope in which a step stands: everything up to its last ``/``."""
    return key[: key.rfind("/") + 1]
