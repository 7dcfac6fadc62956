"""``dataflows runs``: a table of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

STATUSES = ("queued", "running", "sleeping", "waiting", "succeeded", "failed", "cancelled", "quarantined")
#: the shortest id that is shown: eight and four digits are the millisecond in which the run was made
_SHORTEST = 13
#: from this many columns on the ids are shown whole
_ROOMY = 110


@click.command()
@click.option("--workflow", "-w", metavar="NAME", help="Only runs of this workflow.")
@click.option("--status", "-s", type=click.Choice(STATUSES), multiple=True, help="Only this status; may be repeated.")
@click.option("--since", metavar="WHEN", help='Only runs begun since: "24h", "7d", or "2026-11-01".')
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@json_option
@database_options
def runs(
    workflow: str | None, status: tuple[str, ...], since: str | None, limit: int, as_json: bool, place: Place
) -> None:
    """List runs, newest first.

    With --json: {"runs": [...], "more": true or false}.
    """
    with place.open() as ctx:
        found = ctx.runs(workflow, list(status) or None, since=since, limit=limit)
        rows = found.rows()
        more = found.next is not None
    if as_json:
        screen.print_json({"runs": rows, "more": more})
        return
    _print(rows, more, limit)


def _print(rows: list[dict[str, Any]], more: bool, limit: int) -> None:

    console = screen.console()
    if not rows:
        console.print("no runs")
        return
    ids = [row["id"] for row in rows]
    shown = ids if console.width >= _ROOMY else shortened(ids)
    table = screen.table("id", "workflow", "status", "created", "took", right=("took",))
    table.columns[0].no_wrap = True
    for short, row in zip(shown, rows, strict=True):
        table.add_row(
            short,
            screen.plain(row["workflow"]),
            screen.status(row["status"]),
            _created(row),
            _took(row),
        )
    console.print(table)
    if more:
        console.print(f"… and older ones: --limit {min(10_000, limit * 10)}", style="dim")


def shortened(ids: Sequence[str]) -> list[str]:
    """The beginnings of ids that tell each from the others on the page."""
    length = _SHORTEST
    whole = max(map(len, ids), default=0)
    while length < whole and len({text[:length] for text in ids}) < len(set(ids)):
        length += 1
    return [text[:length].rstrip("-") for text in ids]


def _created(row: dict[str, Any]) -> str:

    return screen.when(row["created_at"])


def _took(row: dict[str, Any]) -> str:

    if row["started_at"] is None:
        return ""
    return screen.took(row["seconds"]) + ("" if row["finished_at"] is not None else " so far")
