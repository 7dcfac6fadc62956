"""``dataflows doctor``: is everything well, and if not, what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option

if TYPE_CHECKING:
    from dataflows_sdk.cli.checks import Report

_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--module",
    "-m",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Tell which workflows with open runs are not defined in this module (or file.py); may be repeated.",
)
@json_option
@database_options
def doctor(run_id: str | None, modules: tuple[str, ...], as_json: bool, place: Place) -> None:
    """Look at the installation, the database and the runs; or at one RUN: why is it not over?

    The exit code is 1 when something does not work (marked ✗). Runs that wait for help (!) are no such problem.
    Nothing is changed by looking.
    """
    if run_id is not None:
        _explain(run_id, as_json, place)
        return
    from dataflows_sdk.cli.checks import examine

    known = _known(modules)
    report = examine(place, known)
    if as_json:
        screen.print_json(report.to_json())
    else:
        _print(report)
    if report.problems:
        sys.exit(1)


def _known(modules: tuple[str, ...]) -> set[str] | None:
    if not modules:
        return None
    from dataflows_sdk.cli.target import load_module, workflows_of

    return {workflow.name for module in modules for workflow in workflows_of(load_module(module))}


def _print(report: Report) -> None:
    from rich.table import Table

    console = screen.console()
    width = max(len(finding.name) for _, found in report.chapters() for finding in found)
    for number, (chapter, found) in enumerate(report.chapters()):
        if number:
            console.print()
        console.print(f"[bold]{chapter}[/]")
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        for finding in found:
            mark, style = _MARKS[finding.grade]
            text = screen.plain(finding.text, style if finding.grade in ("warning", "problem") else "")
            if finding.action:
                text.append_text(screen.plain(f"\n→ {finding.action}", "dim"))
            table.add_row(screen.plain(mark, style), finding.name, text)
        console.print(table)
    if report.problems:
        console.print(
            f"\n{report.problems} thing{'s do' if report.problems > 1 else ' does'} not work", style="bold red"
        )


def _explain(run_id: str, as_json: bool, place: Place) -> None:

    with place.open() as ctx:
        run = ctx.get(run_id)
        found = run.explain()
        head = (run.id, run.workflow)
    if as_json:
        screen.print_json({
            "id": head[0], "workflow": head[1], "status": found.status, "summary": found.summary,
            "details": found.details, "actions": found.actions,
        })  # fmt: skip
        return
    from rich.text import Text

    console = screen.console()
    console.print(Text.assemble("run ", (head[0], "bold"), " of ", screen.plain(head[1], "bold")), soft_wrap=True)
    console.print(Text.assemble(screen.status(found.status), ": ", screen.plain(found.summary)), soft_wrap=True)
    for detail in found.details:
        console.print(screen.plain(f"  - {detail}"), soft_wrap=True)
    for action in found.actions:
        console.print(screen.plain(f"  → {action}", "dim"), soft_wrap=True)
