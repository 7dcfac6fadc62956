"""What lies where in a `.dataflows` directory, and who owns it.

Everything belongs to the person who calls and is 0700 or 0600. One exception: when that person is root,
PostgreSQL must run as somebody else, and then `pgdata` and the socket directory, these two and nothing above
them, belong to the uid that the server runs under. It finds its data through its working directory, not
through the path (`privileges`).
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAJOR = 18
USER = "dataflows"
DATABASE = "dataflows"


class ServerRefusedError(Exception):
    """The server cannot run here; the message says why and what to do. Clients see an EmbeddedServerError."""


@dataclass(frozen=True)
class Address:
    """Where a running server listens: a port of 127.0.0.1 and, where there are such sockets, a directory."""

    port: int
    socket_dir: str | None


@dataclass(frozen=True)
class Layout:
    """The paths in one directory."""

    root: Path

    @property
    def data(self) -> Path:
        """The cluster. Appears by one rename, whole or not at all."""
        return self.root / "pgdata"

    @property
    def password(self) -> Path:
        return self.root / "password"

    @property
    def log(self) -> Path:
        """What PostgreSQL and the keeper say; the keeper keeps it short."""
        return self.root / "server.log"

    @property
    def state(self) -> Path:
        """The address of the server that runs, or ran last. A hint: its readers ask the server itself."""
        return self.root / "server.json"

    @property
    def database_made(self) -> Path:
        """Says that the cluster has our database; the keeper removes it before a new cluster appears."""
        return self.root / "database-made"

    @property
    def start_lock(self) -> Path:
        """The mutex around starting and stopping. Its holder waits for nothing but a fresh keeper."""
        return self.root / "start.lock"

    @property
    def clients_lock(self) -> Path:
        """Shared by every client as long as it lives; the keeper gets it alone when all of them are gone."""
        return self.root / "clients.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper as long as it lives."""
        return self.root / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        """Held by all processes of the server together, by inheritance. Free: none of them lives."""
        return self.root / "server.lock"


def read_address(layout: Layout) -> Address | None:
    try:
        found = json.loads(layout.state.read_text("utf-8"))
        if found["root"] != str(layout.root):
            return None  # a copied directory must not take the original's sockets
        return Address(int(found["port"]), found["socket_dir"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_address(layout: Layout, address: Address) -> None:
    write_private(layout.state, json.dumps({"root": str(layout.root), **asdict(address)}))


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole or not at all."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def log_tail(layout: Layout, since: int = 0, lines: int = 12) -> str:
    """The last lines of the log, of those after the byte `since`."""
    try:
        with layout.log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(since, file.tell() - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
