"""A run as text, for terminals and logs."""

from __future__ import annotations

from dataflows_sdk.notebook.folding import StepState
from dataflows_sdk.notebook.model import BoxState, View
from dataflows_sdk.notebook.svg import summary

_MARKS = {
    "pending": "·",
    "running": "▶",
    "waiting": "?",
    "retrying": "↻",
    "completed": "✓",
    "failed": "✗",
    "timed_out": "⏱",
    "skipped": "-",
    "cancelled": "∅",
}
_LABEL, _VALUE = 40, 60


def tree(view: View, n: int | None = None, *, lines: int = 200) -> str:
    """Box by box, with the errors of tries that failed.

    Args:
        n: after how many events; all by default.
        lines: how many at most.
    """
    state = view.at(n)
    standings = view.boxes(state)
    parts = view.shape.parts
    wide = min(_LABEL, max((len(part.label) for part in parts), default=0))
    found = [_plain(summary(view, state))]
    for part in parts:
        box = standings[part.id]
        label = _plain(part.label, wide) + (" ×" if part.stacked else "")
        value = box.own["out"] if box.own is not None and box.own["out"] not in (None, "null") else ""
        found.append(f"{_MARKS[box.status]} {label:<{wide + 2}} {box.detail:<28} {_plain(value, _VALUE)}".rstrip())
        found += _errors(box)
    for ask in state.asks.values():
        found.append(f"? {_plain(str(ask['key']))} asks: {_plain(str(ask.get('message', '')), 120)}")
    if state.err:
        found.append(f"✗ {_plain(state.err, 200)}")
    found += [f"({sentence})" for sentence in view.lacks]
    if len(found) > lines:
        found[lines - 1 :] = [f"… {len(found) - lines + 1:,} more lines"]
    return "\n".join(found)


def _errors(box: BoxState) -> list[str]:
    steps: list[StepState] = [*([box.own] if box.own is not None else []), *box.members]
    found: list[str] = []
    for step in steps:
        for number, (_, _, _, error) in enumerate(step["tries"], 1):
            if error:
                where = f"{_plain(step['key'], _LABEL)} " if step is not box.own else ""
                found.append(f"    {where}try {number}: {_plain(error, 120)}")
    return found if len(found) <= 4 else [*found[:3], f"    … {len(found) - 3} more errors"]


def _plain(text: str, limit: int = 200) -> str:
    """One line without signs that a terminal would obey."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
