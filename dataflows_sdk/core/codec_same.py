"""Whether a value that was written and read again is the same: equal, and of the same types all the way
down.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from dataflows_sdk.core import frames
from dataflows_sdk.core.codec_classes import extra_attributes
from dataflows_sdk.core.codec_refused import Refused, segment
from dataflows_sdk.core.codec_types import type_name
from dataflows_sdk.core.payload import Payload
from dataflows_sdk.core.shown import Listing

__all__ = ["check_same"]


def check_same(first: Any, second: Any) -> None:
    """Compare a value with what came back of it.

    NaN is the same as NaN, -0.0 is not the same as 0.0, Decimal("1.10") is not Decimal("1.1"), and the
    order of a dict counts.

    Raises:
        Refused: they differ; it carries the path.
    """
    kind = type(first)
    if kind is Payload:
        kind = dict
    elif kind is Listing:
        kind = list
    if kind is not type(second):
        raise Refused(f"is of the type {type_name(kind)} and would come back as {type_name(type(second))}")
    compare = _COMPARE.get(kind)
    if compare is not None:
        compare(first, second)
    elif isinstance(first, Enum):
        _require(first is second)
    elif isinstance(first, BaseModel):
        _models(first, second)
    elif dataclasses.is_dataclass(first):
        _dataclasses(first, second)
    elif isinstance(first, tuple):
        _fields(dict(zip(kind._fields, first, strict=True)), dict(zip(kind._fields, second, strict=True)))
    elif (package := kind.__module__.partition(".")[0]) in frames.PACKAGES:
        reason = frames.difference(first, second)
        if reason is not None:
            raise Refused(f"is a {package}.{kind.__name__} that {reason}")
    else:
        _equal(first, second)


def _require(same: bool) -> None:
    if not same:
        raise Refused("would not come back equal")


def _equal(first: Any, second: Any) -> None:
    _require(bool(first == second))


def _floats(first: float, second: float) -> None:
    if first != first or second != second:  # noqa: PLR0124 - NaN
        _require(first != first and second != second)  # noqa: PLR0124
    else:
        _require(first == second and math.copysign(1, first) == math.copysign(1, second))


def _complex(first: complex, second: complex) -> None:
    _floats(first.real, second.real)
    _floats(first.imag, second.imag)


def _decimals(first: Decimal, second: Decimal) -> None:
    _require(str(first) == str(second))


def _moments(first: datetime | time, second: datetime | time) -> None:
    # == of aware ones compares moments; here the hands of the clock and the zone count too
    _require(
        first.replace(tzinfo=None) == second.replace(tzinfo=None)
        and first.fold == second.fold
        and type(first.tzinfo) is type(second.tzinfo)
        and first.tzinfo == second.tzinfo
    )


def _items(first: Iterable[Any], second: Iterable[Any]) -> None:
    first, second = list(first), list(second)
    _require(len(first) == len(second))
    index = 0
    try:
        for a, b in zip(first, second, strict=True):
            check_same(a, b)
            index += 1  # enumerate() would leave no index if the first comparison failed
    except Refused as refused:
        refused.segments.append(f"[{index}]")
        raise


def _dicts(first: dict[Any, Any], second: dict[Any, Any]) -> None:
    _require(len(first) == len(second))
    for (key, a), (other, b) in zip(first.items(), second.items(), strict=True):
        try:
            if type(key) is not str or type(other) is not str or key != other:
                check_same(key, other)
            check_same(a, b)
        except Refused as refused:
            refused.segments.append(segment(key))
            raise


def _sets(first: Iterable[Any], second: Iterable[Any]) -> None:
    rest = list(second)
    by_value = {item: item for item in rest}
    odd = []
    for item in first:
        # 1 finds True, and NaN finds nothing: those few are looked for one by one
        other = by_value.get(item)
        if other is None or not _is_same(item, other):
            odd.append(item)
        else:
            del by_value[item]
    left = list(by_value.values())
    for item in odd:
        match = next((index for index, other in enumerate(left) if _is_same(item, other)), None)
        if match is None:
            refused = Refused("would not come back equal")
            refused.segments.append("{…}")
            raise refused
        del left[match]
    _require(not left)


def _is_same(first: Any, second: Any) -> bool:
    try:
        check_same(first, second)
    except Refused:
        return False
    return True


def _fields(first: dict[str, Any], second: dict[str, Any]) -> None:
    _require(first.keys() == second.keys())
    for name, value in first.items():
        try:
            check_same(value, second[name])
        except Refused as refused:
            refused.segments.append(segment(name))
            raise


def _dataclasses(first: Any, second: Any) -> None:
    names = [field.name for field in dataclasses.fields(first)]
    _fields({name: getattr(first, name) for name in names}, {name: getattr(second, name) for name in names})
    lost = extra_attributes(first, frozenset(names)) - extra_attributes(second, frozenset(names))
    if lost:
        raise Refused(f"has attributes that are not fields and would be lost: {', '.join(sorted(lost))[:200]}")


def _models(first: BaseModel, second: BaseModel) -> None:
    known = type(first).model_fields
    _fields(*({name: model.__dict__.get(name) for name in known} for model in (first, second)))
    _fields(*(model.__pydantic_extra__ or {} for model in (first, second)))
    _fields(*(model.__pydantic_private__ or {} for model in (first, second)))
    _require(first.__pydantic_fields_set__ == second.__pydantic_fields_set__)


_COMPARE: dict[type, Callable[[Any, Any], None]] = {
    **dict.fromkeys((str, int, bool, type(None), date, timedelta, UUID, bytes, bytearray), _equal),
    float: _floats,
    complex: _complex,
    Decimal: _decimals,
    datetime: _moments,
    time: _moments,
    list: _items,
    tuple: _items,
    dict: _dicts,
    set: _sets,
    frozenset: _sets,
}
