"""The state of a run at any point: one file tells Python and the page what it has to be."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.notebook.folding import OPEN, above, box_of, fold, standing
from dataflows_sdk.notebook.model import duration
from dataflows_sdk.notebook.svg import Axis

from ..conftest import Need

HERE = Path(__file__).parent
CASES = json.loads((HERE / "fold.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_fold_is_as_the_file_says(case: dict[str, Any]) -> None:
    for n, state in case["states"]:
        assert json.loads(json.dumps(fold(case["events"], n).plain())) == state, n


def test_the_file_shows_what_there_is() -> None:
    statuses = {step["status"] for case in CASES for _, state in case["states"] for step in state["steps"].values()}
    assert statuses >= {"running", "waiting", "retrying", "completed", "failed", "timed_out", "skipped", "cancelled"}
    ends = {case["states"][-1][1]["status"] for case in CASES}
    assert ends == {"succeeded", "failed", "cancelled"}


def test_the_page_folds_the_same(need: Need) -> None:
    if shutil.which("node") is None:
        need("no node on this machine")
    done = subprocess.run(
        ["node", "--test", str(HERE / "fold.test.mjs")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


KINDS = st.sampled_from(
    [
        ("step.started", {}),
        ("step.waiting", {"op": "wait", "event": "go"}),
        ("step.completed", {"took": 0.002, "out": "1"}),
        ("step.failed", {"err": "E: no", "retry_at": 9.0}),
        ("step.failed", {"err": "E: no"}),
        ("step.skipped", {"reason": "no"}),
    ]
)


@given(st.lists(st.tuples(KINDS, st.sampled_from(["a", "b[1]/c", "b[2]/c#2"]), st.integers(1, 3)), max_size=30))
def test_any_order_of_events_gives_a_state(drawn: list[tuple[tuple[str, dict[str, Any]], str, int]]) -> None:
    events: list[list[Any]] = [[1, 0.0, "run.created", "", {}]]
    for (kind, data), key, attempt in drawn:
        events.append([len(events) + 1, float(len(events)), kind, key, {**data, "attempt": attempt}])
    events.append([len(events) + 1, float(len(events)), "run.failed", "", {"err": "E"}])
    state = fold(events)
    assert state.over
    assert not {step["status"] for step in state.steps.values()} & OPEN
    assert all(begin <= end for step in state.steps.values() for begin, end, _, _ in step["tries"])


def test_a_step_belongs_to_what_is_above_it() -> None:
    way, key = [], "a[1]/b[x]/c#2?1"
    while key is not None:
        way.append(key)
        key = above(key)  # type: ignore[assignment]
    assert way == ["a[1]/b[x]/c#2?1", "a[1]/b[x]/c#2", "a[1]/b[x]/c", "a[1]/b[x]", "a[1]/b", "a[1]", "a"]
    assert box_of("a[1]/b[x]/c#2", {"a": 1, "a[1]/b": 2}) == "a[1]/b"
    assert box_of("z", {"a": 1}) is None


def test_how_a_box_stands_that_shows_several() -> None:
    def some(*statuses: str) -> list[dict[str, Any]]:
        return [{"status": status} for status in statuses]

    assert standing(None, some("completed", "failed", "running"), 3, over=False) == "failed"
    assert standing(None, some("completed"), 3, over=False) == "running"
    assert standing(None, some("completed"), 3, over=True) == "completed"
    assert standing(None, some("completed", "cancelled"), 3, over=True) == "cancelled"
    assert standing(None, [], 3, over=False) == "pending"
    assert standing({"status": "completed"}, some("failed"), None, over=False) == "completed"


def test_times_in_words() -> None:
    words = [duration(ms) for ms in (0, 0.5, 999.4, 1_000, 1_250, 119_999, 120_000, 7_200_000)]
    assert words == ["0 ms", "1 ms", "999 ms", "1.0 s", "1.3 s", "120.0 s", "2 min", "2.0 h"]


@given(st.lists(st.floats(0, 1e9), max_size=40))
def test_time_goes_on_from_left_to_right(times: list[float]) -> None:
    axis = Axis(times)
    places = [axis.at(time) for time in sorted(times)]
    assert places == sorted(places)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_idle_time_is_cut_out() -> None:
    axis = Axis([0, 1_000, 86_400_000, 86_401_000])
    assert [each.idle for each in axis.stretches] == [86_399_000, 0]
    assert axis.at(1_000) > 0.4
