"""Follows a run's journal for a view, on a thread of its own: few reads, fewer messages.

It is woken by the engine when the run ends and by a command that changed something; in between it looks, seldom while
nothing happens. What came is told together, nine times a second at most: with the answer that a page may ask for once
a second by itself these are ten messages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from dataflows_sdk.engine.state import FINISHED, JournalEvent
from dataflows_sdk.errors import DataflowsError, RunNotFoundError
from dataflows_sdk.notebook.folding import State, box_of, fold
from dataflows_sdk.notebook.model import BOXES_LIVE, EVENTS, View
from dataflows_sdk.notebook.sources import Source, compact

Tell = Callable[[dict[str, Any]], None]

#: between two messages; and how many events are in one
PACE, MOST = 0.115, 2_000
_FIRST, _BUSY, _QUIET, _ASLEEP = 0.02, 0.12, 0.18, 0.5
#: after so many seconds without an event it is quiet, and asleep
_UNTIL_QUIET, _UNTIL_ASLEEP = 60.0, 600.0
#: how long a missing number is waited for; some never come, because their record was refused
_GAP_SECONDS = 2.0
#: how often it is asked whether the run is still there
_STILL_THERE = 5.0
#: a layout takes at most this part of the time
_SHARE = 0.1


class Feed:
    """Grows a view's events, and tells of it.

    Args:
        source: where the run is.
        view: its events are grown in place, so that who comes later gets all.
        tell: gets ``{"do": "events", "from": …, "events": […]}``, with ``graph`` and ``head`` where they changed, and
            ``{"do": "say", "text": …}``. Called on the feed's thread.
        ended: called once when the run is over.
        clock: seconds.
    """

    def __init__(
        self,
        source: Source,
        view: View,
        tell: Tell,
        ended: Callable[[State], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._view, self._tell, self._ended, self._clock = source, view, tell, ended, clock
        self._wake = threading.Event()
        self._stopped = False
        self._state = fold(view.events)
        self._seen = set(self._state.steps) | set(self._state.groups)
        self._note_boxes()
        self._stale_graph = False
        self._graph_at = self._graph_cost = 0.0
        self._gap_since: float | None = None
        self._last_event = self._looked = self._told = clock()
        self._pause = _FIRST
        self._began = source.head()["created"]
        self._silent = False
        self._waiting: list[list[Any]] = []
        self._thread = threading.Thread(target=self._follow, name=f"dataflows-view-{source.run_id[:8]}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def wake(self) -> None:
        """Something may have happened: look now. From any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopped = True
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- the thread --------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stopped:
            self._wake.clear()
            try:
                if self._source.closed():
                    return
                going_on = self.turn()
            except RunNotFoundError as error:
                self._tell({"do": "say", "text": str(error)})
                return
            except DataflowsError as error:
                if self._source.closed():
                    return
                going_on = self._in_trouble(error)
            if not going_on:
                return
            self._wake.wait(self._pause)

    def turn(self) -> bool:
        """Look once, and tell if it is time; whether there is more to come.

        Raises:
            RunNotFoundError: the run is gone.
        """
        now = self._clock()
        found = self._take(self._source.page(self._view.events[-1][0] if self._view.events else 0), now)
        if found:
            self._last_event, self._pause, self._silent = now, _FIRST, False
            self._grow(found)
        else:
            idle = now - self._last_event
            longest = _BUSY if idle < _UNTIL_QUIET else _QUIET if idle < _UNTIL_ASLEEP else _ASLEEP
            self._pause = min(longest, self._pause * 1.5)
            if now - self._looked > _STILL_THERE:
                self._looked = now
                self._source.head()
        over = self._state.status in FINISHED or self._view.cut
        if self._waiting or self._stale_graph:
            due = self._told + PACE
            if now < due and not over:
                self._pause = min(self._pause, due - now)
                return True
            self._send(now, whole=over)
        if not over:
            return True
        if self._waiting:
            self._pause = PACE
            return True
        self._ended(self._state)
        return False

    def _in_trouble(self, error: DataflowsError) -> bool:
        if not self._silent:
            self._silent = True
            self._tell({"do": "say", "text": f"the database does not answer: {error}"})
        self._pause = 1.0
        return True

    def _take(self, page: list[JournalEvent], now: float) -> list[JournalEvent]:
        """What can be told: a transaction may be there before one with a smaller number, which is waited for."""
        taken: list[JournalEvent] = []
        last = self._view.events[-1][0] if self._view.events else 0
        for event in page:
            if event.seq != last + 1:
                if self._gap_since is None:
                    self._gap_since = now
                if now - self._gap_since < _GAP_SECONDS:
                    break
            self._gap_since = None
            last = event.seq
            taken.append(event)
        return taken

    def _grow(self, found: list[JournalEvent]) -> None:
        room = EVENTS - len(self._view.events)
        if len(found) > room:
            self._view.cut = True
            found = found[:room]
        grown = compact(found, self._began, self._source.mask)
        for event in grown:
            self._state.push(event)
            key = event[3]
            if key and key not in self._seen:
                self._seen.add(key)
                self._stale_graph = self._stale_graph or self._wants_a_box(key)
        self._view.events.extend(grown)
        self._waiting.extend(grown)
        self._view.head["status"] = self._state.status

    def _wants_a_box(self, key: str) -> bool:
        """Whether a step is in no box yet, or in one that stood for another step alone."""
        return self._view.spec is None and not self._boxes.get(box_of(key, self._boxes) or "", False)

    def _note_boxes(self) -> None:
        shape, _ = self._view.laid_out(BOXES_LIVE)
        #: which boxes stand for several
        self._boxes = {part.id: part.stacked for part in shape.parts} | dict.fromkeys(shape.within, True)

    def _send(self, now: float, *, whole: bool) -> None:
        message: dict[str, Any] = {
            "do": "events",
            "from": len(self._view.events) - len(self._waiting),
            "events": self._waiting[:MOST],
            "head": {"status": self._state.status},
        }
        if self._stale_graph and (whole or now - self._graph_at > self._graph_cost / _SHARE):
            begun = time.perf_counter()
            message["graph"] = self._view.page_graph()
            self._note_boxes()
            self._graph_cost, self._graph_at, self._stale_graph = time.perf_counter() - begun, now, False
        elif not self._waiting:
            return
        if self._view.cut:
            message["cut"] = True
        self._waiting = self._waiting[MOST:]
        self._told = now
        self._tell(message)
