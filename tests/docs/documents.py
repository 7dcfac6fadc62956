"""Markdown documents as scripts: which ones there are, and the Python in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sybil import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.parsers.myst.lexers import DirectiveLexer

ROOT = Path(__file__).parents[2]
SKIP = re.compile(r"^[ \t]*<!--\s*skip:\s*(?P<what>.*?)\s*-->[ \t]*$", re.MULTILINE)
NEXT = re.compile(r'next\s+"(?P<reason>[^"]+)"')
#: what a fence may be called; another word for Python would hide a block from the test
LANGUAGES = {"python", "bash", "text", "sql", "json", "toml", "make", "mermaid", "markdown"}


def all_documents() -> list[Path]:
    """Every document that a reader may copy from."""
    built = ROOT / "docs" / "_build"
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if built not in path.parents]
    readmes = [
        *ROOT.glob("*.md"),
        *(ROOT / folder / "README.md" for folder in ("benchmarks", "integrations", "memory")),
    ]
    return [path for path in (*sorted(readmes), *pages) if path.exists()]


@dataclass(frozen=True)
class Block:
    line: int
    source: str
    #: why it does not run, if so
    skip: str | None


def blocks(text: str, path: str) -> list[Block]:
    """The blocks of Python, in their order.

    Raises:
        ValueError: a fence in a language that nobody knows, or a skip without a reason or without a block.
    """
    document = Document(text, path)
    regions = list(FencedCodeBlockLexer(r"[^\s{}`]+")(document))
    unknown = {region.lexemes["language"] for region in regions} - LANGUAGES
    if unknown:
        raise ValueError(f"{path}: a block of {', '.join(sorted(unknown))}; say one of {', '.join(sorted(LANGUAGES))}")
    regions = [region for region in regions if region.lexemes["language"] == "python"]
    regions += [
        region
        for region in DirectiveLexer(r"(?:code-block|code|code-cell)", arguments=".*")(document)
        if region.lexemes["arguments"].strip() in {"python", "ipython3"}
    ]
    regions.sort(key=lambda region: region.start)

    skips: dict[int, str] = {}
    for comment in SKIP.finditer(text):
        line = text.count("\n", 0, comment.start()) + 1
        given = NEXT.fullmatch(comment["what"])
        if given is None:
            raise ValueError(f'{path}:{line}: write <!-- skip: next "the reason" -->, not {comment[0].strip()}')
        following = [region.start for region in regions if region.start > comment.end()]
        if not following or text[comment.end() : following[0]].strip():
            raise ValueError(f"{path}:{line}: no block of Python right after this skip")
        skips[following[0]] = given["reason"]

    found = []
    for region in regions:
        source = region.lexemes["source"]
        first = text.count("\n", 0, region.start + source.offset) + 1
        found.append(Block(first, str(source), skips.get(region.start)))
    return found


def script(found: list[Block]) -> str:
    """One script in which every statement stands on the line on which it stands in the document."""
    lines: list[str] = []
    for block in found:
        if block.skip is None:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.source.splitlines()
    return "\n".join(lines) + "\n"
