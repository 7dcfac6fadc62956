"""One server with an address: start it or take over the one that runs, bring it back, stop it."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import stat
import sys
import time
from pathlib import Path

from . import privileges
from .layout import Address, Layout, ServerRefusedError, log_tail, read_address, write_address
from .postmaster import Postmaster, read_pid_file, says_it_starts
from .probe import Answer, can_bind, probe

# Below the range that Linux, macOS and Windows take ports of outgoing connections from: nobody gets ours by
# accident in the moment that a killed server needs to come back.
_PORTS = range(20000, 30000)
_PORT_PATIENCE = 3.0  # seconds that a restart waits for its old port: connections of living clients lead there
_SILENT = 60.0  # seconds until a server that says nothing is given up
_RECOVERING = 3600.0  # the same for one that says it recovers
_LONGEST_SOCKET = 103  # bytes; macOS has the least room
_SOCKET_PREFIX = "dataflows-"
_SMALL_SHM = 256 * 1024 * 1024


class Server:
    """The server of one directory, seen by its keeper."""

    def __init__(self, layout: Layout, programs: Path) -> None:
        self._layout = layout
        self._postmaster = Postmaster(layout, programs)
        self.address: Address | None = None

    def bring_up(self) -> None:
        """Start the server, or take over the one that runs; returns when it takes connections.

        Raises:
            ServerRefusedError: it does not come up; the message has the end of its log.
        """
        if self._postmaster.alive() and self._adopt():
            return
        self._postmaster.clear()
        last = self.address or read_address(self._layout)
        socket_dir = self._socket_dir(last.socket_dir if last else None)
        for attempt in range(5):
            # A restart keeps the port for the sake of living clients, a first start prefers the last one for
            # the sake of the BI tool that has it in its settings.
            port = _choose_port(last.port if last else None, _PORT_PATIENCE if self.address else 0.0)
            self.address = Address(port, socket_dir)
            # Before the server exists: whoever finds it running knows where.
            write_address(self._layout, self.address)
            mark = self._layout.log.stat().st_size if self._layout.log.exists() else 0
            self._postmaster.spawn(self._settings(self.address))
            if self._answers(self.address):
                return
            said = log_tail(self._layout, since=mark)
            if "Address already in use" not in said or attempt == 4:
                raise ServerRefusedError(
                    f"PostgreSQL does not start in {self._layout.root}. Its log ends with:\n{said}"
                )

    def wait_gone(self) -> None:
        """Return when the server is dead."""
        self._postmaster.wait_gone()

    def stop(self) -> None:
        """Shut the server down and remove its sockets."""
        self._postmaster.stop()
        if self.address is not None and self.address.socket_dir is not None:
            shutil.rmtree(self.address.socket_dir, ignore_errors=True)

    def _adopt(self) -> bool:
        """Take over a server whose keeper was killed. False when it turns out to be dying."""
        self._postmaster.end_orphans()
        deadline = time.monotonic() + _SILENT
        while self._postmaster.alive():
            found = read_pid_file(self._layout)
            answer = probe(found[1]) if found else Answer.SILENCE
            if found and answer is Answer.READY:
                self.address = found[1]
                write_address(self._layout, self.address)
                return True
            if answer is Answer.BUSY:
                deadline = max(deadline, time.monotonic() + _SILENT)
            if time.monotonic() > deadline:
                raise ServerRefusedError(
                    f"Processes of a PostgreSQL on {self._layout.data} live and do not answer. Look for them "
                    f"with `ps -ef` and end them. The log ends with:\n{log_tail(self._layout)}"
                )
            time.sleep(0.01)
        return False

    def _answers(self, address: Address) -> bool:
        """Wait for the server just started; False if it gave up."""
        begin = time.monotonic()
        while not self._postmaster.exited():
            answer = Answer.BUSY if says_it_starts(self._layout) else probe(address)
            if answer is Answer.READY:
                return True
            passed = time.monotonic() - begin
            if passed > (_RECOVERING if answer is Answer.BUSY else _SILENT):
                self._postmaster.stop()
                return False
            time.sleep(0.004 if passed < 1 else 0.05)
        return False

    def _settings(self, address: Address) -> dict[str, str]:
        settings = {
            "port": str(address.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": f'"{address.socket_dir}"' if address.socket_dir else "",
            "unix_socket_permissions": "0700",
        }
        if _shm_is_small():
            settings["dynamic_shared_memory_type"] = "mmap"
        return settings

    def _socket_dir(self, last: str | None) -> str | None:
        """A private directory with a short name; the last one again if it is still ours: clients know it."""
        if sys.platform == "win32":
            return None
        identity = self._postmaster.identity
        owner = os.geteuid() if identity.uid is None else identity.uid
        if last is not None and _is_private(last, owner):
            for leftover in Path(last).iterdir():  # a killed server's socket and its lock, with a pid in it
                leftover.unlink()
            return last
        obstacles = []
        for base in dict.fromkeys((os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108
            candidate = Path(base).resolve() / f"{_SOCKET_PREFIX}{secrets.token_hex(4)}"
            if len(os.fsencode(candidate)) + len("/.s.PGSQL.65535") > _LONGEST_SOCKET:
                obstacles.append(f"{base} (its name is too long for a socket)")
                continue
            try:
                candidate.mkdir(0o700)
                identity.own(candidate)
            except OSError as error:
                obstacles.append(str(error))
                continue
            blocked = None if identity.uid is None else privileges.first_obstacle(identity.uid, [candidate])
            if blocked is None:
                return str(candidate)
            candidate.rmdir()
            obstacles.append(blocked)
        raise ServerRefusedError(
            f"There is no place for the server's socket: {', '.join(obstacles)}. Set TMPDIR to a directory "
            f"with a short name that is writable and that every user may enter."
        )


def _choose_port(preferred: int | None, patience: float) -> int:
    deadline = time.monotonic() + patience
    while preferred is not None:
        if can_bind(preferred):
            return preferred
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    for port in random.sample(_PORTS, 200):
        if can_bind(port):
            return port
    raise ServerRefusedError(f"No free port for PostgreSQL between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1.")


def _is_private(path: str, owner: int) -> bool:
    """A directory that we made: in a place where everybody may make things, so look twice."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        named = Path(path).name.startswith(_SOCKET_PREFIX)
        return named and stat.S_ISDIR(found.st_mode) and found.st_uid == owner and stat.S_IMODE(found.st_mode) == 0o700
    return False


def _shm_is_small() -> bool:
    """Containers get 64 MB of /dev/shm by default: a parallel query or index build would fail halfway."""
    if sys.platform != "linux":
        return False
    try:
        room = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return True
    return room.f_blocks * room.f_frsize < _SMALL_SHM
