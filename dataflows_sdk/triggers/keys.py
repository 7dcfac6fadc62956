"""The key that makes a run happen once."""

from __future__ import annotations

import hashlib

__all__ = ["run_key"]


def run_key(workflow_id: str, trigger_event_id: str) -> str:
    """The idempotency key of the run that an event starts: sha256 of both texts, one behind the other.

    Returns:
        64 lower-case hex digits.

    Raises:
        TypeError: one of them is not a str.
        ValueError: one of them is empty, or is not valid Unicode.
    """
    for name, value in (("workflow_id", workflow_id), ("trigger_event_id", trigger_event_id)):
        if not isinstance(value, str):
            raise TypeError(f"{name} is a str, not {type(value).__name__}")
        if not value:
            raise ValueError(f"{name} is empty, so the key would not tell events apart")
    return hashlib.sha256((workflow_id + trigger_event_id).encode()).hexdigest()
