"""Bytes to text, with whatever encoding they have."""

from __future__ import annotations

import codecs
import re

from dataflows_sdk.errors import DocumentError, MissingExtraError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: what HTML, XML and some editors write near the beginning
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""")
#: letters of a text enough to guess its encoding from
_SAMPLE = 65_536


def decode(content: bytes, encoding: str | None, what: str) -> tuple[str, list[str]]:
    """The text, and what was guessed about it.

    Args:
        content: of a file.
        encoding: what somebody says that it is; wrong bytes become U+FFFD, and that is noted.
        what: the document, for errors.

    Raises:
        DocumentError: an unknown encoding, or bytes that are no text.
    """
    if encoding is not None:
        return _as(content, encoding, what)
    for mark, name in _MARKS:
        if content.startswith(mark):
            text, notes = _as(content, name, what)
            return text, notes
    if b"\0" in content[:_SAMPLE]:
        raise DocumentError(
            f"{what} has zero bytes in it and so is no text; what can be read is text, Markdown, HTML and PDF. "
            "If it is text in UTF-16 or the like, say encoding="
        )
    try:
        return content.decode("utf-8"), []
    except UnicodeDecodeError:
        pass
    guess = _declared(content) or _guessed(content)
    text, notes = _as(content, guess, what)
    return text, [f"it is not UTF-8; read as {guess}", *notes]


def clean(text: str) -> str:
    """The text with one kind of line end, and without letters that PostgreSQL or UTF-8 have no place for."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text


def _as(content: bytes, encoding: str, what: str) -> tuple[str, list[str]]:
    try:
        text = content.decode(encoding, "replace")
    except (LookupError, ValueError) as error:
        raise DocumentError(f"{what}: {encoding!r} is no encoding that Python knows") from error
    wrong = text.count("\ufffd") - content.count("\ufffd".encode())
    return text, [f"{wrong:,} letters are not in {encoding}"] if wrong > 0 else []


def _declared(content: bytes) -> str | None:
    found = _DECLARED.search(content[:4_096])
    if found is None:
        return None
    name = found[1].decode("ascii")
    try:
        content[:_SAMPLE].decode(name, "ignore")
    except (LookupError, ValueError):
        return None
    return None if codecs.lookup(name).name == "utf-8" else name


def _guessed(content: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingExtraError(
            "this document is not UTF-8, and guessing its encoding needs charset-normalizer: "
            "pip install 'dataflows-sdk[documents]', or say encoding="
        ) from error
    best = from_bytes(content[:_SAMPLE]).best()
    return best.encoding if best is not None else "windows-1252"
