"""Addresses of the same database for other roles."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

#: of a connection string, what another program needs to get to the same place
_KEPT = ("sslmode", "sslrootcert", "channel_binding", "target_session_attrs")


def url_for(conninfo: str, role: str, password: str | None) -> str:
    """The address of a database, as a URL, for another role.

    Args:
        conninfo: a URL or libpq connection string for the same database; its role and password are left out.
    """
    given: dict[str, Any] = dict(conninfo_to_dict(conninfo))
    who = quote(role, safe="") + ("" if password is None else f":{quote(password, safe='*')}")
    hosts = str(given.get("host") or "").split(",")
    ports = str(given.get("port") or "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    rest = {name: given[name] for name in _KEPT if given.get(name)}
    if hosts[0].startswith("/") or not hosts[0]:
        # a socket has no place where a URL has its host
        rest |= {name: value for name, value in (("host", ",".join(hosts)), ("port", ",".join(ports))) if value}
        place = ""
    else:
        place = ",".join(_place(host, port) for host, port in zip(hosts, ports, strict=True))
    asked = f"?{urlencode(rest)}" if rest else ""
    return f"postgresql://{who}@{place}/{quote(str(given.get('dbname') or ''), safe='')}{asked}"


def _place(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def scram(connection: Any, role: str, password: str) -> str:
    """What PostgreSQL keeps of a password: it is never sent, and stands in no log of statements."""
    found: bytes = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return found.decode()
