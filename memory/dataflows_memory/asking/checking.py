"""Whether an answer stands on what it cites."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from dataflows_memory.asking.sources import Sources

#: what a model says where the sources do not answer
NOT_FOUND = "NOT FOUND"
_CITED = re.compile(r"\[(\d+(?:\.\d+)?(?:\s*[,;]\s*\d+(?:\.\d+)?)*)\]")
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»')
#: the end of a sentence; a citation after it still belongs to it
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?!\[)|\n+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer is worth.

    Attributes:
        found: whether the model says that it has one.
        cited: numbers, in the order in which they come first.
        problems: why it does not hold; empty where it does.
    """

    found: bool
    cited: tuple[str, ...]
    problems: tuple[str, ...]


def verdict(text: str, sources: Sources) -> Verdict:
    """Check what can be checked without a model: the numbers exist, what is quoted is there, something is cited."""
    if not text.strip() or text.strip().strip("*_.").upper().startswith(NOT_FOUND):
        return Verdict(False, (), ())
    cited = _numbers(text)
    problems = [f"there is no source [{number}]" for number in cited if sources.text(number) is None]
    known = [number for number in cited if sources.text(number) is not None]
    if not cited:
        problems.append("the answer cites no source")
    for sentence in _SENTENCE.split(text):
        near = [number for number in _numbers(sentence) if number in known] or known
        there = _plain(" ".join(sources.text(number) or "" for number in near))
        for found in _QUOTED.finditer(sentence):
            quoted = next(group for group in found.groups() if group is not None)
            if _plain(quoted) and _plain(quoted) not in there:
                where = ", ".join(f"[{number}]" for number in near) or "any source"
                problems.append(f"{quoted!r:.200} is quoted, and is not in {where}")
    return Verdict(True, tuple(known), tuple(dict.fromkeys(problems)))


def _numbers(text: str) -> list[str]:
    found = [number.strip() for group in _CITED.findall(text) for number in re.split("[,;]", group)]
    return list(dict.fromkeys(found))


def _plain(text: str) -> str:
    """Letters and digits alone: line breaks, typographic quotes and a comma inside a quotation do not matter."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
