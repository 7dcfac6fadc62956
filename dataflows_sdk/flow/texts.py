"""Values as text, where a template stands within a longer string, and for `text()` in expressions."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel

from dataflows_sdk.errors import TemplateError

#: lists and objects nested deeper than this are refused; JSON that people write has ten levels
DEEPEST = 100
#: where the types live whose `str` is a faithful text: Decimal, UUID, paths, addresses, URLs
_PLAINLY = frozenset({"decimal", "fractions", "ipaddress", "pathlib", "pydantic", "pydantic_core", "uuid", "zoneinfo"})


def too_deep() -> TemplateError:
    """The error for a config or value that is nested too deeply."""
    return TemplateError(f"lists and objects are nested more than {DEEPEST} levels deep")


def as_text(value: Any) -> str:
    """A value within a longer text.

    Texts as they are, JSON for numbers, booleans, lists and objects, ISO 8601 for times and durations, base64 for
    bytes, nothing for None. In JSON what is no JSON becomes its text, and sets are sorted.

    Raises:
        TemplateError: it has no text: a table, an object that is no data, a number of thousands of digits.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        ready = _json_ready(value, 0)
        return ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"a value of the type {type(value).__name__} does not become text: {error}") from None


def _json_ready(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return _json_ready(value.value, depth)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else float.__repr__(value)  # JSON knows no NaN and no infinity
    if type(value).__module__.partition(".")[0] in _PLAINLY:
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds, rest = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
        return f"{'-' * (value.days < 0)}PT{seconds}" + f".{rest:06}".rstrip("0") * (rest > 0) + "S"
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if depth >= DEEPEST:
        raise too_deep()
    if isinstance(value, Mapping):
        return {as_text(key): _json_ready(item, depth + 1) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        items = [_json_ready(item, depth + 1) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, ensure_ascii=False))
    if isinstance(value, Sequence) and not isinstance(value, memoryview):
        return [_json_ready(item, depth + 1) for item in value]
    return {name: _json_ready(item, depth + 1) for name, item in _fields(value)}


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
        yield from (value.__pydantic_extra__ or {}).items()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    else:
        raise TemplateError(
            f"{type(value).__module__}.{type(value).__qualname__} has no text; pass the value on by a string that is "
            "one template and nothing else, or make a text of it in a step"
        )
