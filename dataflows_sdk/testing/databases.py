"""A PostgreSQL for a test session, and a database of its own for every test.

The server is the embedded one. All processes that name one directory share it (the workers of pytest-xdist do), and
it stops when the last of them is gone, also when they were killed. A test's database is a copy of a template
which is migrated once; copying costs some 30 milliseconds.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from dataflows_sdk.store.database import Database
from dataflows_sdk.store.embedded import acquire

_TEMPLATE = "dataflows_template"
#: identifies the making of the template among the advisory locks of the server
_LOCK = 0x6461_7461_666C
_IN_USE = "55006"


class TestDatabases:
    """Databases for tests, on an embedded server in *directory*.

    Nothing here survives a power cut: fsync is off, which is what makes it quick.

    Args:
        directory: new or made by this class before; shared by all processes that name it.

    Raises:
        EmbeddedServerError: the embedded PostgreSQL cannot run here.
    """

    __test__ = False  # pytest would take it for tests

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._server = acquire(Path(directory))
        self._admin = Database(self._server.url)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._admin.connection() as connection:
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
            try:
                found = connection.execute("select 1 from pg_database where datname = %s", (_TEMPLATE,)).fetchone()
                if found is None:
                    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                        _run(connection, f"alter system set {setting} = off")
                    connection.execute("select pg_reload_conf()")
                    self._make_template(connection)
            finally:
                connection.execute("select pg_advisory_unlock(%s)", (_LOCK,))

    def _make_template(self, connection: Any) -> None:
        # Under another name until it is complete: a process that dies here leaves no half template behind.
        making = f"{_TEMPLATE}_{secrets.token_hex(4)}"
        _run(connection, f'create database "{making}"')
        database = Database(self.url(making))
        try:
            database.prepare()
        finally:
            database.close()
        _when_unused(connection, f'alter database "{making}" rename to "{_TEMPLATE}"')
        _run(connection, f'alter database "{_TEMPLATE}" with allow_connections false')

    def url(self, name: str) -> str:
        """The address of a database of this server."""
        return urlunsplit(urlsplit(self._server.url)._replace(path=f"/{name}"))

    def create(self, *, empty: bool = False) -> str:
        """A new database with the library's schema in it, or without anything; gives its URL."""
        name = f"test_{secrets.token_hex(6)}"
        template = "template0" if empty else _TEMPLATE
        with self._admin.connection() as connection:
            # By way of the log, which is the default, every page would be written twice: a fifth more work.
            _when_unused(connection, f'create database "{name}" template "{template}" strategy file_copy')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database that `create` made, whoever is still connected to it."""
        name = urlsplit(url).path.removeprefix("/")
        if not name.startswith("test_") or not name.removeprefix("test_").isalnum():
            raise ValueError(f"database {name!r} was not made by this class")
        with self._admin.connection() as connection:
            _run(connection, f'drop database if exists "{name}" with (force)')

    def connections(self, url: str) -> int:
        """How many connections there are to a database."""
        name = urlsplit(url).path.removeprefix("/")
        with self._admin.connection() as connection:
            row = connection.execute("select count(*) from pg_stat_activity where datname = %s", (name,)).fetchone()
        return int(row[0]) if row is not None else 0

    def close(self) -> None:
        """Leave; the last one stops the server. Idempotent."""
        self._admin.close()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(connection: Any, text: str) -> None:
    # Names in these statements are made here, from hex digits.
    connection.execute(text)


def _when_unused(connection: Any, text: str) -> None:
    """A closed connection's server process needs a moment to go, and others may be copying."""
    deadline = time.monotonic() + 30
    while True:
        try:
            _run(connection, text)
            return
        except Exception as error:
            if getattr(error, "sqlstate", None) != _IN_USE or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
