"""``dataflows run``: start a workflow and watch it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options, json_option
from dataflows_sdk.core.ids import new_id
from dataflows_sdk.errors import RunError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.runs import Run

INTERRUPTED = 130


@click.command()
@click.argument("target", metavar="TARGET")
@click.argument("payload", metavar="[PAYLOAD]", required=False)
@click.option("--module", "-m", metavar="MODULE", help="Where TARGET, then a workflow's name, is defined.")
@click.option("--id", "run_id", metavar="UUID", help="The run's id; starting it twice gives the same run.")
@click.option("--idempotency-key", metavar="KEY", help="A second start with this key gives the first one's run.")
@click.option("--resume", metavar="RUN", help="Start nothing: go on with this run, and watch it.")
@click.option("--detach", is_flag=True, help="Only start it; a process that knows the workflow takes it on.")
@json_option
@database_options
def run(
    target: str, payload: str | None, module: str | None, run_id: str | None, idempotency_key: str | None,
    resume: str | None, detach: bool, as_json: bool, place: Place,
) -> None:  # fmt: skip
    """Run a workflow or flow to its end and print its result.

    TARGET is module:name, path/to/file.py:name, or a workflow's name with --module. PAYLOAD is JSON, @file.json, or -
    for standard input.

    The steps are told on stderr as they happen, the result goes to stdout; with --json {"id", "workflow", "status",
    "result", "error"}. The exit code is 0 only if the run succeeded. Ctrl-C leaves the run where it is, and says how to
    go on.
    """
    if resume is not None and (payload is not None or run_id or idempotency_key or detach):
        raise click.UsageError("--resume goes on with a run: it takes no payload, id, idempotency key or --detach")
    given = _payload(payload)
    from dataflows_sdk.cli import progress  # noqa: F401 - now: once a run is there, Ctrl-C may come at any moment
    from dataflows_sdk.cli.target import load_target

    workflow, flows = load_target(target, module)
    with place.open(work=not detach, make=True) as ctx:
        _register(ctx, workflow, flows)
        identifier = run_id or (new_id() if resume is None and idempotency_key is None else None)
        try:
            if resume is not None:
                started = _resumed(ctx, resume, workflow.name)
            else:
                started = ctx.start(workflow, given, id=identifier, idempotency_key=idempotency_key)
            identifier = started.id
            if detach:
                _print_started(started, as_json, place)
                return
            succeeded = _watch(started, as_json)
        except KeyboardInterrupt:
            again = f"dataflows run {target}" + (f" --module {module}" if module else "")
            _interrupted(ctx, identifier, f"{again} --resume {identifier}{place.hint()}")
            raise
    if not succeeded:
        sys.exit(1)


def _payload(text: str | None) -> Any:
    """The payload that the command line gives; None without one."""
    if text is None:
        return None
    source = "PAYLOAD"
    try:
        if text == "-":
            source, text = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            source = text[1:]
            text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"the payload cannot be read from {source}: {error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        hint = " (a text needs its quotes: '\"text\"')" if source == "PAYLOAD" else ""
        raise click.UsageError(f"{source} is no JSON: {error}{hint}") from None


def _register(ctx: Context, workflow: Any, flows: list[Any]) -> None:
    from dataflows_sdk.errors import DefinitionError

    for flow in flows:
        if flow.name == workflow.name:
            continue
        try:
            ctx.register(flow)  # a sub-flow is found by its name
        except DefinitionError:
            continue  # another flow of the file that has problems is not our business
    ctx.register(workflow)


def _resumed(ctx: Context, run_id: str, name: str) -> Run:
    found = ctx.get(run_id)
    if found.workflow != name:
        raise click.UsageError(f"run {found.id} is one of {found.workflow!r}, and TARGET is {name!r}")
    if found.status == "quarantined":
        found.resume()
    return found


def _interrupted(ctx: Context, identifier: str | None, again: str) -> None:
    from dataflows_sdk.errors import RunNotFoundError

    try:
        found = ctx.get(identifier) if identifier is not None else None
    except RunNotFoundError:  # it was interrupted before the run was there
        found = None
    if found is not None:
        stderr = screen.console(stderr=True)
        stderr.print(f"\ninterrupted; run {found.id} keeps what it has done. Go on with:", soft_wrap=True)
        stderr.print(f"  {again}", soft_wrap=True, markup=False)


def _watch(run: Run, as_json: bool) -> bool:
    from dataflows_sdk.cli.progress import watch

    error: RunError | None = None
    result: Any = None
    try:
        watch(run, quiet=as_json)
        result = run.result()
    except RunError as problem:
        error = problem
    if as_json:
        screen.print_json({
            "id": run.id, "workflow": run.workflow, "status": run.status, "result": result, "error": run.error,
        })  # fmt: skip
    elif error is not None:
        screen.fail(str(error))
        screen.console(stderr=True).print(f"what happened: dataflows show {run.id}", style="dim", soft_wrap=True)
    else:
        _print_result(result)
    return error is None


def _print_result(result: Any) -> None:

    if sys.stdout.isatty():
        from rich.pretty import Pretty

        screen.console().print(Pretty(result))
    else:
        click.echo(result if isinstance(result, str) else repr(result))


def _print_started(run: Run, as_json: bool, place: Place) -> None:

    if as_json:
        screen.print_json({"id": run.id, "workflow": run.workflow, "status": run.status})
        return
    click.echo(run.id)
    screen.console(stderr=True).print(
        f"started; it is {run.status}. Follow it: dataflows tail --run {run.id}{place.hint()}",
        style="dim",
        soft_wrap=True,
    )
