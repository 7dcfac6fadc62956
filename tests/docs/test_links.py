"""Every relative link in the READMEs and the documentation leads to a file, every fragment to a heading."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from .documents import ROOT, all_documents


def inline(text: str) -> list[Token]:
    return [token for token in MarkdownIt("commonmark").enable("table").parse(text) if token.type == "inline"]


def links(text: str) -> list[str]:
    """Targets of links and images."""
    found = []
    for token in inline(text):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                found.append(str(target))
    return found


def anchors(text: str) -> set[str]:
    """The fragments of the headings, as GitHub and MyST make them."""
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def problems(document: Path) -> list[str]:
    found = []
    for target in links(document.read_text()):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        file = document if not parts.path else document.parent / unquote(parts.path)
        if not file.exists():
            found.append(f"{target}: no such file")
        elif parts.fragment and file.suffix == ".md" and parts.fragment not in anchors(file.read_text()):
            found.append(f"{target}: no such heading")
    return found


@pytest.mark.parametrize("document", all_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    assert problems(document) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, with `code`\n")
    document = tmp_path / "page.md"
    document.write_text(
        "[ok](there.md) [ok](there.md#a-heading-with-code) [ok](https://example.org/nowhere)\n\n"
        "| table |\n| --- |\n| [gone](gone.md) |\n\n![gone](gone.png) [lost](there.md#lost) `[code](no.md)`\n"
    )
    assert problems(document) == [
        "gone.md: no such file",
        "gone.png: no such file",
        "there.md#lost: no such heading",
    ]
