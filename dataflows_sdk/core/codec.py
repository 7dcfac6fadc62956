"""Values as JSON with types: what the journal stores, and how it comes back equal.

Plain JSON values take a fast path: one walk that looks at types only, one call of the Rust encoder, one
look over the bytes for what PostgreSQL would refuse. Whatever needs a tag is written by `Writer`, read
again by `Reader`, and compared, before it is stored: a value that would not come back equal fails in the
step that returned it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pydantic_core

from dataflows_sdk.core.codec_read import Reader, parse
from dataflows_sdk.core.codec_refused import Refused
from dataflows_sdk.core.codec_same import check_same
from dataflows_sdk.core.codec_types import TYPES, TypeRegistry
from dataflows_sdk.core.codec_view import LenientReader, Opaque, ViewWriter
from dataflows_sdk.core.codec_write import MAX_DEPTH, Blob, Writer, dump
from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.errors import NotSerializableError, ValueCodecError

__all__ = ["INLINE_LIMIT", "JSON", "TYPES", "Blob", "Codec", "Encoded", "Opaque", "TypeRegistry", "blob_refs"]

#: bytes of JSON that stay in the journal; more becomes a blob
INLINE_LIMIT: Final = 65_536
JSON: Final = "application/json"
_PREVIEW = 200
_NO_BLOBS: Mapping[str, bytes] = MappingProxyType({})

_SCALARS = frozenset({str, int, float, bool, type(None)})
_all_scalars = _SCALARS.issuperset
_all_str = frozenset({str}).issuperset
_to_json = pydantic_core.to_json
_DIGITS = re.compile(rb"[0-9]{4}")


class Encoded(NamedTuple):
    """A value as it is stored.

    `text` goes into a column of type ``json``; `blobs` must be stored with it, in the same transaction or
    before.
    """

    text: str
    blobs: tuple[Blob, ...] = ()


#: most functions that do something return nothing
_NULL = Encoded("null")


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value is made of exact JSON types; the content of its texts and floats is not looked at."""
    kind = type(value)
    if kind is dict:
        if not _all_str(map(type, value)):
            return False
        children = value.values()
    elif kind is list:
        children = value
    else:
        return kind in _SCALARS
    if depth >= MAX_DEPTH:
        return False
    # issuperset and map run in C; most containers hold nothing but scalars
    if not _all_scalars(map(type, children)):
        for child in children:
            if type(child) not in _SCALARS and not _is_plain(child, depth + 1):
                return False
    return True


class Codec:
    """Writes and reads values. Safe to use from any thread.

    Args:
        types: the classes that payloads may name.
        inline_limit: bytes of JSON beyond which the text becomes a blob. Bytes and arrays within a value
            become blobs of their own beyond a quarter of it, tables always.
    """

    def __init__(self, types: TypeRegistry = TYPES, inline_limit: int = INLINE_LIMIT) -> None:
        if isinstance(inline_limit, bool) or not isinstance(inline_limit, int) or inline_limit < 1:
            raise ValueError(f"inline_limit is a number of bytes, 1 or more, not {inline_limit!r}")
        self.types = types
        self.inline_limit = inline_limit

    def encode(self, value: Any, where: str = "result") -> Encoded:
        """The stored form of a value that has to come back equal.

        Args:
            value: plain JSON values, and what has a tag: dates and times, Decimal, Fraction, UUID, bytes,
                tuples, sets, complex, paths, addresses, URLs of pydantic; Enums, dataclasses, pydantic
                models and named tuples that the types know; DataFrames, Series, Arrow tables, numpy values.
            where: what the value is, for the message ("result of step 'fetch'").

        Raises:
            NotSerializableError: it would not come back equal; `.path` says where in the value.
            MissingExtraError: a DataFrame, and pyarrow is not installed.
        """
        if value is None:
            return _NULL
        try:
            if _is_plain(value, 0):
                raw = _plain_json(value)
                if raw is not None and len(raw) <= self.inline_limit:
                    return Encoded(raw.decode())
            return self._encode_tagged(value)
        except Refused as refused:
            raise NotSerializableError(
                f"the {where} cannot be stored: the value at {refused.short_path} {refused.reason}",
                refused.path,
            ) from refused.__cause__
        except RecursionError:
            raise NotSerializableError(
                f"the {where} cannot be stored: it is nested too deeply for the stack of this thread; flatten it"
            ) from None

    def _encode_tagged(self, value: Any) -> Encoded:
        writer = Writer(self.types, max(1, self.inline_limit // 4))
        text = dump(writer.tree(value))
        if writer.tagged:
            self._check(value, text, writer)
        return self._encoded(text, writer)

    def _check(self, value: Any, text: str, writer: Writer) -> None:
        blobs = {sha256: blob.data for sha256, blob in writer.blobs.items()}
        try:
            back = Reader(self.types, blobs).value(parse(text))
        except ValueCodecError as error:
            raise Refused(f"cannot be read again: {error}") from error
        check_same(value, back)

    def _encoded(self, text: str, writer: Writer) -> Encoded:
        blobs = tuple(writer.blobs.values())
        # a text has at most four bytes per character
        if len(text) * 4 <= self.inline_limit or len(data := text.encode()) <= self.inline_limit:
            return Encoded(text, blobs)
        sha256 = hashlib.sha256(data).hexdigest()
        outer: dict[str, Any] = {
            "sha256": sha256,
            "size": len(data),
            "media": JSON,
            "preview": text[:_PREVIEW],
        }
        if blobs:
            # the blobs within, so that nobody must load this one to know what it needs
            outer["refs"] = sorted(writer.blobs)
        return Encoded(dump({"$blob": outer}), (*blobs, Blob(sha256, data, JSON, {})))

    def decode(self, text: str | bytes, blobs: Mapping[str, bytes] = _NO_BLOBS) -> Any:
        """The value of a stored text.

        Args:
            text: what `encode` gave, as text or UTF-8.
            blobs: the contents of the blobs that `blob_refs` names, by their sha256.

        Raises:
            UnknownTypeError: a class that the types do not know; the message says what to register.
            BlobMissingError: a blob that is not in `blobs`.
            ValueCodecError: the text is not JSON, a tag is unknown or broken, or a class changed too much.
        """
        tree = parse(text)
        if ('"$' if isinstance(text, str) else b'"$') not in text:  # type: ignore[operator]
            return tree
        return Reader(self.types, blobs).value(tree)

    def encode_view(self, value: Any, redactor: Redactor = REDACTOR) -> Encoded:
        """The stored form of a value that people will look at and that need not come back: a recorded input.

        Secrets are masked. What cannot be written, and the content of tables and of long bytes, becomes
        ``{"$repr": "…"}``. Never raises.
        """
        try:
            writer = ViewWriter(self.types, redactor)
            text = dump(writer.tree(redactor.redact_value(value)))
            if redactor.has_literal(text):
                # it came together out of parts, such as the name of a class; better no view than that one
                text = dump({"$repr": redactor.redact_text(text)[:_PREVIEW]})
            return self._encoded(text, writer)
        except Exception as error:  # noqa: BLE001 - to record an input must not fail the step
            return Encoded(dump({"$repr": f"<a value that cannot be shown: {type(error).__name__}>"}))

    def decode_lenient(self, text: str | bytes, blobs: Mapping[str, bytes] = _NO_BLOBS) -> Any:
        """Like `decode`, for looking at the past: what this process cannot rebuild becomes an `Opaque`.

        Raises:
            ValueCodecError: the text is not JSON.
        """
        return LenientReader(self.types, blobs).value(parse(text))


def _plain_json(value: Any) -> bytes | None:
    """The JSON of a plain value; None where a text or number in it needs a tag, or might."""
    try:
        raw: bytes = _to_json(value)
    except (ValueError, pydantic_core.PydanticSerializationError):  # lone surrogates
        return None
    # '"$' may be a key that looks like a tag; the others are what PostgreSQL refuses. All four may as well be
    # harmless text: the slow path tells
    if b'"$' in raw or b"\\u0000" in raw or b"NaN" in raw or b"Infinity" in raw:
        return None
    # no parser takes an int of more than 4300 digits; such a run meets every thousandth byte four times
    if len(raw) > 4_300 and _DIGITS.search(raw[::1_000]):
        return None
    return raw


#: first keys of the tags that may refer to a blob
_BLOB_TAGS = frozenset({"$blob", "$bytes", "$bytearray", "$frame", "$ndarray"})


def blob_refs(text: str | bytes) -> tuple[str, ...]:
    """The sha256 of every blob that a stored text needs, each once, in the order of the text.

    Raises:
        ValueCodecError: the text is not JSON.
    """
    data = text if isinstance(text, str) else text.decode()
    # almost every text ends here
    if '"sha256"' not in data:
        return ()
    found: dict[str, None] = {}
    todo = [parse(data)]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(reversed(node))
        elif isinstance(node, dict) and node:
            tag = next(iter(node))
            payload = node[tag]
            if tag in _BLOB_TAGS:
                if isinstance(payload, dict) and "sha256" in payload:
                    found.update(dict.fromkeys((payload["sha256"], *payload.get("refs", ()))))
                continue
            todo.extend(reversed(list(node.values())))
    return tuple(found)
