"""A throw-away PostgreSQL that is killed with ``-m immediate`` and comes back on its data."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from server import SETTINGS, Server, call, free_port, installation, wait_until_ready

#: when a transaction was committed is what tells a late write of an old owner from an early one
_SETTINGS = {**SETTINGS, "track_commit_timestamp": "on"}


class Postgres:
    """A server of our own, durable as in production. Use `running`."""

    def __init__(self, home: Path) -> None:
        self._binaries, self._identity = installation(home)
        self._home = home
        self._data = home / "data"
        self.log = home / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        call(
            [self._binaries / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            self._identity,
        )
        self._port = free_port()

    def url(self, who: str, database: str = "storm") -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}?application_name={who}"

    def start(self) -> None:
        options = {
            **_SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self._home),
        }
        arguments = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=self._home, **self._identity)
        server = Server(port=self._port, pid=self._process.pid, binaries=self._binaries, log=self.log)
        wait_until_ready(server, self._process, self.log, seconds=60)

    def crash(self) -> None:
        """Stop it as a power cut would: no checkpoint, every connection gone."""
        assert self._process is not None
        command: list[Any] = [self._binaries / "pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop"]
        call(command, self._identity, check=False)
        self._process.wait(30)

    def create_database(self) -> None:
        with psycopg.connect(self.url("chaos-admin", "postgres"), autocommit=True) as connection:
            connection.execute("create database storm")


@contextmanager
def running(keep: bool = False) -> Iterator[Postgres]:
    """A fresh server with an empty database; stopped and deleted at the end.

    Args:
        keep: leave its directory.
    """
    home = Path(tempfile.mkdtemp(prefix="dfchaos-"))
    try:
        postgres = Postgres(home)
        postgres.start()
        try:
            postgres.create_database()
            yield postgres
        finally:
            postgres.crash()
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
