"""dataflows-sdk: workflows as functions, written with ``async def`` or with ``def``, started and awaited in process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import dataflows_sdk as df
from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

WARM_UP_STEPS = 5
WARM_UP_RUNS = 8
#: W3 lasts a twentieth of a second: what a second and a third run would give is told beside the first
MORE = 4

durations: list[float] = []


async def astep(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


def step_def(number: int) -> dict[str, Any]:
    return {**PAYLOAD, "n": number}


@df.workflow("in_sequence_async")
async def in_sequence_async(event: Any, step: Any) -> None:
    for number in range(event.payload):
        began = time.perf_counter()
        await step.run("s", astep, number)
        durations.append(time.perf_counter() - began)


@df.workflow("in_sequence_def")
def in_sequence_def(event: Any, step: Any) -> None:
    for number in range(event.payload):
        began = time.perf_counter()
        step.run("s", step_def, number)
        durations.append(time.perf_counter() - began)


@df.workflow("short_async")
async def short_async(event: Any, step: Any) -> int:
    for number in range(event.payload["steps"]):
        await step.run("s", astep, number)
    run: int = event.payload["run"]
    return run


@df.workflow("short_def")
def short_def(event: Any, step: Any) -> int:
    for number in range(event.payload["steps"]):
        step.run("s", step_def, number)
    run: int = event.payload["run"]
    return run


@df.workflow("map_async")
async def map_async(event: Any, step: Any) -> int:
    return len(await step.map("s", astep, range(event.payload)))


@df.workflow("map_def")
def map_def(event: Any, step: Any) -> int:
    return len(step.map("s", step_def, range(event.payload)))


@df.workflow("gather_async")
async def gather_async(event: Any, step: Any) -> int:
    return len(await asyncio.gather(*[step.run("s", astep, n, key=n) for n in range(event.payload)]))


SEQUENCES = {"async": in_sequence_async, "sync": in_sequence_def}
SHORT = {"async": short_async, "sync": short_def}
FAN_OUTS = {("async", "map"): map_async, ("sync", "map"): map_def, ("async", "gather"): gather_async}


def connect(job: Job) -> df.Context:
    return df.connect(job.dsn)


@workload("W1", "async")
@workload("W1", "sync")
def sequential(job: Job) -> Measurement:
    ctx = connect(job)
    ctx.run(SEQUENCES[job.mode], WARM_UP_STEPS).result()
    durations.clear()
    with Stopwatch() as watch:
        ctx.run(SEQUENCES[job.mode], job.steps).result()
    assert len(durations) == job.steps
    return per_step(durations, watch)


@workload("W2", "async")
@workload("W2", "sync")
async def many(job: Job) -> Measurement:
    """Lanes on the caller's loop, or (``"start": "start_many"``) all runs in one call."""
    ctx = connect(job)
    flow, expected = SHORT[job.mode], list(range(job.runs))

    async def lane(numbers: Any, results: list[Any]) -> None:
        for number in numbers:
            run = await ctx.astart(flow, {"run": number, "steps": job.steps})
            results.append(await run)

    warm: list[Any] = []
    waiting = iter(range(WARM_UP_RUNS))
    await asyncio.gather(*[lane(waiting, warm) for _ in range(WARM_UP_RUNS)])
    results: list[Any] = []
    if job.settings.get("start") == "start_many":
        payloads = [{"run": number, "steps": job.steps} for number in expected]
        with Stopwatch() as watch:
            runs = await asyncio.to_thread(ctx.start_many, flow, payloads)
            results = list(await asyncio.gather(*runs))
    else:
        waiting = iter(expected)
        with Stopwatch() as watch:
            await asyncio.gather(*[lane(waiting, results) for _ in range(job.settings["concurrency"])])
    assert sorted(results) == expected
    return throughput("runs_per_s", job.runs, watch)


@workload("W3", "async")
@workload("W3", "sync")
def parallel(job: Job) -> Measurement:
    """``step.map``, or (``"how": "gather"``) ``asyncio.gather`` of steps that have a key."""
    ctx = connect(job)
    flow = FAN_OUTS[job.mode, job.settings.get("how", "map")]
    ctx.run(SEQUENCES[job.mode], WARM_UP_STEPS).result()
    with Stopwatch() as watch:
        done = ctx.run(flow, job.steps).result()
    assert done == job.steps
    measured = throughput("steps_per_s", job.steps, watch)
    later = []
    for _ in range(MORE):
        with Stopwatch() as watch:
            ctx.run(flow, job.steps).result()
        later.append(job.steps / watch.wall)
    return {**measured, "later": later}


if __name__ == "__main__":
    main()
