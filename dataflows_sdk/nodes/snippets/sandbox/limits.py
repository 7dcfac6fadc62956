"""What the operating system takes care of when an engine does not: memory and processor time of this process.

Linux keeps all of it, macOS no memory limit, Windows none of these: there the engine's own limits and the parent, which
ends a process that is late, are what remains.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Literal

if sys.platform != "win32":
    import resource

_PAGE = os.sysconf("SC_PAGE_SIZE") if sys.platform != "win32" else 4096
_SPARE = 64 << 20  # for the interpreter and the engine's own bookkeeping


class Limits:
    """Limits around each snippet.

    Args:
        space: ``all`` limits the address space; ``data`` only what can be written, for engines and interpreters that
            reserve much more than they use.
        spare: bytes beside the snippet's own.
        threads: how many may use the processor at once.
    """

    def __init__(self, space: Literal["all", "data"], spare: int = _SPARE, threads: int = 1) -> None:
        self._space = space
        self._spare = spare
        self._threads = threads
        self._sizes = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else -1
        if sys.platform != "win32":
            _lower(resource.RLIMIT_CORE, 0)

    def close_the_doors(self) -> None:
        """No further file, thread or process from here on: an engine without host functions needs none."""
        if sys.platform != "win32":
            highest = os.open(os.devnull, os.O_RDONLY)  # the lowest free one, and nothing above is open
            os.close(highest)
            _lower(resource.RLIMIT_NOFILE, highest)
            _lower(resource.RLIMIT_FSIZE, 0)
            if hasattr(resource, "RLIMIT_NPROC"):
                _lower(resource.RLIMIT_NPROC, 0)

    def small_files(self, longest: int) -> None:
        """No file that this process writes gets longer."""
        if sys.platform != "win32":
            _lower(resource.RLIMIT_FSIZE, longest)

    @contextlib.contextmanager
    def around(self, seconds: float, memory: int) -> Iterator[None]:
        """Limits for one snippet, beside what this process has and used already."""
        if sys.platform == "win32":
            yield
            return
        # the engine or the parent ends a snippet in time; this is for a process that both have lost
        allowed = (seconds + 3.0) * self._threads
        _lower(resource.RLIMIT_CPU, int(time.process_time() + allowed) + 1, soft=True)
        kind = 0
        if self._sizes >= 0:
            kind = resource.RLIMIT_AS if self._space == "all" else resource.RLIMIT_DATA
            sizes = os.pread(self._sizes, 256, 0).split()
            _lower(kind, int(sizes[0 if self._space == "all" else 5]) * _PAGE + memory + self._spare, soft=True)
        try:
            yield
        finally:
            if self._sizes >= 0:
                hard = resource.getrlimit(kind)[1]
                resource.setrlimit(kind, (hard, hard))


if sys.platform != "win32":

    def _lower(kind: int, limit: int, *, soft: bool = False) -> None:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with contextlib.suppress(OSError, ValueError):  # a limit that this system does not know is one less
            resource.setrlimit(kind, (limit, hard if soft else limit))
