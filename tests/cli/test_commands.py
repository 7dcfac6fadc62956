"""runs, show, tail and doctor on runs that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.context import Context

from ..conftest import wait_until
from .conftest import Invoke, document


async def hello(event: Any, step: Any) -> Any:
    one = await step.run("one", lambda: event.payload["n"] + 1)
    squares = await step.map("squares", lambda i: i * i, range(one))
    return {"sum": sum(squares)}


def bad(event: Any, step: Any) -> None:
    def boom() -> None:
        try:
            int("x")
        except ValueError as error:
            raise KeyError("no such [red]order[/]") from error

    step.run("boom", boom, retry=df.Retry(1, initial_delay="5ms"))


async def waits(event: Any, step: Any) -> Any:
    return await step.wait_for_event("go", timeout="1h")


def workflow(name: str, fn: Any) -> Any:
    from dataflows_sdk.engine.definitions import Workflow

    return Workflow(name, fn)


@pytest.fixture
def hello_run(ctx: Context) -> Any:
    return ctx.run(workflow("hello", hello), {"n": 3})


@pytest.fixture
def bad_run(ctx: Context) -> Any:
    return ctx.run(workflow("bad", bad))


@pytest.fixture
def waiting_run(ctx: Context) -> Any:
    run = ctx.start(workflow("waits", waits))
    wait_until(lambda: any(event.kind == "step.waiting" for event in run.events()), "it waits")
    return run


# --- runs -------------------------------------------------------------------------------------------------


def test_no_runs(invoke: Invoke) -> None:
    assert invoke("runs").output == "no runs\n"
    assert document(invoke("runs", "--json").stdout) == {"runs": [], "more": False}


def test_runs(invoke: Invoke, hello_run: Any, bad_run: Any) -> None:
    text = invoke("runs").stdout
    lines = text.splitlines()
    assert lines[0].split() == ["id", "workflow", "status", "created", "took"]
    assert [line.split()[:3] for line in lines[1:]] == [
        [bad_run.id, "bad", "failed"],
        [hello_run.id, "hello", "succeeded"],
    ]
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["bad", "hello"]),
        (["-w", "hello"], ["hello"]),
        (["-s", "failed"], ["bad"]),
        (["-s", "failed", "-s", "succeeded"], ["bad", "hello"]),
        (["--since", "1h"], ["bad", "hello"]),
        (["--since", "2999-01-01"], []),
        (["-w", "nobody"], []),
        (["-n", "1"], ["bad"]),
    ],
)
def test_runs_filtered(invoke: Invoke, hello_run: Any, bad_run: Any, options: list[str], names: list[str]) -> None:
    found = document(invoke("runs", "--json", *options).stdout)
    assert [row["workflow"] for row in found["runs"]] == names
    assert found["more"] is (options == ["-n", "1"])


def test_more_is_said(invoke: Invoke, hello_run: Any, bad_run: Any) -> None:
    assert "older ones" in invoke("runs", "-n", "1").stdout


def test_a_wrong_since(invoke: Invoke) -> None:
    result = invoke("runs", "--since", "7 parsecs")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not a duration: '7 parsecs'")


# --- show -------------------------------------------------------------------------------------------------


def test_show_a_good_run(invoke: Invoke, hello_run: Any) -> None:
    text = invoke("show", hello_run.id).stdout
    assert f"run {hello_run.id}" in text
    assert re.search(r"hello +succeeded in", text)
    assert re.search(r"✓ squares .*█.*× 4", text)
    assert "'sum': 14" in text


def test_show_as_json(invoke: Invoke, hello_run: Any) -> None:
    found = document(invoke("show", hello_run.id, "--json").stdout)
    assert (found["id"], found["status"], found["input"], found["result"]) == (
        hello_run.id, "succeeded", {"n": 3}, {"sum": 14},
    )  # fmt: skip
    steps = {step["key"]: step for step in found["steps"]}
    assert steps["one"]["output"] == 4
    assert steps["squares[3]"]["output"] == 9
    assert found["error"] is None


def test_show_a_failure(invoke: Invoke, bad_run: Any) -> None:
    text = invoke("show", bad_run.id).stdout
    assert "step boom, attempt 1, failed" in text
    assert "step boom, attempt 2, failed" in text
    assert "KeyError: 'no such [red]order[/]'" in text, "what others wrote is not markup"
    assert "because of ValueError" in text
    assert text.count("Traceback") == 1
    assert "run.fork(at='boom')" in text
    found = document(invoke("show", bad_run.id, "--json").stdout)
    (step,) = found["steps"]
    assert (step["status"], step["attempt"], [f["attempt"] for f in step["failures"]]) == ("failed", 2, [1, 2])


def test_show_what_waits(invoke: Invoke, waiting_run: Any) -> None:
    text = invoke("show", waiting_run.id).stdout
    assert re.search(r"… go .*waiting until", text)
    found = document(invoke("show", waiting_run.id, "--json").stdout)
    assert found["result"] is None
    assert found["explanation"]["summary"]


def test_show_events(invoke: Invoke, hello_run: Any) -> None:
    text = invoke("show", hello_run.id, "--events").stdout
    assert all(len(line) <= 120 for line in text.splitlines())
    assert re.search(r"^ *1 +0 s +run.created", text, re.MULTILINE)
    found = document(invoke("show", hello_run.id, "--events", "--json").stdout)
    assert [event["seq"] for event in found["events"]] == list(range(1, len(found["events"]) + 1))
    assert found["events"][-1]["kind"] == "run.completed"


def test_show_a_step(invoke: Invoke, hello_run: Any) -> None:
    text = invoke("show", hello_run.id, "--step", "squares[2]").stdout
    assert "step squares[2] of run" in text
    assert re.search(r"^input +2$", text, re.MULTILINE)
    assert re.search(r"^output +4$", text, re.MULTILINE)
    assert "async def hello" in text
    found = document(invoke("show", hello_run.id, "--step", "squares[2]", "--json").stdout)
    assert (found["step"]["input"], found["step"]["output"]) == (2, 4)


def test_show_the_source_of_a_node(invoke: Invoke, ctx: Context) -> None:
    def load() -> list[int]:
        return [1, 2]

    def total(load: list[int]) -> int:
        return sum(load)

    run = ctx.run(df.flow("two").step("load", load).step("total", total))
    found = document(invoke("show", run.id, "--step", "total", "--json").stdout)
    assert "def total" in found["source"]
    assert "def load" not in found["source"]


def test_an_unknown_step(invoke: Invoke, hello_run: Any) -> None:
    result = invoke("show", hello_run.id, "--step", "squars[2]")
    assert result.exit_code == 1
    assert "has no step 'squars[2]'; did you mean squares[2]" in result.stderr


def test_two_views_at_once(invoke: Invoke, hello_run: Any) -> None:
    assert invoke("show", hello_run.id, "--step", "one", "--events").exit_code == 2


def test_the_beginning_of_an_id(invoke: Invoke, ctx: Context) -> None:
    one = ctx.run(workflow("hello", hello), {"n": 1}, id="aaaa0000-0000-7000-8000-000000000001")
    other = ctx.run(workflow("hello", hello), {"n": 2}, id="aaaa0000-0000-7000-8000-000000000012")
    assert document(invoke("show", "aaaa0000-0000-7000-8000-00000000001", "--json").stdout)["id"] == other.id
    assert document(invoke("show", one.id, "--json").stdout)["id"] == one.id
    ambiguous = invoke("show", "aaaa")
    assert ambiguous.exit_code == 1
    assert "several runs begin with 'aaaa'" in ambiguous.stderr
    unknown = invoke("show", "bbbb")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "no run begins with 'bbbb'" in unknown.stderr
    assert "no run id" in invoke("show", "what").stderr
    assert invoke("show", "cccc0000-0000-7000-8000-000000000001").exit_code == 1


# --- looking changes nothing ------------------------------------------------------------------------------


def test_looking_takes_on_no_run(invoke: Invoke, make_ctx: Any) -> None:
    looker = make_ctx(work=False)
    run = looker.start(workflow("hello", hello), {"n": 1})
    for arguments in (
        ["runs"],
        ["show", run.id],
        ["doctor"],
        ["doctor", run.id],
        ["tail", "--since", "1h", "--no-follow"],
    ):
        assert invoke(*arguments).exit_code == 0
    assert run.status == "queued"
    assert [event.kind for event in run.events()] == ["run.created"]


# --- doctor -----------------------------------------------------------------------------------------------


def findings(invoke: Invoke, *arguments: str, exit_code: int = 0) -> dict[str, dict[str, Any]]:
    result = invoke("doctor", "--json", *arguments)
    assert result.exit_code == exit_code, result.output
    found = document(result.stdout)
    assert found["healthy"] is (exit_code == 0)
    return {finding["code"]: finding for finding in found["findings"]}


def test_doctor_on_a_good_database(invoke: Invoke, hello_run: Any) -> None:
    found = findings(invoke)
    assert found["python"]["severity"] == "ok"
    assert found["schema"]["severity"] == "ok"
    assert found["runs"]["message"] == "1 succeeded"
    assert found["worker"]["message"].endswith("alive")
    assert "stuck" not in found
    assert found["engine"]["severity"] in ("ok", "note")
    text = invoke("doctor").stdout
    assert "well" in text
    assert "version 18" in text


def test_doctor_names_a_program_that_is_missing(
    invoke: Invoke, hello_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataflows_sdk.nodes.snippets import engines

    monkeypatch.setattr(engines.shutil, "which", lambda *_args, **_options: None)
    engines.require.cache_clear()
    try:
        found = findings(invoke)["engine"]
    finally:
        engines.require.cache_clear()
    assert (found["severity"], "nodejs.org" in found["advice"]) == ("note", True)


def test_doctor_finds_what_needs_help(invoke: Invoke, ctx: Context, database_url: str, bad_run: Any) -> None:
    lost = ctx.start(workflow("waits", waits))
    late = ctx.start(workflow("waits", waits))
    odd = ctx.start(workflow("waits", waits))
    ctx.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        change = "update dataflows.run set status = %s, owner = %s, wake_at = %s::timestamptz where id = %s"
        connection.execute(change, ("running", "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77", None, lost.id))
        connection.execute(change, ("queued", None, "2020-01-01", late.id))
        connection.execute(change, ("quarantined", None, None, odd.id))
    found = findings(invoke, exit_code=2)
    assert lost.id in found["stuck"]["message"]
    assert found["stuck"]["severity"] == "problem"
    assert late.id in found["overdue"]["message"]
    assert found["quarantined"]["message"].startswith("1 of waits")
    assert found["failed"]["message"].startswith("1 of bad")
    assert all(found[name]["advice"] for name in ("stuck", "overdue", "quarantined", "failed"))
    shown = invoke("doctor").stdout.splitlines()
    assert (shown[0], shown[-1]) == ("problems", "1 thing does not work")
    ours = [line for line in shown if line in ("problems", "warnings", "notes", "well")]
    assert ours == ["problems", "warnings", "notes", "well"]


def test_doctor_names_unknown_workflows(
    invoke: Invoke, ctx: Context, waiting_run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx.close()  # nobody who is alive knows it
    (folder / "others_for_doctor.py").write_text(
        "import dataflows_sdk as df\nf = df.flow('other').step('a', lambda: 1)\n"
    )
    (folder / "ours_for_doctor.py").write_text(
        "import dataflows_sdk as df\nf = df.flow('waits').step('a', lambda: 1)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    assert "waits" in findings(invoke, "-m", "others_for_doctor", exit_code=1)["unknown"]["message"]
    assert "unknown" not in findings(invoke, "-m", "ours_for_doctor")


def test_doctor_sees_a_newer_schema(invoke: Invoke, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into dataflows.migration (number, name, checksum) values (999, 'later', 'x')")
    found = findings(invoke, exit_code=2)
    assert found["schema"]["severity"] == "problem"
    assert "newer than this library" in found["schema"]["message"]
    assert "do" in invoke("doctor").stdout.splitlines()[-1]
    assert invoke("runs").exit_code == 1


def test_doctor_changes_nothing_in_an_empty_database(invoke: Invoke, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema dataflows cascade")
        assert findings(invoke)["schema"]["message"] == "not there yet"
        assert connection.execute("select to_regnamespace('dataflows')").fetchone() == (None,)


def test_doctor_of_one_run(invoke: Invoke, waiting_run: Any) -> None:
    text = invoke("doctor", waiting_run.id).stdout
    assert "waits" in text
    found = document(invoke("doctor", waiting_run.id, "--json").stdout)
    assert found["id"] == waiting_run.id
    assert found["status"] == waiting_run.explain().status
    assert invoke("doctor", "bbbb").exit_code == 1


def test_doctor_on_a_bare_machine(tmp_path: Path) -> None:
    import subprocess

    from .conftest import command, environment

    done = subprocess.run(
        command("doctor", "--json"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (database,) = [each for each in document(done.stdout)["findings"] if each["code"] == "database"]
    assert (database["severity"], database["message"]) == ("note", "none in .dataflows yet")
    assert list(tmp_path.iterdir()) == []


def test_doctor_with_a_dead_server(tmp_path: Path, invoke: Invoke) -> None:
    result = invoke("doctor", "--url", f"postgresql://nobody@/none?host={tmp_path}&port=1", "--json")
    assert result.exit_code == 2
    problem = document(result.stdout)["findings"][0]
    assert (problem["code"], problem["severity"]) == ("unreachable", "problem")
    assert "does not answer" in problem["message"]


# --- the terminal -----------------------------------------------------------------------------------------


def test_colours_only_where_they_are_wanted(hello_run: Any, database_url: str) -> None:
    import os
    import pty
    import subprocess

    from .conftest import command, environment

    def on_a_terminal(**more: str) -> str:
        master, slave = pty.openpty()
        with subprocess.Popen(
            command("runs"),
            stdout=slave,
            stderr=slave,
            env=environment(database_url, TERM="xterm", COLUMNS="80", **more),
        ) as process:
            os.close(slave)
            chunks = []
            while True:
                try:
                    chunk = os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
                if not chunk:
                    break
                chunks.append(chunk)
            assert process.wait(60) == 0
        os.close(master)
        return b"".join(chunks).decode()

    assert "\x1b[32m" in on_a_terminal()
    plain = on_a_terminal(NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 80 for line in plain.splitlines())
