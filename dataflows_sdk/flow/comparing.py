"""How conditions and expressions compare: JSON's values, leniently where it is safe, never with an exception.

Numbers compare with numbers and with texts that are numbers, times with times and their ISO 8601 text, UUIDs with
their text, an Enum as its value; a time without a zone counts as UTC. Everything else equals only its own type, and
is never smaller or larger. NaN equals nothing. Values are trees, as JSON is: none may contain itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isnan
from typing import Any
from uuid import UUID

from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.problems import short

_NUMERIC = re.compile(r"\s*[+-]?(\d{1,64}(\.\d{0,64})?|\.\d{1,64})([eE][+-]?\d{1,3})?\s*", re.ASCII)
#: a text beyond this is no number and no time, and is not looked at
_SHORT = 200
#: floats hold every whole number up to here
_EXACT = 2**53
_FAST = (int, float)
#: whole numbers beyond this, about 1,230 digits, are compared roughly and not calculated with
MOST_BITS = 4_096
_HUGE = Decimal("1E+5000")
#: LIKE patterns and regular expressions, in characters
LONGEST_PATTERN = 4_000
#: instructions of a compiled regular expression times bytes of the text: seconds at the worst
_MOST_WORK = 500_000_000


def number(value: Any) -> Decimal | None:
    """A number, or a text that is one; not a boolean, and not NaN."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return Decimal(float.__repr__(value)) if not isnan(value) else None
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if isinstance(value, int):
        # making a Decimal takes quadratic time; beyond every float and every text it is enough to know the side
        return Decimal(value) if value.bit_length() <= MOST_BITS else _HUGE.copy_sign(-1 if value < 0 else 1)
    if isinstance(value, str) and len(value) <= _SHORT and _NUMERIC.fullmatch(value):
        return Decimal(value.strip())
    return None


def pair(left: Any, right: Any) -> tuple[Any, Any] | None:
    """Both values in a form that can be ordered; None if they cannot be compared.

    Two texts are ordered as numbers if both are numbers, else by their characters.
    """
    kind, other_kind = type(left), type(right)
    if kind is int and other_kind is int:
        return left, right
    if kind in _FAST and other_kind in _FAST and -_EXACT <= left <= _EXACT and -_EXACT <= right <= _EXACT:
        return left, right
    left, right = _bare(left), _bare(right)
    one, other = number(left), number(right)
    if one is not None and other is not None:
        return one, other
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    if isinstance(left, bool) and isinstance(right, bool):
        return left, right
    if isinstance(left, timedelta) and isinstance(right, timedelta):
        return left, right
    if isinstance(left, date) or isinstance(right, date):
        return _both(_instant(left), _instant(right))
    if isinstance(left, UUID) or isinstance(right, UUID):
        return _both(_uuid(left), _uuid(right))
    if isinstance(left, time) and isinstance(right, time):
        return (left, right) if (left.utcoffset() is None) == (right.utcoffset() is None) else None
    return None


def _both(one: Any, other: Any) -> tuple[Any, Any] | None:
    return None if one is None or other is None else (one, other)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str) and len(value) <= _SHORT:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:  # at the end of the calendar
            return None
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None


def _uuid(value: Any) -> UUID | None:
    if isinstance(value, str) and len(value) <= _SHORT:
        try:
            return UUID(value)
        except ValueError:
            return None
    return value if isinstance(value, UUID) else None


def same(left: Any, right: Any) -> bool:
    """Equality: 150, 150.0 and "150" are equal; True and 1 are not, nor are the texts "150" and "150.0"."""
    todo = [(left, right)]  # a list and no recursion: data may be nested deeper than Python's stack
    while todo:
        one, other = todo.pop()
        kind = type(one)
        if kind is type(other) and kind in (str, int, bool):
            if one != other:
                return False
        elif isinstance(one, Mapping) and isinstance(other, Mapping):
            if one.keys() != other.keys():
                return False
            todo.extend((one[key], other[key]) for key in one)
        elif isinstance(one, Sequence) and is_list(one) and isinstance(other, Sequence) and is_list(other):
            if len(one) != len(other):
                return False
            todo.extend(zip(one, other, strict=True))
        elif not _same_scalar(_bare(one), _bare(other)):
            return False
    return True


def _same_scalar(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    try:
        both = pair(left, right)
        if both is not None:
            return bool(both[0] == both[1])
        return type(left) is type(right) and bool(left == right)
    except Exception:  # noqa: BLE001 - a table, for example, has no single answer to ==
        return False


def is_list(value: Any) -> bool:
    """Whether it is a list to conditions: a sequence or set, and no text or bytes."""
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes | bytearray | memoryview)


def within(item: Any, whole: Any) -> bool:
    """Whether a list has an equal item, a text has this text in it, or an object has this key."""
    if isinstance(whole, str | Mapping):
        return isinstance(item, str) and item in whole
    if not is_list(whole):
        return False
    if type(item) is str and number(item) is None:  # long lists of numbers have no text that is none
        return any(type(each) not in (int, float, bool) and same(item, each) for each in whole)
    return any(same(item, each) for each in whole)


def before(left: Any, right: Any) -> bool:
    """``left < right``; False where the two cannot be compared."""
    both = pair(left, right)
    return both is not None and bool(both[0] < both[1])


def not_after(left: Any, right: Any) -> bool:
    """``left <= right``; False where the two cannot be compared."""
    both = pair(left, right)
    return both is not None and bool(both[0] <= both[1])


# --- LIKE -------------------------------------------------------------------------------------------------

#: a piece of a pattern between two ``%``: its characters, None for ``_``; and as text, if it has no ``_``
_Piece = tuple[tuple[str | None, ...], str | None]


def like(text: str, pattern: str, *, fold: bool = False) -> bool:
    """SQL's ``LIKE``: ``%`` is any text, ``_`` one character, a backslash takes the sign after it as it is.

    The work grows with the length of the text, and for patterns with ``_`` by a bit of it per character of them.

    Args:
        text: what is searched.
        pattern: must fit the whole text.
        fold: upper and lower case are the same, character by character.

    Raises:
        ConditionError: the pattern is too long.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise ConditionError(f"a LIKE pattern has at most {LONGEST_PATTERN} characters, this one has {len(pattern)}")
    if fold:
        text, pattern = _folded(text), _folded(pattern)
    pieces = _pieces(pattern)
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(text) == len(first[0]) and _fits(text, 0, first)
    end = len(text) - len(last[0])
    position = len(first[0])
    if position > end or not _fits(text, 0, first) or not _fits(text, end, last):
        return False
    for piece in pieces[1:-1]:
        position = _find(text, position, end, piece)
        if position < 0:
            return False
    return True


@lru_cache(maxsize=512)
def _pieces(pattern: str) -> tuple[_Piece, ...]:
    pieces: list[list[str | None]] = [[]]
    signs = iter(pattern)
    for sign in signs:
        if sign == "%":
            pieces.append([])
        elif sign == "_":
            pieces[-1].append(None)
        else:
            pieces[-1].append(next(signs, "\\") if sign == "\\" else sign)
    return tuple((tuple(p), None if None in p else "".join(s for s in p if s is not None)) for p in pieces)


def _fits(text: str, position: int, piece: _Piece) -> bool:
    signs, plain = piece
    if plain is not None:
        return text.startswith(plain, position)
    return all(sign is None or text[at] == sign for at, sign in enumerate(signs, position))


def _find(text: str, position: int, end: int, piece: _Piece) -> int:
    """Where the first fit at or after a position ends; -1 if there is none before *end*."""
    signs, plain = piece
    if plain is not None:
        found = text.find(plain, position, end)
        return found + len(plain) if found >= 0 else -1
    # Bit i of `alive` says that the last i + 1 characters fit the first i + 1 signs. One shift per character of the
    # text tries all beginnings at once, so that no text makes this slow.
    anything = sum(1 << at for at, sign in enumerate(signs) if sign is None)
    masks: dict[str, int] = {}
    for at, sign in enumerate(signs):
        if sign is not None:
            masks[sign] = masks.get(sign, anything) | 1 << at
    alive, whole = 0, 1 << len(signs) - 1
    for at in range(position, end):
        alive = (alive << 1 | 1) & masks.get(text[at], anything)
        if alive & whole:
            return at + 1
    return -1


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    # of as many characters as before, so that "_" keeps its meaning: "ß" stays itself
    return folded if len(folded) == len(text) else "".join(map(_folded_sign, text))


@lru_cache(maxsize=4096)
def _folded_sign(sign: str) -> str:
    folded = sign.casefold()
    lower = sign.lower()
    return folded if len(folded) == 1 else lower if len(lower) == 1 else sign


# --- regular expressions ----------------------------------------------------------------------------------


def matches(text: str, pattern: str) -> bool:
    """Whether a regular expression is found in a text; RE2, which does not know exponential time.

    Raises:
        ConditionError: the pattern cannot be read, or it is too large for a text of this length.
    """
    regex = _regex(pattern)
    data = text.encode("utf-8", "surrogatepass")
    if regex.programsize * len(data) > _MOST_WORK:
        raise ConditionError(
            f"the regular expression {short(pattern)} is too large ({regex.programsize} instructions) for a text of "
            f"{len(data)} bytes; search a part of the text, or in a step"
        )
    return regex.search(data) is not None


@lru_cache(maxsize=128)
def _regex(pattern: str) -> Any:
    import re2

    if len(pattern) > LONGEST_PATTERN:
        raise ConditionError(f"a regular expression has at most {LONGEST_PATTERN} characters, not {len(pattern)}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 2 << 20  # per pattern; the default of 8 MiB would be a gigabyte for a full cache
    try:
        return re2.compile(pattern.encode("utf-8", "surrogatepass"), options=options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ConditionError(f"{short(pattern)} is no regular expression of RE2: {reason}") from None


def check_pattern(pattern: str) -> None:
    """Read a regular expression without a text.

    Raises:
        ConditionError: it cannot be read.
    """
    _regex(pattern)
