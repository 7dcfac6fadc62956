"""Reading documents of several kinds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

from dataflows_memory.documents.decoding import clean, decode
from dataflows_memory.documents.document import Document, Kind, paragraphs
from dataflows_memory.documents.html import html_parts
from dataflows_memory.documents.markdown import markdown_parts
from dataflows_memory.documents.pdf import pdf_parts
from dataflows_sdk.errors import DocumentError

_SUFFIXES: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_LONGEST_NAME = 255


def read_document(
    source: str | bytes | os.PathLike[str],
    kind: Kind | None = None,
    *,
    title: str | None = None,
    encoding: str | None = None,
    password: str | None = None,
) -> Document:
    """Read text, Markdown, HTML or PDF.

    Args:
        source: a ``Path`` is a file, bytes are the content of one, and a str is text. So that
            nobody takes the name of a file for a document, such a str is refused unless `kind` is given.
        kind: ``"text"``, ``"markdown"``, ``"html"`` or ``"pdf"``; None: by the name of the file and by how it begins.
        title: in place of what the document says.
        encoding: of bytes that are text; None: UTF-8 or what the document says, else it is guessed and noted.
        password: of an encrypted PDF.

    Returns:
        The text with its parts. A document without text has none, and a note that says so where that is odd.

    Raises:
        DocumentError: it is not there, broken, encrypted, or of a kind that is not read here.
        MissingExtraError: the parser for its kind is not installed.
    """
    if kind is not None and kind not in get_args(Kind):
        raise DocumentError(f"kind is {', '.join(map(repr, get_args(Kind)))} or None, not {kind!r}")
    name = ""
    what = "the document"
    content: str | bytes
    if isinstance(source, os.PathLike):
        path = Path(source)
        what, name, content = str(path), path.stem, _file(path)
        kind = kind or _SUFFIXES.get(path.suffix.lower())
    elif isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    elif isinstance(source, str):
        content = source
        if kind is None:
            _refuse_a_name(source)
    else:
        raise DocumentError(f"a document is a Path, bytes or a str, not a {type(source).__name__}")
    kind = kind or _begins_as(content)
    if kind == "pdf":
        if isinstance(content, str):
            raise DocumentError(f"{what}: a PDF is bytes or a file, not a str")
        said, text, parts, pages, notes = pdf_parts(content, password, what)
        return Document(title or said or name, kind, text, tuple(parts), tuple(pages), tuple(notes))
    raw, notes = decode(content, encoding, what) if isinstance(content, bytes) else (content, [])
    text = clean(raw)
    if kind is None:
        kind = "html" if _HTML.match(text[:4_096]) else "text"
    said, parts = "", []
    if kind == "html":
        said, text, parts = html_parts(text, what)
    elif kind == "markdown":
        said, parts = markdown_parts(text)
    else:
        parts = paragraphs(text, 0, len(text))
    return Document(title or said or name, kind, text, tuple(parts), (), tuple(notes))


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DocumentError(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError) as error:
        raise DocumentError(f"{str(path)!r} cannot be read: {error}") from error


def _refuse_a_name(text: str) -> None:
    if not text or len(text) > _LONGEST_NAME or "\n" in text or "\0" in text:
        return
    try:
        there = Path(text).is_file()
    except (OSError, ValueError):
        return
    if there:
        raise DocumentError(
            f"{text!r} is the name of a file here: to read it pass Path({text!r}); if it is a text, pass kind='text'"
        )


def _begins_as(content: str | bytes) -> Kind | None:
    # readers take a PDF that begins within the first kilobyte
    return "pdf" if isinstance(content, bytes) and b"%PDF-" in content[:1_024] else None
