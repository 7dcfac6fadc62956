"""Keeping several worker processes alive, and replacing them by others with newer code."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

log = logging.getLogger("dataflows.supervisor")

#: a process that lived so long did not die of how it was started, in seconds
_SETTLED = 60.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_READY_SECONDS = 60.0
_TICK = 0.2
_LOOK = 1.0


class _Child:
    """One worker process."""

    def __init__(self, command: Sequence[str]) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.ready = threading.Event()
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, output: IO[bytes] | None) -> None:
        for line in output or ():
            if line.strip() == b"ready":
                self.ready.set()
            else:  # what user code prints
                sys.stdout.buffer.write(line)
                sys.stdout.flush()

    @property
    def gone(self) -> bool:
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> None:
        if not self.gone:
            self.process.send_signal(number)


class Supervisor:
    """Starts worker processes, and again those that die.

    A process that dies early is started again after a pause that doubles, so that a module which cannot be imported
    does not keep the machine busy. The processes end with this one, even if it is killed: they notice that their
    standard input is closed.

    Args:
        arguments: of ``dataflows`` for one process.
        processes: how many.
        modules: whose files are watched.
        watch: whether to replace the processes when one of them changes.
    """

    def __init__(self, arguments: Sequence[str], processes: int, modules: Sequence[str], watch: bool) -> None:
        self._command = [sys.executable, "-m", "dataflows_sdk.cli.main", *arguments]
        self._count = processes
        self._files = _Files(modules) if watch else None
        self._children: list[_Child | None] = [None] * processes
        self._pauses = [0.0] * processes
        self._due = [0.0] * processes
        self._old: list[_Child] = []
        self._stopping = 0
        self._reload = False

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._on_reload)
        looked = time.monotonic()
        while not self._stopping:
            self._tend()
            if self._files is not None and time.monotonic() - looked >= _LOOK:
                looked = time.monotonic()
                self._reload = self._files.changed() or self._reload
            if self._reload:
                self._reload = False
                self._replace()
            time.sleep(_TICK)
        self._end()

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stopping += 1
        if self._stopping > 1:  # a second one is passed on: it means now
            for child in self._all():
                child.stop(number)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True

    def _all(self) -> Iterator[_Child]:
        yield from [child for child in [*self._children, *self._old] if child is not None]

    def _tend(self) -> None:
        now = time.monotonic()
        for number, child in enumerate(self._children):
            if child is not None and child.gone:
                lived = now - child.begun
                pause = self._pauses[number]
                self._pauses[number] = 0.0 if lived > _SETTLED else min(_LONGEST_PAUSE, max(_FIRST_PAUSE, pause * 2))
                self._due[number] = now + self._pauses[number]
                log.warning(
                    "worker %d (pid %d) ended with %s after %.1f s; it is started again in %.1f s",
                    number + 1, child.process.pid, _how(child.process.returncode), lived, self._pauses[number],
                )  # fmt: skip
                self._children[number] = None
            elif child is None and now >= self._due[number]:
                self._children[number] = _Child(self._command)
        self._old = [child for child in self._old if not child.gone]

    def _replace(self) -> None:
        """New processes for old ones, one after another: there is always somebody who works."""
        log.info("replacing %d workers", self._count)
        for number, old in enumerate(self._children):
            new = _Child(self._command)
            begun = time.monotonic()
            while not new.ready.wait(_TICK):
                if self._stopping or new.gone or time.monotonic() - begun > _READY_SECONDS:
                    break
            if not new.ready.is_set():
                log.error("the new worker does not get ready; the others go on with the code that they have")
                new.stop()
                self._old.append(new)
                return
            self._children[number] = new
            if old is not None:
                old.stop()
                self._old.append(old)

    def _end(self) -> None:
        for child in self._all():
            child.stop()
        for child in self._all():
            child.process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class _Files:
    """The Python files of modules and what stands beside them, and when they were changed."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._roots = [root for module in modules if (root := _root(module)) is not None]
        self._seen = self._times()

    def _times(self) -> dict[Path, float]:
        found: dict[Path, float] = {}
        for path in self._paths():
            try:
                found[path] = path.stat().st_mtime
            except OSError:
                continue  # it goes away in this moment
        return found

    def _paths(self) -> Iterable[Path]:
        for root in self._roots:
            yield from root.rglob("*.py")

    def changed(self) -> bool:
        """Whether anything did since the last time."""
        times = self._times()
        changed = times != self._seen
        self._seen = times
        return changed


def _root(module: str) -> Path | None:
    """The directory of a module: its package, or where its file lies."""
    if module.endswith(".py") or os.sep in module:
        return Path(module).resolve().parent
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.pop(0)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
