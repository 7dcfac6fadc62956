"""Functions that run in other processes, which find them by the file of this module."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataflows_sdk as df


class OutOfStock(Exception):
    """An exception that a pickle does not bring back by itself: its constructor wants more than its arguments."""

    def __init__(self, item: str, *, left: int) -> None:
        super().__init__(f"{item}: only {left} left")
        self.item = item
        self.left = left


class Locked(Exception):
    """An exception that cannot be pickled at all."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()
        self.code = 7


@dataclass(frozen=True)
class Point:
    x: int
    y: int


def note(path: str, line: str = "called") -> int:
    """Append a line; gives how many there are."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    return len(Path(path).read_text().splitlines())


def note_pid(path: str) -> int:
    return note(path, str(os.getpid()))


def flip(point: Point) -> Point:
    return Point(point.y, point.x)


def who() -> dict[str, Any]:
    step = df.current_step()
    return {
        "key": step.key,
        "name": step.name,
        "attempt": step.attempt,
        "run": step.run_id,
        "idempotency_key": step.idempotency_key,
        "pid": os.getpid(),
    }


async def who_later() -> dict[str, Any]:
    await asyncio.sleep(0)
    return who()


def until_attempt(attempt: int, how: str) -> int:
    """End badly in every attempt before that one."""
    now = df.current_step().attempt
    if now >= attempt:
        return now
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if how == "exit":
        os._exit(3)
    raise ConnectionError(f"attempt {now}")


def hang(path: str, attempts: int = 99) -> int:
    """Say who we are, start a process of our own, and never end before that many attempts are over."""
    attempt = df.current_step().attempt
    if attempt > attempts:
        return attempt
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path(path + ".part").write_text(f"{os.getpid()} {child.pid}")
    Path(path + ".part").rename(path)
    time.sleep(300)
    raise AssertionError("nobody stopped it")


def spin() -> None:
    """Hold Python's lock, as long as it can be held."""
    while True:
        sum(range(10_000_000))


def wait_for(path: str, seconds: float = 30.0) -> str:
    """Say that we wait, wait until a file is there, and never let go of this process's lock for long."""
    Path(path + ".awaited").touch()
    end = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > end:
            raise AssertionError(f"{path} never came")
        sum(range(10_000))
    return "done"


def overlap(path: str, seconds: float) -> int:
    """How many calls run at this moment, this one included."""
    mine = Path(path) / f"{os.getpid()}-{time.monotonic_ns()}"
    mine.touch()
    time.sleep(seconds)
    count = len(list(Path(path).iterdir()))
    mine.unlink()
    return count


def fail(how: str) -> None:
    if how == "cause":
        try:
            raise KeyError("inner")
        except KeyError as error:
            outer = ValueError("outer")
            outer.add_note("a note")
            raise outer from error
    if how == "stock":
        raise OutOfStock("tea", left=2)
    if how == "locked":
        raise Locked("it is locked")
    if how == "exit":
        raise SystemExit(4)
    if how == "never":
        raise df.NonRetryableError("do not try again")
    if how == "group":
        raise ExceptionGroup("two", [ValueError("one"), OSError(2, "gone")])
    raise RuntimeError(f"token {how}")


def unsendable() -> Any:
    return threading.Lock()
