"""Expressions as words: paths and constants are taken out of the text, so that what Python's parser gets to see is
names that we made, the words ``and or not in if else``, and signs.
"""

from __future__ import annotations

import math
import re
from typing import Any

from dataflows_sdk.errors import ConditionError, TemplateError
from dataflows_sdk.flow.arithmetic import FUNCTIONS
from dataflows_sdk.flow.problems import short
from dataflows_sdk.flow.templates import (
    BRACKETS,
    QUOTED,
    ROOTS,
    Reference,
    parse_template,
    path_at,
    read_braces,
    read_parts,
)

#: one word of a path that stands without braces: as in a template, but with no hyphen, which is a minus here
_WORD = r"""[^\s\x00-\x1f!-#%-/:-?\[-^`{-\x7f]++"""
_TOKEN = re.compile(
    rf"""\s*+(?:
        (?P<text> {QUOTED} )
      | (?P<number> (?:(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)? )
      | (?P<braces> \{{\{{ )
      | (?P<word> (?![0-9]){_WORD} )
      | (?P<sign> ===|!==|==|!=|<=|>=|&&|\|\||\*(?!\*)|/(?!/)|[-+%<>!()\[\],] )
      | (?P<end> \Z )
    )""",
    re.VERBOSE | re.DOTALL,
)
_PARTS = re.compile(rf"(?:\.{_WORD}|{BRACKETS})*+", re.VERBOSE | re.DOTALL)
_HYPHEN = re.compile(rf"-(?P<word>{_WORD})")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_KEYWORDS = frozenset({"and", "or", "not", "in", "if", "else"})
#: ``!`` binds as tightly as in other languages, as Python's ``~`` does
_SIGNS = {"===": "==", "!==": "!=", "&&": "and", "||": "or", "!": "~"}
_HINTS = {
    "=": "compare with ==",
    "*": "there is no power",
    "/": "there is only /",
    ".": "only a path has parts, and it begins with a name",
    "&": "write && or and",
    "|": "write || or or",
    '"': "the text is not closed",
    "'": "the text is not closed",
    "{": "there are no objects; a path in braces takes two, {{trigger.amount}}",
}


class Words:
    """The words of an expression.

    Attributes:
        source: what Python's parser gets, in ASCII; ``v3`` is leaf 3.
        leaves: paths, and constants as tuples of one.
        references: the paths among them.

    Raises:
        ConditionError: there is something that is no word of an expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.leaves: list[Reference | tuple[Any]] = []
        self.references: list[Reference] = []
        self._words: list[str] = []
        #: where the words begin, in the text
        self._places: list[int] = []
        self._cut_up()
        if not self._words:
            raise ConditionError("the expression is empty")
        self.source = " ".join(self._words)

    def _cut_up(self) -> None:
        text, end = self.text, 0
        while (match := _TOKEN.match(text, end)) is not None and match["end"] is None:
            kind = match.lastgroup or ""
            start, end = match.start(kind), match.end()
            if kind == "word":
                end = self._word(start, end)
            elif kind == "braces":
                reference, end = self._braces(start)
                self._leaf(start, reference)
            elif kind == "text":
                self._leaf(start, (self._literal(start, match[kind]),))
            elif kind == "number":
                self._leaf(start, (self._number(start, match[kind]),))
            else:
                self._emit(start, _SIGNS.get(match[kind], match[kind]))
        if match is None:
            start = end + len(text[end:]) - len(text[end:].lstrip())
            hint = _HINTS.get(text[start], f"{text[start]!r} means nothing in an expression")
            raise self._wrong(start, hint)

    def _emit(self, place: int, word: str) -> None:
        self._words.append(word)
        self._places.append(place)

    def _leaf(self, place: int, leaf: Reference | tuple[Any]) -> None:
        self._emit(place, f"v{len(self.leaves)}")
        self.leaves.append(leaf)
        if isinstance(leaf, Reference):
            self.references.append(leaf)

    def _word(self, start: int, end: int) -> int:
        """A keyword, a constant, the name of a function, or a path; where it ends."""
        word = self.text[start:end]
        if word.lower() in _KEYWORDS:
            self._emit(start, word.lower())
            return end
        rest = _PARTS.match(self.text, end)
        stop = end if rest is None else rest.end()
        if stop == end and word.lower() in _WORDS:
            self._leaf(start, (_WORDS[word.lower()],))
        elif self.text[stop:].lstrip().startswith("("):
            self._emit(start, self._function(start, self.text[start:stop]))
        else:
            self._refuse_hyphen(start, stop)
            self._leaf(start, Reference(self.text[start:stop], (word, *read_parts(self.text[end:stop]))))
        return stop

    def _function(self, start: int, name: str) -> str:
        if name in FUNCTIONS:
            return name
        hint = "; functions stand before their value, lower(trigger.name)" if "." in name else ""
        raise self._wrong(start, f"there is no {name}(){hint}; there are {', '.join(FUNCTIONS)}")

    def _refuse_hyphen(self, start: int, stop: int) -> None:
        """``steps.new-order.output`` would be steps.new minus order.output, which nobody means."""
        hyphen = _HYPHEN.match(self.text, stop)
        if hyphen is None:
            return
        path, word = self.text[start:stop], hyphen["word"]
        whole_node = path.startswith("steps.") and path.count(".") == 1 and "[" not in path
        if whole_node or not (word in ROOTS or word in FUNCTIONS or word.lower() in _WORDS or word[0].isdigit()):
            meant = path_at(self.text, start)
            head, _, last = path.rpartition(".")
            raise self._wrong(
                start,
                f"{path}-{word} reads as a subtraction; for a name with a hyphen write {{{{{meant.text}}}}}"
                + (f' or {head}["{last}-{word}"]' if head and "[" not in last else "")
                + ", for a subtraction put spaces around the minus",
            )

    def _braces(self, start: int) -> tuple[Reference, int]:
        try:
            return read_braces(self.text, start)
        except TemplateError as error:
            raise self._wrong(start, f"{error}; in an expression braces hold a path, signs stand outside") from None

    def _literal(self, start: int, quoted: str) -> str:
        if "{{" in quoted and _is_template(quoted[1:-1]):
            raise self._wrong(
                start,
                f"a template in quotes is not filled in: write {{{{…}}}} without them, not {short(quoted)}; for "
                "braces that are meant as such, \\{{",
            )
        return _ESCAPE.sub(_unescape, quoted[1:-1].replace("\\{{", "{{"))

    def _number(self, start: int, digits: str) -> int | float:
        value = int(digits) if digits.isdigit() else float(digits)
        if value == math.inf:
            raise self._wrong(start, f"{short(digits)} is beyond the numbers of JSON")
        return value

    def _place(self, offset: int) -> int:
        """The place in the text of an offset in what Python's parser saw."""
        begin = 0
        for word, place in zip(self._words, self._places, strict=True):
            if offset < begin + len(word):
                return place
            begin += len(word) + 1
        return len(self.text)

    def wrong_at(self, offset: int, what: str) -> ConditionError:
        """The error for what Python's parser found at an offset of the source."""
        return self._wrong(self._place(offset), what)

    def _wrong(self, place: int, what: str) -> ConditionError:
        rest = self.text[place:].strip()
        where = f"at {short(rest)} (character {place + 1})" if rest else "at its end"
        return ConditionError(f"expression {short(self.text)}, {where}: {what}")


def _is_template(text: str) -> bool:
    try:
        return bool(parse_template(text).references)
    except TemplateError:
        return False


def _unescape(match: re.Match[str]) -> str:
    # other pairs stay as they are, so that a pattern such as "\d+" needs no second backslash
    return chr(int(match[1], 16)) if match[1] is not None else _ESCAPES.get(match[2], match[0])
