"""``dataflows cancel``, ``resume`` and ``retry``: one run, several, or all that a filter finds."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.bars import bar
from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option

if TYPE_CHECKING:
    from dataflows_sdk.bulk import BulkReport, Progress

Command = Callable[..., Any]
#: with fewer runs nobody needs a bar
_BAR_FROM = 1_000

_OPEN = ("queued", "running", "sleeping", "waiting", "quarantined")


def _filters(command: Command) -> Command:
    """The options that say which runs; the command gets them as *chosen*."""

    @click.argument("run_ids", metavar="[RUN]...", nargs=-1)
    @click.option("--workflow", "-w", metavar="NAME", help="Only runs of this workflow.")
    @click.option("--since", metavar="WHEN", help='Only runs begun since: "24h", "7d", or "2026-11-01".')
    @click.option("--until", metavar="WHEN", help="Only runs begun before.")
    @click.option("--queue", metavar="NAME", help="Only runs of this queue.")
    @click.option("--error", metavar="TYPE", help="Only runs with this type of error, such as KeyError.")
    @click.option("--message", metavar="TEXT", help="Only runs whose error says this.")
    @click.option("--limit", "-n", type=click.IntRange(1), help="At most so many, the oldest first.")
    @click.option("--all", "everything", is_flag=True, help="All of them: needed where no filter is given.")
    @click.option("--dry-run", is_flag=True, help="Only count them.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @json_option
    @database_options
    @functools.wraps(command)
    def filtered(*arguments: Any, run_ids: tuple[str, ...], everything: bool, **options: Any) -> Any:
        names = ("workflow", "since", "until", "queue", "error", "message", "limit")
        chosen = {name: options.pop(name) for name in names}
        status = list(options.get("status") or ())
        if not run_ids and not everything and not status and all(v is None for k, v in chosen.items() if k != "limit"):
            raise click.UsageError("which runs? Name one or more, or --workflow, --since, --error, …, or --all")
        chosen["everything"] = everything
        return command(*arguments, run_ids=run_ids, chosen=chosen, **options)

    return filtered


@click.command()
@_filters
@click.option("--status", "-s", type=click.Choice(_OPEN), multiple=True, help="Only this status; may be repeated.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it stands in the journal of each run.")
def cancel(
    run_ids: tuple[str, ...],
    chosen: dict[str, Any],
    status: tuple[str, ...],
    reason: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Cancel runs that are not over.

    Those that nobody executes and that have nothing to undo end at once, the others at their next step or wait. The
    number is shown before anything is done. Ctrl-C stops after a page of runs; the same command goes on.
    """
    _bulk("cancel", run_ids, {**chosen, "status": list(status) or None}, dry_run, yes, as_json, place, reason=reason)


@click.command()
@_filters
@click.option("--status", "-s", type=click.Choice(["quarantined"]), multiple=True, hidden=True)
def resume(
    run_ids: tuple[str, ...],
    chosen: dict[str, Any],
    status: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Let quarantined runs go on, with the code of the worker that takes them on."""
    if status:
        chosen = {**chosen, "everything": True}
    _bulk("resume", run_ids, chosen, dry_run, yes, as_json, place)


@click.command()
@_filters
@click.option("--status", "-s", type=click.Choice(["failed"]), multiple=True, hidden=True)
@click.option("--again", is_flag=True, help="Also those that were tried again already.")
def retry(
    run_ids: tuple[str, ...],
    chosen: dict[str, Any],
    status: tuple[str, ...],
    again: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Try failed runs again: each is forked at the step that failed.

    A retry is a new run that shares what the failed one had done and does the rest with the code of the worker that
    takes it on. Runs that have a fork already are left out.
    """
    if status:
        chosen = {**chosen, "everything": True}  # only failed runs are tried again anyway
    _bulk("retry", run_ids, chosen, dry_run, yes, as_json, place, again=again)


def _bulk(
    action: str,
    run_ids: tuple[str, ...],
    chosen: dict[str, Any],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    place: Place,
    **more: Any,
) -> None:
    with place.open() as ctx:
        runs = [ctx.get(each) for each in run_ids] or None
        verb = getattr(ctx.bulk, action)
        counted: BulkReport = verb(**chosen, **more, runs=runs, dry_run=True)
        if dry_run or not counted.total:
            _show(counted, as_json)
            return
        if not yes:
            _ask(counted, as_json)
        with _stoppable() as stopped, _bar(action, counted.total, as_json) as told:
            report = verb(**chosen, **more, runs=runs, progress=lambda done, total: told(done, total) and not stopped())
    _show(report, as_json)
    if report.failed:
        sys.exit(1)


def _ask(counted: BulkReport, as_json: bool) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"{counted.lines()[0]}; say --yes, because nobody can be asked here")
    if not as_json:
        _show(counted, as_json)
    click.confirm("Go on?", abort=True, err=True)


def _show(report: BulkReport, as_json: bool) -> None:
    if as_json:
        screen.print_json(report.to_json())
        return
    console = screen.console()
    for line in report.lines():
        console.print(screen.plain(line), soft_wrap=True)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the operation after the page that is under way; a second one ends it at once."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar(action: str, total: int, as_json: bool) -> Iterator[Progress]:
    if as_json or total < _BAR_FROM or not sys.stderr.isatty():
        yield lambda _done, _total: True
        return
    with bar(action, total, where="terminal") as tell:

        def told(done: int, total: int) -> bool:
            tell(done, total)
            return True

        yield told


__all__ = ["cancel", "resume", "retry"]
