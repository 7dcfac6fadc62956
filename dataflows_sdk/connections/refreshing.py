"""New tokens for old ones: one refresh of a connection at a time, in this process and in all others.

Within a process callers share one flight. Between processes an advisory lock is held while the provider is asked; who
gets it looks first whether somebody else has refreshed meanwhile. What the provider gave is committed before anybody
uses it, a rotated refresh token with its access token.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus
from uuid import UUID

from dataflows_sdk.connections.clients import TABLE as CLIENTS
from dataflows_sdk.connections.schemes import TOKEN_AUTH, put_basic, token_url
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import ConnectionAuthError, ConnectionNotFoundError, DefinitionError, HttpStatusError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

log = logging.getLogger("dataflows.connections")

TABLE = "dataflows.connections"
#: a token is refreshed when it ends sooner than this
SKEW = timedelta(seconds=60)
_TIMEOUT = 30.0
_LARGEST_ANSWER = 1_000_000
#: of storing what the provider gave
_TRIES = 6
_OVER = ("invalid_grant",)
_LONGEST_LIFE = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Access:
    """A connection as it may be used now.

    Attributes:
        secret: token, API key, or ``username:password``.
        sealed: the refresh token, encrypted; None without one.
    """

    connection: UUID
    secret: Secret | None
    sealed: bytes | None
    expires_at: datetime | None
    scopes: tuple[str, ...]
    token_type: str
    last_used_at: datetime | None
    client: str
    client_row: UUID
    client_id: str | None
    client_secret: bytes | None
    schema: Mapping[str, Any]
    base_url: str | None
    oauth: bool
    updated_at: datetime

    @property
    def refreshable(self) -> bool:
        """Whether the provider can be asked for a new token."""
        return self.oauth and self.sealed is not None


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What a provider gave."""

    access: str
    refresh: str | None
    kind: str
    expires_at: datetime | None
    scopes: list[str]


class Refresher:
    """Gives access to connections, refreshed where that is needed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._flights: dict[UUID, Future[Access]] = {}

    def access(self, connection: UUID, stale: Secret | None = None) -> Access | Future[Access]:
        """A connection ready for use, or the refresh after which it will be.

        Args:
            stale: a token that the provider has refused: another one is needed.

        Raises:
            ConnectionNotFoundError, ConnectionAuthError, DecryptionError.
        """
        found = self.read(connection)
        return self._fly(connection, stale) if self._needs(found, stale) else found

    def read(self, connection: UUID, on: Any = None) -> Access:
        """A connection as it is stored.

        Raises:
            ConnectionNotFoundError: there is none.
            ConnectionAuthError: it is not active.
            DecryptionError: its secret cannot be read.
        """
        database = self._context._database
        rows = (
            self._context._read("connections", "access", (connection,))
            if on is None
            else database.run(on, "connections", "access", (connection,))
        )
        if not rows:
            raise ConnectionNotFoundError(f"there is no connection {connection}; was it deleted?")
        (
            status, sealed, refresh, expires_at, scopes, used, client, auth, schema, base, row, known, secret, kind, at,
        ) = rows[0]  # fmt: skip
        if status != "active":
            raise ConnectionAuthError(
                f"connection {connection} of {client!r} is {status}: connect anew, and store the new secrets with "
                f"ctx.connections.renew({str(connection)!r}, …)",
                str(connection),
            )
        opened = None if sealed is None else self._context.vault.open(sealed, TABLE, connection, "access_token")
        if opened is not None and auth == "basic":
            self._context.vault.mask(opened.reveal().partition(":")[2])  # it may turn up without the name
        return Access(
            connection, opened, refresh, expires_at, tuple(scopes), kind, used, client, row, known, secret,
            json.loads(schema), base, auth == "oauth2", at,
        )  # fmt: skip

    def _needs(self, found: Access, stale: Secret | None) -> bool:
        if not found.oauth:
            return False
        if found.secret is None or (stale is not None and found.secret == stale):
            return True
        left = None if found.expires_at is None else found.expires_at - self._context._engine.clock.now()
        # without a refresh token the last minute is still worth something
        return left is not None and left <= (SKEW if found.refreshable else timedelta(0))

    # --- one at a time -----------------------------------------------------------------------------------

    def _fly(self, connection: UUID, stale: Secret | None) -> Future[Access]:
        with self._lock:
            flight = self._flights.get(connection)
            if flight is None:
                flight = self._flights[connection] = Future()
                flight.set_running_or_notify_cancel()
                # a thread of its own: whoever waits may be cancelled, what the provider gave must be stored
                threading.Thread(
                    target=self._refresh, args=(connection, stale, flight), name="dataflows-refresh", daemon=True
                ).start()
            return flight

    def _refresh(self, connection: UUID, stale: Secret | None, flight: Future[Access]) -> None:
        result: Access | None = None
        failure: BaseException | None = None
        try:
            result = self._alone(connection, stale)
        except BaseException as error:  # noqa: BLE001 - those who wait get it
            failure = error
        with self._lock:
            self._flights.pop(connection, None)
        if result is not None:
            flight.set_result(result)
        else:
            flight.set_exception(failure or RuntimeError("a refresh ended without a result"))

    def _alone(self, connection: UUID, stale: Secret | None) -> Access:
        database, now = self._context._database, self._context._engine.clock.now
        given: tuple[Any, ...] | None = None
        refusal: ConnectionAuthError | None = None
        try:
            with database.connection() as on, on.transaction():
                database.run(on, "connections", "lock", (str(connection),))
                found = self.read(connection, on)
                if not self._needs(found, stale):
                    return found
                try:
                    given = self._sealed(found, self._ask(found, now()), now())
                    database.run(on, "connections", "refreshed", given)
                except _Over as over:
                    refusal = ConnectionAuthError(str(over), str(connection))
                    database.run(on, "connections", "set_status", (connection, "auth_error", now()))
                    self._note(on, found, str(over))
        except (ConnectionAuthError, ConnectionNotFoundError):
            raise
        except Exception:
            if given is None:
                raise
            # the old refresh token may be worth nothing now, so that the new one must not be lost
            self._store(given)
        if refusal is not None:
            raise refusal
        if found.secret is not None:
            self._context.vault.forget(found.secret)
        log.info("refreshed connection %s of %s", connection, found.client)
        return self.read(connection)

    def _store(self, given: tuple[Any, ...]) -> None:
        for attempt in range(_TRIES):
            try:
                self._context._read("connections", "refreshed", given)
                return
            except Exception:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)

    def _note(self, on: Any, found: Access, why: str) -> None:
        detail = {"connection": str(found.connection), "client": found.client, "why": why}
        self._context._database.run(on, "retention", "note", ("connection.auth_error", json.dumps(detail)))
        log.warning("connection %s of %s: %s", found.connection, found.client, why)

    # --- the provider ------------------------------------------------------------------------------------

    def _ask(self, found: Access, now: datetime) -> _Tokens:
        """The refresh-token grant of RFC 6749, section 6."""
        what = f"connection {found.connection} of {found.client!r}"
        if found.sealed is None:
            ended = "ended" if found.expires_at is not None else "is refused"
            raise _Over(f"{what}: its access {ended}, and it has no refresh token: connect anew")
        url = token_url(found.schema)
        if url is None:
            raise DefinitionError(
                f"{what} needs a new token, and its client has no tokenUrl: "
                f'ctx.service_client({found.client!r}, token_url="https://…")'
            )
        refresh = self._context.vault.open(found.sealed, TABLE, found.connection, "refresh_token")
        status, headers, answer = self._post(url, found, refresh.reveal())
        redact = self._context._redactor.redact_text
        word = answer.get("error") if answer is not None else None
        described = redact(f"{word or ''} {(answer or {}).get('error_description') or ''}".strip()[:300])
        if status == 429 or status >= 500:
            raise HttpStatusError(
                f"{what}: {url} answered {status} to a refresh {described}".rstrip(), status, "", headers
            )
        if word in _OVER:
            raise _Over(f"{what}: the provider takes its refresh token no more ({described}): connect anew")
        if status >= 400 or word:
            raise ConnectionAuthError(
                f"{what}: {url} refused a refresh with {status} {described}; are client_id, client_secret and "
                f"token_auth of ctx.service_client({found.client!r}) right?",
                str(found.connection),
            )
        return self._tokens(what, url, found, answer, now)

    def _post(self, url: str, found: Access, refresh: str) -> tuple[int, dict[str, str], dict[str, Any] | None]:
        import httpx

        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        secret = None
        if found.client_secret is not None:
            secret = self._context.vault.open(found.client_secret, CLIENTS, found.client_row, "client_secret").reveal()
        in_header = found.client_id and secret is not None and found.schema.get(TOKEN_AUTH, "basic") == "basic"
        if found.client_id and not in_header:
            form["client_id"] = found.client_id
            if secret is not None:
                form["client_secret"] = secret
        # a redirect would carry the refresh token to wherever it points
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
            request = client.build_request("POST", url, data=form, headers={"Accept": "application/json"})
            if found.client_id and secret is not None and in_header:
                # RFC 6749, section 2.3.1: both are form-encoded first
                put_basic(request, quote_plus(found.client_id), quote_plus(secret))
            response = client.send(request)
        try:
            answer = json.loads(response.content) if len(response.content) <= _LARGEST_ANSWER else None
        except ValueError:
            answer = None
        return response.status_code, dict(response.headers), answer if isinstance(answer, dict) else None

    def _tokens(self, what: str, url: str, found: Access, answer: Mapping[str, Any] | None, now: datetime) -> _Tokens:
        token = (answer or {}).get("access_token")
        if answer is None or not isinstance(token, str) or not token:
            raise ConnectionAuthError(
                f"{what}: {url} answered a refresh without an access_token; is that the token_url of "
                f"ctx.service_client({found.client!r})?",
                str(found.connection),
            )
        refresh, kind, granted = answer.get("refresh_token"), answer.get("token_type"), answer.get("scope")
        return _Tokens(
            token,
            refresh if isinstance(refresh, str) and refresh else None,
            kind if isinstance(kind, str) and kind and kind.isprintable() else found.token_type,
            _expiry(answer.get("expires_in"), now),
            granted.split() if isinstance(granted, str) and granted.strip() else list(found.scopes),
        )

    def _sealed(self, found: Access, tokens: _Tokens, now: datetime) -> tuple[Any, ...]:
        """The parameters of ``refreshed``."""
        seal, row = self._context.vault.seal, found.connection
        refresh = found.sealed
        if tokens.refresh is not None:
            refresh = seal(tokens.refresh, TABLE, row, "refresh_token")
        return (
            row, seal(tokens.access, TABLE, row, "access_token"), refresh, tokens.kind, tokens.expires_at,
            tokens.scopes, now, found.updated_at,
        )  # fmt: skip


class _Over(Exception):
    """The connection gives no access any more."""


def _expiry(seconds: object, now: datetime) -> datetime | None:
    """Some providers write the number as text; without one the token holds until it is refused."""
    try:
        life = timedelta(seconds=float(seconds))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return now + life if timedelta(0) <= life <= _LONGEST_LIFE else None
