"""Clocks. Time is the database's: everything that waits or expires asks a `Clock`, never `time.time()`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "SystemClock"]


@runtime_checkable
class Clock(Protocol):
    """What the engine needs to know about time."""

    def now(self) -> datetime:
        """The moment, aware and in UTC, in the database's time base."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; for measuring, never stored."""
        ...


#: how fast two quartz clocks may drift apart; measured ones are below 100 ppm
_DRIFT = 200e-6
#: while it is ahead of the database, the clock runs at this pace until the database has caught up
_SLOW = 0.5


class SystemClock:
    """The database's time, kept on this machine's monotonic clock.

    Before the first `sync` it shows the wall clock. Afterwards a change of the wall clock does not touch
    it. What it has shown it never takes back: if it turns out to be ahead of the database it runs at half
    speed until they meet; if it is behind, it goes forward at once. Safe to use from any thread.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        # the database's time was `_base` at the monotonic reading `_base_at`, give or take `_error` seconds
        self._base: datetime | None = None
        self._base_at = 0.0
        self._error = math.inf
        self._shown: datetime | None = None
        self._shown_at = 0.0

    def monotonic(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return self._monotonic()

    @property
    def synchronised(self) -> bool:
        """Whether the database was asked for its time yet."""
        return self._base is not None

    def now(self) -> datetime:
        """The moment in the database's time, aware and in UTC; never earlier than one shown before."""
        with self._lock:
            at = self._monotonic()
            moment = self._target(at)
            if self._shown is not None:
                slow = self._shown + timedelta(seconds=(at - self._shown_at) * _SLOW)
                if moment < slow:
                    # the anchor stays where it is: moving it at every call would round a fast caller's
                    # time to nothing
                    return slow
            self._shown, self._shown_at = moment, at
            return moment

    def _target(self, at: float) -> datetime:
        if self._base is None:
            return self._wall()
        return self._base + timedelta(seconds=at - self._base_at)

    def sync(self, db_now: datetime, rtt: float) -> bool:
        """Take over the database's time; call it right after the answer has come.

        A sample is worth half its round trip. A worse one than the present estimate is ignored, unless
        the two contradict each other: then the time really jumped (a laptop woke up, the database moved)
        and the new one wins.

        Args:
            db_now: what ``clock_timestamp()`` answered, aware.
            rtt: seconds from sending the question to having the answer.

        Returns:
            whether the sample was used.

        Raises:
            ValueError: `db_now` has no time zone, or `rtt` is negative or not finite.
        """
        if not isinstance(db_now, datetime) or db_now.utcoffset() is None:
            raise ValueError(f"the database's time must be an aware datetime, not {db_now!r}")
        if isinstance(rtt, bool) or not isinstance(rtt, (int, float)) or not math.isfinite(rtt) or rtt < 0:
            raise ValueError(f"a round trip takes a finite number of seconds, zero or more, not {rtt!r}")
        error = rtt / 2
        with self._lock:
            at = self._monotonic()
            sample = db_now.astimezone(UTC) + timedelta(seconds=error)
            if self._base is not None:
                aged = self._error + (at - self._base_at) * _DRIFT
                apart = abs((sample - self._target(at)).total_seconds())
                if error >= aged and apart <= error + aged:
                    return False
            self._base, self._base_at, self._error = sample, at, error
            return True
