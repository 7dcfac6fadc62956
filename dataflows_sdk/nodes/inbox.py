"""What one listener has not read yet: an iterator that waits, in a blocking or an asynchronous loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Use it as a context manager, or `close` it. What comes while too much waits to be read is dropped, and counted.

    Args:
        most: how much may wait.
        timeout: seconds without anything after which the iteration ends; None waits for ever.
        leave: called once, when it is closed.
    """

    def __init__(self, most: int, timeout: float | None, leave: Callable[[Any], None]) -> None:
        self._queue: queue.Queue[T | None] = queue.Queue(most)
        self._timeout = timeout
        self._leave = leave
        self._ended = threading.Event()
        #: how much came while too much waited to be read
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Whether there was room; never waits."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next one; the iteration ends when there is none for so long, or when it is closed."""
        if self._ended.is_set() and self._queue.empty():
            raise StopIteration
        try:
            found = self._queue.get(timeout=self._timeout)
        except queue.Empty:
            raise StopIteration from None
        if found is None:
            raise StopIteration
        return found

    async def __aiter__(self) -> AsyncIterator[T]:
        while (found := await asyncio.to_thread(next, self, None)) is not None:
            yield found

    def close(self) -> None:
        """Stop listening; who waits for the next one stops waiting. Idempotent."""
        if not self._ended.is_set():
            self._ended.set()
            self._leave(self)
            with contextlib.suppress(queue.Full):  # nobody waits at a full queue
                self._queue.put_nowait(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
