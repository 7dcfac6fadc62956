"""``dataflows worker`` as processes: taking on, handing back, dying, being replaced."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataflows_sdk.context import Context
from dataflows_sdk.engine.definitions import Workflow

from ..conftest import MakeContext, wait_until
from .conftest import Dataflows, command, environment

FLOWS = """
import os, signal, threading, time
import dataflows_sdk as df

@df.workflow("who")
async def who(event, step):
    return await step.run("who", os.getpid)

@df.workflow("slow")
def slow(event, step):
    def work(number):
        open(f"began-{event.payload}-{number}-{os.getpid()}", "w").close()
        time.sleep(0.4)
        return number
    return [step.run(f"part {number}", work, number) for number in range(6)]

@df.workflow("stuck")
def stuck(event, step):
    step.run("wait", time.sleep, 600)

@df.workflow("told")
def told(event, step):
    # the system may give a signal to any thread; this one runs steps
    step.run("tell", lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))

@df.workflow("age")
async def age(event, step):
    return await step.run("age", lambda: 1)
"""


class Started:
    """A worker as a process."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        self.folder = folder
        self.log = folder / f"worker-{os.urandom(4).hex()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command("worker", *arguments), cwd=folder, env=environment(url), stdout=log, stderr=log
            )

    def ready(self, times: int = 1) -> Started:
        wait_until(lambda: self.log.read_text().count("ready: ") >= times, f"it is ready {times} times", 60)
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def children(self) -> list[psutil.Process]:
        return [
            child for child in psutil.Process(self.process.pid).children() if child.status() != psutil.STATUS_ZOMBIE
        ]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(FLOWS)
    return tmp_path


@pytest.fixture
def workers(place: Path, database_url: str) -> Iterator[Any]:
    made: list[Started] = []

    def start(*arguments: str) -> Started:
        made.append(Started(place, database_url, *arguments))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            family = psutil.Process(each.process.pid).children(recursive=True)
            each.process.kill()
            each.process.wait(20)
            for child in family:
                if child.is_running():
                    child.kill()


def named(name: str) -> Workflow:
    """A workflow of which this process knows no more than the name."""

    async def elsewhere(event: Any, step: Any) -> None: ...

    return Workflow(name, elsewhere)


def starter(make_ctx: MakeContext) -> Context:
    return make_ctx(work=False)


def test_a_worker_takes_on_runs_and_says_what_it_knows(make_ctx: MakeContext, workers: Any) -> None:
    ctx = starter(make_ctx)
    run = ctx.start(named("who"))
    assert "no worker is alive" in str(run.explain())
    worker = workers("jobs", "--concurrency", "10").ready()
    assert run.result(timeout=30) == worker.process.pid
    (info,) = [info for _, info in ctx._read("queues", "workers")]
    assert {"who", "slow", "stuck", "age"} <= set(info["workflows"])
    assert (info["queues"], info["concurrency"], info["pid"]) == (None, 10, worker.process.pid)
    assert worker.end() == 0
    assert "ready: age, slow, stuck, told, who; from all queues" in worker.log.read_text()
    assert ctx._read("queues", "workers") == []


def test_a_worker_that_is_told_to_stop_hands_back_what_it_does(
    make_ctx: MakeContext, workers: Any, place: Path
) -> None:
    ctx = starter(make_ctx)
    run = ctx.start(named("slow"), "x")
    first = workers("jobs").ready()
    wait_until(lambda: list(place.glob("began-x-1-*")), "it is in its second step", 30)
    assert first.end() == 0
    events = run.events()
    assert (events[-1].kind, events[-1].data["status"]) == ("run.suspended", "queued")
    assert run.status == "queued"
    second = workers("jobs").ready()
    assert run.result(timeout=30) == list(range(6))
    # no step ran twice, no attempt was burnt
    assert len(list(place.glob("began-x-*"))) == 6
    assert all(event.data.get("attempt", 1) == 1 for event in run.events())
    assert not [event for event in run.events() if event.data.get("why") == "lost"]
    assert second.end(signal.SIGINT) == 0


def test_a_second_signal_does_not_wait_for_steps(make_ctx: MakeContext, workers: Any) -> None:
    ctx = starter(make_ctx)
    run = ctx.start(named("stuck"))
    worker = workers("jobs", "--grace", "300s").ready()
    # a run that was claimed and has no step yet is handed back at once
    wait_until(lambda: any(event.kind == "step.started" for event in run.events()), "its step is under way")
    worker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "handing the runs back" in worker.log.read_text(), "it heard")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.5)
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(30)
    wait_until(lambda: run.status == "queued", "it was handed back")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_a_signal_is_heard_whatever_thread_gets_it(make_ctx: MakeContext, workers: Any) -> None:
    ctx = starter(make_ctx)
    worker = workers("jobs").ready()
    run = ctx.start(named("told"))
    worker.process.wait(30)
    assert "got SIGTERM: handing the runs back" in worker.log.read_text()
    assert run.status in ("queued", "succeeded")


def test_a_worker_of_one_queue(make_ctx: MakeContext, workers: Any) -> None:
    ctx = starter(make_ctx)
    mine, other = ctx.start(named("who"), queue="mails"), ctx.start(named("who"))
    workers("jobs", "--queue", "mails", "-q", "letters").ready()
    mine.result(timeout=30)
    assert other.status == "queued"


def test_a_supervisor_starts_dead_workers_again(make_ctx: MakeContext, workers: Any) -> None:
    ctx = starter(make_ctx)
    worker = workers("jobs", "--processes", "2").ready(2)
    first = worker.children()
    assert len(first) == 2
    first[0].kill()
    worker.ready(3)
    assert ctx.start(named("who")).result(timeout=30) in {child.pid for child in worker.children()}
    assert "ended with SIGKILL" in worker.log.read_text()
    assert worker.end() == 0
    psutil.wait_procs(first, timeout=20)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in first)


def test_two_workers_share_many_runs_and_run_none_twice(make_ctx: MakeContext, workers: Any, place: Path) -> None:
    ctx = starter(make_ctx)
    many = 5_000
    for lot in range(0, many, 500):
        ctx.start_many(named("who"), range(lot, lot + 500))
    worker = workers("jobs", "--processes", "2").ready(2)
    wait_until(lambda: not ctx.runs(status=["queued", "running"], limit=1), "all are over", 120)
    kinds = dict(ctx.sql("select kind, count(*) from events group by kind").fetchall())
    kinds.pop("step.started", None)  # of a step that outlived a moment
    assert kinds == dict.fromkeys(("run.created", "run.claimed", "step.completed", "run.completed"), many)
    shares = dict(ctx.sql("select result::text, count(*) from runs group by all").fetchall())
    assert {int(pid) for pid in shares} == {child.pid for child in worker.children()}
    assert min(shares.values()) > many / 20


def test_workers_do_not_outlive_their_supervisor(workers: Any) -> None:
    worker = workers("jobs", "--processes", "2").ready(2)
    children = worker.children()
    worker.process.kill()
    wait_until(
        lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children),
        "the workers ended",
        30,
    )


def test_sighup_brings_the_code_of_now(make_ctx: MakeContext, workers: Any, place: Path) -> None:
    ctx = starter(make_ctx)
    worker = workers("jobs", "--processes", "2").ready(2)
    assert ctx.start(named("age")).result(timeout=30) == 1
    old = {child.pid for child in worker.children()}
    (place / "jobs.py").write_text(FLOWS.replace("lambda: 1", "lambda: 2"))
    worker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not old & {child.pid for child in worker.children()}, "the old ones are gone", 60)
    assert ctx.start(named("age")).result(timeout=30) == 2


def test_new_code_that_cannot_be_loaded_leaves_the_old_ones_at_work(
    make_ctx: MakeContext, workers: Any, place: Path
) -> None:
    ctx = starter(make_ctx)
    worker = workers("jobs", "--processes", "2", "--reload").ready(2)
    (place / "jobs.py").write_text("this is no Python")
    wait_until(lambda: "does not get ready" in worker.log.read_text(), "it says so", 60)
    assert ctx.start(named("age")).result(timeout=30) == 1
    (place / "jobs.py").write_text(FLOWS.replace("lambda: 1", "lambda: 3"))
    worker.ready(4)
    wait_until(lambda: ctx.start(named("age")).result(timeout=30) == 3, "the new code runs", 60)


def test_a_module_that_there_is_not(dataflows: Dataflows) -> None:
    done = dataflows("worker", "nothing_here")
    assert done.returncode == 2
    assert "there is no module 'nothing_here'" in done.stderr


def test_a_context_that_only_looks_is_no_worker(make_ctx: MakeContext) -> None:
    from dataflows_sdk.errors import DefinitionError

    with pytest.raises(DefinitionError, match="does not work"):
        make_ctx(work=False).worker()
    with pytest.raises(ModuleNotFoundError):
        make_ctx().worker("no_such_module_here")
    with pytest.raises(DefinitionError, match="no name of a queue"):
        make_ctx().worker(queues=["a,b"])
