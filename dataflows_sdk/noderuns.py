"""A run of a flow node by node: what each came to, in the words of a workflow service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dataflows_sdk.core.ids import deterministic_id
from dataflows_sdk.core.shown import Listing, ShownAsTable
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.engine.timeline import StepView
from dataflows_sdk.flow.kinds import is_trigger
from dataflows_sdk.flow.loops import take_apart
from dataflows_sdk.flow.model import FlowSpec


@dataclass(frozen=True, slots=True)
class StepRun(ShownAsTable):
    """One node of one run; in a loop one for every iteration.

    Attributes:
        id: the same at every look.
        key: its step in the journal.
        type: the node's type.
        status: pending, running, waiting, completed, failed, skipped or cancelled.
        input: the config with its templates filled in, secrets masked; for Python steps the arguments.
        loop_group_id, loop_index: which loop it was in, and for which item; None outside of loops.
    """

    id: UUID
    run_id: UUID
    key: str
    node_id: str
    type: str
    status: str
    attempt: int = 0
    input: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    loop_group_id: UUID | None = None
    loop_index: int | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


_STATUS = {"started": "running", "retrying": "running", "timed_out": "completed"}
_OPEN = frozenset({"running", "waiting"})


def step_runs(
    run: UUID, views: Iterable[StepView], events: Iterable[JournalEvent], spec: FlowSpec | None, status: str
) -> list[StepRun]:
    """The nodes of a run in the order in which they began, then those that were skipped or have not begun.

    Args:
        views: the timeline, which knows nothing of nodes that were not taken.
        events: the journal.
        spec: what ran, as far as it is known.
        status: of the run.
    """
    types = {node.id: node.type for node in spec.nodes} if spec is not None else {}
    found: dict[str, StepRun] = {}
    asked: list[StepView] = []
    for view in views:
        last = view.key.rpartition("/")[2]
        if "?" in last:
            asked.append(view)  # a part of a node: a condition of its own, or a question to people
        elif "[" not in last and not view.key.startswith("undo/"):
            found[view.key] = _step_run(run, view, view.key, types, status)
    for view in asked:
        key, _, part = view.key.rpartition("?")
        if key not in found and part.isdigit():
            found[key] = _step_run(run, view, key, types, status)
    for event in events:
        if event.kind == "step.skipped":
            node = str(event.data.get("name", event.key))
            found[event.key] = _made(run, event.key, node, types.get(node, "step"), "skipped")
    begun = {each.node_id for each in found.values()}
    waiting = [] if spec is None else [node for node in take_apart(spec).specs[None].nodes if node.id not in begun]
    return Listing(
        [
            *found.values(),
            *(_made(run, node.id, node.id, node.type, "pending") for node in waiting if not is_trigger(node.type)),
        ]
    )


def _made(run: UUID, key: str, node: str, kind: str, status: str, **told: Any) -> StepRun:
    group, index = _loop(key)
    loop = None if group is None else deterministic_id(run, f"loop:{group}")
    identifier = deterministic_id(run, f"node:{key}")
    return StepRun(identifier, run, key, node, kind, status, loop_group_id=loop, loop_index=index, **told)


def _step_run(run: UUID, view: StepView, key: str, types: dict[str, str], status: str) -> StepRun:
    stands = _STATUS.get(view.status, view.status)
    if stands in _OPEN and status in ("cancelled", "failed"):
        stands = "cancelled"
    return _made(
        run,
        key,
        view.name,
        types.get(view.name, view.op),
        stands,
        attempt=view.attempt,
        input=view.input,
        output=view.output if stands == "completed" else None,
        error=view.error if stands == "failed" else None,
        started_at=view.started_at,
        completed_at=view.finished_at if stands not in _OPEN else None,
    )


def _loop(key: str) -> tuple[str | None, int | None]:
    """The loop around a step and the number of its item: ``each[2]/one`` is 2 of ``each``."""
    around = key.rpartition("/")[0]
    if not around.endswith("]"):
        return None, None
    group, _, index = around[:-1].rpartition("[")
    return (group, int(index)) if index.isdigit() else (None, None)
