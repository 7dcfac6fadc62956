"""The chaos test for the suite: the script that anybody can run, for a moment, and the proof that it bites."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals that stop and continue processes are POSIX")


def play(folder: Path, *arguments: str, seconds: float = 200) -> tuple[int, dict[str, Any], str]:
    """The exit code, what came of it, and what was printed."""
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", str(report), "--keep", str(folder / "logs"), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert report.exists(), f"the script ended with {done.returncode} and no report:\n{done.stderr[-3000:]}"
    return done.returncode, json.loads(report.read_text()), done.stdout + done.stderr


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_in_a_moment_of_chaos(tmp_path: Path) -> None:
    code, report, output = play(tmp_path, "--minutes", "0.2", "--seed", "11", "--workers", "4")
    assert report["violations"] == [], output
    assert report["missed"] == [], output
    assert code == 0


@pytest.mark.slow
def test_a_zombie_that_was_made_on_purpose_changes_nothing(tmp_path: Path) -> None:
    code, report, output = play(tmp_path, "--zombie")
    assert report["violations"] == [], output
    assert report["counts"]["takeovers"] == 3
    assert code == 0


@pytest.mark.slow
def test_without_the_fence_the_zombie_is_noticed(tmp_path: Path) -> None:
    """Else the two above would prove nothing."""
    code, report, output = play(tmp_path, "--zombie", "--without-fence")
    kinds = {text.partition(":")[0] for text in report["violations"]}
    assert {"epoch", "journal", "transaction", "step"} <= kinds, output
    assert report["missed"] == [], output
    assert code == 1
