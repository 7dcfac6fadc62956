"""Who waits: the two ways in which the step verbs meet the world.

The verbs (`dataflows_sdk.engine.verbs`) are written once, as coroutines over three primitives: write a unit and wait
for its commit, start something on the engine's loop and wait for its answer, call a function of the user. In an
``async def`` workflow these await; in a ``def`` workflow they block the workflow's own thread and the coroutine never
suspends, so that it can be driven to its end with a single ``send``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dataflows_sdk.engine.units import Unit
from dataflows_sdk.errors import Cancelled, ControlFlow, StepTimeoutError

if TYPE_CHECKING:
    from dataflows_sdk.engine.live import LiveRun
    from dataflows_sdk.engine.runner import Engine

T = TypeVar("T")
#: told the outcome or the exception
Settle = Callable[[Any, BaseException | None], None]


class Face(Protocol):
    """How a verb waits."""

    engine: Engine

    def commit(self, unit: Unit) -> Awaitable[None]:
        """Hand the unit to the writer. Awaited: return when it is durable; raise OwnershipLost when the run is lost."""
        ...

    async def wait(self, start: Callable[[Settle], None]) -> Any:
        """Call *start* on the engine's loop and wait until it settles."""
        ...

    async def call(
        self,
        live: LiveRun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        """Call a function of the user; StepTimeoutError when it takes longer than *timeout* seconds."""
        ...

    async def breathe(self, *, forever: bool) -> None:
        """Let others have a turn; with *forever*, never come back."""
        ...

    def actor(self) -> object:
        """The task or thread that calls: whoever else uses a step's name in the meantime is somebody else."""
        ...


class AsyncFace:
    """For code on the engine's loop."""

    __slots__ = ("engine", "loop")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loop = engine.loop

    def actor(self) -> object:
        # with the loop given, nobody has to find out which one is running
        return asyncio.current_task(self.loop) or threading.current_thread()

    def commit(self, unit: Unit) -> Awaitable[None]:
        unit.future = future = self.loop.create_future()
        self.engine.writer.submit(unit)
        return future

    async def breathe(self, *, forever: bool) -> None:
        if forever:
            await self.loop.create_future()
        await asyncio.sleep(0)

    async def wait(self, start: Callable[[Settle], None]) -> Any:
        future: asyncio.Future[Any] = self.loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        start(settle)
        return await future

    async def call(
        self,
        live: LiveRun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        try:
            if is_async(fn):
                if timeout is None:
                    return await fn(*args, **kwargs)
                return await _timed(fn(*args, **kwargs), timeout)
            future = self.engine.calls.in_step_thread(functools.partial(fn, *args, **kwargs))
            if timeout is None:
                result = await future
            else:
                try:
                    result = await asyncio.wait_for(asyncio.shield(future), timeout)
                except TimeoutError:
                    if future.done():  # the function itself raised a TimeoutError
                        raise
                    raise StepTimeoutError(
                        f"the step took longer than its timeout of {timeout:g} s; its thread cannot be stopped and "
                        "goes on by itself, what it returns is ignored"
                    ) from None
            if inspect.isawaitable(result):
                return await result
            return result
        except asyncio.CancelledError:
            if live.stopping is not None:
                raise live.stopping from None
            raise


async def _timed(work: Coroutine[Any, Any, T], timeout: float) -> T:
    try:
        async with asyncio.timeout(timeout) as scope:
            return await work
    except TimeoutError:
        if not scope.expired():
            raise
        raise StepTimeoutError(f"the step took longer than its timeout of {timeout:g} s and was cancelled") from None


class SyncFace:
    """For code in a thread of its own: every primitive blocks that thread and returns without suspending."""

    __slots__ = ("engine",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def actor(self) -> object:
        try:
            return asyncio.current_task() or threading.current_thread()
        except RuntimeError:
            return threading.current_thread()

    async def commit(self, unit: Unit) -> None:
        # A lock that another thread releases is the cheapest thing a thread can wait for.
        gate = threading.Lock()
        gate.acquire()
        outcome: list[BaseException | None] = []

        def settle(error: BaseException | None) -> None:
            outcome.append(error)
            gate.release()

        unit.settle = settle
        self.engine.writer.submit_threadsafe(unit)
        gate.acquire()
        if outcome[0] is not None:
            raise outcome[0]

    async def breathe(self, *, forever: bool) -> None:
        threading.Event().wait(None if forever else 0.001)

    async def wait(self, start: Callable[[Settle], None]) -> Any:
        gate = threading.Lock()
        gate.acquire()
        outcome: list[tuple[Any, BaseException | None]] = []

        def settle(result: Any, error: BaseException | None) -> None:
            if not outcome:
                outcome.append((result, error))
                gate.release()

        def begin() -> None:
            try:
                start(settle)
            except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
                settle(None, error)

        self.engine.loop.call_soon_threadsafe(contextvars.copy_context().run, begin)
        gate.acquire()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    async def call(
        self,
        live: LiveRun,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        if timeout is None and not is_async(fn):
            result = fn(*args, **kwargs)
            if not inspect.isawaitable(result):
                return result
            return await self._on_loop(live, _finish(result), None)
        if is_async(fn):
            return await self._on_loop(live, fn(*args, **kwargs), timeout)

        async def on_loop() -> Any:
            return await AsyncFace(self.engine).call(live, fn, args, kwargs, timeout)

        return await self._on_loop(live, on_loop(), None)

    async def _on_loop(self, live: LiveRun, work: Coroutine[Any, Any, T], timeout: float | None) -> T:
        def start(settle: Settle) -> None:
            task = self.engine.loop.create_task(work if timeout is None else _timed(work, timeout))
            live.tasks.add(task)

            def done(task: asyncio.Task[T]) -> None:
                live.tasks.discard(task)
                if task.cancelled():
                    settle(None, live.stopping or Cancelled())
                else:
                    error = task.exception()
                    settle(None if error else task.result(), error)

            task.add_done_callback(done)

        result: T = await self.wait(start)
        return result


async def _finish(awaitable: Any) -> Any:
    return await awaitable


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb over a `SyncFace` to its end: it never suspends."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise RuntimeError("a verb suspended in a blocking workflow; this is a bug in dataflows-sdk")


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling *fn* gives a coroutine; looks through partials and callable objects."""
    code = getattr(fn, "__code__", None)
    if code is not None:
        return bool(code.co_flags & inspect.CO_COROUTINE) or inspect.iscoroutinefunction(fn)
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def is_control_flow(error: BaseException) -> bool:
    """Whether it must pass through untouched."""
    return isinstance(error, ControlFlow | asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit)
