"""Events for runs, and the wish that they end."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.arguments import check_event_name
from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.engine import claims
from dataflows_sdk.engine.units import Broadcast, Message, Unit
from dataflows_sdk.errors import RunFinishedError, RunNotFoundError
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataflows_sdk.core.redact import Redactor
    from dataflows_sdk.engine.runner import Engine


class Signals:
    """A part of `Context`."""

    _engine: Engine
    _redactor: Redactor
    _works: bool
    _read: Callable[..., list[tuple[Any, ...]]]
    _knows: Callable[[str], bool]

    def send_event(
        self, run: Run | str | UUID, name: str, payload: Any = None, *, dedupe_key: str | None = None
    ) -> None:
        """Send an event to a run: it takes it at its next wait for that name, or at one it is already in.

        Args:
            dedupe_key: sending twice with the same key counts once.

        Raises:
            RunNotFoundError: there is no such run.
            RunFinishedError: it is already over, and did not get this event before.
        """
        check_event_name(name)
        target = _id_of(run)
        encoded = self._engine.values.encode(payload, f"payload of event {name!r}")
        message = Message(target, "event", name, encoded.text, dedupe_key or str(new_uuid()))
        try:
            self._send(message, encoded.blobs)
        except RunFinishedError:
            if dedupe_key is None or not self._read("look", "has_message", (target, dedupe_key)):
                raise

    def _tell_waiting(self, run: UUID, wait: UUID, payload: Any) -> None:
        """The row that a run waits for is as it wanted; see `RowWaits`."""
        encoded = self._engine.values.encode(payload, "the row that is waited for")
        message = Message(run, "event", f"row:{wait}", encoded.text, f"row:{wait}")
        with contextlib.suppress(RunFinishedError, RunNotFoundError):  # then nobody waits
            self._send(message, encoded.blobs)
        self._read("rowtriggers", "waited", ([wait],))

    def _send(self, message: Message, blobs: tuple[Any, ...] = ()) -> None:
        unit = Unit(messages=(message,), blobs=blobs)

        async def commit() -> None:
            await self._engine.face.commit(unit)

        self._engine.ask(commit())
        status = unit.delivered[0] if unit.delivered else "running"
        if status is None:
            raise RunNotFoundError(f"there is no run {message.run}; ctx.runs() lists those that exist")
        if status in ("succeeded", "failed", "cancelled"):
            raise RunFinishedError(f"run {message.run} is already over ({status}); it takes no {message.kind}")

    def emit(self, name: str, payload: Any = None, *, id: str | UUID | None = None) -> None:
        """Send an event to every run that waits for *name* now, or comes to such a wait later and began before.

        Args:
            id: emitting twice with the same id counts once.
        """
        check_event_name(name)
        encoded = self._engine.values.encode(payload, f"payload of event {name!r}")
        broadcast = Broadcast(new_uuid() if id is None else parse_id(id), name, encoded.text)

        async def commit() -> None:
            await self._engine.face.commit(Unit(broadcasts=(broadcast,), blobs=encoded.blobs))

        self._engine.ask(commit())

    def cancel(self, run: Run | str | UUID, reason: str = "") -> None:
        """Ask for a run's end. It comes at its next step or wait; compensations run before it is over.

        Raises:
            RunNotFoundError, RunFinishedError.
        """
        target = _id_of(run)
        payload = json.dumps({"reason": self._redactor.redact_text(reason)})
        self._send(Message(target, "cancel", "cancel", payload, "cancel:request"))
        self._cancel_idle(target)

    def _cancel_idle(self, target: UUID) -> None:
        """A run that nobody is at, that has nothing to undo, and whose code this process does not have is ended here
        and now; so is one that never began.

        Where the code is known it is woken instead, so that it sees the cancel at its wait.
        """
        whole: Any = self
        state = Run(whole, target).state()
        begun = state.claims or state.created.get("status") == "running"  # at once, where it was started
        if begun and self._works and self._knows(state.workflow):
            return
        needs_code = any(record.data.get("undo") for record in state.steps.values()) or any(
            record.op == "child" and record.state == "waiting" for record in state.steps.values()
        )
        if state.status == "running" or needs_code:
            return
        self._engine.ask(claims.cancel_without_code(self._engine, target))


def _id_of(run: Run | str | UUID) -> UUID:
    return run._id if isinstance(run, Run) else parse_id(run)
