"""Steps in processes of their own: recorded, retried, timed and cancelled as any other step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import (
    DefinitionError,
    NonRetryableError,
    RunCancelled,
    RunFailed,
    StepFailed,
    StepTimeoutError,
    UncertainStepError,
)

from ..conftest import MakeContext, wait_until
from ..engine.workflows import FAST, declare
from . import work
from .conftest import Hang, wait_until_gone

ROOT = Path(__file__).parents[2]


# --- results ----------------------------------------------------------------------------------------------


def test_results_are_recorded_and_not_computed_again(make_ctx: MakeContext, tmp_path: Path) -> None:
    path = str(tmp_path / "calls")

    async def colours(event: Any, step: Any) -> Any:
        first = await step.run("first", work.note, path, executor="process")
        point = await step.run("point", work.flip, work.Point(1, y=2), executor="process")
        many = await step.map("many", work.flip, [work.Point(n, 0) for n in range(3)], executor="process")
        return first, point, many

    def blocking(event: Any, step: Any) -> Any:
        first = step.run("first", work.note, path, executor="process")
        point = step.run("point", work.flip, work.Point(1, y=2), executor="process")
        many = step.map("many", work.flip, [work.Point(n, 0) for n in range(3)], executor="process")
        return first, point, many

    ctx = make_ctx(always_replay=True, executors={"process": 2})
    for count, workflow in enumerate((declare(colours), declare(blocking)), 1):
        run = ctx.run(workflow)
        assert run.result() == (count, work.Point(2, 1), [work.Point(0, n) for n in range(3)])
        assert [(step.op, step.status) for step in run.timeline()][:2] == [("run", "completed")] * 2
        assert run.at("point").inputs == work.Point(1, 2)
        assert run.replay(workflow).ok
    assert len(Path(path).read_text().splitlines()) == 2


def test_the_function_knows_its_step(ctx: Context) -> None:
    async def ask(event: Any, step: Any) -> Any:
        here = await step.run("who", work.who)
        there = await step.run("who", work.who, executor="process")
        later = await step.run("who", work.who_later, executor="process")
        again = await step.run("again", work.until_attempt, 3, "raise", executor="process", retry=FAST)
        return here, there, later, again

    run = ctx.run(declare(ask))
    here, there, later, again = run.result()
    assert again == 3
    assert here["pid"] == os.getpid()
    assert there["pid"] == later["pid"] != os.getpid()  # warm: the same process
    assert [each["key"] for each in (here, there, later)] == ["who", "who#2", "who#3"]
    assert {each["run"] for each in (here, there, later)} == {run.id}
    assert there["attempt"] == 1
    assert len({each["idempotency_key"] for each in (here, there, later)}) == 3


def test_the_idempotency_key_is_that_of_a_step_in_this_process(ctx: Context) -> None:
    async def remote(event: Any, step: Any) -> Any:
        return await step.run("who", work.who, executor="process")

    async def local(event: Any, step: Any) -> Any:
        return await step.run("who", work.who)

    there = ctx.run(declare(remote), id="0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77").result()
    from dataflows_sdk.core.ids import idempotency_key, parse_id

    assert there["idempotency_key"] == idempotency_key(parse_id(there["run"]), "who")


def test_large_values_go_both_ways(ctx: Context) -> None:
    async def carry(event: Any, step: Any) -> Any:
        big = await step.run("big", bytes, 8_000_000, executor="process")
        return await step.run("length", len, big + b"x", executor="process")

    run = ctx.run(declare(carry))
    assert run.result() == 8_000_001
    assert run.at("length").inputs == "… (8000001 bytes)"  # shown is only what somebody may want to look at


def test_other_runs_go_on_meanwhile(make_ctx: MakeContext, tmp_path: Path) -> None:
    path = tmp_path / "go"
    ctx = make_ctx(executors={"process": 1})

    async def heavy(event: Any, step: Any) -> Any:
        return await step.run("wait", work.wait_for, str(path), executor="process")

    async def light(event: Any, step: Any) -> Any:
        return [await step.run("n", lambda n=n: n) for n in range(20)]

    slow = ctx.start(declare(heavy))
    assert ctx.run(declare(light), timeout="20s").result() == list(range(20))
    assert slow.refresh().status == "running"
    path.touch()
    assert slow.result(timeout="20s") == "done"


def test_no_more_processes_than_agreed(make_ctx: MakeContext, tmp_path: Path) -> None:
    ctx = make_ctx(executors={"process": 2})

    async def crowd(event: Any, step: Any) -> Any:
        return await step.map("one", partial(work.overlap, str(tmp_path)), [0.05] * 8, executor="process")

    assert max(ctx.run(declare(crowd)).result()) <= 2


# --- exceptions -------------------------------------------------------------------------------------------


def test_exceptions_keep_their_class(make_ctx: MakeContext) -> None:
    caught: list[Exception] = []

    async def fails(event: Any, step: Any) -> Any:
        for how in ("cause", "stock", "locked", "group"):
            try:
                await step.run(how, work.fail, how, executor="process", retry=df.NO_RETRY)
            except Exception as error:
                caught.append(error)
        await step.run("end", len, "")

    run = make_ctx().run(declare(fails))
    run.result()
    outer, stock, locked, group = caught
    assert (type(outer), str(outer), outer.__notes__) == (ValueError, "outer", ["a note"])
    assert isinstance(outer.__cause__, KeyError)
    assert isinstance(stock, work.OutOfStock)
    assert (stock.item, stock.left) == ("tea", 2)
    assert isinstance(locked, work.Locked)
    assert locked.code == 7
    assert isinstance(group, ExceptionGroup)
    assert [type(each) for each in group.exceptions] == [ValueError, FileNotFoundError]

    recorded = {step.key: step.error for step in run.timeline() if step.status == "failed"}
    assert "in fail" in str(recorded["cause"]["traceback"])  # where it happened, in the other process
    assert recorded["cause"]["cause"]["type"] == "KeyError"
    assert recorded["stock"]["type"].endswith("work:OutOfStock")


def test_what_may_not_be_tried_again_is_not(ctx: Context) -> None:
    async def fails(event: Any, step: Any) -> Any:
        await step.run("fail", work.fail, event.payload, executor="process", retry=FAST)

    workflow = declare(fails)
    for how in ("exit", "never"):
        with pytest.raises(StepFailed) as info:
            ctx.run(workflow, how).result()
        assert info.value.attempts == 1
        assert isinstance(info.value.__cause__, NonRetryableError)
    with pytest.raises(StepFailed) as info:
        ctx.run(workflow, "anything").result()
    assert info.value.attempts == 4


def test_secrets_are_masked_in_the_record(make_ctx: MakeContext) -> None:
    secret = "correct-horse-battery"
    ctx = make_ctx(redactor=df.Redactor(secret))

    async def leaks(event: Any, step: Any) -> Any:
        await step.run("leak", work.fail, secret, executor="process", retry=df.NO_RETRY)

    run = ctx.run(declare(leaks))
    (step,) = run.timeline()
    assert step.status == "failed"
    assert "token" in step.error["message"]
    assert secret not in str([event.data for event in run.events() if event.kind.startswith("step")])


# --- lost, late, cancelled --------------------------------------------------------------------------------


def test_a_killed_process_is_an_error_that_is_tried_again(ctx: Context) -> None:
    async def dies(event: Any, step: Any) -> Any:
        killed = await step.run("killed", work.until_attempt, 3, "kill", executor="process", retry=FAST)
        ended = await step.run("ended", work.until_attempt, 2, "exit", executor="process", retry=FAST)
        return killed, ended

    run = ctx.run(declare(dies))
    assert run.result() == (3, 2)
    killed, ended = run.timeline()
    assert [attempt.error["type"] for attempt in killed.failures] == ["dataflows_sdk.errors:WorkerLostError"] * 2
    assert "SIGKILL" in killed.failures[0].error["message"]
    assert "exit code 3" in ended.failures[0].error["message"]


def test_a_process_killed_from_outside_fails_nobody_else(make_ctx: MakeContext, hang: Hang) -> None:
    ctx = make_ctx(executors={"process": 2})

    async def hangs(event: Any, step: Any) -> Any:
        return await step.run("hang", work.hang, hang.path, 1, executor="process", retry=FAST)

    run = ctx.start(declare(hangs))
    pids = hang.pids()
    os.kill(pids[0], signal.SIGKILL)
    assert run.result(timeout="20s") == 2
    wait_until_gone(pids)  # also what its function had started


def test_an_idle_process_that_was_killed_is_replaced(make_ctx: MakeContext) -> None:
    ctx = make_ctx(executors={"process": 1})

    async def ask(event: Any, step: Any) -> Any:
        return (await step.run("who", work.who, executor="process", retry=df.NO_RETRY))["pid"]

    workflow = declare(ask)
    first = ctx.run(workflow).result()
    os.kill(first, signal.SIGKILL)
    wait_until_gone([first])
    assert ctx.run(workflow).result() != first


def test_one_that_dies_before_the_function_is_called_has_lost_nothing(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It looked alive when the step was sent: for a moment every process that is being killed does."""
    ctx, path = make_ctx(executors={"process": 1}), str(tmp_path / "calls")

    async def ask(event: Any, step: Any) -> Any:
        first = (await step.run("who", work.who, executor="process"))["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until_gone([first])
        return await step.run("count", work.note, path, executor="process", uncertain="fail", retry=df.NO_RETRY)

    monkeypatch.setattr("dataflows_sdk.executors.process._Worker.alive", True)
    assert ctx.run(declare(ask)).result() == 1


def test_a_timeout_kills_the_process(make_ctx: MakeContext, hang: Hang) -> None:
    ctx = make_ctx(executors={"process": 1})

    async def late(event: Any, step: Any) -> Any:
        await step.run("warm up", work.who, executor="process")
        with pytest.raises(StepTimeoutError, match=r"longer than its timeout of 1\.5 s; executor 'process'"):
            await step.run("hang", work.hang, hang.path, executor="process", timeout=1.5, retry=df.NO_RETRY)
        with pytest.raises(StepTimeoutError):
            await step.run("spin", work.spin, executor="process", timeout=0.2, retry=df.NO_RETRY)
        return await step.run("after", work.flip, work.Point(1, 2), executor="process")

    run = ctx.start(declare(late))
    pids = hang.pids()
    assert run.result(timeout="20s") == work.Point(2, 1)
    wait_until_gone(pids)


def test_waiting_for_a_process_is_not_counted(make_ctx: MakeContext, tmp_path: Path) -> None:
    ctx = make_ctx(executors={"process": 1})

    async def patient(event: Any, step: Any) -> Any:
        await step.run("warm up", work.who, executor="process")
        call = partial(work.overlap, str(tmp_path))
        return await step.map("one", call, [0.6] * 6, executor="process", timeout=3, retry=df.NO_RETRY)

    assert ctx.run(declare(patient)).result() == [1] * 6


@pytest.mark.parametrize("colour", ["async", "def"])
def test_a_cancel_kills_the_process(make_ctx: MakeContext, hang: Hang, colour: str) -> None:
    ctx = make_ctx()

    async def colours(event: Any, step: Any) -> Any:
        await step.run("hang", work.hang, hang.path, executor="process")

    def blocking(event: Any, step: Any) -> Any:
        step.run("hang", work.hang, hang.path, executor="process")

    run = ctx.start(declare(colours if colour == "async" else blocking))
    pids = hang.pids()
    run.cancel("enough")
    with pytest.raises(RunCancelled):
        run.result(timeout="20s")
    wait_until_gone(pids)


def test_the_loser_of_a_race_is_killed(make_ctx: MakeContext, hang: Hang) -> None:
    ctx = make_ctx(executors={"process": 2})

    async def race(event: Any, step: Any) -> Any:
        return await step.parallel(
            "race",
            {"hang": partial(work.hang, hang.path), "wait": partial(work.wait_for, str(go))},
            join="any",
            executor="process",
        )

    go = Path(hang.path + ".go")
    run = ctx.start(declare(race))
    pids = hang.pids()
    go.touch()
    assert run.result(timeout="20s") == {"wait": "done"}
    wait_until_gone(pids)


def test_a_lost_process_leaves_a_step_uncertain(ctx: Context) -> None:
    async def careful(event: Any, step: Any) -> Any:
        return await step.run(
            "once", work.until_attempt, 2, "kill", executor="process", retry=FAST, uncertain=event.payload
        )

    workflow = declare(careful)
    run = ctx.run(workflow, "fail")
    with pytest.raises(RunFailed) as failed:
        run.result()
    assert isinstance(failed.value.__cause__, UncertainStepError)

    asked = ctx.start(workflow, "ask")
    wait_until(lambda: asked.refresh().status == "waiting", "the run asks")
    asked.resolve("once", "fail")
    with pytest.raises(RunFailed, match="it was decided to fail it"):
        asked.result(timeout="20s")


# --- the end ----------------------------------------------------------------------------------------------


def test_closing_the_context_ends_its_processes(make_ctx: MakeContext, hang: Hang) -> None:
    ctx = make_ctx(executors={"process": 2})

    async def ask(event: Any, step: Any) -> Any:
        return (await step.run("who", work.who, executor="process"))["pid"]

    async def hangs(event: Any, step: Any) -> Any:
        await step.run("hang", work.hang, hang.path, executor="process")

    run = ctx.start(declare(hangs))
    pids = hang.pids()
    idle = ctx.run(declare(ask)).result()
    ctx.close()
    wait_until_gone([*pids, idle])
    assert make_ctx(work=False).get(run.id).status == "queued"  # handed back, for whoever goes on with it


PARENT = """
import sys
from functools import partial
import dataflows_sdk as df
from tests.executors import work

async def hangs(event, step):
    await step.parallel("both", {
        "busy": partial(work.hang, sys.argv[2]),
        "idle": partial(work.note_pid, sys.argv[2] + ".idle"),
    }, executor="process")

if __name__ == "__main__":
    ctx = df.connect(sys.argv[1], executors={"process": 2})
    ctx.run(df.Workflow("hangs", hangs))
"""


def test_no_process_outlives_a_killed_parent(database_url: str, tmp_path: Path, hang: Hang) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, str(script), database_url, hang.path], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        pids = hang.pids()
        note = Path(hang.path + ".idle")
        wait_until(lambda: note.exists() and note.read_text().endswith("\n"), "the other one has ended")
        pids.append(int(note.read_text()))
    finally:
        parent.kill()
        parent.wait()
    wait_until_gone(pids)


# --- notebooks, scripts -----------------------------------------------------------------------------------

MAIN = """
import os, sys
from dataclasses import dataclass
import dataflows_sdk as df

if BLOCKED:
    sys.modules["cloudpickle"] = None

@dataclass(frozen=True)
class Size:
    n: int

class Odd(Exception):
    pass

FACTOR = 3

def grow(size):
    if size.n < 0:
        raise Odd("below zero")
    return Size(size.n * FACTOR), os.getpid()

async def grows(event, step):
    size, pid = await step.run("grow", grow, Size(2), executor="process")
    assert type(size) is Size and pid != os.getpid()
    try:
        await step.run("odd", grow, Size(-1), executor="process", retry=df.NO_RETRY)
    except Odd as error:
        return size.n, str(error)

with df.connect(sys.argv[1]) as ctx:
    print(ctx.run(df.Workflow("grows", grows)).result())
"""


@pytest.mark.parametrize("blocked", [False, True])
def test_functions_of_a_script(database_url: str, tmp_path: Path, blocked: bool) -> None:
    script = tmp_path / "grow.py"
    script.write_text(MAIN.replace("BLOCKED", str(blocked)))
    done = subprocess.run(
        [sys.executable, str(script), database_url], capture_output=True, text=True, timeout=60, check=False
    )
    if blocked:
        assert "grow is defined in __main__" in done.stderr
        assert "pip install 'dataflows-sdk[process]'" in done.stderr
    else:
        assert done.stdout == "(6, 'below zero')\n", done.stderr


def test_what_cannot_travel_is_said_so(ctx: Context) -> None:
    async def stuck(event: Any, step: Any) -> Any:
        if event.payload == "there":
            return await step.run("send", len, ctx, executor="process", retry=FAST)
        return await step.run("back", work.unsendable, executor="process", retry=FAST)

    workflow = declare(stuck)
    with pytest.raises(StepFailed, match="its function or its arguments cannot be sent to executor 'process'") as info:
        ctx.run(workflow, "there").result()
    assert info.value.attempts == 1
    with pytest.raises(StepFailed, match="the result of step 'back', a lock, cannot be sent back") as info:
        ctx.run(workflow, "back").result()
    assert info.value.attempts == 1


# --- flows ------------------------------------------------------------------------------------------------


def test_nodes_of_a_flow(ctx: Context) -> None:
    flow = (
        df.flow("heavy")
        .code("there", work.who, executor="process")
        .map("each", abs, over=df.value([-1]), executor="process", after="there")
        .code("here", lambda each: (os.getpid(), each))
    )
    run = ctx.run(flow)
    outputs = {node: each["output"] for node, each in run.outputs()["steps"].items()}
    assert outputs["there"]["pid"] != os.getpid()
    assert outputs["here"] == (os.getpid(), [1])
    again = df.Flow.from_json(flow.to_json(), bindings=flow.bindings)
    assert again.nodes["there"].config["executor"] == "process"
    assert ctx.run(again).outputs()["steps"]["there"]["output"]["pid"] == outputs["there"]["pid"]


def test_nodes_with_steps_of_their_own_stay_here(ctx: Context) -> None:
    async def own(step: Any) -> Any:
        return await step.run("x", len, "x")

    with pytest.raises(RunFailed, match="node 'own' has steps of its own"):
        ctx.run(df.flow("owns").code("own", own, executor="process")).result()
    with pytest.raises(DefinitionError, match="node 'n': executor= is the name of one"):
        df.flow("typo").code("n", len, executor=4)  # type: ignore[arg-type]
