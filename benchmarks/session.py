"""A session of measuring: every repetition a fresh process on a fresh database, its neighbours right after it.

All contestants of a workload play one after another before the next repetition begins, in turned order, so that a
ratio compares neighbours in time. The table goes to standard output, progress to standard error.
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
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from cores import second_core
from report import Repetition, Results, bars, figures
from server import SETTINGS, Server, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contest import Contest, Entry

HERE = Path(__file__).parent
PACKAGES = ("dbos", "absurd-sdk", "procrastinate", "langgraph", "langgraph-checkpoint-postgres", "psycopg")
SILENT = {"LANGSMITH_TRACING": "false", "PYTHONDONTWRITEBYTECODE": "1"}
CHILD_SECONDS = 600


def arguments(contest: Contest, text: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    workloads, names = contest.workloads, contest.contestants
    parser.add_argument("--reps", type=int, default=5, help="repetitions of each (default 5)")
    parser.add_argument("--only", type=_words(workloads), default=workloads, help=f"some of {','.join(workloads)}")
    parser.add_argument("--names", type=_words(names), default=list(names), help=f"some of {','.join(names)}")
    parser.add_argument("--size", type=float, default=1.0, help="do this share of each workload, to try it (default 1)")
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
    if not 0 < given.size <= 1:
        parser.error("--size must be more than 0 and at most 1")
    return given


def _words(known: Sequence[str]) -> Any:
    def words(text: str) -> list[str]:
        asked = text.split(",")
        unknown = [word for word in asked if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; there is {', '.join(known)}")
        return asked

    return words


def hold(contest: Contest, text: str | None, more: Callable[[Results], str] = lambda _: "") -> None:
    """Measure what the command line asks for, and print the tables.

    Args:
        text: the docstring of the script, for ``--help``.
        more: what to say below the tables.

    Raises:
        SystemExit: there was nothing to measure, or a repetition gave no result.
    """
    given = arguments(contest, text)
    entries = [entry for entry in contest.entries if entry.workload in given.only and entry.name in given.names]
    missing = sorted({entry.program for entry in entries if not (HERE / f"{entry.program}.py").exists()})
    for program in missing:
        print(f"benchmarks/{program}.py is not there: its column stays empty", file=sys.stderr)
    entries = [entry for entry in entries if entry.program not in missing]
    if not entries:
        raise SystemExit("benchmarks: nothing to measure")

    began = time.monotonic()
    repetitions: list[Repetition] = []
    failed: list[Entry] = []
    with postgres() as server:
        session = describe(server)
        for repetition in play(server, contest, entries, given, failed):
            repetitions.append(repetition)
            if given.json:
                with given.json.open("a") as file:
                    file.write(json.dumps(vars(repetition)) + "\n")
    if not repetitions:
        raise SystemExit("benchmarks: no repetition gave a result")
    results = Results(contest, repetitions)
    print(f"{session}\n\n{figures(results)}\n\n{bars(results)}\n")
    told = more(results)
    if told:
        print(told)
    size = "" if given.size == 1 else f"Only {given.size:g} of each workload: no figures to compare. "
    print(
        f"{size}Medians of {given.reps} (smallest … largest), ratios of neighbours in time; "
        f"{time.monotonic() - began:.0f} s in all; "
        f"other programs used up to {max(results.foreign):.2f} cores meanwhile."
    )
    if failed:
        raise SystemExit(f"benchmarks: {len(failed)} of the repetitions gave no result (see above)")


class ChildError(Exception):
    """A repetition ended without a measurement; the others go on."""


class SkippedError(Exception):
    """A contestant cannot play this here, and says why."""


def play(
    server: Server, contest: Contest, entries: list[Entry], given: argparse.Namespace, failed: list[Entry]
) -> Iterator[Repetition]:
    """Workload by workload: all contestants once, then again in turned order."""
    for workload in contest.workloads:
        field = [entry for entry in entries if entry.workload == workload]
        size = {"runs": 0, "steps": 0} | {
            name: count if count == 1 else max(2, round(count * given.size))
            for name, count in contest.sizes.get(workload, {}).items()
        }
        for number in range(given.reps):
            turn = number % len(field) if field else 0
            for entry in field[turn:] + field[:turn]:
                quiet = wait_until_quiet(given.quiet_timeout)
                try:
                    repetitions = repeat(server, entry, number, size)
                except (ChildError, subprocess.TimeoutExpired) as error:
                    print(f"benchmarks: {error}", file=sys.stderr, flush=True)
                    failed.append(entry)
                    continue
                except SkippedError as error:
                    print(f"benchmarks: {error}", file=sys.stderr, flush=True)
                    field.remove(entry)
                    continue
                note = "" if quiet else ", the machine was busy"
                for repetition in repetitions:
                    print(
                        f"{workload} {repetition.row[1]:5} {entry.name:10} {number + 1}/{given.reps}"
                        f"  {repetition.value:10.3f}  (others: {repetition.foreign:.2f} cores{note})",
                        file=sys.stderr,
                        flush=True,
                    )
                yield from repetitions


def repeat(server: Server, entry: Entry, number: int, size: dict[str, int]) -> list[Repetition]:
    """One repetition in a process and a database of its own; several when it measured more than one thing."""
    with server.database() as dsn:
        job: dict[str, Any] = {
            "workload": entry.workload,
            "mode": entry.mode,
            "dsn": dsn,
            **size,
            "server": {"pid": server.pid, "binaries": str(server.binaries), "log": str(server.log)},
            **entry.settings,
        }
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
    measured = json.loads(lines[-1])
    if "skipped" in measured:
        raise SkippedError(f"{entry.program}.py skips {entry.workload} {entry.row[1]}: {measured['skipped']}")
    rows = {entry.row: measured["value"]} | {(entry.workload, name): v for name, v in measured.get("also", {}).items()}
    return [Repetition(row, entry.name, number, float(value), foreign) for row, value in rows.items()]


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
    machine += f" (two processes of plain Python do {second_core():.2f} × the work of one)"
    python = f"Python {platform.python_version()}"
    return f"{machine}; {python}; PostgreSQL {server.setting('server_version')} with {on}; {', '.join(found)}."
