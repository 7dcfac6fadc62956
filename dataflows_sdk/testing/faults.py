"""Dying at the worst moment, on purpose: the engine's named fault points, armed.

The points are in `dataflows_sdk.engine.faults.POINTS`. A process arms itself; nothing in the library's core reads an
environment variable. A test's child process calls `arm_from_environment`, and its parent sets
``DATAFLOWS_FAULT=commit.sent:3``.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflows_sdk.engine import faults
from dataflows_sdk.errors import DefinitionError

#: stands for every point: ``any:17`` is the seventeenth pass of whatever point
ANY = "any"
VARIABLE = "DATAFLOWS_FAULT"


class Passes:
    """Which fault points were passed, in order. Thread-safe."""

    def __init__(self) -> None:
        #: the names in the order in which they were passed
        self.order: list[str] = []

    def __call__(self, name: str) -> None:
        self.order.append(name)

    @property
    def counts(self) -> Counter[str]:
        """How often each was passed."""
        return Counter(self.order)

    def __len__(self) -> int:
        return len(self.order)

    def __repr__(self) -> str:
        counted = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return f"<{len(self)} passes: {counted or 'none'}>"


@contextmanager
def count_points() -> Iterator[Passes]:
    """Count the fault points that this process passes inside the block.

    The counts stay there afterwards::

        with count_points() as passes:
            ctx.run(workflow)
        passes.counts["commit.sent"]
    """
    passes = Passes()
    faults.arm(passes)
    try:
        yield passes
    finally:
        faults.arm(None)


def crash_at(point: str, nth: int = 1, *, before: Callable[[str], None] | None = None, sig: int | None = None) -> None:
    """Arm this process: it is killed when it passes *point* for the *nth* time. No cleanup, no exit handlers.

    Args:
        point: a name of `dataflows_sdk.engine.faults.POINTS`, or ``"any"``.
        nth: counted from 1, over all threads.
        before: called with the point's name at the very last moment.
        sig: another signal; SIGKILL by default (SIGTERM where there is none).

    Raises:
        DefinitionError: no such point, or *nth* is not a whole number from 1 on.
    """
    check_point(point)
    if isinstance(nth, bool) or not isinstance(nth, int) or nth < 1:
        raise DefinitionError(f"passes of a fault point are counted from 1 on, not {nth!r}")
    deadly = sig if sig is not None else getattr(signal, "SIGKILL", signal.SIGTERM)
    lock = threading.Lock()
    seen = 0

    def hook(name: str) -> None:
        nonlocal seen
        if point not in (ANY, name):
            return
        with lock:
            seen += 1
            if seen != nth:
                return
            if before is not None:
                before(name)
            os.kill(os.getpid(), deadly)
            if deadly == getattr(signal, "SIGKILL", None):
                threading.Event().wait()  # the signal is on its way; nothing may happen in the meantime

    faults.arm(hook)


def arm_from_environment(variable: str = VARIABLE) -> bool:
    """Arm as ``DATAFLOWS_FAULT=point:n`` says (``:n`` may be left out); False when it is not set.

    Raises:
        DefinitionError: it is set to something else.
    """
    text = os.environ.get(variable, "")
    if not text:
        return False
    point, separator, count = text.partition(":")
    if separator and not (count.isascii() and count.isdigit()):
        raise DefinitionError(f'{variable}={text!r}: write a point and which pass of it, "commit.sent:3"')
    crash_at(point, int(count) if separator else 1)
    return True


def check_point(point: str) -> None:
    """DefinitionError unless there is such a point."""
    if point != ANY and point not in faults.POINTS:
        raise DefinitionError(
            f"there is no fault point {point!r}; there are {', '.join(faults.POINTS)}, and {ANY!r} for all of them"
        )
