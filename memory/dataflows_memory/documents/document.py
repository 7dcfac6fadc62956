"""What a document is once it was read: its text, and where its parts lie in it."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dataflows_sdk.core.shown import ShownAsTable

Kind: TypeAlias = Literal["text", "markdown", "html", "pdf"]
_EMPTY_LINES = re.compile(r"\n[ \t\f\v]*\n\s*")
PartKind: TypeAlias = Literal["heading", "paragraph", "list", "quote", "code", "table", "meta"]


@dataclass(frozen=True, slots=True)
class Part(ShownAsTable):
    """A heading, a paragraph, a table, …

    Attributes:
        kind: of part.
        start, end: in the text of the document.
        path: the headings that it stands under; a heading is the last of its own.
        level: of a heading, 1 to 6; else 0.
    """

    kind: PartKind
    start: int
    end: int
    path: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True)
class Document(ShownAsTable):
    """A document that was read.

    Attributes:
        title: as the document says it, or the name of its file, or "".
        kind: how it was read.
        text: all of it, without letters that PostgreSQL refuses. Markdown is as it was written, HTML and PDF are as a
            person sees them. Every offset counts letters of this text.
        parts: in order; they do not overlap, and between them is only space.
        pages: where each page of a PDF begins; empty for others.
        notes: what went wrong and was worked around, for a person: a page that could not be read, a guessed encoding.
    """

    title: str
    kind: Kind
    text: str
    parts: tuple[Part, ...]
    pages: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def page(self, offset: int) -> int | None:
        """The page, counted from 1, on which a letter stands; None where there are no pages."""
        return bisect.bisect_right(self.pages, offset) if self.pages else None


class Outline:
    """The headings above a place, as a document is read from its beginning."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def path(self) -> tuple[str, ...]:
        """The headings, the highest first."""
        return tuple(title for _, title in self._open)

    def enter(self, level: int, title: str) -> tuple[str, ...]:
        """A heading: it closes those of its level and below."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, " ".join(title.split())))
        return self.path


def paragraphs(text: str, start: int, end: int, path: tuple[str, ...] = ()) -> list[Part]:
    """Parts between empty lines, without the space around them."""
    parts = []
    breaks = [(found.start(), found.end()) for found in _EMPTY_LINES.finditer(text, start, end)]
    for stop, after in [*breaks, (end, end)]:
        first, last = trimmed(text, start, stop)
        if first < last:
            parts.append(Part("paragraph", first, last, path))
        start = after
    return parts


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without space at its ends; empty at its start where it is all space."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
