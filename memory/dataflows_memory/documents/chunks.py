"""Cutting a document into chunks that are found and cited one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dataflows_memory.documents.document import Document, Part, trimmed
from dataflows_memory.documents.graphemes import last_cut, may_cut
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DocumentError


@dataclass(frozen=True, slots=True)
class Chunk(ShownAsTable):
    """A piece of a document.

    Attributes:
        text: exactly ``document.text[start:end]``.
        heading: what it stands under, as in ``"Guide > Install"``; "" where there is no heading.
        position: 0 for the first of the document.
        start, end: in the text of the document.
        page: of a PDF, on which it begins, counted from 1.
    """

    text: str
    heading: str
    position: int
    start: int
    end: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut any further; `path` is that of its part, `fresh` begins a section."""

    start: int
    end: int
    path: tuple[str, ...]
    fresh: bool = False
    heading: bool = False


#: after these a sentence is over: with space after it, or in scripts that write none
_SENTENCE = re.compile(r"[.!?…؟۔।॥։።][\"'”’»)\]]*(?=\s)|[。！？｡][」』”’）]*|\n")
_WORD = re.compile(r"\s+")
_LINE = re.compile(r"\n")
_SMALLEST = 16


def chunk(document: Document, size: int = 1_000, overlap: int = 150) -> list[Chunk]:
    """Cut a document: at headings, else between paragraphs, sentences, words.

    A heading begins a chunk, together with what follows it. Code, tables, lists and paragraphs stay whole where they
    fit into one chunk; longer code and tables are cut between lines. A word is cut only where it alone is longer than a
    chunk, as a run of Thai can be, and then not within a letter with its marks. The chunks hold all of the text, in
    order, but for space between them, and the same document always gives the same ones.

    Args:
        document: that was read.
        size: the most letters in a chunk. A local MiniLM reads about a thousand letters of English.
        overlap: letters at the end of a chunk that the next one of the same section may begin with again.

    Raises:
        DocumentError: a size below 16, or an overlap that is not below half of it.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < _SMALLEST:
        raise DocumentError(f"size is a whole number of letters, {_SMALLEST} or more, not {size!r}")
    if isinstance(overlap, bool) or not isinstance(overlap, int) or not 0 <= overlap < size / 2:
        raise DocumentError(f"overlap is a whole number from 0 to less than half of size ({size}), not {overlap!r}")
    return [
        Chunk(document.text[start:end], " > ".join(path), position, start, end, document.page(start))
        for position, (start, end, path) in enumerate(_spans(document, size, overlap))
    ]


def _spans(document: Document, size: int, overlap: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Greedy: as many pieces as fit, then the next chunk, which may reach back."""
    text = document.text
    start, end = -1, -1
    path: tuple[str, ...] = ()
    only_headings = True
    for piece in _pieces(document, size):
        if start >= 0 and not piece.fresh and piece.end - start <= size:
            end = piece.end
        elif start >= 0 and piece.fresh and only_headings and piece.end - start <= size:
            end = piece.end  # a title and its first subtitle
        else:
            if start >= 0:
                yield start, end, path
            start = piece.start if start < 0 or piece.fresh else _back(text, start, end, piece, size, overlap)
            end, only_headings = piece.end, True
            path = piece.path
        if only_headings:
            path = piece.path
        only_headings = only_headings and piece.heading
    if start >= 0:
        yield start, end, path


def _back(text: str, start: int, end: int, piece: _Piece, size: int, overlap: int) -> int:
    """Where the next chunk begins: up to `overlap` letters before its first piece, at a sentence or at least a word."""
    first = max(start + 1, end - overlap, piece.end - size)
    if first >= piece.start:
        return piece.start
    for pattern in (_SENTENCE, _WORD):
        for found in pattern.finditer(text, max(first - 1, 0), end):
            at, _ = trimmed(text, found.end(), piece.start)
            if first <= at < piece.start and may_cut(text, at):
                return at
    return piece.start


def _pieces(document: Document, size: int) -> Iterator[_Piece]:
    text = document.text
    before: Part | None = None
    for part in document.parts:
        start, end = trimmed(text, part.start, part.end)
        if start >= end:
            continue
        heading = part.kind == "heading"
        room = size
        if before is not None and before.kind == "heading":
            # the words under a heading are cut sooner than it stands alone
            room = max(size - (start - before.start), size // 2)
        fits = end - start <= room
        spans = [(start, end)] if fits else _cut(text, start, end, size if fits else room, part)
        for number, (first, last) in enumerate(spans):
            yield _Piece(first, last, part.path, fresh=heading and number == 0, heading=heading)
        before = part


def _cut(text: str, start: int, end: int, size: int, part: Part) -> Iterator[tuple[int, int]]:
    """A long part in pieces of at most `size`: lines of code and tables, sentences, then words, then letters."""
    by_lines = part.kind in {"code", "table", "list", "meta"}
    for first, last in _between(_LINE if by_lines else _SENTENCE, text, start, end):
        if last - first <= size:
            yield first, last
            continue
        for begin, stop in _packed(_between(_WORD, text, first, last), size):
            while stop - begin > size:
                at = last_cut(text, begin, begin + size)
                yield begin, at
                begin = at
            if begin < stop:
                yield begin, stop


def _between(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = start
    for found in pattern.finditer(text, start, end):
        first, last = trimmed(text, at, found.end())
        if first < last:
            yield first, last
        at = found.end()
    first, last = trimmed(text, at, end)
    if first < last:
        yield first, last


def _packed(words: Iterator[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    start = end = -1
    for first, last in words:
        if start >= 0 and last - start <= size:
            end = last
            continue
        if start >= 0:
            yield start, end
        start, end = first, last
    if start >= 0:
        yield start, end
