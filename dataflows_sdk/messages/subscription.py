"""Who listens, in this process."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.core.subjects import matches
from dataflows_sdk.nodes.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows_sdk.core.codec import Codec
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.store.listener import Listener

CHANNEL = "dataflows_message"
_MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Heard(ShownAsTable):
    """A message that was told while somebody listened."""

    subject: str
    payload: Any


class Listening(Inbox[Heard]):
    """What one listener has not read yet: an iterator that waits, in a blocking or an asynchronous loop.

    Use it as a context manager, or `close` it. A listener that does not read keeps 10,000 messages; newer ones are
    dropped for it, and `dropped` counts them.
    """

    def __init__(self, pattern: str, cut: int, timeout: float | None, leave: Callable[[Listening], None]) -> None:
        super().__init__(_MOST_WAITING, timeout, leave)
        self._pattern = pattern
        self._cut = cut

    def tell(self, subject: str, payload: Any) -> None:
        """Keep a message that it wants."""
        self.put(Heard(subject[self._cut :], payload))

    def wants(self, subject: str) -> bool:
        """Whether it is one of the pattern's."""
        return matches(self._pattern, subject)


class Hub:
    """Everybody who listens in a context; the connection for it is made when somebody does."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec
        self._lock = threading.Lock()
        self._listeners: list[Listening] = []
        self._listener: Listener | None = None

    def listen(self, pattern: str, cut: int, timeout: float | None) -> Listening:
        """Listen to what is told from now on.

        Args:
            pattern: subjects.
            cut: how much of their beginning is not shown.
        """
        listening = Listening(pattern, cut, timeout, self._leave)
        with self._lock:
            if self._listener is None:
                from dataflows_sdk.store.listener import Listener

                listener = Listener(self._database, CHANNEL, self._hear)
                listener.start()
                self._listener = listener
            self._listeners.append(listening)
        return listening

    def _hear(self, text: str) -> None:
        told = json.loads(text)
        with self._lock:
            wanting = [each for each in self._listeners if each.wants(told["s"])]
        if not wanting:
            return
        if "l" in told:
            rows = self._database.read("streams", "large", (UUID(told["l"]),))
            if not rows:
                return
            payload = self._codec.decode(rows[0][0])
        else:
            payload = self._codec.decode(json.dumps(told["p"]))
        for each in wanting:
            each.tell(told["s"], payload)

    def _leave(self, listening: Listening) -> None:
        with self._lock:
            if listening in self._listeners:
                self._listeners.remove(listening)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            listeners, listener, self._listener = list(self._listeners), self._listener, None
        for each in listeners:
            each.close()
        if listener is not None:
            listener.stop()
