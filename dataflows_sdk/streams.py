"""What happens in a run, as it happens, for those who watch: read from the journal, so that nothing is lost.

The names are those of AtlasDB's event stream. Who comes later gets what happened first; who was cut off goes on after
the id that it had last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
class StreamEvent:
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
        import json

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


class _Cursor:
    """What was told already. A transaction may commit before a record with a smaller seq: that one is waited for."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._pause = _FIRST_PAUSE
        self._gap_since: float | None = None

    def take(self, found: Sequence[JournalEvent]) -> list[JournalEvent]:
        """The events that can be told now."""
        told: list[JournalEvent] = []
        for event in found:
            if event.seq != self.after + 1 and not self._patience_is_over():
                break
            self._gap_since = None
            self.after = event.seq
            told.append(event)
        return told

    def _patience_is_over(self) -> bool:
        now = time.monotonic()
        if self._gap_since is None:
            self._gap_since = now
        return now - self._gap_since > _GAP_SECONDS

    def pause(self, told: Sequence[JournalEvent]) -> float:
        """Seconds until the next look."""
        self._pause = _FIRST_PAUSE if told else min(_LAST_PAUSE, self._pause * 1.5)
        return self._pause


def follow(
    read: Callable[[int], Sequence[JournalEvent]], over: Callable[[int], bool], after: int
) -> Iterator[StreamEvent]:
    """Every event behind *after*, until the run is over; waits in between. *over*: is there nothing behind an id?"""
    cursor = _Cursor(after)
    while True:
        told = cursor.take(read(cursor.after))
        for event in translate(told):
            yield event
            if event.event in LAST:
                return
        if not told and over(cursor.after):
            return
        time.sleep(cursor.pause(told))


async def afollow(
    read: Callable[[int], Sequence[JournalEvent]], over: Callable[[int], bool], after: int
) -> AsyncIterator[StreamEvent]:
    """`follow` on a loop: reading happens in a thread."""
    cursor = _Cursor(after)
    while True:
        told = cursor.take(await asyncio.to_thread(read, cursor.after))
        for event in translate(told):
            yield event
            if event.event in LAST:
                return
        if not told and await asyncio.to_thread(over, cursor.after):
            return
        await asyncio.sleep(cursor.pause(told))
