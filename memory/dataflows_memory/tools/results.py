"""What a tool gave, as a JSON text of bounded size that says what is not there."""

from __future__ import annotations

import json
import math
from typing import Any

LIMIT = 20_000
#: items of a list, keys of an object and characters of a text that are kept, one try after the other
_TRIES = ((500, 8_000), (200, 2_000), (100, 1_000), (50, 500), (20, 300), (10, 200), (5, 100), (3, 60), (1, 30))
_DEEPEST = 30


def result_text(value: Any, limit: int = LIMIT) -> str:
    """A value as JSON of at most *limit* characters.

    What is too long is cut where it is long: lists lose their ends, texts theirs, and each place says how much. Values
    that JSON lacks are written as text.

    Args:
        value: whatever a tool gave.
        limit: at least 200.
    """
    limit = max(limit, 200)
    whole = plain(value)
    text = _json(whole)
    if len(text) <= limit:
        return text
    for items, characters in _TRIES:
        shorter = _json({"cut": f"This is a part: all of it has {len(text):,} characters.",
                         "result": _cut(whole, items, characters, 0)})  # fmt: skip
        if len(shorter) <= limit:
            return shorter
    room = limit - 120
    while True:
        last = _json({"cut": f"This is the beginning of {len(text):,} characters of JSON.", "text": text[:room]})
        if len(last) <= limit:
            return last
        room -= max(1, len(last) - limit)


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON lacks is text."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return _finite(to_jsonable_python(value, fallback=_shown, bytes_mode="base64"))
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return f"{value!r:.2000}"


def _finite(value: Any) -> Any:
    """JSON has no numbers that are none, and none without end."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return value


def _shown(value: Any) -> Any:
    to_json = getattr(value, "to_json", None)
    if callable(to_json) and not isinstance(value, type):
        try:
            made = to_json()
            return json.loads(made) if isinstance(made, str) else made
        except Exception:  # noqa: BLE001 - a value of whatever class; as text it can always be shown
            return f"{value!r:.2000}"
    return f"{value!r:.2000}"


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        # half a surrogate pair, or nested without end
        return json.dumps(f"{value!r:.2000}")
    return text


def _cut(value: Any, items: int, characters: int, depth: int) -> Any:
    if isinstance(value, str):
        if len(value) <= characters:
            return value
        return f"{value[:characters]}… ({len(value) - characters:,} more characters)"
    if depth >= _DEEPEST and isinstance(value, dict | list):
        return "… (deeper)"
    if isinstance(value, list):
        kept = [_cut(each, items, characters, depth + 1) for each in value[:items]]
        if len(value) > items:
            kept.append(f"… ({len(value) - items:,} more of {len(value):,})")
        return kept
    if isinstance(value, dict):
        found = {key: _cut(each, items, characters, depth + 1) for key, each in list(value.items())[:items]}
        if len(value) > items:
            found["…"] = f"{len(value) - items:,} more of {len(value):,}"
        return found
    return value
