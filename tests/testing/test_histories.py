"""Journals in files, replayed by the code of another day and without a database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, RunFailed, WorkflowNotFoundError
from dataflows_sdk.testing import check_replay, load_history, record_history

from ..conftest import MakeContext, wait_until

CALLS: list[str] = []


def called(name: str) -> str:
    CALLS.append(name)
    return name


async def order(event: Any, step: Any) -> Any:
    item = await step.run("fetch", called, "fetch")
    big = await step.run("big", lambda: "x" * 200_000)
    names = await step.map("names", called, ["a", "b"])
    nothing = await step.wait_for_event("nothing", timeout="10ms")
    await step.sleep("nap", "10ms")
    won = await step.parallel("race", {"one": lambda: 1}, join="any")
    now = await step.now()
    return [item, len(big), names, nothing, won, now, await step.random()]


def blocking(event: Any, step: Any) -> Any:
    def branch(name: str, step: Any) -> Any:
        step.sleep("nap", "1ms")
        return step.run("inner", called, name)

    return [step.run("fetch", called, "fetch"), step.map("names", branch, ["a", "b"])]


async def changed(event: Any, step: Any) -> Any:
    await step.run("fetch-2", called, "fetch")


async def failing(event: Any, step: Any) -> Any:
    await step.run("fetch", called, "fetch")
    raise LookupError(f"no order {event.payload['id']}")


flow = (
    df.flow("kit-history")
    .step("load", lambda event: [1, 2, 3])
    .map("twice", lambda i: i * 2, over="load")
    .step("total", lambda twice: sum(twice))
)


@pytest.mark.parametrize("fn", [order, blocking])
def test_a_history_is_replayed_without_a_database(make_ctx: MakeContext, tmp_path: Path, fn: Any) -> None:
    ctx = make_ctx()
    workflow = df.Workflow("order", fn)
    run = ctx.run(workflow, {"id": 7}, timeout="20s")
    result = run.result()
    history = record_history(run, tmp_path / "deep" / "order.json")
    ctx.close()

    CALLS.clear()
    loaded = load_history(tmp_path / "deep" / "order.json")
    assert loaded == history
    assert (loaded.status, loaded.workflow, str(loaded.run)) == ("succeeded", "order", run.id)
    replay = check_replay(loaded, workflow)
    assert replay.ok, str(replay)
    assert replay.value == result
    assert replay.replayed > 2
    assert CALLS == [], "a replay has no effect"


def test_a_flow_is_replayed(make_ctx: MakeContext) -> None:
    run = make_ctx().run(flow, {}, timeout="20s")
    assert run.result() == 12
    history = record_history(run)
    replay = check_replay(history, flow)
    assert replay.ok, str(replay)
    assert replay.value == 12
    more = flow.step("extra", lambda total: total + 1)
    found = check_replay(history, more)
    assert not found.ok
    assert "extra" in found.difference


def test_a_flow_that_lost_a_node_differs(make_ctx: MakeContext) -> None:
    history = record_history(make_ctx().run(flow, {}, timeout="20s"))
    other = df.flow("kit-history").step("load", lambda event: [1]).step("total", lambda load: sum(load))
    assert not check_replay(history, other).ok


def test_changed_code_differs_readably(make_ctx: MakeContext) -> None:
    run = make_ctx().run(df.Workflow("order", order), timeout="20s")
    replay = check_replay(record_history(run), df.Workflow("order", changed))
    assert (replay.ok, replay.outcome) == (False, "mismatch")
    assert "fetch-2" in replay.difference
    assert "fetch" in str(replay)


def test_a_failed_run_fails_again(make_ctx: MakeContext) -> None:
    run = make_ctx().run(df.Workflow("failing", failing), {"id": 7}, timeout="20s")
    with pytest.raises(RunFailed):
        run.result()
    history = record_history(run)
    assert check_replay(history, df.Workflow("failing", failing)).ok
    assert not check_replay(history, df.Workflow("failing", changed)).ok


def test_a_run_under_way_stops_where_its_journal_ends(make_ctx: MakeContext) -> None:
    async def waits(event: Any, step: Any) -> Any:
        await step.run("fetch", called, "fetch")
        return await step.wait_for_event("approved")

    workflow = df.Workflow("waits", waits)
    run = make_ctx(linger="0s").start(workflow)
    wait_until(lambda: run.status == "waiting", "it waits")
    replay = check_replay(record_history(run), workflow)
    assert (replay.ok, replay.outcome, replay.next) == (True, "stopped", "wait approved")


def test_replay_in_a_process_that_never_had_a_database(make_ctx: MakeContext, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(SHOP)
    namespace: dict[str, Any] = {"__name__": "shop"}
    exec(compile(SHOP, str(module), "exec"), namespace)
    run = make_ctx().run(namespace["greet"], {"name": "Ada"}, timeout="20s")
    record_history(run, tmp_path / "greet.json")
    script = (
        "import shop; from dataflows_sdk.testing import check_replay; "
        "r = check_replay('greet.json'); print(r.ok, r.value)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True hello Ada\n", done.stderr


SHOP = """
import dataflows_sdk as df

@df.workflow("kit-greet")
async def greet(event, step):
    name = await step.run("name", lambda: event.payload["name"])
    return f"hello {name}"
"""


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', '{"format": 1, "run": "x", "workflow": "a"}']
)
def test_files_that_are_no_histories(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(DefinitionError, match=r"broken\.json"):
        check_replay(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be read"):
        load_history(tmp_path / "nowhere.json")


def test_code_that_is_not_there(make_ctx: MakeContext, tmp_path: Path) -> None:
    run = make_ctx().run(df.Workflow("nobody-has-this", order), timeout="20s")
    record_history(run, tmp_path / "h.json")
    assert json.loads((tmp_path / "h.json").read_text())["workflow"] == "nobody-has-this"
    with pytest.raises(WorkflowNotFoundError, match="nobody-has-this"):
        check_replay(tmp_path / "h.json")
