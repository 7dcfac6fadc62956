"""Threads for blocking code of the user.

The standard executor joins its threads when the interpreter exits, so that one hanging request would hang the exit
of a notebook kernel; and its size is fixed, so that branches which wait for branches could starve. These threads are
daemons and there are as many as are asked for at once, up to a limit for those who cannot wait for each other.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

_IDLE_SECONDS = 10.0


class ThreadPool:
    """Runs functions in daemon threads.

    Args:
        name: prefix of the threads' names.
        limit: how many threads at the most; None for as many as needed.
    """

    def __init__(self, name: str, limit: int | None = None) -> None:
        self._name = name
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._number = 0
        self._later: deque[Callable[[], None]] = deque()
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Run *work*, which must not raise, in a thread."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._limit is not None and self._threads >= self._limit:
                self._later.append(work)
                return
            else:
                self._threads += 1
                self._number += 1
                threading.Thread(
                    target=self._loop, args=(work,), name=f"{self._name}-{self._number}", daemon=True
                ).start()
                return
        self._work.put(work)

    def _loop(self, work: Callable[[], None] | None) -> None:
        while work is not None:
            work()
            del work  # what the closure holds is not ours while we wait
            with self._lock:
                if self._later:
                    work = self._later.popleft()
                    continue
                if self._closed:
                    self._threads -= 1
                    return
                self._idle += 1
            try:
                work = self._work.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        self._threads -= 1
                        return
                work = self._work.get()  # somebody counted on us a moment ago
        with self._lock:
            self._threads -= 1

    def close(self) -> None:
        """Let idle threads end; those at work end after it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._work.put(None)
