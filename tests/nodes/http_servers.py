"""A small HTTP server on loopback that remembers what it was asked, and calls of ``action_http`` to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from dataflows_sdk.nodes.egress import EgressPolicy
from dataflows_sdk.nodes.http import ActionHttp, call_http
from dataflows_sdk.nodes.registry import Call
from dataflows_sdk.nodes.services import Services


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


#: gives a whole response; or writes it by itself and gives None
Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[bytes | None]]


@dataclass
class Server:
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    #: the host name that TLS was asked for, per handshake
    names: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def response(
    body: bytes | str = b"", status: str = "200 OK", headers: dict[str, str] | None = None, type: str = "text/plain"
) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": type, "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value != "-")]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@asynccontextmanager
async def serving(
    answer: Answer | bytes, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")[:-2]
                method, target, _ = first.split(" ", 2)
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(method, target, headers, body)
                server.asked.append(asked)
                reply = answer if isinstance(answer, bytes) else await answer(asked, writer)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listening = await asyncio.start_server(accept, host, 0, ssl=tls, backlog=512)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


def a_call(policy: EgressPolicy, key: str = "run-1:notify") -> Call:
    return Call("notify", "run-1", "orders", 1, key, {}, Services(egress=policy))


async def resolve_to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


LOCAL = ["127.0.0.1", "*.example.com"]


async def call(url: str, policy: EgressPolicy | None = None, *, key: str = "run-1:notify", **config: Any) -> Any:
    policy = policy if policy is not None else EgressPolicy(LOCAL, resolver=resolve_to_loopback)
    try:
        return await call_http(ActionHttp(url=url, **config), a_call(policy, key))
    finally:
        await policy.aclose()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def ask(answer: Any, path: str = "/", **config: Any) -> tuple[Any, list[Asked]]:
    """Call a server that gives this answer: what came out, and what the server was asked."""

    async def main() -> tuple[Any, list[Asked]]:
        async with serving(answer) as server:
            return await call(server.url + path, **config), server.asked

    result: tuple[Any, list[Asked]] = run(main())
    return result


def failure(answer: Any, path: str = "/", **config: Any) -> Any:
    with pytest.raises(Exception) as caught:
        ask(answer, path, **config)
    return caught.value
