"""File locks that the kernel frees when their holder dies, however it dies.

POSIX has `flock`: it belongs to the open file, so two openings in one process exclude each other, and
children that inherit the descriptor hold the lock with their parent (the server's own lock is built on that).
Windows has byte-range locks without a shared kind in the standard library: sharing is having one byte of
many, and having the file is having all of them. The Windows half follows the documentation; it was not run on
Windows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_POLL = 0.01  # seconds between two tries of a bounded wait


class LockFile:
    """One opening of a lock file. Raises OSError where the directory cannot be written or has no locks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._slot = 0  # where the lock lies in the file; only Windows needs to know

    def share(self, seconds: float) -> bool:
        """Hold the lock together with others; False when somebody has it alone for all that time."""
        return _within(seconds, self.try_share)

    def own(self, seconds: float) -> bool:
        """Hold the lock alone; False when others have it for all that time."""
        return _within(seconds, self.try_own)

    if sys.platform == "win32":
        _SLOTS = 1024

        def try_share(self) -> bool:
            # A random start keeps two clients that come together from knocking at the same doors.
            first = os.getpid() % self._SLOTS
            return any(self._lock((first + step) % self._SLOTS, 1) for step in range(self._SLOTS))

        def try_own(self) -> bool:
            return self._lock(0, self._SLOTS)

        def wait_own(self) -> None:
            while not self.try_own():
                time.sleep(0.25)

        def free(self) -> None:
            import msvcrt

            os.lseek(self.fd, self._slot, os.SEEK_SET)
            msvcrt.locking(self.fd, msvcrt.LK_UNLCK, self._length)

        def _lock(self, slot: int, length: int) -> bool:
            import msvcrt

            os.lseek(self.fd, slot, os.SEEK_SET)
            try:
                msvcrt.locking(self.fd, msvcrt.LK_NBLCK, length)
            except PermissionError:
                return False
            self._slot, self._length = slot, length
            return True

    else:

        def try_share(self) -> bool:
            import fcntl

            return self._flock(fcntl.LOCK_SH | fcntl.LOCK_NB)

        def try_own(self) -> bool:
            import fcntl

            return self._flock(fcntl.LOCK_EX | fcntl.LOCK_NB)

        def wait_own(self) -> None:
            """Sleep in the kernel until the lock is ours alone."""
            import fcntl

            fcntl.flock(self.fd, fcntl.LOCK_EX)

        def free(self) -> None:
            import fcntl

            fcntl.flock(self.fd, fcntl.LOCK_UN)

        def _flock(self, operation: int) -> bool:
            import fcntl

            try:
                fcntl.flock(self.fd, operation)
            except BlockingIOError:
                return False
            return True

    def close(self) -> None:
        """Close this opening. The lock ends when the last process has closed it; `free` ends it for all."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with contextlib.suppress(OSError):
                os.close(fd)

    def in_place(self) -> bool:
        """Is the file still the one at its path? It is not when somebody deleted the directory."""
        try:
            return self.fd >= 0 and os.path.samestat(os.fstat(self.fd), self.path.stat())
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_free(path: Path) -> bool:
    """Does nobody have this lock alone? Asks by sharing, so that two who ask do not see each other."""
    if not path.exists():  # nor make it: perhaps somebody is just deleting the directory
        return True
    with LockFile(path) as lock:
        return lock.try_share()


def _within(seconds: float, attempt: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
