"""run and tail as processes."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.context import Context

from ..conftest import wait_until
from .conftest import Dataflows, document, environment, started

TARGET = "flows_for_cli:hello"


def test_run_prints_the_result_on_stdout_and_the_steps_on_stderr(dataflows: Dataflows) -> None:
    done = dataflows("run", TARGET, '{"n": 3}')
    assert (done.returncode, done.stdout) == (0, "{'sum': 14}\n"), done.stderr
    assert re.search(r"✓ one", done.stderr)
    assert re.search(r"✓ squares  × 4", done.stderr)
    assert "squares[" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["flows_for_cli.py:sums", '{"n": 5}'], 10),
        (["cli-sums", "--module", "flows_for_cli", '{"n": 4}'], 6),
        ([TARGET, "@payload.json"], {"sum": 5}),
        ([TARGET, "-"], {"sum": 14}),
    ],
)
def test_run_as_json(dataflows: Dataflows, folder: Path, arguments: list[str], result: object) -> None:
    (folder / "payload.json").write_text('{"n": 2}')
    done = dataflows("run", *arguments, "--json", input='{"n": 3}')
    found = document(done.stdout)
    assert (done.returncode, found["status"], found["result"], found["error"]) == (0, "succeeded", result, None)
    assert done.stderr == ""


def test_a_run_that_fails(dataflows: Dataflows) -> None:
    done = dataflows("run", "flows_for_cli:bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert "↻ boom" in done.stderr
    assert "error: run" in done.stderr
    assert "KeyError: 'no such order'" in done.stderr
    assert "dataflows show" in done.stderr
    assert "Traceback" not in done.stderr
    done = dataflows("run", "flows_for_cli:bad", "--json")
    found = document(done.stdout)
    assert (done.returncode, found["status"], found["error"]["type"]) == (1, "failed", "KeyError")


def test_ids_and_keys_start_once(dataflows: Dataflows, ctx: Context) -> None:
    run_id = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77"
    for _ in range(2):
        assert document(dataflows("run", TARGET, '{"n": 1}', "--id", run_id, "--json").stdout)["id"] == run_id
    keyed = {
        document(dataflows("run", TARGET, '{"n": 1}', "--idempotency-key", "k", "--json").stdout)["id"]
        for _ in range(2)
    }
    assert len(keyed) == 1
    assert len(ctx.runs()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([TARGET, "{n: 3}"], 2, "PAYLOAD is no JSON"),
        ([TARGET, "hello"], 2, "a text needs its quotes"),
        ([TARGET, "@nothing.json"], 2, "cannot be read from nothing.json"),
        ([TARGET, "1", "--resume", "0190"], 2, "--resume goes on with a run"),
        ([TARGET, "--resume", "0190d8f5"], 1, "no run begins with '0190d8f5'"),
        ([TARGET, "--id", "seven"], 1, "not an id: 'seven'"),
        (["no_such_module:x"], 2, "there is no module"),
        (["flows_for_cli:nobody"], 2, "it has flows_for_cli:hello"),
    ],
)
def test_bad_input(dataflows: Dataflows, arguments: list[str], code: int, says: str) -> None:
    done = dataflows("run", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_detach_only_starts(dataflows: Dataflows, ctx: Context) -> None:
    done = dataflows("run", "flows_for_cli:sums", '{"n": 3}', "--detach")
    run = ctx.get(done.stdout.strip())
    assert (done.returncode, run.status) == (0, "queued")
    again = dataflows("run", "flows_for_cli:sums", "--resume", run.id, "--json")
    assert document(again.stdout)["result"] == 3


def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(
    folder: Path, database_url: str, ctx: Context, dataflows: Dataflows
) -> None:
    with started("run", "flows_for_cli:waits", cwd=folder, env=environment(database_url)) as process:
        run = wait_until(lambda: next(iter(ctx.runs("cli-waits")), None), "it started")
        wait_until(lambda: any(event.kind == "step.waiting" for event in run.events()), "it waits")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    advice = f"dataflows run flows_for_cli:waits --resume {run.id}"
    assert advice in err
    assert run.status in ("queued", "waiting")
    run.send_event("go", 7)
    done = dataflows(*advice.split()[1:], "--json")
    assert document(done.stdout)["result"] is not None
    assert [event.kind for event in run.events()].count("step.completed") == 2, "the first step was not done again"
    other = dataflows("run", TARGET, "--resume", run.id)
    assert other.returncode == 2
    assert "is one of 'cli-waits'" in other.stderr


# --- tail -------------------------------------------------------------------------------------------------


def test_tail_of_a_run_ends_with_it(dataflows: Dataflows) -> None:
    run_id = document(dataflows("run", TARGET, '{"n": 2}', "--json").stdout)["id"]
    done = dataflows("tail", "--run", run_id, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["run"] for event in events} == {run_id}
    assert (events[0]["kind"], events[-1]["kind"]) == ("run.created", "run.completed")
    text = dataflows("tail", "--run", run_id[:30]).stdout
    assert len(text.splitlines()) == len(events)
    assert "run.completed" in text.splitlines()[-1]


def test_tail_follows_and_gives_lines_at_once(folder: Path, database_url: str, dataflows: Dataflows) -> None:
    with started(
        "tail", "--json", "-w", "cli-hello", "--since", "1h", cwd=folder, env=environment(database_url)
    ) as process:
        assert process.stdout is not None
        dataflows("run", "flows_for_cli:sums", '{"n": 1}')
        ids = [document(dataflows("run", TARGET, '{"n": 1}', "--json").stdout)["id"] for _ in range(2)]
        found: list[dict[str, Any]] = []
        while len([event for event in found if event["kind"] == "run.completed"]) < 2:
            found.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert (process.returncode, rest, err.strip()) == (130, "", "")
    assert list(dict.fromkeys(event["run"] for event in found)) == ids
    assert len({(event["run"], event["seq"]) for event in found}) == len(found)


def test_tail_stops_after_so_many(dataflows: Dataflows) -> None:
    dataflows("run", TARGET, '{"n": 5}')
    assert len(dataflows("tail", "--since", "1h", "-n", "3").stdout.splitlines()) == 3
    assert dataflows("tail", "--no-follow").stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a Unix shell")
def test_a_reader_that_leaves(dataflows: Dataflows, folder: Path, database_url: str) -> None:
    dataflows("run", TARGET, '{"n": 400}')
    for more in ([], ["--json"]):
        with started("tail", "--since", "1h", *more, cwd=folder, env=environment(database_url)) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
            assert process.wait(60) == 141
        assert err == ""
