"""Calling the code of users: on the engine's loop where it is async, in a thread where it blocks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.engine.faces import AsyncFace, SyncFace, is_async
from dataflows_sdk.engine.live import Branch, LiveRun, current_branch
from dataflows_sdk.engine.step import Step, SyncStep
from dataflows_sdk.engine.threads import ThreadPool
from dataflows_sdk.engine.verbs import Verbs

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.engine")

_MOST_STEP_THREADS = 64


class Calls:
    """Calls workflows, branches and blocking steps.

    Args:
        engine: for the handles that the code gets.
        face: how code on the loop waits.
        threads: how many workflows written with ``def`` run at once.
    """

    def __init__(self, engine: Engine, face: AsyncFace, threads: int) -> None:
        self._engine = engine
        self._face = face
        self._loop = engine.loop
        self._steps = ThreadPool("dataflows-step", min(threads, _MOST_STEP_THREADS))
        self._workflows = ThreadPool("dataflows-run", threads)
        # Branches wait for branches: a limit could starve them.
        self._branches = ThreadPool("dataflows-branch")

    def close(self) -> None:
        """Let idle threads end."""
        for pool in (self._steps, self._workflows, self._branches):
            pool.close()

    async def workflow(self, live: LiveRun, event: Event[Any]) -> Any:
        """Call the workflow's function, on the loop or in a thread."""
        current_branch.set(live.root)
        workflow = live.workflow
        if workflow.is_async:
            args, kwargs = workflow.bind(event, Step(Verbs(live, self._face)))
            return await workflow.fn(*args, **kwargs)
        args, kwargs = workflow.bind(event, SyncStep(Verbs(live, SyncFace(self._engine))))
        return await self._in_thread(self._workflows, lambda: workflow.fn(*args, **kwargs))

    async def scoped(
        self,
        live: LiveRun,
        branch: Branch,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call the function of a branch with steps of its own."""
        token = current_branch.set(branch)
        try:
            if is_async(fn):
                return await fn(*args, step=Step(Verbs(live, self._face)), **kwargs)
            handle = SyncStep(Verbs(live, SyncFace(self._engine)))
            return await self._in_thread(self._branches, lambda: fn(*args, step=handle, **kwargs))
        finally:
            current_branch.reset(token)

    async def plain(self, branch: Branch, fn: Callable[[], Any]) -> Any:
        """Call a function without arguments that uses the step handle of the code around it."""
        token = current_branch.set(branch)
        try:
            if is_async(fn):
                return await fn()
            result = await self._in_thread(self._branches, fn)
            return await result if asyncio.iscoroutine(result) else result
        finally:
            current_branch.reset(token)

    # --- threads -----------------------------------------------------------------------------------------

    def in_step_thread(self, fn: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a blocking function of a step in a thread."""
        return self._in_thread(self._steps, fn)

    def _in_thread(self, pool: ThreadPool, fn: Callable[[], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        context = contextvars.copy_context()

        def done(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            elif isinstance(error, StopIteration):
                future.set_exception(RuntimeError(f"the function raised StopIteration({error.value!r})"))
            else:
                future.set_exception(error)

        def work() -> None:
            try:
                result, error = context.run(fn), None
            except BaseException as raised:  # noqa: BLE001 - it belongs to the code that waits
                result, error = None, raised
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:
                log.debug("a function ended after its engine was closed")

        pool.submit(work)
        return future
