"""Identifiers: time-ordered ids for new things, derived ids for things that must be found again.

A new id is a UUIDv7 (RFC 9562, method 1 of section 6.2): 48 bits of milliseconds, a 42-bit counter, 32 random
bits. Ids of one process come out strictly increasing, whatever the wall clock does, so that they are a
sort key and fall next to each other in a B-tree.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from dataflows_sdk.errors import InvalidIdError

__all__ = ["deterministic_id", "id_time", "idempotency_key", "new_id", "new_uuid", "parse_id"]

_COUNTER_BITS = 42
_COUNTER_END = 1 << _COUNTER_BITS
_POOL = 4096
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)


class _Sequence:
    """The state behind `new_id`: the last millisecond, its counter, and a pool of random bytes."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.millisecond = 0
        self.counter = 0
        # os.urandom costs more than all the rest together, so it is asked for a page at a time
        self.pool = b""
        self.at = _POOL

    def next(self) -> int:
        with self.lock:
            now = time.time_ns() // 1_000_000
            if now > self.millisecond:
                self.millisecond = now
                # the top bit stays free, so that a millisecond has room for 2**41 ids at least
                self.counter = int.from_bytes(os.urandom(6), "big") & (_COUNTER_END // 2 - 1)
            else:
                self.counter += 1
                if self.counter >= _COUNTER_END:
                    self.millisecond += 1
                    self.counter = 0
            at = self.at
            if at + 4 > _POOL:
                self.pool, at = os.urandom(_POOL), 0
            self.at = at + 4
            return (
                self.millisecond << 80
                # version 7 and 12 bits of the counter, variant and the other 30 bits of it, 32 random bits
                | (0x7000 | self.counter >> 30) << 64
                | (0x8000_0000 | self.counter & 0x3FFF_FFFF) << 32
                | int.from_bytes(self.pool[at : at + 4], "big")
            )


_sequence = _Sequence()

# a forked child would hand out the ids of its parent again: same counter, same pool
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sequence.reset)


def new_id() -> str:
    """A new UUIDv7 as text, greater than every id this process made before."""
    text = "%032x" % _sequence.next()  # noqa: UP031 - the fastest of the ways
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_uuid() -> UUID:
    """A new UUIDv7 as an object; see `new_id`."""
    return UUID(int=_sequence.next())


def parse_id(text: str | UUID) -> UUID:
    """The id that a person or a document wrote, as a UUID.

    Accepts the usual form and 32 hexadecimal digits, in either case, with white space around.

    Raises:
        InvalidIdError: it is something else.
    """
    if isinstance(text, UUID):
        return text
    if not isinstance(text, str):
        raise InvalidIdError(f"an id is a text, not {type(text).__name__}: {text!r:.80}")
    stripped = text.strip()
    if not _ID.fullmatch(stripped):
        raise InvalidIdError(f"not an id: {text[:80]!r}. Ids are UUIDs such as 0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77")
    return UUID(stripped)


def id_time(value: str | UUID) -> datetime | None:
    """When an id was made, to the millisecond (UTC); None for an id that carries no time."""
    uuid = parse_id(value)
    if uuid.version != 7:
        return None
    milliseconds = uuid.int >> 80
    try:
        return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    except (OverflowError, ValueError, OSError):
        return None


def idempotency_key(run_id: str | UUID, step_key: str) -> str:
    """The key a step gives to the outside world, so that doing it twice counts once.

    It depends on the run and on the step's identity, never on the attempt, the process or the time, and
    looks like a UUID because some services insist on that.
    """
    return str(_derive("step", run_id, step_key))


def deterministic_id(run_id: str | UUID, key: str) -> UUID:
    """The id of something that a run makes, the same at every replay: a child run, a timer, a sent event."""
    return _derive("child", run_id, key)


def _derive(purpose: str, run_id: str | UUID, key: str) -> UUID:
    if not isinstance(key, str) or not key:
        raise InvalidIdError(f"a key is a text that is not empty, not {key!r:.80}")
    # the purpose comes first and has a fixed alphabet: an idempotency key, which strangers see, is never
    # a run id
    text = f"dataflows:{purpose}:{parse_id(run_id)}:{key}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # version 8: made by our own rule
    number = number & ~(0b11 << 62) | 0b10 << 62
    return UUID(int=number)
