"""Connections that are used again, with costs that do not grow with their number.

The pool of httpcore looks at all its connections and all waiting requests whenever one of them moves: two hundred
parallel calls cost it seconds. Here a call takes a slot, then the youngest idle connection to its host, or a new one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import httpcore

__all__ = ["ConnectionPool", "Lease"]


class Lease:
    """A response together with its connection, which goes back to the pool when the response is closed."""

    def __init__(
        self, pool: ConnectionPool, connection: httpcore.AsyncConnectionInterface, response: httpcore.Response
    ) -> None:
        self.response = response
        self._pool = pool
        self._connection = connection
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            await self.response.aclose()
        finally:
            await self._pool.give_back(self._connection)


class ConnectionPool:
    """HTTP/1.1 connections of one event loop, by origin.

    Args:
        backend: opens them.
        ssl_context: for https.
        max_connections: how many calls run at once; further ones wait.
        max_idle: how many connections are kept when nobody needs them; the oldest go first.
        keepalive: seconds that one is kept.
    """

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        *,
        max_connections: int,
        max_idle: int,
        keepalive: float | None,
    ) -> None:
        self._backend = backend
        self._ssl_context = ssl_context
        self._slots = asyncio.Semaphore(max_connections)
        self._max_idle = max_idle
        self._keepalive = keepalive
        self._busy: set[httpcore.AsyncConnectionInterface] = set()
        #: idle connections, the oldest first, with their origin; and by origin, the oldest first
        self._idle: dict[httpcore.AsyncConnectionInterface, bytes] = {}
        self._by_origin: dict[bytes, deque[httpcore.AsyncConnectionInterface]] = {}
        self._origins: dict[httpcore.AsyncConnectionInterface, bytes] = {}

    async def send(self, request: httpcore.Request) -> Lease:
        """Send a request over a connection of its own; close the lease when the answer was read.

        Raises:
            httpcore.PoolTimeout: no slot became free in the time that the request allows.
        """
        await self._slot(request.extensions.get("timeout", {}).get("pool"))
        connection: httpcore.AsyncConnectionInterface | None = None
        try:
            while True:
                connection = await self._take(request.url.origin)
                try:
                    return Lease(self, connection, await connection.handle_async_request(request))
                except httpcore.ConnectionNotAvailable:  # the server closed it a moment ago, nothing was sent
                    await self._close(connection)
        except BaseException:
            try:
                if connection is not None:
                    await self._close(connection)
            finally:
                self._slots.release()
            raise

    async def give_back(self, connection: httpcore.AsyncConnectionInterface) -> None:
        """Keep a connection for the next call, or close it."""
        try:
            if connection not in self._busy or not connection.is_idle():
                await self._close(connection)
                return
            self._busy.discard(connection)
            origin = self._origins[connection]
            self._idle[connection] = origin
            self._by_origin.setdefault(origin, deque()).append(connection)
            while self._idle:
                oldest = next(iter(self._idle))
                if len(self._idle) <= self._max_idle and not oldest.has_expired():
                    break
                await self._close(oldest)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close all connections, also those in use."""
        for connection in [*self._idle, *self._busy]:
            await self._close(connection)

    async def _slot(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise httpcore.PoolTimeout(f"no connection became free within {timeout:g} s") from None

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        key = bytes(str(origin), "ascii")
        while idle := self._by_origin.get(key):
            connection = idle[-1]
            if connection.is_idle() and not connection.has_expired():
                self._forget_idle(connection)
                self._busy.add(connection)
                return connection
            await self._close(connection)
        connection = httpcore.AsyncHTTPConnection(
            origin=origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._keepalive,
            network_backend=self._backend,
        )
        self._origins[connection] = key
        self._busy.add(connection)
        return connection

    def _forget_idle(self, connection: httpcore.AsyncConnectionInterface) -> None:
        key = self._idle.pop(connection, None)
        if key is None:
            return
        idle = self._by_origin[key]
        # it is the youngest or the oldest of its origin, but for a pool that is being closed
        if idle[-1] is connection:
            idle.pop()
        else:
            idle.remove(connection)
        if not idle:
            del self._by_origin[key]

    async def _close(self, connection: httpcore.AsyncConnectionInterface) -> None:
        self._forget_idle(connection)
        self._busy.discard(connection)
        self._origins.pop(connection, None)
        with suppress(httpcore.NetworkError, httpcore.TimeoutException, OSError):
            await connection.aclose()
