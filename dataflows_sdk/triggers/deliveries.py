"""What came in by HTTP, read: headers, the id of the delivery, the body. Whether it is genuine, `signatures` says."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final, Literal, NoReturn, TypeAlias
from urllib.parse import parse_qsl

from dataflows_sdk.core.redact import REDACTOR, is_secret_name

__all__ = [
    "Headers",
    "ParsedBody",
    "body_id",
    "bounded_id",
    "delivery_id",
    "json_field",
    "parse_body",
    "raw_bytes",
    "read_headers",
    "safe_headers",
]

#: a mapping, or pairs as ASGI gives them; a value may be a list where a header came several times
Headers: TypeAlias = Mapping[str, str] | Mapping[str, list[str]] | Iterable[tuple[str | bytes, str | bytes]]

_MAX_ID: Final = 200
_ID: Final = re.compile(r"[\x21-\x7e]+")

# --- headers ----------------------------------------------------------------------------------------------


def read_headers(headers: Headers) -> dict[str, list[str]]:
    """Headers under lower-case names, every value of a name in order, without the space around it.

    Raises:
        TypeError: neither a mapping nor pairs of texts.
    """
    pairs = _pairs(headers)
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"a header is a pair of name and value, not {type(pair).__name__}")
        name, value = pair
        values = value if isinstance(value, list | tuple) else [value]
        found.setdefault(_text(name).lower(), []).extend(_text(one) for one in values)
    return found


def _pairs(headers: object) -> Iterable[Any]:
    if isinstance(headers, Mapping):
        return headers.items()
    if isinstance(headers, str | bytes) or not isinstance(headers, Iterable):
        raise TypeError(f"headers are a mapping or pairs of name and value, not {type(headers).__name__}")
    return headers


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        raise TypeError(f"names and values of headers are texts, not {type(value).__name__}")
    return value.strip(" \t\r\n")


def safe_headers(headers: Headers, drop: Collection[str] = ()) -> dict[str, str]:
    """The headers that may be stored and shown: lower-case names, without those that carry secrets.

    Left out are credentials (``authorization``, ``cookie``, ``x-api-key``, ``x-gitlab-token``, …) and signatures.
    In the others, what looks like a secret is masked. Several values of one name are joined with a comma.

    Args:
        headers: as they came.
        drop: further names to leave out, for example the one that a token is expected in
            (`dataflows_sdk.triggers.signatures.secret_headers` knows it).

    Raises:
        TypeError: neither a mapping nor pairs of texts.
    """
    dropped = {name.lower() for name in drop}
    return {
        name: REDACTOR.redact_text(", ".join(values))
        for name, values in read_headers(headers).items()
        if name not in dropped and not _carries_secret(name)
    }


def _carries_secret(name: str) -> bool:
    return "signature" in name or "hmac" in name or name in {"set-cookie2", "dpop"} or is_secret_name(name)


# --- the id of a delivery -----------------------------------------------------------------------------------

#: headers that hold the id of a delivery, the more telling ones first
_ID_HEADERS: Final = (
    "x-github-delivery",
    "x-shopify-webhook-id",
    "webhook-id",
    "svix-id",
    "x-gitlab-event-uuid",
    "idempotency-key",
)
#: a header that tells the provider → the field of its JSON body that holds the id
_ID_FIELDS: Final = {"stripe-signature": "id", "x-slack-signature": "event_id"}


def delivery_id(headers: Headers, raw_body: bytes) -> str:
    """The id under which a sender delivers this again.

    It is the delivery header of GitHub, Shopify, Svix and Standard Webhooks or GitLab; the id in the body of Stripe and
    Slack; an ``Idempotency-Key``. Without any of them it is ``sha256:`` and the hash of the body, which is all that a
    redelivery and another event with the same content have in common: who starts runs by it decides for how long.

    Raises:
        TypeError: the headers are neither a mapping nor pairs of texts, or the body is not bytes.
    """
    raw = raw_bytes(raw_body)
    known = read_headers(headers)
    for marker, name in _ID_FIELDS.items():
        if marker in known and (found := json_field(raw, name)) is not None:
            return found
    for header in _ID_HEADERS:
        if (values := known.get(header)) and values[0]:
            return bounded_id(values[0])
    return body_id(raw)


def body_id(raw_body: bytes) -> str:
    """``sha256:`` and the hash of a body in hex."""
    return f"sha256:{hashlib.sha256(raw_body).hexdigest()}"


def json_field(raw_body: bytes, name: str) -> str | None:
    """A text at the top of a JSON body, as an id; None if there is none."""
    try:
        value = json.loads(raw_body)
    except (ValueError, RecursionError):
        return None
    found = value.get(name) if isinstance(value, dict) else None
    return bounded_id(found) if isinstance(found, str) and found else None


def bounded_id(value: str) -> str:
    """An id as it is, or its hash where it is long or has other than printable ASCII signs."""
    if len(value) <= _MAX_ID and _ID.fullmatch(value):
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


# --- bodies -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A body, read as what it says it is.

    Attributes:
        kind: what it was read as.
        value: the JSON value; a dict of the form; the text; the bytes; None for an empty body.
        problem: why it is not what it says, for the sender; None if it is. `value` then holds the bytes.
    """

    kind: Literal["json", "form", "text", "bytes", "empty"]
    value: Any
    problem: str | None = None


#: others are no text (zip), or slow on purpose-made input (punycode, idna)
_CHARSETS: Final = frozenset(
    ["utf-8", "utf-8-sig", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]
)
_MAX_FIELDS: Final = 1_000


def parse_body(content_type: str | None, raw: bytes) -> ParsedBody:
    """A body as its content type says; never raises for what a stranger may send.

    - ``application/json``, ``…+json``: the value. NaN and Infinity are not JSON.
    - ``application/x-www-form-urlencoded``: a dict of texts, with a list where a name comes several times. A body that
      begins with ``{`` or ``[`` and is JSON is read as that: it is what ``curl -d '{"a": 1}'`` sends.
    - ``text/…``: a text in its charset, UTF-8 if it names none.
    - nothing: JSON if it is, else text if it is UTF-8, else bytes. Anything else: bytes.

    Raises:
        TypeError: `raw` is not bytes, or `content_type` no text.
    """
    raw = raw_bytes(raw)
    if content_type is not None and not isinstance(content_type, str):
        raise TypeError(f"a content type is a text or None, not {type(content_type).__name__}")
    kind, charset = _content_type(content_type or "")
    is_json = kind in {"application/json", "text/json"} or kind.endswith("+json")
    if not raw:
        return ParsedBody("json", raw, "the body is empty, which is not JSON") if is_json else ParsedBody("empty", None)
    if is_json:
        return _json(raw, charset)
    if kind == "application/x-www-form-urlencoded":
        return _form(raw, charset)
    if kind.startswith("text/"):
        return _plain(raw, charset)
    if not kind:
        for read in (_json, _plain):
            if (body := read(raw, "")).problem is None:
                return body
    return ParsedBody("bytes", raw)


def raw_bytes(raw: object) -> bytes:
    """A body as bytes.

    Raises:
        TypeError: it is not bytes, or a view of them.
    """
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise TypeError(
            f"the body is the bytes as they came, not {type(raw).__name__}: parsed JSON is not the same again"
        )
    return bytes(raw)


def _content_type(text: str) -> tuple[str, str]:
    """The type in lower case and its charset, both empty where they are not given."""
    if not text.strip():
        return "", ""
    message = Message()
    try:
        message["content-type"] = text.replace("\r", " ").replace("\n", " ")
        kind, charset = message.get_content_type(), message.get_content_charset("")
    except (ValueError, LookupError, IndexError):
        return text.partition(";")[0].strip().lower(), ""
    # the standard library answers text/plain to what it cannot read
    stated = text.partition(";")[0].strip().lower()
    return (kind if stated == kind else stated), charset


def _decode(raw: bytes, charset: str) -> str:
    try:
        name = codecs.lookup(charset or "utf-8").name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise ValueError(f"the charset {charset[:40]!r} is not known here; send UTF-8")
    try:
        return raw.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not {name}: byte {error.start} does not fit") from None


def _json(raw: bytes, charset: str) -> ParsedBody:
    try:
        return ParsedBody("json", json.loads(_decode(raw, charset), parse_constant=_no_constant))
    except json.JSONDecodeError as error:
        problem = f"the body says it is JSON and is not: {error.msg} in line {error.lineno}, column {error.colno}"
    except RecursionError:
        problem = "the body is JSON that is nested too deeply"
    except ValueError as error:
        problem = str(error)
    return ParsedBody("json", raw, problem)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the body says it is JSON and is not: it has {name}")


def _form(raw: bytes, charset: str) -> ParsedBody:
    if raw.lstrip()[:1] in {b"{", b"["} and (body := _json(raw, charset)).problem is None:
        return body
    fields: dict[str, str | list[str]] = {}
    try:
        text = _decode(raw, charset)
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError:
        return ParsedBody("form", raw, "the body says it is a form, and its escapes are not UTF-8")
    except ValueError as error:
        many = f"the form has more than {_MAX_FIELDS} fields" if "max" in str(error).lower() else str(error)
        return ParsedBody("form", raw, many)
    for name, value in pairs:
        before = fields.get(name)
        if before is None:
            fields[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            fields[name] = [before, value]
    return ParsedBody("form", fields)


def _plain(raw: bytes, charset: str) -> ParsedBody:
    try:
        return ParsedBody("text", _decode(raw, charset))
    except ValueError as error:
        return ParsedBody("text", raw, str(error))
