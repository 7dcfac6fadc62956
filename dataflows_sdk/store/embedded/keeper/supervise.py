"""The keeper's life: bring the server up, tell the client that asked, keep it up, stop it after the last."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import cluster
from .layout import Layout, ServerRefusedError
from .locks import LockFile
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GRACE = 0.5  # seconds that a server without clients waits for the next one
_HOUSEKEEPING = 60.0  # seconds
_LONGEST_LOG = 4 * 1024 * 1024
_LONGEST_BACKOFF = 5.0

_Event = Literal["deserted", "gone", "told to stop"]
_Events = queue.SimpleQueue[_Event]


def main(arguments: Sequence[str]) -> int:
    """Run a keeper. Arguments: the directory, and the one with PostgreSQL's programs.

    Standard output takes one JSON object when the server is up or cannot come up: ``{}`` or ``{"error": …}``.
    """
    os.umask(0o077)
    if sys.platform != "win32" and os.fork() != 0:
        os._exit(0)  # the client reaps this one at once and never has to care about a child again
    layout, programs = Layout(Path(arguments[0])), Path(arguments[1])
    events: _Events = queue.SimpleQueue()
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: events.put("told to stop"))
    with LockFile(layout.keeper_lock) as life:
        if not life.own(2.0):
            _report({})  # another keeper was faster: the client will find its server
            return 0
        server: Server | None = None
        try:
            cluster.prepare(layout, programs)
            server = Server(layout, programs)
            server.bring_up()
        except (ServerRefusedError, OSError) as error:
            _say(f"gave up: {error}")
            if server is not None:
                server.stop()
            _report({"error": str(error)})
            return 1
        _report({})
        _Keeper(layout, server, life, events).run()
    return 0


class _Keeper:
    def __init__(self, layout: Layout, server: Server, life: LockFile, events: _Events) -> None:
        self._layout = layout
        self._server = server
        self._life = life
        self._events = events
        self._clients = LockFile(layout.clients_lock)
        # What is to be done when; monotonic times.
        self._leave_at: float | None = None
        self._restart_at: float | None = None
        self._backoff = 0.0

    def run(self) -> None:
        self._watch_clients()
        self._watch_server()
        while True:
            try:
                event = self._events.get(timeout=self._patience())
            except queue.Empty:
                now = time.monotonic()
                if self._restart_at is not None and now >= self._restart_at:
                    self._bring_back()
                if self._leave_at is not None and now >= self._leave_at:
                    # With nobody coming in: is there really no client?
                    if self._stop_if(self._clients.try_own):
                        return
                    self._leave_at = None
                    self._watch_clients()
                _trim(self._layout)
                continue
            if event == "gone":
                _say("the server is gone")
                self._bring_back()
            elif event == "deserted":
                self._leave_at = time.monotonic() + _GRACE
            else:
                self._stop_if(lambda: True)
                return

    def _stop_if(self, condition: Callable[[], bool]) -> bool:
        """Stop the server if, with the door closed, `condition` holds."""
        if not self._life.in_place():  # the directory was deleted: nobody comes in through this door any more
            self._server.stop()
            return True
        with LockFile(self._layout.start_lock) as door:
            door.wait_own()
            if not condition():
                return False
            self._server.stop()
            # Before the door opens: who waits there finds no keeper and starts one.
            self._life.close()
            self._clients.close()
        return True

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [at - now for at in (self._leave_at, self._restart_at) if at is not None]
        return max(0.0, min([*waits, _HOUSEKEEPING]))

    def _bring_back(self) -> None:
        if not self._life.in_place():
            _say("the directory is gone as well")
            self._restart_at = None
            return  # nothing to bring back; the keeper stays until the clients leave
        try:
            self._server.bring_up()
        except (ServerRefusedError, OSError) as error:
            self._backoff = min(_LONGEST_BACKOFF, 2 * self._backoff or 0.1)
            self._restart_at = time.monotonic() + self._backoff
            _say(f"cannot bring the server back, next try in {self._backoff:.1f} s: {error}")
            return
        self._restart_at, self._backoff = None, 0.0
        _say("the server is back")
        self._watch_server()

    def _watch_clients(self) -> None:
        def watch() -> None:
            self._clients.wait_own()
            # Let go at once: this was only the news. Whoever comes in during the grace must not be kept
            # waiting.
            self._clients.free()
            self._events.put("deserted")

        threading.Thread(target=watch, name="clients", daemon=True).start()

    def _watch_server(self) -> None:
        def watch() -> None:
            self._server.wait_gone()
            self._events.put("gone")

        threading.Thread(target=watch, name="server", daemon=True).start()


def _report(message: dict[str, str]) -> None:
    """Answer the client and hang up."""
    with contextlib.suppress(BrokenPipeError):  # killed meanwhile: its lock will tell
        os.write(1, json.dumps(message).encode())
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} keeper [{os.getpid()}] {text}\n")
    sys.stderr.flush()


def _trim(layout: Layout) -> None:
    """Keep the log and one older one short. The writers append, so emptying the file under them is safe."""
    try:
        if layout.log.stat().st_size > _LONGEST_LOG:
            shutil.copyfile(layout.log, layout.log.with_suffix(".log.1"))
            os.truncate(layout.log, 0)
    except OSError:
        return
