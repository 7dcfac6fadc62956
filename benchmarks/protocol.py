"""What a session and the program of each contestant say to each other.

The session starts ``python peer_x.py '{"workload": "W1", "mode": "async", "dsn": "postgresql://…", …}'``, a fresh
process on a fresh database, and reads one line of JSON from its output: ``{"metric": …, "value": …}``
and whatever else is worth keeping; ``"also"`` has figures that stand in rows of their own, by the name of the row, and
``{"skipped": "why"}`` says that the contestant cannot play. A contestant registers one function for each workload and
mode, and calls :func:`main`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

#: what a step returns: about 100 bytes of JSON
PAYLOAD: dict[str, Any] = {"ok": True, "n": 1, "name": "x" * 40, "tags": ["alpha", "beta"], "note": "y" * 10}


@dataclass(frozen=True)
class Job:
    """One repetition: where the database is, how much to do, and the settings of the contestant."""

    workload: str
    mode: str
    dsn: str
    steps: int
    runs: int
    settings: dict[str, Any]
    #: of the server: ``pid``, ``log`` and where its ``binaries`` are
    server: dict[str, Any]

    @classmethod
    def from_json(cls, text: str) -> Job:
        given = json.loads(text)
        known = {name: given.pop(name) for name in ("workload", "mode", "dsn", "steps", "runs")}
        server = given.pop("server", {})
        return cls(**known, settings=given, server=server)

    def to_json(self) -> str:
        """The opposite of `from_json`."""
        fields = {name: value for name, value in vars(self).items() if name != "settings"}
        return json.dumps(fields | self.settings)


Measurement = dict[str, Any]
_Workload = Callable[[Job], Measurement | Awaitable[Measurement]]
_registered: dict[tuple[str, str], _Workload] = {}


def workload(name: str, mode: str) -> Callable[[_Workload], _Workload]:
    """Register the function that does a workload (``W1``, ``W2``, …) in a mode (``async``, ``sync``)."""

    def register(function: _Workload) -> _Workload:
        _registered[name, mode] = function
        return function

    return register


def main() -> None:
    """Do the job of the command line, print the measurement and leave.

    The process goes without goodbye: some contestants have workers that never return, and the end of a
    process is not part of any workload.
    """
    job = Job.from_json(sys.argv[1])
    function = _registered.get((job.workload, job.mode))
    if function is None:
        offered = ", ".join(f"{name} {mode}" for name, mode in sorted(_registered))
        raise SystemExit(f"{sys.argv[0]}: no {job.workload} {job.mode}; there is {offered}")
    outcome = function(job)
    measurement = asyncio.run(_finish(outcome)) if inspect.isawaitable(outcome) else outcome
    print(json.dumps(measurement), flush=True)
    os._exit(0)


async def _finish(outcome: Awaitable[Measurement]) -> Measurement:
    return await outcome


class Stopwatch:
    """Wall and processor time of a block, in seconds."""

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu


def per_step(seconds: list[float], watch: Stopwatch) -> Measurement:
    """The measurement of W1 from the duration of every step."""
    return {
        "metric": "p50_ms",
        "value": statistics.median(seconds) * 1e3,
        "p95_ms": statistics.quantiles(seconds, n=20)[-1] * 1e3,
        "steps": len(seconds),
        "cpu_s": watch.cpu,
    }


def throughput(metric: str, count: int, watch: Stopwatch) -> Measurement:
    """The measurement of W2 (``runs_per_s``) and W3 (``steps_per_s``)."""
    return {
        "metric": metric,
        "value": count / watch.wall,
        "count": count,
        "wall_s": watch.wall,
        "cpu_s": watch.cpu,
    }
