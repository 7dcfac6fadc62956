"""The journal: runs that are stuck, what was left behind, code that nobody has, and what grows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.sizes import format_size
from dataflows_sdk.doctor.findings import Finding, Severity
from dataflows_sdk.doctor.looking import Patient

#: seconds after which something is late
_LATE = 30.0
#: seconds after its lease that nobody took over a worker's runs
_RECLAIMED = 30.0
#: rows that a statement looks at
_MOST = 10_000
#: pages of a sample
_PAGES = 50
_EVENTS = 50
_DEFAULT_RETENTION = timedelta(days=365)
#: at so many bytes it is worth asking for retention
_LARGE, _LARGE_A_DAY = 10 << 30, 1 << 30


@dataclass(frozen=True, slots=True)
class Worker:
    """A row of ``dataflows.worker``."""

    id: UUID
    who: str
    started: datetime
    beat: datetime
    lease: float
    alive: bool
    late: float
    workflows: frozenset[str] | None


def workers_of(patient: Patient) -> list[Worker]:
    """All workers, those that are gone too."""
    found = []
    for identifier, started, beat, lease, text, leased, locked, now in patient.ask("workers"):
        info = json.loads(text) if text else {}
        names = info.get("workflows")
        found.append(
            Worker(
                identifier,
                f"process {info.get('pid')} on {info.get('host')}",
                started,
                beat,
                lease,
                bool(leased and locked),
                (now - beat).total_seconds() - lease,
                frozenset(map(str, names)) if isinstance(names, list) else None,
            )
        )
    return found


def code_of(patient: Patient, workers: list[Worker]) -> frozenset[str] | None:
    """The workflows that somebody has code for; None where a worker does not say."""
    living = [worker for worker in workers if worker.alive]
    said = [worker.workflows for worker in living if worker.workflows is not None]
    nobody_says = not living and patient.here is None
    if patient.known is None and (nobody_says or len(said) < len(living)):
        return None
    return frozenset().union(patient.known or (), patient.here or (), *said)


def workers(patient: Patient) -> Iterator[Finding]:
    """Who executes runs, and rows of those who do no more."""
    found = workers_of(patient)
    owned: dict[UUID, int] = defaultdict(int)
    for owner, _, count, _ in patient.ask("running"):
        owned[owner] += count
    if not found:
        yield Finding("workers", "ok", "workers", "none: nobody executes runs at the moment", numbers={"workers": 0})
    now = datetime.now(UTC)
    for worker in found:
        up = format_duration(max(timedelta(0), now - worker.started))
        text = f"{owned[worker.id]} runs, up {up}, heard of {format_duration(max(timedelta(0), now - worker.beat))} ago"
        numbers = {"runs": owned[worker.id]}
        if worker.alive:
            yield Finding("worker", "ok", worker.who, f"{text}: alive", numbers=numbers)
        elif owned[worker.id]:
            yield Finding(
                "worker", "warning", worker.who, f"{text}: gone",
                "its runs are taken over by the next process that knows their workflow", numbers,
            )  # fmt: skip
        else:
            yield Finding(
                "worker", "note", worker.who, f"{text}: gone, its row was left behind",
                "the next worker that looks for the runs of dead ones removes it", numbers,
            )  # fmt: skip


def stuck(patient: Patient) -> Iterator[Finding]:
    """Runs that are marked as running, and whose process is gone."""
    found = workers_of(patient)
    by_id = {worker.id: worker for worker in found}
    code = code_of(patient, found)
    living = any(worker.alive for worker in found)
    for owner, workflow, count, example in patient.ask("running"):
        worker = by_id.get(owner)
        if worker is None:
            yield Finding(
                "stuck", "problem", workflow,
                f"{count} running for a worker without a row: nobody takes them over ({example})",
                "run.fork() does them again from where they stand; a row of dataflows.worker was removed by hand",
                {"runs": count},
            )  # fmt: skip
        elif worker.late > _RECLAIMED:
            known = living and (code is None or workflow in code)
            severity: Severity = "problem" if known and code is not None else "warning"
            yield Finding(
                "stuck", severity, workflow,
                f"{count} running in {worker.who}, whose lease ended {format_duration(worker.late)} ago ({example})",
                "workers are alive and do not take them over: look into their logs, are they full?"
                if known
                else "the next process that knows the workflow takes them over: `dataflows run --resume RUN TARGET`",
                {"runs": count, "seconds": worker.late},
            )  # fmt: skip


def overdue(patient: Patient) -> Iterator[Finding]:
    """Runs that should have gone on."""
    living = any(worker.alive for worker in workers_of(patient))
    now = datetime.now(UTC)
    for workflow, status, count, since, example in patient.ask("overdue", _LATE, _MOST):
        late = max(0.0, (now - since).total_seconds())
        more = "at least " if count >= _MOST else ""
        yield Finding(
            "overdue", "warning", workflow,
            f"{more}{count:,} {status} that should have gone on, the first since {format_duration(late)} ({example})",
            "workers are alive: are there enough of them, is their concurrency or a queue's limit too low, do they "
            f"know this workflow? `dataflows doctor {example[:13]}` says more"
            if living
            else f"start a process that knows the workflow; `dataflows doctor {example[:13]}` says more",
            {"runs": count, "seconds": late},
        )  # fmt: skip


def unheard(patient: Patient) -> Iterator[Finding]:
    """Runs that wait for a message which is there."""
    for workflow, count, since, example in patient.ask("unheard", _LATE, _MOST):
        late = max(0.0, (datetime.now(UTC) - since).total_seconds())
        yield Finding(
            "unheard", "warning", workflow,
            f"{count} wait for a message that came {format_duration(late)} ago ({example})",
            "a worker wakes them within seconds: start one that knows the workflow",
            {"runs": count, "seconds": late},
        )  # fmt: skip


def unhappy(patient: Patient) -> Iterator[Finding]:
    """Runs that were set aside, and runs that failed."""
    for workflow, status, count, oldest, _ in patient.ask("unhappy", _MOST):
        since = f"the oldest of {oldest.astimezone():%Y-%m-%d %H:%M:%S}"
        if status == "quarantined":
            yield Finding(
                "quarantined", "warning", workflow, f"{count} of {workflow}, {since}",
                f"dataflows runs -s quarantined -w '{workflow}', then doctor RUN; mend the code and "
                f"`dataflows resume -w '{workflow}'`",
                {"runs": count},
            )  # fmt: skip
        else:
            yield Finding(
                "failed", "note", workflow, f"{count} of {workflow}, {since}",
                f"dataflows runs -s failed -w '{workflow}'; `dataflows retry -w '{workflow}'` tries them again",
                {"runs": count},
            )  # fmt: skip


def unknown(patient: Patient) -> Iterator[Finding]:
    """Open runs of workflows that nobody has code for."""
    code = code_of(patient, workers_of(patient))
    if code is None:
        return
    names = [row[0] for row in patient.ask("workflows") if row[0] not in code]
    if not names:
        return
    who = "none of the modules and workers" if patient.known is not None else "neither a worker nor this process"
    for workflow, count, oldest, example in patient.ask("open_of", names, _MOST):
        yield Finding(
            "unknown", "warning", workflow,
            f"{count} runs of {workflow} are open, and {who} defines it; "
            f"the oldest of {oldest.astimezone():%Y-%m-%d %H:%M:%S} ({example})",
            "start a worker with the module that defines it; was it renamed? Or end them: "
            f"`dataflows cancel -w '{workflow}'`",
            {"runs": count},
        )  # fmt: skip


def orphans(patient: Patient) -> Iterator[Finding]:
    """Large values that no run refers to."""
    percent = patient.percent("blob", 200)
    seen, lost, bytes_ = patient.ask("orphaned_blobs", percent)[0]
    if not lost or lost < 0.01 * seen:
        return
    factor = 100.0 / percent
    about = "" if percent >= 100 else "about "
    yield Finding(
        "orphans", "note", "dataflows.blob",
        f"{about}{lost * factor:,.0f} large values, {format_size(bytes_ * factor)}, belong to no run any more",
        "retention removes them: does any worker run with it? ctx.purge('365d') does it now",
        {"values": lost * factor, "bytes": bytes_ * factor},
    )  # fmt: skip


# --- what grows -------------------------------------------------------------------------------------------


def growing(patient: Patient) -> Iterator[Finding]:
    """Which workflows the journal is made of, how fast it grows, and whether old runs go."""
    percent = patient.percent("run", _PAGES)
    factor = 100.0 / percent
    sizes: list[tuple[float, str, dict[str, float]]] = []
    total = daily = 0.0
    for workflow, runs, events, bytes_, looked, blobs, recent in patient.ask("census", percent, _EVENTS):
        each = (float(bytes_) / looked if looked else 0.0) * float(events or 0) + float(blobs)
        size, growth = each * factor, each / runs * recent * factor
        total, daily = total + size, daily + growth
        numbers = {"runs": runs * factor, "events": float(events or 0) * factor, "bytes": size, "bytes_per_day": growth}
        sizes.append((size, workflow, numbers))
    sizes.sort(reverse=True)
    about = "" if percent >= 100 else "about "
    for _, workflow, numbers in sizes[:5]:
        yield Finding(
            "workflow", "ok", workflow,
            f"{about}{numbers['runs']:,.0f} runs, {numbers['events']:,.0f} events, {format_size(numbers['bytes'])}, "
            f"{format_size(numbers['bytes_per_day'])} more in the last day",
            numbers=numbers,
        )  # fmt: skip
    yield from _retention(patient, total, daily)


def _retention(patient: Patient, total: float, daily: float) -> Iterator[Finding]:
    oldest = patient.ask("oldest_end")[0][0]
    age = timedelta(0) if oldest is None else max(timedelta(0), datetime.now(UTC) - oldest)
    numbers = {"bytes": total, "bytes_per_day": daily, "oldest_days": age / timedelta(days=1)}
    large = total > _LARGE or daily > _LARGE_A_DAY
    grows = f"the journal holds some {format_size(total)} and grows by {format_size(daily)} a day"
    advice = 'connect(retention=df.Retention(age="90d", size="20 GiB")) deletes old runs'
    if patient.retention == "":
        yield Finding(
            "retention", "warning" if large else "note", "retention", f"off in this process; {grows}", advice, numbers
        )
    elif age > _DEFAULT_RETENTION * 1.1:
        yield Finding(
            "retention",
            "warning" if large else "note",
            "retention",
            f"runs that ended {age.days} days ago are still there: it is off, or no worker runs; {grows}",
            advice,
            numbers,
        )
    else:
        shown = f"{patient.retention}; " if patient.retention else ""
        yield Finding("retention", "ok", "retention", f"{shown}{grows}", numbers=numbers)


def counts(patient: Patient) -> Iterator[Finding]:
    """How many runs there are, by status; of large tables by a sample."""
    percent = patient.percent("run", 2_000)
    found: dict[str, Any] = dict(patient.ask("statuses", percent))
    about = "" if percent >= 100 else "about "
    factor = 100.0 / percent
    numbers = {word: count * factor for word, count in found.items()}
    shown = ", ".join(f"{count:,.0f} {word}" for word, count in sorted(numbers.items())) or "none yet"
    yield Finding("runs", "ok", "runs", f"{about}{shown}", numbers=numbers)


CHECKS = (counts, workers, stuck, overdue, unheard, unknown, unhappy, orphans, growing)
