"""Runs that this process owns and has not in its memory.

A claim may be committed and its answer lost with the connection; then the run is ours and nobody here knows. The same
after an error of the engine itself. Others leave such a run alone, because its owner is alive: so its owner looks for
it now and then, and takes it over from itself, under a new epoch.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

from dataflows_sdk.engine.claims import adopt, claimed
from dataflows_sdk.store import wire

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.worker")

#: seconds between two looks
_EVERY = 2.5


class Strays:
    """Looks for strays of an engine. A run that is only on its way into memory, or out of it, is not seen twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = time.monotonic()
        #: seen in the last look, with their epochs
        self._seen: dict[UUID, int] = {}

    async def look(self) -> bool:
        """Take over what was missing in memory in two looks; whether anything was."""
        engine = self._engine
        now = time.monotonic()
        if not engine.owning or now - self._last < _EVERY:
            return False
        self._last = now
        (rows,) = await engine.reader.query(("owned", [engine.worker_id.bytes]))
        owned = {UUID(run.decode()): int(epoch) for run, epoch in rows if run is not None and epoch is not None}
        missing = {run: epoch for run, epoch in owned.items() if run not in engine.live}
        strays = {run: epoch for run, epoch in missing.items() if self._seen.get(run) == epoch}
        self._seen = missing
        if not strays:
            return False
        stamp = wire.instant(engine.stamp())
        asked = [wire.uuids(list(strays)), wire.int4s(list(strays.values()))]
        (rows,) = await engine.reader.query(("reclaim_own", [stamp, engine.worker_id.bytes, *asked]))
        if rows:
            log.info("took up %d runs that were ours without our knowing", len(rows))
            await adopt(engine, [claimed(row) for row in rows])
        return bool(rows)
