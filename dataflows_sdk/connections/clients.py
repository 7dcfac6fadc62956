"""``ctx.service_client`` and ``ctx.service_clients``: external systems, and how this installation is known there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.connections.schemes import (
    AUTH_TYPES,
    TOKEN_AUTH,
    USER_INFO,
    AuthType,
    auth_type_of,
    check_schema,
    check_scopes,
    check_secret,
    check_text,
    check_url,
    usual_schema,
)
from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.errors import DecryptionError, DefinitionError, ServiceClientNotFoundError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.core.redact import Secret

TABLE = "dataflows.service_clients"


@dataclass(frozen=True, slots=True)
class ServiceClient(ShownAsTable):
    """An external system. Its secret is not in here.

    Attributes:
        id: of the row in ``dataflows.service_clients``.
        name: by which it is found.
        provider: whose system it is, ``"github"``.
        auth_type: ``"oauth2"``, ``"api_key"`` or ``"basic"``.
        client_id: how this installation is known there.
        security_schema: a security scheme as OpenAPI describes one.
        scopes: what connections may do if nothing else is said of them.
        base_url: where its API begins; secrets go nowhere else.
        has_secret: whether there is a client secret.
        created_at, updated_at: when.
    """

    id: UUID
    name: str
    provider: str
    auth_type: AuthType
    client_id: str | None
    security_schema: dict[str, Any]
    scopes: tuple[str, ...]
    base_url: str | None
    created_at: datetime
    updated_at: datetime
    has_secret: bool

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> ServiceClient:
        """From a row of ``clients``."""
        values: list[Any] = [*row[:5], json.loads(row[5]), tuple(row[6]), *row[7:11]]
        return cls(*values)

    def __repr__(self) -> str:
        scopes = f", scopes {' '.join(self.scopes)}" if self.scopes else ""
        return f"<service client {self.name!r}: {self.auth_type} of {self.provider}{scopes}>"


class ServiceClients(ShownAsTable):
    """``ctx.service_clients``: those that there are."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def list(self) -> list[ServiceClient]:
        """All of them, by name."""
        return Listing([ServiceClient.of(row) for row in self._context._read("connections", "clients", (None,))])

    def get(self, name: str) -> ServiceClient:
        """The one of a name.

        Raises:
            ServiceClientNotFoundError: there is none; the message names those that exist.
        """
        rows = self._context._read("connections", "clients", (check_text("the name of a service client", name),))
        if not rows:
            known = ", ".join(repr(each.name) for each in self.list()[:20]) or "none yet"
            raise ServiceClientNotFoundError(
                f"there is no service client {name!r}; there are {known}; ctx.service_client({name!r}, auth=…) makes it"
            )
        return ServiceClient.of(rows[0])

    def delete(self, name: str, *, connections: bool = False) -> None:
        """Delete a service client.

        Args:
            connections: its connections too.

        Raises:
            ServiceClientNotFoundError: there is none.
            DefinitionError: it has connections. Nothing was deleted.
        """
        client = self.get(name)
        database = self._context._database
        run = database.run
        with database.connection() as connection, connection.transaction():
            run(connection, "connections", "lock_client", (client.name,))
            if connections:
                run(connection, "connections", "delete_connections_of", (client.id,))
            elif count := run(connection, "connections", "count_of_client", (client.id,))[0][0]:
                raise DefinitionError(
                    f"the service client {name!r} has {count} connections, which would lose it; "
                    f"ctx.service_clients.delete({name!r}, connections=True) deletes them too"
                )
            run(connection, "connections", "delete_client", (client.id,))

    # --- making ------------------------------------------------------------------------------------------

    def put(
        self,
        name: str,
        auth: AuthType | None,
        provider: str | None,
        client_id: str | None,
        client_secret: str | Secret | None,
        scopes: Iterable[str] | None,
        base_url: str | None,
        security_schema: Mapping[str, Any] | None,
        extras: Mapping[str, str | None],
    ) -> ServiceClient:
        """See `Context.service_client`."""
        check_text("the name of a service client", name)
        if auth is not None and auth not in AUTH_TYPES:
            raise DefinitionError(f"auth of {name!r} is one of {', '.join(AUTH_TYPES)}, not {auth!r}")
        given: dict[str, Any] = {
            "provider": None if provider is None else check_text(f"provider of {name!r}", provider),
            "client_id": None if client_id is None else check_text(f"client_id of {name!r}", client_id, 2_000),
            "scopes": None if scopes is None else check_scopes(f"scopes of {name!r}", scopes),
            "base_url": None if base_url is None else check_url(f"base_url of {name!r}", base_url),
        }
        secret = None if client_secret is None else check_secret(f"client_secret of {name!r}", client_secret)
        database, now = self._context._database, self._context._engine.clock.now()
        run = database.run
        with database.connection() as connection, connection.transaction():
            rows = run(connection, "connections", "lock_client", (name,))
            if not rows:
                made = self._new(name, auth, given, security_schema, extras)
                identifier = new_uuid()
                sealed = None if secret is None else self._seal(secret, identifier)
                values = (identifier, name, *_columns(made, sealed), now)
                if run(connection, "connections", "insert_client", values):
                    return self.get_on(connection, name)
                rows = run(connection, "connections", "lock_client", (name,))  # somebody else was quicker
            self._change(connection, rows[0], auth, given, secret, security_schema, extras, now)
            return self.get_on(connection, name)

    def get_on(self, connection: Any, name: str) -> ServiceClient:
        """As a transaction sees it."""
        return ServiceClient.of(self._context._database.run(connection, "connections", "clients", (name,))[0])

    def _new(
        self, name: str, auth: AuthType | None, given: Mapping[str, Any], schema: Any, extras: Mapping[str, str | None]
    ) -> dict[str, Any]:
        found = auth or (auth_type_of(schema) if isinstance(schema, Mapping) else None)
        if found is None:
            raise DefinitionError(
                f"there is no service client {name!r} yet; say how it is accessed: auth='oauth2', 'api_key' or 'basic'"
            )
        return {
            "provider": given["provider"] or name,
            "auth_type": found,
            "client_id": given["client_id"],
            "security_schema": _schema(name, found, schema or usual_schema(found), extras),
            "scopes": given["scopes"] or [],
            "base_url": given["base_url"],
        }

    def _change(
        self,
        connection: Any,
        row: tuple[Any, ...],
        auth: AuthType | None,
        given: Mapping[str, Any],
        secret: str | None,
        schema: Any,
        extras: Mapping[str, str | None],
        now: datetime,
    ) -> None:
        """What is not given stays as it is; where nothing is new, nothing is written."""
        run = self._context._database.run
        there = ServiceClient.of(row)
        kind: AuthType = auth or there.auth_type
        if kind != there.auth_type and run(connection, "connections", "count_of_client", (there.id,))[0][0]:
            raise DefinitionError(
                f"the service client {there.name!r} has connections with auth={there.auth_type!r}, which do not become "
                f"{kind!r}; make another client, or delete them"
            )
        base = schema or (there.security_schema if kind == there.auth_type else usual_schema(kind))
        made = {
            "provider": given["provider"] or there.provider,
            "auth_type": kind,
            "client_id": given["client_id"] or there.client_id,
            "security_schema": _schema(there.name, kind, base, extras),
            "scopes": list(there.scopes) if given["scopes"] is None else given["scopes"],
            "base_url": given["base_url"] or there.base_url,
        }
        before = {key: list(value) if isinstance(value, tuple) else value
                  for key in made for value in (getattr(there, key),)}  # fmt: skip
        sealed = row[11]
        changed = secret is not None and not self._is(secret, sealed, there.id)
        if changed and secret is not None:
            sealed = self._seal(secret, there.id)
        if changed or made != before:
            run(connection, "connections", "update_client", (there.id, *_columns(made, sealed), now))

    def _is(self, secret: str, sealed: bytes | None, row: UUID) -> bool:
        try:
            return sealed is not None and self.secret_of(sealed, row).reveal() == secret
        except DecryptionError:
            return False  # its key is lost: the secret that is given takes its place

    def secret_of(self, sealed: bytes, row: UUID) -> Secret:
        """A client secret in the clear."""
        return self._context.vault.open(sealed, TABLE, row, "client_secret")

    def _seal(self, secret: str, row: UUID) -> bytes:
        return self._context.vault.seal(secret, TABLE, row, "client_secret")

    def __repr__(self) -> str:
        return f"<service clients: {', '.join(each.name for each in self.list()) or 'none'}>"

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "service clients")


def _columns(made: Mapping[str, Any], sealed: bytes | None) -> tuple[Any, ...]:
    return (
        made["provider"],
        made["auth_type"],
        made["client_id"],
        sealed,
        json.dumps(made["security_schema"]),
        made["scopes"],
        made["base_url"],
    )


def _schema(name: str, auth: AuthType, schema: Any, extras: Mapping[str, str | None]) -> dict[str, Any]:
    """A checked scheme with the addresses that were given beside it."""
    found = check_schema(name, auth, schema)
    urls = {word: extras[word] for word in ("authorizationUrl", "tokenUrl", "refreshUrl") if extras.get(word)}
    if urls:
        if auth != "oauth2" or found["type"] != "oauth2":
            raise DefinitionError(f"{name!r}: authorization_url, token_url and refresh_url belong to auth='oauth2'")
        flows = found.setdefault("flows", {})
        flow = flows.setdefault(next(iter(flows), "authorizationCode"), {})
        flow.update({"scopes": {}, **flow, **urls})
    if extras.get(USER_INFO):
        found[USER_INFO] = extras[USER_INFO]
    if (way := extras.get(TOKEN_AUTH)) is not None:
        if way not in ("basic", "body"):
            raise DefinitionError(f"token_auth of {name!r} is 'basic' or 'body', not {way!r}")
        found[TOKEN_AUTH] = way
    return check_schema(name, auth, found)
