"""The verb that waits for a row of the warehouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dataflows_sdk.core.durations import Duration
from dataflows_sdk.core.ids import deterministic_id
from dataflows_sdk.engine.decide import Recorded, Take, Unfinished, decide_step
from dataflows_sdk.engine.live import Frame
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.verb_base import json_text
from dataflows_sdk.engine.verb_wait import WaitVerbs, add_span
from dataflows_sdk.errors import DataflowsError, DefinitionError, EventTimeoutError, StoreUnavailableError

#: what came of a wait: what is told of the change, or None when it took too long; and until when it lasted
Ended = Callable[[dict[str, Any] | None, datetime], Any]


class RowVerbs(WaitVerbs):
    """Waits for rows."""

    __slots__ = ()

    async def wait_for_change(
        self,
        name: str,
        table: str,
        key: Any,
        field: str,
        wanted: Mapping[str, Any] | None,
        *,
        timeout: Duration | None = None,
        on_timeout: str = "return",
        item: Frame | None = None,
        ended: Ended | None = None,
    ) -> Any:
        """Wait until a field of a row changes, or is as wanted; what happened, or None when that took too long.

        The wait is written down before the journal says that it began, and the row is looked at after that. A change
        of which nobody was told in between is seen by that look; one that comes later is told to the run's inbox.
        """
        span = self._patience(timeout, on_timeout)
        live = self.live
        frame = await self._entered("wait", name, item)
        try:
            decision = decide_step(frame.record, "wait")
            if isinstance(decision, Recorded):
                return self._given(await self.recorded(decision.record), name, on_timeout)
            self.fresh(frame)
            waits, wait = self._waits(), deterministic_id(live.id, frame.key)
            if isinstance(decision, Unfinished):
                deadline = decision.record.until
            else:
                begun = time.perf_counter()
                try:
                    asked = (wait, live.id, table, key, field, wanted)
                    await self.face.call(live, waits.begin, asked, {}, None)
                except DataflowsError as error:
                    if isinstance(error, StoreUnavailableError):
                        raise
                    await self.face.commit(self._failed(frame, 1, time.perf_counter() - begun, error, None))
                    error.__dict__["__dataflows_step__"] = (frame.key, 1)
                    raise
                deadline = None if span is None else add_span(self.engine.clock.now(), span)
                await self.face.commit(self._began(frame, wait, table, field, deadline))
            told, consumed, at = await self._change(frame, wait, deadline)
            value = told if ended is None else ended(told, at)
            encoded = self.engine.values.encode(value, f"what step {frame.name!r} waited for")
            await self._complete(frame, encoded.text, consumed=consumed, blobs=encoded.blobs)
            await self.face.call(live, waits.end, (wait,), {}, None)
            return self._given(value, name, on_timeout)
        finally:
            live.leave(frame)

    def _waits(self) -> Any:
        waits = self.engine.row_waits()
        if waits is None:
            raise DefinitionError("waiting for a row needs a context with a warehouse")
        return waits

    def _began(self, frame: Frame, wait: Any, table: str, field: str, deadline: datetime | None) -> Unit:
        data = self._head(frame, "wait", 1) + f',"event":"row:{wait}","object":{json_text(table)}'
        data += f',"field":{json_text(field)}'
        if deadline is not None:
            data += f',"until":"{deadline.isoformat()}"'
        return Unit(self.live.head, [Event("step.waiting", frame.key, data + "}")])

    async def _change(
        self, frame: Frame, wait: Any, deadline: datetime | None
    ) -> tuple[dict[str, Any] | None, tuple[int, ...], datetime]:
        """What happened, the message that told of it, and when; nothing when the time ran out."""
        if (told := await self._look(wait, deadline)) is not None:
            return self._at(told, ())
        outcome = await self._await_message(frame, f"row:{wait}", None, deadline, None)
        if isinstance(outcome, Take):
            told = await self.engine.values.decode(self.face, outcome.message.payload)
            return self._at(told, (outcome.message.id,))
        if (told := await self._look(wait, deadline)) is not None:  # written in time, and not told yet
            return self._at(told, ())
        return None, (), deadline or self.engine.clock.now()

    async def _look(self, wait: Any, deadline: datetime | None) -> dict[str, Any] | None:
        found = await self.face.call(self.live, self._waits().look, (wait,), {}, None)
        told: dict[str, Any] | None = None if found is None else found[1]
        at = None if told is None else told["at"]
        return None if at is not None and deadline is not None and at > deadline else told

    def _at(
        self, told: dict[str, Any], consumed: tuple[int, ...]
    ) -> tuple[dict[str, Any] | None, tuple[int, ...], datetime]:
        return told, consumed, told.get("at") or self.engine.clock.now()

    @staticmethod
    def _given(value: Any, name: str, on_timeout: str) -> Any:
        if value is None and on_timeout == "raise":
            raise EventTimeoutError(f"{name!r}: the row did not become what was waited for in time")
        return value


def wanted_of(op: str | None, value: Any, given: bool) -> dict[str, Any] | None:
    """What a field is to be; None for any change.

    Args:
        given: whether there is a *value*.
    """
    if op is None and not given:
        return None
    return {"op": op or "eq", **({"value": value} if given else {})}
