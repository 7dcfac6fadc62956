"""``ctx.connections``: the access of users and accounts to external systems."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.connections.clients import ServiceClient
from dataflows_sdk.connections.refreshing import TABLE, Access, Refresher
from dataflows_sdk.connections.schemes import USER_INFO, check_scopes, check_secret, check_text
from dataflows_sdk.core.durations import Instant, parse_instant
from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.core.redact import RedactingFilter, Secret
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.errors import ConnectionNotFoundError, DataflowsError, DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.connections.auth import ConnectionAuth
    from dataflows_sdk.context import Context

log = logging.getLogger("dataflows.connections")

STATUSES = ("pending", "active", "auth_error", "disabled", "revoked")
#: how long a user's profile is good
USER_INFO_TTL = timedelta(hours=24)
#: the time of the last use is written once in so long
_USED = timedelta(seconds=60)
_LARGEST_PROFILE = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Connection(ShownAsTable):
    """The access of a user or an account to an external system, as it was when it was read. No secret is in it.

    Attributes:
        id: of the row in ``dataflows.connections``.
        client: the name of its service client.
        user_id, account_id: whose it is, one of them or both.
        token_type: ``"Bearer"``, ``"api_key"`` or ``"basic"``.
        expires_at: when its token ends; None if it does not, or nobody knows.
        scopes: what it may do.
        status: ``"active"``; ``"auth_error"`` where it gives no access any more; ``"pending"``, ``"disabled"``,
            ``"revoked"``.
        user_info_fetched_at: of when the profile of its user is.
        last_used_at: when it gave access last, to the minute.
        created_at, updated_at: when.
    """

    id: UUID
    client: str
    user_id: str | None
    account_id: str | None
    token_type: str
    expires_at: datetime | None
    scopes: tuple[str, ...]
    status: str
    user_info_fetched_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    updated_at: datetime
    _desk: Connections = field(repr=False)

    @property
    def user_info(self) -> dict[str, Any] | None:
        """The profile that the provider has of the user; see `Connections.user_info`."""
        return self._desk.user_info(self)

    def token(self) -> Secret:
        """Its token, API key or ``username:password``; see `Connections.token`."""
        return self._desk.token(self)

    def auth(self, *, scopes: Iterable[str] = (), hosts: Iterable[str] = ()) -> ConnectionAuth:
        """For httpx; see `Connections.auth`."""
        return self._desk.auth(self, scopes=scopes, hosts=hosts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connection) and other.id == self.id

    def __hash__(self) -> int:
        return hash((Connection, self.id))

    def __repr__(self) -> str:
        owner = " ".join(f"{word} {value!r}" for word, value in (("user", self.user_id), ("account", self.account_id))
                         if value is not None)  # fmt: skip
        ends = f", until {self.expires_at:%Y-%m-%d %H:%M:%S}" if self.expires_at is not None else ""
        scopes = f", scopes {' '.join(self.scopes)}" if self.scopes else ""
        return f"<connection {self.id} of {owner} to {self.client!r}: {self.status}{scopes}{ends}>"


class Connections(ShownAsTable):
    """``ctx.connections``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refresher = Refresher(context)
        _mask_requests()

    # --- making and finding ------------------------------------------------------------------------------

    def create(
        self,
        client: str | ServiceClient,
        *,
        user_id: str | None = None,
        account_id: str | None = None,
        access_token: str | Secret | None = None,
        refresh_token: str | Secret | None = None,
        expires_at: Instant | None = None,
        api_key: str | Secret | None = None,
        username: str | None = None,
        password: str | Secret | None = None,
        scopes: Iterable[str] | None = None,
        user_info: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Store the access of a user or an account. Every secret is encrypted before it leaves this process.

        Args:
            client: a service client, or its name.
            user_id, account_id: whose it is; one of them at least.
            access_token, refresh_token: with ``auth="oauth2"``, one of them at least.
            expires_at: when the access token ends.
            api_key: with ``auth="api_key"``.
            username, password: with ``auth="basic"``.
            scopes: what it may do; by default the scopes of the client.
            user_info: the profile of the user; by default it is asked for, where the client has a ``user_info_url``.

        Raises:
            DefinitionError: something is missing, or does not fit the client's kind. No secret is shown.
            ServiceClientNotFoundError: there is no such client.
            EncryptionKeyError: there is no key to encrypt with.
        """
        found = self._client(client)
        owner = [None if value is None else check_text(word, value)
                 for word, value in (("user_id", user_id), ("account_id", account_id))]  # fmt: skip
        if owner == [None, None]:
            raise DefinitionError(
                f"a connection to {found.name!r} is a user's or an account's: give user_id= or account_id="
            )
        access, refresh = _secrets(found, access_token, refresh_token, api_key, username, password, expires_at)
        allowed = list(found.scopes) if scopes is None else check_scopes("scopes", scopes)
        if found.auth_type == "basic" and access is not None:
            self._context.vault.mask(access.partition(":")[2])
        profile = None if user_info is None else self._profile(user_info)
        row, now, seal = new_uuid(), self._context._engine.clock.now(), self._context.vault.seal
        self._context._read(
            "connections",
            "insert",
            (
                row, found.id, *owner,
                None if access is None else seal(access, TABLE, row, "access_token"),
                None if refresh is None else seal(refresh, TABLE, row, "refresh_token"),
                "Bearer" if found.auth_type == "oauth2" else found.auth_type,
                None if expires_at is None else parse_instant(expires_at),
                allowed, profile, now,
            ),
        )  # fmt: skip
        if profile is None and found.security_schema.get(USER_INFO):
            try:
                self._fetch(row, found.security_schema[USER_INFO])
            except Exception as error:  # noqa: BLE001 - the connection is good without it, it is asked for later
                log.warning("connection %s: no profile of its user yet (%s)", row, type(error).__name__)
        return self.get(row)

    def renew(
        self,
        connection: Connection | UUID | str,
        *,
        access_token: str | Secret | None = None,
        refresh_token: str | Secret | None = None,
        expires_at: Instant | None = None,
        api_key: str | Secret | None = None,
        username: str | None = None,
        password: str | Secret | None = None,
        scopes: Iterable[str] | None = None,
    ) -> Connection:
        """Store new secrets for a connection and make it active again: after it was connected anew.

        What it had before is overwritten, also where it cannot be decrypted any more.

        Raises:
            ConnectionNotFoundError: there is none.
            DefinitionError, EncryptionKeyError: see `create`.
        """
        there = self.get(connection)
        client = self._client(there.client)
        access, refresh = _secrets(client, access_token, refresh_token, api_key, username, password, expires_at)
        seal, database = self._context.vault.seal, self._context._database
        values = (
            there.id,
            None if access is None else seal(access, TABLE, there.id, "access_token"),
            None if refresh is None else seal(refresh, TABLE, there.id, "refresh_token"),
            None if expires_at is None else parse_instant(expires_at),
            None if scopes is None else check_scopes("scopes", scopes),
            self._context._engine.clock.now(),
        )
        with database.connection() as on, on.transaction():
            database.run(on, "connections", "lock", (str(there.id),))  # a refresh under way would overwrite it
            database.run(on, "connections", "renew", values)
        return self.get(there.id)

    def get(self, connection: Connection | UUID | str) -> Connection:
        """The connection of an id, as it is now.

        Raises:
            ConnectionNotFoundError: there is none.
        """
        wanted = _id(connection)
        rows = self._context._read("connections", "find", (wanted, None, None, None, None, None, 1))
        if not rows:
            raise ConnectionNotFoundError(
                f"there is no connection {wanted}; ctx.connections.list() gives those that exist"
            )
        return self._made(rows[0])

    def of(
        self, client: str | ServiceClient, *, user_id: str | None = None, account_id: str | None = None
    ) -> Connection:
        """The connection to a client, where there is one.

        Args:
            client: a service client, or its name.
            user_id, account_id: whose it is, where there are several.

        Returns:
            the active one; where none is active, the newest, which says why it gives no access when it is used.

        Raises:
            ServiceClientNotFoundError: there is no such client.
            ConnectionNotFoundError: it has no connection, or none of that user and account.
            DefinitionError: it has several, and nothing says which.
        """
        found = self._client(client)
        owner = {"user_id": user_id, "account_id": account_id}
        whose = " ".join(f"of {word[:-3]} {value!r}" for word, value in owner.items() if value is not None)
        active = self.list(found, status="active", limit=2, **owner)
        if len(active) > 1:
            raise DefinitionError(
                f"{found.name!r} has several active connections{whose and ' ' + whose}; say which, by user_id or "
                f"account_id, or by its id: {', '.join(map(repr, active))}, …"
            )
        some = active or self.list(found, limit=1, **owner)
        if not some:
            raise ConnectionNotFoundError(
                f"there is no connection{whose and ' ' + whose} to {found.name!r}; "
                f"ctx.connections.create({found.name!r}, …) makes one"
            )
        return some[0]

    def named(self, named: Mapping[str, Any]) -> ConnectionAuth:
        """Access by what the source of a sync says of its connection: ``id``, or ``client`` with ``user_id`` and
        ``account_id``; ``scopes`` and ``hosts`` as for `auth`.

        Raises:
            ServiceClientNotFoundError, ConnectionNotFoundError, DefinitionError: see `of`.
        """
        chosen = named.get("id") or self.of(
            named["client"], user_id=named.get("user_id"), account_id=named.get("account_id")
        )
        return self.auth(chosen, scopes=named.get("scopes", ()), hosts=named.get("hosts", ()))

    def list(
        self,
        client: str | ServiceClient | None = None,
        *,
        user_id: str | None = None,
        account_id: str | None = None,
        status: str | None = None,
        limit: int = 100,
        before: Connection | UUID | str | None = None,
    ) -> list[Connection]:
        """Connections, the newest first.

        Args:
            client, user_id, account_id, status: only those.
            limit: at most so many, 1 to 10,000.
            before: only those older than this one.

        Raises:
            DefinitionError: an unknown status, or a limit out of range.
            ServiceClientNotFoundError: there is no such client.
        """
        if status is not None and status not in STATUSES:
            raise DefinitionError(f"there is no status {status!r}; there are {', '.join(STATUSES)}")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise DefinitionError(f"limit lies between 1 and 10,000, not {limit!r}")
        wanted = (
            None,
            None if client is None else self._client(client).id,
            None if user_id is None else check_text("user_id", user_id),
            None if account_id is None else check_text("account_id", account_id),
            status,
            None if before is None else _id(before),
            limit,
        )
        return Listing([self._made(row) for row in self._context._read("connections", "find", wanted)])

    def delete(self, connection: Connection | UUID | str) -> bool:
        """Delete a connection with its secrets; whether it was there. The provider is not told."""
        return bool(self._context._read("connections", "delete", (_id(connection),)))

    # --- using -------------------------------------------------------------------------------------------

    def token(self, connection: Connection | UUID | str) -> Secret:
        """The access token, refreshed if it ends within a minute; or the API key, or ``username:password``.

        Prefer `auth`: what holds no token loses none.

        Raises:
            ConnectionNotFoundError: there is no such connection.
            ConnectionAuthError: it gives no access any more; not retryable.
            DecryptionError: its secrets cannot be read.
            HttpStatusError: the provider cannot answer now.
        """
        found = self._access(_id(connection))
        return _secret(found.result() if isinstance(found, Future) else found)

    async def atoken(self, connection: Connection | UUID | str) -> Secret:
        """`token` on a loop; nothing blocks it."""
        found = await asyncio.to_thread(self._access, _id(connection))
        return _secret(await asyncio.wrap_future(found) if isinstance(found, Future) else found)

    def auth(
        self, connection: Connection | UUID | str, *, scopes: Iterable[str] = (), hosts: Iterable[str] = ()
    ) -> ConnectionAuth:
        """For httpx: ``httpx.get(url, auth=ctx.connections.auth(connection))``, blocking or awaitable.

        It puts the secret where the client's security scheme says, refreshes a token that ends within a minute, and
        after a 401 once more, when it also repeats the request.

        Args:
            scopes: what the call needs. Without them it raises `MissingScopeError`, before anything is sent.
            hosts: to which the secret may go besides that of the client's ``base_url``.

        Raises:
            DefinitionError: *scopes* or *hosts* make no sense.
        """
        from dataflows_sdk.connections.auth import ConnectionAuth

        if isinstance(hosts, str):
            raise DefinitionError(f'hosts is a list, ["uploads.example.org"], not {hosts!r}')
        return ConnectionAuth(self, _id(connection), check_scopes("scopes", scopes), hosts)

    def require(self, connection: Connection | UUID | str, scopes: Iterable[str]) -> None:
        """Raise `MissingScopeError` if the connection lacks one of these scopes.

        Raises:
            MissingScopeError: with all that it lacks, in ``.missing``.
            ConnectionNotFoundError, ConnectionAuthError: there is no such connection, or it gives no access.
        """
        from dataflows_sdk.connections.auth import missing_scopes

        access = self._refresher.read(_id(connection))
        if missing := [scope for scope in check_scopes("scopes", scopes) if scope not in access.scopes]:
            raise missing_scopes(access, missing)

    def user_info(self, connection: Connection | UUID | str, *, refresh: bool = False) -> dict[str, Any] | None:
        """The profile that the provider has of the user.

        It is asked for when it is older than 24 hours; where the provider does not answer, the old one is given.

        Args:
            refresh: ask now.

        Raises:
            ConnectionNotFoundError: there is no such connection.
            DataflowsError, httpx.HTTPError: it was never known, or *refresh* was asked for, and the provider does not
                give it.
        """
        found = self.get(connection)
        text, fetched = self._context._read("connections", "user_info", (found.id,))[0]
        url = self._client(found.client).security_schema.get(USER_INFO)
        young = fetched is not None and self._context._engine.clock.now() - fetched < USER_INFO_TTL
        if url is None or (young and not refresh):
            return None if text is None else dict(json.loads(text))
        try:
            return self._fetch(found.id, url)
        except Exception as error:
            if text is None or refresh:
                raise
            log.warning("connection %s: the profile of its user is of %s (%s)", found.id, fetched, type(error).__name__)
            return dict(json.loads(text))

    # --- within ------------------------------------------------------------------------------------------

    def _access(self, connection: UUID, stale: Secret | None = None) -> Access | Future[Access]:
        found = self._refresher.access(connection, stale)
        now = self._context._engine.clock.now()
        used = found.last_used_at if isinstance(found, Access) else None
        if used is None or now - used >= _USED:
            self._context._read("connections", "used", (connection, now))
        return found

    def _fetch(self, connection: UUID, url: str) -> dict[str, Any]:
        import httpx

        host = httpx.URL(url).host
        auth = self.auth(connection, hosts=[host])
        with httpx.Client(timeout=30, auth=auth, headers={"Accept": "application/json"}) as client:
            response = client.get(url)
        response.raise_for_status()
        try:
            given = response.json() if len(response.content) <= _LARGEST_PROFILE else None
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise DataflowsError(f"{url} answered with no JSON object of up to 1 MB, so that there is no profile")
        text = self._profile(given)
        self._context._read("connections", "set_user_info", (connection, text, self._context._engine.clock.now()))
        return dict(json.loads(text))

    def _profile(self, given: Mapping[str, Any]) -> str:
        """As it is stored: a provider that repeats the token in it does not get it into the database."""
        if not isinstance(given, Mapping):
            raise DefinitionError(f"user_info is a dict, not {type(given).__name__}")
        try:
            text = json.dumps(self._context._redactor.redact_value(dict(given)), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"user_info is no JSON: {error}") from None
        return text.replace("\\u0000", "")

    def _client(self, client: str | ServiceClient) -> ServiceClient:
        return self._context.service_clients.get(client.name if isinstance(client, ServiceClient) else client)

    def _made(self, row: tuple[Any, ...]) -> Connection:
        values: list[Any] = [*row[:6], tuple(row[6]), *row[7:], self]
        return Connection(*values)

    def __repr__(self) -> str:
        return f"<connections of {self._context!r}>"

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "connections")


def _secret(access: Access) -> Secret:
    assert access.secret is not None
    return access.secret


def _id(connection: object) -> UUID:
    if isinstance(connection, Connection):
        return connection.id
    return parse_id(connection)  # type: ignore[arg-type]


def _secrets(
    client: ServiceClient,
    access_token: object,
    refresh_token: object,
    api_key: object,
    username: object,
    password: object,
    expires_at: object,
) -> tuple[str | None, str | None]:
    """What is stored as access and as refresh token."""
    given = {
        "access_token": access_token, "refresh_token": refresh_token, "expires_at": expires_at, "api_key": api_key,
        "username": username, "password": password,
    }  # fmt: skip
    fitting = {
        "oauth2": ("access_token", "refresh_token", "expires_at"),
        "api_key": ("api_key",),
        "basic": ("username", "password"),
    }[client.auth_type]
    for word, value in given.items():
        if value is not None and word not in fitting:
            raise DefinitionError(
                f"{client.name!r} has auth={client.auth_type!r}, which takes {', '.join(fitting)}, and no {word}"
            )
    if client.auth_type == "basic":
        if username is None or password is None:
            raise DefinitionError(f"a connection to {client.name!r} needs username= and password=")
        name = check_secret("username", username)
        if ":" in name:
            raise DefinitionError("username has a colon, and HTTP could not tell it from the password")
        return f"{name}:{check_secret('password', password, empty=True)}", None
    if client.auth_type == "api_key":
        if api_key is None:
            raise DefinitionError(f"a connection to {client.name!r} needs api_key=")
        return check_secret("api_key", api_key), None
    if access_token is None and refresh_token is None:
        raise DefinitionError(f"a connection to {client.name!r} needs access_token= or refresh_token=")
    return (
        None if access_token is None else check_secret("access_token", access_token),
        None if refresh_token is None else check_secret("refresh_token", refresh_token),
    )


#: the address of every request is logged, and the headers of its answer where somebody debugs; filters of a logger do
#: not see what its children log
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


def _mask_requests() -> None:
    """An API key may stand in an address, and a provider may repeat a token in a header."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, RedactingFilter) for each in logger.filters):
            logger.addFilter(RedactingFilter())
