"""Ids of traces and spans that follow from a run's id, so that processes which never met name the same span."""

from __future__ import annotations

import hashlib
from uuid import UUID

from dataflows_sdk.core.ids import parse_id

_HALF = 64


def trace_number(run: UUID) -> int:
    """The trace of a run that was not started within another one.

    The first half is that of the run's id, so that people see what belongs together. The second half is a hash:
    samplers by ratio compare it with a border, and that of a UUID always begins with the same two bits.
    """
    low = hashlib.sha256(b"dataflows:trace:" + run.bytes).digest()[:8]
    return (run.int >> _HALF) << _HALF | int.from_bytes(low, "big") or 1


def span_number(run: UUID, what: str) -> int:
    """A span of a run that others must be able to name before it is there, or after its process is gone."""
    digest = hashlib.sha256(b"dataflows:span:" + run.bytes + what.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") or 1


def root_number(run: UUID, resumes: int) -> int:
    """The span of a run; one that was quarantined and resumed has another one from then on."""
    return span_number(run, f"run:{resumes}" if resumes else "run")


def step_number(run: UUID, key: str) -> int:
    """The span of a step that starts a child."""
    return span_number(run, f"step:{key}")


def trace_id(run: str | UUID) -> str:
    """The trace of a run, as 32 hexadecimal digits: what to search for in the tracing system.

    That of a run which was not started within a span of somebody else's; the trace of one that was is in the
    ``traceparent`` of its first event.

    Raises:
        InvalidIdError: that is no run id.
    """
    return f"{trace_number(parse_id(run)):032x}"
