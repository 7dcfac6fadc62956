"""What must hold when the chaos is over: nothing lost, nothing twice, nothing by an old owner."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from dataflows_sdk.engine.state import RunState, fold, parse
from storm.driver import Acknowledged
from storm.flows import KINDS
from storm.named import named

#: the end of a sleep is decided by a process's copy of the database's clock, which may be off by half a round trip
_EARLY = timedelta(milliseconds=250)
_ENDS = {"run.completed": "succeeded", "run.failed": "failed", "run.cancelled": "cancelled"}


@dataclass
class RunRow:
    """The head of a run, and what its events say."""

    id: str
    workflow: str
    status: str
    epoch: int
    last_seq: int
    n: int | None
    key: str | None
    parent: str | None
    owner: str
    state: RunState = field(default_factory=RunState)
    kinds: list[tuple[int, int, str, str]] = field(default_factory=list)
    #: keys of completed steps, each as often as it was completed
    completed: Counter[str] = field(default_factory=Counter)
    values: dict[str, Any] = field(default_factory=dict)
    transactions: int = 0
    takeovers: int = 0
    early: list[str] = field(default_factory=list)


@dataclass
class Journal:
    """Everything that is in the database, read once."""

    runs: dict[str, RunRow]
    ledger: dict[tuple[str, str], int]
    messages: list[tuple[str, str, str, str, str, int | None]]
    broadcasts: set[str]
    total: int
    room: dict[str, tuple[int, bool]]
    violations: list[str]


def read(url: str) -> Journal:
    """Read it, and ask for what SQL can say by itself."""
    sql = named("checks")
    with psycopg.connect(url) as connection:
        runs = {row[0]: RunRow(*row) for row in connection.execute(sql["runs"])}
        for run, seq, epoch, kind, key, data, at in connection.execute(sql["events"]):
            if run in runs:
                _take(runs[run], seq, epoch, kind, key, data, at)
        violations = [
            f"epoch: event {seq} ({kind}) of run {run} is of epoch {epoch}, after one of epoch {before}"
            for run, seq, kind, epoch, before in connection.execute(sql["epoch_goes_back"])
        ]
        violations += [
            f"epoch: event {seq} ({kind}) of run {run} came by epoch {epoch} after epoch {later} had claimed it"
            for run, seq, kind, epoch, later in connection.execute(sql["late_write"])
        ]
        violations += [
            f"journal: run {run} has {count} events with the number {seq}"
            for run, seq, count in connection.execute(sql["same_number"])
        ]
        ledger = {(run, step): count for run, step, count, _, _ in connection.execute(sql["ledger"])}
        messages = list(connection.execute(sql["messages"]))
        broadcasts = {name for name, _ in connection.execute(sql["broadcasts"])}
        (total,) = connection.execute(sql["total"]).fetchone() or (0,)
        room = {run: (count, inside) for run, count, inside in connection.execute(sql["room"])}
    return Journal(runs, ledger, messages, broadcasts, int(total), room, violations)


def _take(row: RunRow, seq: int, epoch: int, kind: str, key: str, data: str, at: datetime) -> None:
    event = parse(seq, kind, key, data, at)
    fold(row.state, event)
    row.kinds.append((seq, epoch, kind, key))
    if kind == "run.claimed" and event.data.get("why") == "lost":
        row.takeovers += 1
    if kind == "step.completed":
        row.completed[key] += 1
        row.values[key] = event.data.get("value")
        row.transactions += event.data.get("op") == "transaction"
        until = event.data.get("until")
        if event.data.get("op") == "sleep" and until and at < datetime.fromisoformat(until) - _EARLY:
            row.early.append(f"{key}: until {until}, over at {at.isoformat()}")


def check(journal: Journal, known: Acknowledged, notes: list[str], golden: dict[str, set[str]]) -> list[str]:
    """What contradicts the promises, in words.

    Args:
        known: what was acknowledged to the driver.
        notes: what was acknowledged to code in workers.
        golden: the steps of each workflow, from a run in calm weather.
    """
    return [
        *journal.violations,
        *_ends(journal),
        *_heads(journal),
        *_steps(journal, golden),
        *_effects(journal),
        *_starts(journal, known, notes),
        *_events(journal, known),
        *_noted(journal, notes),
    ]


def _ends(journal: Journal) -> Iterator[str]:
    for run in journal.runs.values():
        if run.status != "succeeded":
            last = ", ".join(f"{seq}/{epoch} {kind} {key}".strip() for seq, epoch, kind, key in run.kinds[-5:])
            why = (run.state.outcome or {}).get("error") or (run.state.outcome or {}).get("reason") or ""
            yield (
                f"end: {run.workflow} {run.id} is {run.status} (epoch {run.epoch}, owner's pid {run.owner or '-'}; "
                f"last events {last}) {json.dumps(why)[:600] if why else ''}"
            )
        elif run.workflow in KINDS and run.n is not None:
            value, wanted = (run.state.outcome or {}).get("value"), KINDS[run.workflow].result(run.n)
            if value != wanted:
                yield f"end: {run.workflow} {run.id} with n={run.n} came to {value!r}, not to {wanted!r}"


def _heads(journal: Journal) -> Iterator[str]:
    for run in journal.runs.values():
        if not run.kinds:
            yield f"head: run {run.id} has no events"
            continue
        if run.state.status != run.status:
            yield f"head: run {run.id} is {run.status!r}, its events say {run.state.status!r}"
        ends = [seq for seq, _, kind, _ in run.kinds if kind in _ENDS]
        if len(ends) > 1:
            yield f"head: run {run.id} ended {len(ends)} times"
        if ends and (ends[0] != run.kinds[-1][0] or ends[0] != run.last_seq):
            last = run.kinds[-1][0]
            yield f"head: run {run.id} ended with event {ends[0]}; its head says {run.last_seq}, its last is {last}"
        if max(epoch for _, epoch, _, _ in run.kinds) != run.epoch:
            yield f"head: run {run.id} has epoch {run.epoch}, which is not that of its last claim"


def _steps(journal: Journal, golden: dict[str, set[str]]) -> Iterator[str]:
    for run in journal.runs.values():
        for key, count in run.completed.items():
            if count != 1:
                yield f"step: {key!r} of run {run.id} was completed {count} times"
        if run.status == "succeeded" and run.workflow in golden and set(run.completed) != golden[run.workflow]:
            odd = sorted(set(run.completed) ^ golden[run.workflow])
            yield f"step: {run.workflow} {run.id} lacks steps, or has others than in calm weather: {odd}"
        yield from (f"sleep: run {run.id} was woken too early: {text}" for text in run.early)


def _effects(journal: Journal) -> Iterator[str]:
    expected = 0
    for run in journal.runs.values():
        kind = KINDS.get(run.workflow)
        if kind is None or run.n is None:
            continue
        for step in kind.ledger:
            count = journal.ledger.get((run.id, step), 0)
            expected += run.n if run.status == "succeeded" else 0
            if count > 1 or (run.status == "succeeded" and count != 1):
                yield f"transaction: {step!r} of run {run.id} had its effect {count} times"
        room = journal.room.get(run.id)
        if run.workflow == "chaos-capped" and run.status == "succeeded" and room != (1, False):
            yield f"transaction: run {run.id} entered and left {room}, not (1, False)"
    for run_id, step in journal.ledger:
        if run_id not in journal.runs:
            yield f"transaction: the effect {step!r} is of run {run_id}, which does not exist"
    if all(run.status == "succeeded" for run in journal.runs.values()) and journal.total != expected:
        yield f"transaction: the counters come to {journal.total}, not to {expected}"


def _starts(journal: Journal, known: Acknowledged, notes: list[str]) -> Iterator[str]:
    starts = [(start.run, start.workflow, start.n, start.key) for start in known.starts]
    for line in notes:
        if line.startswith("start "):
            _, run, workflow, n, key = line.split()
            starts.append((run, workflow, int(n), None if key == "-" else key))
    for run_id, workflow, n, key in starts:
        run = journal.runs.get(run_id)
        if run is None:
            yield f"start: {workflow} {run_id} (n={n}) was acknowledged and is not there"
        elif (run.workflow, run.key) != (workflow, key) or (run.n != n and workflow != "chaos-ringer"):
            found = f"{run.workflow} n={run.n} key={run.key}"
            yield f"start: {run_id} was acknowledged as {workflow} n={n} key={key}, and is {found}"
    for run_id in known.undone:
        if run_id in journal.runs:
            yield f"start: run {run_id} is there, and its transaction was rolled back"
    children: dict[str, int] = defaultdict(int)
    for run in journal.runs.values():
        if run.parent is not None:
            children[run.parent] += 1
            if run.parent not in journal.runs:
                yield f"start: run {run.id} is a child of {run.parent}, which is not there"
    for run in journal.runs.values():
        kind = KINDS.get(run.workflow)
        if kind is not None and run.status == "succeeded" and children[run.id] != kind.children:
            yield f"start: run {run.id} has {children[run.id]} children, not {kind.children}"


def _events(journal: Journal, known: Acknowledged) -> Iterator[str]:
    inbox: dict[tuple[str, str], list[tuple[str, int | None]]] = defaultdict(list)
    for run_id, kind, name, payload, dedupe, consumed in journal.messages:
        inbox[run_id, dedupe].append((payload, consumed))
        owner = journal.runs.get(run_id)
        if kind != "cancel" and consumed is None and owner is not None and owner.status == "succeeded":
            yield f"event: {kind} {name!r} of run {run_id} was never taken, and the run is over"
        if consumed is not None and owner is not None and consumed not in {seq for seq, *_ in owner.kinds}:
            yield f"event: {kind} {name!r} of run {run_id} was taken by event {consumed}, which is not there"
    for sent in known.events:
        found = inbox.get((sent.run, sent.dedupe), [])
        if len(found) != 1:
            what = f"{sent.name!r} ({sent.dedupe}) of run {sent.run}"
            yield f"event: {what} was acknowledged and is there {len(found)} times"
        elif json.loads(found[0][0]) != {"n": sent.n}:
            yield f"event: {sent.name!r} of run {sent.run} carries {found[0][0]}, not n={sent.n}"
    for name, _ in known.emitted:
        if name not in journal.broadcasts:
            yield f"event: {name!r} for everybody was acknowledged and is not there"


def _noted(journal: Journal, notes: list[str]) -> Iterator[str]:
    """A step that was acknowledged to the code that asked for it."""
    for line in notes:
        if not line.startswith("step "):
            continue
        _, run_id, key, value = line.split()
        run = journal.runs.get(run_id)
        if run is None or key not in run.completed:
            yield f"step: {key!r} of run {run_id} was acknowledged to its code and is not in the journal"
        elif key == "go":
            if str(run.values[key].get("n")) != value:
                yield f"step: {key!r} of run {run_id} gave its code {value}, the journal has {run.values[key]}"
        elif str(run.values[key]) != value:
            yield f"step: {key!r} of run {run_id} gave its code {value}, the journal has {run.values[key]}"
