"""What may be remembered and asked: checks of what a caller gives."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dataflows_memory.items import ORIGINS
from dataflows_memory.store import check_name
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.engine.state import TERMINAL
from dataflows_sdk.errors import NotSerializableError, RecallError

#: letters of an item
_LONGEST = 10_000_000


def check_ref(ref: object) -> str:
    """A name of what is remembered.

    Raises:
        RecallError: it is none.
    """
    check_name("ref", ref)
    return str(ref)


def ref_of(text: Any) -> str:
    """The same text is the same thing."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text)) if isinstance(text, str) else ""


def checked_text(text: Any) -> str:
    if not isinstance(text, str):
        raise RecallError(f"a text is remembered, not {type(text).__name__}: {text!r:.80}")
    if not text.strip():
        raise RecallError("an empty text cannot be remembered: there is nothing to find it by")
    if "\0" in text:
        raise RecallError("the text has a NUL character, which PostgreSQL keeps in no text")
    if len(text) > _LONGEST:
        raise RecallError(
            f"the text has {len(text):,} letters, an item at most {_LONGEST:,}; cut it: add_document() does"
        )
    if REDACTOR.has_literal(text):
        raise NotSerializableError(
            "the text holds a declared secret, which is kept in no memory: take it out, or mask it with "
            "REDACTOR.redact_text(text)"
        )
    return text.encode("utf-8", "replace").decode("utf-8")


def checked_meta(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        text = json.dumps(dict(meta or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecallError(f"meta is a JSON object, and this is none: {error}") from None
    if "\\u0000" in text:
        raise RecallError("meta has a NUL character, which PostgreSQL keeps in no text")
    found: dict[str, Any] = json.loads(text)
    return found


def origins(origin: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if origin is None:
        return None
    given = (origin,) if isinstance(origin, str) else tuple(origin)
    for each in given:
        if each not in ORIGINS:
            raise RecallError(f"origin={each!r} is none of {', '.join(ORIGINS)}")
    return given


def number(item: Any) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < 1 << 63:
        raise RecallError(f"an item is named by its number, not by {item!r}")
    return item


def excluded(runs: Any) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Runs that are left out, by their ids and by their states."""
    ids: list[str] = []
    states: list[str] = []
    for each in [runs] if isinstance(runs, str) else runs:
        name = getattr(each, "id", each)
        if name in TERMINAL:
            states.append(name)
            continue
        try:
            ids.append(str(UUID(str(name))))
        except ValueError:
            raise RecallError(
                f"without_runs={name!r} is neither a run, nor its id, nor one of {', '.join(sorted(TERMINAL))}"
            ) from None
    return tuple(ids) or None, tuple(states) or None
