"""absurd: durable execution in stored procedures; tasks are spawned into a queue and a worker claims them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import Absurd, AsyncAbsurd

from crew import drained, in_lanes, latencies, lots, stamp, stand_by, work_until_dismissed
from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

QUEUE = "q"
CLAIM_SECONDS = 300
durations: list[float] = []
stamping = False


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

    @app.register_task(name="one")
    async def one(params: Any, context: Any) -> None:
        async def stamped() -> dict[str, Any]:
            if stamping:
                stamp(params["number"])
            return PAYLOAD

        await context.step("s", stamped)

    @app.register_task(name="fan_out")
    async def fan_out(params: Any, context: Any) -> None:
        await asyncio.gather(*[context.step(f"s{number}", result) for number in range(params["steps"])])
        finished.done += 1


async def client_of(job: Job) -> AsyncAbsurd:
    install_schema(job.dsn)
    client = AsyncAbsurd(job.dsn, queue_name=QUEUE)
    await client.create_queue(QUEUE)
    return client


def work(job: Job, connections: int = 1, concurrency: int = 1, poll: float = 0.01) -> list[asyncio.Task[None]]:
    """Workers on so many connections that together run so many tasks at once."""
    workers = []
    for _ in range(connections):
        app = AsyncAbsurd(job.dsn, queue_name=QUEUE)
        register_async(app)
        share = max(1, concurrency // connections)
        workers.append(
            asyncio.create_task(app.start_worker(concurrency=share, poll_interval=poll, claim_timeout=CLAIM_SECONDS))
        )
    return workers


async def start(job: Job, connections: int = 1, concurrency: int = 1) -> tuple[AsyncAbsurd, list[asyncio.Task[None]]]:
    """A client and workers."""
    client = await client_of(job)
    return client, work(job, connections, concurrency)


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

    settings = {"concurrency": 1, "poll_interval": 0.01, "claim_timeout": CLAIM_SECONDS}
    threading.Thread(target=app.start_worker, kwargs=settings, daemon=True).start()
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


# --- queues -----------------------------------------------------------------------------------------------


async def fill(job: Job, connections: int = 1) -> None:
    """500 in a transaction; there is no call for several."""
    waiting = iter(lots(job.runs, job.settings.get("lot", 500)))

    async def lane() -> None:
        async with await psycopg.AsyncConnection.connect(job.dsn, autocommit=True) as connection:
            client = AsyncAbsurd(connection, queue_name=QUEUE)
            for lot in waiting:
                async with connection.transaction():
                    for number in lot:
                        await client.spawn("one", {"number": number}, queue=QUEUE)

    await asyncio.gather(*[lane() for _ in range(connections)])


@workload("serve", "async")
async def serve(job: Job) -> Measurement:
    global stamping
    stamping = job.settings.get("stamp", False)
    await asyncio.to_thread(stand_by)
    workers = work(job, job.settings["connections"], job.settings["concurrency"], job.settings["poll"])
    await asyncio.to_thread(work_until_dismissed)
    await asyncio.gather(*workers)
    return {}


@workload("W4", "async")
async def drain(job: Job) -> Measurement:
    await client_of(job)
    await fill(job)
    return await asyncio.to_thread(
        drained,
        job,
        f"select count(*) from absurd.r_{QUEUE} where state = 'completed'",
        f"select min(started_at), max(completed_at) from absurd.r_{QUEUE}",
    )


@workload("enqueue", "async")
async def enqueue(job: Job) -> Measurement:
    await client_of(job)
    clients = [AsyncAbsurd(job.dsn, queue_name=QUEUE) for _ in range(job.settings["lanes"])]
    lanes = [lambda n, c=client: c.spawn("one", {"number": n}, queue=QUEUE) for client in clients]
    with Stopwatch() as watch:
        if "lot" in job.settings:
            await fill(job, len(clients))
        else:
            await in_lanes(job.runs, lanes)
    return throughput("runs_per_s", job.runs, watch)


@workload("W5", "async")
async def latency(job: Job) -> Measurement:
    client = await client_of(job)
    spawn = lambda number: client.spawn("one", {"number": number}, queue=QUEUE)  # noqa: E731
    return await latencies(job, spawn, slack=1, poll=job.settings["poll"])


if __name__ == "__main__":
    main()
