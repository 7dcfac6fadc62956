"""The HTTP client that obeys an `EgressPolicy`; the one place that knows httpx and httpcore from the inside.

The policy stands at two points. Every request, also that of a redirect, passes `EgressTransport`, which checks its
URL. Every new connection passes `PinnedBackend`, which looks the name up, checks each answer and connects to one of
them. What is above the connection (the Host header, SNI, the certificate, the pool) keeps knowing the host by its name.
"""

from __future__ import annotations

import http.cookiejar
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import httpx

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.nodes.egress_pool import ConnectionPool, Lease
from dataflows_sdk.nodes.egress_url import Refusal, shown_url

if TYPE_CHECKING:
    from dataflows_sdk.nodes.egress import EgressPolicy
    from dataflows_sdk.nodes.egress_ranges import Address

__all__ = ["EgressTransport", "PinnedBackend", "make_client", "make_shared_client"]

#: seconds to connect, and for each read and write; a node's own timeout is the business of the engine
TIMEOUT = 30.0
#: seconds before the next address is tried beside one that does not answer (RFC 8305)
_STAGGER = 0.25
_MAX_ADDRESSES = 8
#: as good as no limit
_MANY = 100_000
#: marks a request that was sent, so that what httpx builds from it is known as a redirect
_SENT = "dataflows.sent"
_OWN_OPTIONS = ("transport", "mounts", "proxy", "proxies", "app", "cert")

_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = tuple(
    (getattr(httpcore, name), getattr(httpx, name))
    for name in (
        "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout", "ConnectError", "ReadError", "WriteError",
        "LocalProtocolError", "RemoteProtocolError", "UnsupportedProtocol", "ProtocolError", "NetworkError",
    )
)  # fmt: skip


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async def connect(address: Address) -> httpcore.AsyncNetworkStream:
            return await self._network.connect_tcp(
                str(address), port, local_address=local_address, socket_options=socket_options
            )

        try:
            with anyio.fail_after(timeout):
                addresses = await self._policy.addresses(host, port)
                return await _first(addresses[:_MAX_ADDRESSES], connect)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host}:{port} within {timeout:g} s") from error

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _first(
    addresses: list[Address], connect: Callable[[Address], Awaitable[httpcore.AsyncNetworkStream]]
) -> httpcore.AsyncNetworkStream:
    """The first connection that stands; each address gets a head start over the next."""
    if len(addresses) == 1:
        return await connect(addresses[0])
    winner: httpcore.AsyncNetworkStream | None = None
    errors: list[Exception] = []

    async def attempt(address: Address, failed: anyio.Event) -> None:
        nonlocal winner
        try:
            stream = await connect(address)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            errors.append(error)
            failed.set()
            return
        if winner is None:
            winner = stream
            tasks.cancel_scope.cancel()
        else:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async with anyio.create_task_group() as tasks:
        for address in addresses:
            failed = anyio.Event()
            tasks.start_soon(attempt, address, failed)
            with anyio.move_on_after(_STAGGER):
                await failed.wait()
    if winner is None:
        raise errors[-1]
    return winner


class EgressTransport(httpx.AsyncBaseTransport):
    """Sends what the policy permits.

    Args:
        policy: the rules.
        verify: check certificates; or an ``ssl.SSLContext`` of one's own.
        limits: how many connections.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        verify: ssl.SSLContext | str | bool = True,
        limits: httpx.Limits | None = None,
    ) -> None:
        limits = limits if limits is not None else httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._policy = policy
        self._pool = ConnectionPool(
            PinnedBackend(policy),
            httpx.create_ssl_context(verify=verify),
            max_connections=limits.max_connections or _MANY,
            max_idle=_MANY if limits.max_keepalive_connections is None else limits.max_keepalive_connections,
            keepalive=limits.keepalive_expiry,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # httpx copies the extensions of a request to the one that follows its redirect
        sent = request.extensions.get(_SENT)
        request.extensions[_SENT] = id(request)
        try:
            target = self._policy.target(request.url)
            with _httpx_errors():
                lease = await self._pool.send(
                    httpcore.Request(
                        method=request.method,
                        url=httpcore.URL(
                            scheme=target.scheme, host=target.host, port=target.port, target=request.url.raw_path
                        ),
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        except Refusal as refusal:
            redirected = sent not in (None, id(request))
            raise refusal.error(shown_url(request.url), redirected=redirected) from refusal.origin
        return httpx.Response(
            status_code=lease.response.status,
            headers=lease.response.headers,
            stream=_Stream(lease),
            extensions=lease.response.extensions,
        )

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._lease:
                yield part

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._lease.aclose()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise


def make_client(policy: EgressPolicy, options: dict[str, Any]) -> httpx.AsyncClient:
    """The client of `EgressPolicy.client`."""
    for name in _OWN_OPTIONS:
        if options.get(name) is not None:
            raise DefinitionError(f"a client of an EgressPolicy takes no {name}=: it would lead around the policy")
    if options.get("trust_env"):
        raise DefinitionError("a client of an EgressPolicy takes no trust_env=: a proxy would lead around the policy")
    if options.get("http2"):
        raise DefinitionError("a client of an EgressPolicy speaks HTTP/1.1: leave http2= out")
    rest = {name: value for name, value in options.items() if name not in (*_OWN_OPTIONS, "trust_env")}
    own = {name: rest.pop(name) for name in ("verify", "limits") if name in rest}
    rest.setdefault("timeout", TIMEOUT)
    return httpx.AsyncClient(transport=EgressTransport(policy, **own), trust_env=False, **rest)


def make_shared_client(policy: EgressPolicy, *, verify: bool) -> httpx.AsyncClient:
    """The client of `EgressPolicy.shared_client`."""
    from importlib.metadata import version

    # one run must not be logged in by the cookies of another
    no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return make_client(
        policy,
        {
            "verify": verify,
            "limits": httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=15),
            # who waits for a connection waits as long as its node may
            "timeout": httpx.Timeout(TIMEOUT, pool=None),
            "cookies": no_cookies,
            "headers": {"User-Agent": f"dataflows-sdk/{version('dataflows-sdk')}"},
        },
    )
