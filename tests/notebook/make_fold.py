"""Writes ``fold.json``: events of real runs, and their state at each point. The folds of both languages are held to it.

By hand, when the model of a view changes: ``PYTHONPATH=. python -m tests.notebook.make_fold``; then read what changed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import dataflows_sdk as df
from dataflows_sdk.notebook.display import view_of
from dataflows_sdk.notebook.folding import fold

from .shows import all_of_them

GOLDEN = Path(__file__).with_name("fold.json")
#: what no run of ours does, and a journal may hold all the same
_RARE: list[list[Any]] = [
    [1, 0, "run.created", "", {"status": "queued"}],
    [2, 1.5, "run.claimed", "", {"why": "queued"}],
    [3, 2, "step.completed", "fast", {"took": 0.0005, "out": "1"}],
    [4, 3, "step.started", "fast", {"attempt": 1}],
    [5, 4, "step.started", "a[1]/b#2", {"op": "run", "name": "b"}],
    [6, 5, "progress", "", {"done": 1, "total": 4, "text": "rows"}],
    [7, 6, "run.lost", "", {}],
    [8, 7, "run.claimed", "", {"why": "lost"}],
    [9, 8, "step.failed", "a[1]/b#2", {"attempt": 1, "retry_at": 20.5, "err": "E: x"}],
    [10, 9, "step.timed_out", "wait", {"op": "wait", "took": 100}],
    [11, 10, "step.skipped", "no", {"reason": "not taken"}],
    [12, 11, "run.quarantined", "", {"reason": "the code changed"}],
    [13, 12, "run.resumed", "", {}],
    [14, 13, "step.waiting", "child", {"op": "child", "child": "c1"}],
    [15, 14, "run.cancel_requested", "", {"reason": "enough"}],
    [16, 15, "run.cancelled", "", {}],
]


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder, df.connect(directory=folder) as ctx:
        cases = {name: view_of(run).events for name, run in all_of_them(ctx).items()}
    cases["rare"] = _RARE
    golden = [
        {"name": name, "events": events, "states": [[n, fold(events, n).plain()] for n in points(len(events))]}
        for name, events in cases.items()
    ]
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":"), sort_keys=True) + "\n")


def points(count: int) -> list[int]:
    """Some numbers of events, the first and the last among them."""
    return sorted({*range(0, count, 1 if count < 20 else 7), count})


if __name__ == "__main__":
    main()
