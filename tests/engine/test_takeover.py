"""Who owns a run when processes stop, come back or die: leases, epochs, quarantine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import RunQuarantined
from dataflows_sdk.testing import read_effects

from ..conftest import MakeContext, wait_until
from . import takeover_child
from .takeover_child import ID, MAX_CRASHES, STEPS

CHILD = Path(takeover_child.__file__)


def child(role: str, url: str, effects: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), role, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATAFLOWS_EFFECTS": str(effects)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("role", ["sync", "async"])
def test_a_stopped_owner_that_comes_back_writes_nothing(
    role: str, make_ctx: MakeContext, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = tmp_path / "effects"
    monkeypatch.setenv("DATAFLOWS_EFFECTS", str(effects))
    process = child(role, database_url, effects)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        wait_until(lambda: len(read_effects(effects)) > 5, "it is under way")
        os.kill(process.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        frozen = read_effects(effects)

        ctx = make_ctx(lease="1s")
        run = ctx.get(ID)
        assert run.result("30s") == sum(range(STEPS))
        assert time.monotonic() - stopped_at > 0.5, "the lease was not waited for"
        journal = run.events()

        os.kill(process.pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        process.wait()
    # The zombie learns the result like everybody else, works on, and has added nothing to the journal.
    assert output.split("\n")[:2] == [str(sum(range(STEPS))), "hello"], errors[-3000:]
    assert process.returncode == 0, errors[-3000:]
    assert [(e.seq, e.kind, e.key) for e in run.events()] == [(e.seq, e.kind, e.key) for e in journal]
    epochs = epochs_of(ctx, ID)
    taken = next(n for n, (_, kind) in enumerate(epochs) if kind == "run.claimed")
    assert {epoch for epoch, _ in epochs[:taken]} == {1}
    assert {epoch for epoch, _ in epochs[taken:]} == {2}, "an event of the old epoch stands after the takeover"
    # It may have been in the middle of a step when it was stopped, and of no other.
    after = read_effects(effects)
    mine = {key for key in after if key.startswith(f"{process.pid} ")}
    assert len(mine - set(frozen)) <= 1
    done_here = {int(key.split()[1]) for key in after if key.startswith(f"{os.getpid()} ")}
    done_there = {int(key.split()[1]) for key in mine}
    assert done_here | done_there == set(range(STEPS))
    assert len(done_here & done_there) <= 1, "a recorded step ran again"


def epochs_of(ctx: Any, run: str) -> list[tuple[int, str]]:
    with ctx._database.connection() as connection:
        return list(
            connection.execute("select epoch, kind from dataflows.event where run = %s order by seq", (run,)).fetchall()
        )


@pytest.mark.slow
def test_a_run_that_kills_its_process_is_set_aside(make_ctx: MakeContext, database_url: str, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    for _ in range(3):
        process = child("poison", database_url, effects)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, errors[-3000:]
    process = child("poison", database_url, effects)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors[-3000:]
    assert output == "quarantined\n"
    assert read_effects(effects) == {"harmless": 1, "died": 3}

    ctx = make_ctx(work=False)
    run = ctx.get(ID)
    with pytest.raises(RunQuarantined, match=r"died 3 times without any progress.*'die'") as caught:
        run.result()
    assert caught.value.reason["code"] == "crash-loop"
    assert "resume" in str(run.explain())


@pytest.mark.slow
def test_progress_between_crashes_is_no_crash_loop(make_ctx: MakeContext, database_url: str, tmp_path: Path) -> None:
    """A process may be killed as often as it likes, as long as something is recorded each time."""
    effects = tmp_path / "effects"
    kills = 0
    process = child("async", database_url, effects)
    while kills < 5:
        seen = len(read_effects(effects))
        wait_until(
            lambda seen=seen, process=process: len(read_effects(effects)) >= seen + 3 or process.poll() is not None,
            "three more steps",
            30,
        )
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        process = child("async", database_url, effects)
    output, errors = process.communicate(timeout=60)
    assert str(sum(range(STEPS))) in output, errors[-3000:]
    assert kills > MAX_CRASHES
    counts = read_effects(effects)
    done = [int(key.split()[1]) for key in counts]
    assert set(done) == set(range(STEPS))
    assert len(done) <= STEPS + kills, "more steps ran again than there were kills"


@pytest.mark.slow
def test_two_contexts_on_one_database_share_runs_and_do_none_twice(make_ctx: MakeContext) -> None:
    counted: list[int] = []

    async def once(event: Any, step: Any) -> Any:
        await step.sleep("nap", "20ms")
        return await step.run("count", lambda: counted.append(event.raw) or event.raw)

    workflow = Workflow("once", once)
    one, two = make_ctx(linger="0s", concurrency=20), make_ctx(linger="0s", concurrency=20)
    two.register(workflow)
    runs = one.start_many(workflow, range(400))
    wait_until(lambda: len(one.runs(status="succeeded", limit=1000)) == 400, "all of them are over", 40)
    assert sorted(counted) == list(range(400))
    workers = {event.data["worker"] for run in runs for event in run.events() if event.kind == "run.claimed"}
    assert len(workers) == 2, "one of the two did everything"


@pytest.mark.slow
def test_who_waits_for_a_run_hears_of_an_end_that_came_elsewhere(make_ctx: MakeContext) -> None:
    """The run was in this process's memory when somebody began to wait for it, and ended in another's."""

    async def slow(event: Any, step: Any) -> int:
        await step.run("work", time.sleep, 1.3)
        await step.sleep("nap", "1s")
        return 7

    workflow = Workflow("slow", slow)
    one = make_ctx(linger="0s")
    run = one.start(workflow)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run.result, "20s")
        wait_until(lambda: run.status == "sleeping", "it sleeps")
        one._executor.stop()  # this one takes on nothing any more
        make_ctx().register(workflow)
        assert waiting.result(15) == 7
