"""What httpx is given: puts the secret of a connection into requests, and a new one where the old one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from dataflows_sdk.connections.schemes import auth_type_of, put
from dataflows_sdk.errors import ConnectionAuthError, MissingScopeError

if TYPE_CHECKING:
    from dataflows_sdk.connections.desk import Connections
    from dataflows_sdk.connections.refreshing import Access


class ConnectionAuth(httpx.Auth):
    """``httpx.Client(auth=…)``, made by `Connections.auth`. For blocking and for awaitable clients.

    A token that ends within a minute is refreshed first. A 401 refreshes it once and repeats the request once. The
    secret goes to the host of the client's ``base_url`` only, and to *hosts*.
    """

    requires_request_body = True  # so that the request can be repeated

    def __init__(self, desk: Connections, connection: UUID, scopes: Iterable[str], hosts: Iterable[str]) -> None:
        self._desk = desk
        self._connection = connection
        self._scopes = tuple(scopes)
        self._hosts = frozenset(host.lower() for host in hosts)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx."""
        request.read()
        access = _wait(self._desk._access(self._connection))
        self._prepare(request, access)
        response = yield request
        if response.status_code == 401 and access.refreshable:
            self._prepare(request, _wait(self._desk._access(self._connection, access.secret)))
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See httpx."""
        await request.aread()
        access = await _await(self._desk, self._connection, None)
        self._prepare(request, access)
        response = yield request
        if response.status_code == 401 and access.refreshable:
            self._prepare(request, await _await(self._desk, self._connection, access))
            yield request

    def hidden(self) -> str | None:
        """The parameter of a query that the secret is put into; None where it goes elsewhere.

        Raises:
            ConnectionNotFoundError, ConnectionAuthError: there is no such connection, or it gives no access.
        """
        schema = self._desk._refresher.read(self._connection).schema
        return str(schema["name"]) if schema.get("type") == "apiKey" and schema.get("in") == "query" else None

    def credentials(self) -> tuple[str | None, str]:
        """User name, if the connection has one, and password, for what is no HTTP; blocking.

        Raises:
            ConnectionAuthError: its client has a *base_url*, and so its secret is for that server only.
            MissingScopeError: it lacks the scopes that are asked for.
        """
        access = _wait(self._desk._access(self._connection))
        self._check_scopes(access)
        if access.base_url is not None:
            raise ConnectionAuthError(
                f"connection {access.connection} of {access.client!r} is for {access.base_url}: the secret was not "
                "sent to a database. Make a service client for the database, without base_url",
                str(access.connection),
            )
        assert access.secret is not None
        if auth_type_of(access.schema) == "basic":
            username, _, password = access.secret.reveal().partition(":")
            return username, password
        return None, access.secret.reveal()

    def _check_scopes(self, access: Access) -> None:
        if missing := [scope for scope in self._scopes if scope not in access.scopes]:
            raise missing_scopes(access, missing)

    def _prepare(self, request: httpx.Request, access: Access) -> None:
        self._check_scopes(access)
        self._check_target(request.url, access)
        assert access.secret is not None
        put(request, access.schema, access.secret.reveal())

    def _check_target(self, url: httpx.URL, access: Access) -> None:
        """A token that goes to another server is given away."""
        if access.base_url is None:
            return
        base = httpx.URL(access.base_url)
        if _origin(url) == _origin(base) or (url.host.lower() in self._hosts and url.scheme == base.scheme):
            return
        raise ConnectionAuthError(
            f"connection {access.connection} of {access.client!r} is for {base.scheme}://{base.netloc.decode()}, and "
            f"the request goes to {url.scheme}://{url.netloc.decode()}: the secret was not sent. "
            "ctx.connections.auth(…, hosts=[…]) allows more hosts",
            str(access.connection),
        )

    def __repr__(self) -> str:
        return f"<auth by connection {self._connection}>"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host.lower(), url.port


def missing_scopes(access: Access, missing: list[str]) -> MissingScopeError:
    """What a connection may not do."""
    return MissingScopeError(
        f"connection {access.connection} of {access.client!r} lacks the scopes {', '.join(missing)}; it has "
        f"{', '.join(access.scopes) or 'none'}. Connect anew and ask for them; nothing was sent",
        missing,
    )


def _wait(found: Access | Future[Access]) -> Access:
    return found.result() if isinstance(found, Future) else found


async def _await(desk: Connections, connection: UUID, refused: Access | None) -> Access:
    found = await asyncio.to_thread(desk._access, connection, None if refused is None else refused.secret)
    return await asyncio.wrap_future(found) if isinstance(found, Future) else found
