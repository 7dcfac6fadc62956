"""dataflows-sdk, queued: runs that one process enqueues and others work off."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

import dataflows_sdk as df
from crew import Crew, count, drained, in_lanes, latencies, lots, stamp, stand_by, work_until_dismissed
from dataflows_sdk.cli.worker import settle_memory
from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, throughput, workload
from server import cpu_seconds

LOT = 500
SUCCEEDED = "select count(*) from dataflows.run where status = 'succeeded'"
SLEEPING = "select count(*) from dataflows.run where status = 'sleeping'"
#: none of these holds anything back: what is measured is that they are looked at
LIMITS: dict[str, Any] = {"concurrency": 4000, "concurrency_per_key": 200, "rate": (1_000_000, "1m")}
KEYS, PRIORITIES = 50, 5
#: until the runs wake, so that all are suspended before; the measurement fails where that is not enough
SLEEP_SECONDS = 25
#: contexts in a process, seconds to settle, seconds to count
TOGETHER, SETTLE, COUNTED = 25, 15.0, 20.0

stamping = False


async def astep(number: int) -> dict[str, Any]:
    if stamping:
        stamp(number)
    return {**PAYLOAD, "n": number}


def workflows() -> dict[str, Any]:
    """Made when it is called: a worker that knows a workflow begins to work at once."""

    @df.workflow("one")
    async def one(event: Any, step: Any) -> None:
        await step.run("s", astep, event.payload)

    @df.workflow("sleeper")
    async def sleeper(event: Any, step: Any) -> float:
        await step.sleep_until("until", datetime.fromtimestamp(event.payload, UTC))
        return time.time()

    return {"one": one, "sleeper": sleeper}


def fill(job: Job, workflow: str, payloads: list[Any]) -> None:
    with df.connect(job.dsn, work=False) as ctx:
        made = workflows()[workflow]
        for lot in lots(len(payloads), LOT):
            ctx.start_many(made, payloads[lot.start : lot.stop])


async def fill_with_limits(job: Job) -> bool:
    """A limited queue, runs of several priorities and keys; False where this version has none."""
    with df.connect(job.dsn, work=False) as connected:
        ctx: Any = connected
        if not hasattr(ctx, "queues"):
            return False
        one = workflows()["one"]
        ctx.queues.set("limited", **LIMITS)

        async def start(number: int) -> None:
            await ctx.astart(one, number, queue="limited", priority=number % PRIORITIES, key=f"key {number % KEYS}")

        await in_lanes(job.runs, [start] * 256)
    return True


@workload("serve", "async")
@workload("serve", "sync")
def serve(job: Job) -> Measurement:
    global stamping
    stamping = job.settings.get("stamp", False)
    ctx = df.connect(job.dsn, linger=job.settings.get("linger", "1s"))
    stand_by()
    settle_memory()  # as `dataflows worker` does
    ctx.register(*workflows().values())
    work_until_dismissed()
    return {}


@workload("W4", "async")
async def drain(job: Job) -> Measurement:
    if not job.settings.get("limits"):
        await asyncio.to_thread(fill, job, "one", list(range(job.runs)))
    elif not await fill_with_limits(job):
        return {"skipped": "this version has no queues with limits"}
    return await asyncio.to_thread(
        drained, job, SUCCEEDED, "select min(started_at), max(finished_at) from dataflows.run", 0.05
    )


@workload("enqueue", "async")
@workload("enqueue", "sync")
async def enqueue(job: Job) -> Measurement:
    """In lanes on the caller's loop, in threads that block, or in lots."""
    with df.connect(job.dsn, work=False) as ctx:
        one, lanes = workflows()["one"], job.settings["lanes"]
        with Stopwatch() as watch, ThreadPoolExecutor(lanes) as threads:
            if "lot" in job.settings:
                list(threads.map(lambda lot: ctx.start_many(one, lot), lots(job.runs, job.settings["lot"])))
            elif job.mode == "sync":
                list(threads.map(lambda number: ctx.start(one, number), range(job.runs)))
            else:
                await in_lanes(job.runs, [lambda number: ctx.astart(one, number)] * lanes)
        with psycopg.connect(job.dsn) as connection:
            assert count(connection, "select count(*) from dataflows.run where status = 'queued'") == job.runs
    return throughput("runs_per_s", job.runs, watch)


@workload("W5", "async")
@workload("W5", "sync")
async def latency(job: Job) -> Measurement:
    with df.connect(job.dsn, work=False) as ctx:
        one = workflows()["one"]

        async def blocking(number: int) -> None:
            ctx.start(one, number)

        async def start(number: int) -> None:
            await ctx.astart(one, number)

        starting: Callable[[int], Awaitable[None]] = blocking if job.mode == "sync" else start
        return await latencies(job, starting, slack=2)


# --- many timers at once ----------------------------------------------------------------------------------


@workload("timers", "async")
def timers(job: Job) -> Measurement:
    """When runs that sleep until one instant go on, by the clock that their code sees, and what PostgreSQL spends."""
    with psycopg.connect(job.dsn, autocommit=True) as connection, Crew(job, linger="0s") as crew:
        until = float(int(time.time() + SLEEP_SECONDS))
        fill(job, "sleeper", [until] * job.runs)
        crew.go()
        while count(connection, SLEEPING) < job.runs:
            assert time.time() < until - 2, "too slow: the first sleepers wake before the last sleeps"
            time.sleep(0.1)
        connection.execute("checkpoint")
        time.sleep(max(0.0, until - 0.2 - time.time()))
        spent, began = cpu_seconds(job.server["pid"]), time.time()
        while count(connection, SUCCEEDED) < job.runs:
            time.sleep(0.05)
        ended = time.time()
        spent = cpu_seconds(job.server["pid"]) - spent
        rows = connection.execute(
            "select (data ->> 'value')::float8 from dataflows.event where kind = 'run.completed'"
        ).fetchall()
    late = sorted(float(row[0]) - until for row in rows)
    assert len(late) == job.runs
    assert late[0] > -0.001, f"a run went on {-late[0]:.3f} s before its time"
    return {
        "metric": "last_s",
        "value": late[-1],
        "also": {
            "p50, s": statistics.median(late),
            "p95, s": statistics.quantiles(late, n=20)[-1],
            "last is over, s": ended - until,
            "PostgreSQL, cores": spent / (ended - began),
        },
    }


# --- idle workers -----------------------------------------------------------------------------------------


@workload("serve", "idle")
def idle_workers(job: Job) -> Measurement:
    """Contexts that are workers: each has run something."""
    one = workflows()["one"]
    contexts = [df.connect(job.dsn) for _ in range(job.settings["contexts"])]
    for ctx in contexts:
        ctx.run(one, 0).result()
    stand_by()
    work_until_dismissed()
    return {}


@workload("idle", "idle")
def idle(job: Job) -> Measurement:
    """Statements that the server was sent, by its log, and transactions, by its counters."""
    contexts = min(TOGETHER, job.runs)
    name = psycopg.conninfo.conninfo_to_dict(job.dsn)["dbname"]
    with psycopg.connect(job.dsn, autocommit=True) as connection:
        connection.execute(f"alter database {name} set log_statement = 'all'")  # for connections to come
        connection.execute(f"alter database {name} set log_min_error_statement = 'panic'")
        with Crew(job, job.runs // contexts, contexts=contexts) as crew:
            crew.go()
            workers = count(connection, "select count(*) from dataflows.worker")
            assert workers == job.runs // contexts * contexts, f"{workers} workers"
            time.sleep(SETTLE)
            log, before = Path(job.server["log"]), commits(job)
            begin, clock = log.stat().st_size, time.monotonic()
            time.sleep(COUNTED)
            end, seconds = log.stat().st_size, time.monotonic() - clock
            transactions = commits(job) - before
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read(end - begin)
    statements = text.count(b"LOG:  execute ") + text.count(b"LOG:  statement: ")
    return {
        "metric": "statements_per_s",
        "value": statements / seconds,
        "also": {"transactions/s": transactions / seconds},
    }


def commits(job: Job) -> int:
    """Transactions of the database so far; a session reports them up to ten seconds late."""
    with psycopg.connect(job.dsn, autocommit=True) as connection:
        connection.execute("set log_statement = 'none'")
        return count(
            connection, "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        )


if __name__ == "__main__":
    main()
