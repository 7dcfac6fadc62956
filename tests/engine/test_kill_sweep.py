"""SIGKILL at the engine's fault points: afterwards everything is as if nothing had happened.

By default a seeded sample of the passes; ``DATAFLOWS_SWEEP=all`` kills at every one (some minutes), a number at
so many.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.testing import TestDatabases, kill_sweep
from dataflows_sdk.testing.sweep import SweepFailedError

from ..conftest import Sweep, lingers
from .every_type import EXPECTED

HERE = Path(__file__).parent


MAINS = ["main_async", "main_sync", "main_dag", "main_undo", "main_undo_sync"]
#: runs that stay in memory while they wait, and runs that are let go of; each program with both where time is given
LINGERS = ["1s", "0s"]
PLAYED = [
    pytest.param(main, linger, id=f"{main}-{'in-memory' if linger == '1s' else 'suspending'}")
    for number, main in enumerate(MAINS)
    for linger in (LINGERS if "DATAFLOWS_SWEEP" in os.environ else [LINGERS[number % 2]])
]


@pytest.mark.parametrize(("main", "linger"), PLAYED)
def test_every_verb_survives_a_kill_at_every_point(main: str, linger: str, sweep: Sweep) -> None:
    report = sweep(HERE / "every_verb.py", main, linger=linger, seed=hash_of(main, linger))
    assert report.passes["commit.sent"] > 10
    assert report.passes["run.suspended"] > 0 or linger == "1s"


@pytest.mark.parametrize("linger", lingers(1))
def test_every_node_type_survives_a_kill_at_every_point(linger: str, sweep: Sweep) -> None:
    report = sweep(HERE / "every_type.py", "main_types", linger=linger, seed=hash_of("types", linger), timeout="60s")
    assert report.result == EXPECTED
    assert report.passes["commit.sent"] > 10


def hash_of(*texts: str) -> int:
    """The same in every process, unlike hash()."""
    return sum(ord(sign) * (n + 1) for n, sign in enumerate("/".join(texts)))


@pytest.mark.slow
def test_the_sweep_notices_what_it_is_there_for(tmp_path: Path, dataflows_databases: TestDatabases) -> None:
    """A workflow with an effect outside of its steps, and one whose result depends on the process."""
    bad = tmp_path / "bad.py"
    bad.write_text(BAD)
    report = kill_sweep(f"{bad}:main", dataflows_databases, point="commit.done", processes=2)
    assert not report.ok
    problems = "\n".join(problem for case in report.failures for problem in case.problems)
    assert "the result is" in problems
    assert "effect outside happened" in problems
    assert "bad.py:main" in str(report)


BAD = """
import os
import dataflows_sdk as df
from dataflows_sdk.testing import record_effect

@df.workflow("kit-bad")
def bad(event, step):
    born = step.run("born", os.getpid)
    record_effect("outside")
    step.run("other", lambda: 1)
    record_effect("outside")
    step.run("another", lambda: 1)
    return born == os.getpid()

def main(ctx):
    return ctx.start(bad, id="0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77").result("30s")
"""


def test_a_target_that_fails_by_itself_is_no_sweep(tmp_path: Path, dataflows_databases: TestDatabases) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def main(ctx):\n    raise LookupError('nothing here')\n")
    with pytest.raises(SweepFailedError, match="nothing here"):
        kill_sweep(f"{broken}:main", dataflows_databases)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"point": "step.beginn"}, "no fault point 'step.beginn'"),
        ({"every": 0}, "every is a whole number from 1 on, not 0"),
        ({"sample": -1}, "sample is a whole number"),
        ({"processes": 1.5}, "processes is a whole number"),
    ],
)
def test_bad_options(options: dict[str, object], said: str, dataflows_databases: TestDatabases) -> None:
    with pytest.raises(DefinitionError, match=said):
        kill_sweep("x.py:main", dataflows_databases, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["main", "nowhere.py:main", "no_such_module_at_all:main", ":main", "x.py:"])
def test_bad_targets(target: str) -> None:
    from dataflows_sdk.testing.child import load_target

    with pytest.raises(DefinitionError, match="target"):
        load_target(target)
