"""Looks after saved flows and their triggers in the background; costs one small query a second while there are none."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from dataflows_sdk.engine.chance import chance
from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.worker.executor import LOOKS

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

log = logging.getLogger("dataflows.triggers")

#: seconds between two looks, however much is written
_SHORTEST = 0.05


class Lookout:
    """A thread that lets a context learn flows which others saved, and fire what is due.

    Args:
        context: not kept alive by this.
        every: seconds between two looks.
    """

    def __init__(self, context: Context, every: float = 1.0) -> None:
        self._context = weakref.ref(context)
        self._every = every
        self._stop = threading.Event()
        self._kicked = threading.Event()
        #: tables whose rows somebody listens to, as of the last look
        self._tables: frozenset[str] = frozenset()
        self._learnt: datetime | None = None
        self._thread = threading.Thread(target=self._loop, name="dataflows-triggers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wrote(self, tables: Iterable[str]) -> None:
        """Rows of these tables were written: look soon, if somebody listens. From any thread."""
        if self._tables and not self._tables.isdisjoint(tables):
            self._kicked.set()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._kicked.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)

    def _loop(self) -> None:
        # Not at once: who connects for a moment only need not pay for it.
        pause = self._every
        while not self._pause(pause):
            context = self._context()
            if context is None:
                return
            # The more there are who look, the more seldom each of them has to.
            pause = max(self._every, context._executor.population / LOOKS) * (0.75 + chance() / 2)
            try:
                self._look(context)
            except StoreUnavailableError as error:
                log.debug("triggers wait for the database: %s", error)
            except Exception:
                if not self._stop.is_set():
                    log.exception("looking after the triggers failed and will be tried again")
            del context

    def _pause(self, seconds: float) -> bool:
        """Wait, or until something is to be heard; whether it is over."""
        self._stop.wait(_SHORTEST)
        self._kicked.wait(max(0.0, seconds - _SHORTEST))
        self._kicked.clear()
        return self._stop.is_set()

    def _look(self, context: Context) -> None:
        triggers = context.triggers
        triggers.declare()
        changed_at, next_at, emitted, resume_at, tables = context._read("triggers", "pulse")[0]
        self._tables = frozenset(tables)
        if changed_at is not None and changed_at != self._learnt:
            triggers.refresh()
            self._learnt = changed_at
        if emitted:
            triggers.hear()
        elif tables:
            triggers.hear_rows()
        while not self._stop.is_set() and _is_due(context, next_at, resume_at):
            if not triggers.tick():
                break
            _, next_at, _, resume_at, _ = context._read("triggers", "pulse")[0]


def _is_due(context: Context, *moments: datetime | None) -> bool:
    now = context._engine.clock.now()
    return any(moment is not None and moment <= now for moment in moments)
