"""Notifications: at most once, to whoever listens at that moment; nothing is stored."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dataflows_sdk.nodes.inbox import Inbox

_MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification, for a channel or a user."""

    channel: str | None
    user_id: str | None
    title: str
    message: str
    data: Any = None
    level: str = "info"
    run_id: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Subscription(Inbox[Notification]):
    """What one listener has not yet read; an iterator that waits. Use it as a context manager, or `close` it."""

    def __init__(self, owner: Notifications, channel: str | None, user_id: str | None, timeout: float | None) -> None:
        super().__init__(_MOST_WAITING, timeout, owner._leave)
        self._channel = channel
        self._user_id = user_id

    def wants(self, note: Notification) -> bool:
        everything = self._channel is None and self._user_id is None
        return (
            everything
            or (self._channel is not None and note.channel == self._channel)
            or (self._user_id is not None and note.user_id == self._user_id)
        )


class Notifications:
    """Who listens in this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []

    def subscribe(
        self, channel: str | None = None, user_id: str | None = None, timeout: float | None = None
    ) -> Subscription:
        """Listen from now on, to a channel, to a user's, or to everything.

        Args:
            timeout: seconds after which a wait for the next one ends the iteration; None waits for ever.
        """
        subscription = Subscription(self, channel, user_id, timeout)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def publish(self, note: Notification) -> int:
        """Give it to everybody who listens for it; how many those are."""
        with self._lock:
            wanting = [each for each in self._subscriptions if each.wants(note)]
        return sum(each.put(note) for each in wanting)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        for each in subscriptions:
            each.close()

    def _leave(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
