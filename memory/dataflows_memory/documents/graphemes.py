"""Where a text may be cut without cutting a letter as people see it: an accent from its base, a family of emoji."""

from __future__ import annotations

import unicodedata

#: the families of emoji that people send have a dozen code points
_LONGEST = 100
_JOINER = "\u200d"
#: Thai and Lao vowels that are written before the letter that they follow in speech, and SARA AM, which is one letter
_BEFORE, _AFTER = frozenset("เแโใไເແໂໃໄ"), frozenset("\u0e33\u0eb3")


def may_cut(text: str, at: int, start: int = 0) -> bool:
    """Whether the text may be cut before the letter at this place; `start` is one where it is cut."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before.isascii() and after.isascii():
        return not (before == "\r" and after == "\n")
    if _JOINER in {before, after} or after in _AFTER or before in _BEFORE:
        return False
    if (
        unicodedata.category(after)[0] == "M"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
    ):
        return False
    if _is_flag(before) and _is_flag(after):
        return _flags_before(text, start, at) % 2 == 0
    if _is_virama(before) and after.isalpha():
        return False
    return not _is_jamo(before, after)


def last_cut(text: str, start: int, end: int) -> int:
    """The last place up to `end` at which the text may be cut, if it is cut at `start`.

    A pile of a hundred accents on one letter is cut where it is: a chunk has an end.
    """
    for at in range(end, max(start, end - _LONGEST), -1):
        if may_cut(text, at, start):
            return at
    return end


def _is_flag(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"


def _flags_before(text: str, start: int, at: int) -> int:
    count = 0
    while count < at - start and _is_flag(text[at - 1 - count]):
        count += 1
    return count


def _is_virama(letter: str) -> bool:
    """The sign that joins two consonants of an Indic script."""
    return unicodedata.combining(letter) == 9


def _is_jamo(before: str, after: str) -> bool:
    """Whether two letters are parts of one Korean syllable."""
    last = "\u1160" <= after <= "\u11ff"
    lead = "\u1100" <= before <= "\u115f"
    return (last and ("\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3")) or (
        lead and ("\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3")
    )
