"""Steps on a Dask cluster: a real scheduler and real workers, on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, StepFailed, StepTimeoutError

from ..conftest import MakeContext, Need, wait_until
from ..engine.workflows import FAST, declare
from . import work


@pytest.fixture(scope="module")
def cluster(need: Need) -> Iterator[Any]:
    """A scheduler that gives a task up with its first worker, and one worker with room for one task."""
    if importlib.util.find_spec("distributed") is None:
        need("the package distributed is not installed")
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as made,
    ):
        yield made


@pytest.mark.slow
def test_steps_on_a_cluster(make_ctx: MakeContext, cluster: Any, tmp_path: Path) -> None:
    caught: list[Exception] = []
    path = str(tmp_path / "calls")

    async def colours(event: Any, step: Any) -> Any:
        who = await step.run("who", work.who, executor="dask")
        lost = await step.run("lost", work.until_attempt, 2, "kill", executor="dask", retry=FAST)
        try:
            await step.run("stock", work.fail, "stock", executor="dask", retry=df.NO_RETRY)
        except work.OutOfStock as error:
            caught.append(error)
        await step.run("note", work.note, path, executor="dask")
        return who, lost, await step.map("flip", work.flip, [work.Point(1, n) for n in range(5)], executor="dask")

    ctx = make_ctx(executors={"dask": cluster.scheduler_address}, always_replay=True)
    workflow = declare(colours)
    run = ctx.run(workflow)
    who, lost, points = run.result()
    assert who["pid"] != os.getpid()
    assert (who["run"], who["key"], who["attempt"]) == (run.id, "who", 1)
    assert lost == 2
    steps = {step.key: step for step in run.timeline()}
    assert steps["lost"].failures[0].error["type"] == "dataflows_sdk.errors:WorkerLostError"
    assert caught[0].left == 2  # type: ignore[attr-defined]
    assert points == [work.Point(n, 1) for n in range(5)]
    assert run.replay(workflow).ok
    assert Path(path).read_text() == "called\n"


@pytest.mark.slow
def test_a_task_that_waits_is_taken_back(make_ctx: MakeContext, cluster: Any, tmp_path: Path) -> None:
    from distributed import Client

    go, called = tmp_path / "go", tmp_path / "called"

    async def first(event: Any, step: Any) -> Any:
        return await step.run("wait", work.wait_for, str(go), executor="cluster")

    def second(event: Any, step: Any) -> Any:
        with pytest.raises(StepTimeoutError, match="executor 'cluster' was told to stop it"):
            step.run("note", work.note, str(called), executor="cluster", timeout=0.5, retry=df.NO_RETRY)
        wait_until(lambda: not any("note" in key for key in tasks_of_worker()), "the worker was told")
        go.touch()
        return step.run("after", work.who, executor="cluster", timeout=20)["name"]

    def tasks_of_worker() -> list[str]:
        (keys,) = client.run(lambda dask_worker: list(dask_worker.state.tasks)).values()
        return [str(key) for key in keys]

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        ctx = make_ctx(executors={"cluster": client})
        busy = ctx.start(declare(first))
        wait_until(Path(f"{go}.awaited").exists, "the only worker is busy")
        assert ctx.run(declare(second)).result(timeout="30s") == "after"
        assert busy.result(timeout="30s") == "done"
        assert not called.exists()
        ctx.close()
        assert client.status == "running"  # it is not ours


@pytest.mark.slow
def test_a_client_of_another_loop_is_refused(make_ctx: MakeContext, cluster: Any) -> None:
    from distributed import Client

    async def connect() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(DefinitionError, match="a Client that is not asynchronous"):
                make_ctx(executors={"dask": client})

    asyncio.run(connect())


def test_a_scheduler_that_does_not_answer(make_ctx: MakeContext, need: Need) -> None:
    if importlib.util.find_spec("distributed") is None:
        need("the package distributed is not installed")
    import dask

    ctx = make_ctx(executors={"dask": "tcp://127.0.0.1:9"})

    async def ask(event: Any, step: Any) -> Any:
        return await step.run("who", work.who, executor="dask", retry=df.NO_RETRY)

    with dask.config.set({"distributed.comm.timeouts.connect": "0.3s"}):
        begun = time.monotonic()
        with pytest.raises(StepFailed, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
            ctx.run(declare(ask)).result()
        assert time.monotonic() - begun < 15
