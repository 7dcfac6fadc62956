"""From a text to the words that are looked for: letters and digits, without stop words, cut to their stems."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from dataflows_sdk.errors import DefinitionError, MissingExtraError

#: languages that Snowball has stems for, and what has none
NONE = "none"
#: longer words are cut: an index takes no keys of any length
_LONGEST = 64
#: what is said in every text; for other languages the weight of a word alone has to tell
_STOP = {
    "english": frozenset(
        word
        for line in (
            "a about above after again against all am an and any are as at be because been before being below between",
            "both but by can cannot could did do does doing down during each few for from further had has have having",
            "he her here hers herself him himself his how i if in into is it its itself me more most my myself no nor",
            "not of off on once only or other ought our ours ourselves out over own same she should so some such than",
            "that the their theirs them themselves then there these they this those through to too under until up",
            "very was we were what when where which while who whom why with would you your yours yourself yourselves",
        )
        for word in line.split()
    )
}
_WORD = re.compile(r"[^\W_]+")
# Scripts that put no spaces between words: Thai, Lao, Khmer, Burmese, kana, Han. Pairs of letters stand for words
# there, as in Lucene's CJK analyzer.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)
# Combining marks are a part of the letter before them; `\w` leaves those of Thai and Arabic out.
_MARKED = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f\u064b-\u065f\u0670\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u200d])*")


def check_language(language: str) -> str:
    """A language that there are stems for, or ``"none"``.

    Raises:
        DefinitionError: there are none.
        MissingExtraError: the stemmer is not installed.
    """
    if language == NONE:
        return language
    algorithms = _snowball().algorithms()
    if language not in algorithms:
        known = ", ".join(sorted({*algorithms, NONE}))
        raise DefinitionError(f"there are no stems for language={language!r}; there are: {known}")
    return language


def stems(text: str, language: str = "english") -> list[str]:
    """The words of a text in their order."""
    stem = _stemmer(language)
    stop = _STOP.get(language, frozenset())
    words = _words(unicodedata.normalize("NFKC", text).casefold())
    return [stem(word[:_LONGEST]) for word in words if word not in stop]


def _words(text: str) -> Iterable[str]:
    if text.isascii():
        yield from _WORD.findall(text)
        return
    for number, part in enumerate(_UNSPACED.split(text)):
        if number % 2:
            yield from (part[at : at + 2] for at in range(len(part) - 1)) if len(part) > 1 else (part,)
        else:
            yield from _MARKED.findall(part)


def _snowball() -> Any:
    try:
        import snowballstemmer
    except ImportError:
        raise MissingExtraError(
            'memory cuts words to their stems with snowballstemmer: pip install "dataflows-sdk[memory]"'
        ) from None
    return snowballstemmer


@lru_cache(maxsize=32)
def _stemmer(language: str) -> Callable[[str], str]:
    if language == NONE:
        return lambda word: word
    made, alone = _snowball().stemmer(language), threading.Lock()

    # stems repeat: looking one up is thirty times as quick as making it
    @lru_cache(maxsize=100_000)
    def stem(word: str) -> str:
        with alone:  # a stemmer keeps the word that it is at
            return str(made.stemWord(word))

    return stem
