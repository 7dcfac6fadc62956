"""Deliveries signed by an HMAC that is written out here, so that the library is not its own witness."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import InvalidDurationError
from dataflows_sdk.triggers.signatures import (
    VERIFICATION_KINDS,
    Verdict,
    check_verification,
    delivery_id,
    secret_headers,
    verify,
)

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "it's a secret to everybody"
BODY = b'{"id": "evt_1", "event_id": "Ev1",  "text": "gr\xc3\xbc\xc3\x9fe"}'


def mac(key: bytes, message: bytes, hash_of: Callable[[bytes], Any] = hashlib.sha256) -> bytes:
    """HMAC as RFC 2104 draws it."""
    block = hash_of(b"").block_size
    key = (hash_of(key).digest() if len(key) > block else key).ljust(block, b"\0")
    inner = hash_of(bytes(byte ^ 0x36 for byte in key) + message).digest()
    result: bytes = hash_of(bytes(byte ^ 0x5C for byte in key) + inner).digest()
    return result


def sign(kind: str, secret: str = SECRET, body: bytes = BODY, stamp: str = STAMP) -> dict[str, str]:
    """The headers of a genuine delivery."""
    key = secret.encode()
    if kind in {"github", "hmac"}:
        return {"X-Hub-Signature-256": f"sha256={mac(key, body).hex()}", "X-GitHub-Delivery": "72d3162e"}
    if kind == "stripe":
        return {"Stripe-Signature": f"t={stamp},v1={mac(key, f'{stamp}.'.encode() + body).hex()},v0=abc"}
    if kind == "slack":
        signature = mac(key, f"v0:{stamp}:".encode() + body).hex()
        return {"X-Slack-Signature": f"v0={signature}", "X-Slack-Request-Timestamp": stamp}
    if kind == "shopify":
        return {
            "X-Shopify-Hmac-Sha256": base64.b64encode(mac(key, body)).decode(),
            "X-Shopify-Webhook-Id": "shop-1",
        }
    if kind == "nango":
        return {"X-Nango-Hmac-Sha256": mac(key, body).hex()}
    if kind in {"svix", "standard-webhooks"}:
        family = "svix" if kind == "svix" else "webhook"
        signature = mac(base64.b64decode(secret.removeprefix("whsec_")), f"msg_1.{stamp}.".encode() + body)
        return {
            f"{family}-id": "msg_1",
            f"{family}-timestamp": stamp,
            f"{family}-signature": f"v1a,xx v1,{base64.b64encode(signature).decode()}",
        }
    raise AssertionError(kind)


CODED = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
SIGNED = ["hmac", "github", "stripe", "slack", "shopify", "nango", "svix", "standard-webhooks"]
IDS = {"hmac": "72d3162e", "github": "72d3162e", "stripe": "evt_1", "slack": "Ev1", "shopify": "shop-1"}
BODY_ID = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


def secret_of(kind: str) -> str:
    return CODED if kind in {"svix", "standard-webhooks"} else SECRET


def config_of(kind: str, secret: Any = None) -> dict[str, Any]:
    config = {"secret": secret_of(kind) if secret is None else secret}
    return config | {"header": "x-hub-signature-256"} if kind == "hmac" else config


def check(kind: str, headers: Any, body: bytes = BODY, now: datetime = NOW, **config: Any) -> Verdict:
    return verify(kind, config_of(kind) | config, headers, body, now)


def test_published_examples() -> None:
    """From RFC 4231 (test case 2), GitHub's, Svix' and Slack's documentation."""
    rfc = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    config = {"secret": "Jefe", "header": "X-Signature", "prefix": ""}
    assert verify("hmac", config, {"x-signature": rfc}, b"what do ya want for nothing?", NOW).ok
    github = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verify("github", {"secret": "It's a Secret to Everybody"}, github, b"Hello, World!", NOW).ok
    svix = {
        "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "svix-timestamp": "1614265330",
        "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = datetime.fromtimestamp(1614265330, UTC)
    secret = {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    assert verify("svix", secret, svix, b'{"test": 2432232314}', at).ok
    slack = {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    at = datetime.fromtimestamp(1531420618, UTC)
    assert verify("slack", {"secret": "8f742231b10e8888abcd99yyyzzz85a5"}, slack, body, at).ok


@pytest.mark.parametrize("kind", SIGNED)
def test_a_genuine_delivery(kind: str) -> None:
    expected = Verdict(True, "", IDS.get(kind, BODY_ID if kind == "nango" else "msg_1"))
    headers = sign(kind, secret_of(kind))
    assert check(kind, headers) == expected
    assert check(kind, {name.upper(): value for name, value in headers.items()}) == expected
    assert check(kind, [(name.lower().encode(), value.encode()) for name, value in headers.items()]) == expected
    assert check(kind, {name: [value] for name, value in headers.items()}, bytearray(BODY)) == expected


@pytest.mark.parametrize("kind", SIGNED)
@given(position=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_bit_of_the_body(kind: str, position: int, bit: int) -> None:
    body = bytearray(BODY)
    body[position] ^= 1 << bit
    verdict = check(kind, sign(kind, secret_of(kind)), bytes(body))
    assert verdict == Verdict(False, "the signature does not fit the body", None)


def spoilt(text: str) -> dict[str, str]:
    """A signature that was spoilt in each way."""
    return {
        "truncated": text[:-1],
        "half": text[: len(text) // 2],
        "longer": text + "0",
        "empty": "",
        "spaces": "   ",
        "not ASCII": text[:-1] + "é",
        "other digits": text[:-1] + "٣",
        "another prefix": "sha1=" + text,
        "spaces inside": f"{text[:4]} {text[4:-1]}",
        "null": text[:-1] + "\0",
        "another": text.translate(str.maketrans("0123456789abcdef", "123456789abcdef0")),
        "twice": text + text,
    }


#: how a signature stands in its header
FRAME = {"hmac": "sha256=%s", "github": "sha256=%s", "slack": "v0=%s", "stripe": f"t={STAMP},v1=%s"}
HEADER = {
    "hmac": "X-Hub-Signature-256",
    "github": "X-Hub-Signature-256",
    "slack": "X-Slack-Signature",
    "shopify": "X-Shopify-Hmac-Sha256",
    "nango": "X-Nango-Hmac-Sha256",
    "stripe": "Stripe-Signature",
    "svix": "svix-signature",
    "standard-webhooks": "webhook-signature",
}


@pytest.mark.parametrize("kind", SIGNED)
def test_spoilt_signatures(kind: str) -> None:
    headers = sign(kind, secret_of(kind))
    name, frame = HEADER[kind], FRAME.get(kind, "v1,%s" if kind in {"svix", "standard-webhooks"} else "%s")
    before, _, after = frame.partition("%s")
    good = headers[name].removesuffix(",v0=abc").removeprefix("v1a,xx ").removeprefix(before).removesuffix(after)
    assert check(kind, headers | {name: frame % good}).ok
    changed = {what: frame % text for what, text in spoilt(good).items()}
    changed |= {"no value": "", "wrong prefix": f"sha1={good}", "no prefix": good}
    for what, text in changed.items():
        verdict = check(kind, headers | {name: text})
        # the prefix of an hmac may be missing, and some have none
        assert verdict.ok is (text == good and (kind == "hmac" or frame == "%s")), what
        assert (verdict.delivery_id is None) is not verdict.ok
        assert (verdict.reason == "") is verdict.ok
        for hidden in (SECRET, CODED, good, text.strip()):
            assert not hidden or hidden not in verdict.reason, what
    missing = check(kind, {key: value for key, value in headers.items() if key != name})
    assert missing.reason.lower() == f"the header {name} is missing".lower()
    assert not missing.ok
    twice = [*headers.items(), (name, headers[name])]
    assert "comes 2 times" in check(kind, twice).reason


def test_the_header_of_an_hmac_is_named_as_in_its_config() -> None:
    config = {"secret": SECRET, "header": "X-Mine"}
    assert verify("hmac", config, {}, BODY, NOW).reason == "the header X-Mine is missing"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", [None, "", "v1:"])
def test_hmac_of_any_kind(algorithm: str, encoding: str, prefix: str | None) -> None:
    digest = mac(SECRET.encode(), BODY, getattr(hashlib, algorithm))
    config: dict[str, Any] = {"algorithm": algorithm, "encoding": encoding, "header": "X-Mine"}
    if prefix is not None:
        config["prefix"] = prefix
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    wanted = f"{algorithm}=" if prefix is None else prefix
    assert check("hmac", {"x-mine": wanted + text}, **config).ok
    # stripped if present
    assert check("hmac", {"x-mine": text}, **config).ok
    assert not check("hmac", {"x-mine": "v9:" + text}, **config).ok
    # the case of hex digits says nothing, that of base64 is part of it
    assert check("hmac", {"x-mine": wanted + text.upper()}, **config).ok is (encoding == "hex")
    assert not check("hmac", {"x-mine": text}, b"", **config).ok


def test_base64_has_one_spelling() -> None:
    good = sign("shopify")["X-Shopify-Hmac-Sha256"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(good[-2]) + 1] if alphabet.index(good[-2]) % 4 == 0 else None
    assert last is not None, "a digest of 32 bytes leaves two bits"
    for other in (good[:-2] + last + "=", good[:-1], good + "=", good.replace("=", ""), good[:10] + "\n" + good[10:]):
        assert not check("shopify", {"X-Shopify-Hmac-Sha256": other}).ok, other


# --- time, rotation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stripe", "slack", "svix", "standard-webhooks"])
@pytest.mark.parametrize(("seconds", "ok"), [(300, True), (301, False), (-300, True), (-301, False), (86_400, False)])
def test_tolerance(kind: str, seconds: int, ok: bool) -> None:
    headers = sign(kind, secret_of(kind))
    verdict = check(kind, headers, now=NOW + timedelta(seconds=seconds))
    assert verdict.ok is ok
    assert ok or verdict.reason.endswith("300 s are allowed")
    assert check(kind, headers, now=NOW + timedelta(seconds=seconds), tolerance=86_400).ok
    assert not check(kind, headers, now=NOW + timedelta(seconds=11), tolerance=10).ok


@pytest.mark.parametrize("stamp", ["", "1e9", "-1", "+1", " 1", "١", "9" * 400, "1.5", "nan"])
def test_timestamps_that_are_none(stamp: str) -> None:
    for kind in ("stripe", "slack", "svix"):
        assert not check(kind, sign(kind, secret_of(kind), stamp=stamp)).ok


@pytest.mark.parametrize("kind", SIGNED)
def test_while_a_secret_is_replaced_both_hold(kind: str) -> None:
    old, new = (base64.b64encode(text * 24).decode() for text in (b"o", b"n"))
    both = config_of(kind, [old, Secret(new)])
    for secret in (old, new):
        assert verify(kind, both, sign(kind, secret), BODY, NOW).ok
        # those that are given beside it take its place
        assert verify(kind, config_of(kind, "x" * 8), sign(kind, secret), BODY, NOW, secrets=[old, new]).ok
        config = {key: value for key, value in config_of(kind).items() if key != "secret"}
        assert verify(kind, config, sign(kind, secret), BODY, NOW, secrets=Secret(secret)).ok
    third = base64.b64encode(b"t" * 24).decode()
    assert not verify(kind, both, sign(kind, third), BODY, NOW).ok


def test_stripe_with_several_signatures() -> None:
    good = sign("stripe")["Stripe-Signature"].split(",")[1]
    assert check("stripe", {"Stripe-Signature": f"t={STAMP},v1={'0' * 64},{good}"}).ok
    assert check("stripe", {"Stripe-Signature": f"t={STAMP}, v1=short, {good}"}).ok
    assert not check("stripe", {"Stripe-Signature": f"t={STAMP},{good.replace('v1', 'v0')}"}).ok
    assert not check("stripe", {"Stripe-Signature": good}).ok
    assert not check("stripe", {"Stripe-Signature": f"t={STAMP},t=1,{good}"}).ok
    many = check("stripe", {"Stripe-Signature": f"t={STAMP}," + f"{good}," * 21})
    assert "at most 20" in many.reason


def test_the_families_of_standard_webhooks_are_not_mixed() -> None:
    headers = sign("standard-webhooks", CODED)
    assert not check("svix", headers | {"svix-id": "msg_2"}).ok


def test_a_preset_does_not_take_the_id_of_another() -> None:
    """A genuine delivery of Stripe must not start a second run because somebody added a header to it."""
    for kind in ("stripe", "slack", "nango", "svix", "shopify"):
        headers = sign(kind, secret_of(kind))
        expected = check(kind, headers)
        assert check(kind, headers | {"Idempotency-Key": "x", "X-GitHub-Delivery": "y"}) == expected


# --- token, basic, none -----------------------------------------------------------------------------------


def test_token() -> None:
    config = {"header": "X-Gitlab-Token", "value": ["old", "new"]}
    for token, ok in (("new", True), ("old", True), ("New", False), ("ne", False), ("newer", False), ("", False)):
        verdict = verify("token", config, {"x-gitlab-token": token, "Idempotency-Key": "i-1"}, b"", NOW)
        assert verdict.ok is ok
        assert verdict.delivery_id == ("i-1" if ok else None)
    assert verify("token", config, {}, b"", NOW).reason == "the header X-Gitlab-Token is missing"


def basic(text: str, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "ok"),
    [
        (basic("ada:päss:word"), True),
        (basic("ada:päss:word", "basic"), True),
        (basic("ada:pass:word"), False),
        (basic("Ada:päss:word"), False),
        (basic("ada"), False),
        (basic("ada:"), False),
        (basic("ada:päss:word", "Bearer"), False),
        ({"Authorization": "Basic !!!"}, False),
        ({"Authorization": "Basic"}, False),
        ({}, False),
    ],
)
def test_basic(headers: dict[str, str], ok: bool) -> None:
    verdict = verify("basic", {"username": "ada", "password": "päss:word"}, headers, BODY, NOW)
    assert verdict.ok is ok
    assert "päss" not in verdict.reason


def test_none_takes_everything() -> None:
    assert verify("none", {}, {}, BODY, NOW) == Verdict(True, "", BODY_ID)


# --- configs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "config", "says"),
    [
        ("githb", {}, "did you mean 'github'?"),
        (None, {}, "there is no verification"),
        ("hmac", {}, "hmac needs 'header'"),
        ("hmac", {"header": "X"}, "hmac needs 'secret'"),
        ("hmac", {"header": "X Y", "secret": "s"}, "no name of a header"),
        ("hmac", {"header": "X", "secret": "s", "algorithm": "md5"}, "'algorithm' is one of sha256, sha1, sha512"),
        ("hmac", {"header": "X", "secret": "s", "encoding": "utf8"}, "'encoding' is one of hex, base64"),
        ("hmac", {"header": "X", "secret": "s", "prefix": None}, "'prefix' is a text"),
        ("github", {"secret": ""}, "anybody can sign"),
        ("github", {"secret": "  "}, "anybody can sign"),
        ("github", {"secret": []}, "github needs 'secret'"),
        ("github", {"secret": ["a", ""]}, "anybody can sign"),
        ("github", {"secret": None}, "github needs 'secret'"),
        ("github", {"secret": 12345}, "a text or a list of texts, not int"),
        ("github", {"secret": "\ud800"}, "not valid Unicode"),
        ("github", None, "a mapping"),
        ("stripe", {"secret": "s", "tolerance": 0}, "'tolerance'"),
        ("stripe", {"secret": "s", "tolerance": True}, "'tolerance'"),
        ("slack", {"secret": "s", "tolerance": "300"}, "'tolerance'"),
        ("svix", {"secret": "whsec_not base64"}, "whsec_ and base64"),
        ("svix", {"secret": "whsec_"}, "whsec_ and base64"),
        ("token", {"value": "v"}, "token needs 'header'"),
        ("token", {"header": "X"}, "token needs 'value'"),
        ("basic", {"password": "p"}, "basic needs 'username'"),
        ("basic", {"username": "a:b", "password": "p"}, "colon"),
        ("basic", {"username": "a"}, "basic needs 'password'"),
    ],
)
def test_a_wrong_config_refuses_everything(kind: Any, config: Any, says: str) -> None:
    problems = check_verification(kind, config)
    assert len(problems) >= 1
    assert says in "; ".join(problems)
    for headers in ({}, sign("github")):
        verdict = verify(kind, config, headers, BODY, NOW)
        assert not verdict.ok
        assert says in verdict.reason
    assert "12345" not in str(problems)


def test_several_faults_at_once() -> None:
    assert len(check_verification("hmac", {"algorithm": "md5", "encoding": 5, "prefix": 1})) == 5


def test_sound_configs() -> None:
    for kind in SIGNED:
        assert check_verification(kind, config_of(kind)) == []
    assert set(VERIFICATION_KINDS) == {*SIGNED, "none", "token", "basic"}


def test_secret_headers() -> None:
    assert secret_headers("token", {"header": "X-Magic"}) == {"x-magic"}
    assert secret_headers("basic", {}) == {"authorization"}
    assert secret_headers("nope", {}) == secret_headers("none", {}) == frozenset()


def test_what_is_a_mistake_of_the_caller_is_raised() -> None:
    config = config_of("github")
    for body in (None, "text", json.loads(BODY)):
        with pytest.raises(TypeError, match="bytes as they came"):
            verify("github", config, sign("github"), body, NOW)
    for headers in (None, "X: y", [("a",)], {"a": 1}):
        with pytest.raises(TypeError):
            verify("github", config, headers, BODY, NOW)  # type: ignore[arg-type]
    with pytest.raises(InvalidDurationError):
        verify("stripe", config, sign("stripe"), BODY, datetime(2026, 1, 1))
    with pytest.raises(TypeError):
        delivery_id({}, "text")  # type: ignore[arg-type]
