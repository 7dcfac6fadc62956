"""Watching a run while it happens: what the journal says, as it says it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.cli import bars, screen
from dataflows_sdk.engine.state import TERMINAL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from dataflows_sdk.engine.state import JournalEvent
    from dataflows_sdk.runs import Run

#: seconds between two looks at the journal, at first and at most
_QUICK, _SLOW = 0.03, 0.4


class Board:
    """What to say of events: a line for every step that ended, and one for what goes on now."""

    def __init__(self) -> None:
        #: groups that are open: key to (done, all)
        self.groups: dict[str, list[int]] = {}
        self.open: dict[str, str] = {}
        self.text = ""

    def take(self, event: JournalEvent) -> Text | None:
        """Note an event; gives the line it is worth."""
        from rich.text import Text

        data, key = event.data, event.key
        if event.kind == "scope.opened":
            self.groups[key] = [0, int(data.get("count") or 0)]
            return None
        if event.kind == "progress":
            self.text = str(data.get("text") or "")
            return None
        if not event.kind.startswith("step."):
            return self._run_line(event)
        word = event.kind[5:]
        group = bars.scope_of(key)
        retried = word == "failed" and data.get("retry_at") is not None
        count: list[int] | None = None
        if word in ("started", "waiting") or retried:
            self.open[key] = "retrying" if retried else word
        else:
            self.open.pop(key, None)
            count = self.groups.pop(key, None)
            if count is None and group in self.groups:
                self.groups[group][0] += 1
                if word == "completed":
                    return None
        if word == "started":
            return None
        mark = "retrying" if retried else word
        line = Text.assemble(
            (screen.MARKS.get(mark, "·") + " ", screen.STATUS_STYLES.get(mark, "")),
            screen.plain(key),
        )
        if count is not None:
            line.append(f"  × {count[1]}", style="dim")
        if (took := data.get("took")) is not None:
            line.append(f"  {screen.took(took)}", style="dim")
        if isinstance(error := data.get("error"), dict):
            line.append_text(
                screen.plain(f"  {error.get('type')}: {screen.one_line(error.get('message', ''), 100)}", "red")
            )
        if retried:
            line.append("  tried again", style="dim")
        if word == "waiting":
            line.append_text(screen.plain(f"  {_wait(data)}", "dim"))
        return line

    def _run_line(self, event: JournalEvent) -> Text | None:
        from rich.text import Text

        if event.kind == "run.claimed" and event.data.get("why") == "lost":
            return Text("↻ taken over: the process that ran it is gone", style="yellow")
        return None

    def now(self) -> str:
        """What goes on, in a line."""
        parts = [f"{key} {done}/{total}" for key, (done, total) in self.groups.items() if total]
        parts += [
            f"{key} {word}" for key, word in self.open.items() if not any(key.startswith(g + "[") for g in self.groups)
        ]
        if self.text:
            parts.append(self.text)
        return " · ".join(parts[:6]) or "running"


def _wait(data: dict[str, Any]) -> str:
    if data.get("event"):
        return f"waits for event {data['event']!r}"
    if data.get("child"):
        return f"waits for child run {data['child']}"
    return f"waits until {screen.when(datetime.fromisoformat(data['until']))}" if data.get("until") else "waits"


def watch(run: Run, *, quiet: bool = False) -> None:
    """Wait until *run* is over or quarantined, and tell its steps on stderr as they happen."""
    if quiet:
        run.wait()
        return

    console = screen.console(stderr=True)
    console.print(f"run {run.id}", style="dim", soft_wrap=True)
    board = Board()
    if console.is_terminal:
        with console.status("starting", spinner="dots") as line:
            _look(run, board, console, line.update)
    else:
        _look(run, board, console, None)


def _look(run: Run, board: Board, console: Console, tell: object) -> None:
    from rich.markup import escape

    seq, pause = 0, _QUICK
    while True:
        # The standing is read first: when it says that the run is over, the events that follow are the last ones.
        over = run.refresh()._head()["status"] in TERMINAL
        events = list(_events_after(run, seq))
        for event in events:
            seq = event.seq
            line = board.take(event)
            if line is not None:
                console.print(line, soft_wrap=not console.is_terminal, no_wrap=True, overflow="ellipsis")
        if over:
            return
        if callable(tell):
            tell(escape(board.now()))
        pause = _QUICK if events else min(_SLOW, pause * 1.3)
        time.sleep(pause)


def _events_after(run: Run, seq: int) -> list[JournalEvent]:
    from dataflows_sdk.engine.state import parse

    rows = run._context._read("look", "events", (run._id, seq, None))
    return [parse(number, kind, key, data, at) for number, kind, key, data, at, _ in rows]
