"""A deploy changes the code under runs in flight, with real workers before and after it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DefinitionError, RunQuarantined
from dataflows_sdk.runs import Run

from ..cli.conftest import command, environment
from ..conftest import MakeContext, wait_until

CODE = """
import os
import dataflows_sdk as df

def note(text):
    with open("calls.txt", "a") as file:
        print(text, file=file)
    return text

@df.workflow("same")
async def same(event, step):
    await step.run("a", note, "same a")
    await step.wait_for_event("go")
    return await step.run("after", note, {after!r})

@df.workflow("order")
async def order(event, step):
    await step.run("a", note, "order a")
    {middle}
    await step.wait_for_event("go")
    return {version!r}
"""
BEFORE = {"after": "old", "middle": 'await step.run("b", note, "order b")', "version": "one"}
AFTER = {"after": "new", "middle": 'await step.run("c", note, "order c")', "version": "two"}
GUARDED = {
    "after": "new",
    "middle": 'await step.run("c" if await step.patched("c") else "b", note, "order c or b")',
    "version": "three",
}


@pytest.fixture
def deploy(tmp_path: Path, database_url: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``deploy(BEFORE)``: a worker process with this code."""
    made: list[subprocess.Popen[bytes]] = []

    def start(code: dict[str, str], queue: str | None = None) -> subprocess.Popen[bytes]:
        (tmp_path / "code_of_order.py").write_text(CODE.format(**code))
        chosen = [] if queue is None else ["--queue", queue]
        log = tmp_path / f"worker-{len(made)}.log"
        with log.open("wb") as output:
            made.append(
                subprocess.Popen(
                    command("worker", "code_of_order", *chosen),
                    cwd=tmp_path,
                    env=environment(database_url, PYTHONDONTWRITEBYTECODE="1"),
                    stdout=output,
                    stderr=output,
                )
            )
        wait_until(lambda: "ready: " in log.read_text(), "the worker is ready", 60)
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.wait(20)


def named(name: str) -> Workflow:
    async def elsewhere(event: Any, step: Any) -> None: ...

    return Workflow(name, elsewhere)


def test_runs_in_flight_over_a_deploy(
    make_ctx: MakeContext, deploy: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ctx = make_ctx(work=False)
    old = deploy(BEFORE)
    compatible = ctx.start("same")
    orders = [ctx.start("order") for _ in range(4)]
    wait_until(lambda: all(run.status == "waiting" for run in [compatible, *orders]), "they wait", 30)
    old.terminate()
    assert old.wait(60) == 0

    new = deploy(AFTER)
    for run in [compatible, *orders]:
        run.send_event("go")
    # compatible: it goes on where it was, with the code of now
    assert compatible.result(timeout=30) == "new"
    for run in orders:
        with pytest.raises(RunQuarantined, match="asks for step 'c' where 'b' is recorded"):
            run.result(timeout=30)
    explanation = str(orders[0].explain())
    assert "recorded: b" in explanation
    assert "asked: c" in explanation
    with pytest.raises(DefinitionError, match="neither this process nor a live worker has version"):
        orders[0].resume(version="recorded")

    # pin: a worker with the code of then goes on with it, also beside one with the code of now
    past = deploy(BEFORE)
    wait_until(lambda: _can_resume(orders[0]), "somebody has the recorded version")
    assert orders[0].result(timeout=30) == "one"
    past.terminate()
    past.wait(60)
    new.terminate()
    new.wait(60)

    # patch: the code knows what older runs did
    deploy(GUARDED)
    orders[1].resume()
    assert orders[1].result(timeout=30) == "three"
    # fork: again from the step that changed, on the code of now
    fork = ctx.get(orders[2].id).fork(at="b", workflow=named("order"))
    wait_until(lambda: fork.status == "waiting", "the fork waits", 30)
    fork.send_event("go")
    assert fork.result(timeout=30) == "three"
    assert orders[3].status == "quarantined"
    calls = (tmp_path / "calls.txt").read_text().split("\n")
    assert (calls.count("same a"), calls.count("order a"), calls.count("order b")) == (1, 4, 4)
    assert calls.count("order c or b") == 1  # of the fork


def _can_resume(run: Run) -> bool:
    try:
        run.resume(version="recorded")
    except DefinitionError:
        return False
    return True


def test_a_run_that_is_pinned_waits_for_its_version(
    make_ctx: MakeContext, deploy: Callable[..., subprocess.Popen[bytes]]
) -> None:
    ctx = make_ctx(work=False)
    old = deploy(BEFORE)
    run = ctx.start("order")
    wait_until(lambda: run.status == "waiting", "it waits", 30)
    beside = deploy(AFTER)
    old.kill()
    old.wait(20)
    run.send_event("go")
    wait_until(lambda: run.status == "quarantined", "it does not fit", 30)
    again = deploy(BEFORE)
    wait_until(lambda: _can_resume(run) or run.status == "succeeded", "it is pinned", 30)
    assert run.result(timeout=30) == "one"
    assert beside.poll() is None
    assert again.poll() is None
