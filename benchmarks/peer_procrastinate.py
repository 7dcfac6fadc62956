"""procrastinate: a task queue without steps and without a journal; what a plain queue on PostgreSQL reaches."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import procrastinate

from crew import drained, in_lanes, latencies, lots, stamp, stand_by, work_until_dismissed
from protocol import Job, Measurement, Stopwatch, main, throughput, workload

POOL = 20
logging.getLogger("procrastinate").setLevel(logging.ERROR)  # this program is its own main module, and may be


def application(job: Job) -> tuple[procrastinate.App, Any]:
    connector = procrastinate.PsycopgConnector(conninfo=job.dsn, min_size=4, max_size=POOL)
    app = procrastinate.App(connector=connector)

    @app.task(name="one")
    async def one(number: int) -> None:
        if job.settings.get("stamp"):
            stamp(number)

    return app, one


async def fill(job: Job, one: Any, lanes: int = 1) -> None:
    waiting = iter(lots(job.runs, job.settings.get("lot", 500)))

    async def lane() -> None:
        for lot in waiting:
            await one.batch_defer_async(*[{"number": number} for number in lot])

    await asyncio.gather(*[lane() for _ in range(lanes)])


@workload("serve", "async")
async def serve(job: Job) -> Measurement:
    app, _ = application(job)
    async with app.open_async():
        await asyncio.to_thread(stand_by)
        work = {"concurrency": job.settings["concurrency"], "install_signal_handlers": False, "delete_jobs": "never"}
        worker = asyncio.create_task(app.run_worker_async(**work))
        await asyncio.to_thread(work_until_dismissed)
        await worker
    return {}


@workload("W4", "async")
async def drain(job: Job) -> Measurement:
    app, one = application(job)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await fill(job, one)
    return await asyncio.to_thread(
        drained,
        job,
        "select count(*) from procrastinate_jobs where status = 'succeeded'",
        "select min(at) filter (where type = 'started'), max(at) filter (where type = 'succeeded')"
        " from procrastinate_events",
    )


@workload("enqueue", "async")
async def enqueue(job: Job) -> Measurement:
    app, one = application(job)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        lanes = job.settings["lanes"]
        with Stopwatch() as watch:
            if "lot" in job.settings:
                await fill(job, one, lanes)
            else:
                await in_lanes(job.runs, [lambda number: one.defer_async(number=number)] * lanes)
    return throughput("runs_per_s", job.runs, watch)


@workload("W5", "async")
async def latency(job: Job) -> Measurement:
    app, one = application(job)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        return await latencies(job, lambda number: one.defer_async(number=number), slack=2)


if __name__ == "__main__":
    main()
