"""DBOS Transact: workflows and steps by decorator, the function called in process."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dbos import DBOS

from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

durations: list[float] = []


@DBOS.step()
def step(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


@DBOS.step()
async def async_step(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


@DBOS.workflow()
def in_sequence(steps: int) -> None:
    for number in range(steps):
        began = time.perf_counter()
        step(number)
        durations.append(time.perf_counter() - began)


@DBOS.workflow()
async def async_in_sequence(steps: int) -> None:
    for number in range(steps):
        began = time.perf_counter()
        await async_step(number)
        durations.append(time.perf_counter() - began)


@DBOS.workflow()
def short(run: int, steps: int) -> int:
    for number in range(steps):
        step(number)
    return run


@DBOS.workflow()
async def async_short(run: int, steps: int) -> int:
    for number in range(steps):
        await async_step(number)
    return run


@DBOS.workflow()
async def fan_out(steps: int) -> int:
    return len(await asyncio.gather(*[async_step(number) for number in range(steps)]))


def launch(job: Job) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": job.dsn,
            "sys_db_pool_size": job.settings.get("pool", 20),
            "log_level": "ERROR",
            "application_version": "v1",
            "executor_id": f"e{os.getpid()}",
        }
    )
    DBOS.launch()


@workload("W1", "sync")
def sequential_sync(job: Job) -> Measurement:
    launch(job)
    in_sequence(5)
    durations.clear()
    with Stopwatch() as watch:
        in_sequence(job.steps)
    return per_step(durations, watch)


@workload("W1", "async")
def sequential_async(job: Job) -> Measurement:
    launch(job)
    asyncio.run(async_in_sequence(5))
    durations.clear()
    with Stopwatch() as watch:
        asyncio.run(async_in_sequence(job.steps))
    return per_step(durations, watch)


@workload("W2", "sync")
def many_sync(job: Job) -> Measurement:
    launch(job)
    with ThreadPoolExecutor(job.settings["concurrency"]) as threads:
        list(threads.map(lambda run: short(run, job.steps), range(8)))
        with Stopwatch() as watch:
            list(threads.map(lambda run: short(run, job.steps), range(job.runs)))
    return throughput("runs_per_s", job.runs, watch)


@workload("W2", "async")
def many_async(job: Job) -> Measurement:
    launch(job)

    async def go() -> Stopwatch:
        await asyncio.gather(*[async_short(run, job.steps) for run in range(8)])
        waiting = iter(range(job.runs))

        async def lane() -> None:
            for run in waiting:
                await async_short(run, job.steps)

        with Stopwatch() as watch:
            await asyncio.gather(*[lane() for _ in range(job.settings["concurrency"])])
        return watch

    return throughput("runs_per_s", job.runs, asyncio.run(go()))


@workload("W3", "async")
def parallel(job: Job) -> Measurement:
    launch(job)
    with Stopwatch() as watch:
        done = asyncio.run(fan_out(job.steps))
    assert done == job.steps
    return throughput("steps_per_s", job.steps, watch)


if __name__ == "__main__":
    main()
