"""A process's hold on a running server.

The hold is a lock that the kernel frees when the process ends, however it ends. Everything that keeps the
server alive is in the keeper; a client only comes in, looks whether there is a keeper and starts one if not:

    take start.lock > share clients.lock > start a keeper if keeper.lock is free > free it > ask the server

As the keeper can be killed too, each client looks for it once a second and starts another one when it is
gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dataflows_sdk.errors import EmbeddedServerError

from . import binaries
from .directory import WAY_OUT, prepare, unusable
from .keeper.layout import DATABASE, USER, Address, Layout, log_tail, read_address
from .keeper.locks import LockFile, is_free
from .keeper.probe import Answer, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

_DOOR = 120.0  # seconds to wait while others start or stop the server
_SILENT = 60.0  # seconds to wait for a server that says nothing
_RECOVERING = 3600.0  # … and for one that says that it recovers
_WATCH = 1.0  # seconds between two looks at the keeper


class Lease:
    """One process's hold on the server of one directory, shared by all who want it there."""

    def __init__(self, directory: Path) -> None:
        self.layout = prepare(directory)
        self.users = 0
        self._left = threading.Event()
        try:
            self._clients = LockFile(self.layout.clients_lock)
        except OSError as error:
            raise unusable(self.layout.root, error) from error
        try:
            self._enter()
            self.address = self._await_server()
            self._make_database()
            self._password = self.layout.password.read_text("utf-8").strip()
        except OSError as error:
            self._clients.close()
            raise unusable(self.layout.root, error) from error
        except BaseException:
            self._clients.close()
            raise
        threading.Thread(target=self._watch, name="dataflows-embedded", daemon=True).start()

    def url(self, tcp: bool) -> str:
        """Where the server is now. Restarts keep it, unless another program took the port meanwhile."""
        address = read_address(self.layout) or self.address
        user = f"{USER}:{self._password}"
        if tcp or address.socket_dir is None:
            return f"postgresql://{user}@127.0.0.1:{address.port}/{DATABASE}"
        return f"postgresql://{user}@/{DATABASE}?host={quote(address.socket_dir, safe='/')}&port={address.port}"

    def in_place(self) -> bool:
        """False when the directory was deleted under the server."""
        return self._clients.in_place()

    def ensure(self) -> None:
        """Return when the server answers. Raises EmbeddedServerError when it cannot be brought back."""
        self.address = self._await_server()

    def release(self) -> None:
        """Give the hold back; the last one's end stops the server."""
        self.leave_a_keeper()
        self._clients.close()

    def leave_a_keeper(self) -> None:
        """Before we go: without a keeper nobody would stop the server."""
        self._left.set()
        with contextlib.suppress(EmbeddedServerError, OSError):
            if self.in_place() and is_free(self.layout.keeper_lock):
                with self._door():
                    self._ensure_keeper()

    def forget(self) -> None:
        """In a forked child: drop the inherited descriptor. The lock stays the parent's."""
        self._left.set()
        self._clients.close()

    def _enter(self) -> None:
        with self._door():
            # Only a keeper that looks whether it is alone holds this against us, and just for a moment.
            if not self._clients.share(_DOOR):
                raise EmbeddedServerError(f"{self._clients.path} is locked by another program. {WAY_OUT}")
            self._ensure_keeper()

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        with LockFile(self.layout.start_lock) as door:
            if not door.own(_DOOR):
                raise EmbeddedServerError(
                    f"For {_DOOR:.0f} s another process has been starting or stopping the embedded "
                    f"PostgreSQL in {self.layout.root}. Does one hang and hold {door.path}? {WAY_OUT}"
                )
            yield

    def _ensure_keeper(self) -> None:
        """Start a keeper if there is none, and hear from it that the server is up. Inside the door."""
        if not is_free(self.layout.keeper_lock):
            return
        answer = _start_keeper(self.layout)
        if "error" in answer:
            raise EmbeddedServerError(f"{answer['error']}\n({WAY_OUT})")

    def _await_server(self) -> Address:
        begin = time.monotonic()
        while True:
            address = read_address(self.layout)
            answer = probe(address) if address else Answer.SILENCE
            if address and answer is Answer.READY:
                return address
            if is_free(self.layout.keeper_lock):
                with self._door():
                    self._ensure_keeper()
                continue
            if time.monotonic() - begin > (_RECOVERING if answer is Answer.BUSY else _SILENT):
                raise EmbeddedServerError(
                    f"The embedded PostgreSQL in {self.layout.root} does not answer. {WAY_OUT} "
                    f"Its log ends with:\n{log_tail(self.layout)}"
                )
            time.sleep(0.01)

    def _make_database(self) -> None:
        if self.layout.database_made.exists():
            return
        import psycopg
        from psycopg.errors import DuplicateDatabase

        password = self.layout.password.read_text("utf-8").strip()
        statement = Path(__file__).with_name("create_database.sql").read_bytes()
        with self._door():
            if self.layout.database_made.exists():
                return
            try:
                with psycopg.connect(
                    host=self.address.socket_dir or "127.0.0.1",
                    port=self.address.port,
                    user=USER,
                    password=password,
                    dbname="postgres",
                    autocommit=True,
                ) as connection:
                    connection.execute(statement)
            except DuplicateDatabase:
                pass  # somebody was killed between creating it and saying so
            except psycopg.Error as error:
                raise EmbeddedServerError(
                    f"The embedded PostgreSQL starts but refuses its own client: {error}"
                ) from error
            self.layout.database_made.touch(mode=0o600)

    def _watch(self) -> None:
        pid = os.getpid()
        while not self._left.wait(_WATCH) and os.getpid() == pid:
            try:
                if self.in_place() and is_free(self.layout.keeper_lock):
                    _log.warning("the keeper of %s is gone: starting another one", self.layout.root)
                    with self._door():
                        if not self._left.is_set():
                            self._ensure_keeper()
            except (EmbeddedServerError, OSError) as error:
                _log.warning("no keeper for %s: %s", self.layout.root, error)
                self._left.wait(5 * _WATCH)


def _start_keeper(layout: Layout) -> dict[str, str]:
    """Start a keeper and wait for its answer."""
    main = Path(__file__).parent / "keeper" / "__main__.py"
    command = [_interpreter(), "-I", "-S", str(main), str(layout.root), str(binaries.programs())]
    # The keeper is nobody's child and leaves nothing open: on POSIX it forks off by itself.
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=layout.root.anchor,  # it must not keep a mounted disk busy
            env=_environment(),
            start_new_session=True,
            creationflags=flags,
        )
    finally:
        os.close(log)
    if not layout.database_made.exists():
        import psycopg  # noqa: F401 - needed in a moment, so it is loaded while the keeper works
    assert process.stdout is not None
    with process.stdout as answer:
        if sys.platform != "win32":
            process.wait()
        said = answer.read()
    if sys.platform == "win32":
        process.returncode = 0  # it lives on by design; spare its handle the ResourceWarning
    try:
        message: dict[str, str] = json.loads(said)
    except ValueError:
        message = {"error": f"The keeper of {layout.root} died. Its log ends with:\n{log_tail(layout)}"}
    return message


def _interpreter() -> str:
    """A Python to run the keeper; inside of another program sys.executable may be that program."""
    base = getattr(sys, "_base_executable", "")
    installed = Path(sys.exec_prefix, "python.exe" if os.name == "nt" else "bin/python3")
    for candidate in (sys.executable, base, str(installed)):
        if candidate and "python" in Path(candidate).name.lower() and Path(candidate).exists():
            return candidate
    raise EmbeddedServerError(
        f"The embedded PostgreSQL needs a Python interpreter to watch over it, and sys.executable is "
        f'{sys.executable!r}. Use a server of your own: connect("postgresql://…").'
    )


def _environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL (PGDATA, PGPORT, …) and with messages in a language we can
    read.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
