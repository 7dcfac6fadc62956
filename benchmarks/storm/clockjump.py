"""A wall clock that jumps: what a bad time server, a restored machine or an administrator does to a process.

Patched is what Python code asks, in this process: ``time.time``, ``time.time_ns``, and ``datetime.now`` as the library
sees it. Not patched: the monotonic clock (the kernel does not let it jump; SIGSTOP shows what it is like when much time
is gone at once), C libraries, and the database's own clock.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import time

_offset = 0.0
_time, _time_ns = time.time, time.time_ns


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, dt.datetime)


class _Datetime(dt.datetime, metaclass=_Meta):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return dt.datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> dt.datetime:  # type: ignore[override]
        return dt.datetime.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


def install() -> int:
    """Let this process's wall clock be moved; gives how many modules of the library ask it by `datetime`."""
    time.time = lambda: _time() + _offset
    time.time_ns = lambda: _time_ns() + int(_offset * 1e9)
    changed = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("dataflows_sdk") and getattr(module, "datetime", None) is dt.datetime:
            module.datetime = _Datetime  # type: ignore[attr-defined]
            changed += 1
    return changed


def jump(rng: random.Random) -> float:
    """Move the wall clock by anything from a second to two years, back or forth; gives the offset."""
    global _offset
    size = 10 ** rng.uniform(0, 7.8)
    _offset = rng.choice((-size, size, size, 0.0))
    return _offset
