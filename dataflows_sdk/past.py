"""Looking at a run's past: a moment of it, why it is not over, how it differs from another."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.shown import Sheet, ShownAsTable, counted
from dataflows_sdk.engine import timeline
from dataflows_sdk.engine.state import JournalEvent, RunState, fold
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.queues import standing

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.engine.timeline import StepView, Timeline
    from dataflows_sdk.runs import Run


#: what opens branches gives no value of its own: the branches have theirs
_GROUPS = frozenset({"map", "parallel", "gather"})


class Moment(ShownAsTable):
    """A run as it was at one point.

    Attributes:
        seq: the last event that had happened.
        time: when that was.
        state: the fold of the journal up to there.
    """

    def __init__(self, run: Run, events: Sequence[JournalEvent], point: str | int) -> None:
        self._run = run
        self._point = point
        self.seq, self._step = _find(events, point)
        self._all = events
        self._events = [event for event in events if event.seq <= self.seq]
        self.state = RunState()
        for event in self._events:
            fold(self.state, event)
        self.time = self._events[-1].at if self._events else events[0].at

    @property
    def timeline(self) -> Timeline:
        """The steps up to this moment."""
        return timeline.build(self._events, self.state.status, self._run._decode)

    @property
    def step(self) -> StepView | None:
        """The step at this moment, with what became of it."""
        if self._step is None:
            return None
        full = timeline.build(self._all, "", self._run._decode)
        found: StepView = full[self._step]
        return found

    @property
    def inputs(self) -> Any:
        """What the step was called with, as recorded; the run's input where the moment is no step."""
        step = self.step
        return self._run.input if step is None else step.input

    @property
    def results(self) -> dict[str, Any]:
        """What the steps had returned by then, by key."""
        return {
            key: self._run._decode(record.data.get("value"))
            for key, record in self.state.steps.items()
            if record.state == "completed" and record.op not in _GROUPS
        }

    @property
    def waiting(self) -> list[str]:
        """Keys of the steps that waited or were to be tried again."""
        return [key for key, r in self.state.steps.items() if r.state in ("waiting", "retrying", "started")]

    @property
    def source(self) -> str:
        """The source of the workflow's version."""
        return self._run.source

    def __repr__(self) -> str:
        done = sum(record.state == "completed" for record in self.state.steps.values())
        return (
            f"<run {self._run.id} at {self._point!r} ({self.time:%Y-%m-%d %H:%M:%S.%f}): {counted(done, 'step')} done>"
        )

    def _sheet(self) -> Sheet:
        head = [("run", self._run.id), ("event", self.seq), ("time", self.time), ("status", self.state.status)]
        if self.waiting:
            head.append(("waits at", ", ".join(self.waiting)))
        return Sheet(f"at {self._point!r}", head, parts=[self.timeline._sheet()])


def _find(events: Sequence[JournalEvent], point: str | int) -> tuple[int, str | None]:
    if isinstance(point, bool) or not isinstance(point, str | int):
        raise DefinitionError(f"a moment is a step's key or an event's seq, not {point!r}")
    if isinstance(point, int):
        if not events[0].seq <= point <= events[-1].seq:
            raise DefinitionError(f"the run has events {events[0].seq} to {events[-1].seq}, there is no {point}")
        at_event = next((event for event in events if event.seq >= point), events[-1])
        return point, at_event.key or None
    for event in events:
        if event.key == point or (event.kind.startswith("step.") and event.data.get("name") == point):
            return event.seq - 1, event.key
    keys = list(dict.fromkeys(event.key for event in events if event.key))
    near = difflib.get_close_matches(point, keys, 3)
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else f"; it has {', '.join(keys[:20]) or 'none'}"
    raise DefinitionError(f"the run has no step {point!r}{hint}")


# --- why it is not over -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explanation(ShownAsTable):
    """Why a run stands where it stands.

    Attributes:
        status: the run's status.
        summary: one sentence.
        details: one line for each thing it waits for, or that happened to it.
        actions: what one can do.
    """

    status: str
    summary: str
    details: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"{self.status}: {self.summary}"]
        lines += [f"  - {detail}" for detail in self.details]
        lines += [f"  → {action}" for action in self.actions]
        return "\n".join(lines)

    __str__ = __repr__

    def _sheet(self) -> Sheet:
        rows = [("", detail) for detail in self.details] + [("→", action) for action in self.actions]
        return Sheet(f"{self.status}: {self.summary}", rows)


def explain(run: Run) -> Explanation:
    """See `Run.explain`."""
    head = run.refresh()._head()
    status = head["status"]
    state = run.state()
    if status in ("sleeping", "waiting"):
        return _explain_wait(run, head, state)
    if status == "queued":
        known = run._context._knows(head["workflow"])
        published = run._context._published_as(head["workflow"])
        reasons = standing(run._context, run._id)
        unknown = () if known else (f"this process does not know {head['workflow']!r}",)
        return Explanation(
            status,
            f"since {_ago(head['wake_at'])} it may be claimed by any worker that knows workflow {head['workflow']!r}",
            (*reasons, *unknown, *published),
            () if known else ("import the module that defines the workflow, run its cell, or ctx.register(flow)",),
        )
    if status == "running":
        return _explain_running(head, state)
    if status == "quarantined":
        reason = (state.outcome or {}).get("reason") or {}
        return Explanation(
            status,
            str(reason.get("message", "")),
            tuple(f"{name}: {reason[name]}" for name in ("recorded", "asked", "version") if name in reason),
            (
                "mend the code, then run.resume()",
                'run.resume(version="recorded") where this process has that version',
                "run.fork(at=…) on today's code",
                "run.replay() shows the difference without any effect",
            ),
        )
    if status == "failed":
        error = (state.outcome or {}).get("error") or {}
        where = f" in step {error['step']!r}" if "step" in error else ""
        actions = (f"run.fork(at={error['step']!r}) does it again from there",) if "step" in error else ()
        return Explanation(status, f"it failed{where}: {error.get('type')}: {error.get('message')}", (), actions)
    if status == "cancelled":
        reason = (state.outcome or {}).get("reason") or "no reason was given"
        return Explanation(status, f"it was cancelled {_ago(head['finished_at'])} ago: {reason}")
    return Explanation(status, f"it ended {_ago(head['finished_at'])} ago")


def _explain_wait(run: Run, head: dict[str, Any], state: RunState) -> Explanation:
    at = head["wake_at"]
    if not state.claims and not state.steps and at is not None:
        return Explanation(
            head["status"], f"it was to be started later: it lines up at {at:%Y-%m-%d %H:%M:%S} UTC (in {_in(at)})"
        )
    details: list[str] = []
    actions: list[str] = []
    since = state.suspended and next(
        (e.at for e in reversed(run._events()) if e.kind == "run.suspended"), head["created_at"]
    )
    for item in (state.suspended or {}).get("waiting", ()):
        until = datetime.fromisoformat(item["until"]) if item.get("until") else None
        left = f" until {until:%Y-%m-%d %H:%M:%S} UTC (in {_in(until)})" if until else ""
        if item["op"] == "sleep":
            details.append(f"step {item['key']!r} sleeps{left}")
        elif item["op"] == "retry":
            record = state.steps.get(item["key"])
            error = (record.data.get("error") or {}) if record else {}
            details.append(f"step {item['key']!r} is tried again{left}: {error.get('type')}: {error.get('message')}")
        elif (item.get("message") or "").startswith("child:"):
            details.append(f"step {item['key']!r} waits for child run {item['message'][6:]}")
        else:
            details.append(f"step {item['key']!r} waits for event {item['message']!r}{left}")
            actions.append(f"run.send_event({item['message']!r}, …) wakes it")
    about = f", for {_ago(since)}" if since else ""
    return Explanation(
        head["status"], f"it waits{about} and holds nothing but its rows", tuple(details), tuple(actions)
    )


def _explain_running(head: dict[str, Any], state: RunState) -> Explanation:
    info = head["worker"] or {}
    info = json.loads(info) if isinstance(info, str) else info
    beat = head["heartbeat_at"]
    where = f"by process {info.get('pid')} on {info.get('host')}" if info else "by a process whose record is gone"
    alive = f", last heard of {_ago(beat)} ago" if beat else ""
    details = [
        f"step {record.key!r} is {record.state} (attempt {record.attempt})"
        for record in state.steps.values()
        if record.state in ("started", "waiting", "retrying")
    ]
    actions = () if beat else ("the next worker that knows the workflow takes it over",)
    return Explanation("running", f"it is executed {where}{alive}", tuple(details), actions)


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "some time"
    return format_duration(max(timedelta(0), datetime.now(UTC) - moment))


def _in(moment: datetime) -> str:
    return format_duration(max(timedelta(0), moment - datetime.now(UTC)))


# --- two runs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepDifference(ShownAsTable):
    """A step that differs: the two outcomes, None where a run does not have the step."""

    key: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class Difference(ShownAsTable):
    """What differs between two runs. Falsy when nothing does."""

    left: str
    right: str
    head: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    steps: tuple[StepDifference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.head or self.steps)

    def __repr__(self) -> str:
        if not self:
            return f"runs {self.left} and {self.right} do not differ"
        lines = [f"--- {self.left}", f"+++ {self.right}"]
        for name, (left, right) in self.head.items():
            lines += [f"- {name}: {_short(left)}", f"+ {name}: {_short(right)}"]
        for step in self.steps:
            if step.left is not None:
                lines.append(f"- {step.key}: {step.left}")
            if step.right is not None:
                lines.append(f"+ {step.key}: {step.right}")
        return "\n".join(lines)

    def _sheet(self) -> Sheet:
        rows = [(name, left, right) for name, (left, right) in self.head.items()]
        rows += [(step.key, step.left, step.right) for step in self.steps]
        title = "the runs differ" if rows else "the runs do not differ"
        return Sheet(title, rows, ("", self.left, self.right), total=len(rows))


def run_difference(left: Run | ArchivedRun, right: Run | ArchivedRun) -> Difference:
    """See `Run.diff`."""
    one, two = left.state(), right.state()
    head: dict[str, tuple[Any, Any]] = {}
    for name, a, b in (
        ("workflow", one.workflow, two.workflow),
        ("version", one.version, two.version),
        ("input", one.created.get("input"), two.created.get("input")),
        ("status", one.status, two.status),
        ("result", (one.outcome or {}).get("value"), (two.outcome or {}).get("value")),
        ("error", _error(one.outcome), _error(two.outcome)),
    ):
        if a != b:
            head[name] = (a, b)
    steps = []
    for key in dict.fromkeys([*one.steps, *two.steps]):
        a_text, b_text = _outcome(one, key), _outcome(two, key)
        if a_text != b_text:
            steps.append(StepDifference(key, a_text, b_text))
    return Difference(left.id, right.id, head, tuple(steps))


def _error(outcome: dict[str, Any] | None) -> str | None:
    error = (outcome or {}).get("error")
    return f"{error.get('type')}: {error.get('message')}" if error else None


def _outcome(state: RunState, key: str) -> str | None:
    record = state.steps.get(key)
    if record is None:
        return None
    if record.state == "completed":
        return _short(record.data.get("value"))
    return f"{record.state} {_error(record.data) or ''}".strip()


def _short(value: Any, limit: int = 120) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
