"""Types of columns: what PostgreSQL calls them, what of Python fits, and which type holds the values of two.

The text forms are those that PostgreSQL reads without loss: they go into COPY and into arrays of parameters alike.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import AnyUrl
from pydantic_core import MultiHostUrl, Url, to_jsonable_python

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError

#: a type of ours and its name in PostgreSQL
POSTGRES = {
    "int": "bigint",
    "decimal": "numeric",
    "float": "double precision",
    "bool": "boolean",
    "text": "text",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "interval": "interval",
    "uuid": "uuid",
    "bytes": "bytea",
    "json": "jsonb",
}
#: what PostgreSQL's other types are taken for, when somebody changed a table by hand
_ALIKE = {
    "smallint": "int",
    "integer": "int",
    "real": "float",
    "character varying": "text",
    "character": "text",
    "citext": "text",
}
#: other words for a type, as people write them in a dict
_WORDS = {
    "integer": "int",
    "bigint": "int",
    "numeric": "decimal",
    "double precision": "float",
    "double": "float",
    "boolean": "bool",
    "str": "text",
    "string": "text",
    "varchar": "text",
    "datetime": "timestamptz",
    "timedelta": "interval",
    "bytea": "bytes",
    "blob": "bytes",
    "jsonb": "json",
}
#: from a type to those that hold all its values, nearest first
_WIDER: dict[str, tuple[str, ...]] = {
    "bool": ("text", "json"),
    "int": ("decimal", "float", "text", "json"),
    "float": ("text", "json"),
    "decimal": ("text", "json"),
    "date": ("timestamp", "text"),
    "time": ("text",),
    "timestamp": ("text",),
    "timestamptz": ("text",),
    "interval": ("text",),
    "uuid": ("text",),
    "bytes": (),
    "text": ("json",),
    "json": (),
}
#: classes whose text is all there is to them
_WRITTEN = (PurePath, IPv4Address, IPv6Address, IPv4Network, IPv6Network, Url, MultiHostUrl, AnyUrl)
LARGEST_INT = 2**63 - 1
#: whole numbers beyond this are not all floats
EXACT_FLOAT = 2**53
# \u0000 behind an even number of backslashes
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_TYPMOD = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Column(ShownAsTable):
    """A column of a table of the warehouse.

    Its `name` is as the user wrote it, its `type` a key of `POSTGRES`, and `nullable` is False for those of the key.
    """

    name: str
    type: str
    nullable: bool = True

    @property
    def postgres(self) -> str:
        return POSTGRES[self.type]

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


class Misfit(Exception):
    """A value does not fit its column; the message says why, without the name of the column."""


def type_named(word: str) -> str | None:
    """The type that people call so; None for no type."""
    plain = word.strip().lower()
    return plain if plain in POSTGRES else _WORDS.get(plain)


def type_of_postgres(name: str) -> str | None:
    """The type of a column that PostgreSQL describes so (``format_type``); None for one that we do not know."""
    for ours, theirs in POSTGRES.items():
        if theirs == name:
            return ours
    # with a precision: numeric(10,2), timestamp(3) with time zone, character varying(80)
    plain = " ".join(_TYPMOD.sub("", name).split())
    for ours, theirs in POSTGRES.items():
        if theirs == plain:
            return ours
    return _ALIKE.get(plain)


def holds(wide: str, narrow: str) -> bool:
    """Whether every value of *narrow* can be kept in *wide* without loss."""
    return wide == narrow or wide in _WIDER[narrow]


def join(one: str, other: str) -> str | None:
    """The narrowest type that holds the values of both; None if there is none.

    Moments with and without a zone have none: which zone the others are in is for the user to say.
    """
    if one == other:
        return one
    pair = {one, other}
    if pair == {"decimal", "float"}:
        return "decimal"  # a finite float is one; the others do not fit
    if pair == {"timestamp", "timestamptz"}:
        return None
    for each in (one, *_WIDER[one]):
        if holds(each, other):
            return each
    return None


# --- from Python ------------------------------------------------------------------------------------------


def type_of_value(value: Any, zone: tzinfo | None = None) -> str | None:
    """The type of a column that has this value; None for a missing one.

    Raises:
        Misfit: there is no such type.
    """
    if value is None:
        return None
    found = _OF_CLASS.get(type(value))
    if found is None:
        for cls, name in _OF_CLASS.items():
            if isinstance(value, cls):
                found = name
                break
    if found == "int" and isinstance(value, int) and not -LARGEST_INT - 1 <= value <= LARGEST_INT:
        return "decimal"
    if isinstance(value, datetime) and value.tzinfo is None and zone is None:
        return "timestamp"
    if found is not None:
        return found
    if isinstance(value, _WRITTEN):
        return "text"
    if isinstance(value, Enum):
        return type_of_value(value.value, zone)
    if isinstance(value, memoryview | bytearray):
        return "bytes"
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a scalar of numpy
        return type_of_value(value.item(), zone)
    if hasattr(value, "model_dump") or isinstance(value, Mapping | list | tuple | set | frozenset):
        return "json"
    raise Misfit(f"there is no type of column for {type(value).__module__}.{type(value).__qualname__}")


_OF_CLASS: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    Decimal: "decimal",
    str: "text",
    datetime: "timestamptz",
    date: "date",
    time: "time",
    timedelta: "interval",
    UUID: "uuid",
    bytes: "bytes",
    dict: "json",
    list: "json",
    tuple: "json",
}

#: a value as text that PostgreSQL reads as the column's type
Convert = Callable[[Any], str]


def converter(column: Column, *, coerce: bool = False, zone: tzinfo | None = None) -> Convert:
    """A function from a value that is there (not None) to its text.

    Args:
        coerce: also read numbers, moments and the like from texts.
        zone: what moments without a zone are in.

    The function raises `Misfit`.
    """
    convert = _CONVERT[column.type]
    if column.type == "timestamptz":
        convert = partial(convert, zone=zone)
    return partial(_coerced, column.type, convert) if coerce else convert


def _plain(value: Any) -> Any:
    """What is inside of an Enum member or a scalar of numpy."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return value.item()
    return value


def shortened(value: Any) -> str:
    """A value as a person wants to see it in a message."""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - whatever a user's class does
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _no(value: Any, wanted: str) -> Misfit:
    return Misfit(f"{shortened(value)} is no {wanted}")


def _int(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, float | Decimal) and -EXACT_FLOAT <= value <= EXACT_FLOAT and value == int(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _no(value, "whole number")
    if not -LARGEST_INT - 1 <= value <= LARGEST_INT:
        raise Misfit(f"a whole number of {value.bit_length()} bits is beyond 64; make the column a decimal")
    return str(int(value))


def _decimal(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _no(value, "number")
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            raise Misfit(f"{value} is no decimal number; None stands for a missing one")
        return repr(value)
    if isinstance(value, int):
        if abs(value) >= 10**1000:
            raise Misfit("a number of more than 1,000 digits")
        return str(int(value))
    if not value.is_finite():
        raise Misfit(f"{value} is no decimal number; None stands for a missing one")
    exponent = value.as_tuple().exponent
    if value.adjusted() > 1000 or (isinstance(exponent, int) and exponent < -1000):
        raise Misfit("a number of more than 1,000 digits")
    return str(value)


def _float(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _no(value, "number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if isinstance(value, int) and found != value:
        raise Misfit(f"the whole number {_short(value)} is not exact as a float; make the column a decimal")
    if math.isinf(found) and not (isinstance(value, Decimal) and value.is_infinite()):
        raise Misfit("a number beyond what a float holds; make the column a decimal")
    return repr(found)


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**40 else "of more than 40 digits"


def _bool(value: Any) -> str:
    value = _plain(value)
    if not isinstance(value, bool):
        raise _no(value, "bool")
    return "t" if value else "f"


def _text(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, _WRITTEN):
        value = str(value)
    if not isinstance(value, str):
        raise _no(value, "text")
    return _clean(value)


def _clean(text: str) -> str:
    if "\x00" in text:
        raise Misfit(f"the text has a NUL byte at {text.index(chr(0))}, which PostgreSQL cannot keep")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Misfit(f"the text has a lone surrogate at {error.start}: it is no Unicode") from None
    return text


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None and value.time() == time():
            return value.date().isoformat()
        raise Misfit(f"{value.isoformat()} is a moment, not a date")
    if not isinstance(value, date):
        raise _no(value, "date")
    return value.isoformat()


def _time(value: Any) -> str:
    if not isinstance(value, time):
        raise _no(value, "time")
    if value.tzinfo is not None:
        raise Misfit(f"{value.isoformat()} has a zone; a time of a day has none here")
    return value.isoformat()


def _timestamp(value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise Misfit(f"{value.isoformat()} has a zone, and the column has none; make it a timestamptz")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise _no(value, "moment")


def _timestamptz(value: Any, zone: tzinfo | None = None) -> str:
    if not isinstance(value, datetime):
        raise _no(value, "moment")
    if value.tzinfo is None:
        if zone is None:
            raise Misfit(f"{value.isoformat()} has no zone; say timezone='UTC' or which one it is in")
        value = value.replace(tzinfo=zone)
    try:
        return str(value.isoformat())
    except (OverflowError, ValueError) as error:
        raise Misfit(f"{value!r} is no moment of the calendar: {error}") from None


def _interval(value: Any) -> str:
    if not isinstance(value, timedelta):
        raise _no(value, "span of time")
    return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"


def _uuid(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    raise _no(value, "UUID")


def _bytes(value: Any) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _no(value, "bytes")
    return "\\x" + bytes(value).hex()


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = _json_of_objects(value)
    if "u0000" in text and _NUL.search(text):
        raise Misfit("a text in the JSON has a NUL byte, which PostgreSQL cannot keep")
    return _clean(text)


def _json_of_objects(value: Any) -> str:
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants", bytes_mode="base64")
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        if "compliant" in str(error):
            raise Misfit("NaN and infinity are no JSON; None stands for a missing number") from None
        raise Misfit(f"it cannot be written as JSON: {error}") from None


_CONVERT: dict[str, Callable[..., str]] = {
    "int": _int,
    "decimal": _decimal,
    "float": _float,
    "bool": _bool,
    "text": _text,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "interval": _interval,
    "uuid": _uuid,
    "bytes": _bytes,
    "json": _json,
}


# --- as asked: coerced ------------------------------------------------------------------------------------


def _coerced(kind: str, convert: Convert, value: Any) -> str:
    try:
        return convert(value)
    except Misfit:
        found = _read(kind, value)
        if found is None:
            raise
        return convert(found)


_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "1", "on"}), frozenset({"false", "f", "no", "n", "0", "off"})


def _read(kind: str, value: Any) -> Any:
    """A value of another kind read as one of this kind; None where that would be a guess."""
    value = _plain(value)
    if kind == "text":
        return None if isinstance(value, bytes | bytearray | memoryview) else _as_text(value)
    if kind == "bool" and isinstance(value, int) and value in (0, 1):
        return bool(value)
    if kind in ("int", "decimal", "float") and isinstance(value, bool):
        return int(value)
    if kind == "date" and isinstance(value, datetime):
        return None
    if kind == "timestamptz" and isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        return _READ[kind](text) if kind in _READ else None
    except (ValueError, ArithmeticError):
        return None


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int | float | Decimal | UUID | timedelta):
        return str(value)
    return _json(value)


def _whole(text: str) -> int:
    if len(text) > 1000:
        raise ValueError
    return int(text)


def _flag(text: str) -> bool | None:
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


_READ: dict[str, Callable[[str], Any]] = {
    "int": _whole,
    "decimal": Decimal,
    "float": float,
    "bool": _flag,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": datetime.fromisoformat,
    "uuid": UUID,
    "json": json.loads,
}


def check_name(name: Any, what: str, largest: int = 63) -> str:
    """A name that PostgreSQL and DuckDB take, as it is.

    Raises:
        DefinitionError: it is no text, empty, too long, or has a NUL byte.
    """
    if not isinstance(name, str):
        raise DefinitionError(f"{what} is a text, not {name!r}")
    if not name.strip():
        raise DefinitionError(f"{what} is empty")
    if "\x00" in name:
        raise DefinitionError(f"{what} {name!r} has a NUL byte")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise DefinitionError(f"{what} {name!r} is no Unicode") from None
    if size > largest:
        raise DefinitionError(
            f"{what} {name[:40]!r}… has {size} bytes, and {largest} are the most; give it a shorter one"
            + (", rename={...} says from which" if what.startswith("the column") else "")
        )
    return name
