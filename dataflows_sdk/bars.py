"""How far long work is, for people: the one way in which the library shows progress of what it is called for.

In a notebook a bar comes up by itself once something takes longer than a moment. It is plain HTML that is replaced in
its place a few times a second, so that it needs no widget library, and is whole in a saved notebook. In a terminal it
is a bar of rich, in the interactive interpreter or where ``DATAFLOWS_PROGRESS=1`` asks for it;
``DATAFLOWS_PROGRESS=0`` is silence everywhere.
"""

from __future__ import annotations

import html
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from dataflows_sdk.core.durations import format_duration

#: what takes no longer shows nothing; seconds between two pictures
_MOMENT, _PAUSE = 1.0, 0.2

Place = Literal["notebook", "terminal", "nowhere"]


class Tell(Protocol):
    """Call it with what is done; it may be called as often as one likes."""

    def __call__(self, done: float, total: float | None = None, text: str = "") -> None: ...


def place() -> Place:
    """Where progress is shown."""
    said = os.environ.get("DATAFLOWS_PROGRESS", "").lower()
    if said in {"0", "no", "off", "false"}:
        return "nowhere"
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is not None:
        return "notebook"
    asked = bool(said) or shell is not None or hasattr(sys, "ps1")
    return "terminal" if asked and sys.stderr.isatty() else "nowhere"


@contextmanager
def bar(what: str, total: float | None = None, *, where: Place | None = None, after: float = _MOMENT) -> Iterator[Tell]:
    """Show how far something is, until the end of the block.

    Args:
        what: in a few words.
        total: how much there is, where that is known.
        where: by default as `place` says.
        after: seconds from now before which nothing is shown.
    """
    where = where or place()
    if where == "nowhere":
        yield lambda _done, _total=None, _text="": None
    elif where == "notebook":
        shown = _Picture(what, total, after)
        try:
            yield shown.tell
        except BaseException:
            shown.end("stopped")
            raise
        shown.end("")
    else:
        with _terminal(what, total) as tell:
            yield tell


class _Picture:
    """A bar in a notebook, replaced in its place."""

    def __init__(self, what: str, total: float | None, after: float) -> None:
        self._what, self._total = what, total
        self._done, self._text = 0.0, ""
        self._began = time.monotonic()
        self._after = after
        self._last = self._began
        self._handle: Any = None

    def tell(self, done: float, total: float | None = None, text: str = "") -> None:
        self._done, self._total, self._text = done, total if total is not None else self._total, text
        now = time.monotonic()
        if now - self._began >= self._after and now - self._last >= (_PAUSE if self._handle is not None else 0):
            self._last = now
            self._show(over=False)

    def end(self, how: str) -> None:
        if self._handle is not None:
            self._text = how
            self._show(over=True)

    def _show(self, *, over: bool) -> None:
        import IPython.display as shown

        display: Callable[..., Any] = shown.display
        data = {"text/plain": self._line(), "text/html": self._html(over)}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def _line(self) -> str:
        total = "" if self._total is None else f" of {self._total:,.0f}"
        seconds = format_duration(round(time.monotonic() - self._began, 1))
        return " · ".join(filter(None, (f"{self._what}: {self._done:,.0f}{total}", self._text[:100], seconds)))

    def _html(self, over: bool) -> str:
        line = html.escape(self._line())
        if over:
            return f"<div><small>{line}</small></div>"
        size = "" if not self._total else f' max="{self._total:g}" value="{min(self._done, self._total):g}"'
        name = html.escape(self._what, quote=True)
        return f'<div><progress{size} aria-label="{name}"></progress> <small>{line}</small></div>'


@contextmanager
def _terminal(what: str, total: float | None) -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    words = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[text]}", markup=False)
    columns = words[0], BarColumn(bar_width=30), MofNCompleteColumn(), words[1], TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, text="")

        def tell(done: float, total: float | None = None, text: str = "") -> None:
            more: dict[str, Any] = {} if total is None else {"total": total}
            progress.update(task, completed=done, text=text[:100], **more)

        yield tell
