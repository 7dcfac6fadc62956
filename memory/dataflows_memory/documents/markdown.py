"""Where the parts of a Markdown text lie."""

from __future__ import annotations

import re

from dataflows_memory.documents.document import Outline, Part, PartKind, trimmed
from dataflows_sdk.errors import MissingExtraError

_KINDS: dict[str, PartKind] = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "blockquote_open": "quote",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "html_block": "paragraph",
    "hr": "paragraph",
}
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|$)")
_TITLE = re.compile(r"""^title:[ \t]*(["']?)(.+?)\1[ \t]*$""", re.MULTILINE)


def markdown_parts(text: str) -> tuple[str, list[Part]]:
    """The title that the text gives itself, and its parts.

    Raises:
        MissingExtraError: markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtraError(
            "reading Markdown needs markdown-it-py, which is not installed: pip install 'dataflows-sdk[documents]'"
        ) from error
    parts: list[Part] = []
    title, begin = "", 0
    if text.startswith("---") and (front := _FRONT_MATTER.match(text)):
        begin = front.end()
        parts.append(Part("meta", *trimmed(text, 0, begin)))
        said = _TITLE.search(front[0])
        title = said[2].strip() if said else ""
    # the words within a block are none of its business here; `inline` would read each of them
    reader = MarkdownIt("commonmark").enable("table").disable("inline")
    body = text[begin:]
    lines = [begin]
    for line in body.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    tokens = reader.parse(body)
    outline = Outline()
    for index, token in enumerate(tokens):
        if token.level or token.map is None:
            continue
        start, end = trimmed(text, lines[token.map[0]], min(lines[token.map[1]], len(text)))
        if start >= end:
            continue
        if token.type == "heading_open":
            words = _words(tokens[index + 1].content)
            level = int(token.tag[1:])
            title = title or (words if level == 1 else "")
            parts.append(Part("heading", start, end, outline.enter(level, words), level))
        elif (kind := _KINDS.get(token.type)) is not None:
            parts.append(Part(kind, start, end, outline.path))
    return title, _whole(text, parts)


_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s[^()]*)?\)|\[[^\[\]]*\])")
_EMPHASIS = re.compile(r"(\*\*|__|\*|~~|`+)(?=\S)(.+?)(?<=\S)\1")


def _words(heading: str) -> str:
    """A heading without its marks: they would stand in every citation."""
    plain = _EMPHASIS.sub(r"\2", _IMAGE_OR_LINK.sub(r"\1", heading[:1_000]))
    return " ".join(plain.split())[:200]


def _whole(text: str, parts: list[Part]) -> list[Part]:
    """Also what the reader leaves out of its tokens, such as definitions of links."""
    whole: list[Part] = []
    at = 0
    path: tuple[str, ...] = ()
    for part in [*parts, Part("paragraph", len(text), len(text))]:
        start, end = trimmed(text, at, part.start)
        if start < end:
            whole.append(Part("paragraph", start, end, path))
        if part.start < part.end:
            whole.append(part)
            at, path = part.end, part.path
    return whole
