"""When a failed step is tried again, and after how long. Pure: no clock, no randomness, no sleeping.

What decides, in this order:

1. What is not an `Exception` (an interrupt, a cancellation, the engine's control flow) is never retried.
2. ``no_retry_on`` and `NonRetryableError` give up.
3. `RetryAfter` is retried, after the delay that it names (by the formula if that is not a delay).
4. An error that ``retry_on`` does not cover gives up.
5. Programming errors give up: `PROGRAMMING_ERRORS` come back the same at every attempt. Naming one of
   them, or a subclass, in ``retry_on`` overrides this; ``retry_on=(Exception,)`` does not.
6. HTTP answers, recognised by ``error.response.status_code`` (httpx, requests): 408, 425, 429, 500, 502,
   503 and 504 are retried, and their ``Retry-After`` header is honoured; any other 4xx gives up.
7. Everything else is retried by the formula of `Retry`.

An `ExceptionGroup` is retried if each of its exceptions is, after the longest delay that one of them asks
for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from dataflows_sdk.core.durations import MAX_DURATION, Duration, parse_duration, parse_instant
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import (
    DefinitionError,
    InvalidDurationError,
    NonDeterminismError,
    NonRetryableError,
    NotSerializableError,
    RetryAfter,
    StepCollisionError,
)

__all__ = [
    "DEFAULT_STEP_RETRY",
    "NO_RETRY",
    "PROGRAMMING_ERRORS",
    "Backoff",
    "Retry",
    "is_retryable",
    "next_delay",
]

Backoff = Literal["exponential", "linear", "fixed"]
ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]

#: errors that the same code makes again at every attempt
PROGRAMMING_ERRORS: tuple[type[Exception], ...] = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    SyntaxError,
    AssertionError,
    NotSerializableError,
    StepCollisionError,
    NonDeterminismError,
)

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACKOFFS = ("exponential", "linear", "fixed")
_DEFAULT_JITTER = 0.5


@dataclass(frozen=True)
class Retry(ShownAsTable):
    """How often a failed step is tried again.

    The delay before retry number ``n`` (counted from 1) is, with ``initial_delay`` = i and ``max_delay`` = m:

    * ``"exponential"``: ``min(m, i * 2**(n-1))``
    * ``"linear"``: ``min(m, i * n)``
    * ``"fixed"``: ``min(m, i)``

    Jitter takes a random part of it away, so that a thousand steps that failed together do not come back
    together: with jitter j the delay d lies evenly in ``[d * (1-j), d]``. It never makes a delay longer,
    so ``max_delay`` holds. ``True`` means 0.5, half to whole; ``1.0`` means anything from nothing to d;
    ``False`` or 0 means exactly d. A delay that the other side asked for (`RetryAfter`, ``Retry-After``)
    has no jitter and no cap, but uses up a retry.

    Args:
        max_retries: how many times after the first; ``Retry(3)`` is up to 4 attempts, ``Retry(0)`` is one.
        backoff: how the delays grow.
        initial_delay: before the first retry; kept as a timedelta.
        max_delay: no delay of the formula is longer; kept as a timedelta.
        jitter: True, False, or a share between 0 and 1.
        retry_on: exception classes that are retried, if the rules of this module do not exclude them.
        no_retry_on: exception classes that give up at once; wins over `retry_on`.

    Raises:
        DefinitionError: an argument makes no sense; InvalidDurationError for a delay.
    """

    max_retries: int = 3
    backoff: Backoff = "exponential"
    initial_delay: Duration = "1s"
    max_delay: Duration = "30s"
    jitter: bool | float = True
    retry_on: ExceptionTypes = (Exception,)
    no_retry_on: ExceptionTypes = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int) or self.max_retries < 0:
            raise DefinitionError(f"max_retries is a whole number, 0 or more, not {self.max_retries!r}")
        if self.backoff not in _BACKOFFS:
            raise DefinitionError(f"backoff is one of {', '.join(_BACKOFFS)}, not {self.backoff!r}")
        initial, longest = parse_duration(self.initial_delay), parse_duration(self.max_delay)
        if initial > longest:
            raise DefinitionError(
                f"initial_delay ({self.initial_delay!r}) is longer than max_delay ({self.max_delay!r}): "
                "every delay would be max_delay; raise max_delay"
            )
        if not isinstance(self.jitter, (bool, int, float)) or not 0 <= self.jitter <= 1:
            raise DefinitionError(f"jitter is True, False or a share between 0 and 1, not {self.jitter!r}")
        object.__setattr__(self, "initial_delay", initial)
        object.__setattr__(self, "max_delay", longest)
        object.__setattr__(self, "retry_on", _classes("retry_on", self.retry_on))
        object.__setattr__(self, "no_retry_on", _classes("no_retry_on", self.no_retry_on))

    @property
    def max_attempts(self) -> int:
        """How many times the step runs at most."""
        return self.max_retries + 1

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON: delays in seconds, exception classes by name, for people to read."""
        return {
            "max_retries": self.max_retries,
            "backoff": self.backoff,
            "initial_delay": _seconds(self.initial_delay),
            "max_delay": _seconds(self.max_delay),
            "jitter": self.jitter,
            "retry_on": [_class_name(kind) for kind in _classes("retry_on", self.retry_on)],
            "no_retry_on": [_class_name(kind) for kind in _classes("no_retry_on", self.no_retry_on)],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Retry:
        """The policy of a flow document or of `to_json`.

        ``initial_delay_ms`` and ``max_delay_ms`` (milliseconds) are accepted too. Exception classes are
        not taken over: a document holds only their names, which are never imported. A replay takes its
        policies from the code.

        Raises:
            DefinitionError: unknown keys, or values that make no sense.
        """
        if not isinstance(document, Mapping):
            raise DefinitionError(f"a retry policy is an object such as {{'max_retries': 3}}, not {document!r:.100}")
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in document.items():
            name, factor = (key[:-3], 0.001) if key in ("initial_delay_ms", "max_delay_ms") else (key, None)
            if name not in known:
                raise DefinitionError(f"a retry policy has no {key!r}; it knows {', '.join(sorted(known))}")
            if name in values:
                raise DefinitionError(f"a retry policy names {name!r} and {name + '_ms'!r}; keep one of them")
            if factor is not None:
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise DefinitionError(f"{key} is a number of milliseconds, not {value!r:.100}")
                value = value * factor
            if name not in ("retry_on", "no_retry_on"):
                values[name] = value
        return cls(**values)


def _classes(name: str, value: object) -> tuple[type[BaseException], ...]:
    given = value if isinstance(value, tuple) else tuple(value) if isinstance(value, list) else (value,)
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise DefinitionError(f"{name} holds exception classes such as (OSError, TimeoutError), not {kind!r:.100}")
    return given


def _seconds(value: Duration) -> float:
    return parse_duration(value).total_seconds()


def _class_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


#: what a step does that was given no policy
DEFAULT_STEP_RETRY = Retry(3, "exponential", "1s", "30s", True)
#: one attempt
NO_RETRY = Retry(0)


def next_delay(
    policy: Retry, attempt: int, error: BaseException, random01: float, now: datetime | None = None
) -> float | None:
    """How long to wait before the next attempt, in seconds; None to give up.

    Args:
        policy: the rules.
        attempt: the attempt that just failed, counted from 1.
        error: what it raised.
        random01: a random number in ``[0, 1]``, for the jitter; 0 gives the whole delay.
        now: the moment, aware. Only needed to turn a date (in `RetryAfter` or a ``Retry-After`` header)
            into a delay; without it a header with a date is ignored.

    Raises:
        ValueError: `attempt` or `random01` out of range, or a `RetryAfter` with a date and no `now`.
    """
    if isinstance(attempt, bool) or not isinstance(attempt, int) or attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt!r}")
    if not 0 <= random01 <= 1:
        raise ValueError(f"random01 lies between 0 and 1, not {random01!r}")
    if attempt > policy.max_retries or not is_retryable(policy, error):
        return None
    asked = _asked_delay(error, now)
    if asked is not None:
        return asked
    return _formula(policy, attempt) * (1 - (_DEFAULT_JITTER if policy.jitter is True else policy.jitter) * random01)


def _formula(policy: Retry, attempt: int) -> float:
    initial, longest = _seconds(policy.initial_delay), _seconds(policy.max_delay)
    if policy.backoff == "exponential":
        # beyond 2**64 every delay but zero has met the cap long ago, and a float would overflow
        return min(longest, initial * 2.0 ** min(attempt - 1, 64))
    if policy.backoff == "linear":
        return min(longest, initial * attempt)
    return min(longest, initial)


def is_retryable(policy: Retry, error: BaseException) -> bool:
    """Whether this error may be tried again at all, however often it was (see the rules of this module)."""
    if not isinstance(error, Exception):
        return False
    if isinstance(error, (NonRetryableError, *_classes("no_retry_on", policy.no_retry_on))):
        return False
    if isinstance(error, ExceptionGroup):
        return all(is_retryable(policy, inner) for inner in error.exceptions)
    if isinstance(error, RetryAfter):
        return True
    wanted = _classes("retry_on", policy.retry_on)
    if not isinstance(error, wanted):
        return False
    if isinstance(error, PROGRAMMING_ERRORS):
        return any(isinstance(error, kind) and issubclass(kind, PROGRAMMING_ERRORS) for kind in wanted)
    status = _http_status(error)
    return status is None or status in _RETRYABLE_STATUS or not 400 <= status < 500


def _asked_delay(error: BaseException, now: datetime | None) -> float | None:
    """The delay that the other side asked for, if it did."""
    if isinstance(error, ExceptionGroup):
        asked = [delay for inner in error.exceptions if (delay := _asked_delay(inner, now)) is not None]
        return max(asked, default=None)
    if isinstance(error, RetryAfter):
        return _retry_after_delay(error, now)
    if _http_status(error) in _RETRYABLE_STATUS:
        header = _retry_after_header(error)
        return None if header is None else _header_delay(header, now)
    return None


def _retry_after_delay(error: RetryAfter, now: datetime | None) -> float | None:
    """The delay that a step asked for; None where it is nonsense, because steering must not break the
    engine.
    """
    delay = error.delay
    if isinstance(delay, datetime):
        if now is None:
            raise ValueError(f"RetryAfter({delay!r}) names a date: next_delay() needs now=")
        try:
            return max(0.0, (parse_instant(delay) - parse_instant(now)).total_seconds())
        except InvalidDurationError:
            return None
    # "until - time.time()" goes below zero easily, and means: now
    if isinstance(delay, (int, float)) and delay < 0:
        return 0.0
    try:
        return _seconds(delay)
    except InvalidDurationError:
        return None


def _http_status(error: BaseException) -> int | None:
    # a property of a foreign class may raise anything: httpx raises RuntimeError where a request is not set
    try:
        status = error.response.status_code  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001
        return None
    return int(status) if isinstance(status, int) and not isinstance(status, bool) else None


def _retry_after_header(error: BaseException) -> str | None:
    try:
        headers = error.response.headers  # type: ignore[attr-defined]
        value = headers.get("Retry-After")
        if value is None:
            value = headers.get("retry-after")  # a plain dict of lower-case names
    except Exception:  # noqa: BLE001
        return None
    return str(value).strip() if value is not None else None


def _header_delay(header: str, now: datetime | None) -> float | None:
    """Seconds or an HTTP date; None for what is neither, because a broken header must not stop a retry."""
    try:
        seconds = float(header)
    except ValueError:
        return _date_delay(header, now)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, MAX_DURATION.total_seconds())


def _date_delay(header: str, now: datetime | None) -> float | None:
    if now is None:
        return None
    try:
        due = parsedate_to_datetime(header)
        # "-0000" comes out naive; RFC 9110 says that HTTP dates are in UTC
        due = due.replace(tzinfo=UTC) if due.tzinfo is None else due
        return max(timedelta(0), due - parse_instant(now)).total_seconds()
    except (ValueError, TypeError, OverflowError, InvalidDurationError):
        return None
