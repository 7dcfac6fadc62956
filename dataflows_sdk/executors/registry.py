"""The executors of a context, by the names under which steps ask for them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from dataflows_sdk.core.current import StepInfo
from dataflows_sdk.errors import DefinitionError, StepTimeoutError, WorkerLostError
from dataflows_sdk.executors.job import Executor, Job
from dataflows_sdk.executors.shipping import open_answer

log = logging.getLogger("dataflows.executors")

#: by name: the environment variable with which the engine itself is told its address
_ADDRESSES = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}
_THREADS = 4


class Executors:
    """What ``step.run(…, executor=name)`` finds.

    Args:
        given: by name an `Executor`; for ``"process"`` also the size of the pool, for ``"dask"`` an address or a
            client, for ``"ray"`` an address.

    Raises:
        DefinitionError: something else was given.
        MissingExtraError: an executor needs a package that is not installed.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise DefinitionError(f"executors= is a mapping of names to executors, not {given!r:.200}")
        self._made: dict[str, Executor] = {name: _executor(name, each) for name, each in (given or {}).items()}
        self._threads: ThreadPoolExecutor | None = None
        # workflows written with `def` ask in threads of their own
        self._lock = threading.Lock()

    def find(self, name: object) -> Executor:
        """The executor of that name.

        Raises:
            DefinitionError: there is none; the message says which there are.
            MissingExtraError: it needs a package that is not installed.
        """
        if not isinstance(name, str):
            raise DefinitionError(f"executor= is the name of an executor, such as 'process', not {name!r:.200}")
        with self._lock:
            if name in self._made:
                return self._made[name]
            address = os.environ.get(_ADDRESSES.get(name, ""))
            if name == "process" or address:
                return self._made.setdefault(name, _executor(name, address))
        known = ", ".join(repr(each) for each in sorted({"process", *self._made}))
        example = {"dask": "'tcp://host:8786'", "ray": "'auto'"}.get(name, "MyExecutor()")
        raise DefinitionError(
            f"there is no executor {name!r} here; there is {known}. Say at the beginning what it is: "
            f"df.connect(…, executors={{{name!r}: {example}}})"
        )

    async def run(
        self,
        name: str,
        step: StepInfo,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        seconds: float | None,
    ) -> Any:
        """Call ``fn(*args, **kwargs)`` by the executor of that name; on the engine's loop, which it never blocks.

        Raises:
            NotSerializableError: the function, an argument or the result cannot travel.
            StepTimeoutError: it took longer than *seconds*.
            ExecutorError: the executor failed. And whatever the function raised.
        """
        executor = self.find(name)
        loop = asyncio.get_running_loop()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "dataflows-shipping")
        job = await loop.run_in_executor(self._threads, Job.pack, name, step, fn, args, kwargs)
        try:
            async with asyncio.timeout(seconds) as scope:

                @contextmanager
                def pause() -> Iterator[None]:
                    scope.reschedule(None)
                    try:
                        yield
                    finally:
                        scope.reschedule(None if seconds is None else loop.time() + seconds)

                job.paused_by(pause)
                answer = await _run(executor, job)
        except TimeoutError:
            if not scope.expired():
                raise
            raise StepTimeoutError(
                f"the step took longer than its timeout of {seconds:g} s; executor {name!r} was told to stop it"
            ) from None
        return await loop.run_in_executor(self._threads, open_answer, answer, f"the result of step {step.name!r}")

    async def close(self) -> None:
        """End all executors."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        ends = await asyncio.gather(*(each.close() for each in self._made.values()), return_exceptions=True)
        for name, end in zip(self._made, ends, strict=True):
            if isinstance(end, Exception):
                log.warning("executor %r could not be closed: %s", name, end)


async def _run(executor: Executor, job: Job) -> bytes:
    try:
        return await executor.run(job)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody here asked for it; let through it would look as if somebody had cancelled the run.
        raise WorkerLostError(f"step {job.step.name!r}: its executor cancelled it by itself") from error


def _executor(name: object, given: Any) -> Executor:
    if not isinstance(name, str) or not name:
        raise DefinitionError(f"an executor's name is a word such as 'cluster', not {name!r}")
    if callable(getattr(given, "run", None)) and callable(getattr(given, "close", None)) and not _is_client(given):
        found: Executor = given
        return found
    if name == "process" and (given is None or isinstance(given, int)):
        from dataflows_sdk.executors.process import ProcessExecutor

        return ProcessExecutor(given)
    if _is_client(given) or (name == "dask" and isinstance(given, str)):
        from dataflows_sdk.executors.dask import DaskExecutor

        return DaskExecutor(given)
    if name == "ray" and isinstance(given, str):
        from dataflows_sdk.executors.ray import RayExecutor

        return RayExecutor(given)
    raise DefinitionError(
        f'executors={{{name!r}: {given!r:.200}}}: that is no executor. "process" takes a number of processes, '
        '"dask" an address or a Client, "ray" an address, and any name an object with the methods of '
        "dataflows_sdk.executors.Executor"
    )


def _is_client(given: Any) -> bool:
    distributed = sys.modules.get("distributed")  # who has a client has loaded it
    return distributed is not None and isinstance(given, distributed.Client)
