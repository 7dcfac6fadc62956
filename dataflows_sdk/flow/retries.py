"""Retry policies between Python (`core.retry.Retry`) and the document, which counts in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.flow.model import RetrySpec

if TYPE_CHECKING:
    from dataflows_sdk.core.retry import Retry


def retry_spec(retry: Any) -> RetrySpec:
    """What a document can hold of a retry policy: a `Retry`, a number of retries, or a mapping in the
    document's words.

    Raises:
        ValueError: none of these, or out of range (pydantic's ValidationError is one).
    """
    if isinstance(retry, RetrySpec):
        return retry
    if isinstance(retry, bool):
        raise ValueError(f"a retry is a Retry, a number of retries or a mapping, not {retry!r}")
    if isinstance(retry, int):
        return RetrySpec(max_retries=retry)
    if isinstance(retry, Mapping):
        return RetrySpec.model_validate(dict(retry))
    if not hasattr(retry, "max_retries"):
        raise ValueError(f"a retry is a Retry, a number of retries or a mapping, not {retry!r}")
    fields: dict[str, Any] = {
        "max_retries": retry.max_retries,
        "backoff": getattr(retry.backoff, "value", retry.backoff),
        "initial_delay_ms": _milliseconds(retry.initial_delay),
        "max_delay_ms": _milliseconds(retry.max_delay),
        "jitter": retry.jitter,
    }
    return RetrySpec.model_validate(fields)


def needs_binding(retry: Any) -> bool:
    """Whether a policy names exception classes, which a document cannot hold."""
    return bool(getattr(retry, "no_retry_on", ())) or getattr(retry, "retry_on", (Exception,)) != (Exception,)


def retry_of(spec: RetrySpec) -> Retry:
    """The policy that a document asks for; DefinitionError if it makes no sense."""
    from dataflows_sdk.core.retry import Retry

    fields: dict[str, Any] = {
        "max_retries": spec.max_retries,
        "backoff": spec.backoff,
        "initial_delay": spec.initial_delay_ms / 1000,
        "max_delay": spec.max_delay_ms / 1000,
    }
    # A document says what happens: without a word about it nothing is drawn at random.
    fields["jitter"] = spec.jitter if spec.jitter is not None else False
    return Retry(**fields)


def _milliseconds(delay: Any) -> int | float:
    from dataflows_sdk.core.durations import parse_duration

    found = parse_duration(delay) / timedelta(milliseconds=1)
    return int(found) if found.is_integer() else found
