"""How runs come to their end: results, failures with their compensations, cancels, quarantine."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.homes import SCOPE
from dataflows_sdk.engine.decide import decide_leftovers
from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import Branch, Frame, LiveRun, current_branch, leftovers
from dataflows_sdk.engine.observer import about
from dataflows_sdk.engine.units import Event as Record
from dataflows_sdk.engine.units import HeadChange, Message, Unit
from dataflows_sdk.engine.verbs import Verbs
from dataflows_sdk.errors import (
    BlobMissingError,
    Cancelled,
    ControlFlow,
    NonDeterminismError,
    OwnershipLost,
    StoreUnavailableError,
    Suspended,
    UnknownTypeError,
)

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.engine")

_END = {
    "succeeded": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
    "quarantined": "run.quarantined",
}
#: errors that say "this run and this code do not fit", not "this run failed"
_MISFITS: dict[type[BaseException], str] = {
    NonDeterminismError: "changed-code",
    UnknownTypeError: "unknown-type",
    BlobMissingError: "blob-missing",
}


async def execute(engine: Engine, live: LiveRun, event: Event[Any]) -> None:
    """Call a run's code, again and again over its life, and write what came of it."""
    current_step.set(None)  # whoever started us may have been in a step
    left = None if engine.observer is None else engine.observer.activated(live)
    how = "interrupted"
    SCOPE.set(live.workflow.scope)
    try:
        outcome = await _outcome(engine, live, event)
        await write(engine, live, *outcome)
        how = "ended"
    except OwnershipLost:
        how = "lost"
        engine.let_go(live)
    except Suspended:
        how = "released" if live.closing else "suspended"
        engine.let_go(live)
    except StoreUnavailableError:
        engine.let_go(live)  # the engine is closed; whoever claims the run goes on
    except asyncio.CancelledError:
        engine.let_go(live)
        if not engine.closing and live.stopping is None:
            log.warning(
                "run %s was stopped from outside; it stays claimed until its lease ends", live.id, extra=about(live)
            )
    except Exception:
        engine.let_go(live)
        log.exception("run %s: the engine failed", live.id, extra=about(live))
    finally:
        if left is not None:
            left(how)


async def _outcome(engine: Engine, live: LiveRun, event: Event[Any]) -> tuple[str, dict[str, Any] | str]:
    """The run's end as status and data; control flow that is no end is raised."""
    error: BaseException
    try:
        value = await engine.calls.workflow(live, event)
        if live.stopping is not None:
            # The code swallowed what was to unwind it and returned: what it returned does not count.
            raise live.stopping
        decide_leftovers(leftovers(live))
        encoded = engine.values.encode(value, f"result of workflow {live.workflow.name!r}")
        if encoded.blobs:
            await engine.face.commit(Unit(live.head, blobs=encoded.blobs))
        return "succeeded", encoded.text
    except BaseException as raised:  # noqa: BLE001 - sorted out below
        error = raised
    if live.stopping is not None and not isinstance(error, OwnershipLost):
        error = live.stopping
    if isinstance(error, asyncio.CancelledError) and not engine.closing:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if live.cancel is None:
            # The workflow's own code let a CancelledError escape; nobody asked for the run's end.
            error = RuntimeError("the workflow's code raised CancelledError")
    return await _unhappy(engine, live, error)


async def _unhappy(engine: Engine, live: LiveRun, error: BaseException) -> tuple[str, dict[str, Any] | str]:
    if isinstance(error, Cancelled):
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        failures = await _compensate(engine, live)
        await _cancel_children(engine, live)
        reason = (live.cancel or {}).get("reason", "")
        return "cancelled", {"reason": reason, **({"undo_failed": failures} if failures else {})}
    if isinstance(error, ControlFlow | asyncio.CancelledError):
        raise error
    if isinstance(error, StoreUnavailableError) and engine.closing:
        raise error  # ours, at the end; any other time it is of another database, and an error like any other
    for kind, code in _MISFITS.items():
        if isinstance(error, kind):
            reason = {"code": code, "message": str(error)}
            if isinstance(error, NonDeterminismError):
                reason |= {"recorded": error.recorded, "asked": error.asked, "version": live.workflow.version}
            return "quarantined", {"reason": reason}
    failures = await _compensate(engine, live)
    data = engine.values.error_data(error)
    step = error.__dict__.get("__dataflows_step__")
    if step is not None:
        data["step"], data["attempts"] = step
    if failures:
        data["undo_failed"] = failures
    return "failed", {"error": data}


async def write(engine: Engine, live: LiveRun, status: str, data: dict[str, Any] | str) -> None:
    fault("run.finishing")
    text = f'{{"value":{data}}}' if isinstance(data, str) else json.dumps(data)
    messages: tuple[Message, ...] = ()
    if live.parent is not None and live.parent_key is not None and status != "quarantined":
        name = f"child:{live.id}"
        messages = (Message(live.parent, "child", name, "null", name),)
    unit = Unit(live.head, [Record(_END[status], "", text)], HeadChange(status), messages=messages)
    await engine.face.commit(unit)
    fault("run.finished")
    if engine.observer is not None:
        engine.observer.ended(live, status, text)
    engine.ended(live, status, text)


async def quarantine(engine: Engine, live: LiveRun, reason: dict[str, Any]) -> None:
    """Set a run aside without calling its code."""
    try:
        log.warning("run %s is quarantined: %s", live.id, reason.get("message"), extra=about(live))
        await write(engine, live, "quarantined", {"reason": reason})
    except (OwnershipLost, StoreUnavailableError):
        engine.let_go(live)


async def _compensate(engine: Engine, live: LiveRun) -> list[str]:
    """Undo completed steps, the last first. Shielded: a cancel does not stop it. Gives the keys that failed."""
    if not live.undos:
        return []
    live.stopping = None
    live.shielded = True
    branch = Branch(live, "undo/")
    current_branch.set(branch)
    verbs = Verbs(live, engine.face)
    failed: list[str] = []
    for _, key, name, undo, value, retry in sorted(live.undos, key=lambda entry: entry[0], reverse=True):
        fault("undo.begin")
        frame = Frame(branch, "undo", f"undo {name}", f"undo/{key}", None)
        frame.record = live.records.pop(frame.key, None)
        args = (value,) if _takes_value(undo) else ()
        try:
            await verbs.run(frame.name, undo, args, None, retry=retry, op="undo", item=frame)
        except Exception as error:  # noqa: BLE001 - one compensation that fails must not keep the others from running
            log.warning(
                "run %s: the compensation of step %s failed: %s",
                live.id,
                key,
                error,
                extra={**about(live), "step": key},
            )
            failed.append(key)
    return failed


def _takes_value(undo: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(undo).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD for p in parameters)


async def _cancel_children(engine: Engine, live: LiveRun) -> None:
    """A cancelled run takes the children that it waits for along."""
    if live.children:
        payload = json.dumps({"reason": "its parent was cancelled"})
        messages = tuple(
            Message(child, "cancel", "cancel", payload, f"cancel:{live.id}") for child in live.children.values()
        )
        await engine.face.commit(Unit(messages=messages))
