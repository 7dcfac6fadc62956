"""A queue between a page and what it asks for.

Front ends call handlers on whatever thread they like, some only when the cell that runs has ended; so a handler puts a
message on a queue and does nothing else, and a thread of ours works it off.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Tell = Callable[[dict[str, Any]], None]

#: messages that wait at most
_QUEUED = 100
#: an idle thread ends after so many seconds
_IDLE = 1.0


class Queued(ABC):
    """Answers messages one after the other, on a thread that is there while there are some.

    Args:
        tell: gets the replies: ``{"do": "reply", "id": …, "ok": …, "text": …}``.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(_QUEUED)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a message says, and give the reply; never raises."""

    def put(self, message: Any) -> None:
        """Take a message of the page; returns at once. What is no command gets an answer that says so."""
        if not isinstance(message, dict):
            return
        if message.get("do") == "ping":
            self._tell({"do": "pong"})
            return
        with self._lock:
            try:
                self._queue.put_nowait(message)
            except queue.Full:
                self._tell(reply_to(message, ok=False, text="too many commands wait already"))
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dataflows-view-commands", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Let the thread end."""
        with self._lock:
            if self._thread is not None:
                self._queue.put({"do": "stop"})

    def _work(self) -> None:
        while True:
            try:
                message = self._queue.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._thread = None
                        return
                continue
            if message.get("do") == "stop":
                with self._lock:
                    self._thread = None
                return
            self._tell(self.answer(message))


def reply_to(message: dict[str, Any], *, ok: bool, **more: Any) -> dict[str, Any]:
    """The answer to a message."""
    return {"do": "reply", "id": message.get("id"), "page": message.get("page"), "ok": ok, **more}
