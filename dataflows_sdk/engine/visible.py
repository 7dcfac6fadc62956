"""Steps that take a moment become visible while they run."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any

from dataflows_sdk.core.clock import Clock
from dataflows_sdk.engine.live import Frame, LiveRun
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.writer import Writer

#: a step that runs longer than this is written down as started; a shorter one is a single event
VISIBLE_SECONDS = 0.02


class Visible:
    """Notes `step.started` for steps that outlive a moment. `began` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int, clock: Clock, writer: Writer) -> None:
        self._loop = loop
        self._thread = thread
        self._clock = clock
        self._writer = writer
        self._begun: deque[tuple[float, LiveRun, Frame, str, Any]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def began(self, live: LiveRun, frame: Frame, head: str, shown: Any) -> None:
        """A step begins."""
        self._begun.append((self._clock.monotonic(), live, frame, head, shown))
        if self._timer is None:
            if threading.get_ident() == self._thread:
                self._arm()
            else:
                self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(VISIBLE_SECONDS, self._show)

    def _show(self) -> None:
        self._timer = None
        border = self._clock.monotonic() - VISIBLE_SECONDS
        while self._begun and self._begun[0][0] <= border:
            _, live, frame, head, shown = self._begun.popleft()
            if frame.ended or live.stopping is not None or live.suspending:
                continue
            given = "" if shown is None else f',"input":{shown.text}'
            frame.started = Event("step.started", frame.key, f"{head}{given}}}")
            blobs = shown.blobs if shown is not None else ()
            self._writer.submit(Unit(live.head, [frame.started], blobs=blobs))
        if self._begun:
            self._arm()
