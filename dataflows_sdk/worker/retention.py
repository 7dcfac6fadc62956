"""Retention: finished runs go after a while, each in one transaction, and it is written down."""

from __future__ import annotations

import json
import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dataflows_sdk.engine.chance import chance
from dataflows_sdk.errors import StoreError

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.database import Database

log = logging.getLogger("dataflows.retention")

_BATCH = 500
_EVERY = 3600.0
_FIRST = 60.0


class Retention:
    """Deletes what is older than an age; None keeps everything.

    Args:
        database: where.
        age: how long after its end a run is kept.
        engine: whose worker does it; a process that only looks deletes nothing by itself.
    """

    def __init__(self, database: Database, age: timedelta | None, engine: Engine) -> None:
        self._database = database
        self._age = age
        self._engine = engine
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, works: bool) -> None:
        """Look once a while, in a thread of its own."""
        if works and self._age is not None:
            self._thread = threading.Thread(target=self._loop, name="dataflows-retention", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _loop(self) -> None:
        assert self._age is not None
        pause = _FIRST
        while not self._ended.wait(pause * (0.75 + chance() / 2)):
            pause = _EVERY
            if not self._engine.owning:
                continue
            try:
                self.purge(self.oldest(), None)
            except StoreError as error:
                log.warning("old runs could not be deleted and will be looked at again: %s", error)

    def oldest(self) -> datetime:
        """What ended before this goes. By the database's clock: this machine's may be years off."""
        assert self._age is not None
        return self._engine.clock.now() - self._age

    def purge(self, before: datetime, workflow: str | None, *, dry_run: bool = False) -> int:
        """Delete runs that ended before *before*; gives how many."""
        read = self._database.read
        if dry_run:
            return len(read("retention", "expired", (before, None, workflow)))
        deleted = 0
        while not self._ended.is_set():
            expired = read("retention", "expired", (before, _BATCH, workflow))
            for (run,) in expired:
                read("retention", "delete_run", (run,))
                deleted += 1
            if len(expired) < _BATCH:
                break
        if deleted or workflow is None:
            read("retention", "delete_broadcasts", (before,))
            read("retention", "delete_content")
        if workflow is None:
            # what is said of streams is meant to hold also where nobody publishes any more
            while read("streams", "trim", (None, self._engine.clock.now(), _BATCH)):
                pass
        if deleted:
            detail = {"before": before.isoformat(), "workflow": workflow, "runs": deleted}
            read("retention", "note", ("purge", json.dumps(detail)))
            log.info("deleted %d runs that ended before %s", deleted, before)
        return deleted
