"""What the demo says, to a person on a terminal or in a pipe, or to a machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows_sdk.cli import screen
from dataflows_sdk.engine.state import TERMINAL

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from dataflows_sdk.cli.demo_proof import Check, Proof
    from dataflows_sdk.cli.demo_question import Asked
    from dataflows_sdk.cli.demo_tables import Tables
    from dataflows_sdk.cli.place import Place
    from dataflows_sdk.engine.state import JournalEvent
    from dataflows_sdk.flow.builder import Flow
    from dataflows_sdk.past import Explanation
    from dataflows_sdk.runs import Run

_ENDS = {"run.completed", "run.failed", "run.cancelled", "run.quarantined"}


class Board:
    """Counts of the flow's maps, from the journal, and their bars."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self.totals: dict[str, int] = {}
        self.done: dict[str, set[str]] = {}
        self.over = False

    def take(self, event: JournalEvent) -> None:
        """The next event of the run."""
        if event.kind == "scope.opened" and event.key not in self.totals:
            self.totals[event.key] = int(event.data["count"])
            self.done[event.key] = set()
            self._show(event.key)
        elif event.kind == "step.completed":
            group = event.key.partition("[")[0]
            if group in self.done and group != event.key:
                self.done[group].add(event.key)
                self._show(group)
        elif event.kind in _ENDS:
            self.over = True

    def share(self, group: str) -> float:
        """How much of a map is recorded, from 0 to 1."""
        return len(self.done[group]) / self.totals[group] if self.totals.get(group) else 0.0

    def _show(self, group: str) -> None:
        if self._progress is None:
            return
        if group not in self._tasks:
            self._tasks[group] = self._progress.add_task(
                group, total=self.totals[group], completed=len(self.done[group])
            )
        self._progress.update(self._tasks[group], completed=len(self.done[group]))

    def move_to(self, progress: Progress | None) -> Board:
        """The same counts with new bars."""
        self._progress, self._tasks = progress, {}
        for group in self.totals:
            self._show(group)
        return self

    def freeze(self) -> None:
        """Nobody works any more: the clocks of the bars stop."""
        if self._progress is not None:
            for task in self._tasks.values():
                self._progress.stop_task(task)

    def words(self) -> str:
        return ", ".join(f"{group} {len(self.done[group])}/{total}" for group, total in self.totals.items())


class Narrator:
    """Tells the demo's story."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = screen.console()
        self._errors = screen.console(stderr=True)

    def _say(self, *parts: Any) -> None:
        if not self._quiet:
            self._console.print(*parts, soft_wrap=not self._console.is_terminal)

    def opening(self, where: str, flow: Flow) -> None:
        self._say(f"[bold]{flow.description}[/]")
        self._say(screen.plain(where.strip("<>"), "dim"))
        self._say()
        if not self._quiet:
            self._console.print(screen.plain(flow.text()), no_wrap=True, overflow="ellipsis")
        self._say()

    def first(self, run_id: str, pid: int) -> None:
        self._say(f"[bold]1[/]  process {pid} takes on run {run_id}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Something takes a while: say so, on a terminal with a sign of life."""
        if self._quiet or not self._console.is_terminal:
            self._say(f"   {what} …")
            yield
            return
        with self._console.status(what):
            yield

    @contextmanager
    def board(self, earlier: Board | None = None) -> Iterator[Board]:
        """A board with bars on a terminal; elsewhere a line at the end."""
        if self._quiet or not self._console.is_terminal:
            board = Board(None) if earlier is None else earlier.move_to(None)
            yield board
            self._say(f"   {board.words()}")
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("   {task.description:<9}"), BarColumn(bar_width=36), MofNCompleteColumn(), TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=self._console) as progress:
            yield Board(progress) if earlier is None else earlier.move_to(progress)

    def killed(self, pid: int, code: int, noticed: bool, status: str, explanation: Explanation) -> None:
        self._say()
        how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        lock = "; its lock in the database is free" if noticed else ""
        self._say(f"[bold]2[/]  [bold red]kill -9 {pid}[/]: {how}{lock}")
        self._say(screen.plain("   for the journal the run is ") + screen.status(status) + screen.plain(":"))
        self._say(screen.plain(f"   {explanation.summary}", "dim"))
        for detail in explanation.details[:6]:
            self._say(screen.plain(f"   - {detail}", "dim"))
        self._say()

    def second(self, pid: int) -> None:
        self._say(f"[bold]3[/]  process {pid} starts, knows the flow, and takes the run over")

    def finish(
        self,
        run: Run,
        proof: Proof,
        rows: Sequence[Check],
        result: dict[str, Any],
        tables: Tables,
        asked: Asked,
        seconds: float,
        place: Place,
    ) -> None:
        """The whole report."""
        from dataflows_sdk.cli import bars

        console = self._console
        self._say()
        self._say("[bold]what ran, from the lines that the steps left in a file[/]")
        self._say(_proof_table(proof))
        for check in [*proof.checks, *rows]:
            self._say(
                screen.plain("✓ " if check.holds else "✗ ", "green" if check.holds else "bold red")
                + screen.plain(check.text)
            )
        self._say()
        self._say("[bold]timeline[/]  ([red]│[/] killed, [cyan]│[/] taken over)")
        marks = [(proof.killed_at, "bold red"), (proof.taken_over_at, "bold cyan")]
        self._say(bars.timeline(bars.rows_of(run.timeline()), min(console.width, 100), marks=marks))
        self._say()
        self._say("[bold]set aside[/]")
        self._say(_aside_table(result))
        self._say()
        for title, name, count in (
            ("airlines, the most punctual first", "airlines", 16), ("months", "months", 12),
            ("weather at departure", "skies", 5), ("age of the plane", "ages", 5),
        ):  # fmt: skip
            self._say(_delay_table(title, result[name][:count]))
            self._say()
        self._tables(tables)
        self._question(asked)
        self._next(run, asked, seconds, place)
        if not proof.holds or not all(check.holds for check in rows):
            screen.fail("it does not add up: see the lines with ✗")

    def _tables(self, tables: Tables) -> None:
        self._say("[bold]tables of the warehouse[/], with every version of every row")
        loaded = screen.table("table", "new", "as it was", "changed", "s", right=("new", "as it was", "changed", "s"))
        for name, inserted, unchanged, updated, seconds in tables.loaded:
            loaded.add_row(name, f"{inserted:,}", f"{unchanged:,}", f"{updated:,}", f"{seconds:.1f}")
        self._say(loaded)
        self._say()
        self._say(screen.plain("  ctx.warehouse.as_of(then).get('airlines', 'US').name", "cyan"))
        self._say(screen.plain(f"  {tables.changed[0]}; today: {tables.changed[1]}"))
        self._say(screen.plain("  ctx.warehouse.why('airlines', 'US')", "cyan"))
        self._say(screen.plain(f"  {tables.why}"))
        self._say(
            screen.plain("  ctx.sql(\"select ... from flights f join 'airports.csv' p on p.faa = f.dest ...\")", "cyan")
        )
        joined = screen.table("destination", "flights", "late (min)", right=("flights", "late (min)"))
        for name, count, late in tables.join:
            joined.add_row(screen.plain(name), f"{count:,}", f"{late:+.1f}")
        self._say(joined)
        self._say()

    def _question(self, asked: Asked) -> None:
        from dataflows_sdk.cli.demo_question import QUESTION

        self._say("[bold]a question in words[/], answered from the memory and with SQL")
        self._say(screen.plain(f"  ({asked.who})", "dim"))
        if asked.run is None:
            self._say()
            return
        self._say(screen.plain(f"  {QUESTION}", "cyan"))
        self._say(screen.plain(f"  {asked.remembered} airlines are remembered, found {asked.found_by}", "dim"))
        for statement in asked.sql:
            self._say(screen.plain(f"  {statement}", "cyan"))
        if asked.rows:
            table = screen.table(*asked.columns)
            for row in asked.rows[:5]:
                table.add_row(*(screen.plain(str(cell)) for cell in row))
            self._say(table)
        self._say(screen.plain(f"  {asked.answer}", "bold" if asked.found else "yellow"))
        for cited in asked.citations:
            by = f", written by step {cited['step']!r} of {cited['workflow']}" if cited["step"] else ""
            at = f" (run {cited['run']})" if cited["run"] else ""
            # the memory's own words for a row name step and run already
            source = cited["source"].partition(", written by ")[0]
            self._say(screen.plain(f"  [{cited['number']}] {source}{by}{at}"))
        self._say()

    def _next(self, run: Run, asked: Asked, seconds: float, place: Place) -> None:
        hint = place.hint()
        busiest = "enrich[0]"
        self._say(f"[bold]done in {seconds:.1f} s.[/] Look at it:")
        for line in (
            f"dataflows show {run.id}{hint}",
            f"dataflows show {run.id} --step '{busiest}'{hint}",
            f"dataflows show {run.id} --events{hint}",
            *([f"dataflows show {asked.run}{hint}   # every step of the answer"] if asked.run else []),
            f"dataflows runs{hint}   ·   dataflows doctor{hint}",
        ):
            self._say(screen.plain(f"  {line}", "cyan"))
        directory = "" if place.url is not None or not hint else f"directory={str(place.directory)!r}"
        self._say("and with SQL, in Python:")
        self._say(screen.plain(f"  ctx = dataflows_sdk.connect({directory})", "cyan"))
        self._say(screen.plain('  ctx.sql("select name, seconds from steps order by 2 desc limit 5")', "cyan"))

    def as_json(
        self,
        run: Run,
        first: int,
        second: int,
        proof: Proof,
        rows: Sequence[Check],
        result: Any,
        tables: Tables,
        asked: Asked,
        seconds: float,
    ) -> None:
        """One document."""
        checks = [*proof.checks, *rows]
        screen.print_json({
            "run": run.id,
            "status": run.status,
            "seconds": round(seconds, 3),
            "processes": {"killed": first, "finished": second},
            "holds": all(check.holds for check in checks),
            "checks": [{"text": check.text, "holds": check.holds} for check in checks],
            "replayed": proof.replayed,
            "in_flight": proof.in_flight,
            "nodes": [
                {
                    "name": node.name, "steps": node.steps, "recorded": node.recorded, "first": node.first,
                    "second": node.second, "in_flight": node.in_flight,
                }
                for node in proof.nodes
            ],
            "result": result,
            "tables": tables.as_json(),
            "asked": asked.as_json(),
        })  # fmt: skip
        assert run.status in TERMINAL

    def kept(self, folder: Path) -> None:
        """Something is wrong: what is left to look at."""
        self._errors.print(f"the lines that the steps left are in {folder}", soft_wrap=True)


def _proof_table(proof: Proof) -> Any:
    columns = ("step", "steps", "recorded at kill", "ran in 1st", "ran in 2nd", "in both")
    table = screen.table(*columns, right=columns[1:])
    for node in proof.nodes:
        table.add_row(*map(str, (node.name, node.steps, node.recorded, node.first, node.second, node.in_flight or "")))
    return table


def _aside_table(result: dict[str, Any]) -> Any:
    table = screen.table("rows", "reason", right=("rows",))
    for reason, count in result["aside"].items():
        table.add_row(f"{count:,}", screen.plain(reason))
    return table


def _delay_table(title: str, rows: Sequence[dict[str, Any]]) -> Any:
    table = screen.table(
        title, "flights", "on time", "", "late (min)", "made up", right=("flights", "on time", "late (min)", "made up")
    )
    for row in rows:
        table.add_row(
            screen.plain(row["what"]), f"{row['flights']:,}", f"{row['on_time']:.0%}",
            screen.plain(screen.bar(row["on_time"], 12), "green" if row["on_time"] >= 0.8 else "yellow"),
            f"{row['delay']:+.1f}", f"{row['made_up']:+.1f}",
        )  # fmt: skip
    table.columns[3].width = 12
    return table
