"""One zombie, made on purpose: stopped in the middle of a transaction, replaced, and continued.

With the fence its transaction is undone and nothing of it is to be seen. Without, its effect is there twice and its
events stand among those of its successor: that is how one knows that the checks would notice.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

import dataflows_sdk as df
from storm import checks, flows
from storm.chaos import prepare
from storm.driver import Acknowledged, Start
from storm.fleet import Fleet
from storm.named import named
from storm.outcome import Outcome
from storm.postgres import Postgres

_LEASE = 1.0
_RUNS = 3


def play(postgres: Postgres, folder: Path, *, fence: bool) -> Outcome:
    """Two workers; the first is stopped while it books, the second takes its runs over and ends them."""
    url, quiet = postgres.url("dataflows"), postgres.url("chaos-looks")
    print("chaos: one zombie" + ("" if fence else ", WITHOUT THE FENCE"), file=sys.stderr, flush=True)
    prepare(url, quiet, fence=fence)
    fleet = Fleet(2, url, folder, lease=_LEASE, seed=0, fence=fence)
    first, second = fleet.workers
    known = Acknowledged()
    try:
        with df.connect(url, work=False) as ctx, psycopg.connect(quiet, autocommit=True) as looks:
            fleet.start(first)
            for n in range(_RUNS):
                run = ctx.start(flows.slow_booking, {"n": n})
                known.starts.append(Start(run.id, "chaos-slow-booking", n, "start"))
            # The first transaction is recorded, the second has inserted its row and is still open.
            _until(lambda: _begun(fleet) == 2 * _RUNS, "every run is in its second transaction")
            fleet.stop(first)
            fleet.start(second)
            _until(lambda: _takeovers(looks) == _RUNS, "the runs are taken over")
            _until(lambda: _begun(fleet) == 3 * _RUNS, "the successor is in the second transaction, too")
            fleet.go_on(first)
            _until(lambda: all(ctx.get(start.run).status == "succeeded" for start in known.starts), "all is over")
            # The zombie does what it still had to do, or learns that it may not.
            time.sleep(1.5)
        fleet.signal(first, signal.SIGTERM)
        stubborn = fleet.leave()
    finally:
        fleet.close()
    journal = checks.read(quiet)
    outcome = Outcome("one zombie" + ("" if fence else ", without the fence"))
    outcome.violations = checks.check(journal, known, fleet.notes(), {})
    outcome.violations += [f"end: worker {number} did not leave when it was asked to" for number in stubborn]
    outcome.counts = {"runs": len(journal.runs), "takeovers": sum(run.takeovers for run in journal.runs.values())}
    outcome.demanded = {"runs": _RUNS, "takeovers": _RUNS}
    return outcome


def _begun(fleet: Fleet) -> int:
    return sum(line.startswith("booking ") for line in fleet.notes())


def _takeovers(connection: psycopg.Connection[Any]) -> int:
    _, lost = connection.execute(named("look")["takeovers"]).fetchone() or (0, 0)
    return int(lost)


def _until(fact: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit(f"chaos: waited {seconds:g} s until {what}")
        time.sleep(0.02)
