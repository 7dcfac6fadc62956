"""Is a delivery genuine? Asked of the raw bytes, before anything is parsed, and compared in constant time.

Kinds: ``none``, ``hmac``, ``token``, ``basic``, and presets for ``github``, ``stripe``, ``slack``, ``shopify``,
``nango`` and ``standard-webhooks`` (``svix``). A secret may be a list: while one is replaced by another, both hold.
No reason ever shows a secret, an expected signature, or what was sent instead.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from dataflows_sdk.core.durations import parse_instant
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.triggers.deliveries import (
    Headers,
    ParsedBody,
    body_id,
    bounded_id,
    delivery_id,
    json_field,
    parse_body,
    raw_bytes,
    read_headers,
    safe_headers,
)

__all__ = [
    "VERIFICATION_KINDS",
    "Headers",
    "ParsedBody",
    "Verdict",
    "check_verification",
    "delivery_id",
    "parse_body",
    "safe_headers",
    "secret_headers",
    "verify",
]

Secrets: TypeAlias = str | Secret | Sequence[str | Secret]
_ALGORITHMS: Final = {"sha256": hashlib.sha256, "sha1": hashlib.sha1, "sha512": hashlib.sha512}
_ENCODINGS: Final = ("hex", "base64")
_TOLERANCE: Final = 300
_MAX_TOLERANCE: Final = 86_400
#: a delivery has one signature, or a few while secrets are rotated
_MAX_SIGNATURES: Final = 20
_HEX: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class Verdict(NamedTuple):
    """What came of checking a delivery.

    Attributes:
        ok: it is genuine.
        reason: why not, for a log and for the sender; empty if it is.
        delivery_id: the id under which the sender would deliver it again; None if it is not genuine, so that nobody can
            use up the ids of others.
    """

    ok: bool
    reason: str = ""
    delivery_id: str | None = None


class _Refused(Exception):
    """The delivery is not genuine; the message is the reason."""


class _Delivery(NamedTuple):
    headers: dict[str, list[str]]
    body: bytes
    now: datetime
    config: Mapping[str, Any]
    secrets: list[bytes]

    def one(self, name: str) -> str:
        """The value of a header that has to be there once."""
        values = self.headers.get(name.lower(), [])
        if not values:
            raise _Refused(f"the header {name} is missing")
        if len(values) > 1:
            raise _Refused(f"the header {name} comes {len(values)} times")
        if not values[0]:
            raise _Refused(f"the header {name} is empty")
        if not values[0].isascii():
            raise _Refused(f"the header {name} has signs that are not ASCII")
        return values[0]

    def fresh(self, timestamp: str) -> None:
        """Refuses a delivery that is older than its tolerance, or as far in the future."""
        if not _SECONDS.fullmatch(timestamp):
            raise _Refused("the timestamp of the signature is no number of seconds")
        tolerance = self.config.get("tolerance", _TOLERANCE)
        apart = self.now.timestamp() - int(timestamp)
        if abs(apart) > tolerance:
            way = "old" if apart > 0 else "in the future"
            raise _Refused(f"the signature is {abs(apart):.0f} s {way}, and {tolerance} s are allowed")

    def signed(self, signature: str, message: bytes, algorithm: str = "sha256", encoding: str = "hex") -> bool:
        """Whether one of the secrets gives this signature.

        Raises:
            _Refused: it is no signature of that algorithm and encoding.
        """
        given = _digest(signature, _ALGORITHMS[algorithm]().digest_size, encoding)
        found = False
        for secret in self.secrets:
            # each one, so that the time does not tell which
            found |= hmac.compare_digest(hmac.digest(secret, message, algorithm), given)
        return found


def _digest(signature: str, size: int, encoding: str) -> bytes:
    if not signature:
        raise _Refused("the signature is empty")
    length = 2 * size if encoding == "hex" else (size + 2) // 3 * 4
    if encoding == "hex":
        # bytes.fromhex() would take spaces
        digest = bytes.fromhex(signature) if len(signature) == length and _HEX.fullmatch(signature) else None
    else:
        try:
            digest = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            digest = None
        # one text for one digest: the last sign has bits that decoding ignores
        if digest is not None and base64.b64encode(digest) != signature.encode():
            digest = None
    if digest is None or len(digest) != size:
        what = "hex digits" if encoding == "hex" else "signs of base64"
        raise _Refused(f"the signature is not {length} {what}: it has {len(signature)} signs, or others among them")
    return digest


# --- the kinds --------------------------------------------------------------------------------------------

_MISMATCH: Final = "the signature does not fit the body"


def _hmac(delivery: _Delivery) -> str:
    config = delivery.config
    algorithm, encoding = config.get("algorithm", "sha256"), config.get("encoding", "hex")
    signature = delivery.one(config["header"])
    signature = signature.removeprefix(config.get("prefix", f"{algorithm}="))
    if not delivery.signed(signature, delivery.body, algorithm, encoding):
        raise _Refused(_MISMATCH)
    return _generic_id(delivery)


def _token(delivery: _Delivery) -> str:
    given = delivery.one(delivery.config["header"]).encode()
    # hashed first: compare_digest tells the length of its arguments
    digest = hashlib.sha256(given).digest()
    found = False
    for secret in delivery.secrets:
        found |= hmac.compare_digest(hashlib.sha256(secret).digest(), digest)
    if not found:
        raise _Refused(f"the header {delivery.config['header']} has another value")
    return _generic_id(delivery)


def _basic(delivery: _Delivery) -> str:
    scheme, _, credentials = delivery.one("Authorization").partition(" ")
    if scheme.lower() != "basic":
        raise _Refused("the header Authorization is not of the scheme Basic")
    try:
        username, colon, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        raise _Refused("the header Authorization is not base64") from None
    if not colon:
        raise _Refused("the header Authorization has no user name and password")
    found = False
    sha = hashlib.sha256
    user_fits = hmac.compare_digest(sha(delivery.config["username"].encode()).digest(), sha(username).digest())
    for secret in delivery.secrets:
        found |= user_fits & hmac.compare_digest(sha(secret).digest(), sha(password).digest())
    if not found:
        raise _Refused("the user name or the password is another")
    return _generic_id(delivery)


def _github(delivery: _Delivery) -> str:
    signature = _after_prefix(delivery.one("X-Hub-Signature-256"), "sha256=")
    if not delivery.signed(signature, delivery.body):
        raise _Refused(_MISMATCH)
    return _header_id(delivery, "x-github-delivery")


def _stripe(delivery: _Delivery) -> str:
    timestamps, signatures = [], []
    for part in delivery.one("Stripe-Signature").split(","):
        key, _, value = part.strip().partition("=")
        if key == "t":
            timestamps.append(value)
        elif key == "v1":
            signatures.append(value)
    if len(timestamps) != 1:
        raise _Refused("the header Stripe-Signature has no timestamp t=, or several")
    delivery.fresh(timestamps[0])
    message = timestamps[0].encode() + b"." + delivery.body
    _any_of(delivery, signatures, message, "hex", "the header Stripe-Signature has no signature v1=")
    return json_field(delivery.body, "id") or body_id(delivery.body)


def _slack(delivery: _Delivery) -> str:
    timestamp = delivery.one("X-Slack-Request-Timestamp")
    delivery.fresh(timestamp)
    signature = _after_prefix(delivery.one("X-Slack-Signature"), "v0=")
    if not delivery.signed(signature, b"v0:" + timestamp.encode() + b":" + delivery.body):
        raise _Refused(_MISMATCH)
    return json_field(delivery.body, "event_id") or body_id(delivery.body)


def _shopify(delivery: _Delivery) -> str:
    if not delivery.signed(delivery.one("X-Shopify-Hmac-Sha256"), delivery.body, encoding="base64"):
        raise _Refused(_MISMATCH)
    return _header_id(delivery, "x-shopify-webhook-id")


def _nango(delivery: _Delivery) -> str:
    # X-Nango-Signature, a bare hash of key and body, can be extended by strangers: never accepted
    if not delivery.signed(delivery.one("X-Nango-Hmac-Sha256"), delivery.body):
        raise _Refused(_MISMATCH)
    return body_id(delivery.body)


def _standard(delivery: _Delivery) -> str:
    family = "svix" if "svix-id" in delivery.headers else "webhook"
    identity, timestamp = delivery.one(f"{family}-id"), delivery.one(f"{family}-timestamp")
    delivery.fresh(timestamp)
    parts = [part.partition(",") for part in delivery.one(f"{family}-signature").split()]
    signatures = [value for version, _, value in parts if version == "v1"]
    message = f"{identity}.{timestamp}.".encode() + delivery.body
    _any_of(delivery, signatures, message, "base64", f"the header {family}-signature has no signature v1,")
    return bounded_id(identity)


def _after_prefix(signature: str, prefix: str) -> str:
    if not signature.startswith(prefix):
        raise _Refused(f"the signature does not begin with {prefix}")
    return signature.removeprefix(prefix)


def _any_of(delivery: _Delivery, signatures: list[str], message: bytes, encoding: str, none: str) -> None:
    if not signatures:
        raise _Refused(none)
    if len(signatures) > _MAX_SIGNATURES:
        raise _Refused(f"there are {len(signatures)} signatures, and at most {_MAX_SIGNATURES} are looked at")
    reason = _MISMATCH
    found = False
    for signature in signatures:
        try:
            found |= delivery.signed(signature, message, encoding=encoding)
        except _Refused as refused:
            reason = str(refused)
    if not found:
        raise _Refused(reason if len(signatures) == 1 else _MISMATCH)


def _generic_id(delivery: _Delivery) -> str:
    return delivery_id(list(_pairs(delivery.headers)), delivery.body)


def _pairs(headers: dict[str, list[str]]) -> list[tuple[str | bytes, str | bytes]]:
    return [(name, value) for name, values in headers.items() for value in values]


def _header_id(delivery: _Delivery, name: str) -> str:
    values = delivery.headers.get(name)
    return bounded_id(values[0]) if values and values[0] else body_id(delivery.body)


class _Kind(NamedTuple):
    """How one kind is checked.

    Attributes:
        check: gives the delivery id, or raises `_Refused`.
        secret: the field of its config that holds the secret.
        texts: the fields that have to be there besides.
        timed: it has a timestamp, and so a tolerance.
        headers: the headers that carry its secret or signature.
    """

    check: Callable[[_Delivery], str]
    secret: str | None = "secret"  # noqa: S105 - the name of a field
    texts: tuple[str, ...] = ()
    timed: bool = False
    headers: tuple[str, ...] = ()


_KINDS: Final[dict[str, _Kind]] = {
    "none": _Kind(_generic_id, None),
    "hmac": _Kind(_hmac, texts=("header",)),
    "token": _Kind(_token, "value", ("header",)),
    "basic": _Kind(_basic, "password", ("username",), headers=("authorization",)),
    "github": _Kind(_github, headers=("x-hub-signature-256", "x-hub-signature")),
    "stripe": _Kind(_stripe, timed=True, headers=("stripe-signature",)),
    "slack": _Kind(_slack, timed=True, headers=("x-slack-signature",)),
    "shopify": _Kind(_shopify, headers=("x-shopify-hmac-sha256",)),
    "nango": _Kind(_nango, headers=("x-nango-hmac-sha256", "x-nango-signature")),
    "svix": _Kind(_standard, timed=True, headers=("svix-signature", "webhook-signature")),
    "standard-webhooks": _Kind(_standard, timed=True, headers=("svix-signature", "webhook-signature")),
}
#: the words for `verify`
VERIFICATION_KINDS: Final = tuple(_KINDS)


# --- the verbs --------------------------------------------------------------------------------------------


def verify(
    kind: str,
    config: Mapping[str, Any],
    headers: Headers,
    raw_body: bytes,
    now: datetime,
    *,
    secrets: Secrets | None = None,
) -> Verdict:
    """Whether a delivery is genuine.

    Hex digits of a signature are taken in upper and lower case; the prefix of kind ``hmac`` (``sha256=``) may be
    missing, those of the presets may not. A wrong config refuses everything.

    Args:
        kind: one of `VERIFICATION_KINDS`.
        config: ``hmac``: ``secret``, ``header``, ``algorithm`` (sha256, sha1, sha512), ``encoding`` (hex, base64),
            ``prefix``. ``token``: ``header``, ``value``. ``basic``: ``username``, ``password``. Presets: ``secret``,
            and ``tolerance`` in seconds (300) for those with a timestamp.
        headers: as they came; the case of names does not matter.
        raw_body: the bytes as they came.
        now: the moment, aware.
        secrets: instead of the ``secret`` (``value``, ``password``) in `config`, for example decrypted ones.

    Raises:
        TypeError: the body is not bytes, or the headers are neither a mapping nor pairs of texts.
        InvalidDurationError: `now` is not one moment.
    """
    known = read_headers(headers)
    body = raw_bytes(raw_body)
    moment = parse_instant(now)
    field = _KINDS[kind].secret if isinstance(kind, str) and kind in _KINDS else None
    if secrets is not None and field is not None and _is_mapping(config):
        config = {**config, field: secrets}
    problems = check_verification(kind, config)
    if problems:
        return Verdict(False, f"the verification of this webhook is not set up: {'; '.join(problems)}")
    keys = _as_keys(kind, config[field]) if field is not None else []
    try:
        return Verdict(True, "", _KINDS[kind].check(_Delivery(known, body, moment, config, keys)))
    except _Refused as refused:
        return Verdict(False, str(refused))


def check_verification(kind: str, config: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a verification, without its secrets; an empty list if it is sound."""
    if not isinstance(kind, str) or kind not in _KINDS:
        near = difflib.get_close_matches(str(kind), _KINDS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return [f"there is no verification {str(kind)[:40]!r}{hint} There are {', '.join(_KINDS)}"]
    if not _is_mapping(config):
        return [f"the config of a verification is a mapping, not {type(config).__name__}"]
    rules = _KINDS[kind]
    found = [f"{kind} needs {name!r}, a text" for name in rules.texts if not _is_text(config.get(name))]
    if rules.secret is not None:
        found += _secret_problems(kind, rules.secret, config.get(rules.secret))
    if "header" in rules.texts and _is_text(config.get("header")) and not _HEADER_NAME.fullmatch(config["header"]):
        found.append(f"'header' {config['header'][:40]!r} is no name of a header")
    if kind == "hmac":
        for name, allowed in (("algorithm", tuple(_ALGORITHMS)), ("encoding", _ENCODINGS)):
            if config.get(name, allowed[0]) not in allowed:
                found.append(f"{name!r} is one of {', '.join(allowed)}, not {str(config[name])[:40]!r}")
        if not isinstance(config.get("prefix", ""), str):
            found.append("'prefix' is a text; leave it out, or write an empty one")
    if kind == "basic" and _is_text(config.get("username")) and ":" in config["username"]:
        found.append("'username' has a colon in it, which HTTP cannot send")
    tolerance = config.get("tolerance", _TOLERANCE)
    if rules.timed and (type(tolerance) is not int or not 1 <= tolerance <= _MAX_TOLERANCE):
        found.append(f"'tolerance' is a whole number of seconds from 1 to {_MAX_TOLERANCE}")
    return found


def secret_headers(kind: str, config: Mapping[str, Any]) -> frozenset[str]:
    """The lower-case names of the headers that carry the secret or the signature of a verification.

    They are what `safe_headers` has to leave out besides; empty for an unknown kind.
    """
    rules = _KINDS.get(kind)
    if rules is None:
        return frozenset()
    own = config.get("header") if "header" in rules.texts else None
    return frozenset(rules.headers) | ({own.lower()} if isinstance(own, str) else frozenset())


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _secret_problems(kind: str, name: str, value: Any) -> list[str]:
    each = _each(value)
    if not each or value is None:
        return [f"{kind} needs {name!r}, a text or a list of texts"]
    found = []
    for one in each:
        text = one.reveal() if isinstance(one, Secret) else one
        if not isinstance(text, str):
            found.append(f"{name!r} is a text or a list of texts, not {type(one).__name__}")
        elif not text.strip():
            found.append(f"{name!r} is empty, and anybody can sign with that")
        elif _decoded(kind, text) is None:
            found.append(f"{name!r} cannot be read: {_READS.get(kind, 'it is not valid Unicode')}")
    return found


_READS: Final = dict.fromkeys(("svix", "standard-webhooks"), "it is whsec_ and base64")


def _decoded(kind: str, secret: str) -> bytes | None:
    """The key that a secret stands for; None if it stands for none."""
    try:
        if kind in _READS:
            return base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True) or None
        return secret.encode()
    except (binascii.Error, ValueError):
        return None


def _as_keys(kind: str, value: Any) -> list[bytes]:
    texts = [one.reveal() if isinstance(one, Secret) else one for one in _each(value)]
    return [key for text in texts if (key := _decoded(kind, text)) is not None]
