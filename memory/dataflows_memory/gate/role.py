"""The role under which agents read: it sees the tables that are allowed, and can be nobody else.

Taking a role on in our own session would not hold: a query that got past the parser could put it off again
(``set_config('role', 'none', true)``) and run what it likes in text (``query_to_xml``). So the role logs in itself. It
cannot as a rule: it is given a password for the moment in which we connect, which nobody keeps.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dataflows_memory.gate.relations import PAST, Relation
from dataflows_sdk.errors import StoreError, StoreUnavailableError
from dataflows_sdk.store.addresses import scram, url_for
from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.statements import RefusedError, alone, named
from dataflows_sdk.warehouse.statements import quoted

#: what the comment of a role begins with that was made here
_MARK = "dataflows-sdk: agents ask database "
_MOST_IDLE = 4

LOGIN = "a role of its own that may read these tables only, in a session of its own"
TAKEN = "a role that may read these tables only, taken on within the session of this user"
NONE = "a read-only transaction of this user, who may make no roles: only the check of the text keeps tables apart"


class Keeper:
    """Connections for reading certain relations. Thread-safe.

    Args:
        database: as a user who may read them.
        relations: which.
        want_role: False to do without a role.
    """

    def __init__(self, database: Database, relations: Iterable[Relation], *, want_role: bool = True) -> None:
        self._database = database
        self._wanted = list(_grants(relations))
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._name: str | None = None
        self._closed = False
        #: what keeps a query in its place; one of the texts above, None before the first
        self.guard: str | None = None if want_role else NONE

    @property
    def role(self) -> str | None:
        """The role that a query has to take on; None where the session is that role's."""
        return self._name if self.guard == TAKEN else None

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection for one query.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        connection = self._take()
        try:
            yield connection
        finally:
            self._give(connection)

    def grant(self) -> None:
        """Give the role what it lacks: a view that was made anew has no grants."""
        if self.guard in (LOGIN, TAKEN):
            assert self._name is not None
            with self._database.connection() as connection, connection.transaction():
                _grant(connection, self._name, self._wanted)

    def fresh(self) -> None:
        """Close what is idle: the server may have hung up."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the connections; the role stays for the next."""
        with self._lock:
            self._closed = True
        self.fresh()

    def revoke(self) -> None:
        """Drop the role, with all that it was granted."""
        self.close()
        with self._database.connection() as connection, connection.transaction():
            _bi(connection, "lock")
            role = self._called(connection)
            if not _ours(connection, role):
                return
            _each(connection, "column_revokes", role)
            for (text,) in _bi(connection, "revokes", role, False):
                alone(connection, text)
            for (text,) in _bi(connection, "drop", role):
                alone(connection, text)

    # --- connections ---------------------------------------------------------------------------------------

    def _take(self) -> Any:
        with self._lock:
            if self._closed:
                raise StoreUnavailableError("this reader is closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
            if self.guard is None:
                self.guard = self._made()
        if self.guard == LOGIN:
            try:
                return self._login()
            except StoreUnavailableError:
                # the server lets no roles in that it was not told of (pg_hba.conf), or a pooler stands before it
                self._join()
        return self._database.open()

    def _give(self, connection: Any) -> None:
        with self._lock:
            if not self._closed and not connection.closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _made(self) -> str:
        """Make the role, if we may."""
        try:
            with self._database.connection() as connection, connection.transaction():
                _bi(connection, "lock")
                role = self._called(connection)
                if not _ours(connection, role):
                    _each(connection, "create", role)
                    for (text,) in _bi(connection, "mark", role, _MARK + role):
                        alone(connection, text)
                    _each(connection, "defaults", role)
                _grant(connection, role, self._wanted)
        except RefusedError as refused:
            if refused.sqlstate == "42501":
                return NONE
            raise StoreError(f"the role for agents' queries could not be made: {refused.message}") from refused
        self._name = role
        return LOGIN

    def _called(self, connection: Any) -> str:
        here = _bi(connection, "database")[0][0]
        digest = hashlib.sha256(repr((here, sorted(self._wanted, key=repr))).encode()).hexdigest()
        return f"dataflows_ask_{digest[:16]}"

    def _login(self) -> Any:
        assert self._name is not None
        password = secrets.token_urlsafe(24)
        with self._database.connection() as admin:
            _run(admin, "lock_login", self._name)
            try:
                _each(admin, "wake", self._name, scram(admin, self._name, password))
                try:
                    connection = Database(url_for(self._database.conninfo, self._name, password)).open()
                finally:
                    _each(admin, "sleep", self._name)
            except RefusedError as refused:
                raise StoreUnavailableError(refused.message) from refused
            finally:
                _run(admin, "unlock_login", self._name)
        return connection

    def _join(self) -> None:
        assert self._name is not None
        try:
            with self._database.connection() as connection, connection.transaction():
                _each(connection, "join", self._name)
        except (RefusedError, DatabaseError):
            self.guard = NONE
            return
        self.guard = TAKEN


def _grants(relations: Iterable[Relation]) -> Iterator[tuple[str, str, str | None]]:
    """Schema, table and columns of what is granted; no columns for all of them."""
    for each in relations:
        columns = ", ".join(quoted(name) for name in each.columns)
        ours = "".join(f', "{name}"' for name in ("_synced_at",) if name not in each.columns) if each.versioned else ""
        yield each.schema, each.name, columns + ours if each.partial else None
        if each.versioned:
            yield PAST, each.name, columns + ours + ', "_valid_to"' if each.partial else None


def _grant(connection: Any, role: str, wanted: list[tuple[str, str, str | None]]) -> None:
    schemas, names, columns = (list(each) for each in zip(*wanted, strict=True)) if wanted else ([], [], [])
    _each(connection, "grants", role, schemas, names, columns)


def _ours(connection: Any, role: str) -> bool:
    rows = _run(connection, "role", role)
    if not rows:
        return False
    comment, mighty = rows[0]
    if comment != _MARK + role or mighty:
        raise StoreError(f"role {role!r} exists and was not made here, or may more than read; rename or drop it")
    return True


def _run(connection: Any, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return named(connection, "reader", name, parameters, package="dataflows_memory.gate")


def _bi(connection: Any, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return named(connection, "bi", name, parameters, package="dataflows_sdk.warehouse")


def _each(connection: Any, name: str, *parameters: Any) -> None:
    """Run the statements that a statement puts together."""
    for (text,) in _run(connection, name, *parameters):
        alone(connection, text)
