"""A run's timeline as rows with bars: branches under their group, long groups folded into one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dataflows_sdk.cli import screen

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from dataflows_sdk.engine.timeline import StepView

#: branches of one group that are shown one by one
_SHOWN = 8
_KEY_WIDTH = 36
_SETTLED = frozenset({"completed", "skipped"})


@dataclass(slots=True)
class Row:
    """A step, or a group of them, on the time axis of its run.

    Attributes:
        key: as in the journal.
        depth: how many scopes it stands in.
        begin, end: *end* is None while it is open.
        note: attempts, counts of a folded group, until when it waits.
    """

    key: str
    depth: int
    status: str
    begin: datetime | None
    end: datetime | None
    note: str = ""
    #: when something really ran, for a group: its branches' last attempts
    pieces: tuple[tuple[datetime, datetime], ...] = ()


def scope_of(key: str) -> str | None:
    """What a step stands in: the group of a branch, the branch or node of a step inside of it; None at the top."""
    head, _, last = key.rpartition("/")
    if last.endswith("]") and "[" in last:
        cut = last[: last.rindex("[")]
        return f"{head}/{cut}" if head else cut
    return head or None


def rows_of(steps: Iterable[StepView], *, fold: bool = True) -> list[Row]:
    """The rows of a timeline in the order in which they are shown.

    Args:
        steps: of one run, in the order in which they began.
        fold: give a group of many branches as one row, with those of its branches that did not complete.
    """
    by_key = {step.key: step for step in steps}
    children: dict[str | None, list[str]] = {}
    known: set[str] = set()

    def place(key: str) -> None:
        # a group is recorded when it ends, and a branch never: both have a row as soon as something stands in them
        if key in known:
            return
        known.add(key)
        scope = scope_of(key)
        if scope is not None:
            place(scope)
        children.setdefault(scope, []).append(key)

    for key in by_key:
        place(key)
    found: list[Row] = []
    _add(children, by_key, None, 0, fold, found)
    return found


def _add(
    children: dict[str | None, list[str]], steps: dict[str, StepView], scope: str | None, depth: int, fold: bool,
    found: list[Row],
) -> None:  # fmt: skip
    keys = children.get(scope, [])
    folded = fold and scope is not None and len(keys) > _SHOWN
    for key in keys:
        row = _row(children, steps, key, depth)
        if folded and row.status in _SETTLED:
            continue
        found.append(row)
        _add(children, steps, key, depth + 1, fold, found)


def _row(children: dict[str | None, list[str]], steps: dict[str, StepView], key: str, depth: int) -> Row:
    step = steps.get(key)
    inner = [_row(children, steps, child, depth + 1) for child in children.get(key, [])]
    begin = min((row.begin for row in inner if row.begin is not None), default=None)
    if step is not None and step.started_at is not None and (begin is None or step.started_at < begin):
        begin = step.started_at
    note = ""
    pieces = tuple(piece for row in inner for piece in row.pieces)
    if inner:
        note = _counts(inner)
    elif step is not None and step.attempt > 1:
        note = f"attempt {step.attempt}"
    if step is None:  # a branch with steps of its own, or a group that is still open
        open_row = next((row for row in inner if row.status not in _SETTLED), None)
        ends = [row.end for row in inner if row.end is not None]
        if open_row is None and not key.endswith("]"):
            return Row(key, depth, "started", begin, None, note, pieces)
        status = "completed" if open_row is None else open_row.status
        return Row(key, depth, status, begin, max(ends, default=None) if open_row is None else None, note, pieces)
    if step.until is not None and step.status in ("waiting", "retrying"):
        note = f"{note}, " * bool(note) + f"until {step.until.astimezone():%H:%M:%S}"
    if step.status not in ("completed", "started"):
        note = f"{step.status} {note}".strip()
    if not inner and step.finished_at is not None and step.seconds is not None:
        pieces = ((step.finished_at - timedelta(seconds=step.seconds), step.finished_at),)
    return Row(key, depth, step.status, begin, step.finished_at, note, pieces)


def _counts(inner: Sequence[Row]) -> str:
    if len(inner) == 1:
        return ""
    counts = Counter(row.status for row in inner)
    if set(counts) == {"completed"}:
        return f"× {len(inner)}"
    return f"× {len(inner)}: " + ", ".join(f"{count} {word}" for word, count in counts.most_common())


def timeline(
    rows: Sequence[Row], width: int, *, now: datetime | None = None, marks: Sequence[tuple[datetime, str]] = ()
) -> Table:
    """The rows as a table with bars.

    Args:
        rows: from `rows_of`.
        width: columns to fill.
        now: where open bars end; by default the latest moment that is known.
        marks: moments to be marked through all bars, each with a style.
    """
    from rich.table import Table

    moments = [m for row in rows for m in (row.begin, row.end) if m is not None] + [moment for moment, _ in marks]
    begin = min(moments, default=datetime.now(UTC))
    end = max([*moments, *([now] if now is not None else [])], default=begin)
    key_width = min(_KEY_WIDTH, width // 3, max(4, *(len(_label(row)) for row in rows), 0))
    note_width = max((len(row.note) for row in rows), default=0)
    space = max(6, width - key_width - min(note_width, 24) - 2 - 9 - 6)
    made = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, width=key_width, overflow="ellipsis")
    made.add_column(no_wrap=True, width=space)
    made.add_column(no_wrap=True, justify="right", min_width=8)
    made.add_column(overflow="fold", max_width=max(8, min(note_width, 40)))
    for row in rows:
        style = screen.STATUS_STYLES.get(row.status, "")
        seconds = (row.end - row.begin).total_seconds() if row.begin is not None and row.end is not None else None
        made.add_row(
            screen.plain(screen.MARKS.get(row.status, "·"), style),
            screen.plain(_label(row)),
            _bar(row, begin, end, space, style, marks),
            screen.took(seconds),
            screen.plain(row.note, "dim"),
        )
    return made


def _label(row: Row) -> str:
    # inside of its scope the last part of a key says enough
    scope = scope_of(row.key)
    shown = row.key if scope is None else row.key[len(scope) :].lstrip("/")
    return "  " * row.depth + shown


def _bar(
    row: Row, begin: datetime, end: datetime, width: int, style: str, marks: Sequence[tuple[datetime, str]]
) -> Text:
    from rich.text import Text

    span = max((end - begin).total_seconds(), 1e-6)

    def place(moment: datetime) -> int:
        return max(0, min(width - 1, int((moment - begin) / timedelta(seconds=span) * width)))

    text = Text(" " * width)
    if row.pieces and row.end is not None:
        cells = [" "] * width
        for start, stop in row.pieces:
            left = place(start)
            for column in range(left, max(left + 1, place(stop))):
                cells[column] = "█" if row.status == "completed" else "▓"
        text = Text("".join(cells), style=style)
    elif row.begin is not None:
        left = place(row.begin)
        right = max(left + 1, place(row.end if row.end is not None else end) + (row.end is None))
        cell = "█" if row.status == "completed" else "▒" if row.end is None else "▓"
        text = Text(" " * left) + Text(cell * (right - left), style=style) + Text(" " * (width - right))
    for moment, mark_style in marks:
        column = place(moment)
        text = text[:column] + Text("│", style=mark_style) + text[column + 1 :]
    return text
