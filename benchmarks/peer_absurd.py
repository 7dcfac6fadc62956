"""absurd: durable execution in stored procedures; tasks are spawned into a queue and a worker claims them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import Absurd, AsyncAbsurd

from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

QUEUE = "q"
CLAIM_SECONDS = 300
durations: list[float] = []


class Countdown:
    """How many tasks have finished in this process."""

    def __init__(self) -> None:
        self.done = 0

    async def reach(self, count: int) -> None:
        while self.done < count:
            await asyncio.sleep(0.002)


finished = Countdown()


def install_schema(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)


async def result() -> dict[str, Any]:
    return PAYLOAD


def register_async(app: AsyncAbsurd) -> None:
    @app.register_task(name="in_sequence")
    async def in_sequence(params: Any, context: Any) -> None:
        for number in range(params["steps"]):
            began = time.perf_counter()
            await context.step(f"s{number}", result)
            durations.append(time.perf_counter() - began)
        finished.done += 1

    @app.register_task(name="short")
    async def short(params: Any, context: Any) -> None:
        for number in range(params["steps"]):
            await context.step(f"s{number}", result)
        finished.done += 1

    @app.register_task(name="fan_out")
    async def fan_out(params: Any, context: Any) -> None:
        await asyncio.gather(*[context.step(f"s{number}", result) for number in range(params["steps"])])
        finished.done += 1


async def start(job: Job, connections: int = 1, concurrency: int = 1) -> tuple[AsyncAbsurd, list[asyncio.Task[None]]]:
    """A client, and workers on so many connections that together run so many tasks at once."""
    install_schema(job.dsn)
    client = AsyncAbsurd(job.dsn, queue_name=QUEUE)
    await client.create_queue(QUEUE)
    workers = []
    for _ in range(connections):
        app = AsyncAbsurd(job.dsn, queue_name=QUEUE)
        register_async(app)
        share = max(1, concurrency // connections)
        workers.append(
            asyncio.create_task(app.start_worker(concurrency=share, poll_interval=0.01, claim_timeout=CLAIM_SECONDS))
        )
    return client, workers


@workload("W1", "async")
async def sequential_async(job: Job) -> Measurement:
    client, _workers = await start(job)
    await client.spawn("in_sequence", {"steps": 5}, queue=QUEUE)
    await finished.reach(1)
    durations.clear()
    with Stopwatch() as watch:
        await client.spawn("in_sequence", {"steps": job.steps}, queue=QUEUE)
        await finished.reach(2)
    return per_step(durations, watch)


@workload("W1", "sync")
def sequential_sync(job: Job) -> Measurement:
    install_schema(job.dsn)
    client = Absurd(job.dsn, queue_name=QUEUE)
    client.create_queue(QUEUE)
    app = Absurd(job.dsn, queue_name=QUEUE)
    over = threading.Semaphore(0)

    @app.register_task(name="in_sequence")
    def in_sequence(params: Any, context: Any) -> None:
        for number in range(params["steps"]):
            began = time.perf_counter()
            context.step(f"s{number}", lambda: PAYLOAD)
            durations.append(time.perf_counter() - began)
        over.release()

    work = {"concurrency": 1, "poll_interval": 0.01, "claim_timeout": CLAIM_SECONDS}
    threading.Thread(target=app.start_worker, kwargs=work, daemon=True).start()
    client.spawn("in_sequence", {"steps": 5}, queue=QUEUE)
    over.acquire()
    durations.clear()
    with Stopwatch() as watch:
        client.spawn("in_sequence", {"steps": job.steps}, queue=QUEUE)
        over.acquire()
    return per_step(durations, watch)


@workload("W2", "async")
async def many_async(job: Job) -> Measurement:
    _client, _workers = await start(job, job.settings["connections"], job.settings["concurrency"])
    spawners = [AsyncAbsurd(job.dsn, queue_name=QUEUE) for _ in range(4)]
    waiting = iter(range(job.runs))

    async def lane(spawner: AsyncAbsurd) -> None:
        for run in waiting:
            await spawner.spawn("short", {"run": run, "steps": job.steps}, queue=QUEUE)

    with Stopwatch() as watch:
        await asyncio.gather(*[lane(spawner) for spawner in spawners])
        await finished.reach(job.runs)
    return throughput("runs_per_s", job.runs, watch)


@workload("W3", "async")
async def parallel(job: Job) -> Measurement:
    client, _workers = await start(job)
    await client.spawn("in_sequence", {"steps": 5}, queue=QUEUE)
    await finished.reach(1)
    with Stopwatch() as watch:
        await client.spawn("fan_out", {"steps": job.steps}, queue=QUEUE)
        await finished.reach(2)
    return throughput("steps_per_s", job.steps, watch)


if __name__ == "__main__":
    main()
