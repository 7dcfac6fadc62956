"""Is a PostgreSQL alive? Only its answer counts, never a pid: the first bytes of the protocol."""

from __future__ import annotations

import enum
import socket
import struct
from typing import TYPE_CHECKING

from .layout import DATABASE, USER

if TYPE_CHECKING:
    from .layout import Address

_PROTOCOL_3 = 196608
_PARAMETERS = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
_HELLO = struct.pack("!ii", 8 + len(_PARAMETERS), _PROTOCOL_3) + _PARAMETERS
_CANNOT_CONNECT_NOW = b"C57P03\0"


class Answer(enum.Enum):
    """What came back."""

    READY = "it takes connections"
    BUSY = "it starts, recovers or shuts down"
    SILENCE = "nobody is there"


def probe(address: Address, timeout: float = 2.0) -> Answer:
    """Knock at the socket, or where there is none at 127.0.0.1; at most `timeout` seconds per message."""
    try:
        with _connect(address, timeout) as connection:
            connection.sendall(_HELLO)
            reply = connection.recv(1024)
    except OSError:
        return Answer.SILENCE
    if reply[:1] == b"E" and _CANNOT_CONNECT_NOW in reply:
        return Answer.BUSY
    # "R" asks for the password; any other error, such as too many clients, also comes from a server that
    # lives.
    return Answer.READY if reply[:1] in (b"R", b"E") else Answer.SILENCE


def can_bind(port: int) -> bool:
    """Is this port of 127.0.0.1 free for a server?"""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        if hasattr(socket, "AF_UNIX"):  # PostgreSQL does the same there; on Windows the option means "take it anyway"
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.socket_dir is None:
        return socket.create_connection(("127.0.0.1", address.port), timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(f"{address.socket_dir}/.s.PGSQL.{address.port}")
    except OSError:
        connection.close()
        raise
    return connection
