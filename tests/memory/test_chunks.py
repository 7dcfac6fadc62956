"""Chunks hold all of a document, point back into it, and are cut where a person would."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflows_memory.documents import Chunk, Document, chunk, read_document
from dataflows_memory.documents.graphemes import may_cut
from dataflows_sdk.errors import DocumentError


def check(document: Document, chunks: list[Chunk], size: int, overlap: int) -> None:
    """What holds for any document."""
    covered = 0
    for position, piece in enumerate(chunks):
        assert piece.position == position
        assert piece.text == document.text[piece.start : piece.end]
        assert 0 < len(piece.text) <= size
        assert piece.text.strip() == piece.text
        assert not document.text[covered : piece.start].strip(), "text that is in no chunk"
        if position:
            before = chunks[position - 1]
            assert before.start < piece.start
            assert before.end < piece.end
            assert before.end - piece.start <= overlap
            if before.heading != piece.heading:
                assert before.end <= piece.start
        covered = piece.end
    assert not document.text[covered:].strip(), "text after the last chunk"


SCRIPTS = (
    st.sampled_from(
        ["a", "word ", "One. ", "Two! ", "\n", "\n\n", "# H\n", "## I\n\n", "- x\n", "```\ncode\n\nmore\n```\n"]
    )
    | st.sampled_from(
        "ก|ำ|เ|ที่|م|\u064b|。|中|👨‍👩‍👧|🇹🇭|e\u0301|한".split("|")  # noqa: SIM905
    )
    | st.sampled_from(["| a | b |\n|---|---|\n", "\u1100\u1161", "क्ष", "x" * 40, " " * 30, "\u200d"])
)


@given(
    st.lists(SCRIPTS, max_size=80).map("".join) | st.text(max_size=300),
    st.sampled_from(["text", "markdown", "html"]),
    st.integers(16, 120),
    st.floats(0, 0.49),
)
@example("x" * 16 + " " + "y" * 17, "text", 16, 0.4)
@example("a" + "\u0301" * 100, "text", 16, 0.4)
@example("# " + "h" * 100 + "\n\nbody", "markdown", 16, 0.4)
def test_all_of_the_text_in_order(text: str, kind: Any, size: int, share: float) -> None:
    document, overlap = read_document(text, kind=kind), int(size * share)
    chunks = chunk(document, size, overlap)
    check(document, chunks, size, overlap)
    assert chunks == chunk(document, size, overlap)


@given(
    st.lists(st.text(st.sampled_from("abc.,é"), min_size=1, max_size=16), min_size=1, max_size=60), st.integers(0, 7)
)
def test_words_that_fit_are_whole(words: list[str], overlap: int) -> None:
    document = read_document(" ".join(words), kind="text")
    for piece in chunk(document, 16, overlap):
        assert piece.start == 0 or document.text[piece.start - 1].isspace()
        assert piece.end == len(document.text) or document.text[piece.end].isspace()


LETTERS = ["👨‍👩‍👧‍👦", "🇹🇭", "👍🏽", "é", "ที่", "น้ำ", "क्षि", "한", "❤️", "x"]


@given(st.lists(st.sampled_from(LETTERS), min_size=1, max_size=60), st.integers(0, 7))
def test_no_letter_is_cut(letters: list[str], overlap: int) -> None:
    """As people see it: each is at most 11 code points long, so that it fits."""
    text = "".join(letters)
    seams, at = {0}, 0
    for letter in letters:
        at += len(letter)
        seams.add(at)
    for piece in chunk(read_document(text, kind="text"), 16, overlap):
        assert {piece.start, piece.end} <= seams, piece


def test_where_a_text_may_be_cut() -> None:
    for text in [*LETTERS, "\r\n", "\u1100\u1161\u11a8", "🏴\U000e0067\U000e007f"]:
        assert [at for at in range(1, len(text)) if may_cut(text, at)] == [], text
    for one in LETTERS:
        for other in LETTERS:
            assert may_cut(one + other, len(one)), (one, other)


def test_headings_begin_chunks_and_name_them() -> None:
    text = (
        "intro\n\n# Guide\n\n## Install\n\nRun it. " + "More words here. " * 6 + "\n\n## Use\n\nCall it.\n\n# Other\n"
    )
    document = read_document(text, kind="markdown")
    chunks = chunk(document, 80, 20)
    check(document, chunks, 80, 20)
    assert [(c.heading, c.text.split("\n")[0]) for c in chunks] == [
        ("", "intro"),
        ("Guide > Install", "# Guide"),
        ("Guide > Install", "More words here. More words here. More words here. More words here."),
        ("Guide > Use", "## Use"),
        ("Other", "# Other"),
    ]


def test_code_and_tables_stay_whole_where_they_fit() -> None:
    code = "```py\nfirst = 1\n\nsecond = 2. And so on.\n```"
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 6
    document = read_document(f"{'Words of prose. ' * 8}\n\n{code}\n\n{table}\n\nend", kind="markdown")
    chunks = chunk(document, 100, 0)
    check(document, chunks, 100, 0)
    assert sum(code in c.text for c in chunks) == 1
    assert sum(table.strip() in c.text for c in chunks) == 1
    small = chunk(document, 30, 0)
    check(document, small, 30, 0)
    rows = [line for c in small if c.start >= document.text.index("| a") for line in c.text.split("\n")]
    assert set(rows) <= {"| a | b |", "|---|---|", "| 1 | 2 |", "", "end"}


def test_prose_is_cut_between_sentences_and_overlaps_by_them() -> None:
    text = "First sentence is here. Second one follows it! Is there a third? Yes, there is. And a fifth."
    chunks = chunk(read_document(text), 60, 25)
    assert [c.text for c in chunks] == [
        "First sentence is here. Second one follows it!",
        "Second one follows it! Is there a third? Yes, there is.",
        "Yes, there is. And a fifth.",
    ]
    chinese = chunk(read_document("这是第一句话。这是第二句话。这是第三句话。"), 16, 0)
    assert [c.text for c in chinese] == ["这是第一句话。这是第二句话。", "这是第三句话。"]


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (15, 0, "size"),
        (True, 0, "size"),
        (100.0, 0, "size"),
        (100, 50, "overlap"),
        (100, -1, "overlap"),
        (100, 1.5, "overlap"),
    ],
)
def test_sizes_that_make_no_sense(size: Any, overlap: Any, message: str) -> None:
    with pytest.raises(DocumentError, match=f"^{message} is a whole number"):
        chunk(read_document("x"), size, overlap)


@pytest.mark.parametrize(
    "text",
    [
        ("A sentence about projects. Another one follows here! " * 8 + "\n\n") * 24_000,
        "สวัสดีครับ" * 1_000_000,
        "x" * 10_000_000,
        " " * 10_000_000 + "x",
        "a" + "\u0301" * 10_000_000,
        "🇹🇭" * 5_000_000,
        "\n \n" * 3_000_000 + "x",
    ],
    ids=["prose", "thai", "one word", "space", "accents", "flags", "empty lines"],
)
def test_ten_megabytes_take_seconds(text: str) -> None:
    began = time.process_time()
    document = read_document(text, kind="text")
    chunks = chunk(document)
    assert time.process_time() - began < 30  # a few are usual; what grows with the square would take hours
    assert chunks[-1].end == len(document.text.rstrip())
    assert max(len(c.text) for c in chunks) <= 1_000
