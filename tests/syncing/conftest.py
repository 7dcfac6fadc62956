"""An API on loopback that pages, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import dataflows_sdk as df
from dataflows_sdk.nodes.services import Services
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.warehouse.sources.page import Reach

from ..conftest import MakeContext

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


#: status, headers, body (JSON)
Reply = tuple[int, dict[str, str], Any]


@dataclass
class Api:
    """Answers with what *answer* says."""

    answer: Callable[[Asked], Reply]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def pages(self, name: str = "page") -> list[str | None]:
        return [each.query.get(name) for each in self.asked]


def serve(answer: Callable[[Asked], Reply]) -> tuple[Api, ThreadingHTTPServer]:
    api = Api(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                parts.path, dict(parse_qsl(parts.query)), {name.lower(): each for name, each in self.headers.items()}
            )
            api.asked.append(asked)
            status, headers, body = api.answer(asked)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A process that was killed reads no answer."""

    server = Quiet(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return api, server


Serve = Callable[[Callable[[Asked], Reply]], Api]


@pytest.fixture
def api() -> Iterator[Serve]:
    """``api(answer)`` serves on loopback until the test is over."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[Asked], Reply]) -> Api:
        made, server = serve(answer)
        servers.append(server)
        return made

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def reach() -> Iterator[Callable[..., Reach]]:
    """What a source may reach: loopback, and the variables that are given."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made: list[Services] = []

    def make(**env: str) -> Reach:
        services = Services(egress=["127.0.0.1"], env=env)
        made.append(services)
        return Reach(services, loop, NOW, "run")

    yield make
    for each in made:
        asyncio.run_coroutine_threadsafe(each.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def all_pages(source: Any, reach: Reach, position: Any = None) -> tuple[list[list[Any]], Any]:
    """The rows of every page, and the last position."""
    found: list[list[Any]] = []
    while True:
        page = source.fetch(position, reach)
        position = page.cursor
        if page.rows or page.goes_on:
            found.append(list(page.rows))
        if not page.goes_on:
            return found, position
        assert len(found) < 1_000, "it has no end"


# --- syncs from end to end ----------------------------------------------------------------------------------

BROKEN: Reply = (500, {}, {"message": "broken"})
QUICK = df.Retry(4, initial_delay="1s", jitter=0)


class Things:
    """Fifty things on five pages, as an API that can be told to fail."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [{"id": n, "name": f"n{n}"} for n in range(50)]
        self.size = 10
        self.asked: list[int] = []
        self.problems: dict[int, list[Reply]] = {}

    def __call__(self, asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        self.asked.append(page)
        if self.problems.get(page):
            return self.problems[page].pop(0)
        part = self.rows[(page - 1) * self.size : page * self.size]
        following = f"{asked.path}?page={page + 1}" if page * self.size < len(self.rows) else None
        return 200, {}, {"items": part, "next": following, "count": len(self.rows)}


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
def source(things: Things, api: Serve) -> df.JsonApi:
    paging = {"style": "next_url", "at": "next", "total": "count"}
    return df.JsonApi(f"{api(things).url}/things", records="items", paging=paging)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ctx(make_ctx: MakeContext, clock: VirtualClock) -> df.Context:
    """Loopback may be called, and time is virtual."""
    return make_ctx(clock=clock, services=df.Services(egress=["127.0.0.1"]))


def numbers(ctx: df.Context, table: str = "things") -> list[int]:
    return [row["id"] for row in ctx.warehouse.table(table).find(order="id")]


def sync(ctx: df.Context, source: Any, **options: Any) -> Any:
    """A sync of the things, to its end."""
    return ctx.warehouse.sync(source, **({"into": "things", "key": "id", "name": "things", "retry": QUICK} | options))
