"""Positions of sources as they are kept: JSON with types, and a hash by which one that comes again is known."""

from __future__ import annotations

import hashlib
from typing import Any

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.codec_read import Reader, parse
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.errors import NotSerializableError, SyncError

__all__ = ["hash_of", "read", "shown", "write"]

_LARGEST = 16_000_000
_CODEC = Codec(TYPES, inline_limit=_LARGEST)


def write(position: Any, what: str) -> str:
    """The text of a position.

    Raises:
        SyncError: it holds something that has no JSON, or is larger than 16 MB.
    """
    try:
        encoded = _CODEC.encode(position, f"cursor of {what}")
    except NotSerializableError as error:
        raise SyncError(f"{error}; a cursor is a text, a number, a moment, or a structure of these") from error
    if encoded.blobs:
        raise SyncError(f"the cursor of {what} is larger than {_LARGEST:,} bytes; a cursor says where, not what")
    return encoded.text


def read(text: str | None) -> Any:
    """The position of a text; None for none."""
    return None if text is None else Reader(TYPES, {}).value(parse(text))


def hash_of(text: str | None) -> str:
    """What a position is known by."""
    return hashlib.sha256((text or "null").encode()).hexdigest()[:32]


def shown(position: Any) -> Any:
    """What of a position is of interest to people: the cursor that the other side gave."""
    if not isinstance(position, dict):
        return position
    if "largest" in position and position["largest"] is not None:
        return position["largest"]
    for name in ("cursor", "since", "after"):
        if position.get(name) is not None:
            return position[name]
    ask = position.get("ask")
    if isinstance(ask, dict):
        return ask.get("url") or ask.get("params")
    return position or None
