"""From repetitions to Markdown: medians, and ratios of pairs that were measured right after one another."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contest import Bar, Contest, Row


@dataclass(frozen=True)
class Repetition:
    row: Row
    name: str
    number: int
    value: float
    #: cores that other programs used meanwhile; a busy neighbour stretches every commit
    foreign: float


class Results:
    """All repetitions of a session."""

    def __init__(self, contest: Contest, repetitions: Iterable[Repetition]) -> None:
        self.contest = contest
        self._values: dict[tuple[Row, str], dict[int, float]] = defaultdict(dict)
        self.foreign: list[float] = []
        for repetition in repetitions:
            self._values[repetition.row, repetition.name][repetition.number] = repetition.value
            self.foreign.append(repetition.foreign)

    def rows(self) -> list[Row]:
        return list(dict.fromkeys(row for row, _ in self._values))

    def median(self, row: Row, name: str) -> float | None:
        values = self._values.get((row, name))
        return statistics.median(values.values()) if values else None

    def spread(self, row: Row, name: str) -> tuple[float, float] | None:
        values = self._values.get((row, name))
        return (min(values.values()), max(values.values())) if values else None

    def ratio(self, row: Row, name: str, other_row: Row, other: str) -> float | None:
        """The median over the repetitions of *name* divided by *other* of the same repetition."""
        ours, theirs = self._values.get((row, name), {}), self._values.get((other_row, other), {})
        pairs = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
        return statistics.median(pairs) if pairs else None


def figures(results: Results) -> str:
    """One line a workload and mode: the median of each contestant, and in brackets smallest and largest."""
    contest = results.contest
    lines = [
        "| workload | mode | " + " | ".join(contest.contestants) + " |",
        "| --- | --- |" + " ---: |" * len(contest.contestants),
    ]
    for row in results.rows():
        if row[0] not in contest.titles:
            continue
        cells = [_cell(results, row, name) for name in contest.contestants]
        lines.append(f"| {row[0]}: {contest.titles[row[0]]} | {row[1]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bars(results: Results) -> str:
    """One line a promise: what it comes to in this session, what was measured, kept or missed."""
    lines = ["| promise | comes to | ours | ratio | |", "| --- | ---: | ---: | ---: | --- |"]
    for bar in results.contest.bars:
        base = results.median(bar.other_row, bar.other) if bar.other else 1.0
        ours = results.median(bar.row, "ours")
        if base is None or (ours is None and not bar.other):
            continue
        ratio = results.ratio(bar.row, "ours", bar.other_row, bar.other) if bar.other else ours
        name = f"{bar.row[0]} {bar.row[1]}: {'at most' if bar.at_most else 'at least'} {bar.factor:g}"
        if bar.other:
            name += f" × {bar.other}"
        if bar.other_row != bar.row:
            name += f" {bar.other_row[1]}"
        shown = f"{ratio:.2f}" if ratio is not None and bar.other else "–"
        lines.append(f"| {name} | {_number(base * bar.factor)} | {_number(ours)} | {shown} | {_verdict(bar, ratio)} |")
    return "\n".join(lines)


def _verdict(bar: Bar, ratio: float | None) -> str:
    if ratio is None:
        return "not measured"
    kept = ratio <= bar.factor if bar.at_most else ratio >= bar.factor
    return "kept" if kept else f"missed, by {abs(ratio / bar.factor - 1):.0%}"


def _cell(results: Results, row: Row, name: str) -> str:
    spread = results.spread(row, name)
    if spread is None:
        return "–"
    return f"{_number(results.median(row, name))} ({_number(spread[0])} … {_number(spread[1])})"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
