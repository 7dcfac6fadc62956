"""Which executors there are, and what others have to do to be one."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DefinitionError, ExecutorError, MissingExtraError, RunFailed
from dataflows_sdk.executors import Executor, Job, ProcessExecutor

from ..conftest import MakeContext
from ..engine.workflows import FAST, declare
from . import work


class Threads:
    """An executor as somebody else may write it: the protocol is two methods."""

    def __init__(self, *troubles: BaseException) -> None:
        self.pool = ThreadPoolExecutor(2, "mine")
        self.troubles = list(troubles)
        self.jobs: list[Job] = []
        self.closed = 0

    async def run(self, job: Job) -> bytes:
        self.jobs.append(job)
        if self.troubles:
            raise self.troubles.pop()
        return await asyncio.get_running_loop().run_in_executor(self.pool, job)

    async def close(self) -> None:
        self.closed += 1
        self.pool.shutdown()


def test_an_executor_of_ones_own(make_ctx: MakeContext) -> None:
    mine: Executor = Threads()
    assert isinstance(mine, Threads)
    ctx = make_ctx(executors={"mine": mine})

    async def ask(event: Any, step: Any) -> Any:
        name = await step.run("name", lambda: threading.current_thread().name, executor="mine")
        return name, (await step.run("who", work.who, executor="mine"))["key"]

    assert ctx.run(declare(ask)).result() == ("mine_0", "who")
    assert [(job.step.name, job.step.attempt) for job in mine.jobs] == [("name", 1), ("who", 1)]
    assert "step 'who'" in repr(mine.jobs[1])
    ctx.close()
    ctx.close()
    assert mine.closed == 1


def test_its_errors_are_tried_again(make_ctx: MakeContext) -> None:
    # a cancel that nobody asked for must not look like the cancel of the run
    mine = Threads(asyncio.CancelledError(), ExecutorError("no room"))
    ctx = make_ctx(executors={"mine": mine})

    async def ask(event: Any, step: Any) -> Any:
        return (await step.run("who", work.who, executor="mine", retry=FAST))["attempt"]

    run = ctx.run(declare(ask))
    assert run.result() == 3
    (step,) = run.timeline()
    assert [attempt.error["message"] for attempt in step.failures] == [
        "no room",
        "step 'who': its executor cancelled it by itself",
    ]


def test_a_close_that_fails_keeps_nobody(make_ctx: MakeContext, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Threads):
        async def close(self) -> None:
            await super().close()
            raise OSError("it hangs on")

    mine, other = Broken(), Threads()
    make_ctx(executors={"mine": mine, "other": other}).close()
    assert (mine.closed, other.closed) == (1, 1)
    assert "executor 'mine' could not be closed: it hangs on" in caplog.text


def test_several_pools(make_ctx: MakeContext) -> None:
    ctx = make_ctx(executors={"small": ProcessExecutor(1)})

    async def ask(event: Any, step: Any) -> Any:
        return [(await step.run("who", work.who, executor=name))["pid"] for name in ("small", "process", "small")]

    first, second, third = ctx.run(declare(ask)).result()
    assert first == third != second


def test_an_unknown_name_lists_those_that_there_are(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    ctx = make_ctx(executors={"mine": Threads()})

    def ask(event: Any, step: Any) -> Any:
        return step.run("who", work.who, executor=event.payload)

    workflow = declare(ask)
    for name, message in (
        (
            "spark",
            r"there is no executor 'spark' here; there is 'mine', 'process'\. Say .*\{'spark': MyExecutor\(\)\}",
        ),
        ("dask", r"there is no executor 'dask' here; .* executors=\{'dask': 'tcp://host:8786'\}"),
        (4, "executor= is the name of an executor, such as 'process', not 4"),
    ):
        run = ctx.run(workflow, name)
        with pytest.raises(RunFailed, match=message):
            run.result()
        assert list(run.timeline()) == []  # nothing was begun


def test_branches_with_steps_of_their_own_stay_here(ctx: Context) -> None:
    async def branch(item: Any, step: Any) -> Any:
        return await step.run("x", len, item)

    async def maps(event: Any, step: Any) -> Any:
        return await step.map("each", branch, ["a"], executor="process")

    with pytest.raises(RunFailed, match=r"map 'each': branch '0' has steps of its own.*give executor='process' to the"):
        ctx.run(declare(maps)).result()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mine": object()}, "that is no executor"),
        ({"mine": "tcp://host:1"}, "that is no executor"),
        ({"process": "four"}, "that is no executor"),
        ({"process": 0}, "the number of processes is a whole number from 1 on, not 0"),
        ({"process": True}, "not True"),
        ({"": 4}, "an executor's name is a word"),
        (["process"], "executors= is a mapping"),
    ],
)
def test_what_is_no_executor_is_refused(make_ctx: MakeContext, given: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make_ctx(executors=given)


@pytest.mark.parametrize(("name", "package", "address"), [("dask", "distributed", "tcp://x:1"), ("ray", "ray", "auto")])
def test_a_missing_package_names_its_extra(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch, name: str, package: str, address: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"executor '{name}' needs the package {package}: .*\[{name}\]"):
        make_ctx(executors={name: address})

    # by the variable that the engine itself reads, at the first step that asks
    monkeypatch.setenv({"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}[name], address)

    async def ask(event: Any, step: Any) -> Any:
        return await step.run("who", work.who, executor=name)

    with pytest.raises(RunFailed, match=rf"pip install 'dataflows-sdk\[{name}\]'"):
        make_ctx().run(declare(ask)).result()


def test_unwanted_keywords_still_reach_the_function(ctx: Context) -> None:
    async def ask(event: Any, step: Any) -> Any:
        return await step.run("int", int, "ff", base=16, executor="process")

    assert ctx.run(declare(ask)).result() == 255


def test_failures_of_a_map_come_in_place(ctx: Context) -> None:
    async def ask(event: Any, step: Any) -> Any:
        given = await step.map("int", int, ["1", "x"], executor="process", on_error="return", retry=df.NO_RETRY)
        return [type(each).__name__ for each in given]

    assert ctx.run(declare(ask)).result() == ["int", "ValueError"]
