"""The processes for snippets: how many, how long, and how each of them ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest

import dataflows_sdk.nodes.snippets.engines as engines_module
from dataflows_sdk.errors import (
    DefinitionError,
    MissingExtraError,
    NonRetryableError,
    SnippetError,
    SnippetTimeoutError,
    SnippetWorkerError,
)
from dataflows_sdk.nodes.snippets import SnippetRunner

from .running import SLACK, run, until, with_runner, workers

FOREVER = "while (true) {}"


def test_others_go_on_beside_an_endless_loop() -> None:
    async def work(runner: SnippetRunner) -> None:
        await asyncio.gather(runner.run("1", timeout_ms=9_000), runner.run("2", timeout_ms=9_000))
        endless = asyncio.create_task(runner.run(FOREVER, timeout_ms=3_000))
        await asyncio.sleep(0)
        values = await asyncio.gather(
            *(runner.run("input + 1", names={"input": n}, timeout_ms=20_000) for n in range(10))
        )
        assert values == list(range(1, 11))
        assert not endless.done()
        with pytest.raises(SnippetTimeoutError):
            await endless
        assert len(workers()) <= 2

    with_runner(work)


def test_a_waiting_call_does_not_hold_the_loop() -> None:
    async def work(runner: SnippetRunner) -> None:
        await runner.run("1", timeout_ms=9_000)
        busy = [asyncio.create_task(runner.run(FOREVER, timeout_ms=700)) for _ in range(2)]
        beats = 0
        while not all(task.done() for task in busy):
            await asyncio.sleep(0.01)
            beats += 1
        await asyncio.gather(*busy, return_exceptions=True)
        assert beats >= 20

    with_runner(work, workers=1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_never_more_workers_than_allowed_and_warm_ones_serve_again(size: int) -> None:
    async def work(runner: SnippetRunner) -> None:
        seen: set[int] = set()
        for _ in range(3):
            await asyncio.gather(
                *(runner.run("let n = 0; while (n < 2e5) n++; n", timeout_ms=20_000) for _ in range(6))
            )
            seen |= {worker.pid for worker in workers()}
        assert len(seen) == size

    with_runner(work, workers=size)


def test_idle_workers_end() -> None:
    async def work(runner: SnippetRunner) -> None:
        assert await runner.run("1", timeout_ms=9_000) == 1
        (worker,) = workers()
        await until(lambda: not workers(), "the idle worker has ended")
        assert await runner.run("2", timeout_ms=9_000) == 2
        assert worker.pid not in {new.pid for new in workers()}

    with_runner(work, idle_seconds=0.1)


def test_a_late_worker_is_killed_and_replaced() -> None:
    stuck = "const a = Array(2e7).fill(1.5); a.sort(); a.join().length"  # seconds in native code

    async def work(runner: SnippetRunner) -> None:
        await runner.run("1", timeout_ms=9_000)
        (first,) = workers()
        begin = time.perf_counter()
        with pytest.raises(SnippetTimeoutError, match="after 200 ms"):
            await runner.run(stuck, timeout_ms=200, memory_mb=2_000)
        assert time.perf_counter() - begin < 0.2 + 1.0 + SLACK
        assert await runner.run("2", timeout_ms=9_000) == 2
        assert first.pid not in {worker.pid for worker in workers()}

    with_runner(work)


def test_a_worker_killed_in_mid_snippet_is_replaced_without_a_word() -> None:
    async def work(runner: SnippetRunner) -> None:
        await runner.run("1", timeout_ms=9_000)
        (first,) = workers()
        call = asyncio.create_task(runner.run("let n = 0; while (n < 3e6) n++; n", timeout_ms=60_000))
        used = first.cpu_times().user
        await until(lambda: first.cpu_times().user > used + 0.02, "the snippet runs")
        first.kill()
        assert await call == 3_000_000
        assert [worker.pid for worker in workers()] != [first.pid]

    with_runner(work)


def test_a_snippet_whose_workers_are_always_killed_fails() -> None:
    async def work(runner: SnippetRunner) -> None:
        call = asyncio.create_task(runner.run(FOREVER, timeout_ms=60_000))
        killed: set[int] = set()

        def kill() -> bool:
            for worker in workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if worker.cpu_times().user > 0.3:
                        worker.kill()
                        killed.add(worker.pid)
            return call.done()

        await until(kill, "the snippet has failed", 60)
        assert len(killed) == 2
        with pytest.raises(SnippetWorkerError, match="ended by signal 9") as caught:
            await call
        assert not isinstance(caught.value, NonRetryableError)

    with_runner(work)


def test_an_idle_worker_killed_from_outside_is_not_missed() -> None:
    async def work(runner: SnippetRunner) -> None:
        for signal_number in (signal.SIGKILL, signal.SIGTERM):
            assert await runner.run("1", timeout_ms=9_000) == 1
            (worker,) = workers()
            worker.send_signal(signal_number)
            assert await runner.run("2", timeout_ms=9_000) == 2

    with_runner(work)


def test_a_cancelled_call_frees_its_worker() -> None:
    async def work(runner: SnippetRunner) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await runner.run(FOREVER, timeout_ms=600_000)
        assert await runner.run("2", timeout_ms=9_000) == 2
        await until(lambda: len(workers()) == 1, "the other worker is gone")

    with_runner(work, workers=1)


def test_close_ends_everything_under_way() -> None:
    async def main() -> None:
        runner = SnippetRunner(workers=1)
        await runner.run("1", timeout_ms=9_000)
        calls = [asyncio.create_task(runner.run(FOREVER, timeout_ms=600_000)) for _ in range(3)]
        calls.append(asyncio.create_task(runner.run("while True: pass", "python", timeout_ms=600_000)))
        await until(lambda: len(workers()) == 2, "both are at work")
        await runner.close()
        assert workers() == []
        for call in calls:
            with pytest.raises(SnippetWorkerError, match="closed"):
                await call
        with pytest.raises(SnippetWorkerError, match="closed"):
            await runner.run("1")
        await runner.close()

    asyncio.run(main())


PARENT = """
import asyncio, sys
from dataflows_sdk.nodes.snippets import SnippetRunner

async def main():
    runner = SnippetRunner()
    await asyncio.gather(runner.run("1", timeout_ms=20000), runner.run("2", timeout_ms=20000))
    if sys.argv[1] == "v8":
        await runner.run("1", engine="v8", timeout_ms=20000)
    calls = [
        runner.run("while (true) {}", timeout_ms=600000),
        runner.run("while True: pass", "python", timeout_ms=600000),
        runner.run("import time; time.sleep(600)", "python", timeout_ms=600000),
    ]
    if sys.argv[1] == "v8":
        calls.append(runner.run("while (true) {}", engine="v8", timeout_ms=600000))
    print("ready", flush=True)
    await asyncio.gather(*calls)

asyncio.run(main())
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(kill: signal.Signals) -> None:
    v8 = "v8" if engines_module.available("v8") else "-"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, v8], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        process = psutil.Process(parent.pid)
        expected = 4 + (v8 == "v8")
        deadline = time.monotonic() + 30
        # an idle one, one in an endless loop, two in Python, maybe V8: all at work before the parent dies
        while len(children := process.children(recursive=True)) < expected or (
            sum(child.cpu_times().user > 0.1 for child in children) < 2 + (v8 == "v8")
        ):
            assert time.monotonic() < deadline, children
            time.sleep(0.01)
        parent.send_signal(kill)
        parent.wait(10)
        _, alive = psutil.wait_procs(children, timeout=2 + SLACK / 3)
        assert alive == []
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()


def test_a_worker_has_no_secrets_and_no_open_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")

    async def work(runner: SnippetRunner) -> None:
        await runner.run("1", timeout_ms=9_000)
        (worker,) = workers()
        assert "SECRET_TOKEN" not in worker.environ()
        assert worker.memory_info().rss < 60e6
        if sys.platform == "linux":
            import resource

            assert resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)[1] < 16
            assert resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)[1] == 0
            assert resource.prlimit(worker.pid, resource.RLIMIT_CORE) == (0, 0)
            assert 0 < resource.prlimit(worker.pid, resource.RLIMIT_CPU)[0] < 60

    with_runner(work)


def test_a_worker_does_not_grow() -> None:
    code = "globalThis.keep = Array.from(input, x => ({x})); return keep.length"
    names = {"input": list(range(1_000))}

    async def work(runner: SnippetRunner) -> None:
        for _ in range(100):
            await runner.run(code, names=names, timeout_ms=9_000)
        (worker,) = workers()
        before = worker.memory_info().rss
        for _ in range(400):
            await runner.run(code, names=names, timeout_ms=9_000)
        assert [same.pid for same in workers()] == [worker.pid]
        assert worker.memory_info().rss - before < 2e6

    with_runner(work, workers=1)


def test_a_failure_leaves_the_worker_warm() -> None:
    async def work(runner: SnippetRunner) -> None:
        await runner.run("1", timeout_ms=9_000)
        (worker,) = workers()
        for code in ("throw 1", "let 1", "NaN", "new ArrayBuffer(2e9)", "new Promise(() => {})"):
            with pytest.raises(SnippetError):
                await runner.run(code, timeout_ms=9_000)
        with pytest.raises(SnippetTimeoutError):
            await runner.run(FOREVER, timeout_ms=50)
        assert [same.pid for same in workers()] == [worker.pid]

    with_runner(work, workers=1)


def test_a_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", os.devnull)
    with pytest.raises(SnippetWorkerError, match="no process for snippets can be started"):
        run("1")


def test_an_engine_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "require", lambda engine: ("nowhere",))
    with pytest.raises(
        SnippetWorkerError, match=r"did not start: (ModuleNotFound|Import)Error: No module named '_quickjs'"
    ):
        run("1")
    assert workers() == []


def test_a_missing_engine_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"_quickjs": True, "py_mini_racer": False}
    find = engines_module.importlib.util.find_spec
    monkeypatch.setattr(
        engines_module.importlib.util, "find_spec", lambda name: find(name) if installed.get(name, True) else None
    )
    engines_module.require.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[v8\]"):
            run("1", engine="v8")
        assert run("1") == 1
        installed["_quickjs"] = False
        engines_module.require.cache_clear()
        with pytest.raises(MissingExtraError, match="quickjs-ng"):
            run("1")
    finally:
        engines_module.require.cache_clear()


def test_a_runner_belongs_to_its_loop() -> None:
    runner = SnippetRunner()

    async def first() -> None:
        assert await runner.run("1", timeout_ms=9_000) == 1

    async def second() -> None:
        with pytest.raises(DefinitionError, match="belongs to the event loop"):
            await runner.run("1")

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(first())
        asyncio.run(second())
        loop.run_until_complete(runner.close())
    finally:
        loop.close()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"code": None}, "a text, not NoneType"),
    ({"code": b"1"}, "a text, not bytes"),
    ({"language": "ruby"}, "'javascript', 'python' or 'wasm'"),
    ({"engine": "bun"}, "'auto', 'quickjs', 'v8', 'node', 'deno'"),
    ({"language": "python", "engine": "v8"}, "is for JavaScript"),
    ({"names": {"not a name": 1}}, "no name for a variable"),
    ({"names": {1: 1}}, "no name for a variable"),
    ({"language": "python", "names": {"class": 1}}, "no name for a variable"),
    ({"timeout_ms": 0}, "timeout_ms=0"),
    ({"timeout_ms": 1.5}, "timeout_ms=1.5"),
    ({"timeout_ms": True}, "timeout_ms=True"),
    ({"timeout_ms": 10**9}, "timeout_ms=1000000000"),
    ({"memory_mb": -1}, "memory_mb=-1"),
    ({"memory_mb": "64"}, "memory_mb='64'"),
]


@pytest.mark.parametrize(("wrong", "part"), BAD)
def test_bad_arguments(wrong: dict[str, Any], part: str) -> None:
    given = {"code": "1", **wrong}

    async def main() -> None:
        async with SnippetRunner() as runner:
            with pytest.raises(DefinitionError) as caught:
                await runner.run(**given)
            assert part in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 1.5}, {"idle_seconds": -1}, {"idle_seconds": "x"}, {"longest_result": 0}]
)
def test_bad_options_of_the_runner(wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=next(iter(wrong))):
        SnippetRunner(**wrong)
