"""One attempt of a step on its way to where it runs, and its answer on the way back."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dataflows_sdk.core.current import StepInfo, current_step
from dataflows_sdk.errors import NonRetryableError, NotSerializableError
from dataflows_sdk.executors.shipping import dumps_answer, dumps_call, loads

#: stops the clock of the attempt, and lets it begin anew
Pause = Callable[[], AbstractContextManager[None]]


class Job:
    """One attempt of a step: call it where the work is to be done, once, and bring back the bytes that it returns.

    It can be pickled, and the call blocks until the function has ended; what the function raises is in the bytes too.

    Attributes:
        step: which step this is: ``name``, ``key``, ``run_id``, ``attempt``, ``idempotency_key``.
    """

    __slots__ = ("_file", "_module", "_pause", "_payload", "step")

    def __init__(self, step: StepInfo, payload: bytes, module: str, file: str | None) -> None:
        self.step = step
        self._payload = payload
        self._module = module
        self._file = file
        self._pause: Pause = nullcontext

    @classmethod
    def pack(
        cls, executor: str, step: StepInfo, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job:
        """The job of calling ``fn(*args, **kwargs)``.

        Raises:
            NotSerializableError: the function or an argument cannot be sent to another process.
        """
        module, file = _home(fn)
        return cls(step, dumps_call((fn, args, kwargs), f"step {step.name!r}", executor), module, file)

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (self.step, self._payload, self._module, self._file)

    def __repr__(self) -> str:
        return f"<job of step {self.step.key!r} of run {self.step.run_id}, attempt {self.step.attempt}>"

    def __call__(self) -> bytes:
        """Call the function, here; gives its result, or what it raised, as bytes."""
        try:
            result, error = self._call(), None
        except BaseException as raised:  # noqa: BLE001 - it belongs to the step
            result, error = None, _bearable(raised)
        return dumps_answer(result, error, f"the result of step {self.step.name!r}")

    def _loaded(self) -> Any:
        try:
            return loads(self._payload)
        except ModuleNotFoundError:
            if not _load(self._module, self._file):
                raise
            return loads(self._payload)

    def _call(self) -> Any:
        try:
            fn, args, kwargs = self._loaded()
        except Exception as error:
            raise NotSerializableError(
                f"step {self.step.name!r}: its function or its arguments cannot be loaded where it is to run: "
                f"{type(error).__name__}: {error}"
            ) from error
        token = current_step.set(self.step)
        try:
            result = fn(*args, **kwargs)
            if inspect.isawaitable(result):
                import asyncio

                result = asyncio.run(_finish(result))
        finally:
            self.step.active = False
            current_step.reset(token)
        return result

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """``with job.waiting(): …``, while it waits for its turn: the step's timeout counts from the end of that on."""
        with self._pause():
            yield

    def paused_by(self, pause: Pause) -> None:
        """How the clock of this attempt is stopped."""
        self._pause = pause


class Executor(Protocol):
    """Runs jobs somewhere else. It belongs to one context, and is called on the event loop of that context's engine."""

    async def run(self, job: Job) -> bytes:
        """Call ``job()`` somewhere, and give the bytes that it returned.

        When this coroutine is cancelled, because the step's time is up or its run was cancelled, the work is to be
        stopped. It must not block the loop.

        Raises:
            ExecutorError: the job could not be begun, so that it can be tried again.
            WorkerLostError: the job may have begun, and its answer will never come.
        """
        ...

    async def close(self) -> None:
        """Stop what still runs, and let go of everything; called once, at the end of the context."""
        ...


async def _finish(awaitable: Any) -> Any:
    return await awaitable


def _bearable(error: BaseException) -> Exception:
    """What may be raised on an event loop: an interrupt would end it, and every run with it."""
    if isinstance(error, Exception):
        return error
    return NonRetryableError(f"the step raised {type(error).__name__}({error})")


def _home(fn: Any) -> tuple[str, str | None]:
    """The module of a function, and the file that this is in."""
    while isinstance(fn, partial):
        fn = fn.func
    name = getattr(fn, "__module__", None) or type(fn).__module__
    return name, None if name == "__main__" else getattr(sys.modules.get(name), "__file__", None)


def _load(name: str, file: str | None) -> bool:
    """Load a module that the other side loaded by its file, as pytest and loaders of scripts do; was there one?"""
    if name in sys.modules or file is None or not Path(file).exists():
        return False
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return False
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return True
