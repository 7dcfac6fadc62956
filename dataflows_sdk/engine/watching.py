"""Who waits for the end of runs, here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.engine.outcome import Outcome
from dataflows_sdk.errors import StoreUnavailableError

if TYPE_CHECKING:
    from dataflows_sdk.engine.reader import Reader

#: seconds between looks for the end of runs that are executed elsewhere
_FIRST = 0.02
_LAST = 0.5


class Watchers:
    """Promises of ends of runs. Everything here happens on the engine's loop.

    Args:
        live: the runs that this process executes: of those it learns the end without asking.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: Reader, live: Mapping[UUID, Any]) -> None:
        self._loop = loop
        self._reader = reader
        self._live = live
        self._watchers: dict[UUID, list[Outcome]] = {}
        self._task: asyncio.Task[None] | None = None
        #: somebody new waits for a run that is not in memory
        self._hurry = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, run: UUID, watcher: Outcome) -> None:
        """Tell *watcher* how the run ends. A run that is not in memory is looked for in the database."""
        watchers = self._watchers.setdefault(run, [])
        if watcher not in watchers and not watcher.done():
            watchers.append(watcher)
        if run not in self._live:
            self._hurry.set()
            if self._task is None or self._task.done():
                self._task = self._loop.create_task(self._look_out())

    def ended(self, run: UUID, status: str, data: str) -> None:
        """A run's end is durable."""
        for watcher in self._watchers.pop(run, ()):
            watcher.set((status, data))

    def left(self, run: UUID) -> None:
        """A run left the memory and is not over: forget those who were told only because they had started it."""
        for watcher in self._watchers.pop(run, ()):
            if watcher.wanted:
                self.add(run, watcher)
            else:
                watcher.dropped = True

    def close(self) -> None:
        """Nobody will be told any more."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set(None, StoreUnavailableError("the context was closed before the run ended"))

    async def _look_out(self) -> None:
        """One task for everybody here who waits for runs that end elsewhere."""
        pause = _FIRST
        while True:
            self._hurry.clear()
            away = [run for run in self._watchers if run not in self._live]
            if not away:
                return
            try:
                ends = await self._reader.ends(away)
            except StoreUnavailableError:
                return
            for run, end in ends.items():
                self.ended(run, *end)
            # Somebody new is in a hurry; those who have waited long can wait a little longer.
            try:
                await asyncio.wait_for(self._hurry.wait(), pause)
                pause = _FIRST
            except TimeoutError:
                pause = min(_LAST, pause * 1.5)
