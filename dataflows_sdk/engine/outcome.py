"""How a run ended, for those who wait for it in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

#: a run's last status and the JSON text of its last event's data
End = tuple[str, str]


class Outcome:
    """A promise of a run's end; lighter than a `concurrent.futures.Future`, for there is one for every start.

    Set once, on the engine's loop. Callbacks run there too and must not block.
    """

    __slots__ = ("_callbacks", "_end", "_error", "_gate", "dropped", "wanted")

    def __init__(self) -> None:
        self._end: End | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[], None]] | None = None
        self._gate: threading.Event | None = None
        #: somebody waits for it: it is kept when the run leaves the memory of this process
        self.wanted = False
        #: the run left the memory of this process before anybody waited: who waits now must ask to be told
        self.dropped = False

    def done(self) -> bool:
        """Whether the run is over."""
        return self._end is not None or self._error is not None

    def end(self) -> End:
        """The end; raises what kept it from coming, such as StoreUnavailableError when the context was closed."""
        if self._error is not None:
            raise self._error
        assert self._end is not None
        return self._end

    def wait(self, timeout: float | None) -> bool:
        """Block until the run is over; False when it takes longer than *timeout* seconds."""
        if not self.done():
            if self._gate is None:
                self._gate = threading.Event()
            if not self.done():
                self._gate.wait(timeout)
        return self.done()

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call *callback* once the run is over; at once when it already is."""
        if not self.done():
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
            if not self.done():
                return
            # It came in between: whoever takes the callback out of the list calls it.
            try:
                self._callbacks.remove(callback)
            except ValueError:
                return
        callback()

    def set(self, end: End | None, error: BaseException | None = None) -> None:
        """Tell everybody."""
        if self.done():
            return
        self._end, self._error = end, error
        if self._gate is not None:
            self._gate.set()
        callbacks = self._callbacks
        while callbacks:
            callbacks.pop()()


class Bridge:
    """Brings results from the engine's loop to futures of another loop, many in one wake-up."""

    def __init__(self, loop: object) -> None:
        import asyncio
        from collections import deque

        assert isinstance(loop, asyncio.AbstractEventLoop)
        self._loop = loop
        self._ready: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def call(self, callback: Callable[[], None]) -> None:
        """Call *callback* on that loop, soon; from any thread. Callbacks for a loop that is closed are dropped."""
        self._ready.append(callback)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._run)
            except RuntimeError:
                self._ready.clear()

    def _run(self) -> None:
        self._scheduled = False
        ready = self._ready
        while ready:
            ready.popleft()()


class Reply:
    """What a blocking caller waits for: set once, on the engine's loop."""

    __slots__ = ("_error", "_gate", "_result")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def set(self, result: Any, error: BaseException | None) -> None:
        """Let the caller go on."""
        self._result, self._error = result, error
        self._gate.release()

    def get(self) -> Any:
        """Block until it is set; raises what went wrong."""
        self._gate.acquire()
        if self._error is not None:
            raise self._error
        return self._result
