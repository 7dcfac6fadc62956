"""Measure the raw limit, other engines and ours on one PostgreSQL, and print the ratios.

    python benchmarks/run.py [--reps 5] [--only W1,W2,W3,pgbench] [--names raw,DBOS,ours] [--json FILE]

Every repetition is a fresh process on a fresh database. All contestants of a workload play one after another
before the next repetition begins, in turned order, so that a ratio compares neighbours in time. The table
goes to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from plan import ENTRIES, PGBENCH_CLIENTS, PGBENCH_SECONDS, SIZES, Entry
from report import CONTESTANTS, Repetition, Results, bars, figures
from server import SETTINGS, Server, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
PACKAGES = ("dbos", "absurd-sdk", "langgraph", "langgraph-checkpoint-postgres", "psycopg")
SILENT = {"LANGSMITH_TRACING": "false", "PYTHONDONTWRITEBYTECODE": "1"}
CHILD_SECONDS = 600


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    workloads = [*SIZES, "pgbench"]
    parser.add_argument("--reps", type=int, default=5, help="repetitions of each (default 5)")
    parser.add_argument("--only", type=_words(workloads), default=workloads, help=f"some of {','.join(workloads)}")
    parser.add_argument(
        "--names",
        type=_words(CONTESTANTS),
        default=list(CONTESTANTS),
        help=f"some of {','.join(CONTESTANTS)}",
    )
    parser.add_argument("--json", type=Path, help="also write every repetition to this file, one JSON line each")
    parser.add_argument(
        "--quiet-timeout",
        type=float,
        default=20,
        help="seconds to wait for other programs to rest (default 20)",
    )
    given = parser.parse_args()
    if given.reps < 1:
        parser.error("--reps must be at least 1")
    return given


def _words(known: Sequence[str]) -> Any:
    def words(text: str) -> list[str]:
        asked = text.split(",")
        unknown = [word for word in asked if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; there is {', '.join(known)}")
        return asked

    return words


def main() -> None:
    given = arguments()
    entries = [entry for entry in (*ENTRIES, *pgbench()) if entry.workload in given.only and entry.name in given.names]
    missing = sorted({entry.program for entry in entries if not (HERE / f"{entry.program}.py").exists()})
    for program in missing:
        print(f"benchmarks/{program}.py is not there: its column stays empty", file=sys.stderr)
    entries = [entry for entry in entries if entry.program not in missing]
    if not entries:
        raise SystemExit("benchmarks: nothing to measure")

    began = time.monotonic()
    repetitions = []
    with postgres() as server:
        session = describe(server)
        for repetition in play(server, entries, given.reps, given.quiet_timeout):
            repetitions.append(repetition)
            if given.json:
                with given.json.open("a") as file:
                    file.write(json.dumps(vars(repetition)) + "\n")
    if not repetitions:
        raise SystemExit("benchmarks: no repetition gave a result")
    results = Results(repetitions)
    print(f"{session}\n\n{figures(results)}\n\n{bars(results)}\n")
    limits = [(clients, results.median(("pgbench", str(clients)), "raw")) for clients in PGBENCH_CLIENTS]
    told = [f"{tps:,.0f} tps with {clients} client{'s'[: clients > 1]}" for clients, tps in limits if tps is not None]
    if told:
        print(f"pgbench, the same INSERT: {', '.join(told)}.")
    print(
        f"Medians of {given.reps} (smallest … largest), ratios of neighbours in time; "
        f"{time.monotonic() - began:.0f} s in all; "
        f"other programs used up to {max(results.foreign):.2f} cores meanwhile."
    )
    lost = given.reps * len(entries) - len(repetitions)
    if lost:
        raise SystemExit(f"benchmarks: {lost} of the repetitions gave no result (see above)")


class ChildError(Exception):
    """A repetition ended without a measurement; the others go on."""


def pgbench() -> Iterator[Entry]:
    for clients in PGBENCH_CLIENTS:
        settings = {"clients": clients, "seconds": PGBENCH_SECONDS}
        yield Entry("raw", "raw", "pgbench", "sync", settings, against=str(clients))


def play(server: Server, entries: list[Entry], reps: int, quiet_timeout: float) -> Iterator[Repetition]:
    """Workload by workload: all contestants once, then again in turned order."""
    workloads = list(dict.fromkeys(entry.workload for entry in entries))
    for workload in workloads:
        field = [entry for entry in entries if entry.workload == workload]
        for number in range(reps):
            turn = number % len(field)
            for entry in field[turn:] + field[:turn]:
                quiet = wait_until_quiet(quiet_timeout)
                try:
                    repetition = repeat(server, entry, number)
                except (ChildError, subprocess.TimeoutExpired) as error:
                    print(f"benchmarks: {error}", file=sys.stderr, flush=True)
                    continue
                note = "" if quiet else ", the machine was busy"
                print(
                    f"{workload} {entry.row[1]:5} {entry.name:10} {number + 1}/{reps}"
                    f"  {repetition.value:10.3f}  (others: {repetition.foreign:.2f} cores{note})",
                    file=sys.stderr,
                    flush=True,
                )
                yield repetition


def repeat(server: Server, entry: Entry, number: int) -> Repetition:
    """One repetition in a process and a database of its own."""
    size = SIZES.get(entry.workload, {"runs": 0, "steps": 0})
    with server.database() as dsn:
        job: dict[str, Any] = {
            "workload": entry.workload,
            "mode": entry.mode,
            "dsn": dsn,
            **size,
            **entry.settings,
        }
        if entry.workload == "pgbench":
            job["binary"] = str(server.binaries / "pgbench")
        machine, own, clock = busy_seconds(), own_seconds(server), time.perf_counter()
        child = subprocess.run(
            [sys.executable, str(HERE / f"{entry.program}.py"), json.dumps(job)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=CHILD_SECONDS,
            env={**os.environ, **SILENT},
        )
        wall = time.perf_counter() - clock
        foreign = max(0.0, (busy_seconds() - machine - (own_seconds(server) - own)) / wall)
    lines = [line for line in child.stdout.splitlines() if line.startswith("{")]
    if child.returncode or not lines:
        raise ChildError(f"{entry.program}.py gave no result in {entry.workload} {entry.mode} (see above)")
    return Repetition(entry.row, entry.name, number, float(json.loads(lines[-1])["value"]), foreign)


def own_seconds(server: Server) -> float:
    """Processor time of the children that ended and of PostgreSQL."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime + server.cpu_seconds()


def busy_seconds() -> float:
    """Processor time of everything on this machine since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def wait_until_quiet(timeout: float, limit: float = 0.15) -> bool:
    """Whether, within the timeout, all programs together used less than ``limit`` cores for half a second."""
    deadline = time.monotonic() + timeout
    while True:
        busy, clock = busy_seconds(), time.monotonic()
        time.sleep(0.5)
        if (busy_seconds() - busy) / (time.monotonic() - clock) < limit:
            return True
        if time.monotonic() > deadline:
            return False


def describe(server: Server) -> str:
    """What was measured on what: enough to repeat it."""
    on = ", ".join(f"{name}={server.setting(name)}" for name in SETTINGS if name != "max_connections")
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"{machine}; {python}; PostgreSQL {server.setting('server_version')} with {on}; {', '.join(found)}."


if __name__ == "__main__":
    main()
