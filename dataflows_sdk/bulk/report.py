"""What came of a bulk operation."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from dataflows_sdk.core.durations import format_duration

_SAMPLE = 10
_MOST_FAILURES = 100


@dataclass(frozen=True)
class BulkReport:
    """What came of a bulk operation.

    Attributes:
        action: ``"cancel"``, ``"resume"`` or ``"retry"``.
        dry_run: nothing was done, only counted.
        matched: how many runs the filter found at the start, by workflow and status.
        results: what was done, by word. Of a cancel ``ended`` at once and ``asked`` (they end at their next step or
            wait), of a resume ``resumed``, of a retry ``forked``; ``over``: they changed meanwhile.
        failures: id and reason of runs with which it did not work, the first 100.
        failed: how many these are.
        sample: ids of the first runs that it was done to; of a retry those of the new runs.
        stopped: *progress* or *limit* ended it before all were dealt with.
        seconds: how long it took.
    """

    action: str
    dry_run: bool
    matched: dict[tuple[str, str], int]
    results: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed: int = 0
    sample: list[str] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many runs the filter found."""
        return sum(self.matched.values())

    @property
    def done(self) -> int:
        """How many runs something was done to."""
        return sum(count for word, count in self.results.items() if word != "over")

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "action": self.action,
            "dry_run": self.dry_run,
            "total": self.total,
            "matched": [
                {"workflow": workflow, "status": status, "runs": count}
                for (workflow, status), count in sorted(self.matched.items())
            ],
            "done": self.done,
            "results": self.results,
            "failed": self.failed,
            "failures": [{"run": run, "error": error} for run, error in self.failures],
            "sample": self.sample,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> list[str]:
        """The report as lines of text."""
        verb = {"cancel": "cancelled", "resume": "resumed", "retry": "tried again"}[self.action]
        if self.dry_run:
            found = [f"{self.total:,} runs would be {verb}"]
        else:
            said = ", ".join(f"{count:,} {word}" for word, count in self.results.items()) or "nothing done"
            found = [f"{self.action}: {said}, {self.total:,} found, {format_duration(self.seconds)}"]
        found += [f"  {count:,} {status} of {name}" for (name, status), count in sorted(self.matched.items())]
        if self.stopped:
            found.append("  stopped before the end; the same call goes on with the others")
        if self.failed:
            found.append(f"  {self.failed:,} did not work, among them:")
            found += [f"    {run}: {error}" for run, error in self.failures[:5]]
        return found

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


@dataclass
class Work:
    """What was done so far."""

    results: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed: int = 0
    sample: list[str] = field(default_factory=list)

    def did(self, word: str, runs: Iterable[UUID]) -> None:
        found = list(runs)
        if found:
            self.results[word] += len(found)
            self.sample += [str(run) for run in found[: _SAMPLE - len(self.sample)]]

    def failed_with(self, run: UUID, why: str) -> None:
        self.failed += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append((str(run), why))
