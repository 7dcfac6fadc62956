"""The failures that automation meets: rate limits, database timeouts, leaks, loops that already run."""

from __future__ import annotations

import asyncio
import gc
import http.server
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import RunFailed
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .workflows import FAST, declare


@contextmanager
def server(answers: list[tuple[int, dict[str, str]]]) -> Iterator[tuple[str, list[int]]]:
    """A loopback server that gives these answers in turn, the last one for ever; and the statuses it gave."""
    given: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers = answers[min(len(given), len(answers) - 1)]
            given.append(status)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}/", given
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def test_ratelimit_is_waited_out_as_the_service_asks(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)

    async def call(url: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(url)).raise_for_status().text

    async def polite(event: Any, step: Any) -> str:
        return await step.run("call", call, event.payload)

    busy = (429, {"Retry-After": "120"})
    with server([busy, busy, (200, {})]) as (url, given):
        begin = clock.now()
        run = ctx.run(declare(polite), url, timeout="20s")
        assert run.result() == "ok"
    assert given == [429, 429, 200]
    step = run.timeline()["call"]
    assert (step.attempt, step.status) == (3, "completed")
    due = [failure.retry_at for failure in step.failures]
    assert due[0] is not None
    assert due[1] is not None
    assert abs((due[0] - begin).total_seconds() - 120) < 5
    assert abs((due[1] - due[0]).total_seconds() - 120) < 5


def test_a_refusal_is_not_repeated(ctx: Context) -> None:
    def call(url: str) -> str:
        return httpx.get(url, trust_env=False).raise_for_status().text

    def rude(event: Any, step: Any) -> str:
        return step.run("call", call, event.payload, retry=FAST)

    with server([(403, {})]) as (url, given):
        with pytest.raises(RunFailed, match="403"):
            ctx.run(declare(rude), url).result()
    assert given == [403]


def test_dbtimeout_in_a_transaction_is_tried_again(ctx: Context) -> None:
    tries: list[int] = []

    def slow(connection: Any) -> int:
        tries.append(1)
        connection.execute("create table if not exists public.once (n int)")
        connection.execute("insert into public.once values (1)")
        if len(tries) == 1:
            connection.execute("set local statement_timeout = '20ms'")
            connection.execute("select pg_sleep(5)")
        return len(tries)

    async def work(event: Any, step: Any) -> int:
        return await step.transaction("slow", slow, retry=FAST)

    run = ctx.run(declare(work))
    assert run.result() == 2
    assert run.timeline()["slow"].failures[0].error["type"].endswith("QueryCanceled")
    with ctx._database.connection() as connection:
        assert connection.execute("select count(*) from public.once").fetchone() == (1,)
    assert issubclass(psycopg.errors.QueryCanceled, psycopg.OperationalError)


def test_leak_memory_stays_bounded_over_many_runs(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)  # what looks after them imports modules once, a second after the start

    async def small(event: Any, step: Any) -> Any:
        await step.run("a", lambda: {"n": event.payload})
        return await step.map("b", lambda i: i, range(3))

    workflow = declare(small)

    def burst() -> None:
        for run in ctx.start_many(workflow, range(300)):
            run.result("30s")

    def kept() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    for _ in range(2):
        burst()
    tracemalloc.start()
    try:
        burst()
        before, grown = kept(), []
        # what is done once in a process, such as an import, is no leak: that is there again
        while len(grown) < 3 and (not grown or grown[-1] >= 100 * 900):
            for _ in range(3):
                burst()
            grown.append((after := kept()) - before)
            before = after
    finally:
        tracemalloc.stop()
    assert grown[-1] < 100 * 900, f"900 more runs left so many bytes behind, each time: {grown}"
    assert not ctx._engine.live
    assert not ctx._engine._watchers


def test_inside_a_loop_that_runs_as_in_a_notebook(ctx: Context) -> None:
    async def add(event: Any, step: Any) -> int:
        return await step.run("add", lambda: event.payload + 1)

    workflow = declare(add)

    async def cell() -> list[int]:
        blocking = ctx.run(workflow, 1).result()
        waited = await ctx.start(workflow, 2)
        many = await asyncio.gather(*[await ctx.astart(workflow, n) for n in range(3, 50)])
        return [blocking, waited, *many]

    assert asyncio.run(cell()) == list(range(2, 51))


def test_waiting_for_many_runs_starves_nobody(ctx: Context) -> None:
    async def waits(event: Any, step: Any) -> int:
        return await step.wait_for_event("go")

    workflow = declare(waits)

    async def main() -> list[int]:
        runs = [await ctx.astart(workflow) for _ in range(60)]
        waiting = [asyncio.ensure_future(_of(run)) for run in runs]
        await asyncio.to_thread(wait_until, lambda: runs[-1].status == "waiting", "the last run sleeps")
        await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5)
        for number, run in enumerate(runs):
            await asyncio.to_thread(run.send_event, "go", number)
        return await asyncio.wait_for(asyncio.gather(*waiting), 30)

    async def _of(run: df.Run) -> int:
        return await run

    assert asyncio.run(main()) == list(range(60))


def test_a_step_cannot_end_the_engine(ctx: Context) -> None:
    async def leaves(event: Any, step: Any) -> None:
        def leave() -> None:
            raise SystemExit(3)

        async def leave_async() -> None:
            raise SystemExit(5)

        for name, fn in (("thread", leave), ("loop", leave_async)):
            with pytest.raises(df.NonRetryableError, match="Exit"):
                await step.run(name, fn)
        raise SystemExit(4)

    with pytest.raises(RunFailed, match="SystemExit"):
        ctx.run(declare(leaves)).result()

    async def alive(event: Any, step: Any) -> int:
        return await step.run("one", lambda: 1)

    assert ctx.run(declare(alive)).result() == 1


def test_the_journal_tells_what_happened_in_order(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")

    async def order(event: Any, step: Any) -> str:
        await step.run("one", lambda: 1)
        await step.run("two", lambda: 2)
        await step.sleep("nap", "30ms")
        await step.run("three", lambda: 3)
        return "end"

    run = ctx.run(declare(order))
    assert run.result() == "end"
    # a step that takes more than a moment, on a busy machine, has a `step.started` too
    told = [(event.kind, event.key) for event in run.events() if event.kind != "step.started"]
    assert told == [
        ("run.created", ""),
        ("step.completed", "one"),
        ("step.completed", "two"),
        ("step.waiting", "nap"),
        ("run.suspended", ""),
        ("run.claimed", ""),
        ("step.completed", "nap"),
        ("step.completed", "three"),
        ("run.completed", ""),
    ]
    assert [event.seq for event in run.events()] == list(range(1, len(run.events()) + 1))


def test_a_step_that_takes_a_while_is_seen_while_it_runs(ctx: Context) -> None:
    gate = threading.Event()

    async def slow(event: Any, step: Any) -> bool:
        return await step.run("slow", lambda name: gate.wait(10), "shown")

    run = ctx.start(declare(slow))
    wait_until(lambda: len(run.timeline()) == 1, "the step is visible")
    step = run.timeline()["slow"]
    assert (step.status, step.input) == ("started", "shown")
    assert "slow" in "".join(run.explain().details)
    gate.set()
    assert run.result() is True
    assert [event.kind for event in run.events()][1:3] == ["step.started", "step.completed"]
    assert run.timeline()["slow"].input == "shown"
