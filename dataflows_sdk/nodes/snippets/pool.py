"""Processes for snippets: started when they are needed, kept warm, ended when they are late, idle or orphaned."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

from dataflows_sdk.errors import SnippetWorkerError
from dataflows_sdk.nodes.snippets.engines import COLD, Engine, command, environment
from dataflows_sdk.nodes.snippets.sandbox.wire import ANSWER, REQUEST

_START_SECONDS = 30.0
_GRACE_SECONDS = 1.0
_END_SECONDS = 5.0
_BUFFER = 1 << 20
#: how a frame begins in which a snippet asks its host, and ends with a brace
_CALLS = b'{"calls":'
# what an answer may have beside its value: an error's text and stack, the log
_BESIDE = 1 << 18


#: gets the JSON list of what a snippet asks, and gives the JSON list of results
Host = Callable[[bytes], Awaitable[bytes]]


class WorkerEndedError(Exception):
    """A worker ended in the middle of a snippet.

    Attributes:
        code: its exit code; negative for a signal.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"ended by signal {-code}" if code < 0 else f"exit code {code}")
        self.code = code


class WorkerLateError(Exception):
    """A worker did not answer in time and was killed."""


class PoolClosedError(Exception):
    """The pool was closed before the snippet ran or while it did."""


class Worker:
    """One process; it runs one snippet at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to = process.stdin
        self._from = process.stdout
        self._killed = False
        self.idle_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, engine: Engine, memory_mb: int) -> Worker:
        """Start a process and wait until its engine is there.

        Raises:
            MissingExtraError: the engine is not installed.
            SnippetWorkerError: the process does not start; the message says what it said.
        """
        arguments = command(engine, memory_mb)
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_BUFFER,
                cwd=tempfile.gettempdir(),
                env=environment(engine),
                start_new_session=True,  # Ctrl-C is for the parent, which knows what to do with its workers
            )
        except (OSError, ValueError) as error:
            raise SnippetWorkerError(f"no process for snippets can be started with {arguments[0]}: {error}") from error
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                said = json.loads(await worker._frame(_BESIDE))
        except (WorkerEndedError, TimeoutError, ValueError) as error:
            await worker.end()
            what = str(error) or f"no answer within {_START_SECONDS:g} s"
            raise SnippetWorkerError(f"the process for snippets ({engine}) did not start: {what}") from error
        except BaseException:
            worker.kill()
            raise
        if "failed" in said:
            await worker.end()
            raise SnippetWorkerError(f"the process for snippets ({engine}) did not start: {said['failed']}")
        return worker

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(
        self, body: bytes, timeout_ms: int, memory_mb: int, longest: int, grace: float, host: Host | None
    ) -> bytes:
        """Run one snippet; whatever goes wrong, the worker is killed and of no further use.

        Raises:
            WorkerLateError: no answer within the timeout and *grace* seconds.
            WorkerEndedError: it ended.
        """
        try:
            self._to.writelines((REQUEST.pack(len(body), timeout_ms, memory_mb, longest), body))
            async with asyncio.timeout(timeout_ms / 1_000 + grace):
                # a closed pipe shows at once in what comes back, and says more there
                with contextlib.suppress(ConnectionError):
                    await self._to.drain()
                frame = await self._frame(longest + _BESIDE)
                while host is not None and frame.startswith(_CALLS):
                    told = await host(frame[len(_CALLS) : -1])
                    self._to.writelines((REQUEST.pack(len(told), 0, 0, 0), told))
                    with contextlib.suppress(ConnectionError):
                        await self._to.drain()
                    frame = await self._frame(longest + _BESIDE)
                return frame
        except TimeoutError:
            self.kill()
            raise WorkerLateError from None
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the process, whatever it does."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if not self.alive or self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                # not Process.kill(), which may collect the exit code that asyncio waits for in another thread
                os.kill(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill the process and see it gone."""
        self.kill()
        await self._process.wait()
        self._to.close()
        with contextlib.suppress(ConnectionError):
            await self._to.wait_closed()

    async def _frame(self, longest: int) -> bytes:
        try:
            (size,) = ANSWER.unpack(await self._from.readexactly(ANSWER.size))
            if size > longest:
                raise SnippetWorkerError(f"the process for snippets announced an answer of {size:,} bytes")
            return await self._from.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            # a process that closed its pipe and lives on would be waited for in vain
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._process.wait()
            self.kill()
            raise WorkerEndedError(await self._process.wait()) from None


class Pool:
    """At most so many workers of one engine, and a queue before them.

    Args:
        engine: what they run.
        size: how many at the most.
        idle_seconds: an idle worker ends after so long.
    """

    def __init__(self, engine: Engine, size: int, idle_seconds: float) -> None:
        self._engine: Engine = engine
        self._slots = asyncio.Semaphore(size)
        self._idle_seconds = idle_seconds
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._calls = 0
        self._quiet = asyncio.Event()

    async def call(self, body: bytes, timeout_ms: int, memory_mb: int, longest: int, host: Host | None = None) -> bytes:
        """Run one snippet in a free worker, or a new one, or the next that gets free.

        Raises:
            WorkerLateError, WorkerEndedError, PoolClosedError, MissingExtraError, SnippetWorkerError.
        """
        # these have no time limit of their own: the kill is the limit, and needs no grace
        grace = 0.0 if self._engine in ("python", "deno") else _GRACE_SECONDS
        async with self._worker(memory_mb) as worker:
            try:
                return await worker.call(body, timeout_ms, memory_mb, longest, grace, host)
            except WorkerEndedError:
                if self._closed:
                    raise PoolClosedError from None
                raise

    @contextlib.asynccontextmanager
    async def _worker(self, memory_mb: int) -> AsyncIterator[Worker]:
        self._calls += 1
        try:
            async with self._slots:
                worker = self._warm()
                if worker is None and not self._closed:
                    worker = await Worker.start(self._engine, memory_mb)
                if worker is None:
                    raise PoolClosedError
                self._busy.add(worker)
                try:
                    if self._closed:  # while it started
                        raise PoolClosedError
                    yield worker
                except BaseException:
                    self._end(worker)
                    raise
                else:
                    self._keep(worker)
                finally:
                    self._busy.discard(worker)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._quiet.set()

    def _warm(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()  # the one used last: the others get a chance to end
            if worker.idle_timer is not None:
                worker.idle_timer.cancel()
            if worker.alive:
                return worker
            self._end(worker)
        return None

    def _keep(self, worker: Worker) -> None:
        if self._closed or self._engine in COLD or not worker.alive:
            self._end(worker)
            return
        self._idle.append(worker)
        worker.idle_timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, worker)

    def _expire(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        worker.kill()
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Kill all workers and see them gone; calls under way end with `PoolClosedError`."""
        self._closed = True
        for worker in self._idle:
            self._end(worker)
        self._idle.clear()
        for worker in self._busy:
            worker.kill()
        while self._calls:
            self._quiet.clear()
            await self._quiet.wait()
        await asyncio.gather(*self._ending)
