from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.triggers.deliveries import ParsedBody, delivery_id, parse_body, safe_headers

FORM = "application/x-www-form-urlencoded"

# --- headers ----------------------------------------------------------------------------------------------


def test_safe_headers() -> None:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": "push",
        "Idempotency-Key": "k-1",
        "Referer": "https://shop.example/?token=abc123def&page=2",
        "Authorization": "Bearer abc",
        "Proxy-Authorization": "Basic abc",
        "Cookie": "session=1",
        "Set-Cookie": "session=1",
        "X-Hub-Signature": "sha1=1",
        "X-Hub-Signature-256": "sha256=1",
        "Stripe-Signature": "t=1",
        "X-Shopify-Hmac-Sha256": "abc",
        "X-API-Key": "abc",
        "apikey": "abc",
        "X-Gitlab-Token": "abc",
        "X-Amz-Security-Token": "abc",
        "X-Magic": "abc",
    }
    found = safe_headers(headers, drop=["x-MAGIC"])
    assert found == {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-event": "push",
        "idempotency-key": "k-1",
        "referer": "https://shop.example/?token=***&page=2",
    }
    assert safe_headers([(b"Accept", b"a"), (b"ACCEPT", b" b ")]) == {"accept": "a, b"}


@pytest.mark.parametrize("headers", [None, 5, "a: b", b"a", [("a", "b", "c")], ["ab"], {"a": None}, {1: "a"}])
def test_headers_that_are_none(headers: Any) -> None:
    with pytest.raises(TypeError):
        safe_headers(headers)


# --- ids --------------------------------------------------------------------------------------------------


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"X-GitHub-Delivery": "72d3162e"}, b"{}", "72d3162e"),
        ({"x-shopify-webhook-id": "s-1"}, b"{}", "s-1"),
        ({"Stripe-Signature": "t=1"}, b'{"id": "evt_1"}', "evt_1"),
        ({"X-Slack-Signature": "v0=1"}, b'{"event_id": "Ev1"}', "Ev1"),
        ({"svix-id": "msg_1"}, b"{}", "msg_1"),
        ({"webhook-id": "msg_1"}, b"{}", "msg_1"),
        ({"Idempotency-Key": "k-1"}, b"{}", "k-1"),
        ({"Idempotency-Key": "k-1", "X-GitHub-Delivery": "72d3162e"}, b"{}", "72d3162e"),
        ({}, b'{"id": "evt_1"}', digest(b'{"id": "evt_1"}')),
        ({}, b"", digest(b"")),
        ({"X-GitHub-Delivery": ""}, b"x", digest(b"x")),
        ({"Stripe-Signature": "t=1"}, b'{"id": 5}', digest(b'{"id": 5}')),
        ({"Stripe-Signature": "t=1"}, b"[" * 100_000, digest(b"[" * 100_000)),
        ({"Stripe-Signature": "t=1"}, b'"\xff', digest(b'"\xff')),
        ({"Idempotency-Key": "k" * 201}, b"x", digest(b"k" * 201)),
        ({"Idempotency-Key": "a b"}, b"x", digest(b"a b")),
    ],
)
def test_delivery_id(headers: dict[str, str], body: bytes, expected: str) -> None:
    assert delivery_id(headers, body) == expected


# --- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "raw", "expected"),
    [
        ("application/json", b'{"a": 1}', ParsedBody("json", {"a": 1})),
        ("application/json; charset=UTF-8", b"\xef\xbb\xbf[1]", ParsedBody("json", [1])),
        ("Application/JSON", b"null", ParsedBody("json", None)),
        ("application/cloudevents+json", b'"x"', ParsedBody("json", "x")),
        ("application/json; charset=iso-8859-1", b'"\xe4"', ParsedBody("json", "ä")),
        # what curl -d sends without a header
        (FORM, b'{"a": 1}', ParsedBody("json", {"a": 1})),
        (FORM, b"a=1&b=x+y&a=2&c=&a=3", ParsedBody("form", {"a": ["1", "2", "3"], "b": "x y", "c": ""})),
        (FORM, b"payload=%7B%22a%22%3A1%7D", ParsedBody("form", {"payload": '{"a":1}'})),
        (FORM, b"[a=1", ParsedBody("form", {"[a": "1"})),
        ("text/plain", "grüße".encode(), ParsedBody("text", "grüße")),
        ("text/plain; charset=latin-1", b"\xe4", ParsedBody("text", "ä")),
        ("text/csv", b"a,b", ParsedBody("text", "a,b")),
        (None, b'{"a": 1}', ParsedBody("json", {"a": 1})),
        ("", b"hello", ParsedBody("text", "hello")),
        (None, b"\xff\xfe\x00", ParsedBody("bytes", b"\xff\xfe\x00")),
        ("application/octet-stream", b'{"a": 1}', ParsedBody("bytes", b'{"a": 1}')),
        ("multipart/form-data; boundary=x", b"--x", ParsedBody("bytes", b"--x")),
        ("nonsense", b"x", ParsedBody("bytes", b"x")),
        (None, b"", ParsedBody("empty", None)),
        (FORM, b"", ParsedBody("empty", None)),
    ],
)
def test_parse_body(content_type: str | None, raw: bytes, expected: ParsedBody) -> None:
    assert parse_body(content_type, raw) == expected


@pytest.mark.parametrize(
    ("content_type", "raw", "says"),
    [
        ("application/json", b"not json", "is not: Expecting value in line 1, column 1"),
        ("application/json", b'{"a": 1', "is not: "),
        ("application/json", b"", "the body is empty"),
        ("application/json", b'{"a": NaN}', "it has NaN"),
        ("application/json", b"-Infinity", "it has -Infinity"),
        ("application/json", b"[" * 200_000, "nested too deeply"),
        ("application/json", b"1" * 5_000, "limit"),
        ("application/json", b'"\xff"', "not utf-8: byte 1"),
        ("application/json; charset=nope", b"1", "charset 'nope' is not known"),
        ("application/json; charset=punycode", b"1", "not known"),
        ("application/json; charset=zip", b"1", "not known"),
        ("text/plain", b"\xff", "not utf-8"),
        (FORM, b"a=%ff", "escapes are not UTF-8"),
        (FORM, b"a=\xff", "not utf-8"),
        (FORM, b"a=1&" * 1_001, "more than 1000 fields"),
    ],
)
def test_bodies_that_are_not_what_they_say(content_type: str, raw: bytes, says: str) -> None:
    body = parse_body(content_type, raw)
    assert body.problem is not None
    assert says in body.problem
    assert body.value == raw


@given(
    content_type=st.one_of(
        st.none(),
        st.text(max_size=40),
        st.sampled_from(["application/json", FORM, "text/plain;charset*=x''%ff", "text/x;"]),
    ),
    raw=st.binary(max_size=60),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_stranger_cannot_raise(content_type: str | None, raw: bytes) -> None:
    body = parse_body(content_type, raw)
    assert body.problem is None or body.value == raw
    assert delivery_id({"stripe-signature": "x"}, raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_json_comes_back(value: Any) -> None:
    assert parse_body("application/json", json.dumps(value).encode()).value == value


def test_what_is_a_mistake_of_the_caller_is_raised() -> None:
    with pytest.raises(TypeError, match="bytes as they came"):
        parse_body("text/plain", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="content type"):
        parse_body(b"text/plain", b"")  # type: ignore[arg-type]
