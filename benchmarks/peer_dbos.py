"""DBOS Transact: workflows and steps by decorator, the function called in process."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSClient, EnqueueOptions

from crew import drained, latencies, lots, stamp, stand_by, work_until_dismissed
from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

QUEUE = "q"
durations: list[float] = []
stamping = False


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


@DBOS.step()
async def async_one_step(number: int) -> dict[str, Any]:
    if stamping:
        stamp(number)
    return PAYLOAD


@DBOS.step()
def one_step(number: int) -> dict[str, Any]:
    if stamping:
        stamp(number)
    return PAYLOAD


@DBOS.workflow(name="async_one")
async def async_one(number: int) -> dict[str, Any]:
    return await async_one_step(number)


@DBOS.workflow(name="one")
def one(number: int) -> dict[str, Any]:
    return one_step(number)


def configure(job: Job) -> None:
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


def launch(job: Job) -> None:
    configure(job)
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


# --- queues -----------------------------------------------------------------------------------------------


def client_of(job: Job) -> tuple[DBOSClient, EnqueueOptions]:
    """An application makes the schema and the queue, then leaves; a client enqueues."""
    launch(job)
    DBOS.register_queue(QUEUE, **job.settings.get("queue", {}))
    DBOS.destroy()
    client = DBOSClient(system_database_url=job.dsn, system_database_pool_size=16)
    name = "one" if job.mode == "sync" else "async_one"
    return client, {"workflow_name": name, "queue_name": QUEUE, "application_name": "bench"}


def fill(job: Job, client: DBOSClient, options: EnqueueOptions, threads: int = 1) -> None:
    """500 in a transaction; there is no call for several."""
    engine = sqlalchemy.create_engine(job.dsn.replace("postgresql://", "postgresql+psycopg://"), pool_size=threads)

    def together(lot: range) -> None:
        with engine.begin() as connection:
            for number in lot:
                client.enqueue_in_transaction(connection, options, number)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(together, lots(job.runs, job.settings.get("lot", 500))))


@workload("serve", "async")
@workload("serve", "sync")
def serve(job: Job) -> Measurement:
    global stamping
    stamping = job.settings.get("stamp", False)
    configure(job)
    stand_by()
    DBOS.launch()
    work_until_dismissed()
    return {}


@workload("W4", "async")
@workload("W4", "sync")
def drain(job: Job) -> Measurement:
    fill(job, *client_of(job))
    return drained(
        job,
        "select count(*) from dbos.workflow_status where status = 'SUCCESS'",
        "select to_timestamp(min(started_at_epoch_ms) / 1000.0), to_timestamp(max(completed_at) / 1000.0)"
        " from dbos.workflow_status",
    )


@workload("enqueue", "sync")
def enqueue(job: Job) -> Measurement:
    client, options = client_of(job)
    lanes = job.settings["lanes"]
    with Stopwatch() as watch:
        if "lot" in job.settings:
            fill(job, client, options, lanes)
        else:
            with ThreadPoolExecutor(lanes) as threads:
                list(threads.map(lambda number: client.enqueue(options, number), range(job.runs)))
    return throughput("runs_per_s", job.runs, watch)


@workload("W5", "async")
async def latency(job: Job) -> Measurement:
    client, options = await asyncio.to_thread(client_of, job)

    async def start(number: int) -> None:
        client.enqueue(options, number)

    return await latencies(job, start, 2.5, job.settings["queue"].get("polling_interval_sec", 1.0))


if __name__ == "__main__":
    main()
