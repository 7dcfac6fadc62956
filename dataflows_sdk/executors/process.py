"""Processes of our own for functions that compute: started when they are needed, kept warm, killed when they are late.

They are started afresh, never forked: the engine has threads. Each has a thread here that speaks with it, so that
neither the pickling nor the pipe of a large value keeps the engine's loop from its other runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.errors import DefinitionError, ExecutorError, WorkerLostError
from dataflows_sdk.executors.child import read_frame, write_frame
from dataflows_sdk.executors.job import Job

#: how long an idle process may take to end by itself
_END_SECONDS = 2.0
#: how long we wait to see a killed process gone
_GONE_SECONDS = 5.0


class ProcessExecutor:
    """Runs each job in a process of a pool, one at a time in each.

    Args:
        processes: how many at the most; by default as many as this process may use cores.
        idle: a process that had nothing to do for so long is ended.

    Raises:
        DefinitionError: that is no number of processes.
    """

    def __init__(self, processes: int | None = None, *, idle: Duration = "60s") -> None:
        if processes is not None and (isinstance(processes, bool) or not isinstance(processes, int) or processes < 1):
            raise DefinitionError(f"the number of processes is a whole number from 1 on, not {processes!r}")
        self.processes = processes if processes is not None else _cores()
        self._idle_seconds = parse_duration(idle).total_seconds()
        self._slots = asyncio.Semaphore(self.processes)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._ending: set[_Worker] = set()
        self._closed = False

    async def run(self, job: Job) -> bytes:
        """Call the job in a process; when this is cancelled the process is killed, and gone before it returns.

        Raises:
            ExecutorError: no process can be started.
            WorkerLostError: the process died.
        """
        with job.waiting():
            await self._slots.acquire()
        try:
            if self._closed:
                raise ExecutorError(f"step {job.step.name!r}: the pool of processes is closed")
            while (worker := self._warm()) is not None:
                with contextlib.suppress(_NeverBegan):  # it died while it was idle, and nobody had noticed
                    return await self._call(worker, job)
            try:
                return await self._call(_Worker(asyncio.get_running_loop(), self._ending.discard), job)
            except _NeverBegan as error:
                raise error.lost from error.lost.__cause__
        finally:
            self._slots.release()

    async def _call(self, worker: _Worker, job: Job) -> bytes:
        self._busy.add(worker)
        try:
            answer = await worker.call(job)
        except BaseException:
            self._ending.add(worker)
            worker.kill()
            await worker.gone(_GONE_SECONDS)
            raise
        else:
            self._keep(worker)
            return answer
        finally:
            self._busy.discard(worker)

    def _warm(self) -> _Worker | None:
        while self._idle:
            worker = self._idle.pop()  # the one used last: the others get a chance to end
            if worker.timer is not None:
                worker.timer.cancel()
            if worker.alive:
                return worker
            self._end(worker)
        return None

    def _keep(self, worker: _Worker) -> None:
        if self._closed:
            self._end(worker)
            return
        self._idle.append(worker)
        worker.timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, worker)

    def _expire(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        self._ending.add(worker)
        worker.end()

    async def close(self) -> None:
        """End all processes: those at work are killed."""
        self._closed = True
        for worker in self._busy:
            self._ending.add(worker)
            worker.kill()
        while self._idle:
            worker = self._idle.pop()
            if worker.timer is not None:
                worker.timer.cancel()
            self._end(worker)
        for worker in list(self._ending):
            await worker.gone(_GONE_SECONDS)


class _NeverBegan(Exception):
    """The process died before it called the function."""

    def __init__(self, lost: WorkerLostError) -> None:
        super().__init__(str(lost))
        self.lost = lost


class _Worker:
    """One process, and the thread that speaks with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[_Worker], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._work: queue.SimpleQueue[tuple[Job, asyncio.Future[bytes]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        #: its pid may be somebody else's by now
        self._over = False
        self._gone = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        threading.Thread(target=self._main, name="dataflows-process", daemon=True).start()

    # --- on the loop -------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def call(self, job: Job) -> bytes:
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._work.put((job, future))
        return await future

    def end(self) -> None:
        """Let the idle process end by itself, soon."""
        self._work.put(None)

    def kill(self) -> None:
        """Kill the process and what its function started, whatever they do."""
        with self._lock:
            self._killed = True
            self._kill()
        self._work.put(None)

    async def gone(self, seconds: float) -> None:
        """Wait until the process is gone, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()

    def _settle(self, future: asyncio.Future[bytes] | None, answer: bytes, error: Exception | None) -> None:
        if future is None or future.done():
            return
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def _over_and_out(self, future: asyncio.Future[bytes] | None, error: Exception) -> None:
        self._settle(future, b"", error)
        self._gone.set()
        self._ended(self)

    # --- in the thread -----------------------------------------------------------------------------------

    def _main(self) -> None:
        future: asyncio.Future[bytes] | None = None
        process: subprocess.Popen[bytes] | None = None
        name = ""
        begun = False
        wanted = True
        trouble: Exception | None = None
        try:
            process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            while given := self._work.get():
                job, future = given
                name, begun = job.step.name, False
                write_frame(process.stdin, pickle.dumps(([str(entry) for entry in sys.path], job)))
                del given, job  # what it holds is not ours while we wait
                begun = read_frame(process.stdout) is not None
                answer = read_frame(process.stdout)
                if answer is None:
                    break
                self._tell(self._settle, future, answer, None)
                future = None
                del answer
            else:
                wanted = False
        except Exception as raised:  # noqa: BLE001 - a broken pipe: what became of the process says more
            trouble = raised
        if process is None:
            while future is None and (given := self._work.get()):
                future = given[1]
            self._tell(self._over_and_out, future, ExecutorError(f"no process can be started: {trouble}"))
            return
        code = self._see_it_end(process, wanted)
        lost = WorkerLostError(_obituary(name, process.pid, code))
        lost.__cause__ = trouble
        self._tell(self._over_and_out, future, lost if begun else _NeverBegan(lost))

    def _start(self) -> subprocess.Popen[bytes]:
        boot = f"import sys; sys.path[:] = {[str(entry) for entry in sys.path]!r}; "
        process = subprocess.Popen(
            [sys.executable, "-c", boot + "from dataflows_sdk.executors.child import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the parent; and what a function started can be killed together with it
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        with self._lock:
            self._process = process
            if self._killed:
                self._kill()
        return process

    def _see_it_end(self, process: subprocess.Popen[bytes], wanted: bool) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        if not wanted and not self._killed:
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._reaped(process, process.wait(_END_SECONDS))
        with self._lock:
            self._kill()
            self._over = True
        return self._reaped(process, process.wait())

    def _reaped(self, process: subprocess.Popen[bytes], code: int) -> int:
        self._over = True
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return code

    def _kill(self) -> None:
        process = self._process
        if process is None or self._over or process.returncode is not None:
            return
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *args)


def _obituary(step: str, pid: int, code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        how = f"was killed by {name}"
        if name == "SIGKILL":
            how += " (where no person did that, the kernel did, for want of memory)"
    else:
        how = f"ended with exit code {code}"
    return f"step {step!r}: the process {pid} that ran it {how} before it answered"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
