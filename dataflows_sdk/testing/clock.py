"""Time for tests: it stands still while runs work and jumps to the next wake-up when all of them wait."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from dataflows_sdk.core.durations import Duration, Instant, parse_duration, parse_instant

_START = datetime(2030, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A clock that moves only when somebody moves it.

        clock = VirtualClock()
        ctx = df.connect(url, clock=clock)
        ctx.run(reminder).result()          # sleeps for seven days; over in milliseconds
        clock.now() - started               # 7 days

    The engine writes this clock's time instead of the database's, lets go of waiting runs at once, and, when nothing
    is in its memory and nothing on its way to the database, jumps to the next time at which a run wakes up. So the
    deadline of a wait is over as soon as nobody has anything to do: a test that wants to send an event before
    the deadline keeps the clock from jumping on its own,

        clock = VirtualClock(autojump=False)
        run = ctx.start(approval)           # waits for an event, for seven days
        run.send_event("approved")          # in time, whatever the machine is doing
        clock.advance("7d")                 # and only this lets it run out

    or switches ``clock.autojump`` on and off. Time never goes backwards. One clock is for one context; two contexts
    would jump over each other's heads. Thread-safe.

    Args:
        start: the first moment that it shows, 2030-01-01 UTC by default.
        autojump: whether the engine may move it when every run waits.

    Raises:
        InvalidDurationError: *start* is not an instant.
    """

    #: what the engine asks of a clock: may its time be written instead of the database's?
    virtual = True

    def __init__(self, start: Instant | None = None, *, autojump: bool = True) -> None:
        self._now = _START if start is None else parse_instant(start)
        self._lock = threading.Lock()
        #: whether the engine moves the clock when every run waits; may be changed at any time
        self.autojump = autojump
        #: how often the engine has moved it
        self.jumps = 0

    def now(self) -> datetime:
        """The moment, aware and in UTC."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Real seconds, for measuring how long real work takes."""
        return time.monotonic()

    def jump(self, to: datetime) -> bool:
        """Called by an idle engine with the time of the next wake-up; False when the clock may not move by itself."""
        if not self.autojump:
            return False
        with self._lock:
            if to > self._now:
                self._now = to
                self.jumps += 1
        return True

    def advance(self, duration: Duration) -> datetime:
        """Let time pass; what became due wakes up within a few milliseconds. Gives the new time.

        Raises:
            InvalidDurationError: not a duration, or a negative one.
        """
        span = parse_duration(duration)
        with self._lock:
            self._now = _later(self._now, span)
            return self._now

    def advance_to(self, moment: Instant) -> datetime:
        """Let time pass until *moment*; nothing happens when that is already past. Gives the time.

        Raises:
            InvalidDurationError: not an instant.
        """
        wanted = parse_instant(moment)
        with self._lock:
            self._now = max(self._now, wanted)
            return self._now

    def __repr__(self) -> str:
        return f"<VirtualClock {self.now():%Y-%m-%d %H:%M:%S.%f} UTC{'' if self.autojump else ', held'}>"


def _later(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment + span
    except OverflowError:
        from dataflows_sdk.errors import InvalidDurationError

        raise InvalidDurationError(f"{span.days} days after {moment:%Y-%m-%d} is beyond the calendar") from None
