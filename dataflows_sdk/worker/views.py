"""Refreshing the views whose ``refresh=`` says that it is time, in the background of whoever works.

A thread looks for what is due: when the next one is, or a few seconds later, because other processes define views too.
Each refresh is a thread with a connection of its own, as many at once as `AT_ONCE` says, so that a long one holds up
neither the looking nor the others. Which of many processes does it, PostgreSQL decides (`warehouse/refreshing.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.chance import chance
from dataflows_sdk.errors import DataflowsError, StoreUnavailableError
from dataflows_sdk.store.statements import interrupt
from dataflows_sdk.worker.executor import LOOKS

if TYPE_CHECKING:
    from dataflows_sdk.core.clock import Clock
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.warehouse.views import Views

log = logging.getLogger("dataflows.views")

#: refreshes at once in a process
AT_ONCE = 4
#: seconds between two looks: at least, and at most, however far the next view is
_OFTEN, _SELDOM = 1.0, 5.0
#: how often a clock that is virtual is asked, and how far two clocks may be apart
_TICK = 0.02
#: seconds that refreshes get to end when they are cancelled
_GRACE = 5.0


class Refresher:
    """Refreshes what is due. Nothing happens before `start`.

    Args:
        database: where the views are.
        clock: of the engine.
        population: how many workers there are: the more, the more seldom each of them looks.
    """

    def __init__(self, database: Database, clock: Clock, population: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._virtual = bool(getattr(clock, "virtual", False))
        self._population = population
        self._stop = threading.Event()
        self._kicked = threading.Event()
        self._lock = threading.Lock()
        #: views that are refreshed just now
        self._busy: dict[str, threading.Thread] = {}
        self._connections: dict[str, Any] = {}
        self._next: datetime | None = None
        self._thread = threading.Thread(target=self._loop, name="dataflows-views", daemon=True)

    def start(self) -> None:
        """Look for what is due, from now on."""
        self._thread.start()

    def kick(self) -> None:
        """A view was defined here: look soon. From any thread."""
        self._kicked.set()

    def stop(self) -> None:
        """Look no more, and cancel the refreshes that are under way: they stay due, for whoever works next."""
        self._stop.set()
        self._kicked.set()
        until = time.monotonic() + _GRACE
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_GRACE)
        while (busy := self._threads()) and time.monotonic() < until:
            with self._lock:  # a connection that has been closed is not among them
                for connection in self._connections.values():
                    interrupt(connection)
            busy[0].join(0.05)

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._busy.values())

    # --- looking -----------------------------------------------------------------------------------------

    def _loop(self) -> None:
        # Not at once: who connects for a moment only need not pay for it.
        pause = _OFTEN
        while not self._pause(pause):
            try:
                self._look()
            except StoreUnavailableError as error:
                log.debug("views wait for the database: %s", error)
            except Exception:
                if not self._stop.is_set():
                    log.exception("looking for views that are due failed and will be tried again")
            left = _SELDOM if self._next is None else (self._next - self._clock.now()).total_seconds()
            pause = min(max(_OFTEN, left + _TICK), _SELDOM * (0.75 + chance() / 2))
            pause = max(pause, self._population() / LOOKS)

    def _pause(self, seconds: float) -> bool:
        """Wait, or until there is a reason to look; whether it is over."""
        until = time.monotonic() + seconds
        while self._virtual and not self._kicked.wait(_TICK) and time.monotonic() < until:
            if self._next is not None and self._next <= self._clock.now():
                break
        if not self._virtual:
            self._kicked.wait(seconds)
        self._kicked.clear()
        return self._stop.is_set()

    def _look(self) -> None:
        views = self._views()
        self._next = views.next_due()
        if self._next is None or self._next > self._clock.now():
            return
        for name in views.due(self._now()):
            with self._lock:
                if self._stop.is_set() or len(self._busy) >= AT_ONCE:
                    return
                if name in self._busy:
                    continue
                thread = threading.Thread(
                    target=self._refresh, args=(name,), name=f"dataflows-view-{name}", daemon=True
                )
                self._busy[name] = thread
                thread.start()

    def _views(self) -> Views:
        from dataflows_sdk.warehouse.views import Views

        return Views(self._database, self._now)

    def _now(self) -> datetime | None:
        return self._clock.now() if self._virtual else None

    # --- refreshing --------------------------------------------------------------------------------------

    def _refresh(self, name: str) -> None:
        from dataflows_sdk.warehouse.refreshing import refresh_if_due

        changed, connection = False, None
        try:
            connection = self._database.open()
            with self._lock:
                self._connections[name] = connection
            begun = time.monotonic()
            if changed := refresh_if_due(connection, name, self._now(), self._stop.is_set):
                log.info("view %r was refreshed in %.3f s", name, time.monotonic() - begun)
        except StoreUnavailableError as error:
            log.debug("view %r waits for the database: %s", name, error)
        except DataflowsError as error:
            changed = True
            log.warning("%s; it will be tried again", error)
        except Exception:
            if not self._stop.is_set():
                log.exception("view %r was not refreshed and will be tried again", name)
        finally:
            with self._lock:
                self._connections.pop(name, None)
            if connection is not None:
                connection.close()
            with self._lock:
                del self._busy[name]
            if changed:  # somebody may have waited for it, or for room
                self._kicked.set()
