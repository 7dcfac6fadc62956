"""How things look: consoles, colours, numbers and times."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.sizes import format_size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: columns of output that goes to a file or a pipe, where nobody wants ids cut off
_PIPED_WIDTH = 180

STATUS_STYLES = {
    "queued": "dim",
    "running": "cyan",
    "sleeping": "yellow",
    "waiting": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "quarantined": "bold red",
    # of steps
    "completed": "green",
    "started": "cyan",
    "retrying": "yellow",
    "timed_out": "magenta",
    "skipped": "dim",
}
MARKS = {
    "completed": "✓", "failed": "✗", "skipped": "-", "timed_out": "!", "waiting": "…", "retrying": "↻", "started": "▶",
}  # fmt: skip


@cache
def _console_class() -> type[Console]:
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            raise BrokenPipeError  # `main` ends the process the way that shells expect

    return PipeConsole


def console(*, stderr: bool = False) -> Console:
    """A console for what a person reads. Without colours and boxes, and wide, when it is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a bar that this terminal cannot show must not end the program
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return _console_class()(stderr=stderr, highlight=False, width=width, soft_wrap=False, emoji=False)


def fail(message: str) -> None:
    """An error, on stderr: red where there are colours."""
    from rich.text import Text

    console(stderr=True).print(Text.assemble(("error: ", "bold red"), (message, "red")), soft_wrap=True)


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A table that is plain when piped."""
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD if sys.stdout.isatty() else None,
        pad_edge=False,
        header_style="bold",
        title=title,
        title_justify="left",
        title_style="bold",
        show_edge=False,
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def status(word: str) -> Text:
    """A status word in its colour."""
    from rich.text import Text

    return Text(word, style=STATUS_STYLES.get(word, ""))


def plain(text: str, style: str = "") -> Text:
    """Text of others: no markup in it is obeyed, and control characters do not reach the terminal."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text), style=style)


def when(moment: datetime | None) -> str:
    """A moment in the reader's time zone."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in words."""
    if moment is None:
        return ""
    return format_duration(max(timedelta(0), (now or datetime.now(UTC)) - moment)) + " ago"


def took(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def size(count: int) -> str:
    """Bytes for people: ``"16 kB"``."""
    return format_size(count)


def one_line(value: Any, limit: int = 80) -> str:
    """A value on one line, cut where it is long."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text[: limit * 4].split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bar(share: float, width: int) -> str:
    """A bar of blocks, *share* of *width* long."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


# --- for machines -----------------------------------------------------------------------------------------


def jsonable(value: Any) -> Any:
    """Any recorded value as plain JSON: times in ISO 8601, decimals as texts, what has no JSON as its repr."""
    from pydantic_core import to_jsonable_python

    return _finite(to_jsonable_python(value, fallback=repr, bytes_mode="base64", serialize_unknown=True))


def _finite(value: Any) -> Any:
    # JSON has no NaN and no infinity, although Python's writer writes them
    if isinstance(value, float):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document on stdout; with ``indent=None`` on one line."""
    plain_value = jsonable(value)
    text = json.dumps(plain_value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(plain_value, indent=indent)
    sys.stdout.write(text + "\n")
    if indent is None:
        sys.stdout.flush()  # a line is an event: whoever reads the pipe wants it now


def head_json(head: Mapping[str, Any]) -> dict[str, Any]:
    """The head of a run, by the names of the view ``dataflows.runs``."""
    names = ("id", "workflow", "version", "status", "epoch", "created_at", "started_at", "finished_at")
    links = ("parent", "parent_key", "forked_from", "idempotency_key")
    return {name: head[name] for name in (*names, *links)}
