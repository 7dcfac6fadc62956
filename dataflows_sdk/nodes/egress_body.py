"""Reading an answer up to a size, counted after unpacking, and telling what it is."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pydantic_core

from dataflows_sdk.errors import NonRetryableError

if TYPE_CHECKING:
    import httpx

__all__ = ["ACCEPT_ENCODING", "Truncated", "decode_body", "decode_text", "read_body", "read_excerpt"]

#: what `read_body` can unpack piece by piece
ACCEPT_ENCODING = "gzip, deflate"

#: at most so much comes out of the decompressor at once
_PIECE = 64 * 1024

_TEXT_TYPES = re.compile(
    r"text/.+|.+\+xml|application/(xml|javascript|ecmascript|x-www-form-urlencoded|yaml|x-yaml|toml|sql|graphql|"
    r"x-ndjson|ndjson|jsonl|x-sh|xhtml)"
)
_JSON_TYPES = re.compile(r"application/json|text/json|.+\+json")
#: others, such as punycode or unicode_escape, are slow or do what no charset should
_CHARSETS = re.compile(
    r"(utf[-_]?(8|16|32)([-_](le|be|sig))?|ascii|(iso)?[-_]?8859[-_]\d+|latin[-_]?\d+|cp\d+|windows[-_]\d+|koi8[-_][rtu]|"
    r"gb2312|gbk|gb18030|big5(hkscs)?|euc[-_](jp|kr)|shift[-_]jis|iso2022[-_]jp|mac[-_].+|tis[-_]620)"
)


class Truncated(Exception):
    """The compressed answer ends in the middle."""


async def read_body(response: httpx.Response, limit: int, what: str) -> bytes:
    """The whole body, unpacked.

    Args:
        response: one that was not read yet.
        limit: how many bytes, after unpacking.
        what: the request, for messages.

    Raises:
        NonRetryableError: it is larger, or packed in a way that was not asked for. Nothing more is read then.
        Truncated: it ends in the middle.
    """
    announced = response.headers.get("content-length", "")
    packed = response.headers.get("content-encoding")
    if not packed and re.fullmatch(r"[0-9]{1,18}", announced) and int(announced) > limit:
        raise _too_large(what, limit, f"it announces {int(announced):,}")
    parts: list[bytes] = []
    size = 0
    async for part in _unpacked(response, what):
        size += len(part)
        if size > limit:
            raise _too_large(what, limit, "what came after that was not read")
        parts.append(part)
    return b"".join(parts)


async def read_excerpt(response: httpx.Response, limit: int) -> bytes:
    """The beginning of a body; whatever goes wrong on the way ends it."""
    import httpx

    taken = b""
    try:
        async for part in _unpacked(response, ""):
            taken += part
            if len(taken) >= limit:
                break
    except (httpx.TransportError, NonRetryableError, Truncated):
        pass
    return taken[:limit]


def _too_large(what: str, limit: int, more: str) -> NonRetryableError:
    return NonRetryableError(
        f"{what}: the answer is larger than max_bytes={limit:,} bytes ({more}); ask for less, or raise max_bytes"
    )


async def _unpacked(response: httpx.Response, what: str) -> AsyncIterator[bytes]:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        async for part in response.aiter_raw(_PIECE):
            yield part
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise NonRetryableError(
            f"{what}: the answer is packed with {encoding[:50]!r}, and {ACCEPT_ENCODING} is understood"
        )
    unpacker = _Unpacker(gzip=encoding != "deflate")
    try:
        async for part in response.aiter_raw(_PIECE):
            for piece in unpacker.feed(part):
                yield piece
    except zlib.error as error:
        raise NonRetryableError(f"{what}: the answer says that it is {encoding}, and is not: {error}") from None
    if not unpacker.complete:
        raise Truncated


class _Unpacker:
    """Gzip, also of several members, or deflate, with and without its header; in pieces of bounded size."""

    def __init__(self, *, gzip: bool) -> None:
        self._wbits = 31 if gzip else zlib.MAX_WBITS
        self._gzip = gzip
        self._fed = False
        self._zip = zlib.decompressobj(self._wbits)

    @property
    def complete(self) -> bool:
        return self._zip.eof or not self._fed

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._fed and not self._gzip and data and (data[0] & 0x0F) != 8:
            self._zip = zlib.decompressobj(-zlib.MAX_WBITS)
        while data:
            if self._zip.eof:
                if not self._gzip or not data.strip(b"\0"):
                    return  # padding
                self._zip = zlib.decompressobj(self._wbits)
            self._fed = True
            piece = self._zip.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._zip.unused_data if self._zip.eof else self._zip.unconsumed_tail


def decode_body(data: bytes, content_type: str) -> Any:
    """A body as a value: JSON read, text as str, everything else as bytes; None where there is none.

    JSON that cannot be read is text. What has no type is text if it can be read as UTF-8.
    """
    if not data:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if _JSON_TYPES.fullmatch(kind):
        text = decode_text(data, content_type)
        try:
            return pydantic_core.from_json(text.removeprefix("\ufeff"), allow_inf_nan=False)
        except ValueError:
            return text
    if _TEXT_TYPES.fullmatch(kind):
        return decode_text(data, content_type)
    if not kind:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        return data if "\0" in text else text
    return data


def decode_text(data: bytes, content_type: str) -> str:
    """A body as text, by the charset of its type; what that cannot be is replaced."""
    return data.decode(_charset(content_type), "replace")


def _charset(content_type: str) -> str:
    found = re.search(r"charset\s*=\s*\"?([\w.:-]{1,40})", content_type, re.IGNORECASE)
    if found is None or not _CHARSETS.fullmatch(found[1].lower().removeprefix("us-")):
        return "utf-8"
    try:
        return codecs.lookup(found[1]).name
    except LookupError:
        return "utf-8"
