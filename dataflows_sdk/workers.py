"""Being a worker: taking on runs until somebody says stop. ``ctx.worker()``."""

from __future__ import annotations

import importlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, Self

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.engine.placement import check_queue
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.worker")

Handler = Callable[[int, FrameType | None], Any] | int | None

#: the signals that end a worker
_ENDING = (signal.SIGINT, signal.SIGTERM)


class _Ear:
    """Hears signals in a thread of its own, until it is closed. Made and closed in the main thread.

    A handler of Python's runs in the main thread only, between two instructions of it. While that thread waits for a
    lock, and the system gives the signal to another thread, it does not run at all; and when it runs, the lock that it
    wants may be held by the instruction before it. What the interpreter writes to a socket knows neither trouble.
    """

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._there, self._here = socket.socketpair()
        self._here.setblocking(False)
        self._handlers: dict[int, Handler] = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
        self._before = signal.set_wakeup_fd(self._here.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="dataflows-signals", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while numbers := self._there.recv(64):
            for number in numbers:
                if number in _ENDING:
                    self._heard(number)

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        self._here.close()
        self._thread.join()
        self._there.close()


class Worker:
    """A context that works until it is told to stop. Made by `Context.worker`.

    Args:
        context: that works.
        grace: how long steps under way may take to end when it stops; what they return is kept.
    """

    def __init__(self, context: Context, grace: Duration = "30s") -> None:
        self._context = context
        self._grace = parse_duration(grace).total_seconds()
        self._stop = threading.Event()
        self._signals = 0
        self._ear: _Ear | None = None

    def run(self, *, signals: bool = True) -> None:
        """Work until SIGTERM, Ctrl-C or `stop`; then hand the runs back, so that others go on with them at once.

        A second signal gives steps under way no more time.

        Args:
            signals: whether to listen for signals; only in the main thread.
        """
        if signals:
            self.listen()
        try:
            while not self._stop.wait(3600.0):
                pass
        finally:
            try:
                self._context.close(grace=self._grace)
            finally:
                if self._ear is not None:
                    self._ear.close()
                    self._ear = None

    def listen(self) -> None:
        """Take SIGTERM and Ctrl-C for the wish to stop from now on; `run` does it too. Only in the main thread."""
        if self._ear is None and threading.current_thread() is threading.main_thread():
            self._ear = _Ear(self._signalled)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            log.info("got %s: handing the runs back", signal.Signals(number).name)
        else:
            self._context._engine.hurry()
        self.stop()

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._context.close(grace=self._grace)


class Works:
    """A part of `Context`."""

    _engine: Engine
    _works: bool
    register: Callable[..., None]

    def worker(
        self, *modules: str | ModuleType | Any, queues: Sequence[str] | None = None, grace: Duration = "30s"
    ) -> Worker:
        """Be a worker: ``ctx.worker("shop.flows").run()``.

        Any context that works takes on runs of the workflows that its process knows; this one besides stays until it is
        told to stop, and then hands back what is under way.

        Args:
            modules: names of modules to import, or workflows and flows.
            queues: take runs from these queues only; all by default.
            grace: how long steps under way may take to end when it stops.

        Raises:
            DefinitionError: the context only looks, or a queue's name makes no sense.
            ModuleNotFoundError: there is no such module.
        """
        if not self._works:
            raise DefinitionError("this context does not work: df.connect(work=False) only looks and starts runs")
        if queues is not None:
            self._engine.queues = tuple(
                check_queue(queue) for queue in ([queues] if isinstance(queues, str) else queues)
            )
        for name in modules:
            if isinstance(name, str):
                importlib.import_module(name)
        self.register(*[each for each in modules if not isinstance(each, str | ModuleType)])
        self._engine.own()  # others see from now on what it knows
        self._engine.call(self._engine.on_changed)
        whole: Any = self
        return Worker(whole, grace)
