"""Worker processes of a contestant, for the workloads in which one process enqueues and others work.

A worker is the same program once more, with the job ``serve``. It says ``ready``, begins on a line from its standard
input and ends with it; what it prints is read by the process that hired it.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Self

import psycopg

from protocol import Job, Measurement

#: pauses between two runs of W5, in seconds, and what a slow poll adds to the longest so that the two are not in phase
PAUSES = (0.02, 0.12)
SEED = 4


class Crew:
    """So many workers; a context manager, so that none outlives its measurement.

    Args:
        job: of the process that hires them.
        settings: what the workers need to know beyond it.
    """

    def __init__(self, job: Job, count: int = 1, **settings: Any) -> None:
        order = replace(job, workload="serve", settings={**job.settings, **settings}).to_json()
        self._processes = [
            subprocess.Popen(
                [sys.executable, sys.argv[0], order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        for process in self._processes:
            assert self._line(process) == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def go(self) -> Self:
        """Let them begin."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return self

    def line(self) -> str:
        """The next line of the first worker."""
        return self._line(self._processes[0])

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{sys.argv[0]}: a worker ended early (see above)")
        return line.strip()


# --- in a worker ------------------------------------------------------------------------------------------


def stand_by() -> None:
    """Say that the worker is ready and wait until it may begin."""
    print("ready", flush=True)
    sys.stdin.readline()


def work_until_dismissed() -> None:
    """Wait for the end of standard input, then leave without goodbye."""
    sys.stdin.read()
    sys.stdout.flush()
    os._exit(0)


def stamp(number: int) -> None:
    """Say when the first step of a run began."""
    print(f"{number} {time.time():.6f}", flush=True)


# --- what they measure ------------------------------------------------------------------------------------


def drained(job: Job, over: str, span: str, rest: float = 0.2) -> Measurement:
    """The measurement of W4: workers drain a full queue, timed by the database's clock.

    Args:
        over: a query that counts the finished runs.
        span: a query for the first start and the last end, as timestamps.
        rest: seconds between two looks.
    """
    workers = job.settings["workers"]
    with psycopg.connect(job.dsn, autocommit=True) as connection:
        connection.execute("checkpoint")
        with Crew(job, workers) as crew:
            crew.go()
            while count(connection, over) < job.runs:
                time.sleep(rest)
            row = connection.execute(span).fetchone()
    assert row is not None
    first, last = row
    assert isinstance(first, datetime)
    seconds = (last - first).total_seconds()
    return {"metric": "runs_per_s", "value": job.runs / seconds, "active_s": seconds, "workers": workers}


def count(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


async def latencies(job: Job, enqueue: Callable[[int], Awaitable[Any]], slack: float, poll: float = 0) -> Measurement:
    """The measurement of W5: from before the enqueuing call to the first step in an idle worker.

    Args:
        enqueue: starts the run of a number.
        slack: seconds that the worker gets to settle down before the first.
        poll: how often the worker looks, where it polls.
    """
    chance, seconds = random.Random(SEED), []
    with Crew(job, stamp=True) as crew:
        crew.go()
        await asyncio.sleep(slack)
        for number in range(job.runs):
            began = time.time()
            await enqueue(number)
            told, at = (await asyncio.to_thread(crew.line)).split()
            assert int(told) == number
            seconds.append(float(at) - began)
            await asyncio.sleep(chance.uniform(PAUSES[0], PAUSES[1] + poll))
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return {"metric": "p50_ms", "value": statistics.median(seconds) * 1e3, "also": {"p95": p95 * 1e3}}


async def in_lanes(runs: int, lanes: list[Callable[[int], Awaitable[Any]]]) -> None:
    """Enqueue runs of the numbers 0, 1, …; each lane takes the next as soon as it has done its last."""
    waiting = iter(range(runs))

    async def lane(enqueue: Callable[[int], Awaitable[Any]]) -> None:
        for number in waiting:
            await enqueue(number)

    await asyncio.gather(*[lane(enqueue) for enqueue in lanes])


def lots(runs: int, size: int) -> list[range]:
    """The numbers of the runs, so many at a time."""
    return [range(begin, min(begin + size, runs)) for begin in range(0, runs, size)]
