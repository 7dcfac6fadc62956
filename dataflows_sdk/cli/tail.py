"""``dataflows tail``: the journal as it is written."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows_sdk.cli.follow import Seen
    from dataflows_sdk.context import Context

#: seconds between two looks
_POLL = 0.3


@click.command()
@click.option("--run", "run_id", metavar="RUN", help="Only this run: its whole journal, then on until it is over.")
@click.option("--workflow", "-w", metavar="NAME", help="Only runs of this workflow.")
@click.option("--since", metavar="WHEN", help='Begin earlier: "10m", "24h", or a moment. Without it: from now on.')
@click.option("--limit", "-n", type=click.IntRange(1), help="Stop after so many events.")
@click.option("--no-follow", is_flag=True, help="Print what is there and stop.")
@json_option
@database_options
def tail(
    run_id: str | None, workflow: str | None, since: str | None, limit: int | None, no_follow: bool, as_json: bool,
    place: Place,
) -> None:  # fmt: skip
    """Print events as they come, until Ctrl-C.

    With --json a line per event: {"run", "workflow", "seq", "kind", "key", "at", "data"}.
    """
    with place.open() as ctx:
        wanted = None if run_id is None else UUID(ctx.get(run_id).id)
        begin = _begin(ctx, since, wanted)
        _follow(ctx, begin, wanted, workflow, limit, not no_follow, _printer(as_json))


def _begin(ctx: Context, since: str | None, run: UUID | None) -> datetime:
    if since is not None:
        from dataflows_sdk.arguments import moment_or_ago

        return moment_or_ago(since)
    if run is not None:
        return ctx.get(run).created_at - timedelta(days=1)  # a fork's past is older than the fork
    now: datetime = ctx._read("schema", "server")[0][3]
    return now


def _follow(
    ctx: Context, begin: datetime, run: UUID | None, workflow: str | None, limit: int | None, follow: bool,
    put: Callable[[Seen], None],
) -> None:  # fmt: skip
    from dataflows_sdk.cli.follow import ENDS, Follower

    follower = Follower(lambda name, parameters: ctx._read("look", name, parameters), begin, run, workflow)
    count = 0
    while True:
        over = False
        for event in follower.look():
            put(event)
            count += 1
            if limit is not None and count >= limit:
                return
            over = run is not None and event.kind in ENDS
        if over or not follow:
            return
        time.sleep(_POLL * (0.75 + random.random() / 2))  # noqa: S311 - so that many tails do not knock together


def _printer(as_json: bool) -> Callable[[Seen], None]:

    if as_json:
        return lambda event: screen.print_json(_line(event), indent=None)
    console = screen.console()

    def put(event: Seen) -> None:
        from rich.text import Text

        from dataflows_sdk.cli.show import kind_text

        name = screen.plain(event.workflow, "bold")
        line = Text.assemble(
            (f"{event.at.astimezone():%H:%M:%S.%f}"[:-3], "dim"), " ", (str(event.run)[:18], "dim"), " ", name, " ",
            kind_text(event.kind),
        )  # fmt: skip
        if event.key:
            line.append(" ").append_text(screen.plain(event.key, "bold"))
        detail = _detail(event.data)
        if detail:
            line.append("  ").append_text(screen.plain(detail, "dim"))
        console.print(line, no_wrap=True, overflow="ellipsis", crop=console.is_terminal)

    return put


def _line(event: Seen) -> dict[str, Any]:
    return {
        "run": event.run, "workflow": event.workflow, "seq": event.seq, "kind": event.kind, "key": event.key or None,
        "at": event.at, "data": event.data,
    }  # fmt: skip


def _detail(data: dict[str, Any]) -> str:
    """What a person wants to know of an event's data, on one line."""
    parts = []
    if isinstance(error := data.get("error"), dict):
        parts.append(f"{error.get('type')}: {error.get('message')}")
    if isinstance(reason := data.get("reason"), dict):
        parts.append(str(reason.get("message", "")))
    elif isinstance(reason, str):
        parts.append(reason)
    parts += [f"{name} {data[name]}" for name in ("why", "until", "retry_at", "text") if data.get(name)]
    if data.get("total"):
        parts.append(f"{data.get('done')}/{data['total']}")
    if isinstance(took := data.get("took"), (int, float)):
        parts.append(screen.took(took))
    if "value" in data:
        import json

        parts.append("→ " + screen.one_line(json.dumps(data["value"], ensure_ascii=False), 60))
    return screen.one_line("  ".join(parts), 200)
