"""Numbers, bars and JSON."""

from __future__ import annotations

import io
import json
import math
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.runs import shortened
from dataflows_sdk.cli.show import users_frames


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (16_384, "16 kB"), (5_200_000, "5.2 MB"), (3 * 10**12, "3.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert screen.size(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, ""), (-1, ""), (0.5, "█████"), (1, "█" * 10), (2, "█" * 10), (0.25, "██▌")]
)
def test_bars(share: float, text: str) -> None:
    assert screen.bar(share, 10) == text


def test_text_of_others_cannot_steer_the_terminal() -> None:
    shown = screen.plain("[red]x[/]\x1b[31m\x07é\n")
    assert shown.plain == "[red]x[/]\\x1b[31m\\x07é\n"


def test_one_line() -> None:
    assert screen.one_line("a\n  b") == "a b"
    assert screen.one_line({"k": 1}) == "{'k': 1}"
    assert len(screen.one_line("x" * 500, 40)) == 40


def test_any_value_becomes_json() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    moment = datetime(2026, 11, 1, tzinfo=UTC)
    value = {"m": moment, "d": Decimal("1.50"), "s": {3}, "o": Odd(), "b": b"\xff\x00", "n": math.nan, "t": (1, 2)}
    assert json.loads(json.dumps(screen.jsonable(value), allow_nan=False)) == {
        "m": "2026-11-01T00:00:00Z", "d": "1.50", "s": [3], "o": "<odd>", "b": "_wA=", "n": "NaN", "t": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize("value", ["žluťoučký", "lone \udc80 surrogate"])
def test_json_for_a_narrow_terminal(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    screen.print_json([value], indent=None)
    assert json.loads(raw.getvalue().decode("ascii")) == [value]


def test_short_ids_tell_the_runs_of_a_page_apart() -> None:
    ids = ["01a201b4-b917-7458-9d25-36cf4064b7be", "01a201b4-4273-7210-a185-6a803c8f6e7b"]
    assert shortened(ids) == ["01a201b4-b917", "01a201b4-4273"]
    twins = ["01a201b4-b917-7458-9d25-36cf4064b7be", "01a201b4-b917-7458-9d26-000000000000"]
    assert shortened(twins) == ["01a201b4-b917-7458-9d25", "01a201b4-b917-7458-9d26"]
    assert shortened([]) == []
    assert shortened(ids[:1] * 2) == ["01a201b4-b917"] * 2


def test_tracebacks_without_the_engine() -> None:
    engine = '  File "/x/dataflows_sdk/engine/calling.py", line 1, in work\n    context.run(fn)\n    ^^^^\n'
    user = '  File "/home.py", line 2, in boom\n    raise KeyError\n'
    head, tail = "Traceback (most recent call last):\n", "KeyError: 3"
    assert users_frames(head + engine + user + tail) == head + user + tail
    assert users_frames(head + user + engine + tail) == head + user + tail
    assert users_frames(head + engine + tail) == head + engine + tail
