"""One measurement of how dataflows-sdk behaves with size, in a fresh process: the children of scaling.py."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from typing import Any

import psutil
import psycopg

import dataflows_sdk as df
from protocol import PAYLOAD, Job, Measurement, main, workload

DEADLINE_SECONDS = 300
#: what a run in memory, a waiting and a suspended one leave in the journal when they are where they should be
STANDING = {
    "running": "select count(*) from dataflows.event where kind = 'step.started'",
    "waiting": "select count(*) from dataflows.event where kind = 'step.waiting'",
    "suspended": "select count(*) from dataflows.run where status = 'waiting'",
}


async def astep(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


def step_def(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


def moment() -> float:
    return time.time()


async def amoment() -> float:
    return time.time()


async def never() -> None:
    await asyncio.Event().wait()


@df.workflow("resumable_async")
async def resumable_async(event: Any, step: Any) -> float:
    for number in range(event.payload["steps"]):
        await step.run("s", astep, number)
    began: float = await step.run("new", amoment)
    return began


@df.workflow("resumable_def")
def resumable_def(event: Any, step: Any) -> float:
    for number in range(event.payload["steps"]):
        step.run("s", step_def, number)
    began: float = step.run("new", moment)
    return began


@df.workflow("five")
async def five(event: Any, step: Any) -> int:
    for number in range(event.payload["steps"]):
        await step.run("s", astep, number)
    run: int = event.payload["run"]
    return run


@df.workflow("running")
async def running(event: Any, step: Any) -> None:
    await step.run("s", never)


@df.workflow("waiting")
async def waiting(event: Any, step: Any) -> None:
    await step.wait_for_event("go")


RESUMABLE = {"async": resumable_async, "sync": resumable_def}


@workload("pattern", "async")
@workload("pattern", "sync")
def pattern(job: Job) -> Measurement:
    """A real run, whose rows scaling.py multiplies."""
    with df.connect(job.dsn) as ctx:
        if job.settings["of"] == "resumable":
            run = ctx.run(RESUMABLE[job.mode], {"steps": job.steps})
        else:
            run = ctx.run(five, {"run": 0, "steps": job.steps})
        run.result()
        return {"metric": "run", "value": 0.0, "run": run.id}


@workload("resume", "async")
@workload("resume", "sync")
def resume(job: Job) -> Measurement:
    """From the claim, by the clock of the database on this machine, to the first step that is not recorded."""
    ctx = df.connect(job.dsn)
    began = time.time()
    run = ctx.get(job.settings["run"])
    ctx.register(RESUMABLE[job.mode])
    first_new: float = run.result()
    with psycopg.connect(job.dsn) as connection:
        row = connection.execute(
            "select extract(epoch from at)::float8 from dataflows.event where run = %s and kind = 'run.claimed'",
            (run.id,),
        ).fetchone()
    assert row is not None
    return {
        "metric": "seconds",
        "value": first_new - row[0],
        "before_claim_s": row[0] - began,
        "rss_mb": psutil.Process().memory_info().rss / 2**20,
    }


@workload("memory", "async")
def memory(job: Job) -> Measurement:
    """Bytes per run: the difference between ``runs`` and twice as many."""
    kind = job.settings["kind"]
    traced = bool(job.settings["traced"])
    linger = "0s" if kind == "suspended" else "10m"
    ctx = df.connect(job.dsn, linger=linger, concurrency=4 * job.runs + 100)
    flow = running if kind == "running" else waiting
    if traced:
        tracemalloc.start()
    sizes = []
    with psycopg.connect(job.dsn, autocommit=True) as connection:
        # The first thousand warms caches and arenas, which belong to no run.
        for count in (1000, 1000 + job.runs, 1000 + 2 * job.runs):
            started = 1000 if not sizes else job.runs
            ctx.start_many(flow, [None] * started)
            _until(connection, STANDING[kind], count)
            time.sleep(1.0)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] if traced else psutil.Process().memory_info().rss)
    return {"metric": "bytes_per_run", "value": (sizes[2] - sizes[1]) / job.runs, "sizes": sizes}


def _until(connection: psycopg.Connection[Any], query: str, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    found = None
    while time.monotonic() < deadline:
        found = connection.execute(query.encode()).fetchone()
        if found is not None and found[0] >= count:
            return
        time.sleep(0.05)
    raise SystemExit(f"{query}: {found} after {DEADLINE_SECONDS} s instead of {count}")


@workload("connect", "sync")
def connect(job: Job) -> Measurement:
    """``import`` and ``connect()`` on an embedded database whose directory is there."""
    began = time.perf_counter()
    ctx = df.connect(directory=job.settings["directory"])
    first = time.perf_counter() - began
    began = time.perf_counter()
    second = df.connect(directory=job.settings["directory"])
    again = time.perf_counter() - began
    second.close()
    ctx.close()
    return {"metric": "seconds", "value": first, "second_s": again}


if __name__ == "__main__":
    main()
