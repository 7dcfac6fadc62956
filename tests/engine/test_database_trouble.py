"""PostgreSQL is killed, or throws everybody out, in the middle: runs go on when it is back.

Nothing is lost and nothing happens twice.

In these tests the library's own process stays alive, so that no step may run twice: not even those whose
effect is only promised at least once.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflows_sdk.context import Context, connect
from dataflows_sdk.store.embedded import EmbeddedServer, acquire

from ..conftest import MakeContext
from .workflows import declare

RUNS = 200


class Counted:
    """Calls, by name; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def __call__(self, name: str) -> str:
        with self._lock:
            self.counts[name] += 1
        return name


def write_row(connection: Any, name: str) -> str:
    connection.execute("insert into exactly_once (name) values (%s)", (name,))
    return name


def make_workflows(counted: Counted) -> list[Any]:
    async def in_trouble(event: Any, step: Any) -> str:
        tag = event.payload["tag"]
        await step.run("first", counted, f"{tag}/first")
        await step.transaction("row", write_row, f"{tag}/row")
        await step.sleep("nap", "300ms")
        await step.map("items", counted, [f"{tag}/{i}" for i in range(3)])
        await step.transaction("row", write_row, f"{tag}/row2")
        return str(await step.run("last", counted, f"{tag}/last"))

    def in_trouble_blocking(event: Any, step: Any) -> str:
        tag = event.payload["tag"]
        step.run("first", counted, f"{tag}/first")
        step.transaction("row", write_row, f"{tag}/row")
        step.sleep("nap", "300ms")
        step.map("items", counted, [f"{tag}/{i}" for i in range(3)])
        step.transaction("row", write_row, f"{tag}/row2")
        return str(step.run("last", counted, f"{tag}/last"))

    return [declare(in_trouble), declare(in_trouble_blocking)]


def make_table(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table exactly_once (id bigserial, name text)")


def rows(url: str) -> Counter[str]:
    with psycopg.connect(url) as connection:
        return Counter(row[0] for row in connection.execute("select name from exactly_once"))


def start(ctx: Context, workflows: list[Any]) -> list[Any]:
    half = RUNS // 2
    return [
        *ctx.start_many(workflows[0], [{"tag": str(i)} for i in range(half)]),
        *ctx.start_many(workflows[1], [{"tag": str(i)} for i in range(half, RUNS)]),
    ]


def check(ctx: Context, url: str, runs: list[Any], counted: Counted) -> None:
    deadline = time.monotonic() + 90
    for number, run in enumerate(runs):
        left = max(0.1, deadline - time.monotonic())
        try:
            assert run.result(left) == f"{number}/last"
        except TimeoutError:
            events = "\n".join(f"{e.seq} {e.kind} {e.key} {e.at:%H:%M:%S.%f} {e.data}"[:300] for e in run.events())
            statuses = Counter(each.status for each in ctx.runs(limit=10_000))
            raise AssertionError(f"{statuses}; run {number}: {run.explain()}\n{events}") from None
    tags = [str(i) for i in range(RUNS)]
    assert rows(url) == Counter(f"{tag}/{row}" for tag in tags for row in ("row", "row2"))
    wanted = Counter(f"{tag}/{name}" for tag in tags for name in ("first", "last", "0", "1", "2"))
    assert counted.counts == wanted, (counted.counts - wanted, wanted - counted.counts)
    for run in runs[:: RUNS // 10]:
        seqs = [event.seq for event in run.events()]
        assert seqs == sorted(set(seqs)), "an event stands twice in the journal"


# --- killed -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own, durable as in earnest."""
    with acquire(tmp_path / "postgres") as server:
        yield server


def postmaster(server: EmbeddedServer) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().split("\n")[0])


@pytest.mark.slow
def test_postgres_is_killed_during_two_hundred_runs(own_server: EmbeddedServer) -> None:
    counted = Counted()
    url = own_server.url
    with connect(url, linger="100ms") as ctx:
        make_table(url)
        runs = start(ctx, make_workflows(counted))
        killed = []
        for pause in (0.15, 1.0, 0.6):
            time.sleep(pause)
            pid = postmaster(own_server)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            _wait_for_another(own_server, pid)
        check(ctx, url, runs, counted)
    assert len(set(killed)) == 3


def _wait_for_another(server: EmbeddedServer, pid: int) -> None:
    """The keeper starts a new one."""
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, "PostgreSQL was not started again"
        try:
            if postmaster(server) != pid:
                with psycopg.connect(server.url, connect_timeout=2):
                    return
        except (OSError, ValueError, psycopg.OperationalError):
            pass
        time.sleep(0.02)


# --- thrown out -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_connections_are_terminated_all_the_time(make_ctx: MakeContext, database_url: str) -> None:
    counted = Counted()
    ctx = make_ctx(linger="100ms")
    make_table(database_url)
    ended = threading.Event()
    thrown_out = 0

    def terminate() -> None:
        nonlocal thrown_out
        chance = random.Random(7)
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not ended.wait(chance.uniform(0.02, 0.3)):
                row = connection.execute(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                ).fetchone()
                thrown_out += row[0] if row is not None else 0

    monkey = threading.Thread(target=terminate)
    runs = start(ctx, make_workflows(counted))
    monkey.start()
    try:
        time.sleep(3)
    finally:
        ended.set()
        monkey.join()
    assert thrown_out > 20
    check(ctx, database_url, runs, counted)
