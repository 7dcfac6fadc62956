"""The timeline as rows."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from dataflows_sdk.cli.bars import Row, rows_of, scope_of, timeline
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.engine.timeline import build

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def rows(*events: tuple[str, str, float, dict[str, Any]], fold: bool = True) -> list[Row]:
    journal = [JournalEvent(seq, kind, key, data, at(when)) for seq, (kind, key, when, data) in enumerate(events, 1)]
    return rows_of(build(journal, "running", lambda value: value), fold=fold)


def done(key: str, when: float, took: float = 1.0, op: str = "run") -> tuple[str, str, float, dict[str, Any]]:
    data: dict[str, Any] = {"op": op} if op == "map" else {"op": op, "took": took}
    return ("step.completed", key, when, data)


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        ("load", None),
        ("load#2", None),
        ("squares[3]", "squares"),
        ("squares#2[3]", "squares#2"),
        ("items[1]/a", "items[1]"),
        ("items[1]/inner[0]", "items[1]/inner"),
        ("node/inner", "node"),
        ("a%5B0%5D", None),
    ],
)
def test_scopes(key: str, scope: str | None) -> None:
    assert scope_of(key) == scope


def test_a_group_stands_before_its_branches_and_spans_them() -> None:
    found = rows(done("load", 1), done("sq[0]", 3), done("sq[1]", 4, 2), done("sq", 4.5, op="map"), done("end", 6))
    assert [(row.key, row.depth, row.status) for row in found] == [
        ("load", 0, "completed"), ("sq", 0, "completed"), ("sq[0]", 1, "completed"), ("sq[1]", 1, "completed"),
        ("end", 0, "completed"),
    ]  # fmt: skip
    group = found[1]
    assert (group.begin, group.end, group.note) == (at(2), at(4.5), "× 2")
    assert group.pieces == ((at(2), at(3)), (at(2), at(4)))


def test_a_long_group_is_one_row_and_those_that_did_not_complete() -> None:
    events = [done(f"sq[{i}]", i + 1) for i in range(20)]
    events.append(("step.failed", "sq[20]", 30, {"op": "run", "retry_at": None, "error": {"type": "E", "message": ""}}))
    found = rows(*events)
    assert [row.key for row in found] == ["sq", "sq[20]"]
    assert found[0].note == "× 21: 20 completed, 1 failed"
    assert len(rows(*events, fold=False)) == 22


def test_an_open_group_has_a_row() -> None:
    found = rows(done("sq[0]", 1), ("step.started", "sq[1]", 2, {"op": "run"}))
    assert [(row.key, row.status, row.end) for row in found] == [
        ("sq", "started", None), ("sq[0]", "completed", at(1)), ("sq[1]", "started", None),
    ]  # fmt: skip


def test_steps_inside_of_branches() -> None:
    found = rows(
        done("items[0]/a", 1), done("items[0]/in[0]", 2), done("items[0]/in", 2, op="map"), done("items", 3, op="map")
    )
    assert [(row.key, row.depth) for row in found] == [
        ("items", 0), ("items[0]", 1), ("items[0]/a", 2), ("items[0]/in", 2), ("items[0]/in[0]", 3),
    ]  # fmt: skip


def shown(found: list[Row], width: int = 80, **options: Any) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(timeline(found, width, **options))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_bars_keep_to_the_width(width: int) -> None:
    found = rows(
        done("load", 1), done("a-step-with-quite-a-long-name-and-more-of-it" * 2, 5, 3), done("end", 6, 0.0001)
    )
    lines = shown(found, width)
    assert len(lines) == 3
    assert all(len(line) <= width and "█" in line for line in lines)


def test_bars_lie_where_their_time_is_and_gaps_stay_gaps() -> None:
    found = rows(done("m[0]", 1), done("m[1]", 10), done("m", 10, op="map"))
    (bar,) = [line for line in shown(found, marks=[(at(5), "red")]) if " m " in line]
    inside = bar[bar.index("█") : bar.rindex("█") + 1]
    assert set(inside) == {"█", " ", "│"}
    assert inside.count("│") == 1


def test_nothing_and_no_time_at_all() -> None:
    assert shown([]) in ([], [""])
    assert len(shown([Row("a", 0, "waiting", None, None)])) == 1
    assert len(shown([Row("a", 0, "completed", at(1), at(1))])) == 1
