"""Workflows that note who ran, and how many at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

from dataflows_sdk.engine.definitions import Workflow


def noting(name: str = "note") -> tuple[Workflow, list[Any]]:
    """A workflow that notes its payloads, in the order in which its runs begin."""
    seen: list[Any] = []

    async def note(event: Any, step: Any) -> Any:
        seen.append(event.raw)
        return await step.run("give", lambda: event.raw)

    return Workflow(name, note), seen


class Gauge:
    """Counts who works now, and the most who ever did, by key."""

    def __init__(self, name: str = "gauged", pause: float = 0.01) -> None:
        self.now: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()
        self.done: list[Any] = []
        self._lock = threading.Lock()

        async def gauged(event: Any, step: Any) -> None:
            await step.run("work", self.work, event.raw)

        self.pause = pause
        self.workflow = Workflow(name, gauged)

    async def work(self, key: Any) -> None:
        with self._lock:
            for each in (key, "all"):
                self.now[each] += 1
                self.most[each] = max(self.most[each], self.now[each])
        await asyncio.sleep(self.pause)
        with self._lock:
            for each in (key, "all"):
                self.now[each] -= 1
            self.done.append(key)
