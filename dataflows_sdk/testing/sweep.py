"""The kill sweep: a workflow's process dies at every fault point in turn, is started again, and is compared.

    report = kill_sweep("tests/orders.py:main", databases)
    print(report)
    assert report.ok

``main(ctx)`` starts its run under a fixed id (so that the second start finds the first one's run) and returns a result.
First it runs undisturbed, and the fault points that it passes are counted. Then, in as many fresh databases, a process
is killed with SIGKILL at the k-th pass, and started again until ``main`` returns. Held against the undisturbed run are:

- the result, and what ``observe(ctx)`` of the same module returns (what must have happened exactly once);
- the effects noted by `record_effect`: none is missing or new, and none happened more often than one kill explains;
- no step that was recorded as completed when the process died ran again afterwards;
- no run is left under way, and none is quarantined.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DataflowsError, DefinitionError
from dataflows_sdk.store.database import Database
from dataflows_sdk.testing.child import VARIABLE as CHILD
from dataflows_sdk.testing.databases import TestDatabases
from dataflows_sdk.testing.effects import VARIABLE as EFFECTS
from dataflows_sdk.testing.effects import read_effects
from dataflows_sdk.testing.faults import ANY, check_point
from dataflows_sdk.testing.faults import VARIABLE as FAULT

#: a dead process's runs are taken over as soon as its lease ends
_CONNECT = {"lease": "500ms"}
_RESTARTS = 5


class SweepFailedError(DataflowsError):
    """The undisturbed run of a kill sweep did not end well, so there is nothing to compare with."""


@dataclass(slots=True)
class Case(ShownAsTable):
    """One kill.

    Attributes:
        kill: which pass, ``"any:17"``.
        died_at: the point's name; empty when the process ended before it came to that pass.
        restarts: processes that were needed after the kill.
        seconds: how long it took.
        problems: one line each; empty when all is as in the undisturbed run.
    """

    kill: str
    died_at: str = ""
    restarts: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SweepReport(ShownAsTable):
    """What a kill sweep found. Falsy when something is wrong; prints itself.

    Attributes:
        target: what was run.
        passes: how often the undisturbed run passed each point.
        result: what it returned.
        effects: how often each of its effects happened.
        cases: the kills.
    """

    target: str
    passes: Counter[str]
    result: Any
    effects: Counter[str]
    cases: list[Case]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Every case was as undisturbed, and at least one process really died."""
        return any(case.died_at for case in self.cases) and not any(case.problems for case in self.cases)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def failures(self) -> list[Case]:
        """The cases with problems."""
        return [case for case in self.cases if case.problems]

    def __str__(self) -> str:
        died = Counter(case.died_at for case in self.cases if case.died_at)
        spared = sum(not case.died_at for case in self.cases)
        head = f"kill sweep of {self.target}: {len(self.cases)} kills at {sum(self.passes.values())} passes, "
        lines = [f"{head}{len(self.failures)} with problems, {self.seconds:.1f} s"]
        lines += [f"  {point:<16} {died[point]:>3} of {self.passes[point]:>3} passes" for point in sorted(died)]
        if spared:
            lines.append(f"  {spared} processes ended before the pass that was to kill them")
        for case in self.failures:
            lines.append(f"  {case.kill} ({case.died_at or 'not reached'}), {case.restarts} restarts:")
            lines += [f"    {problem}" for problem in case.problems]
        return "\n".join(lines)

    __repr__ = __str__


def kill_sweep(
    target: str,
    databases: TestDatabases,
    *,
    point: str = ANY,
    every: int = 1,
    sample: int | None = None,
    seed: int = 0,
    processes: int = 2,
    timeout: Duration = "60s",
    connect: Mapping[str, Any] | None = None,
) -> SweepReport:
    """Kill a workflow's process at its fault points, one after the other, and compare; see the module.

    Args:
        target: ``"file.py:function"`` or ``"package.module:function"``; the function takes a context.
        databases: where each case gets a database of its own.
        point: only passes of this fault point; ``"any"`` for all.
        every: only every n-th pass.
        sample: only so many passes, drawn with *seed* (after *every*); the first and the last are always among them.
        seed: for the sample.
        processes: cases at a time.
        timeout: for each life of a process.
        connect: options for `df.connect` in the process; ``{"linger": "0s"}`` makes it suspend at every wait.

    Raises:
        DefinitionError: no such point, or a number out of range.
        SweepFailedError: the undisturbed run failed.
    """
    check_point(point)
    for name, number in (("every", every), ("processes", processes), ("sample", 1 if sample is None else sample)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise DefinitionError(f"kill_sweep: {name} is a whole number from 1 on, not {number!r}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dataflows-sweep-") as scratch:
        runner = _Runner(target, databases, Path(scratch), parse_duration(timeout).total_seconds(), dict(connect or {}))
        calm = runner.undisturbed()
        total = len(calm.passes) if point == ANY else calm.passes.count(point)
        picked = _pick(total, every, sample, seed)
        with ThreadPoolExecutor(processes) as pool:
            cases = list(pool.map(lambda nth: runner.case(f"{point}:{nth}", calm), picked))
    return SweepReport(target, Counter(calm.passes), calm.result, calm.effects, cases, time.monotonic() - begun)


def _pick(total: int, every: int, sample: int | None, seed: int) -> list[int]:
    passes = list(range(1, total + 1, every))
    if sample is None or sample >= len(passes):
        return passes
    ends = {passes[0], passes[-1]} if sample > 1 else {passes[0]}
    drawn = random.Random(seed).sample([n for n in passes if n not in ends], sample - len(ends))  # noqa: S311
    return sorted(ends | set(drawn))


@dataclass(slots=True)
class _Calm:
    """The undisturbed run."""

    result: Any
    observed: Any
    effects: Counter[str]
    passes: list[str]


class _Runner:
    def __init__(
        self, target: str, databases: TestDatabases, scratch: Path, timeout: float, connect: dict[str, Any]
    ) -> None:
        self.target = target
        self.databases = databases
        self.scratch = scratch
        self.timeout = timeout
        self.connect = {**_CONNECT, **connect}

    def undisturbed(self) -> _Calm:
        url = self.databases.create()
        try:
            place = self.scratch / "calm"
            place.mkdir()
            code, output = self._life(place, url, None)
            found = _read(place / "out")
            if found is None:
                raise SweepFailedError(f"{self.target} without any kill: exit status {code}\n{output}")
            if found["stranded"]:
                raise SweepFailedError(f"{self.target} without any kill left runs behind: {found['stranded']}")
            effects = _by_path(url, read_effects(place / "effects"))
            return _Calm(found["result"], found["observed"], effects, found["passes"])
        finally:
            self.databases.drop(url)

    def case(self, kill: str, calm: _Calm) -> Case:
        case = Case(kill)
        begun = time.monotonic()
        place = self.scratch / kill.replace(":", "-")
        place.mkdir()
        url = self.databases.create()
        try:
            self._run(case, place, url, calm)
        finally:
            self.databases.drop(url)
            case.seconds = time.monotonic() - begun
        return case

    def _run(self, case: Case, place: Path, url: str, calm: _Calm) -> None:
        code, output = self._life(place, url, case.kill)
        if (place / "died").exists():
            case.died_at = (place / "died").read_text()
        recorded: set[str] = set()
        if case.died_at:
            self._wait_for_silence(url)
            recorded = _completed(url)
        then = read_effects(place / "effects")
        while (found := _read(place / "out")) is None:
            if code == "timeout" or case.restarts == _RESTARTS or (case.restarts and code != 0):
                case.problems.append(f"the process ended with status {code} after {case.restarts} restarts: {output}")
                case.problems += [f"run {line}" for line in _standing(url)]
                return
            case.restarts += 1
            code, output = self._life(place, url, None)
        effects = read_effects(place / "effects")
        case.problems += _compare(calm, found, _by_path(url, effects))
        case.problems += [
            f"step {key} was recorded as completed and ran again"
            for key in sorted(recorded)
            if effects[key] > then[key]
        ]

    def _life(self, place: Path, url: str, kill: str | None) -> tuple[int | str, str]:
        """One process, from its start to its end: its exit status and the end of its output."""
        task = {
            "target": self.target,
            "url": url,
            "out": str(place / "out"),
            "died": str(place / "died"),
            "connect": self.connect,
            "patience": self.timeout / 2,
        }
        environment = {**os.environ, CHILD: json.dumps(task), EFFECTS: str(place / "effects")}
        environment.pop(FAULT, None)
        if kill is not None:
            environment[FAULT] = kill
        try:
            done = subprocess.run(  # noqa: PLW1510 - its status is what we want to know
                [sys.executable, "-X", "faulthandler", "-m", "dataflows_sdk.testing.child"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.timeout,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired as expired:
            said = expired.stdout or ""
            return "timeout", _tail(said.decode(errors="replace") if isinstance(said, bytes) else said)
        return done.returncode, _tail(done.stdout)

    def _wait_for_silence(self, url: str) -> None:
        """What the dead process had sent may still be committing."""
        deadline = time.monotonic() + 10
        while self.databases.connections(url) and time.monotonic() < deadline:
            time.sleep(0.005)


def _compare(calm: _Calm, found: dict[str, Any], effects: Counter[str]) -> list[str]:
    problems: list[str] = []
    if found["result"] != calm.result:
        problems.append(f"the result is {found['result']!r}, undisturbed it was {calm.result!r}")
    if found["observed"] != calm.observed:
        problems.append(f"observed is {found['observed']!r}, undisturbed it was {calm.observed!r}")
    problems += [f"stranded: {line}" for line in found["stranded"]]
    problems += [f"effect {key} is missing" for key in sorted(calm.effects.keys() - effects.keys())]
    problems += [f"effect {key} is new" for key in sorted(effects.keys() - calm.effects.keys())]
    problems += [
        f"effect {key} happened {effects[key]} times, undisturbed {calm.effects[key]} times"
        for key in sorted(effects.keys() & calm.effects.keys())
        if not calm.effects[key] <= effects[key] <= calm.effects[key] + 1
    ]
    return problems


def _completed(url: str) -> set[str]:
    """Steps that the journal has as completed, as `record_effect` names them."""
    rows = _query(
        url, "select run || '/' || key from dataflows.event where kind = 'step.completed' and key is not null"
    )
    return {row[0] for row in rows}


def _by_path(url: str, effects: Counter[str]) -> Counter[str]:
    """Effects by the places of their runs, ``/child/load``: ids of children have a time in them."""
    rows = _query(url, "select id::text, workflow, parent::text, parent_key from dataflows.run")
    runs = {row[0]: row for row in rows}

    def path(run: str) -> str:
        _, workflow, parent, key = runs[run]
        return "" if parent is None else f"{path(parent)}/{key or 'detached ' + workflow}"

    found: Counter[str] = Counter()
    for effect, count in effects.items():
        run, separator, key = effect.partition("/")
        found[f"{path(run)}/{key}" if separator and run in runs else effect] += count
    return found


def _standing(url: str) -> list[str]:
    """A line for every run, for the report."""
    rows = _query(
        url,
        "select r.id, r.workflow, r.status, r.epoch, r.waits, r.wake_at,"
        " (select e.kind || ' ' || coalesce(e.key, '') || ' ' || e.data::text from dataflows.event e"
        "  where e.run = r.id order by e.seq desc limit 1) from dataflows.run r order by r.created_at",
    )
    return [" ".join(str(value) for value in row)[:400] for row in rows]


def _query(url: str, text: LiteralString) -> list[tuple[Any, ...]]:
    database = Database(url)
    try:
        with database.connection() as connection:
            return connection.execute(text).fetchall()
    finally:
        database.close()


def _read(path: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.splitlines()[-lines:])
