"""How often: a token bucket as a pure function, whose state is a JSON value that a row can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from dataflows_sdk.core.durations import Instant, parse_instant

__all__ = ["Bucket", "BucketState", "Taken", "take_all"]

#: ``{"full_at": n}``: when the bucket will be full again, in microseconds since 1970
BucketState: TypeAlias = Mapping[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
#: a number of JSON is exact up to here wherever it is read
_MAX_INT: Final = 2**53


class Taken(NamedTuple):
    """What came of asking for a token.

    Attributes:
        state: to be kept for the next time, whether there was a token or not.
        allowed: there was one, and it is taken.
        retry_after: seconds until there is one; 0 where it was allowed.
    """

    state: dict[str, int]
    allowed: bool
    retry_after: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """At most `rate` in `per_seconds`, and `burst` at once: ``Bucket(100, 60)`` is a hundred a minute.

    In any time of t seconds at most ``burst + t * rate / per_seconds`` are allowed. A token takes a whole number of
    microseconds to come back, rounded up, so that this holds exactly.

    Attributes:
        rate: how many, above 0.
        per_seconds: in how many seconds, above 0.
        burst: how many at once, an int above 0; None: `rate`, and at least 1.

    Raises:
        ValueError: a number that is none of these, or more than a token in a microsecond.
    """

    rate: float
    per_seconds: float = 1.0
    burst: int | None = None
    _size: int = field(init=False, repr=False, compare=False)
    _gap: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("rate", "per_seconds"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < _MAX_INT:
                raise ValueError(f"{name} of a limit is a number above 0, not {value!r}")
        size = self.burst if self.burst is not None else max(1, math.floor(self.rate))
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"burst of a limit is an int above 0, not {size!r}")
        # exact for floats too: Fraction would be the same, and slower
        above, below = (self.per_seconds * 1_000_000).as_integer_ratio()
        over, under = self.rate.as_integer_ratio()
        gap = -(-above * under // (below * over))
        if above * under < below * over:
            raise ValueError(f"a limit of {self.rate:g} in {self.per_seconds:g} s is more than one in a microsecond")
        if gap * size >= _MAX_INT // 4:
            raise ValueError(f"a limit of {self.rate:g} in {self.per_seconds:g} s takes centuries to fill up")
        object.__setattr__(self, "_size", size)
        object.__setattr__(self, "_gap", gap)

    def take(self, state: BucketState | None, now: Instant) -> Taken:
        """Take a token, if there is one.

        Args:
            state: of the time before; None for a full bucket. One of another bucket is taken as if this one had never
                been emptier than empty, so that limits can be changed.
            now: the database's time. Where it went back, nothing fills up until it is past the time before.

        Raises:
            ValueError: `state` is none.
            InvalidDurationError: `now` is not one moment.
        """
        at = _microseconds(now)
        full_at = self._full_at(state, at)
        wait = full_at + self._gap - self._gap * self._size - at
        if wait > 0:
            return Taken({"full_at": full_at}, False, wait / 1_000_000)
        return Taken({"full_at": full_at + self._gap}, True, 0.0)

    def available(self, state: BucketState | None, now: Instant) -> int:
        """How many tokens there are.

        Raises:
            ValueError: `state` is none.
            InvalidDurationError: `now` is not one moment.
        """
        at = _microseconds(now)
        return (self._gap * self._size - (self._full_at(state, at) - at)) // self._gap

    def _full_at(self, state: BucketState | None, at: int) -> int:
        full_at = at
        if state is not None:
            full_at = state.get("full_at", None) if isinstance(state, Mapping) else None
            if not isinstance(full_at, int) or isinstance(full_at, bool):
                raise ValueError(f'the state of a limit is {{"full_at": microseconds}}, not {str(state)[:80]}')
        # never fuller than full, never emptier than empty: the latter after a clock that went back
        return min(max(full_at, at), at + self._gap * self._size)


def take_all(buckets: Sequence[Bucket], states: Sequence[BucketState | None], now: Instant) -> tuple[list[Taken], bool]:
    """Take a token of each of several buckets, or of none: a workflow's and its project's.

    Returns:
        what to keep for each bucket, and whether all of them allowed it. Where one did not, the `state` of each holds
        what it held before, and `retry_after` is above 0 for those that were in the way.

    Raises:
        ValueError: not as many states as buckets, or one that is none.
        InvalidDurationError: `now` is not one moment.
    """
    taken = [bucket.take(state, now) for bucket, state in zip(buckets, states, strict=True)]
    if all(one.allowed for one in taken):
        return taken, True
    at = _microseconds(now)
    back = [{"full_at": bucket._full_at(state, at)} for bucket, state in zip(buckets, states, strict=True)]
    return [one._replace(state=state, allowed=False) for one, state in zip(taken, back, strict=True)], False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _microseconds(now: Instant) -> int:
    return (parse_instant(now) - _EPOCH) // _TICK
