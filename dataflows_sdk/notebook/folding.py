"""The state of a run after any number of its events. `static/core.js` does the same on the page, tested by one file.

An event is a list: number in the journal, milliseconds since the run was created, kind, key, data. What comes out is
made of what JSON has, because two languages are compared by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Event = list[Any]
StepState = dict[str, Any]

#: statuses of a step that is not over
OPEN = frozenset({"running", "waiting", "retrying"})
#: tries that are kept of one step
TRIES = 50
_ENDS = {
    "run.completed": "succeeded",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
    "run.quarantined": "quarantined",
}
_WORDS = {
    "step.completed": "completed",
    "step.failed": "failed",
    "step.timed_out": "timed_out",
    "step.skipped": "skipped",
}


class State:
    """A run at some point.

    Attributes:
        n: how many events it is made of; `seq` and `t` are those of the last one.
        status: as of a run; *over* when nothing comes after it.
        steps: by key: name, op, status (pending, running, waiting, retrying, completed, failed, timed_out, skipped,
            cancelled), attempt, tries (begin, end, status, error), previews of in, out and err, until, child, the event
            that is waited for, reason.
        groups: how many branches each map, parallel or gather opened.
        asks: approvals without an answer, by their ids.
        progress: what the code said last of how far it is.
    """

    __slots__ = ("asks", "err", "groups", "n", "out", "over", "progress", "reason", "seq", "status", "steps", "t")

    def __init__(self) -> None:
        self.n = 0
        self.seq = 0
        self.t = 0.0
        self.status = "queued"
        self.over = False
        self.out: str | None = None
        self.err: str | None = None
        self.reason: str | None = None
        self.steps: dict[str, StepState] = {}
        self.groups: dict[str, int | None] = {}
        self.asks: dict[str, dict[str, Any]] = {}
        self.progress: dict[str, Any] | None = None

    def push(self, event: Event) -> None:
        """The next event."""
        seq, t, kind, key, data = event
        self.n += 1
        self.seq = seq
        self.t = t
        if kind.startswith("step."):
            self._step(t, kind, key, data)
        elif kind.startswith("run."):
            self._run(t, kind, data)
        elif kind == "scope.opened":
            self.groups[key] = data.get("count")
        elif kind == "progress":
            self.progress = {each: data.get(each) for each in ("done", "total", "text")}
        elif kind == "approval.requested":
            self.asks[data["id"]] = {"seq": seq, "key": key, **data}

    def plain(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}

    def _step(self, t: float, kind: str, key: str, data: dict[str, Any]) -> None:
        old = self.steps.get(key)
        attempt = data.get("attempt", 1)
        if kind == "step.started" and old is not None and old["status"] != "running" and attempt <= old["attempt"]:
            return  # a transaction overtook the note that it began
        step = dict(old) if old is not None else _blank(key)
        for name in ("op", "name", "in", "child", "event"):
            if name in data:
                step[name] = data[name]
        step["attempt"] = attempt
        step["until"] = data.get("until")
        tries = list(step["tries"])
        open_try = tries.pop() if tries and tries[-1][1] is None else None
        if kind in ("step.started", "step.waiting"):
            word = "running" if kind == "step.started" else "waiting"
            tries.append([open_try[0] if open_try else t, None, word, None])
        else:
            word = _WORDS.get(kind, "completed")
            error = data.get("err") if kind == "step.failed" else None
            if kind != "step.skipped":
                begun = open_try[0] if open_try else max(0, t - data.get("took", 0) * 1000)
                tries.append([begun, t, word, error])
            if kind == "step.failed" and "retry_at" in data:
                word, step["until"] = "retrying", data["retry_at"]
            step["out"], step["err"], step["reason"] = data.get("out"), error, data.get("reason")
            for identifier in [each for each, ask in self.asks.items() if ask["key"] == key]:
                del self.asks[identifier]
        step["status"] = word
        step["tries"] = tries[-TRIES:]
        self.steps[key] = step

    def _run(self, t: float, kind: str, data: dict[str, Any]) -> None:
        if kind == "run.created":
            self.status = data.get("status", "running")
        elif kind == "run.claimed":
            self.status = "running"
        elif kind == "run.suspended":
            self.status = data.get("status", "waiting")
        elif kind in ("run.released", "run.lost"):
            self.status = "queued"
        elif kind == "run.resumed":
            self.status, self.over, self.err = "queued", False, None
        elif kind == "run.cancel_requested":
            self.reason = data.get("reason")
        elif kind in _ENDS:
            self.status, self.over = _ENDS[kind], True
            self.out, self.err = data.get("out"), data.get("err")
            self.reason = data.get("reason", self.reason)
            if kind != "run.quarantined":
                self.asks = {}
                self._leave_open(t)

    def _leave_open(self, t: float) -> None:
        """The run is over: what was under way will not end any more."""
        for key, step in self.steps.items():
            if step["status"] in OPEN:
                tries = [[*each[:1], t, "cancelled", None] if each[1] is None else each for each in step["tries"]]
                self.steps[key] = {**step, "status": "cancelled", "tries": tries, "until": None}


def _blank(key: str) -> StepState:
    return {
        "key": key,
        "name": key,
        "op": "run",
        "status": "pending",
        "attempt": 1,
        "tries": [],
        "in": None,
        "out": None,
        "err": None,
        "until": None,
        "child": None,
        "event": None,
        "reason": None,
    }


def fold(events: Sequence[Event], n: int | None = None) -> State:
    """The state after the first *n* events, or all."""
    state = State()
    for event in events[:n]:
        state.push(event)
    return state


# --- boxes: what stands for several steps --------------------------------------------------------------------


def above(key: str) -> str | None:
    """What a step belongs to when nobody shows it by itself: ``a[1]/b#2`` → ``a[1]/b`` → ``a[1]`` → ``a`` → None."""
    scope, slash, last = key.rpartition("/")
    for sign in ("?", "[" if last.endswith("]") else "", "#"):
        if sign and (cut := last.rfind(sign)) > 0:
            return f"{scope}{slash}{last[:cut]}"
    return scope if slash else None


def box_of(key: str, boxes: Iterable[str]) -> str | None:
    """The box that shows a step: its own, or the nearest that it belongs to."""
    wanted: str | None = key
    while wanted is not None and wanted not in boxes:
        wanted = above(wanted)
    return wanted


#: from the most to the least pressing
_PRESSING = ("failed", "retrying", "running", "waiting")


def standing(own: StepState | None, members: Sequence[StepState], expected: int | None, over: bool) -> str:
    """How a box stands that shows a step, or several."""
    if own is not None and (own["status"] not in OPEN or not members):
        return str(own["status"])
    found = {member["status"] for member in members}
    for status in _PRESSING:
        if status in found:
            return status
    if own is not None:
        return str(own["status"])
    if not found:
        return "pending"
    if "cancelled" in found:
        return "cancelled"
    if found == {"skipped"}:
        return "skipped"
    return "running" if expected is not None and len(members) < expected and not over else "completed"
