"""What happens in a run, as it happens, for those who watch: read from the journal, so that nothing is lost.

The names are those of AtlasDB's event stream. Who comes later gets what happened first; who was cut off goes on after
the id that it had last.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.engine.state import JournalEvent

_NAMES = {
    "run.created": "run_started",
    "step.started": "step_started",
    "step.completed": "step_completed",
    "step.timed_out": "step_completed",
    "step.skipped": "step_skipped",
    "step.waiting": "step_waiting",
    "approval.requested": "approval_requested",
    "progress": "progress",
    "run.completed": "run_completed",
    "run.failed": "run_failed",
    "run.cancelled": "run_cancelled",
    "run.quarantined": "run_quarantined",
}
#: after one of these a stream ends
LAST = frozenset({"run_completed", "run_failed", "run_cancelled", "run_quarantined"})
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5
#: how long a missing seq is waited for; some never come, because their record was refused
_GAP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class StreamEvent(ShownAsTable):
    """One event of a run.

    Attributes:
        id: grows; give it as `after` to go on behind it.
        event: run_started, step_started (of steps that take a moment), step_retrying, step_completed, step_failed,
            step_skipped, step_waiting, approval_requested, progress, run_completed, run_failed, run_cancelled,
            run_quarantined.
        data: ``step`` (its key), ``name`` and ``at``, and what the journal has of it.
    """

    id: int
    event: str
    data: dict[str, Any]

    def sse(self) -> str:
        """The event as a server-sent one."""
        return f"id: {self.id}\nevent: {self.event}\ndata: {json.dumps(self.data, ensure_ascii=False)}\n\n"


def translate(events: Iterable[JournalEvent]) -> Iterator[StreamEvent]:
    """The events that watchers are told, of those in the journal."""
    for event in events:
        name = _NAMES.get(event.kind)
        if event.kind == "step.failed":
            name = "step_retrying" if event.data.get("retry_at") else "step_failed"
        if name is None:
            continue
        data = {"at": event.at.isoformat(), **event.data}
        if event.key:
            data["step"] = event.key
        if event.kind == "step.timed_out":
            data["timed_out"] = True
        yield StreamEvent(event.seq, name, data)


class _Watch:
    """What was told already, and what can be told now.

    A transaction may commit before a record with a smaller seq: that one is waited for.
    """

    def __init__(self, read: Callable[[int], Sequence[JournalEvent]], ended: Callable[[int], bool], after: int) -> None:
        self._read, self._ended, self._after = read, ended, after
        self._gap_since: float | None = None
        #: seconds until the next look
        self.pause = _FIRST_PAUSE
        #: whether the last event was told
        self.over = False

    def look(self) -> list[StreamEvent]:
        """The next events, if there are any. Reads the database."""
        told = self._take(self._read(self._after))
        self.pause = _FIRST_PAUSE if told else min(_LAST_PAUSE, self.pause * 1.5)
        events: list[StreamEvent] = []
        for event in translate(told):
            events.append(event)
            if event.event in LAST:
                self.over = True
                return events
        self.over = not told and self._ended(self._after)
        return events

    def _take(self, found: Sequence[JournalEvent]) -> list[JournalEvent]:
        told: list[JournalEvent] = []
        for event in found:
            if event.seq != self._after + 1 and not self._patience_is_over():
                break
            self._gap_since = None
            self._after = event.seq
            told.append(event)
        return told

    def _patience_is_over(self) -> bool:
        now = time.monotonic()
        if self._gap_since is None:
            self._gap_since = now
        return now - self._gap_since > _GAP_SECONDS


def follow(
    read: Callable[[int], Sequence[JournalEvent]], ended: Callable[[int], bool], after: int
) -> Iterator[StreamEvent]:
    """Every event behind *after*, until the run is over; waits in between. *ended*: is there nothing behind an id?"""
    watch = _Watch(read, ended, after)
    while True:
        yield from watch.look()
        if watch.over:
            return
        time.sleep(watch.pause)


async def afollow(
    read: Callable[[int], Sequence[JournalEvent]], ended: Callable[[int], bool], after: int
) -> AsyncIterator[StreamEvent]:
    """`follow` on a loop: reading happens in a thread."""
    watch = _Watch(read, ended, after)
    while True:
        for event in await asyncio.to_thread(watch.look):
            yield event
        if watch.over:
            return
        await asyncio.sleep(watch.pause)
