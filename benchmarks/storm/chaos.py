"""The whole storm: start, rage, calm, look."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import psycopg

import dataflows_sdk as df
from storm import checks
from storm.driver import CAPS, Driver
from storm.fleet import Fleet
from storm.flows import KINDS
from storm.monkey import Monkey
from storm.named import named
from storm.outcome import Outcome
from storm.postgres import Postgres
from storm.watcher import Watcher

log = logging.getLogger("storm")
#: seconds that everything may take to come to its end when the chaos is over
_PATIENCE = 90.0


def play(
    postgres: Postgres,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    workers: int,
    rate: float,
    lease: float,
    fence: bool,
) -> Outcome:
    """Rage for so many seconds, then hold everything that is in the database against what was acknowledged."""
    say = lambda text: print(f"chaos: {text}", file=sys.stderr, flush=True)  # noqa: E731 - one short word for it
    url, quiet = postgres.url("dataflows"), postgres.url("chaos-looks")
    say(f"seed {seed}, {workers} workers, lease {lease:g} s, {seconds:g} s" + ("" if fence else ", WITHOUT THE FENCE"))
    prepare(url, quiet, fence=fence)
    golden = calm_weather(url)
    fleet = Fleet(workers, url, folder, lease=lease, seed=seed, starts=0.5, fence=fence)
    driver = Driver(url, seed, rate)
    watcher = Watcher(quiet, capped=driver.has_queues)
    monkey = Monkey(fleet, postgres, quiet, seed)
    try:
        fleet.start_all()
        watcher.start()
        driver.start()
        say("it rages")
        monkey.rage(seconds)
        say("calm; waiting for the ends of all runs")
        fleet.revive()
        driver.stop_starting()
        begun = time.monotonic()
        rest = wait_for_ends(quiet, _PATIENCE)
        took = time.monotonic() - begun
        dump_unfinished(quiet, folder / "unfinished")
        watcher.stop()
        driver.close()
        stubborn = fleet.leave()
    finally:
        fleet.close()
        (folder / "signals").write_text("".join(f"{at:.2f} {pid} {name}\n" for at, pid, name in fleet.sent))
        (folder / "deeds").write_text("".join(f"{at:8.2f} {text}\n" for at, text in monkey.deeds))
    outcome = judge(quiet, driver, fleet, golden)
    outcome.title = f"chaos: seed {seed}, {seconds:g} s" + ("" if fence else ", without the fence")
    outcome.violations += sorted(set(watcher.violations)) + monkey.gone
    outcome.violations += [f"end: worker {number} did not leave when it was asked to" for number in stubborn]
    outcome.counts |= {
        "SIGKILL of a worker": monkey.counts["kill"],
        "SIGSTOP and SIGCONT": monkey.counts["stop"],
        "connections cut by the server": monkey.counts["terminate"],
        "crashes of PostgreSQL": monkey.counts["restart"],
        "jumps of a wall clock": monkey.counts["jump"],
        "looks at the caps": watcher.looks,
        "runs unfinished after the wait": rest,
        "seconds until all runs were over": round(took, 1),
    }
    for queue in CAPS:
        cap = f"cap {CAPS[queue][0]}" if driver.has_queues else "no caps in this version"
        outcome.counts[f"most at once in queue {queue!r} ({cap})"] = watcher.most[queue, "all"]
    minutes = seconds / 60
    outcome.demanded = {
        "runs": 150 * minutes,
        "steps": 700 * minutes,
        "takeovers": 15 * minutes,
        "SIGKILL of a worker": 5 * minutes,
        "SIGSTOP and SIGCONT": 4 * minutes,
        "connections cut by the server": 8 * minutes,
        "crashes of PostgreSQL": int(1 * minutes),
        "jumps of a wall clock": 3 * minutes,
        "looks at the caps": 200 * minutes,
        "starts acknowledged": 120 * minutes,
        "events acknowledged": 50 * minutes,
    }
    return outcome


def prepare(url: str, quiet: str, *, fence: bool) -> None:
    """The schema of the library, the tables of the workflows."""
    df.connect(url, work=False).close()
    with psycopg.connect(quiet, autocommit=True) as connection:
        connection.execute(named("schema")["make"])
        if not fence:
            connection.execute(named("schema")["without_fence"])


def calm_weather(url: str) -> dict[str, set[str]]:
    """One run of each workflow, in this process and undisturbed: the steps that all the others must have, too."""
    golden: dict[str, set[str]] = {}
    with df.connect(url) as ctx:
        ctx.register(*(kind.workflow for kind in KINDS.values()))
        for name, kind in KINDS.items():
            n = 0
            payload = {"n": n, "queue": "narrow", "key": "a"}
            if name in ("chaos-pong", "chaos-slow-booking"):
                continue  # the one comes with chaos-ping, the other is for the zombie
            run = ctx.start(name, payload)
            for which in range(kind.go):
                ctx.send_event(run, "go", {"n": n * 10 + which}, dedupe_key=f"go-{which}")
            if name == "chaos-listener":
                ctx.emit("bell-0", 0)
                ctx.emit("peal-0", 0)
            run.result("30s")
            golden[name] = {event.key for event in run.events() if event.kind == "step.completed"}
    return golden


def wait_for_ends(url: str, seconds: float) -> int:
    """Wait until every run is over; gives how many are not."""
    deadline = time.monotonic() + seconds
    quiet_since = 0.0
    while True:
        with psycopg.connect(url, autocommit=True) as connection:
            whole, over = connection.execute(named("look")["progress"]).fetchone() or (0, 0)
        now = time.monotonic()
        if whole != over:
            quiet_since = 0.0
        elif not quiet_since:
            quiet_since = now
        elif now - quiet_since > 1.0:  # nobody starts anything more
            return 0
        if now > deadline:
            return int(whole - over)
        time.sleep(0.2)


def dump_unfinished(url: str, file: Path) -> None:
    """The whole history of every run that is not over, for whoever looks for the reason."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(named("look")["histories"]).fetchall()
    file.write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows))


def judge(url: str, driver: Driver, fleet: Fleet, golden: dict[str, set[str]]) -> Outcome:
    """Read everything and compare."""
    journal, known, notes = checks.read(url), driver.acknowledged, fleet.notes()
    outcome = Outcome("", violations=checks.check(journal, known, notes, golden))
    runs = journal.runs.values()
    outcome.counts = {
        "runs": len(runs),
        "steps": sum(sum(run.completed.values()) for run in runs),
        "transactions": sum(run.transactions for run in runs),
        "takeovers": sum(run.takeovers for run in runs),
        "largest epoch of a run": max(run.epoch for run in runs),
        "starts acknowledged": len(known.starts) + sum(line.startswith("start ") for line in notes),
        "events acknowledged": len(known.events) + len(known.emitted),
        "steps acknowledged to code": sum(line.startswith("step ") for line in notes),
        "calls of the driver that were not acknowledged": driver.trouble,
    }
    return outcome
