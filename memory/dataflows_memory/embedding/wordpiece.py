"""The tokenizer of BERT: lower case without accents, words, and the longest known pieces of each word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: a longer word is one unknown token, as the model saw it when it was trained
_LONGEST_WORD = 100
#: words whose pieces are remembered; a language has few words that are used often
_REMEMBERED = 50_000
#: Python takes some control letters for space; BERT drops them and so joins what they part
_SPACE = re.compile(r"[^\S\x0b\x0c\x1c-\x1f\x85]+")
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class _Letters(dict[int, str]):
    """For ``str.translate``: what becomes of each letter, worked out when it is first seen."""

    def __missing__(self, code: int) -> str:
        result = self[code] = _letter(chr(code))
        return result


def _letter(letter: str) -> str:
    if letter in "\t\n\r":
        return " "
    if letter == "\ufffd" or unicodedata.category(letter)[0] == "C":
        return ""
    if letter.isspace():
        return " "
    kept = []
    for part in unicodedata.normalize("NFD", letter):
        if unicodedata.category(part) == "Mn":
            continue
        apart = _is_punctuation(part)
        kept.append(f" {part} " if apart else part.lower())
    text = "".join(kept)
    return f" {text} " if any(first <= ord(letter) <= last for first, last in _CJK) else text


def _is_punctuation(letter: str) -> bool:
    if letter.isascii():
        return letter.isprintable() and not letter.isalnum() and letter != " "
    return unicodedata.category(letter)[0] == "P"


class WordPiece:
    """Texts to numbers of tokens.

    Words such as ``[SEP]`` in a text are taken as text, never as the marks of the model.

    Args:
        vocabulary: the tokens in the order of their numbers, as in ``vocab.txt``.

    Raises:
        ValueError: a token that every text needs is not in it.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._numbers = {token: number for number, token in enumerate(vocabulary)}
        missing = [mark for mark in ("[UNK]", "[CLS]", "[SEP]") if mark not in self._numbers]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}")
        self._unknown, self._first, self._last = (self._numbers[mark] for mark in ("[UNK]", "[CLS]", "[SEP]"))
        self._letters = _Letters()
        self._words: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str, longest: int) -> tuple[list[int], bool]:
        """The tokens between the two marks, and whether the text had more than fit.

        Args:
            text: any.
            longest: tokens with the marks, 3 or more.
        """
        room = longest - 2
        # a book need not be read to its end: every word that is kept is at least one token
        words = _SPACE.split(text.strip(), room)
        cut = len(words) > room
        begin = " ".join(words[:room])
        if len(begin) > (limit := room * (_LONGEST_WORD + 1)):
            begin, cut = begin[:limit], True
        tokens = [self._first]
        for word in begin.translate(self._letters).split():
            tokens += self._pieces(word)
            if len(tokens) > longest - 1:
                del tokens[longest - 1 :]
                cut = True
                break
        tokens.append(self._last)
        return tokens, cut

    def _pieces(self, word: str) -> tuple[int, ...]:
        known = self._words.get(word)
        if known is None:
            known = self._split(word)
            if len(self._words) >= _REMEMBERED:
                self._words = {}
            self._words[word] = known
        return known

    def _split(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._unknown,)
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._numbers.get(("##" if start else "") + word[start:end])
                if number is not None:
                    break
            else:
                return (self._unknown,)
            pieces.append(number)
            start = end
        return tuple(pieces)
