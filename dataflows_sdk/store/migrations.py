"""Migrations: numbered SQL files, applied in order, each once, never changed afterwards.

A file is named ``0007_what_it_does.sql``. Its checksum is kept in ``dataflows.migration``: a file that was edited
after it ran, or a database that is ahead of this library, is refused with the way out. Processes that start at the
same time wait for each other on an advisory lock.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg

from dataflows_sdk.errors import SchemaVersionError, StoreError
from dataflows_sdk.store.sqlfiles import statement

#: Other forms of two files, which a library of one day applied: together they give the same schema, but for what the
#: end of migration 8 levels. No further entries: an applied migration is never edited.
_SAME_AS = {
    "30908204cb6ce85393c6633ceb2c39ee49197cfe5cf638df77f1c899b2541c07": 3,
    "eee43fddc5a80c34a4d9acabcaeb3d7fc13e1eb990eb4c61673f52065e3146da": 4,
}
_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        # Line endings are not content: a checkout may have changed them.
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


@cache
def migrations(package: str = "dataflows_sdk.store") -> tuple[Migration, ...]:
    """All migrations of the library, in order."""
    found: list[Migration] = []
    for entry in files(package).joinpath("migrations").iterdir():
        match = _FILE.match(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise StoreError(f"the migrations are numbered {numbers}, not 1 to {len(found)}")
    return tuple(found)


def migrate(
    connection: psycopg.Connection[Any], wanted: tuple[Migration, ...] | None = None, schema: str = "dataflows"
) -> list[Migration]:
    """Bring the schema up to date; returns what was applied.

    Args:
        connection: in autocommit mode.
        wanted: the migrations; the library's own if nothing is said.
        schema: where it is noted what was applied. A plug-in has a schema of its own.

    Raises:
        SchemaVersionError: the database is newer than this library, or an applied file was changed.
    """
    wanted = migrations() if wanted is None else wanted
    applied = _applied(connection, schema)
    if _compare(applied, wanted) == len(wanted):
        return []
    done: list[Migration] = []
    with connection.transaction():
        connection.execute(_sql("lock_migrations", schema))
        for part in _sql("create_migrations", schema).split(";"):
            connection.execute(part)
        start = _compare(_applied(connection, schema), wanted)
        for migration in wanted[start:]:
            # Without parameters psycopg sends the file as it stands, several statements at once.
            connection.execute(migration.sql)
            psycopg.RawCursor(connection).execute(
                _sql("note_migration", schema), (migration.number, migration.name, migration.checksum)
            )
            done.append(migration)
    return done


def _applied(connection: psycopg.Connection[Any], schema: str) -> list[tuple[int, str, str]]:
    row = connection.execute(_sql("have_migrations", schema)).fetchone()
    if row is None or not row[0]:
        return []
    return connection.execute(_sql("list_migrations", schema)).fetchall()


def _compare(applied: list[tuple[int, str, str]], wanted: tuple[Migration, ...]) -> int:
    """How many of *wanted* are there already."""
    if len(applied) > len(wanted):
        newest = applied[-1]
        raise SchemaVersionError(
            f"the database has migration {newest[0]} ({newest[1]}), this dataflows-sdk knows {len(wanted)}: "
            "it was written by a newer version; upgrade this installation (pip install -U dataflows-sdk)"
        )
    for (number, name, checksum), migration in zip(applied, wanted, strict=False):
        if checksum != migration.checksum and _SAME_AS.get(checksum) != number:
            raise SchemaVersionError(
                f"migration {number} ({name}) in the database differs from the file of this library; an applied "
                "migration is never edited: restore the file, or use another database"
            )
    return len(applied)


def _sql(name: str, schema: str) -> str:
    # A name of ours, never a user's. Each schema notes its own migrations, and they wait for each other all the same.
    return (
        statement("schema", name).replace("dataflows.", f"{schema}.").replace("exists dataflows;", f"exists {schema};")
    )
