"""``action_http`` against real servers on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pydantic
import pytest

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.retry import Retry, is_retryable, next_delay
from dataflows_sdk.errors import EgressDeniedError, HttpStatusError, NonRetryableError, UnexpectedStatusError
from dataflows_sdk.nodes.egress import EgressPolicy
from dataflows_sdk.nodes.http import ActionHttp, call_http

from .http_servers import (
    LOCAL,
    Asked,
    Server,
    a_call,
    ask,
    call,
    failure,
    resolve_to_loopback,
    response,
    run,
    serving,
)

# --- what is sent -----------------------------------------------------------------------------------------


def test_the_example_of_the_seed() -> None:
    got, [asked] = ask(
        response('{"ok": true}', type="application/json"), "/hook", method="post", body={"text": "New order: Ada"}
    )
    assert (got["status"], got["body"]) == (200, {"ok": True})
    assert got["headers"]["content-type"] == "application/json"
    assert (asked.method, asked.target) == ("POST", "/hook")
    assert json.loads(asked.body) == {"text": "New order: Ada"}
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["idempotency-key"] == "run-1:notify"
    assert asked.headers["user-agent"].startswith("dataflows-sdk/")


@pytest.mark.parametrize(
    ("body", "type", "sent"),
    [
        ({"a": [1, None, "ü"]}, "application/json", '{"a":[1,null,"ü"]}'.encode()),
        ([], "application/json", b"[]"),
        (0, "application/json", b"0"),
        (False, "application/json", b"false"),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC), "of": Decimal("1.50")}, "application/json",
         b'{"at":"2026-01-02T00:00:00Z","of":"1.50"}'),
        ("grüße", "text/plain; charset=utf-8", "grüße".encode()),
        ("", "text/plain; charset=utf-8", b""),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (None, None, b""),
    ],
)  # fmt: skip
def test_bodies(body: Any, type: str | None, sent: bytes) -> None:
    _, [asked] = ask(response(), method="PUT", body=body)
    assert (asked.headers.get("content-type"), asked.body) == (type, sent)


def test_a_body_that_is_no_json() -> None:
    assert "is no JSON" in str(error := failure(response(), method="POST", body={"f": object()}))
    assert isinstance(error, NonRetryableError)
    assert isinstance(failure(response(), method="POST", body={"f": "\ud800"}), NonRetryableError)


def test_a_form() -> None:
    _, [asked] = ask(response(), method="POST", form={"a": "1 & 2", "b": ["x", "y"], "c": None, "d": 5})
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(asked.body.decode()) == [("a", "1 & 2"), ("b", "x"), ("b", "y"), ("d", "5")]
    with pytest.raises(pydantic.ValidationError, match="keep one of them"):
        ActionHttp(url="http://x.example", body={}, form={})


def test_query_and_headers() -> None:
    _, [asked] = ask(
        response(),
        "/find?page=1&q=old",
        query={"q": "a&b=ü", "tag": ["x", "y", None], "no": None, "on": True, "price": Decimal("1.10"), "n": 3},
        headers={"X-Trace": "abc", "X-Number": 7, "X-Missing": None, "X-Greeting": "grüße", "Content-Type": "text/x"},
    )
    path, _, query = asked.target.partition("?")
    assert path == "/find"
    assert parse_qsl(query) == [
        ("page", "1"), ("q", "a&b=ü"), ("tag", "x"), ("tag", "y"), ("on", "true"), ("price", "1.10"), ("n", "3"),
    ]  # fmt: skip
    assert (asked.headers["x-trace"], asked.headers["x-number"]) == ("abc", "7")
    assert asked.headers["x-greeting"].encode("latin-1").decode() == "grüße"
    assert "x-missing" not in asked.headers


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"type": "bearer", "token": "t0p"}, "authorization", "Bearer t0p"),
        ({"type": "basic", "username": "ada", "password": "p:w"}, "authorization", "Basic YWRhOnA6dw=="),
        ({"type": "header", "name": "X-Api-Key", "value": "k3y"}, "x-api-key", "k3y"),
    ],
)
def test_auth(auth: dict[str, str], name: str, value: str) -> None:
    _, [asked] = ask(response(), auth=auth, headers={"AUTHORIZATION": "older", "x-api-key": "older"})
    assert asked.headers[name] == value
    config = ActionHttp(url="http://x.example", auth=auth)  # type: ignore[arg-type]
    assert not any(secret in repr(config) for secret in ("t0p", "p:w", "k3y"))


def test_the_idempotency_key() -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        _, [asked] = ask(response(), method=method, key="a:grüße:1")
        assert asked.headers["idempotency-key"] == "a:gr%C3%BC%C3%9Fe:1"
    for method in ("GET", "HEAD", "OPTIONS"):
        assert "idempotency-key" not in ask(response(), method=method)[1][0].headers
    _, [asked] = ask(response(), method="POST", headers={"idempotency-KEY": "mine"})
    assert asked.headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    "config",
    [
        {"headers": {"X-A": "b\r\nX-Evil: 1"}},
        {"headers": {"X-A": "b\nX-Evil: 1"}},
        {"headers": {"X-A": "b\0"}},
        {"headers": {"X-A\r\nX-Evil": "1"}},
        {"headers": {"X A": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"X-A": {"no": "text"}}},
        {"headers": {"Host": "metadata.google.internal"}},
        {"headers": {"content-length": "5"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Connection": "upgrade"}},
        {"auth": {"type": "bearer", "token": "a\r\nX-Evil: 1"}},
        {"auth": {"type": "basic", "username": "a:b", "password": ""}},
        {"auth": {"type": "basic", "username": "a\n", "password": ""}},
        {"auth": {"type": "header", "name": "X-A:", "value": "1"}},
        {"auth": {"type": "header", "name": "Host", "value": "1"}},
        {"auth": {"type": "header", "name": "X-A", "value": "1\n"}},
        {"auth": {"type": "digest"}},
        {"auth": {"type": "bearer"}},
        {"auth": "bearer"},
        {"method": ""},
        {"method": "GET / HTTP/1.1\r\nX-Evil: 1\r\n"},
        {"method": "CONNECT"},
        {"method": 5},
        {"query": {"a": {"b": 1}}},
        {"query": "a=b"},
        {"expect_status": 99},
        {"expect_status": True},
        {"expect_status": "6xx"},
        {"expect_status": ["2xx", "ok"]},
        {"max_bytes": 0},
        {"follow_redirects": "perhaps"},
        {"url": None},
        {"url": 5},
    ],
    ids=repr,
)
def test_configs_that_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        ActionHttp(**{"url": "http://x.example", **config})


# --- what comes back --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "raw", "body"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[1, 2.5, null]", [1, 2.5, None]),
        ("APPLICATION/JSON", b'\xef\xbb\xbf"with a mark"', "with a mark"),
        ("application/json; charset=latin-1", '"grüße"'.encode("latin-1"), "grüße"),
        ("application/json", b"{not json", "{not json"),
        ("application/json", b"NaN", "NaN"),
        ("application/json", b'"\\ud800"', '"\\ud800"'),
        ("application/json", b"[" * 100_000, "[" * 100_000),
        ("application/json", b"", None),
        ("text/plain", b"hello", "hello"),
        ("text/html; charset=ISO-8859-1", "grüße".encode("latin-1"), "grüße"),
        ('text/html; charset="windows-1252"', b"\x80 5", "€ 5"),
        ("text/plain; charset=punycode", b"bcher-kva", "bcher-kva"),
        ("text/plain; charset=zlib", b"hello", "hello"),
        ("text/plain; charset=utf-99", b"hello", "hello"),
        ("text/plain", b"\xff broken", "\ufffd broken"),
        ("application/xml", b"<a/>", "<a/>"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("image/png", b"\x89PNG\x00", b"\x89PNG\x00"),
        ("application/octet-stream", b"text", b"text"),
        ("-", b"untyped", "untyped"),
        ("-", b"\xff\x00", b"\xff\x00"),
        ("-", b"nul \x00", b"nul \x00"),
    ],
)
def test_bodies_that_come_back(type: str, raw: bytes, body: Any) -> None:
    got, _ = ask(response(raw, type=type))
    assert got["body"] == body
    stored = Codec().encode(got)
    assert Codec().decode(stored.text, {blob.sha256: blob.data for blob in stored.blobs}) == got


def test_status_without_a_body() -> None:
    assert ask(b"HTTP/1.1 204 No Content\r\n\r\n")[0] == {"status": 204, "headers": {}, "body": None}
    got, _ = ask(response(b"", headers={"Content-Length": "123456789"}), method="HEAD")
    assert (got["headers"]["content-length"], got["body"]) == ("123456789", None)


def test_headers_have_lower_case_names_and_may_repeat() -> None:
    got, _ = ask(response(headers={"X-A": "1", "x-a": "2", "ETag": '"x"'}))
    assert (got["headers"]["x-a"], got["headers"]["etag"]) == ("1, 2", '"x"')


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retried"),
    [(400, False), (401, False), (403, False), (404, False), (408, True), (409, False), (410, False), (422, False),
     (429, True), (500, True), (501, True), (502, True), (503, True), (504, True), (599, True)],
)  # fmt: skip
def test_which_statuses_are_tried_again(status: int, retried: bool) -> None:
    error = failure(response("no", f"{status} Sorry"))
    assert isinstance(error, HttpStatusError)
    assert (error.status, error.body, error.headers["content-length"]) == (status, "no", "2")
    assert is_retryable(Retry(), error) is retried


def test_the_message_names_what_is_needed_and_hides_the_query() -> None:
    error = failure(response("x" * 5000, "404 Not Found"), "/users?token=hunter2", query={"key": "hunter2"})
    assert str(error).startswith("GET http://127.0.0.1:")
    assert f"/users?… answered 404 Not Found: {'x' * 300}…" in str(error)
    assert "hunter2" not in str(error)
    assert len(error.body) == 2000
    assert "{'a': 1}" not in str(failure(response('{"a": 1}', "400 Bad", type="application/json")))
    assert str(failure(response('{"a": 1}', "400 Bad", type="application/json"))).endswith('answered 400 Bad: {"a": 1}')
    assert str(failure(response("", "500 "))).endswith("answered 500")


@pytest.mark.parametrize(("status", "delay"), [(429, 7.0), (503, 7.0), (404, None)])
def test_retry_after_is_obeyed(status: int, delay: float | None) -> None:
    error = failure(response("wait", f"{status} Wait", {"Retry-After": "7"}))
    assert next_delay(Retry(3), 1, error, 0.5) == delay


def test_retry_after_with_a_date() -> None:
    error = failure(response("wait", "429 Wait", {"Retry-After": "Fri, 02 Jan 2026 00:00:30 GMT"}))
    assert next_delay(Retry(3), 1, error, 0.5, datetime(2026, 1, 2, tzinfo=UTC)) == 30


@pytest.mark.parametrize(
    ("expected", "status", "outcome"),
    [
        (None, 200, None), (None, 302, None), (None, 400, HttpStatusError),
        (200, 200, None), ("200", 200, None), (200, 201, UnexpectedStatusError), (200, 500, HttpStatusError),
        ("2xx", 204, None), ("2xx", 304, UnexpectedStatusError), ("2XX", 201, None),
        ([200, 404], 404, None), ([200, 404], 500, HttpStatusError), (["2xx", "4xx"], 418, None), (404, 404, None),
        (404, 200, UnexpectedStatusError), ([], 200, UnexpectedStatusError),
    ],
)  # fmt: skip
def test_expect_status(expected: Any, status: int, outcome: type[Exception] | None) -> None:
    answer = response("" if status in (204, 304) else "body", f"{status} So")
    if outcome is None:
        assert ask(answer, expect_status=expected)[0]["status"] == status
        return
    error = failure(answer, expect_status=expected)
    assert type(error) is outcome
    assert error.status == status
    if outcome is UnexpectedStatusError:
        assert not is_retryable(Retry(), error)
        assert "expect_status is" in str(error)


def test_network_errors_are_tried_again() -> None:
    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionError, match="the connection failed") as caught:
                await call(f"http://127.0.0.1:{free.getsockname()[1]}/?hunter2")
            assert is_retryable(Retry(), caught.value)
            assert "hunter2" not in str(caught.value)

    run(main())

    async def nothing(asked: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        return None

    for answer in (nothing, b"no http\r\n\r\n"):
        error = failure(answer)
        assert isinstance(error, ConnectionError)
        assert is_retryable(Retry(), error)


def test_a_server_that_is_slow_is_left_and_the_client_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows_sdk.nodes.egress_client.TIMEOUT", 1.0)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        if asked.target == "/half":
            writer.write(response("half", headers={"Content-Length": "8"}))
            await asyncio.Event().wait()
        if asked.target == "/never":
            await asyncio.Event().wait()
        return response("quick")

    async def main() -> None:
        policy = EgressPolicy(LOCAL)
        async with serving(answer) as server:
            for path in ("/never", "/half"):
                with pytest.raises(TimeoutError, match="no answer in time") as caught:
                    await call_http(ActionHttp(url=server.url + path), a_call(policy))
                assert is_retryable(Retry(), caught.value)
            # the timeout of a node cancels the call
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await call_http(ActionHttp(url=f"{server.url}/never"), a_call(policy))
            assert (await call_http(ActionHttp(url=server.url), a_call(policy)))["body"] == "quick"
            await policy.aclose()

    run(main())


def test_a_name_that_is_not_resolved_just_now_is_tried_again() -> None:
    def unresolved(number: int) -> Exception:
        async def resolver(host: str, port: int) -> Sequence[str]:
            raise socket.gaierror(number, "so it is")

        with pytest.raises(Exception) as caught:
            run(call("http://api.example.org/", EgressPolicy(resolver=resolver)))
        return caught.value

    assert is_retryable(Retry(), again := unresolved(socket.EAI_AGAIN))
    assert "api.example.org cannot be resolved" in str(again)
    gone = unresolved(socket.EAI_NONAME)
    assert isinstance(gone, EgressDeniedError)
    assert gone.code == "dns_resolution_failed"
    assert not is_retryable(Retry(), gone)


# --- redirects and addresses ------------------------------------------------------------------------------


def test_redirects_are_followed_up_to_five() -> None:
    async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        left = int(asked.target.strip("/"))
        return response("arrived") if left == 0 else response("", "302 Found", {"Location": f"/{left - 1}"})

    got, asked = ask(answer, "/5")
    assert (got["body"], len(asked)) == ("arrived", 6)
    error = failure(answer, "/6")
    assert isinstance(error, NonRetryableError)
    assert "redirected more than 5 times" in str(error)
    got, asked = ask(answer, "/5", follow_redirects=False)
    assert (got["status"], got["headers"]["location"], len(asked)) == (302, "/4", 1)


def test_secrets_do_not_go_along_to_another_host() -> None:
    async def main() -> None:
        async with serving(response("there")) as other:

            async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
                place = f"http://other.example.com:{other.port}/" if asked.target == "/away" else "/away"
                return response("", "307 Go", {"Location": place})

            async with serving(answer) as server:
                for auth in (
                    {"type": "bearer", "token": "hunter2"},
                    {"type": "header", "name": "X-Mine", "value": "hunter2"},
                ):
                    got = await call(
                        f"http://first.example.com:{server.port}/",
                        method="POST",
                        body={"a": 1},
                        auth=auth,
                        headers={"X-Api-Key": "hunter2", "Cookie": "hunter2", "X-Trace": "kept"},
                    )
                    assert got["body"] == "there"
                sent = [asked.headers for asked in server.asked]
                assert all("hunter2" in str(headers.values()) for headers in sent), "the same host gets them"
            for asked in other.asked:
                assert "hunter2" not in str(asked)
                assert asked.headers["x-trace"] == "kept"
                assert asked.headers["host"] == f"other.example.com:{other.port}"
                assert (asked.method, asked.body) == ("POST", b'{"a":1}')

    run(main())


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/", "http://localhost:{}/",
     "http://169.254.169.254/", "http://intern.example.org:{}/"],
)  # fmt: skip
def test_private_addresses_are_refused_directly_and_by_redirect(place: str) -> None:
    async def main() -> None:
        policy = EgressPolicy(["front.example.com"], resolver=resolve_to_loopback)
        async with serving(response("secret")) as private:
            target = place.format(private.port)
            with pytest.raises(EgressDeniedError) as caught:
                await call(target, policy)
            assert caught.value.code in {"denied_ip", "denied_hostname", "denied_dns"}

            async with serving(response("", "302 Found", {"Location": target})) as server:
                with pytest.raises(EgressDeniedError) as caught:
                    await call(f"http://front.example.com:{server.port}/", policy)
                assert (caught.value.code, len(server.asked)) == ("redirect_denied", 1)
            assert not is_retryable(Retry(), caught.value)
            assert private.connections == 0

    run(main())


@pytest.mark.parametrize(
    ("url", "code"),
    [("", "invalid_url"), ("notify", "invalid_url"), ("ftp://example.com/", "invalid_scheme"),
     ("http://ada:hunter2@example.com/", "invalid_url"), ("http://\r\n/", "invalid_url")],
)  # fmt: skip
def test_urls_that_are_none(url: str, code: str) -> None:
    with pytest.raises(EgressDeniedError) as caught:
        run(call(url))
    assert caught.value.code == code
    assert "hunter2" not in str(caught.value)


def test_a_redirect_to_nonsense() -> None:
    for place in ("http://[::1", "http://a\x01b/", "http://:99999999/"):
        error = failure(response("", "302 Found", {"Location": place}))
        assert isinstance(error, ConnectionError | EgressDeniedError | NonRetryableError), place


def test_two_hundred_at_once_share_their_connections() -> None:
    async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0)
        return response(json.dumps({"you": asked.headers["idempotency-key"]}), type="application/json")

    async def main() -> Server:
        policy = EgressPolicy(LOCAL)
        async with serving(answer) as server:
            config = ActionHttp(url=server.url, method="POST", body={"a": 1})
            for _ in range(2):
                got = await asyncio.gather(*(call_http(config, a_call(policy, f"key-{n}")) for n in range(200)))
                assert [each["body"]["you"] for each in got] == [f"key-{n}" for n in range(200)]
            await policy.aclose()
            return server

    server = run(main())
    assert len(server.asked) == 400
    assert server.connections < 400, "connections are used again"
