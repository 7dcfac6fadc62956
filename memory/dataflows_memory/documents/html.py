"""HTML as a person reads it."""

from __future__ import annotations

import re
from typing import Any

from dataflows_memory.documents.document import Outline, Part, PartKind
from dataflows_sdk.errors import DocumentError, MissingExtraError

#: not what a person reads
_SILENT = frozenset({"script", "style", "noscript", "template", "head", "svg", "math", "iframe", "object", "canvas"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """
    address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure
    footer form header hgroup hr html legend li main menu nav ol option p section select summary table tbody
    tfoot thead tr ul caption pre h1 h2 h3 h4 h5 h6
    """.split()  # noqa: SIM905 - sixty quoted words are no easier to read
)
_KINDS: dict[str, PartKind] = {
    "pre": "code",
    "table": "table",
    "ul": "list",
    "ol": "list",
    "dl": "list",
    "blockquote": "quote",
}
_BULLET = "- "
_SPACE = re.compile(r"[ \t\n\r\f]+")


def html_parts(source: str, what: str) -> tuple[str, str, list[Part]]:
    """The title, the text, and its parts.

    Raises:
        MissingExtraError: selectolax is not installed.
        DocumentError: it cannot be parsed.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise MissingExtraError(
            "reading HTML needs selectolax, which is not installed: pip install 'dataflows-sdk[documents]'"
        ) from error
    _refuse_depth(source, what)
    try:
        tree = LexborHTMLParser(source)
    except Exception as error:
        raise DocumentError(f"{what} cannot be read as HTML: {error}") from error
    writer = _Writer()
    if tree.root is not None:
        writer.walk(tree.root)
    text, parts = writer.finish()
    head = tree.css_first("head > title")
    title = " ".join(head.text().split()) if head is not None else ""
    return title or next((part.path[-1] for part in parts if part.level == 1), ""), text, parts


#: what a start or end tag is, as parsers see it: only after "=" do quotes hide a ">"
_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)((?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+)>""")
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
#: no end tag is owed: the next one of its kind, or nothing, ends them
_UNCLOSED = frozenset(
    """
    area base br col embed hr img input link meta param source track wbr p li dt dd tr td th thead tbody
    tfoot option optgroup colgroup html head body
    """.split()  # noqa: SIM905 - sixty quoted words are no easier to read
)
_DEEPEST = 1_000


def _refuse_depth(source: str, what: str) -> None:
    """Parsers by the standard take the square of the depth: a megabyte of ``<div>`` would keep one busy for an hour.

    Raises:
        DocumentError: nested deeper than any page that people made.
    """
    open_tags: dict[str, int] = {}
    depth, at = 0, source.find("<")
    while at != -1:
        if source.startswith("<!--", at):
            at = source.find("-->", at + 2)
        elif (found := _TAG.match(source, at)) is not None:
            name, at = found[2].lower(), found.end()
            if found[1]:
                if open_tags.get(name, 0):
                    open_tags[name] -= 1
                    depth -= 1
            elif name in _RAW:
                at = _end_of_raw(source, name, at)
            elif name not in _UNCLOSED and not (found[3].endswith("/") and _is_foreign(name, open_tags)):
                open_tags[name] = open_tags.get(name, 0) + 1
                depth += 1
                if depth > _DEEPEST:
                    raise DocumentError(f"{what} has more than {_DEEPEST:,} elements within each other: it is no page")
        elif source[at + 1 : at + 2].isalpha():
            return  # a tag without an end: the rest of the page is within it
        else:
            at += 1
        at = source.find("<", at) if at != -1 else -1


def _end_of_raw(source: str, name: str, at: int) -> int:
    found = re.compile(f"</{name}", re.IGNORECASE).search(source, at)
    return found.start() if found else -1


def _is_foreign(name: str, open_tags: dict[str, int]) -> bool:
    """Whether ``<path/>`` ends itself: only in drawings and formulas."""
    return name not in _BLOCKS and bool(open_tags.get("svg") or open_tags.get("math"))


class _Writer:
    """The text as it grows. A part ends where a block begins or ends, unless a list, table or the like holds both."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._size = 0
        self._lines: list[str] = []
        self._line: list[str] = []
        self._outline = Outline()
        self._parts: list[Part] = []
        #: the list, table or the like that the place is in, as often as it is nested in its own kind
        self._held: list[tuple[str, PartKind]] = []
        self._pre = self._cells = 0
        self._heading = ""

    def walk(self, root: Any) -> None:
        """Go through the tree; by hand, because pages are nested deeper than Python calls."""
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            tag = node.tag
            if leaving:
                self._leave(tag)
            elif tag == "-text":
                self._say(node.text_content or "")
            elif tag and tag[0].isalpha() and tag not in _SILENT and "hidden" not in node.attributes:
                self._enter(tag, node)
                stack.append((node, True))
                child = node.last_child
                while child is not None:
                    stack.append((child, False))
                    child = child.prev

    def finish(self) -> tuple[str, list[Part]]:
        """The text and its parts."""
        self._end_part("paragraph")
        return "".join(self._text), self._parts

    def _enter(self, tag: str, node: Any) -> None:
        if tag == "br":
            self._line.append("\n")
        elif tag == "img":
            self._say(f" {node.attributes.get('alt') or ''} ")
        elif tag in {"td", "th"}:
            if self._cells:
                self._line.append(" | ")
            self._cells += 1
        elif tag in _BLOCKS:
            self._end_block()
            if tag in _KINDS and not self._held:
                self._held.append((tag, _KINDS[tag]))
            elif self._held and tag == self._held[0][0]:
                self._held.append(self._held[0])
            if tag in _HEADINGS and not self._held:
                self._heading = tag
            self._pre += tag == "pre"
            self._cells = 0 if tag == "tr" else self._cells
            if tag == "li":
                self._line.append(_BULLET)

    def _leave(self, tag: str) -> None:
        if tag not in _BLOCKS:
            return
        if tag == "li" and self._line == [_BULLET]:
            self._line.clear()  # an empty item
        if self._heading == tag:
            self._end_part("heading", _HEADINGS[tag])
            self._heading = ""
        else:
            self._end_block()
        self._pre -= tag == "pre"
        if self._held and tag == self._held[0][0]:
            _, kind = self._held.pop()
            if not self._held:
                self._end_part(kind)

    def _say(self, text: str) -> None:
        self._line.append(text if self._pre else _SPACE.sub(" ", text))

    def _end_block(self) -> None:
        if self._held or self._heading:
            self._end_line()
        else:
            self._end_part("paragraph")

    def _end_line(self) -> None:
        line = "".join(self._line)
        if line == _BULLET:
            return  # the words of the item stand in a block within it
        self._line.clear()
        if not self._pre:
            line = "\n".join(kept for part in line.split("\n") if (kept := _SPACE.sub(" ", part).strip()))
        if line.strip():
            self._lines.append(line.rstrip() + "\n")

    def _end_part(self, kind: PartKind, level: int = 0) -> None:
        self._end_line()
        text = "".join(self._lines).strip("\n")
        self._lines.clear()
        if not text:
            return
        if self._parts:
            self._text.append("\n\n")
            self._size += 2
        self._text.append(text)
        path = self._outline.enter(level, text) if level else self._outline.path
        self._parts.append(Part(kind, self._size, self._size + len(text), path, level))
        self._size += len(text)
