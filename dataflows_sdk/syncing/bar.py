"""How far a sync is, for people: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from dataflows_sdk.bars import bar, place
from dataflows_sdk.engine.state import TERMINAL

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from dataflows_sdk.engine.state import JournalEvent
    from dataflows_sdk.syncing.desk import SyncRun

#: seconds between two looks at the journal, at first and at most, and between two lines
_QUICK, _SLOW, _LINE = 0.03, 0.4, 5.0


class Tally:
    """What the journal says of the pages."""

    def __init__(self) -> None:
        self.pages = self.rows = self.changed = 0
        self.total: int | None = None
        #: what it is at now
        self.doing = "begins"

    def take(self, event: JournalEvent) -> bool:
        """Note an event; gives whether there is something new to say."""
        key, value = event.key or "", event.data.get("value")
        if event.kind == "step.completed" and key.startswith("page ") and isinstance(value, dict) and "rows" in value:
            self.pages += 1
            self.rows += value["rows"]
            self.changed += value["inserted"] + value["updated"] + value["deleted"]
            self.total = value["total"] if value["total"] is not None else self.total
            self.doing = "goes on" if value["more"] else "ends"
            return True
        if event.kind == "step.failed" and key.startswith("page "):
            error = event.data.get("error") or {}
            self.doing = f"{key.partition('#')[0]} failed: {str(error.get('message', ''))[:120]}"
            if event.data.get("retry_at"):
                self.doing += "; tried again"
            return True
        if event.kind == "step.waiting" and key.startswith("rate limit"):
            self.doing = f"waits until {str(event.data.get('until'))[11:19]}Z, as the other side asks"
            return True
        return False

    def __str__(self) -> str:
        rows = f"{self.rows:,} rows" if self.total is None else f"{self.rows:,} of {self.total:,} rows"
        return f"{rows} on {self.pages:,} pages, {self.changed:,} changed"


def show(run: SyncRun, out: TextIO | None = None) -> None:
    """Tell of a sync until it is over."""
    if out is None and place() == "notebook":
        with bar(f"sync {run.input['name']}") as tell:
            _follow(
                run, lambda tally, over: tell(tally.rows, tally.total, f"{tally.pages:,} pages, {over or tally.doing}")
            )
        return
    from rich.console import Console

    console = Console(file=out if out is not None else sys.stderr)
    name = str(run.input["name"])
    if not console.is_terminal:
        _follow(run, _Lines(console, name))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(), TextColumn("{task.fields[sync]}", markup=False), BarColumn(bar_width=30), MofNCompleteColumn(),
        TextColumn("{task.fields[pages]}", markup=False), TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, sync=name, pages="", doing="")
        _follow(run, _Bar(progress, task))


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, tally: Tally, over: str | None) -> None:
        doing = over if over is not None else "" if tally.doing in ("goes on", "ends") else tally.doing
        total: Any = tally.rows if over == "succeeded" else tally.total
        self._progress.update(
            self._task, completed=tally.rows, total=total, pages=f"{tally.pages:,} pages", doing=doing[:100]
        )


class _Lines:
    def __init__(self, console: Any, name: str) -> None:
        self._console, self._name = console, name
        self._last, self._doing = 0.0, ""

    def __call__(self, tally: Tally, over: str | None) -> None:
        doing = over if over is not None else tally.doing
        if over is None and time.monotonic() - self._last < _LINE and doing == self._doing:
            return
        self._last, self._doing = time.monotonic(), doing
        self._console.print(f"{self._name}: {tally} ({doing})", markup=False, highlight=False, soft_wrap=True)


def _follow(run: SyncRun, tell: Any) -> None:
    tally, seq, pause = Tally(), 0, _QUICK
    while True:
        # The standing is read first: when it says that the run is over, the events that follow are the last ones.
        status = run.refresh()._head()["status"]
        events = run._after(seq)
        said = [tally.take(event) for event in events]
        if events:
            seq = events[-1].seq
        if status in TERMINAL:
            tell(tally, status)
            return
        if any(said):
            tell(tally, None)
        pause = _QUICK if events else min(_SLOW, pause * 1.3)
        time.sleep(pause)
