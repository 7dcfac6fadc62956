"""A process of a pool: loads jobs from its standard input, answers on what was its standard output, ends with either.

Frames are eight bytes of length and so many bytes: pickled pairs of ``sys.path`` and a job one way; the other way an
empty one when its function is about to be called, and then the answer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import struct
import sys
import threading
import time
from typing import IO, Any

SIZE = struct.Struct(">Q")
#: how long libraries may take to end when the process is no longer needed
_END_SECONDS = 5.0


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the pipe."""
    head = pipe.read(SIZE.size)
    if len(head) < SIZE.size:
        return None
    (size,) = SIZE.unpack(head)
    body = pipe.read(size)
    return body if len(body) == size else None


def write_frame(pipe: IO[bytes], body: bytes) -> None:
    """Send a frame."""
    pipe.write(SIZE.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, out of reach of what functions print and read."""
    coming, going = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return coming, going


def _listen(coming: IO[bytes], jobs: queue.SimpleQueue[bytes | None], idle: threading.Event) -> None:
    """Take jobs from the pipe; when its other end is gone nobody is interested in this process any more."""
    while (frame := read_frame(coming)) is not None:
        idle.clear()
        jobs.put(frame)
    if idle.is_set():
        jobs.put(None)
        time.sleep(_END_SECONDS)
    end_now()


def end_now() -> None:
    """End this process and those that its functions started, whatever they do."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        with contextlib.suppress(OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Answer jobs, one after the other, until the parent is gone or needs this process no more."""
    import pickle

    coming, going = _own_pipes()
    jobs: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    idle = threading.Event()
    idle.set()
    threading.Thread(target=_listen, args=(coming, jobs, idle), name="dataflows-pipe", daemon=True).start()
    while (frame := jobs.get()) is not None:
        path: list[str]
        job: Any
        path, job = pickle.loads(frame)  # noqa: S301 - from the process that started this one
        if path != sys.path:
            sys.path[:] = path
        del frame
        _send(going, b"")
        answer = job()
        sys.stdout.flush()
        sys.stderr.flush()
        idle.set()
        _send(going, answer)
        del answer, job


def _send(going: IO[bytes], body: bytes) -> None:
    try:
        write_frame(going, body)
    except OSError:
        end_now()
