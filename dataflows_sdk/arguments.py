"""What callers of a context may say, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from dataflows_sdk.core.durations import Duration, Instant, parse_duration, parse_instant
from dataflows_sdk.errors import DefinitionError, InvalidDurationError

STATUSES = frozenset({"queued", "running", "sleeping", "waiting", "succeeded", "failed", "cancelled", "quarantined"})


def _is_text(value: object) -> bool:
    """Whether it is a text that PostgreSQL takes: not empty, and without lone surrogates."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_key(idempotency_key: str | None) -> str | None:
    """An idempotency key, or None; DefinitionError for anything else."""
    if idempotency_key is not None and (not _is_text(idempotency_key) or "\0" in idempotency_key):
        raise DefinitionError(f"an idempotency key is a text, not {idempotency_key!r}")
    return idempotency_key


def check_event_name(name: object) -> None:
    """The name of an event is a line of text; DefinitionError for anything else."""
    if not _is_text(name) or "\n" in str(name) or "\0" in str(name):
        raise DefinitionError(f"an event's name is a line of text, not {name!r}")


def check_statuses(status: str | Sequence[str] | None) -> list[str] | None:
    """One status or several as a list; DefinitionError names those that exist."""
    if status is None:
        return None
    wanted = [status] if isinstance(status, str) else list(status)
    for word in wanted:
        if word not in STATUSES:
            raise DefinitionError(f"there is no status {word!r}; there are {', '.join(sorted(STATUSES))}")
    return wanted


def moment_or_ago(value: Instant | Duration, now: datetime | None = None) -> datetime:
    """An instant as it is, a duration as so long ago."""
    if isinstance(value, date) or (isinstance(value, str) and value[:4].isdigit() and value[4:5] == "-"):
        moment: datetime = parse_instant(value)
        return moment
    try:
        return (now or datetime.now(UTC)) - parse_duration(value)
    except InvalidDurationError as error:
        raise InvalidDurationError(f'{error}; or an instant, "2026-01-31T12:00:00+00:00"') from None
