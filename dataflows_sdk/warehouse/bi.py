"""Roles that read the warehouse: for Metabase, Tableau, Power BI, and people with psql."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, StoreError
from dataflows_sdk.store.addresses import scram, url_for
from dataflows_sdk.store.statements import RefusedError, alone, named
from dataflows_sdk.warehouse.view_text import JOURNAL

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

_LONGEST = 63
_PASSWORD_BYTES = 24
#: what the comment of a role begins with that was made here
_MARK = "dataflows-sdk: reads the warehouse of database "


class Dsn(str):
    """An address that can be connected to, and whose password is masked wherever it is printed."""

    __slots__ = ("_masked",)
    _masked: str

    def __new__(cls, address: str, masked: str) -> Self:
        self = super().__new__(cls, address)
        self._masked = masked
        return self

    def reveal(self) -> str:
        """The whole address, as plain text."""
        return "".join(self)

    def __str__(self) -> str:
        return self._masked

    def __repr__(self) -> str:
        return repr(self._masked)

    def __format__(self, spec: str) -> str:
        return format(self._masked, spec)


@dataclass(frozen=True, slots=True)
class BiAccess(ShownAsTable):
    """A role that reads the warehouse.

    Attributes:
        name: of the role.
        journal: whether it reads the views of the journal as well.
        dsn: the address for the tool. It connects (``psycopg.connect(access.dsn)``); printed it hides the password, and
            ``.reveal()`` gives it as plain text. Without the password if that was set earlier: the database does not
            know it either.
        out_of_reach: tables and views of the warehouse that belong to other roles, which did not let us pass them on.
        unseen_owners: roles that own tables of the warehouse, and whose tables to come this role will not see.
    """

    name: str
    journal: bool
    dsn: Dsn
    out_of_reach: tuple[str, ...]
    unseen_owners: tuple[str, ...]
    _password: Secret | None = field(repr=False)
    _desk: Any = field(repr=False, compare=False)

    @property
    def password(self) -> Secret | None:
        """The password, if it was set by this call; ``.reveal()`` gives it."""
        return self._password

    def renew(self, password: str | None = None) -> BiAccess:
        """Set another password, by default one that is made here."""
        renewed: BiAccess = self._desk._renew(self, password)
        return renewed

    def revoke(self) -> None:
        """Take everything back and drop the role; those who are connected under it are disconnected where we may.

        Raises:
            StoreError: PostgreSQL refuses, for example because something belongs to the role.
        """
        self._desk.revoke(self.name)

    def __repr__(self) -> str:
        what = "the warehouse and the journal" if self.journal else "the warehouse"
        return f"<BiAccess {self.name!r} reads {what}: {self.dsn}>"


class Bi:
    """Makes roles that read.

    Args:
        database: whose warehouse they read.
        address: where other programs reach it; by default as we do.
    """

    def __init__(self, database: Database, address: Callable[[], str] | None = None) -> None:
        self._database = database
        self._address = address if address is not None else lambda: database.conninfo

    def access(
        self,
        name: str,
        password: str | None = None,
        *,
        journal: bool = False,
        timeout: Duration = "60s",
        connections: int = 10,
    ) -> BiAccess:
        """Make a role that reads the warehouse, or bring the rights of one up to date.

        It sees tables, their pasts and views in the schema ``warehouse``, those that are made later included, and
        nothing of the schema ``dataflows`` but, if asked for, the views of the journal. It writes nothing.

        Args:
            name: of the role.
            password: by default one is made; a role that is there already keeps the one it has.
            journal: let it read ``dataflows.runs``, ``steps``, ``events`` and ``executions``.
            timeout: how long one statement of it may take.
            connections: how many it may have.

        Raises:
            DefinitionError: the name, the password or a number cannot be.
            StoreError: a role of that name was made by somebody else, or ours may not make roles.
        """
        role, seconds = _checked(name), parse_duration(timeout).total_seconds()
        if not 1 <= seconds <= 86_400:
            raise DefinitionError(f"timeout={timeout!r} lies between a second and a day")
        if isinstance(connections, bool) or not isinstance(connections, int) or not 1 <= connections <= 1_000:
            raise DefinitionError(f"connections={connections!r} lies between 1 and 1,000")
        chosen = None if password is None else _checked_password(role, password)
        with self._refusals(role), self._database.connection() as connection, connection.transaction():
            _run(connection, "lock")
            if not self._ours(connection, role):
                _each(connection, "create", role)
                _each(connection, "mark", role, _MARK + _here(connection))
                chosen = chosen if chosen is not None else secrets.token_urlsafe(_PASSWORD_BYTES)
            if chosen is not None:
                _each(connection, "password", role, scram(connection, role, chosen))
            _each(connection, "settings", role, round(seconds * 1000), connections)
            if not journal:
                _each(connection, "revokes", role, True)
            _each(connection, "grants", role, journal, list(JOURNAL))
            _each(connection, "connect", role)
            found = _run(connection, "out_of_reach", role)
        tables, owners = ({row[at] for row in found} - {None} for at in (0, 1))
        return self._made(role, journal, chosen, tuple(sorted(tables)), tuple(sorted(owners)))

    def _made(
        self, role: str, journal: bool, password: str | None, tables: tuple[str, ...], owners: tuple[str, ...]
    ) -> BiAccess:
        address = self._address()
        dsn = Dsn(url_for(address, role, password), url_for(address, role, None if password is None else "***"))
        secret = None if password is None else Secret(password)
        return BiAccess(role, journal, dsn, tables, owners, secret, self)

    def _renew(self, access: BiAccess, password: str | None) -> BiAccess:
        role = access.name
        chosen = secrets.token_urlsafe(_PASSWORD_BYTES) if password is None else _checked_password(role, password)
        with self._refusals(role), self._database.connection() as connection, connection.transaction():
            _run(connection, "lock")
            if not self._ours(connection, role):
                raise StoreError(f"role {role!r} is gone; bi_access({role!r}) makes it again")
            _each(connection, "password", role, scram(connection, role, chosen))
        return self._made(role, access.journal, chosen, access.out_of_reach, access.unseen_owners)

    def revoke(self, name: str) -> None:
        """Drop a role that was made here, with all that it was granted; see `BiAccess.revoke`."""
        role = _checked(name)
        with self._refusals(role), self._database.connection() as connection, connection.transaction():
            _run(connection, "lock")
            if not self._ours(connection, role):
                return
            oid = _run(connection, "oid", role)[0][0]
            _each(connection, "revokes", role, False)
            _each(connection, "drop", role)
        with self._database.connection() as connection:
            _run(connection, "disconnect", oid)

    @staticmethod
    def _ours(connection: Any, role: str) -> bool:
        """Whether the role is there, and made for this database.

        Raises:
            StoreError: it is somebody else's.
        """
        rows = _run(connection, "role", role)
        if not rows:
            return False
        comment, mighty = rows[0]
        if comment != _MARK + _here(connection):
            whose = "made by somebody else" if not (comment or "").startswith(_MARK) else (
                f"one that reads the warehouse of database {comment.removeprefix(_MARK)!r} of this server"
            )  # fmt: skip
            raise StoreError(f"role {role!r} exists and is {whose}; it is left as it is. Choose another name")
        if mighty:
            raise StoreError(
                f"role {role!r} was made here and has been given more rights since than reading; take them back "
                "(alter role, revoke), or choose another name"
            )
        return True

    @contextmanager
    def _refusals(self, role: str) -> Iterator[None]:
        try:
            yield
        except RefusedError as refused:
            more = f" ({refused.detail})" if refused.detail else ""
            if refused.sqlstate == "42501":
                raise StoreError(
                    f"role {role!r}: {refused.message}{more}; the role of this connection needs CREATEROLE and has to "
                    "own the schema warehouse: ask an administrator for `alter role … createrole`"
                ) from None
            if refused.sqlstate in ("42939", "42602", "22023"):
                raise DefinitionError(f"role {role!r} cannot be made: {refused.message}{more}") from None
            raise StoreError(f"role {role!r}: PostgreSQL refused: {refused.message}{more}") from None


def _run(connection: Any, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return named(connection, "bi", name, parameters, package="dataflows_sdk.warehouse")


def _each(connection: Any, name: str, *parameters: Any) -> None:
    """Run the statements that a statement of ``bi.sql`` puts together."""
    for (text,) in _run(connection, name, *parameters):
        alone(connection, text)


def _here(connection: Any) -> str:
    found: str = _run(connection, "database")[0][0]
    return found


def _checked(name: object) -> str:
    if not isinstance(name, str) or not name or "\0" in name or not _is_text(name):
        raise DefinitionError(f"a role has a name such as 'metabase', not {name!r:.100}")
    if len(name.encode()) > _LONGEST:
        raise DefinitionError(f"the name of role {name!r:.80} has more than {_LONGEST} bytes")
    return name


def _checked_password(role: str, password: object) -> str:
    if isinstance(password, Secret):
        password = password.reveal()
    if not isinstance(password, str) or not password or "\0" in password or not _is_text(password):
        raise DefinitionError(f"the password of role {role!r} is a text of at least one character, without NUL")
    return password


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
