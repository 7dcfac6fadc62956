"""Following the journal of a whole database while others write it: nothing lost, nothing twice.

Events carry the time at which their transaction began, so that many have equal times and some become visible after
younger ones. Three things make up for it: every look goes back by an overlap, what was given is known by (run, seq),
and a hole in the numbers of a run is looked at again until it is filled or given up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

#: how far a look goes back
OVERLAP = timedelta(seconds=10)
#: a hole is no longer looked at: its transaction was rolled back
_PATIENCE = timedelta(minutes=5)
_PAGE = 5000
#: events after which a run is over, or set aside until somebody resumes it
ENDS = frozenset({"run.completed", "run.failed", "run.cancelled", "run.quarantined"})

Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of some run."""

    run: UUID
    workflow: str
    seq: int
    kind: str
    key: str
    data: dict[str, Any]
    at: datetime


class Follower:
    """Gives the events that came since the last look.

    Args:
        read: runs a named statement of ``look.sql``.
        start: events after this moment.
        run, workflow: only of these.
        page: rows asked for at once.
    """

    def __init__(
        self, read: Read, start: datetime, run: UUID | None = None, workflow: str | None = None, page: int = _PAGE
    ) -> None:
        self._read = read
        self._start = start
        self._horizon = start
        self._run = run
        self._workflow = workflow
        self._page = page
        self._given: dict[UUID, set[int]] = {}
        self._last: dict[UUID, datetime] = {}
        self._names: dict[UUID, str] = {}
        self._holes: dict[tuple[UUID, int], datetime] = {}
        self._over: set[UUID] = set()

    def look(self) -> list[Seen]:
        """What is new, in the order of time and within a run in the order of its numbers."""
        found = self._window()
        found += self._fill()
        self._forget()
        found.sort(key=lambda event: (event.at, event.run, event.seq))
        return found

    def _window(self) -> list[Seen]:
        found: list[Seen] = []
        after, limit = max(self._start, self._horizon - OVERLAP), self._page
        while True:
            rows = self._read("tail", (after, self._run, self._workflow, limit))
            for row in rows:
                event = Seen(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]), row[6])
                if self._take(event):
                    found.append(event)
            if len(rows) < limit:
                return found
            # The next page begins at the last moment of this one, whose events may be cut in two.
            last = rows[-1][6] - timedelta(microseconds=1)
            if last <= after:
                limit *= 2
            after = max(after, last)

    def _take(self, event: Seen) -> bool:
        """Note an event; False when it was given before."""
        given = self._given.get(event.run)
        if given is None:
            given = self._given[event.run] = set()
            self._names[event.run] = event.workflow
        if event.seq in given:
            return False
        # What lies before the first event that is seen of a run is its past, which nobody asked for.
        low = min(given, default=event.seq)
        high = max(given, default=event.seq)
        for seq in range(high + 1, event.seq):
            self._holes.setdefault((event.run, seq), event.at)
        self._holes.pop((event.run, event.seq), None)
        if event.seq < low:
            for seq in range(event.seq + 1, low):
                self._holes.setdefault((event.run, seq), event.at)
        given.add(event.seq)
        (self._over.add if event.kind in ENDS else self._over.discard)(event.run)
        self._last[event.run] = max(self._last.get(event.run, event.at), event.at)
        self._horizon = max(self._horizon, event.at)
        return True

    def _fill(self) -> list[Seen]:
        found: list[Seen] = []
        by_run: dict[UUID, list[int]] = {}
        for (run, seq), since in list(self._holes.items()):
            if self._horizon - since > _PATIENCE:
                del self._holes[run, seq]
            else:
                by_run.setdefault(run, []).append(seq)
        for run, seqs in by_run.items():
            for seq, kind, key, data, at, _ in self._read("events", (run, min(seqs) - 1, max(seqs))):
                event = Seen(run, self._names[run], seq, kind, key, json.loads(data), at)
                if self._take(event):
                    found.append(event)
        return found

    def _forget(self) -> None:
        """Runs of which nothing can come again in the overlap."""
        old = self._horizon - 2 * OVERLAP
        holed = {run for run, _ in self._holes}
        for run, last in list(self._last.items()):
            if last >= old or run in holed:
                continue
            if run in self._over:
                del self._given[run], self._last[run], self._names[run]
                self._over.discard(run)
            elif len(self._given[run]) > 1:
                self._given[run] = {max(self._given[run])}  # sleepers come back: the highest number is kept
