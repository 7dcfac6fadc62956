"""A dry replay under a debugger: today's code, step by step, against what is recorded.

It has an engine and a loop of its own: the context's loop must go on while somebody thinks. The workflow's code runs in
the calling thread, because that is the one whose input a terminal or a notebook hands to a debugger.
"""

from __future__ import annotations

import asyncio
import bdb
import inspect
import pdb  # noqa: T100 - a debugger is what this is about
import queue
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any
from uuid import UUID

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.faces import Settle
from dataflows_sdk.engine.replay import OfflineEngine, Replay, dry_replay
from dataflows_sdk.engine.runner import Engine
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import DefinitionError

#: what nobody wants to step into
SKIPPED = [
    "dataflows_sdk",
    "dataflows_sdk.*",
    "asyncio",
    "asyncio.*",
    "concurrent.*",
    "threading",
    "queue",
    "selectors",
]


def debug(engine: Engine, run: UUID, workflow: Workflow, events: Sequence[JournalEvent], debugger: Any) -> Replay:
    """See `Run.debug`."""
    code = getattr(inspect.unwrap(workflow.fn), "__code__", None)
    if workflow.kind != "code" or code is None:
        raise DefinitionError(f"{workflow.name!r} is a flow: there is no code to step through; run.replay() checks it")
    own = _DebugEngine(engine)
    work = dry_replay(own, run, workflow, events)
    stepping = debugger if debugger is not None else _debugger()
    result = own.beside(work, stepping, code) if workflow.is_async else own.here(work, stepping, code)
    if isinstance(result.error, bdb.BdbQuit):
        result.outcome, result.error, result.ok = "stopped", None, False
        result.difference = "the debugger was left"
    return result


def _debugger() -> Any:
    """IPython's where it runs, else Python's."""
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        if get_ipython() is not None:
            from IPython.core.debugger import Pdb

            return Pdb(skip=SKIPPED)
    return pdb.Pdb(skip=SKIPPED)


@contextmanager
def _stopped_at(code: CodeType, debugger: Any) -> Iterator[None]:
    """Within it, the debugger stops at the first line of the code."""

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        del arg
        if event != "call" or frame.f_code is not code:
            return None
        debugger.set_trace(frame)
        # since Python 3.13 set_trace() stops at the very next instruction, which is that of the line with `def`
        debugger.set_step()
        frame.f_trace_opcodes = False
        back = frame.f_back
        while back is not None:  # it is told of our frames otherwise, too
            back.f_trace = None
            back = back.f_back
        return debugger.trace_dispatch

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class _Handed:
    """In place of a pool of threads: what is submitted is done by whoever takes it out."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        """Hand it over."""
        self.work.put(work)

    def close(self) -> None:
        """Nobody waits here."""


class _DebugEngine(OfflineEngine):
    """An engine that writes nothing, and reads large values through that of the context."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.catalog, engine.values, {})
        self._real = engine

    def ask_blobs(self, hashes: Sequence[str], settle: Settle) -> None:
        """Content of large values, from the context's engine."""
        self._real.call(self._real.ask_blobs, hashes, lambda value, error: self.call(settle, value, error))

    def here(self, work: Coroutine[Any, Any, Replay], debugger: Any, code: CodeType) -> Replay:
        """For code that blocks: the loop has a thread, and the code is done in this one."""
        self.start()
        handed = _Handed()
        self.calls._workflows = handed  # type: ignore[assignment]
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
            future.add_done_callback(lambda _: handed.work.put(None))
            while (call := handed.work.get()) is not None:
                with _stopped_at(code, debugger):
                    call()
            return future.result()
        finally:
            self.close()

    def beside(self, work: Coroutine[Any, Any, Replay], debugger: Any, code: CodeType) -> Replay:
        """For code that awaits: the loop itself runs in this thread, beside one that a notebook may have."""
        self.loop = asyncio.SelectorEventLoop()
        outer, task = asyncio._get_running_loop(), None
        # a task is left and entered while its loop is the running one: Python 3.14 insists on it
        if outer is not None:
            task = asyncio.current_task(outer)
            if task is not None:
                asyncio.tasks._leave_task(outer, task)
            asyncio._set_running_loop(None)
        try:
            self.loop.run_until_complete(self._connect())
            with _stopped_at(code, debugger):
                return self.loop.run_until_complete(work)
        finally:
            self.closing = True
            self.calls.close()
            self.loop.close()
            self.database.close()
            if outer is not None:
                asyncio._set_running_loop(outer)
                if task is not None:
                    asyncio.tasks._enter_task(outer, task)
