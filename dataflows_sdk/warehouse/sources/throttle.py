"""What another side says of its limits: how long to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from dataflows_sdk.core.durations import parse_duration, parse_instant
from dataflows_sdk.errors import InvalidDurationError, RetryAfter

__all__ = ["asked_to_wait", "window_end"]

#: what says that one asks too often
_TOO_MANY = (429, 503)
#: who says "at once" is asked again after a second all the same
_LEAST = timedelta(seconds=1)
_FAR = timedelta(days=366)


def asked_to_wait(error: BaseException, now: datetime, *, github: bool = True) -> datetime | None:
    """Until when the other side asks to wait, if it does; None for an error that is an error.

    A 429 or 503 with ``Retry-After``, in seconds or as a date; a 403 or 429 that says ``X-RateLimit-Remaining: 0`` with
    the second of ``X-RateLimit-Reset``, as GitHub does; and a `RetryAfter` that a function raised.
    """
    if isinstance(error, RetryAfter):
        return _raised(error, now)
    try:
        status = error.response.status_code  # type: ignore[attr-defined]
        headers = error.response.headers  # type: ignore[attr-defined]
        found = {str(name).lower(): str(value) for name, value in headers.items()}
    except Exception:  # noqa: BLE001 - a property of a foreign class may raise anything
        return None
    if status in _TOO_MANY or (status == 403 and github):
        asked = _retry_after(found.get("retry-after"), now)
        if asked is not None:
            return max(asked, now + _LEAST)
    if github and status in (403, 429):
        end = window_end(found, now)
        return None if end is None else max(end, now + _LEAST)
    return None


def window_end(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When more may be asked, where the headers say that nothing is left (``X-RateLimit-…`` as GitHub documents them).

    Args:
        headers: by lower-case name.
        now: the moment, aware.
    """
    if headers.get("x-ratelimit-remaining", "").strip() != "0":
        return None
    try:
        end = datetime.fromtimestamp(int(headers.get("x-ratelimit-reset", "").strip()), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return end if now < end < now + _FAR else None


def _retry_after(header: str | None, now: datetime) -> datetime | None:
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            due = parsedate_to_datetime(header)
        except (ValueError, TypeError, OverflowError):
            return None
        return due.replace(tzinfo=UTC) if due.tzinfo is None else due
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return now + timedelta(seconds=min(seconds, _FAR.total_seconds()))


def _raised(error: RetryAfter, now: datetime) -> datetime | None:
    try:
        if isinstance(error.delay, datetime):
            return max(parse_instant(error.delay), now)
        if isinstance(error.delay, int | float) and error.delay < 0:
            return now
        return now + min(parse_duration(error.delay), _FAR)
    except InvalidDurationError:
        return None
