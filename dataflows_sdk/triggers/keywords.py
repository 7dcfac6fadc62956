"""The keywords of JSON Schema, so that no schema and no data can hang the process.

jsonschema does the work. Replaced are the keywords that it leaves to the regular expressions of Python, which may take
for ever, and the one that takes the square of the size. What a check costs is counted, and it ends where that is too
much.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError

__all__ = ["FORMATS", "LIMITED", "MAX_MESSAGE", "TooMuch", "compiled", "counting"]

MAX_MESSAGE: Final = 300
#: keywords that are applied, each some microseconds; half a million numbers, a megabyte of JSON, are just possible
_MAX_KEYWORDS: Final = 600_000
#: following a reference costs as much as some others
_COSTS: Final = {"$ref": 5, "$dynamicRef": 5}
#: signs searched times instructions of the pattern: RE2 does some four hundred million a second at its worst
_MAX_SEARCH: Final = 1_000_000_000
_MAX_PATTERN: Final = 1_000

# --- limits -----------------------------------------------------------------------------------------------


class TooMuch(Exception):
    """The check is given up."""


class _Spent:
    """What one check has cost so far."""

    __slots__ = ("keywords", "search")

    def __init__(self) -> None:
        self.keywords = 0
        self.search = 0


_SPENT: ContextVar[_Spent] = ContextVar("dataflows_input_check")


@contextmanager
def counting() -> Iterator[None]:
    """Counts from nothing what is done inside of it, and raises `TooMuch` there."""
    token = _SPENT.set(_Spent())
    try:
        yield
    finally:
        _SPENT.reset(token)


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """A pattern of RE2; ValueError says why it is none."""
    import re2

    if len(pattern) > _MAX_PATTERN:
        raise ValueError(f"the pattern is longer than {_MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 2 << 20
    try:
        return re2.compile(pattern.encode(), options=options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"{pattern[:80]!r} is no regular expression of RE2: {reason}") from None


def _found(pattern: str, text: str) -> bool:
    search = compiled(pattern)
    raw = text.encode(errors="replace")
    spent = _SPENT.get()
    spent.search += len(raw) * search.programsize
    if spent.search > _MAX_SEARCH:
        raise TooMuch
    return search.search(raw) is not None


_Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


def _counted(keyword: _Keyword, cost: int) -> _Keyword:
    def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[ValidationError] | None:
        spent = _SPENT.get()
        spent.keywords += cost
        if spent.keywords > _MAX_KEYWORDS:
            raise TooMuch
        return keyword(validator, value, instance, schema)

    return apply


# --- keywords that jsonschema leaves to the regular expressions of Python, or does in the square of the size -----


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError(f"{instance[:MAX_MESSAGE]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            for name, value in instance.items():
                if _found(pattern, str(name)):
                    yield from validator.descend(value, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [name for name in instance if name not in known and not any(_found(one, str(name)) for one in patterns)]
    if isinstance(rest, dict):
        for name in extra:
            yield from validator.descend(instance[name], rest, path=name)
    elif rest is False and extra:
        names = ", ".join(repr(str(name)[:80]) for name in extra[:10]) + (", …" if len(extra) > 10 else "")
        yield ValidationError(
            f"no other properties are allowed, and there {'is' if len(extra) == 1 else 'are'} {names}"
        )


def _unique_items(_validator: Any, unique: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list):
        seen: dict[Any, int] = {}
        for number, item in enumerate(instance):
            before = seen.setdefault(_key(item), number)
            if before != number:
                yield ValidationError(f"items {before} and {number} are equal, and have to differ")
                return


def _key(value: Any) -> Any:
    """A value that is equal for equal JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool) or value is None:
        return (str(value),)
    if isinstance(value, dict):
        return frozenset((name, _key(item)) for name, item in value.items())
    if isinstance(value, list):
        return (list, *map(_key, value))
    return value if value.__hash__ else repr(value)


def _limited(base: Any) -> Any:
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    extend: Any = validators.extend
    every = {**base.VALIDATORS, **own}
    return extend(base, {name: _counted(keyword, _COSTS.get(name, 1)) for name, keyword in every.items()})


#: a validator of jsonschema → the same with limits; to be used within `counting`
LIMITED: Final = {base: _limited(base) for base in (Draft7Validator, Draft202012Validator)}

# --- formats ----------------------------------------------------------------------------------------------

FORMATS: Final = FormatChecker(formats=())
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(r"\d\d:\d\d:\d\d(\.\d{1,12})?([zZ]|[+-]\d\d:\d\d)", re.ASCII)
_EMAIL: Final = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[^\s<>\"{}|\\^`]+", re.ASCII)


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and bool(date.fromisoformat(text))


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None and time.fromisoformat(text).tzinfo is not None


def _is_date_time(text: str) -> bool:
    day, sign, rest = text[:10], text[10:11], text[11:]
    return sign in {"T", "t", " "} and _is_date(day) and _is_time(rest) and bool(datetime.fromisoformat(text))


for _name, _test in {
    "date": _is_date,
    "time": _is_time,
    "date-time": _is_date_time,
    "uuid": lambda text: len(text) == 36 and bool(str(UUID(text))),
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "uri": lambda text: _URI.fullmatch(text) is not None,
    "ipv4": lambda text: bool(str(IPv4Address(text))),
    "ipv6": lambda text: bool(str(IPv6Address(text))),
}.items():

    def _apply(value: object, test: Callable[[str], bool] = _test) -> bool:
        return not isinstance(value, str) or test(value)

    FORMATS.checks(_name, raises=ValueError)(_apply)
