"""Reading text, Markdown, HTML and PDF, also broken ones."""

from __future__ import annotations

import functools
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_memory.documents import Document, chunk, read_document
from dataflows_sdk.errors import DocumentError, MissingExtraError


def parts_of(document: Document) -> list[tuple[str, str, str]]:
    return [(part.kind, document.text[part.start : part.end], " > ".join(part.path)) for part in document.parts]


def well_formed(document: Document) -> None:
    """Parts are in order, and between them is only space."""
    at = 0
    for part in document.parts:
        assert not document.text[at : part.start].strip()
        assert part.start < part.end
        at = part.end
    assert not document.text[at:].strip()
    document.text.encode()
    assert "\0" not in document.text


# --- what it is -------------------------------------------------------------------------------------------


def test_kinds_by_name_and_by_content(tmp_path: Path) -> None:
    (tmp_path / "guide.MD").write_text("# Guide\n\ntext")
    (tmp_path / "page.htm").write_text("<p>text")
    (tmp_path / "notes").write_text("<!-- x --><!DOCTYPE HTML><title>Page</title>text")
    (tmp_path / "plain.txt").write_text("one\n\ntwo")
    assert [
        (d.kind, d.title)
        for d in map(read_document, [tmp_path / name for name in ("guide.MD", "page.htm", "notes", "plain.txt")])
    ] == [("markdown", "Guide"), ("html", "page"), ("html", "Page"), ("text", "plain")]
    assert read_document("just words").kind == "text"
    assert read_document(b"<html><p>x").kind == "html"
    assert read_document("<p>x", kind="text").text == "<p>x"
    assert read_document("x", title="Mine").title == "Mine"


def test_a_name_is_not_taken_for_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("guide.md").write_text("# Secret")
    with pytest.raises(DocumentError, match=r"pass Path\('guide.md'\)"):
        read_document("guide.md")
    assert read_document("guide.md", kind="text").text == "guide.md"
    assert read_document("no-such.md").text == "no-such.md"


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no file"):
        read_document(tmp_path / "none.md")
    with pytest.raises(DocumentError, match="cannot be read"):
        read_document(tmp_path)
    with pytest.raises(DocumentError, match="kind is 'text'"):
        read_document("x", kind="docx")  # type: ignore[arg-type]
    with pytest.raises(DocumentError, match="not a int"):
        read_document(7)  # type: ignore[arg-type]
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(DocumentError, match="zero bytes"):
        read_document(tmp_path / "picture.png")


@pytest.mark.parametrize("kind", ["text", "markdown", "html"])
@pytest.mark.parametrize("content", ["", " \n\t", b"", b"\xef\xbb\xbf"])
def test_empty_documents(kind: Any, content: str | bytes) -> None:
    document = read_document(content, kind=kind)
    assert document.parts == ()
    assert chunk(document) == []


# --- encodings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_seen(encoding: str) -> None:
    text = "Grüße, สวัสดี, مرحبا, 👨‍👩‍👧"
    document = read_document(text.encode(encoding))
    assert document.text == text
    assert document.notes == ()


def test_other_encodings_are_guessed_or_said() -> None:
    russian = "Быстрая лиса прыгнула через ленивую собаку. " * 20
    document = read_document(russian.encode("windows-1251"))
    assert document.text == russian
    assert "not UTF-8" in document.notes[0]
    said = read_document("Grüße".encode("latin-1"), encoding="latin-1")
    assert (said.text, said.notes) == ("Grüße", ())
    page = '<html><meta charset="windows-1253"><p>Καλημέρα'.encode("windows-1253")
    assert read_document(page).text == "Καλημέρα"
    wrong = read_document(b"a\xffb", encoding="utf-8")
    assert wrong.text == "a\ufffdb"
    assert "1 letters are not in utf-8" in wrong.notes[0]
    for unknown in ("klingon", "base64", "a\0b"):
        with pytest.raises(DocumentError, match="no encoding"):
            read_document(b"x", encoding=unknown)


def test_what_postgres_refuses_is_replaced() -> None:
    assert read_document("a\0b\ud83dc\r\nd\re").text == "a\ufffdb\ufffdc\nd\ne"
    page = read_document("<html><p>a&#0;b&#xd83d;c")
    assert page.text == "a\ufffdb\ufffdc"
    assert read_document("# a\0b", kind="markdown").title == "a\ufffdb"


@given(st.binary(max_size=300), st.sampled_from([None, "text", "markdown", "html"]))
def test_bytes_of_chance(content: bytes, kind: Any) -> None:
    try:
        document = read_document(content, kind=kind)
    except DocumentError:
        return
    well_formed(document)


# --- Markdown ---------------------------------------------------------------------------------------------

GUIDE = """---
title: "The *guide*"
---
# Guide

Intro.

## Install **now** with [pip](https://x "y")

```sh
# not a heading
pip install x

```

| a | b |
|---|---|
| 1 | 2 |

- one
  - two

> # no heading of ours

[ref]: http://example.com

Setext
======
end
"""


def test_markdown() -> None:
    document = read_document(GUIDE, kind="markdown")
    assert document.text == GUIDE
    assert document.title == "The *guide*"
    under = "Guide > Install now with pip"
    assert parts_of(document) == [
        ("meta", '---\ntitle: "The *guide*"\n---', ""),
        ("heading", "# Guide", "Guide"),
        ("paragraph", "Intro.", "Guide"),
        ("heading", '## Install **now** with [pip](https://x "y")', under),
        ("code", "```sh\n# not a heading\npip install x\n\n```", under),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |", under),
        ("list", "- one\n  - two", under),
        ("quote", "> # no heading of ours", under),
        ("paragraph", "[ref]: http://example.com", under),
        ("heading", "Setext\n======", "Setext"),
        ("paragraph", "end", "Setext"),
    ]


@given(st.text(st.sampled_from("ab \n#*`>-|[]()=~\t1.<!\u2028\x0b\x0cé"), max_size=120))
def test_markdown_of_chance_is_covered(text: str) -> None:
    document = read_document(text, kind="markdown")
    assert document.text == text
    well_formed(document)


@pytest.mark.parametrize(
    "text", [">" * 50_000 + "x", "# " + "[" * 50_000, "- " * 5_000, "# " + "*a" * 20_000, "`" * 50_000]
)
def test_hostile_markdown_takes_no_time(text: str) -> None:
    well_formed(read_document(text, kind="markdown"))


# --- HTML -------------------------------------------------------------------------------------------------


def test_html() -> None:
    document = read_document(
        """<!doctype html><html><head><title>A &amp; B</title><style>p {}</style></head><body>
        <script>var x = "<p>no</p>";</script><noscript>no</noscript><template>no</template><!-- no -->
        <h1>Top <em>level</em></h1><p>Hello   <b>bo</b>ld<br>line<p>second
        <h2>Lists</h2><ul><li>one<li><p>two</p><ul><li>deep</ul><li></ul>
        <table><tr><th>A<th>B<tr><td>1<td>2</table>
        <pre>x = 1
          y</pre><div hidden>no</div><svg><text>no</text></svg><img alt="a cat"><p>&lt;end&gt;&nbsp;</p>""",
    )
    assert document.title == "A & B"
    assert parts_of(document) == [
        ("heading", "Top level", "Top level"),
        ("paragraph", "Hello bold\nline", "Top level"),
        ("paragraph", "second", "Top level"),
        ("heading", "Lists", "Top level > Lists"),
        ("list", "- one\n- two\n- deep", "Top level > Lists"),
        ("table", "A | B\n1 | 2", "Top level > Lists"),
        ("code", "x = 1\n          y", "Top level > Lists"),
        ("paragraph", "a cat", "Top level > Lists"),
        ("paragraph", "<end>", "Top level > Lists"),
    ]
    well_formed(document)
    assert read_document("<html><h1>Only</h1>").title == "Only"


PIECES = ["<", ">", "/", "p", "div", "ul", "li", "pre", "h1", "table", "td", " ", "x", "!--", "=", '"', "&#0;", "\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=100).map("".join))
def test_html_of_chance(text: str) -> None:
    well_formed(read_document(text, kind="html"))


@pytest.mark.parametrize(
    "source",
    [
        "<div>" * 100_000,
        '<div title="</div>">' * 100_000,
        "<div><!--</div>-->" * 100_000,
        "<b a=1><i>" * 100_000,
        "<svg><div/>" * 100_000,
        "<script></div></script><div>" * 100_000,
    ],
)
def test_depth_that_would_take_an_hour_is_refused(source: str) -> None:
    with pytest.raises(DocumentError, match="1,000 elements within each other"):
        read_document(source + "x", kind="html")


@pytest.mark.parametrize(
    "source",
    ["<" * 300_000, "<p>a<br><li>b" * 10_000, '<div a="' * 50_000, "<!--" * 50_000, "<svg>" + "<path/>" * 5_000],
)
def test_odd_pages_are_read(source: str) -> None:
    well_formed(read_document(source, kind="html"))


# --- PDF --------------------------------------------------------------------------------------------------


def pdf(
    *pages: str, title: str = "", bookmarks: dict[str, int] | None = None, password: str = "", broken: int = -1
) -> bytes:
    """A PDF with a line of text on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    name = NameObject
    font = DictionaryObject(
        {name("/Type"): name("/Font"), name("/Subtype"): name("/Type1"), name("/BaseFont"): name("/Helvetica")}
    )
    for number, text in enumerate(pages):
        page = writer.add_blank_page(300, 300)
        page[name("/Resources")] = DictionaryObject({name("/Font"): DictionaryObject({name("/F1"): font})})
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 20 250 Td {lines}ET".encode("latin-1"))
        if number == broken:
            stream[name("/Filter")] = name("/Unheard")
        page[name("/Contents")] = writer._add_object(stream)
    for entry, number in (bookmarks or {}).items():
        writer.add_outline_item(title=entry, page_number=number)
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_pdf(tmp_path: Path) -> None:
    content = pdf("Hello from one", "And from two", "", "Four", title="Report", bookmarks={"Start": 0, "Rest": 1})
    document = read_document(content)
    assert (document.kind, document.title, len(document.pages)) == ("pdf", "Report", 4)
    assert parts_of(document) == [
        ("paragraph", "Hello from one", "Start"),
        ("paragraph", "And from two", "Rest"),
        ("paragraph", "Four", "Rest"),
    ]
    well_formed(document)
    assert [(c.text, c.heading, c.page) for c in chunk(document, size=16, overlap=0)] == [
        ("Hello from one", "Start", 1),
        ("And from two", "Rest", 2),
        ("Four", "Rest", 4),
    ]
    (tmp_path / "report.bin").write_bytes(content)
    assert read_document(tmp_path / "report.bin", title="Other").title == "Other"
    assert read_document("x").page(0) is None


def test_pdf_with_a_password() -> None:
    content = pdf("Secret", password="open sesame")
    with pytest.raises(DocumentError, match=r"encrypted, and has a password: pass password="):
        read_document(content)
    with pytest.raises(DocumentError, match="the password is wrong") as error:
        read_document(content, password="guess77")
    assert "guess77" not in str(error.value)
    assert read_document(content, password="open sesame").text.strip() == "Secret"


def test_broken_pdfs() -> None:
    whole = pdf("Hello", "World")
    for content in (b"%PDF-1.7", b"%PDF-1.7\n" + b"\xff" * 2_000, whole[:200]):
        with pytest.raises(DocumentError, match="cannot be read as PDF"):
            read_document(content)
    with pytest.raises(DocumentError, match="cannot be read as PDF"):
        read_document(b"no pdf at all", kind="pdf")
    with pytest.raises(DocumentError, match="bytes or a file"):
        read_document("text", kind="pdf")
    half = read_document(pdf("Hello", "gone", "World", broken=1))
    assert "Hello" in half.text
    assert "World" in half.text
    assert half.notes[0].startswith("page 2 could not be read")
    assert "OCR" in read_document(pdf("")).notes[0]


@functools.cache
def two_pages() -> bytes:
    return pdf("Hello from one", "And from two", bookmarks={"Start": 0})


@given(st.data())
def test_pdfs_with_wrong_bytes(data: st.DataObject) -> None:
    content = bytearray(two_pages())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        document = read_document(bytes(content), kind="pdf")
    except DocumentError:
        return
    well_formed(document)


@pytest.mark.parametrize(
    ("module", "kind"),
    [("markdown_it", "markdown"), ("selectolax.lexbor", "html"), ("pypdf", "pdf"), ("charset_normalizer", "text")],
)
def test_a_missing_parser_names_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, kind: Any) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[documents\]"):
        read_document(b"%PDF-" if kind == "pdf" else b"caf\xe9", kind=kind)
    assert read_document("plain text needs nothing").text == "plain text needs nothing"
