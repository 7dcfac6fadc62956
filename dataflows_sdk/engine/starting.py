"""Starting runs: one unit, one commit, then the code begins.

Written with callbacks instead of coroutines: a start is the shortest thing that the engine does and the most frequent,
and a task of its own for each would cost as much as a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.codec import Encoded
from dataflows_sdk.engine.definitions import Event, Workflow
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import LiveRun
from dataflows_sdk.engine.observer import started_within
from dataflows_sdk.engine.outcome import Outcome
from dataflows_sdk.engine.placement import Placement
from dataflows_sdk.engine.reader import LetGoError
from dataflows_sdk.engine.state import RunState
from dataflows_sdk.engine.units import NewRun, RunHead, Unit

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

#: how often a key or slot may be free again when it is looked up whose it is
_LET_GO = 10
#: the run's id, and a promise of its end where it runs here
Started = tuple[UUID, Outcome | None]
Told = Callable[[Any, BaseException | None], None]


def start_run(
    engine: Engine,
    workflow: Workflow,
    event: Event[Any],
    told: Told,
    *,
    idempotency_key: str | None = None,
    run_id: UUID | None = None,
    queued: bool = False,
    placement: Placement | None = None,
) -> None:
    """Create a run and begin it; on the loop. After one commit *told* gets what was `Started`, or the exception.

    With an idempotency key that is taken, or an id that exists, it gets the run that has it.
    """
    try:
        what = f"payload of workflow {workflow.name!r}"
        batched = placement is not None and placement.batched
        encoded = engine.values.encode(event.raw[0] if batched else event.raw, what)
        run = engine.new_run(
            workflow,
            f"[{encoded.text}]" if batched else encoded.text,
            run_id,
            event=event,
            idempotency_key=idempotency_key,
            queued=queued,
            placement=placement,
        )
        started_within(run, event.traceparent)
    except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
        told(None, error)
        return

    def submit(left: int) -> None:
        unit = Unit(runs=(run,), blobs=encoded.blobs, versions=engine.versions(workflow))

        def settled(error: BaseException | None) -> None:
            if error is not None:
                told(None, error)
                return
            engine.knows(workflow)
            if run.id in unit.created:
                fault("run.created")
                outcome = Outcome() if run.owner is not None else None
                if outcome is not None:
                    engine.watched(run.id, outcome)
                begin(engine, run, workflow, event)
                told((run.id, outcome), None)
            elif idempotency_key is None and run.slot is None:
                told((run.id, None), None)
            else:
                again = partial(submit, left - 1) if left else None
                _tell_existing(engine, workflow, idempotency_key, run.slot, told, again)

        unit.settle = settled
        engine.writer.submit(unit)

    submit(_LET_GO)


def _tell_existing(
    engine: Engine, workflow: Workflow, key: str | None, slot: str | None, told: Told, again: Callable[[], None] | None
) -> None:
    async def find() -> None:
        try:
            run = await engine.reader.holder(workflow.name, key, slot)
        except LetGoError as error:
            if again is None:
                told(None, error)
            else:
                again()  # its place is free now
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            told(None, error)
        else:
            told((run, None), None)

    engine.keep(engine.loop.create_task(find()))


def start_runs(
    engine: Engine,
    workflow: Workflow,
    events: Sequence[Event[Any]],
    told: Told,
    placement: Placement | None = None,
) -> None:
    """Create many runs in one commit and begin those for which there is room; the others are queued."""
    if not events:
        told([], None)
        return
    place = placement if placement is not None else workflow.placement
    room = max(0, engine.concurrency - len(engine.live))
    if place.slot is None and not engine.begins_here(workflow, place):
        encoded = _encoded(engine, workflow, events, told)
        if encoded is None:
            return
        if not any(each.blobs for each in encoded):
            _queue_runs(engine, workflow, list(zip(events, encoded, strict=True)), told, placement)
            return
    started: list[Started | None] = [None] * len(events)
    errors: list[BaseException] = []
    left = len(events)

    def tell(number: int) -> Told:
        def one(result: Any, error: BaseException | None) -> None:
            nonlocal left
            left -= 1
            started[number] = result
            if error is not None:
                errors.append(error)
            if not left:
                told(None if errors else started, errors[0] if errors else None)

        return one

    for number, event in enumerate(events):
        start_run(engine, workflow, event, tell(number), queued=number >= room, placement=placement)


def _encoded(engine: Engine, workflow: Workflow, events: Sequence[Event[Any]], told: Told) -> list[Encoded] | None:
    what = f"payload of workflow {workflow.name!r}"
    try:
        return [engine.values.encode(event.raw, what) for event in events]
    except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
        told(None, error)
        return None


def _queue_runs(
    engine: Engine,
    workflow: Workflow,
    events: Sequence[tuple[Event[Any], Encoded]],
    told: Told,
    placement: Placement | None,
) -> None:
    """Create runs that all wait for a worker: one unit, in which they are there together or not at all."""
    now = engine.clock.now()
    runs = [
        started_within(
            engine.new_run(workflow, encoded.text, event=event, queued=True, placement=placement, now=now),
            event.traceparent,
        )
        for event, encoded in events
    ]
    unit = Unit(runs=tuple(runs), versions=engine.versions(workflow))

    def settled(error: BaseException | None) -> None:
        if error is not None:
            told(None, error)
            return
        engine.knows(workflow)
        begin(engine, runs[0], workflow, events[0][0])
        told([(run.id, None) for run in runs], None)

    unit.settle = settled
    engine.writer.submit(unit)


def begin(engine: Engine, run: NewRun, workflow: Workflow, event: Event[Any]) -> None:
    """A run was created: execute it, when it is ours."""
    if run.owner is None:
        if run.status == "sleeping" and run.wake_at is not None:
            engine.on_later(run.wake_at)
        else:
            engine.on_queued()
        return
    if run.id in engine.live:
        return  # an id that was started twice
    state = RunState(workflow=workflow.name)
    if run.depth:
        state.created = {"depth": run.depth}
    if run.traceparent is not None:
        state.created["traceparent"] = run.traceparent
    live = LiveRun(workflow, RunHead(run.id, 1, 1), state, run.parent)
    live.parent_key = run.parent_key
    engine.launch(live, event)
