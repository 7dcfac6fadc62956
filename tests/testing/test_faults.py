"""Fault points: counted, and died at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.engine import faults
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.testing import (
    TestDatabases,
    arm_from_environment,
    count_points,
    crash_at,
    read_effects,
    record_effect,
)

from ..conftest import MakeContext


def test_points_are_counted_in_the_order_in_which_they_are_passed(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    async def two(event: Any, step: Any) -> None:
        await step.run("one", lambda: 1)
        await step.run("two", lambda: 2)

    with count_points() as passes:
        ctx.run(df.Workflow("two", two)).result()
    assert passes.counts["step.begin"] == passes.counts["step.ran"] == 2
    assert passes.order.index("run.created") < passes.order.index("step.begin") < passes.order.index("run.finishing")
    assert set(passes.order) <= set(faults.POINTS)
    assert "step.ran 2" in repr(passes)
    seen = len(passes)
    ctx.run(df.Workflow("two", two)).result()
    assert len(passes) == seen, "outside of the block nothing is counted"


CRASH = """
import sys, threading
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.testing import arm_from_environment
assert arm_from_environment()
for n in range(1, 6):
    print(n, flush=True)
    fault("step.begin")
    fault("commit.sent")
print("over", flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "last"),
    [("step.begin:3", "3"), ("commit.sent", "1"), ("any:4", "2"), ("step.begin:9", "over"), ("undo.begin", "over")],
)
def test_a_process_dies_at_the_pass_that_was_named(fault: str, last: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH],
        env={**os.environ, "DATAFLOWS_FAULT": fault},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split()[-1] == last, done.stderr
    assert done.returncode == (0 if last == "over" else -signal.SIGKILL)


@pytest.mark.parametrize("text", ["step.beginn", "step.begin:", "step.begin:x", "step.begin:0", ":3", "step.begin:-1"])
def test_bad_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOWS_FAULT", text)
    with pytest.raises(DefinitionError):
        arm_from_environment()
    assert faults._hook is None


def test_nothing_is_armed_when_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLOWS_FAULT", raising=False)
    assert arm_from_environment() is False
    monkeypatch.setenv("DATAFLOWS_FAULT", "any:1")
    assert faults._hook is None, "the library's core reads no environment variable"


@pytest.mark.parametrize("nth", [0, -1, 1.5, True, "2"])
def test_bad_counts(nth: Any) -> None:
    with pytest.raises(DefinitionError, match="counted from 1 on"):
        crash_at("step.begin", nth)


def test_effects_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_ctx: MakeContext) -> None:
    file = tmp_path / "effects"
    assert read_effects(file) == {}
    monkeypatch.setenv("DATAFLOWS_EFFECTS", str(file))
    record_effect("a\nb")
    record_effect("a\nb")

    async def noted(event: Any, step: Any) -> None:
        await step.run("note", record_effect)

    run = make_ctx().run(df.Workflow("noted", noted))
    run.result()
    assert read_effects(file) == {"a\nb": 2, f"{run.id}/note": 1}
    with pytest.raises(DefinitionError, match="needs a key"):
        record_effect()
    monkeypatch.delenv("DATAFLOWS_EFFECTS")
    with pytest.raises(DefinitionError, match="DATAFLOWS_EFFECTS"):
        record_effect("a")


def test_databases_are_apart_and_go(dataflows_databases: TestDatabases) -> None:
    one, other = dataflows_databases.create(), dataflows_databases.create()
    with df.connect(one) as ctx:
        ctx.run(df.Workflow("trivial", trivial)).result()
        assert len(ctx.runs()) == 1
    with df.connect(other) as ctx:
        assert len(ctx.runs()) == 0
    assert dataflows_databases.connections(one) <= 5
    dataflows_databases.drop(one)
    dataflows_databases.drop(other)
    with pytest.raises(df.errors.StoreUnavailableError, match="does not exist"):
        df.connect(one)
    with pytest.raises(ValueError, match="was not made by this class"):
        dataflows_databases.drop(dataflows_databases.url("dataflows"))


async def trivial(event: Any, step: Any) -> int:
    return int(await step.run("one", lambda: 1))
