"""The PostgreSQL processes of one cluster as the operating system sees them: start, alive or not, stop.

POSIX: the postmaster is our child and inherits the lock on `server.lock`, and so do all of its own processes.
The lock is free exactly when the last of them is gone, whoever their parent is by then and whether or not
anybody reaped them (in many containers process 1 does not, and a dead server stays in the process table as a
zombie).

Windows: handles do not carry locks to children, and a server of an administrator needs the restricted token
that pg_ctl makes; so pg_ctl starts and stops it, and alive is what answers. Written from the documentation,
not run there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import privileges
from .layout import Address, ServerRefusedError
from .locks import LockFile
from .probe import Answer, probe

if TYPE_CHECKING:
    from .layout import Layout

_FAST, _IMMEDIATE = 30.0, 10.0  # seconds for a shutdown before the next harder kind


def read_pid_file(layout: Layout) -> tuple[int, Address] | None:
    """The postmaster's pid and address out of postmaster.pid: what the server itself says about itself."""
    lines = _pid_file(layout)
    try:
        return int(lines[0]), Address(int(lines[3]), lines[4].strip() or None)
    except (IndexError, ValueError):
        return None


def says_it_starts(layout: Layout) -> bool:
    """Is it too early to knock? Knocking works, but each time leaves an alarming line in the log."""
    return [line.strip() for line in _pid_file(layout)[7:8]] == ["starting"]


def _pid_file(layout: Layout) -> list[str]:
    try:
        return (layout.data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


if sys.platform == "win32":

    class Postmaster:
        """The server of one data directory."""

        def __init__(self, layout: Layout, programs: Path) -> None:
            self._layout = layout
            self._programs = programs

        def alive(self) -> bool:
            found = read_pid_file(self._layout)
            return found is not None and probe(found[1]) is not Answer.SILENCE

        def clear(self) -> None:
            """Nothing to do: pg_ctl tells a dead server's files from a living one's by its signal pipe."""

        def spawn(self, settings: dict[str, str]) -> None:
            options = " ".join(f'-c {name}="{value}"' for name, value in settings.items())
            self._pg_ctl("start", "--no-wait", f"--log={self._layout.log}", f"--options={options}")

        def end_orphans(self) -> None:
            """Nothing to do but wait: they notice by themselves."""

        def exited(self) -> bool:
            return False  # the probe's deadline decides

        def wait_gone(self) -> None:
            missed = 0
            while missed < 3:
                time.sleep(1.0)
                missed = 0 if self.alive() else missed + 1

        def stop(self) -> None:
            if not self._pg_ctl("stop", "--mode=fast", f"--timeout={int(_FAST)}"):
                self._pg_ctl("stop", "--mode=immediate", f"--timeout={int(_IMMEDIATE)}")

        def _pg_ctl(self, *arguments: str) -> bool:
            command = [
                str(self._programs / "pg_ctl.exe"),
                *arguments,
                f"--pgdata={self._layout.data}",
                "--silent",
            ]
            return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0

else:

    class Postmaster:
        """The server of one data directory."""

        def __init__(self, layout: Layout, programs: Path) -> None:
            self._layout = layout
            self._programs = programs
            self._child: subprocess.Popen[bytes] | None = None
            # Opened once and kept: when the directory is deleted under us, the path may lead to another
            # server's lock.
            self._asking, self._waiting = LockFile(layout.server_lock), LockFile(layout.server_lock)
            identity = privileges.server_identity(layout.data)
            if identity.uid is not None and layout.data.stat().st_uid != identity.uid:
                identity.own(layout.data)  # somebody copied the directory as root
            self.identity = privileges.enabled(identity, layout.data, programs)

        def alive(self) -> bool:
            """Does any process of the server live?"""
            self.exited()
            if not self._asking.try_own():
                return True
            self._asking.free()
            return False

        def clear(self) -> None:
            """Remove what a killed server left behind. Only when not `alive`."""
            found = read_pid_file(self._layout)
            if found is not None:
                if self._is_postmaster(found[0]):
                    raise ServerRefusedError(
                        f"A PostgreSQL that dataflows did not start runs on {self._layout.data} (process "
                        f"{found[0]}). Stop it, for example with `pg_ctl -D {self._layout.data} stop`."
                    )
                (self._layout.data / "postmaster.pid").unlink(missing_ok=True)

        def spawn(self, settings: dict[str, str]) -> None:
            """Start the server. The caller finds out with `probe` and `exited` what became of it."""
            command = [str(self._programs / "postgres"), "-D", str(self.identity.path_of(self._layout.data))]
            for name, value in settings.items():
                command += ["-c", f"{name}={value}"]
            with LockFile(self._layout.server_lock) as lock, self._layout.log.open("ab") as log:
                if not lock.own(1.0):
                    raise ServerRefusedError(f"Processes of a dying PostgreSQL still hold {lock.path}. Try again.")
                # Closing our opening afterwards leaves the lock to the server alone.
                self._child = subprocess.Popen(
                    command,
                    cwd=self._layout.data,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock.fd,),
                    **self.identity.popen(),
                )

        def exited(self) -> bool:
            """Is the postmaster that we started gone? Reaps it."""
            return self._child is not None and self._child.poll() is not None

        def wait_gone(self) -> None:
            """Sleep in the kernel until our postmaster is dead, or of an adopted server every process."""
            if self._child is not None:
                self._child.wait()
            else:
                self._waiting.wait_own()
                self._waiting.free()

        def end_orphans(self) -> None:
            """Kill what a dead postmaster left: a backend in a long computation notices the death only after
            it, and until then no new server can start. They lose nothing that was committed. Where there is
            no /proc, the restart waits for them.
            """
            found = read_pid_file(self._layout)
            if sys.platform != "linux" or (found is not None and self._is_postmaster(found[0])):
                return
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and _is_postgres_of(process, self._layout.data, proven=True):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(process.name), signal.SIGKILL)

        def stop(self) -> None:
            """Stop the server, politely first; returns when no process of it lives."""
            for how, patience in (
                (signal.SIGINT, _FAST),
                (signal.SIGQUIT, _IMMEDIATE),
                (signal.SIGKILL, _IMMEDIATE),
            ):
                self._signal(how)
                deadline = time.monotonic() + patience
                while time.monotonic() < deadline:
                    if not self.alive():
                        return
                    time.sleep(0.005)

        def _signal(self, how: signal.Signals) -> None:
            with contextlib.suppress(ProcessLookupError):
                if self._child is not None and self._child.poll() is None:
                    self._child.send_signal(how)
                    return
                found = read_pid_file(self._layout)  # one that we adopted
                if found is not None and self._is_postmaster(found[0]):
                    os.kill(found[0], how)

        def _is_postmaster(self, pid: int) -> bool:
            """Is this a living server of our directory, not a zombie, another program, another's server?"""
            if sys.platform != "linux":
                command = ["ps", "-o", "stat=,comm=", "-p", str(pid)]
                answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
                return "postgres" in answer and not answer.startswith("Z")
            return _is_postgres_of(Path("/proc", str(pid)), self._layout.data)


def _is_postgres_of(process: Path, data: Path, proven: bool = False) -> bool:
    """Is this process a living postgres in this data directory? All of them stand in it. Root without
    CAP_SYS_PTRACE may not see where; then name and owner have to do, unless it must be `proven`.
    """
    try:
        name, _, rest = process.joinpath("stat").read_text("utf-8", "replace").rpartition(")")
        if not name.endswith("(postgres") or rest.split()[0] in "ZX":
            return False
        return process.joinpath("cwd").samefile(data)
    except PermissionError:
        return not proven and process.stat().st_uid == data.stat().st_uid
    except OSError:
        return False
