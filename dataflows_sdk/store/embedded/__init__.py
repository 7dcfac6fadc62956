"""An embedded PostgreSQL: binaries out of a wheel, data in one private directory, no service.

    server = acquire(Path(".dataflows"))     # makes, starts or joins the server of that directory
    psycopg.connect(server.url)
    server.close()                           # the last process out stops it

Any number of processes may share it. Each holds a file lock that the kernel frees even when the process is
killed; a tiny process of its own, the *keeper*, restarts PostgreSQL when that is killed and stops it when the
last client is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from pathlib import Path
from typing import Self

from .lease import Lease

__all__ = ["EmbeddedServer", "acquire"]

_guard = threading.Lock()
_leases: dict[Path, Lease] = {}


class EmbeddedServer:
    """A hold on a running server: got from `acquire`, given back by `close` or by leaving ``with``.

    A forked child does not share its parent's hold: it calls `acquire` itself.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._pid = os.getpid()
        self._closed = False

    @property
    def url(self) -> str:
        """For psycopg: the database "dataflows", its superuser, over the Unix socket where there is one."""
        return self._lease.url(tcp=False)

    @property
    def tcp_url(self) -> str:
        """The same over 127.0.0.1, for programs that need a port (BI tools). Contains the password."""
        return self._lease.url(tcp=True)

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's data directory."""
        return self._lease.layout.data

    def close(self) -> None:
        """Give the hold back; half a second after the last one anywhere the server stops. Idempotent."""
        if self._pid != os.getpid():
            return
        with _guard:
            if self._closed:
                return
            self._closed = True
            self._lease.users -= 1
            if self._lease.users == 0:
                if _leases.get(self._lease.layout.root) is self._lease:
                    del _leases[self._lease.layout.root]
                self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self._lease.layout.root}{' closed' if self._closed else ''}>"


def acquire(directory: str | os.PathLike[str]) -> EmbeddedServer:
    """Return a hold on the server of `directory`: made on the first call ever, started when it does not run.

    Within one process all holds on one directory share one lock. Whatever is not given back is given back by
    the kernel when the process ends.

    Raises:
        EmbeddedServerError: no binaries for this platform; the directory is a file, read-only, full or
            somebody else's; its cluster has another major version; PostgreSQL does not start. The message has
            the way out.
    """
    root = Path(os.path.realpath(directory))
    with _guard:
        lease = _leases.get(root)
        if lease is not None and lease.in_place():
            lease.ensure()
        else:  # new here, or the directory was deleted: then the old server ends with its holders
            lease = _leases[root] = Lease(root)
        lease.users += 1
        return EmbeddedServer(lease)


def _in_forked_child() -> None:
    global _guard  # noqa: PLW0603 - the parent's may be held by a thread that does not exist here
    _guard = threading.Lock()
    for lease in _leases.values():
        lease.forget()
    _leases.clear()


def _at_exit() -> None:
    """The kernel frees the locks, and only when nothing of the process is left to need the server. But a
    keeper must be there to see it.
    """
    for lease in list(_leases.values()):
        with contextlib.suppress(Exception):
            lease.leave_a_keeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
atexit.register(_at_exit)
