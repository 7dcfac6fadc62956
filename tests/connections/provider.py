"""A provider on loopback: a token endpoint that rotates, a profile, and an API that wants the newest token."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Provider:
    """What it was asked, and how it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.Lock()
        self.access = "access-0-Zq81LmPw"
        self.refresh = "refresh-0-Vb27XcRt"
        self.rotates = True
        #: of requests to /token: form and headers
        self.refreshes: list[tuple[dict[str, str], dict[str, str]]] = []
        #: of others: path and headers
        self.calls: list[tuple[str, dict[str, str]]] = []
        #: status and answer that take the place of the next ones of /token
        self.instead: list[tuple[int, Any]] = []
        self.pause = 0.0
        self.profile_status = 200
        self.more: dict[str, Any] = {}

    def token(self, form: dict[str, str], headers: dict[str, str]) -> tuple[int, Any]:
        with self.lock:
            self.refreshes.append((form, headers))
            if self.instead:
                return self.instead.pop(0)
            if form.get("refresh_token") != self.refresh:
                return 400, {"error": "invalid_grant", "error_description": f"unknown {form.get('refresh_token')}"}
            number = len(self.refreshes)
            self.access = f"access-{number}-Hk55QaNs"
            answer = {"access_token": self.access, "token_type": "bearer", "expires_in": 3600, **self.more}
            if self.rotates:
                self.refresh = answer["refresh_token"] = f"refresh-{number}-Jd90WeYu"
        time.sleep(self.pause)
        return 200, answer

    def call(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        with self.lock:
            self.calls.append((path, headers))
            if headers.get("authorization") != f"Bearer {self.access}":
                return 401, {"message": "bad credentials"}
            if urlsplit(path).path == "/user":
                return self.profile_status, {"login": "ann", "plan": {"name": "pro"}, "echo": self.access}
            return 200, {"items": [1, 2, 3]}


@contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def do_GET(self) -> None:
            self._answer(*provider.call(self.path, {k.lower(): v for k, v in self.headers.items()}))

        def do_POST(self) -> None:
            body = self._body().decode()
            headers = {k.lower(): v for k, v in self.headers.items()}
            if self.path == "/token":
                form = {key: values[0] for key, values in parse_qs(body).items()}
                self._answer(*provider.token(form, headers))
            else:
                self._answer(*provider.call(self.path, {**headers, "body": body}))

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
