"""Verbs about other runs: events for them, children."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from dataflows_sdk.core.ids import deterministic_id
from dataflows_sdk.engine.decide import (
    Recorded,
    Take,
    Unfinished,
    decide_step,
)
from dataflows_sdk.engine.definitions import Event as Started
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.live import Frame
from dataflows_sdk.engine.observer import started_within
from dataflows_sdk.engine.units import Broadcast, Event, Message, Unit
from dataflows_sdk.engine.verb_base import VerbBase, json_text
from dataflows_sdk.errors import (
    OwnershipLost,
    RunCancelled,
    RunError,
    RunFailed,
    RunNotFoundError,
    RunQuarantined,
)


class RunVerbs(VerbBase):
    """Other runs."""

    __slots__ = ()

    # --- other runs --------------------------------------------------------------------------------------

    async def send_event(self, name: str, run: str | UUID, event: str, payload: Any = None) -> bool:
        """Put an event into the inbox of another run, once. False when that run is over."""
        engine, live = self.engine, self.live
        target = run if isinstance(run, UUID) else UUID(str(run))
        if live.stopping is not None:
            await self.unwound()
        frame = self.enter("send", name)
        try:
            decision = decide_step(frame.record, "send")
            if isinstance(decision, Recorded):
                return bool(await self.recorded(decision.record))
            self.fresh(frame)
            encoded = engine.values.encode(payload, f"payload of event {event!r}")
            status = await self.face.wait(lambda settle: engine.ask_status(target, settle))
            if status is None:
                raise RunNotFoundError(f"step {name!r} sends event {event!r} to run {target}, and there is no such run")
            over = status in ("succeeded", "failed", "cancelled")
            dedupe = f"{live.id}:{frame.key}"
            messages = () if over else (Message(target, "event", event, encoded.text, dedupe),)
            await self._complete(
                frame,
                "false" if over else "true",
                messages=messages,
                blobs=encoded.blobs,
                extra=f',"to":"{target}","event":{json_text(event)}',
            )
            return not over
        finally:
            live.leave(frame)

    async def emit(self, name: str, event: str, payload: Any = None) -> None:
        """An event for every run that waits for it, once."""
        live = self.live
        if live.stopping is not None:
            await self.unwound()
        frame = self.enter("emit", name)
        try:
            decision = decide_step(frame.record, "emit")
            if isinstance(decision, Recorded):
                live.replayed += 1
                return
            self.fresh(frame)
            encoded = self.engine.values.encode(payload, f"payload of event {event!r}")
            broadcast = Broadcast(deterministic_id(live.id, frame.key), event, encoded.text)
            await self._complete(
                frame,
                "null",
                broadcasts=(broadcast,),
                blobs=encoded.blobs,
                extra=f',"event":{json_text(event)}',
            )
        finally:
            live.leave(frame)

    async def invoke(
        self,
        name: str,
        workflow: Any,
        payload: Any = None,
        *,
        key: object = None,
        detach: bool = False,
        undo: Callable[..., Any] | None = None,
        item: Frame | None = None,
    ) -> Any:
        """Start another workflow as a child and give its result, or its id when detached."""
        live = self.live
        if live.stopping is not None:
            await self.unwound()
        frame = item if item is not None else self.enter("child", name, key)
        try:
            decision = decide_step(frame.record, "child")
            if isinstance(decision, Recorded):
                ended = decision.record.data.get("ended")
                if ended is not None:
                    live.replayed += 1
                    raise child_error(frame.name, decision.record.data["child"], ended["status"], ended)
                value = await self.recorded(decision.record)
                if undo is not None:
                    self._remember(frame, decision.record.seq, undo, value, None)
                return value
            if isinstance(decision, Unfinished):
                child = UUID(decision.record.data["child"])
                live.children[frame.key] = child
                self.fresh(frame)
                if not isinstance(workflow, str):
                    self._known(workflow)
            else:
                self.fresh(frame)
                child = await self._start_child(frame, workflow, payload, detach)
                if detach:
                    return str(child)
            value = await self._await_child(frame, child)
            if undo is not None:
                self._remember(frame, live.head.seq, undo, value, None)
            return value
        finally:
            live.leave(frame)

    def _known(self, workflow: Any) -> Workflow:
        """A child's workflow. One that came as an object is made known here, or nobody would take its runs on."""
        definition = self.engine.resolve(workflow)
        if not isinstance(workflow, str) and self.engine.catalog.get(definition.name) is None:
            self.engine.catalog.add(definition)
        return definition

    async def _start_child(self, frame: Frame, workflow: Any, payload: Any, detach: bool) -> UUID:
        engine, live = self.engine, self.live
        definition = self._known(workflow)
        event = definition.event(payload if isinstance(payload, Started) else Started(payload, "invoke"))
        encoded = engine.values.encode(event.raw, f"payload of child {frame.name!r}")
        # Any id will do: it is in the record, and run and record are written together or not at all.
        parent_key = None if detach else frame.key
        run = engine.new_run(definition, encoded.text, event=event, parent=live, parent_key=parent_key)
        if engine.observer is not None:
            started_within(run, engine.observer.traceparent(live, run.parent_key))
        child = run.id
        head = self._head(frame, "child", 1) + f',"child":"{child}","workflow":{json_text(definition.name)}'
        if detach:
            record = Event("step.completed", frame.key, head + f',"detached":true,"value":"{child}"}}')
        else:
            record = Event("step.waiting", frame.key, head + "}")
        unit = Unit(live.head, [record], blobs=encoded.blobs, runs=(run,), versions=engine.versions(definition))
        self._end(frame)
        if not detach:
            live.children[frame.key] = child
        await self.face.commit(unit)
        if detach and engine.observer is not None:
            engine.observer.completed(live, frame, "completed")
        if run.owner is not None and child in unit.created:
            await self.face.wait(lambda settle: engine.launch_child(run, definition, event, settle))
        return child

    async def _await_child(self, frame: Frame, child: UUID) -> Any:
        engine, live = self.engine, self.live
        name = f"child:{child}"
        outcome = await self._await_message(frame, name, None, None, None)
        if not isinstance(outcome, Take):
            raise OwnershipLost
        status, data = await self.face.wait(lambda settle: engine.ask_outcome(child, settle))
        live.children.pop(frame.key, None)
        consumed = (outcome.message.id,)
        if status == "succeeded":
            tree = data.get("value")
            await self._complete(frame, json.dumps(tree), consumed=consumed, extra=f',"child":"{child}"')
            return await engine.values.decode(self.face, tree)
        error = child_error(frame.name, str(child), status, data)
        end = f',"child":"{child}","ended":{json.dumps({"status": status, **data})}'
        unit = self._failed(frame, 1, 0.0, error, None, end)
        unit.consumed = consumed
        self._end(frame)
        await self.face.commit(unit)
        if engine.observer is not None:
            engine.observer.completed(live, frame, "failed")
        if engine.always_replay:
            await self._park(frame)
        raise error


def child_error(name: str, child: str, status: str, data: dict[str, Any]) -> RunError:
    """What a parent sees of a child that gave no result."""
    if status == "cancelled":
        return RunCancelled(f"child {name!r} (run {child}) was cancelled", child)
    if status == "quarantined":
        reason = data.get("reason") or {}
        return RunQuarantined(f"child {name!r} (run {child}) is quarantined: {reason.get('message')}", child, reason)
    error = data.get("error") or {}
    return RunFailed(
        f"child {name!r} (run {child}) failed: {error.get('type', 'Error')}: {error.get('message', '')}",
        child,
        error,
    )
