"""The demo's proof fails when it should."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflows_sdk.cli.demo_proof import Proof, check_rows, prove
from dataflows_sdk.engine.state import JournalEvent

T0 = datetime(2026, 11, 1, tzinfo=UTC)
FIRST, SECOND = 11, 22


def journal(before: list[str], after: list[str]) -> list[JournalEvent]:
    kinds: list[tuple[str, str, dict[str, Any]]] = [("run.created", "", {})]
    kinds += [("step.completed", key, {"op": "run"}) for key in before]
    kinds.append(("run.claimed", "", {"why": "lost"}))
    kinds += [("step.completed", key, {"op": "run"}) for key in after]
    kinds.append(("step.completed", "m", {"op": "map"}))
    return [JournalEvent(i, kind, key, data, T0 + timedelta(seconds=i)) for i, (kind, key, data) in enumerate(kinds, 1)]


def judged(first: list[str], second: list[str], other: list[str] | None = None) -> Proof:
    effects = [
        {"step": key, "pid": pid} for pid, keys in ((FIRST, first), (SECOND, second), (33, other or [])) for key in keys
    ]
    return prove(journal(["read", "m[0]"], ["m[1]", "m[2]", "end"]), effects, FIRST, SECOND)


def test_a_good_run() -> None:
    proof = judged(["read", "m[0]", "m[1]"], ["m[1]", "m[2]", "end"])
    assert proof.holds
    assert (proof.replayed, proof.in_flight) == (2, ["m[1]"])
    assert (proof.killed_at, proof.taken_over_at) == (T0 + timedelta(seconds=3), T0 + timedelta(seconds=4))
    counts = {n.name: (n.steps, n.recorded, n.first, n.second, n.in_flight) for n in proof.nodes}
    assert counts == {
        "read": (1, 1, 1, 0, 0), "m": (3, 1, 2, 2, 1), "end": (1, 0, 0, 1, 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        (["read", "m[0]"], ["m[0]", "m[1]", "m[2]", "end"], []),  # something recorded ran again
        (["read", "m[0]"], ["m[1]", "m[2]"], []),  # a step has a record and never ran
        (["read", "m[0]"], ["m[1]", "m[1]", "m[2]", "end"], []),  # twice in one process
        (["read", "read", "m[0]"], ["m[1]", "m[2]", "end"], []),
        (["read", "m[0]"], ["m[1]", "m[2]", "end"], ["m[2]"]),  # a stranger worked, too
        (["read", "m[0]", "lost"], ["m[1]", "m[2]", "end"], []),  # begun, and never finished by anybody
    ],
)
def test_a_bad_run(first: list[str], second: list[str], other: list[str]) -> None:
    assert not judged(first, second, other).holds


def test_without_a_take_over_there_is_nothing_to_prove() -> None:
    events = [event for event in journal(["read"], []) if event.kind != "run.claimed"]
    with pytest.raises(ValueError, match="not taken over"):
        prove(events, [], FIRST, SECOND)


def result(**changes: Any) -> dict[str, Any]:
    table = [{"flights": 3}, {"flights": 4}]
    whole = {
        "rows": 10,
        "valid": 7,
        "aside": {"a": 2, "b": 1},
        "airlines": table,
        "months": table,
        "ages": table,
        "skies": table,
    }
    return {**whole, **changes}


def test_rows_add_up() -> None:
    assert all(check.holds for check in check_rows(result(), 10))


@pytest.mark.parametrize(
    ("rows", "changes"), [(11, {}), (10, {"valid": 6}), (10, {"aside": {"a": 2}}), (10, {"months": [{"flights": 6}]})]
)
def test_rows_do_not_add_up(rows: int, changes: dict[str, Any]) -> None:
    assert not all(check.holds for check in check_rows(result(**changes), rows))
