"""``dataflows show``: one run, from its input to its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli import bars, screen
from dataflows_sdk.cli.place import Place, database_options, json_option
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from rich.console import Console

    from dataflows_sdk.engine.state import JournalEvent
    from dataflows_sdk.engine.timeline import StepView
    from dataflows_sdk.runs import Run

_OVER = frozenset({"succeeded", "failed", "cancelled"})
#: lines of a value, and columns of bars, that are shown without --all
_LINES = 40
_WIDEST = 120


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--events", is_flag=True, help="The journal: every event of the run.")
@click.option("--step", "step_key", metavar="KEY", help="One step: input, output, attempts, source.")
@click.option("--all", "everything", is_flag=True, help="Every branch of every map, and values in full.")
@json_option
@database_options
def show(run_id: str, events: bool, step_key: str | None, everything: bool, as_json: bool, place: Place) -> None:
    """Show what a run did; RUN is its id or the beginning of it."""
    if events and step_key is not None:
        raise click.UsageError("--events and --step are two views; give one of them")
    with place.open() as ctx:
        found = ctx.get(run_id)
        if events:
            journal = found.events()
            if as_json:
                screen.print_json({"id": found.id, "events": [event_json(event) for event in journal]})
            else:
                _print_events(screen.console(), journal, everything)
        elif step_key is not None:
            step = _find_step(found, step_key)
            if as_json:
                source = step_source(found.source, step)
                screen.print_json({"id": found.id, "step": step_json(step), "source": source})
            else:
                _print_step(screen.console(), found, step, everything)
        elif as_json:
            screen.print_json(run_json(found))
        else:
            _print_run(screen.console(), found, everything, place)


# --- for machines -----------------------------------------------------------------------------------------


def run_json(run: Run) -> dict[str, Any]:
    """Everything that ``dataflows show --json`` prints of a run."""
    head = screen.head_json(run._head())
    last = run.events()[-1]
    result = run._decode(last.data.get("value")) if last.kind == "run.completed" else None
    explanation = run.explain()
    return {
        **head,
        "input": run.input,
        "result": result,
        "error": run.error,
        "explanation": {
            "summary": explanation.summary, "details": explanation.details, "actions": explanation.actions,
        },
        "children": [child.id for child in run.children()],
        "steps": [step_json(step) for step in run.timeline()],
    }  # fmt: skip


def step_json(step: StepView) -> dict[str, Any]:
    """A step with its values."""
    return {
        "key": step.key, "name": step.name, "op": step.op, "status": step.status, "attempt": step.attempt,
        "started_at": step.started_at, "finished_at": step.finished_at, "seconds": step.seconds, "until": step.until,
        "uncertain": step.uncertain, "child": step.child, "input": step.input, "output": step.output,
        "error": step.error,
        "failures": [
            {"attempt": failure.number, "error": failure.error, "at": failure.at, "retry_at": failure.retry_at}
            for failure in step.failures
        ],
    }  # fmt: skip


def event_json(event: JournalEvent) -> dict[str, Any]:
    """An event as it stands in the journal."""
    return {"seq": event.seq, "kind": event.kind, "key": event.key or None, "at": event.at, "data": event.data}


# --- for people -------------------------------------------------------------------------------------------


def _print_run(console: Console, run: Run, everything: bool, place: Place) -> None:
    journal = run.events()
    steps = list(run.timeline())
    _print_head(console, run)
    _print_value(console, "input", run.input, everything)
    if steps:
        console.print("\n[bold]timeline[/]")
        now = None if run.status in _OVER else journal[-1].at
        width = min(console.width, _WIDEST)
        console.print(bars.timeline(bars.rows_of(steps, fold=not everything), width, now=now))
    for step in steps:
        for failure in step.failures:
            final = failure.retry_at is None
            _print_failure(console, step.key, failure.number, failure.error, traceback=final, whole=everything)
    last = journal[-1]
    if last.kind == "run.completed":
        console.print()
        _print_value(console, "result", run._decode(last.data.get("value")), everything)
    else:
        error = last.data.get("error") if last.kind == "run.failed" else None
        if error and "step" not in error:
            _print_failure(console, None, 1, error, traceback=True, whole=everything)
        console.print()
        _print_explanation(console, run)
    if console.is_terminal:
        short = run.id[:13]
        console.print(f"\n[dim]next: dataflows show {short} --step KEY, or --events{place.hint()}[/]", soft_wrap=True)


def _print_head(console: Console, run: Run) -> None:
    from rich.text import Text

    head = run._head()
    console.print(Text.assemble("run ", (run.id, "bold")))
    began, ended = head["started_at"], head["finished_at"]
    line = Text.assemble(screen.plain(head["workflow"], "bold"), "  ", screen.status(head["status"]))
    if began is not None and ended is not None:
        line.append(f" in {screen.took((ended - began).total_seconds())}")
    console.print(line)
    facts = [
        f"begun {screen.when(head['created_at'])} ({screen.ago(head['created_at'])})",
        f"version {head['version']}",
    ]
    if head["epoch"] > 1:
        facts.append(f"claimed {head['epoch']} times")
    if head["idempotency_key"] is not None:
        facts.append(f"idempotency key {head['idempotency_key']}")
    for name, words in (("parent", "child of"), ("forked_from", "fork of")):
        if head[name] is not None:
            facts.append(f"{words} {head[name]}")
    console.print(screen.plain(" · ".join(facts), "dim"))
    children = run.children()
    for child in children[:10]:
        console.print(
            Text.assemble(
                ("child ", "dim"), child.id, " ", screen.plain(child.workflow), " ", screen.status(child.status)
            )
        )
    if len(children) > 10:
        console.print(f"[dim]… and {len(children) - 10} more children[/]")


def _print_value(console: Console, label: str, value: Any, everything: bool) -> None:
    from rich.highlighter import ReprHighlighter
    from rich.pretty import pretty_repr

    if everything:
        text, cut = pretty_repr(value, max_width=console.width), 0
    else:
        text = pretty_repr(value, max_width=min(console.width, _WIDEST), max_length=12, max_string=200, max_depth=5)
        lines = text.splitlines()
        cut = max(0, len(lines) - _LINES)
        text = "\n".join(lines[:_LINES])
    highlighted = ReprHighlighter()(screen.plain(text))
    one_line = "\n" not in text
    console.print(f"[bold]{label}[/]" + ("  " if one_line else ""), end="" if one_line else "\n")
    console.print(highlighted, soft_wrap=True)
    if cut:
        console.print(f"[dim]… {cut} more lines: --all[/]")


def _print_failure(
    console: Console, key: str | None, attempt: int, error: dict[str, Any], *, traceback: bool, whole: bool
) -> None:
    from rich.text import Text

    where = "the workflow" if key is None else f"step {key}, attempt {attempt},"
    what = f"{error.get('type', 'Error')}: {error.get('message', '')}"
    console.print(Text.assemble("\n", ("✗ ", "red"), screen.plain(where), " failed"))
    console.print(screen.plain("  " + what, "red"), soft_wrap=True)
    cause = error.get("cause")
    while isinstance(cause, dict):
        console.print(screen.plain(f"  because of {cause.get('type')}: {cause.get('message')}", "red"), soft_wrap=True)
        cause = cause.get("cause")
    if traceback and error.get("traceback"):
        text = str(error["traceback"]).strip()
        console.print(screen.plain(_indent(text if whole else users_frames(text)), "dim"), soft_wrap=True)


def users_frames(traceback: str) -> str:
    """A traceback without the frames of this library, unless there are no others."""
    frames = re.split(r'^(?=  File ")', traceback, flags=re.MULTILINE)
    kept = []
    for frame in frames:
        inside = re.match(r'  File "[^"]*[/\\\\]dataflows_sdk[/\\\\](engine|worker|core|flow)[/\\\\]', frame)
        if inside is None:
            kept.append(frame)
            continue
        # what follows the last line of a frame is the exception, and stays
        tail = [line for line in frame.splitlines(keepends=True) if not line.startswith("  ")]
        kept.append("".join(tail))
    text = "".join(kept)
    return text if '  File "' in text else traceback


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _print_explanation(console: Console, run: Run) -> None:
    from rich.text import Text

    found = run.explain()
    if found.status != "failed":  # that was told above
        console.print(Text.assemble(screen.status(found.status), ": ", screen.plain(found.summary)), soft_wrap=True)
    for detail in found.details:
        console.print(screen.plain(f"  - {detail}"), soft_wrap=True)
    for action in found.actions:
        console.print(screen.plain(f"  → {action}", "dim"), soft_wrap=True)


def _print_events(console: Console, journal: list[JournalEvent], everything: bool) -> None:
    import json

    table = screen.table("seq", "after", "event", "step", "data", right=("seq", "after"))
    for column in table.columns[:4]:
        column.no_wrap = True
    begin = journal[0].at
    rows = [
        (str(event.seq), screen.took((event.at - begin).total_seconds()), event.kind, event.key, event.data)
        for event in journal
    ]
    # what is left for the data; a table would rather cut every column a little
    used = sum(max(len(row[index]) for row in rows) for index in range(4)) + 14
    room = max(20, console.width - used)
    for seq, after, kind, key, data in rows:
        text = json.dumps(data, ensure_ascii=False)
        shown = text if everything else screen.one_line(text, room)
        table.add_row(seq, after, kind_text(kind), screen.plain(key), screen.plain(shown, "dim"))
    console.print(table)


def kind_text(kind: str) -> Any:
    """The kind of an event in the colour of what it means."""
    from rich.text import Text

    word = kind.partition(".")[2]
    styles = {
        "completed": "green",
        "failed": "red",
        "quarantined": "bold red",
        "cancelled": "magenta",
        "claimed": "cyan",
    }
    return Text(kind, style=styles.get(word, ""))


def _find_step(run: Run, key: str) -> StepView:
    import difflib

    steps = run.timeline()
    try:
        found: StepView = steps[key]
    except KeyError:
        keys = [step.key for step in steps]
        near = difflib.get_close_matches(key, keys, 3, 0.5)
        known = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(keys[:20]) or 'none yet'}"
        raise DefinitionError(f"run {run.id} has no step {key!r}; {known}") from None
    return found


def _print_step(console: Console, run: Run, step: StepView, everything: bool) -> None:
    from rich.syntax import Syntax
    from rich.text import Text

    console.print(Text.assemble("step ", screen.plain(step.key, "bold"), " of run ", run.id))
    facts = [step.op, step.status]
    if step.seconds is not None:
        facts.append(f"took {screen.took(step.seconds)}")
    facts.append(f"attempt {step.attempt}")
    if step.started_at is not None:
        facts.append(f"began {screen.when(step.started_at)}")
    if step.until is not None and step.finished_at is None:
        facts.append(f"until {screen.when(step.until)}")
    if step.child is not None:
        facts.append(f"child run {step.child}")
    console.print(screen.plain(" · ".join(facts), "dim"))
    if step.uncertain and step.finished_at is None:
        console.print("it began in a process that is gone, and nothing is recorded of its end", style="yellow")
    _print_value(console, "input", step.input, everything)
    for failure in step.failures:
        _print_failure(console, step.key, failure.number, failure.error, traceback=True, whole=everything)
    if step.status == "completed":
        _print_value(console, "output", step.output, everything)
    source = step_source(run.source, step)
    if source:
        console.print("[bold]source[/]")
        console.print(Syntax(source.rstrip(), "python", theme="ansi_dark", background_color="default", word_wrap=True))


def step_source(source: str, step: StepView) -> str:
    """The source of a step: of a flow, that of the node it belongs to; of a workflow, the whole function."""
    parts = re.split(r"^# (\S.*)$\n", source, flags=re.MULTILINE)
    node = re.split(r"[\[/#]", step.key, maxsplit=1)[0]
    for name, body in zip(parts[1::2], parts[2::2], strict=False):
        if name == node:
            return body.strip("\n")
    return source
