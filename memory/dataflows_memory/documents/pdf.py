"""The text of a PDF, page by page."""

from __future__ import annotations

import io
import logging
from typing import Any

from dataflows_memory.documents.decoding import clean
from dataflows_memory.documents.document import Outline, Part, paragraphs
from dataflows_sdk.errors import DocumentError, MissingExtraError

#: pypdf tells of every oddity of a file; what matters is in the notes
_LOG = logging.getLogger("pypdf")


def pdf_parts(content: bytes, password: str | None, what: str) -> tuple[str, str, list[Part], list[int], list[str]]:
    """The title, the text, its parts, where pages begin, and what could not be read.

    Raises:
        MissingExtraError: pypdf is not installed.
        DocumentError: broken, or encrypted with another password.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtraError(
            "reading PDF needs pypdf, which is not installed: pip install 'dataflows-sdk[documents]'"
        ) from error
    level = _LOG.level
    _LOG.setLevel(logging.CRITICAL)
    try:
        reader = _opened(pypdf, content, password, what)
        bookmarks = _bookmarks(reader)
        text, parts, pages, notes = _pages(reader, bookmarks)
        return _title(reader), text, parts, pages, notes
    finally:
        _LOG.setLevel(level)


def _opened(pypdf: Any, content: bytes, password: str | None, what: str) -> Any:
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(password or ""):
            raise DocumentError(
                f"{what} is encrypted, and {'the password is wrong' if password else 'has a password'}: pass password="
            )
        len(reader.pages)
    except DocumentError:
        raise
    except Exception as error:  # whatever a broken file can do to a parser
        raise DocumentError(f"{what} cannot be read as PDF: {type(error).__name__}: {error}") from error
    return reader


def _pages(reader: Any, bookmarks: dict[int, list[tuple[int, str]]]) -> tuple[str, list[Part], list[int], list[str]]:
    texts: list[str] = []
    parts: list[Part] = []
    pages: list[int] = []
    notes: list[str] = []
    outline, size = Outline(), 0
    for number in range(len(reader.pages)):
        for depth, title in bookmarks.get(number, ()):
            outline.enter(depth, title)
        pages.append(size)
        try:
            text = clean(reader.pages[number].extract_text()).strip()
        except Exception as error:  # noqa: BLE001 - one broken page must not take the others with it
            notes.append(f"page {number + 1} could not be read: {type(error).__name__}: {error}")
            continue
        if text:
            found = paragraphs(text, 0, len(text), outline.path)
            parts += [Part(part.kind, part.start + size, part.end + size, part.path) for part in found]
            texts.append(text + "\n\n")
            size += len(text) + 2
    if not texts:
        notes.append("there is no text in it: pages that are pictures have to go through OCR first")
    return "".join(texts), parts, pages, notes


def _bookmarks(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """Page → depth and title of the bookmarks that lead there; {} where they are broken."""
    found: dict[int, list[tuple[int, str]]] = {}

    def walk(entries: list[Any], depth: int) -> None:
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, depth + 1)
                continue
            page = reader.get_destination_page_number(entry)
            if page is not None and page >= 0 and entry.title:
                found.setdefault(page, []).append((depth, clean(str(entry.title))))

    try:
        walk(reader.outline, 1)
    except Exception:  # noqa: BLE001 - headings are a help, not the text
        return {}
    return found


def _title(reader: Any) -> str:
    try:
        return clean(str(reader.metadata.title or "")).strip() if reader.metadata else ""
    except Exception:  # noqa: BLE001 - as above
        return ""
