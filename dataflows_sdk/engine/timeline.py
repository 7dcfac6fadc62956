"""What happened in a run, as a list of steps. Pure: made from events, knows no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.shown import MOST_ROWS, Sheet, ShownAsTable, counted
from dataflows_sdk.engine.state import JournalEvent

Decode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a step that failed."""

    number: int
    error: dict[str, Any]
    at: datetime
    retry_at: datetime | None


def group_of(key: str) -> str | None:
    """The map, parallel or gather in whose branch a step stands: ``a[1]/b`` for ``a[1]/b[2]/c``; None at the top."""
    scope, _, last = key.rpartition("/")
    cut = last.rfind("[")
    if cut > 0:
        return f"{scope}/{last[:cut]}" if scope else last[:cut]
    cut = scope.rfind("[")
    return scope[:cut] if cut > 0 else None


class StepView(ShownAsTable):
    """One step of a run, as it stands at some point of the journal.

    Attributes:
        name, key: as in the code, and the unique path within the run (``squares[2]``, ``branch/load#2``).
        op: ``run``, ``sleep``, ``wait``, ``child``, ``map``, ``transaction``, …
        status: ``started``, ``waiting``, ``retrying``, ``completed``, ``failed``, ``timed_out``, ``skipped``.
        attempt: the number of the last attempt; `failures` has those before it.
        started_at, finished_at: by the database's clock.
        seconds: how long the last attempt took, None while it is open.
        uncertain: it began, its process is gone, and nothing was recorded of its end.
    """

    __slots__ = (
        "_data",
        "_decode",
        "_input",
        "attempt",
        "failures",
        "finished_at",
        "first_seq",
        "key",
        "name",
        "op",
        "seconds",
        "seq",
        "started_at",
        "status",
        "uncertain",
        "until",
    )

    def __init__(self, key: str, name: str, op: str, decode: Decode) -> None:
        self.key = key
        self.name = name
        self.op = op
        self.status = "started"
        self.attempt = 1
        self.failures: list[Attempt] = []
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.until: datetime | None = None
        self.seconds: float | None = None
        self.uncertain = False
        self.first_seq = 0
        self.seq = 0
        self._data: dict[str, Any] = {}
        self._input: Any = None
        self._decode = decode

    @property
    def output(self) -> Any:
        """What the step returned; None while it has not."""
        return self._decode(self._data.get("value"))

    value = output

    @property
    def input(self) -> Any:
        """The arguments as they were recorded, secrets masked: the only one itself, several as a list."""
        return self._decode(self._input)

    @property
    def error(self) -> dict[str, Any] | None:
        """Type, message and traceback of the failure, where it failed for good."""
        return self._data.get("error") if self.status in ("failed", "retrying") else None

    @property
    def child(self) -> str | None:
        """The run id of a child."""
        return self._data.get("child")

    @property
    def data(self) -> dict[str, Any]:
        """The raw data of the step's last event."""
        return self._data

    @property
    def parent_key(self) -> str | None:
        """The key of the map, parallel or gather whose branch it belongs to."""
        return group_of(self.key)

    def __repr__(self) -> str:
        took = f" {format_duration(timedelta(seconds=self.seconds))}" if self.seconds is not None else ""
        return f"<step {self.key} {self.status}{took}>"

    # --- building ----------------------------------------------------------------------------------------

    def take(self, event: JournalEvent) -> None:
        """The next event of this step."""
        data = event.data
        attempt = data.get("attempt", 1)
        if event.kind == "step.started" and self._data and self.status != "started" and attempt <= self.attempt:
            return  # a transaction overtook the note that it began
        self.seq = event.seq
        took = data.get("took")
        begun = event.at - timedelta(seconds=took) if took is not None else event.at
        if self.started_at is None or attempt != self.attempt:
            if not self.first_seq:
                self.first_seq = event.seq
            if self.started_at is None:
                self.started_at = begun
        self.attempt = attempt
        if "input" in data:
            self._input = data["input"]
        until = data.get("until")
        self.until = datetime.fromisoformat(until) if until else self.until
        if event.kind == "step.failed":
            retry_at = data.get("retry_at")
            when = datetime.fromisoformat(retry_at) if retry_at else None
            self.failures.append(Attempt(attempt, data.get("error") or {}, event.at, when))
            self.status = "retrying" if when else "failed"
            self.until = when
        else:
            self.status = event.kind[5:]
        if self.status in ("completed", "failed", "timed_out", "skipped"):
            self.finished_at = event.at
            if took is None and self.started_at is not None:
                took = (event.at - self.started_at).total_seconds()
        self.seconds = took
        if self.op == "child":
            data = {**{k: v for k, v in self._data.items() if k in ("child", "workflow")}, **data}
        self._data = data

    def _sheet(self) -> Sheet:
        names = ("key", "op", "status", "attempt", "started_at", "finished_at", "until", "seconds")
        rows: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in names]
        return Sheet(f"step {self.key}", [*rows, ("input", self.input), ("output", self.output), ("error", self.error)])


class Timeline(Sequence[StepView], ShownAsTable):
    """The steps of a run in the order in which they began; prints as a table."""

    def __init__(self, steps: list[StepView], status: str, created_at: datetime | None) -> None:
        self._steps = steps
        self.status = status
        self.created_at = created_at

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            for step in self._steps:
                if index in (step.key, step.name):
                    return step
            raise KeyError(f"no step {index!r}; there are {', '.join(s.key for s in self._steps[:20])}")
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[StepView]:
        return iter(self._steps)

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int = 28) -> str:
        """A table with a bar for each step, on the time axis of the run."""
        if not self._steps:
            return "(no steps)"
        begin = min((s.started_at for s in self._steps if s.started_at), default=None)
        ends = [s.finished_at or s.until or s.started_at for s in self._steps]
        end = max((e for e in ends if e), default=None)
        span = (end - begin).total_seconds() if begin and end else 0.0
        longest = min(40, max(len(s.key) for s in self._steps))
        lines = []
        for step in self._steps:
            left = _place(step.started_at, begin, span, width)
            right = max(left + 1, _place(step.finished_at or end, begin, span, width))
            bar = " " * left + ("█" if step.status == "completed" else "▒") * (right - left)
            took = format_duration(timedelta(seconds=step.seconds)) if step.seconds is not None else ""
            tries = f" ×{step.attempt}" if step.attempt > 1 else ""
            lines.append(
                f"{_MARKS.get(step.status, '·')} {step.key[:longest]:<{longest}} {bar:<{width + 1}} {took:>10}{tries}"
                + ("" if step.status == "completed" else f"  {step.status}")
            )
        return "\n".join(lines)

    def _sheet(self) -> Sheet:
        return _steps_sheet(self._steps, counted(len(self), "step") + (f" · {self.status}" if self.status else ""))


def _steps_sheet(steps: list[StepView], title: str) -> Sheet:
    rows = [
        (f"{_MARKS.get(step.status, '·')} {step.status}", step.key, step.op, step.attempt, step.started_at,
         "" if step.seconds is None else format_duration(step.seconds),
         (step.error or {}).get("message") if step.status == "failed" else None)
        for step in steps[:MOST_ROWS]
    ]  # fmt: skip
    return Sheet(title, rows, ("status", "step", "what", "tries", "began", "took", "error"), total=len(steps))


_MARKS = {
    "completed": "✓",
    "failed": "✗",
    "skipped": "-",
    "timed_out": "⏱",
    "waiting": "…",
    "retrying": "↻",
    "started": "▶",
}


def _place(moment: datetime | None, begin: datetime | None, span: float, width: int) -> int:
    if moment is None or begin is None or span <= 0:
        return 0
    return max(0, min(width - 1, round((moment - begin).total_seconds() / span * (width - 1))))


def build(events: Iterable[JournalEvent], status: str, decode: Decode) -> Timeline:
    """The timeline of some events of one run, in their order."""
    steps: dict[str, StepView] = {}
    created: datetime | None = None
    lost = False
    for event in events:
        if event.kind == "run.created":
            created = event.at
        elif event.kind == "run.claimed":
            lost = True
            for step in steps.values():
                if step.status == "started":
                    step.uncertain = True
        if not event.kind.startswith("step.") or event.kind == "step.skipped":
            continue
        step_view = steps.get(event.key)
        if step_view is None:
            data = event.data
            step_view = StepView(event.key, str(data.get("name", event.key)), str(data.get("op", "run")), decode)
            steps[event.key] = step_view
        step_view.take(event)
    del lost
    ordered = sorted(steps.values(), key=lambda step: (step.started_at or datetime.max, step.first_seq))
    return Timeline(ordered, status, created)
