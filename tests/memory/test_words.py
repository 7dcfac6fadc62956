"""From texts to words."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows_memory.words import check_language, stems
from dataflows_sdk.errors import DefinitionError


@pytest.mark.parametrize(
    ("text", "language", "wanted"),
    [
        ("The budgets of the projects", "english", ["budget", "project"]),
        ("Die Häuser der Kunden", "german", ["die", "haus", "der", "kund"]),
        ("fix_it BUG-17", "none", ["fix", "it", "bug", "17"]),
        ("ＡＢＣ ﬁne", "english", ["abc", "fine"]),  # compatibility forms are the letters that they look like
        ("งบประมาณ", "none", ["งบ", "บป", "ปร", "ระ", "ะม", "มา", "าณ"]),
        ("東京都", "none", ["東京", "京都"]),
        ("مشروع الميزانية", "none", ["مشروع", "الميزانية"]),
        ("🙂 ... !", "english", []),
        ("", "english", []),
        ("naïve café", "english", ["naïv", "café"]),
    ],
)
def test_words(text: str, language: str, wanted: list[str]) -> None:
    assert stems(text, language) == wanted


def test_what_is_asked_meets_what_is_said() -> None:
    assert set(stems("running connections")) == set(stems("run connected"))


def test_languages_are_named() -> None:
    assert check_language("german") == "german"
    assert check_language("none") == "none"
    with pytest.raises(DefinitionError, match=r"language='klingon'; there are: arabic, .*none"):
        check_language("klingon")


def test_threads_do_not_mix_words_up() -> None:
    words = [f"connection{letter}s" for letter in "abcdefghijklmnop"]
    wanted = [stems(word)[0] for word in words]
    stems_in_threads: list[list[str]] = []
    many = " ".join(f"{word}x{n}ing" for n in range(300) for word in words)
    alone = stems(many)

    def work() -> None:
        stems_in_threads.append(stems(many))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found == alone for found in stems_in_threads)
    assert [stems(word)[0] for word in words] == wanted


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_text_has_words_or_none(text: str) -> None:
    found = stems(text)
    assert found == stems(text)
    assert all(word and " " not in word and len(word.encode()) < 2_000 for word in found)
