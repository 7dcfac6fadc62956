"""Where a run failed: the place at which a retry begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.ids import parse_id
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from dataflows_sdk.engine.state import RunState


def failure_of(run: Run) -> list[str | int | None]:
    """Where a failed run failed, as a path into children for a fork; ``[None]`` where it was in no step."""
    state = run.state()
    key = ((state.outcome or {}).get("error") or {}).get("step")
    record = state.steps.get(key) if isinstance(key, str) else None
    if record is None:
        key, record = _failed_child(state)
    if record is None:
        return [None]
    child = record.data.get("child")
    if record.op == "child" and isinstance(child, str):
        inner = Run(run._context, parse_id(child))
        rows = run._context._read("look", "run", (inner._id,))
        # the code of a child has to be here, because the parent's fork resolves it
        if rows and rows[0][3] == "failed" and run._context._knows(rows[0][1]):
            return [key, *failure_of(inner)]
    return [key]


def _failed_child(state: RunState) -> tuple[Any, Any]:
    """The child whose failure ended the run: what `invoke` raises names no step."""
    error = (state.outcome or {}).get("error") or {}
    if not str(error.get("type")).endswith(":RunFailed"):
        return None, None
    failed = [record for record in state.steps.values() if record.op == "child" and record.state == "failed"]
    if not failed:
        return None, None
    last = max(failed, key=lambda record: record.seq)
    return last.key, last
