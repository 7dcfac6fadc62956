"""A folder with workflows, the program as a process, and the program in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

WORKFLOWS = '''
"""Workflows for tests of the command line."""
import dataflows_sdk as df


@df.workflow("cli-hello")
async def hello(event, step):
    one = await step.run("one", lambda: event.payload["n"] + 1)
    squares = await step.map("squares", lambda i: i * i, range(one))
    await step.sleep("nap", "10ms")
    return {"sum": sum(squares)}


@df.workflow("cli-bad")
def bad(event, step):
    def boom():
        try:
            int("x")
        except ValueError as error:
            raise KeyError("no such order") from error

    step.run("fine", lambda: 1)
    step.run("boom", boom, retry=df.Retry(1, initial_delay="5ms"))


@df.workflow("cli-waits")
async def waits(event, step):
    await step.run("first", lambda: "done")
    return await step.wait_for_event("go", timeout="1h")


sums = (
    df.flow("cli-sums")
    .step("load", lambda event: list(range(event.payload["n"])))
    .step("total", lambda load: sum(load))
)
not_a_workflow = 7
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ``flows_for_cli.py``."""
    (tmp_path / "flows_for_cli.py").write_text(WORKFLOWS, encoding="utf-8")
    return tmp_path


def environment(url: str | None = None, **more: str) -> dict[str, str]:
    """The environment of a user who has set nothing but what is given."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("DATAFLOWS_", "OPENAI_", "COLUMNS", "NO_COLOR", "FORCE_COLOR"))
    }
    return {**kept, **({"DATAFLOWS_URL": url} if url is not None else {}), "PYTHONIOENCODING": "utf-8", **more}


def command(*arguments: str) -> list[str]:
    """The program as a list for subprocess."""
    return [sys.executable, "-m", "dataflows_sdk.cli.main", *arguments]


def _hear_ctrl_c() -> None:
    # A shell that starts the tests in the background has its children ignore SIGINT; these are to hear it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The program as a process that does not outlive the test, however that ends."""
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=_hear_ctrl_c,
        **options,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


Dataflows = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dataflows(folder: Path, database_url: str) -> Dataflows:
    """``dataflows("runs", "--json")``: the program in a process, in the folder, on the test's database."""

    def run(*arguments: str, input: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=folder, env=environment(database_url, **more), input=input,
            capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip

    return run


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(database_url: str) -> Invoke:
    """``invoke("runs")``: the program in this process, on the test's database."""
    from dataflows_sdk.cli.main import cli

    runner = CliRunner(env={"DATAFLOWS_URL": database_url, "COLUMNS": "120", "NO_COLOR": "1"})

    def run(*arguments: str, **options: Any) -> Result:
        result = runner.invoke(cli, list(arguments), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def document(text: str) -> Any:
    """The one JSON document that a text is."""
    return json.loads(text)
