"""The words of a SQL text as PostgreSQL reads them, and nothing else: what is odd is refused here.

The parser behind this reads many dialects and forgives much; PostgreSQL does not read as it does in every corner. So
a text goes through here twice: what a model wrote, which comes out as the plainest spelling of the same tokens, and
what the parser made of it, right before it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from dataflows_memory.gate.words import listed
from dataflows_sdk.errors import QueryRefusedError

LONGEST_TEXT = 20_000
_MOST_TOKENS = 4_000
_DEEPEST = 40
_LONGEST_NAME = 63

_SPACE = re.compile(r"[ \t\n\r\f]+")
_WORD = re.compile(r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$")
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|`?]+")
_MARKS = ("::", ":=", "=>", "..", "(", ")", "[", "]", ",", ":", ".")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_PLAIN_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
#: with one of these in it an operator may end in + or -
_ODD = frozenset("~!@#%^&|`?")

OPERATORS = listed("""
    + - * / % ^ < > <= >= = <> != || ~ ~* !~ !~* -> ->> #> #>> @> <@ ? ?| ?& && @@ @? #- & | # << >> => ::
""")


@dataclass(frozen=True, slots=True)
class Token:
    """A token: ``word``, ``name`` (in double quotes), ``text``, ``number``, ``operator`` or ``mark``.

    Attributes:
        value: of a word as it is folded, of a name and a text what is within the quotes.
        at: where it begins in the text.
        after_space: whether there is something to skip before it.
    """

    kind: str
    value: str
    at: int
    after_space: bool

    def spelled(self) -> str:
        """The plainest SQL for it."""
        if self.kind == "name":
            return '"' + self.value.replace('"', '""') + '"'
        if self.kind == "text":
            return "'" + self.value.replace("'", "''") + "'"
        return self.value


class Source:
    """A text, for messages that say where."""

    def __init__(self, text: str) -> None:
        self.text = text

    def refuse(self, problem: str, at: int | None = None, instead: str = "") -> NoReturn:
        """Raise the error.

        Raises:
            QueryRefusedError: always.
        """
        if at is None:
            raise QueryRefusedError(problem, instead=instead)
        before = self.text[:at]
        line = before.count("\n") + 1
        raise QueryRefusedError(problem, line=line, column=at - (before.rfind("\n") + 1) + 1, instead=instead)


def tokens(text: object, *, plain: bool = False) -> list[Token]:
    """The tokens of one statement, without comments.

    Args:
        plain: refuse every spelling but the plainest: the text was generated.

    Raises:
        QueryRefusedError: it is no text, too long or too deep, several statements, or spelled so as to hide something.
    """
    if not isinstance(text, str) or not text.strip():
        raise QueryRefusedError("a query is a text with one SELECT in it")
    source = Source(text)
    if len(text) > LONGEST_TEXT and not plain:
        source.refuse(f"the query has {len(text):,} characters; at most {LONGEST_TEXT:,} are read")
    if "\0" in text:
        source.refuse("the query holds a NUL character", text.index("\0"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        source.refuse("the query holds half a surrogate pair, which is no text", error.start)
    found: list[Token] = []
    depth = 0
    for token in _Lexer(source, plain).tokens():
        if token.value == ";" and token.kind == "mark":
            continue  # the lexer refuses whatever comes behind it
        found.append(token)
        if token.kind == "mark" and token.value in ("(", "["):
            depth += 1
        elif token.kind == "mark" and token.value in (")", "]"):
            depth -= 1
        elif token.kind == "word" and token.value == "case":
            depth += 1
        elif token.kind == "word" and token.value == "end":
            depth -= 1
        if depth > _DEEPEST and not plain:
            source.refuse(f"the query is nested more than {_DEEPEST} deep", token.at, "Use WITH to name the parts.")
        if len(found) > _MOST_TOKENS and not plain:
            source.refuse(f"the query has more than {_MOST_TOKENS:,} words and signs", token.at, "Ask for less.")
    if not found:
        source.refuse("there is no statement in the text, only comments or blanks")
    return found


def spelled(found: list[Token]) -> str:
    """The tokens as a text again."""
    return "".join((" " if token.after_space and at else "") + token.spelled() for at, token in enumerate(found))


class _Lexer:
    def __init__(self, source: Source, plain: bool) -> None:
        self._source = source
        self._text = source.text
        self._plain = plain
        self._at = 0

    def tokens(self) -> Iterator[Token]:
        ended = False
        while True:
            space = self._skip()
            if self._at >= len(self._text):
                return
            begun = self._at
            if ended:
                if self._text[begun] == ";":
                    self._at += 1
                    continue
                self._source.refuse("several statements in one text", begun, "Send one SELECT.")
            kind, value = self._next()
            yield Token(kind, value, begun, space)
            if (kind, value) == ("mark", ";"):
                if self._plain:
                    self._source.refuse("a semicolon", begun)
                ended = True

    def _skip(self) -> bool:
        begun = self._at
        while True:
            if found := _SPACE.match(self._text, self._at):
                self._at = found.end()
            elif self._text.startswith("--", self._at) and not self._plain:
                ends = [at for at in (self._text.find(mark, self._at) for mark in "\n\r") if at >= 0]
                self._at = min(ends, default=len(self._text))
            elif self._text.startswith("/*", self._at) and not self._plain:
                self._comment()
            else:
                return self._at > begun

    def _comment(self) -> None:
        begun, depth = self._at, 0
        while self._at < len(self._text):
            pair = self._text[self._at : self._at + 2]
            if pair == "/*":
                depth, self._at = depth + 1, self._at + 2
            elif pair == "*/":
                depth, self._at = depth - 1, self._at + 2
                if depth == 0:
                    return
            else:
                self._at += 1
        self._source.refuse("a comment that does not end", begun)

    def _next(self) -> tuple[str, str]:
        text, at = self._text, self._at
        here = text[at]
        if here == ";":
            self._at += 1
            return "mark", ";"
        if here == "'":
            return "text", self._quoted("'", "a text")
        if here == '"':
            return "name", self._name(self._quoted('"', "a name"))
        if here == "$":
            return "text", self._dollars()
        if found := _NUMBER.match(text, at):
            return "number", self._number(found)
        if found := _WORD.match(text, at):
            return self._word(found[0])
        if found := _OPERATOR.match(text, at):
            return "operator", self._operator(found[0])
        for mark in _MARKS:
            if text.startswith(mark, at):
                self._at += len(mark)
                if mark in (":", ":=", ".."):
                    return self._colon(mark, at)
                return ("operator" if mark in ("::", "=>") else "mark"), mark
        return self._source.refuse(f"the character {here!r}", at)

    def _colon(self, mark: str, at: int) -> tuple[str, str]:
        # a single colon only as that of a slice; sqlglot would take `:name` for a parameter
        if mark == ":" and not self._text[self._at : self._at + 1].isalpha():
            return "mark", ":"
        return self._source.refuse(f"{mark!r}", at, "Parameters are not bound here: write the values into the query.")

    def _quoted(self, quote: str, what: str) -> str:
        begun = self._at
        at = begun + 1
        parts: list[str] = []
        while True:
            end = self._text.find(quote, at)
            if end < 0:
                self._source.refuse(f"{what} that does not end", begun)
            parts.append(self._text[at:end])
            if self._text[end + 1 : end + 2] != quote:
                break
            parts.append(quote)
            at = end + 2
        self._at = end + 1
        return "".join(parts)

    def _name(self, value: str) -> str:
        if not value:
            self._source.refuse("a name in quotes with nothing in it", self._at - 2)
        if len(value.encode()) > _LONGEST_NAME:
            self._source.refuse(f"the name {value[:30]!r}… has more than {_LONGEST_NAME} bytes", self._at)
        return value

    def _dollars(self) -> str:
        begun = self._at
        found = _DOLLAR.match(self._text, begun)
        if found is None or self._plain:
            self._source.refuse(
                "a parameter such as $1", begun, "Parameters are not bound here: write the values into the query."
            )
        end = self._text.find(found[0], found.end())
        if end < 0:
            self._source.refuse(f"a text in {found[0]} that does not end", begun)
        self._at = end + len(found[0])
        return self._text[found.end() : end]

    def _number(self, found: re.Match[str]) -> str:
        after = self._text[found.end() : found.end() + 1]
        if after and (_WORD.match(after) or after in ".$"):
            self._source.refuse(
                f"the number {self._text[found.start() : found.end() + 5].split()[0]!r}",
                found.start(),
                "Numbers are written in plain decimal digits: 1000, 1.5, 1e6.",
            )
        if len(found[0]) > 100:
            self._source.refuse("a number of more than 100 digits", found.start())
        self._at = found.end()
        return found[0]

    def _word(self, word: str) -> tuple[str, str]:
        begun = self._at
        self._at += len(word)
        following = self._text[self._at : self._at + 1]
        lower = word.lower()
        if following == "'":
            if lower == "e" and not self._plain:
                return "text", self._escaped(begun)
            if lower in ("b", "x", "n", "e"):
                self._source.refuse(f"the literal {word}'…'", begun, "Write a plain text in single quotes: 'text'.")
        if lower == "u" and following == "&" and self._text[self._at + 1 : self._at + 2] in ("'", '"'):
            self._source.refuse("a name or text with Unicode escapes, U&", begun, "Write the characters themselves.")
        if not all(each.isalnum() or each in "_$" for each in word):
            self._source.refuse(f"the word {word!r}", begun, 'Names with other signs are written in quotes: "a name".')
        # PostgreSQL folds the letters of ASCII only
        return "word", self._name("".join(each.lower() if each.isascii() else each for each in word))

    def _escaped(self, begun: int) -> str:
        at = self._at + 1
        parts: list[str] = []
        while at < len(self._text):
            here = self._text[at]
            if here == "'":
                if self._text[at + 1 : at + 2] == "'":
                    parts.append("'")
                    at += 2
                    continue
                self._at = at + 1
                return "".join(parts)
            if here == "\\" and (found := _ESCAPE.match(self._text, at)):
                parts.append(self._meant(found[1], at))
                at = found.end()
            else:
                parts.append(here)
                at += 1
        return self._source.refuse("a text that does not end", begun)

    def _meant(self, escape: str, at: int) -> str:
        if escape[0] in "xuU" and len(escape) > 1:
            number = int(escape[1:], 16)
        elif escape[0] in "01234567":
            number = int(escape, 8)
        else:
            return _PLAIN_ESCAPES.get(escape, escape)
        # bytes beyond ASCII make up characters together with others; nobody writes texts so
        if number == 0 or 0xD800 <= number <= 0xDFFF or number > 0x10FFFF or (escape[0] not in "uU" and number > 127):
            self._source.refuse(f"the escape \\{escape}", at, "Write the character itself.")
        return chr(number)

    def _operator(self, run: str) -> str:
        begun = self._at
        for comment in ("--", "/*"):
            if comment in run:
                run = run[: run.index(comment)]
        while len(run) > 1 and run[-1] in "+-" and not _ODD & set(run):
            run = run[:-1]
        if run not in OPERATORS:
            self._source.refuse(f"the operator {run or self._text[begun : begun + 2]!r}", begun, _OPERATORS_SAID)
        self._at += len(run)
        return run


_OPERATORS_SAID = f"Operators that may be used: {' '.join(sorted(OPERATORS))}."
