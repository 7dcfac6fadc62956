"""The step verbs: what a workflow can ask for, each written once.

Every verb does the same four things: it takes its identity from its scope, looks whether the journal already has its
outcome, does what is left to do, and returns only after the outcome is durable. They are coroutines over the three
primitives of a `Face`; `dataflows_sdk.engine.step` has the two handles that users see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.decide import (
    Recorded,
    decide_step,
)
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.verb_base import ReplayStopped
from dataflows_sdk.engine.verb_rows import RowVerbs
from dataflows_sdk.engine.verb_runs import RunVerbs
from dataflows_sdk.engine.verb_step import StepVerbs

_PROGRESS_SECONDS = 0.2


class Verbs(StepVerbs, RowVerbs, RunVerbs):
    """The verbs of one run for one face."""

    __slots__ = ()

    # --- recorded chance ---------------------------------------------------------------------------------

    async def recall(self, op: str, name: str, make: Callable[[], Any]) -> Any:
        """A value that must be the same in every replay: the time, an id, a random number."""
        live = self.live
        if live.stopping is not None:
            await self.unwound()
        frame = self.enter(op, name)
        try:
            decision = decide_step(frame.record, op)
            if isinstance(decision, Recorded):
                return await self.recorded(decision.record)
            self.fresh(frame)
            value = make()
            await self._complete(frame, self.engine.values.encode(value, name).text)
            return value
        finally:
            live.leave(frame)

    async def now(self) -> datetime:
        return await self.recall("now", "now", self.engine.clock.now)  # type: ignore[no-any-return]

    async def uuid(self) -> UUID:
        return await self.recall("uuid", "uuid", new_uuid)  # type: ignore[no-any-return]

    async def random(self) -> float:
        return await self.recall("random", "random", chance)  # type: ignore[no-any-return]

    async def patched(self, change: str) -> bool:
        """Whether the code after *change* applies: True for new runs, False for runs that passed this point before."""
        live = self.live
        if live.stopping is not None:
            await self.unwound()
        frame = self.enter("patched", change, ordered=False)
        try:
            if frame.record is not None:
                live.replayed += 1
                return True
            if frame.branch.replaying():
                return False
            self.fresh(frame)
            await self._complete(frame, "true")
            return True
        finally:
            live.leave(frame)

    def progress(self, done: float, total: float | None, text: str) -> None:
        """Say how far the run is; shown, thrown away on replay, at most five a second."""
        live = self.live
        now = time.monotonic()
        if live.dry or live.stopping is not None:
            return
        if now - live.last_progress < _PROGRESS_SECONDS and not (total is not None and done >= total):
            return
        live.last_progress = now
        shown = self.engine.redactor.redact_text(text)
        data = json.dumps({"done": done, "total": total, "text": shown})
        self.engine.writer.submit_threadsafe(Unit(live.head, [Event("progress", "", data)]))


__all__ = ["ReplayStopped", "Verbs"]
