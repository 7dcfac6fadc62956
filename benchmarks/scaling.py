"""Measure how dataflows-sdk behaves with size: resuming, a full database, memory, start-up.

    python benchmarks/scaling.py [resume] [history] [memory] [startup] [--reps 3] [--json FILE]

Prints a Markdown table for each. Every figure comes from a fresh process; see README.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from server import Server, postgres
from session import describe, wait_until_quiet

HERE = Path(__file__).parent
SQL = HERE / "sql"
CHILD_SECONDS = 900
PATTERN_STEPS = 3
RUNS, STEPS, LANES = 2000, 5, 256
CHUNK = 50_000

Record = dict[str, Any]


class Bench:
    """What the measurements share: the server, the options, and what was found so far."""

    def __init__(self, server: Server | None, options: argparse.Namespace) -> None:
        self._server = server
        self.options = options
        self.records: list[Record] = []

    @property
    def server(self) -> Server:
        assert self._server is not None
        return self._server

    def child(self, program: str, job: Record, *, quiet: bool = True) -> Record:
        """The measurement of a fresh process."""
        if quiet:
            wait_until_quiet(self.options.quiet_timeout)
        done = subprocess.run(
            [sys.executable, str(HERE / program), json.dumps(job)],
            stdout=subprocess.PIPE, text=True, timeout=CHILD_SECONDS, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise SystemExit(f"benchmarks: {program} gave no result for {job} (see above)")
        measured: Record = json.loads(lines[-1])
        return measured

    def keep(self, what: str, measured: Record, **labels: Any) -> Record:
        record = {"what": what, **labels, **measured}
        self.records.append(record)
        shown = " ".join(f"{name}={value}" for name, value in labels.items())
        print(f"{what} {shown}: {measured['value']:.4f}", file=sys.stderr, flush=True)
        return record


def job(workload: str, mode: str, dsn: str, *, steps: int = STEPS, runs: int = 1, **settings: Any) -> Record:
    return {"workload": workload, "mode": mode, "dsn": dsn, "steps": steps, "runs": runs, **settings}


def statement(name: str) -> bytes:
    return (SQL / f"{name}.sql").read_bytes()


# --- a run with a long past -------------------------------------------------------------------------------


def resume(bench: Bench) -> list[str]:
    """Time from the claim of a run to its first step that is not recorded yet."""
    sizes: list[int] = bench.options.sizes
    found: dict[tuple[str, int], list[float]] = {}
    with bench.server.database() as dsn:
        for mode in ("async", "sync"):
            pattern = bench.child(
                "ours_scaling.py", job("pattern", mode, dsn, steps=PATTERN_STEPS, of="resumable"), quiet=False
            )
            for number in range(bench.options.reps):
                for steps in sizes:
                    run = str(uuid4())
                    with psycopg.connect(dsn, autocommit=True) as connection:
                        connection.execute(
                            statement("clone_resumable"), {"like": pattern["run"], "id": run, "steps": steps}
                        )
                        connection.execute("analyze dataflows.event")
                        connection.execute("checkpoint")
                    measured = bench.child("ours_scaling.py", job("resume", mode, dsn, run=run))
                    bench.keep("resume", measured, mode=mode, steps=steps, rep=number)
                    found.setdefault((mode, steps), []).append(measured["value"])
    lines = ["| resume: claim to first new step | mode | s | µs per recorded step |", "| --- | --- | ---: | ---: |"]
    for (mode, steps), values in found.items():
        median = statistics.median(values)
        lines.append(f"| {steps:,} recorded steps | {mode} | {spread(values, 3)} | {median / steps * 1e6:.1f} |")
    return lines


# --- a database full of finished runs ---------------------------------------------------------------------


def history(bench: Bench) -> list[str]:
    """W2 on top of finished runs, and on an empty database right before it."""
    finished: int = bench.options.finished
    rates: dict[str, list[float]] = {"empty": [], "full": []}
    with bench.server.database() as full:
        began = time.monotonic()
        fill(bench, full, finished)
        with psycopg.connect(full, autocommit=True) as connection:
            row = connection.execute("select pg_database_size(current_database())").fetchone()
        assert row is not None
        size = row[0] / 2**30
        print(f"history: filled in {time.monotonic() - began:.0f} s, {size:.1f} GiB", file=sys.stderr, flush=True)
        for number in range(bench.options.reps):
            for name in ("empty", "full"):
                with bench.server.database() as empty:
                    w2 = job("W2", "async", full if name == "full" else empty, runs=RUNS, concurrency=LANES)
                    measured = bench.child("ours.py", w2)
                rates[name].append(bench.keep("history", measured, database=name, rep=number)["value"])
    ratios = [empty / full for empty, full in zip(rates["empty"], rates["full"], strict=True)]
    return [
        f"| {RUNS:,} runs of {STEPS} steps | runs/s | times as long |",
        "| --- | ---: | ---: |",
        f"| empty database | {spread(rates['empty'], 0)} | |",
        f"| {finished:,} finished runs ({size:.1f} GiB) | {spread(rates['full'], 0)} | {spread(ratios, 2)} |",
    ]


def fill(bench: Bench, dsn: str, finished: int) -> None:
    """Finished runs, multiplied from one that the engine ran."""
    pattern = bench.child("ours_scaling.py", job("pattern", "async", dsn, of="five"), quiet=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for before in range(finished, 0, -CHUNK):
            count = min(CHUNK, before)
            # seconds ago: the oldest first, so that ids go up as they would have
            connection.execute(
                statement("clone_finished"), {"like": pattern["run"], "count": count, "before": before - count + 60}
            )
            print(f"history: {finished - before + count:,} runs written", file=sys.stderr, flush=True)
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")


# --- memory -----------------------------------------------------------------------------------------------


def memory(bench: Bench) -> list[str]:
    """Bytes per run in each standing, by the process's resident size and by what Python allocated."""
    lines = [
        f"| memory per run ({RUNS:,} more runs) | resident | allocated by Python |",
        "| --- | ---: | ---: |",
    ]
    for kind, title in (
        ("running", "running: in a step that awaits"),
        ("waiting", "waiting in memory for an event"),
        ("suspended", "suspended"),
    ):
        cells = []
        for traced in (False, True):
            values = []
            for number in range(1 if traced else bench.options.reps):
                with bench.server.database() as dsn:
                    measured = bench.child(
                        "ours_scaling.py", job("memory", "async", dsn, runs=RUNS, kind=kind, traced=traced), quiet=False
                    )
                bench.keep("memory", measured, kind=kind, traced=traced, rep=number)
                values.append(measured["value"] / 1000)
            cells.append(f"{spread(values, 1)} kB")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


# --- start-up ---------------------------------------------------------------------------------------------


def startup(bench: Bench) -> list[str]:
    """``import dataflows_sdk``, and ``connect()`` without an address on a directory that is there."""
    lines = ["| start-up | s |", "| --- | ---: |"]
    bare = [wall("pass") for _ in range(5)]
    imports = [wall("import dataflows_sdk") for _ in range(2 + 2 * bench.options.reps)][2:]
    own = [import_seconds() for _ in range(bench.options.reps)]
    bench.keep("startup", {"value": statistics.median(own), "walls": imports, "bare": bare}, step="import")
    lines.append(f"| `import dataflows_sdk`, by -X importtime | {spread(own, 3)} |")
    extra = [seconds - statistics.median(bare) for seconds in imports]
    lines.append(f"| … whole process, beyond `python -c pass` ({statistics.median(bare):.3f}) | {spread(extra, 3)} |")

    home = Path(tempfile.mkdtemp(prefix="dfstart-"))
    try:
        there = job("connect", "sync", "", directory=str(home / "data"))
        try:
            bench.child("ours_scaling.py", there, quiet=False)
        except SystemExit:
            return [*lines, "| `connect()` embedded | skipped: it does not work here (see above) |"]
        stopped, running = [], []
        for _ in range(bench.options.reps):
            wait_until_stopped(home / "data")
            stopped.append(bench.child("ours_scaling.py", there)["value"])
            with holder(home / "data"):
                running.append(bench.child("ours_scaling.py", there)["value"])
        bench.keep("startup", {"value": statistics.median(stopped), "all": stopped}, step="connect, stopped")
        bench.keep("startup", {"value": statistics.median(running), "all": running}, step="connect, running")
        lines.append(f"| `connect()` embedded, server stopped | {spread(stopped, 3)} |")
        lines.append(f"| `connect()` embedded, server running | {spread(running, 3)} |")
    finally:
        wait_until_stopped(home / "data")
        shutil.rmtree(home, ignore_errors=True)
    return lines


def wall(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
    return time.perf_counter() - began


def import_seconds() -> float:
    """Cumulative time of the package in the report of -X importtime."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import dataflows_sdk"],
        check=True, capture_output=True, text=True, cwd="/",
    )  # fmt: skip
    for line in done.stderr.splitlines():
        fields = [field.strip() for field in line.removeprefix("import time:").split("|")]
        if fields[-1] == "dataflows_sdk":
            return int(fields[1]) / 1e6
    raise SystemExit("benchmarks: -X importtime does not mention dataflows_sdk")


class holder:  # noqa: N801 - reads as a word after `with`
    """Another process that keeps the server of a directory running."""

    _CODE = (
        "import sys, dataflows_sdk as df\n"
        "ctx = df.connect(directory=sys.argv[1])\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()"
    )

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._CODE, str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()


def wait_until_stopped(directory: Path, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(directory.glob("**/postmaster.pid")):
        time.sleep(0.05)


# --- all of it --------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Bench], list[str]]] = {
    "resume": resume,
    "history": history,
    "memory": memory,
    "startup": startup,
}


def spread(values: Iterable[float], digits: int) -> str:
    given = sorted(values)
    middle = f"{statistics.median(given):,.{digits}f}"
    if len(given) == 1:
        return middle
    return f"{middle} ({given[0]:,.{digits}f} … {given[-1]:,.{digits}f})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of {', '.join(PARTS)} (default all)")
    parser.add_argument("--reps", type=int, default=3, help="repetitions of each (default 3)")
    parser.add_argument("--finished", type=int, default=1_000_000, help="finished runs of history (default 1,000,000)")
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1_000, 10_000, 100_000],
        help="recorded steps of resume (default 1000,10000,100000)",
    )  # fmt: skip
    parser.add_argument("--quiet-timeout", type=float, default=20, help="seconds to wait for other programs to rest")
    parser.add_argument("--json", type=Path, help="also write every measurement to this file, one JSON line each")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; there is {', '.join(PARTS)}")
    if given.reps < 1 or given.finished < 1 or min(given.sizes) < 1:
        parser.error("--reps, --finished and --sizes are at least 1")
    return given


def main() -> None:
    given = arguments()
    parts = given.parts or list(PARTS)
    if parts == ["startup"]:
        measure(Bench(None, given), parts)
        return
    with postgres() as server:
        print(describe(server), flush=True)
        measure(Bench(server, given), parts)


def measure(bench: Bench, parts: list[str]) -> None:
    for part in parts:
        print("\n" + "\n".join(PARTS[part](bench)), flush=True)
        if bench.options.json:
            with bench.options.json.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in bench.records)
            bench.records.clear()


if __name__ == "__main__":
    main()
