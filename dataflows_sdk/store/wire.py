"""PostgreSQL's binary array format, written directly.

The writer sends arrays of hundreds of rows many times a second; a general adapter spends most of that time on
finding out types which are known here. Layout (``array_send`` in PostgreSQL's ``arrayfuncs.c``): number of
dimensions, null flag, element type, then per dimension its length and lower bound, then each element with its
length in bytes, -1 for null.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

_HEAD = Struct("!iiiii").pack
_EMPTY = Struct("!iii").pack
_INT4 = Struct("!i").pack
_LEN_INT4 = Struct("!ii").pack
_LEN_INT8 = Struct("!iq").pack
_NULL = _INT4(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_BYTEA, _INT8_OID, _INT4_OID, _TEXT, _TIMESTAMPTZ, _UUID = 17, 20, 23, 25, 1184, 2950


def _array(oid: int, count: int, parts: Iterable[bytes]) -> bytes:
    if not count:
        return _EMPTY(0, 0, oid)
    return _HEAD(1, 1, oid, count, 1) + b"".join(parts)


def uuids(values: Sequence[UUID | None]) -> bytes:
    """``uuid[]``."""
    return _array(_UUID, len(values), [b"\0\0\0\x10" + v.bytes if v is not None else _NULL for v in values])


def int4s(values: Sequence[int]) -> bytes:
    """``int4[]``."""
    return _array(_INT4_OID, len(values), [_LEN_INT4(4, v) for v in values])


def int8s(values: Sequence[int]) -> bytes:
    """``int8[]``."""
    return _array(_INT8_OID, len(values), [_LEN_INT8(8, v) for v in values])


def raw_uuids(values: Sequence[bytes]) -> bytes:
    """``uuid[]`` of elements made by `raw_uuid`."""
    return _array(_UUID, len(values), values)


def raw_uuid(value: UUID) -> bytes:
    """One element of ``uuid[]``, to be used many times."""
    return b"\0\0\0\x10" + value.bytes


_LENGTHS = [_INT4(length) for length in range(2048)]


def _item(raw: bytes) -> bytes:
    length = len(raw)
    return (_LENGTHS[length] if length < 2048 else _INT4(length)) + raw


def texts(values: Sequence[str | None]) -> bytes:
    """``text[]``; the strings must be free of NUL."""
    return _array(_TEXT, len(values), [_NULL if value is None else _item(value.encode()) for value in values])


_words: dict[str, bytes] = {}
_MAX_WORDS = 10_000


def words(values: Sequence[str]) -> bytes:
    """``text[]`` of strings that come again and again: kinds of events, names of steps."""
    known = _words
    if len(known) > _MAX_WORDS:
        known.clear()
    parts: list[bytes] = []
    for value in values:
        part = known.get(value)
        if part is None:
            part = known[value] = _item(value.encode())
        parts.append(part)
    return _array(_TEXT, len(values), parts)


def byteas(values: Sequence[bytes]) -> bytes:
    """``bytea[]``."""
    parts: list[bytes] = []
    for value in values:
        parts.append(_INT4(len(value)))
        parts.append(value)
    return _array(_BYTEA, len(values), parts)


def instants(values: Sequence[datetime | None]) -> bytes:
    """``timestamptz[]``: microseconds since 2000-01-01 UTC."""
    return _array(
        _TIMESTAMPTZ,
        len(values),
        [_LEN_INT8(8, (v - _EPOCH) // _MICROSECOND) if v is not None else _NULL for v in values],
    )


def instant(value: datetime | None) -> bytes | None:
    """One ``timestamptz``."""
    return None if value is None else ((value - _EPOCH) // _MICROSECOND).to_bytes(8, "big", signed=True)


def int4(value: int) -> bytes:
    """One ``int4``."""
    return _INT4(value)


def text(value: str) -> bytes:
    """One ``text`` or ``json``."""
    return value.encode()


def read_instant(raw: bytes) -> datetime:
    """A ``timestamptz`` in text format, as PostgreSQL prints it in UTC."""
    return datetime.fromisoformat(raw.decode())
