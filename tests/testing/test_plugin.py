"""The pytest plugin, as a user's test suite meets it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SUITE = """
from datetime import timedelta
import dataflows_sdk as df

@df.workflow("reminder")
async def reminder(event, step):
    await step.sleep("a week", "7d")
    return await step.run("remind", lambda: "remember")

def test_virtual(dataflows_ctx, dataflows_clock):
    before = dataflows_clock.now()
    assert dataflows_ctx.run(reminder).result("20s") == "remember"
    assert dataflows_clock.now() - before == timedelta(days=7)

def test_real(dataflows_ctx):
    assert len(dataflows_ctx.runs()) == 0
    run = dataflows_ctx.start(reminder)
    assert run.status in ("running", "sleeping")

def test_url(dataflows_url):
    with df.connect(dataflows_url) as ctx:
        assert len(ctx.runs()) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_its_fixtures(tmp_path: Path, workers: list[str]) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            str(tmp_path / "t"),
            *workers,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_loading_it_loads_nothing_else(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        import dataflows_sdk.testing.pytest_plugin
        heavy = [n for n in sys.modules if n.startswith(("psycopg", "dataflows_sdk.engine", "dataflows_sdk.store",
                 "dataflows_sdk.context", "networkx", "pydantic", "hypothesis"))]
        print(heavy)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
