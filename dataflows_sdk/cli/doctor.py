"""``dataflows doctor``: is everything well, and if not, what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option

if TYPE_CHECKING:
    from dataflows_sdk.doctor import Diagnosis

_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "problem": "bold red"}
_TITLES = {"problem": "problems", "warning": "warnings", "note": "notes", "ok": "well"}


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

    The exit code says the worst: 2 something does not work (✗), 1 a person should do something (!), 0 neither. Nothing
    is changed by looking.
    """
    if run_id is not None:
        _explain(run_id, as_json, place)
        return
    from dataflows_sdk.cli.checks import examine

    known = _known(modules)
    found = examine(place, known)
    if as_json:
        screen.print_json(found.to_json())
    else:
        _print(found)
    sys.exit(found.exit_code)


def _known(modules: tuple[str, ...]) -> set[str] | None:
    if not modules:
        return None
    from dataflows_sdk.cli.target import load_module, workflows_of

    return {workflow.name for module in modules for workflow in workflows_of(load_module(module))}


def _print(diagnosis: Diagnosis) -> None:
    from rich.table import Table

    from dataflows_sdk.doctor.findings import MARKS

    console = screen.console()
    width = max(len(finding.code) for finding in diagnosis)
    for number, (severity, found) in enumerate(diagnosis.groups()):
        if number:
            console.print()
        console.print(f"[bold]{_TITLES[severity]}[/]")
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        style = _STYLES[severity]
        for finding in found:
            text = screen.plain(f"{finding.subject}: ", "bold")
            text.append_text(screen.plain(finding.message, style if severity in ("warning", "problem") else ""))
            if finding.advice:
                text.append_text(screen.plain(f"\n→ {finding.advice}", "dim"))
            table.add_row(screen.plain(MARKS[severity], style), finding.code, text)
        console.print(table)
    if problems := len(diagnosis.of("problem")):
        console.print(f"\n{problems} thing{'s do' if problems > 1 else ' does'} not work", style="bold red")


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
