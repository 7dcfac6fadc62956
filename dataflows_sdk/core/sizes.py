"""Sizes in bytes, as people write them."""

from __future__ import annotations

import math
import re

from dataflows_sdk.errors import DefinitionError

__all__ = ["Size", "format_size", "parse_size"]

#: what `parse_size` takes; a number is bytes
Size = str | int

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("kMGTP", 1)}
_UNITS |= {f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", 1)}
_BY_LOWER = {unit.lower(): factor for unit, factor in _UNITS.items()}
_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_MOST = 2**63 - 1


def parse_size(value: Size) -> int:
    """Bytes: ``"20 GiB"``, ``"500 MB"``, ``1_000_000``. ``kB`` counts in thousands, ``KiB`` in 1,024s.

    Raises:
        DefinitionError: it is no size, or not above 0.
    """
    hint = 'write "500 MB", "20 GiB" or a number of bytes above 0'
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and (match := _TEXT.fullmatch(value)) and match[2].lower() in _BY_LOWER:
        found = math.floor(float(match[1]) * _BY_LOWER[match[2].lower()])
    else:
        raise DefinitionError(f"not a size: {value!r:.100}; {hint}")
    if not 0 < found <= _MOST:
        raise DefinitionError(f"not a size: {value!r:.100}; {hint}")
    return found


def format_size(count: float) -> str:
    """Bytes for people: ``"16 kB"``."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
