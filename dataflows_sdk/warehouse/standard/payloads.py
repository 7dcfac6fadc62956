"""Reading what APIs send: functions that take a value as it stands in JSON, or None, and name what they cannot read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from dataflows_sdk.errors import DefinitionError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSOFT = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/")


def payload(given: Any, what: str, key: str) -> tuple[Mapping[str, Any], str]:
    """An object and its id.

    Raises:
        DefinitionError: it is no object, or has no id.
    """
    if not isinstance(given, Mapping):
        raise DefinitionError(f"{what} is a JSON object, not {given!r:.100}")
    identifier = text(given.get(key))
    if identifier is None:
        raise DefinitionError(f"{what} has {key!r}, and this one has not: {', '.join(map(str, given)) or 'nothing'}")
    return given, identifier


def inner(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside of one; an empty one where there is something else, or nothing."""
    found = given.get(key)
    return found if isinstance(found, Mapping) else {}


def reference(given: Any) -> str | None:
    """The id of what is referred to, also where the whole object stands in its place."""
    return text(given.get("id") if isinstance(given, Mapping) else given)


def text(given: Any) -> str | None:
    """A text; numbers as they are written, and None for an empty one."""
    return None if given is None or given == "" or isinstance(given, bool) else str(given)


def flag(given: Any) -> bool:
    """True for true, and for the word."""
    return given is True or (isinstance(given, str) and given.lower() == "true")


def number(given: Any, what: str) -> int | None:
    """A whole number, also where it is sent as text."""
    if given is None or given == "":
        return None
    try:
        found = Decimal(str(given))
        if isinstance(given, bool) or found != found.to_integral_value():
            raise InvalidOperation
        return int(found)
    except (InvalidOperation, OverflowError, ValueError):
        raise DefinitionError(f"{what}={given!r:.100} is no whole number") from None


def decimal(given: Any, what: str) -> Decimal | None:
    """An amount."""
    if given is None or given == "":
        return None
    try:
        found = Decimal(str(given))  # a float as it was written, not as it is stored
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(given, bool) or not found.is_finite():
        raise DefinitionError(f"{what}={given!r:.100} is no amount")
    return found


def after_epoch(given: Any, what: str, *, per_second: int) -> datetime | None:
    """A moment that is sent as seconds or milliseconds since 1970."""
    count = number(given, what)
    if count is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=count * 1_000_000 // per_second)
    except OverflowError:
        raise DefinitionError(f"{what}={given!r:.100} is no moment") from None


def moment(given: Any, what: str) -> datetime | None:
    """A moment in ISO 8601 or as ``/Date(1552327126164+0000)/``; UTC where no zone stands there."""
    shown = text(given)
    if shown is None:
        return None
    found = _MICROSOFT.fullmatch(shown)
    if found is not None:
        return after_epoch(found[1], what, per_second=1_000)  # the zone behind it is only for showing
    try:
        read = datetime.fromisoformat(shown)
    except ValueError:
        raise DefinitionError(f"{what}={given!r:.100} is no moment") from None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def day(given: Any, what: str) -> date | None:
    """A day, from a day or a moment."""
    found = moment(given, what)
    return None if found is None else found.date()
