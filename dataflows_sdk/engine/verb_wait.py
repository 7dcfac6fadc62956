"""Verbs that wait: for a time, for an event."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from dataflows_sdk.core.durations import Duration, Instant, parse_duration, parse_instant
from dataflows_sdk.engine.decide import (
    Recorded,
    Take,
    Unfinished,
    decide_step,
)
from dataflows_sdk.engine.live import Frame
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.verb_base import VerbBase, json_text
from dataflows_sdk.errors import (
    DefinitionError,
    EventTimeoutError,
)


class WaitVerbs(VerbBase):
    """Waits."""

    __slots__ = ()

    async def _entered(self, op: str, name: str, item: Frame | None) -> Frame:
        """A wait begins, unless the run is being unwound."""
        if self.live.stopping is not None:
            await self.unwound()
        return item if item is not None else self.enter(op, name)

    @staticmethod
    def _patience(timeout: Duration | None, on_timeout: str) -> timedelta | None:
        """How long a wait lasts; DefinitionError where *on_timeout* is nothing that can be done then."""
        if on_timeout not in ("return", "raise"):
            raise DefinitionError(f"on_timeout is 'return' or 'raise', not {on_timeout!r}")
        return None if timeout is None else parse_duration(timeout)

    # --- time --------------------------------------------------------------------------------------------

    async def sleep(
        self,
        name: str,
        duration: Duration | None,
        until: Instant | None = None,
        *,
        item: Frame | None = None,
        value: Callable[[datetime], Any] | None = None,
    ) -> datetime:
        """Wait for a span or until an instant; that instant. What is recorded as the step's result, *value* says."""
        moment = None if until is None else parse_instant(until)
        span = parse_duration(duration) if moment is None else None  # type: ignore[arg-type]
        live = self.live
        frame = await self._entered("sleep", name, item)
        try:
            decision = decide_step(frame.record, "sleep")
            if isinstance(decision, Recorded):
                live.replayed += 1
                return decision.record.until or live.state.created_at or self.engine.clock.now()
            self.fresh(frame)
            if isinstance(decision, Unfinished) and decision.record.until is not None:
                wake = decision.record.until
            else:
                wake = moment if moment is not None else add_span(self.engine.clock.now(), span or timedelta(0))
                data = self._head(frame, "sleep", 1) + f',"until":"{wake.isoformat()}"}}'
                await self.face.commit(Unit(live.head, [Event("step.waiting", frame.key, data)]))
            await self._pause(frame, "sleep", wake)
            text = "null" if value is None else json.dumps(value(wake))
            await self._complete(frame, text, extra=f',"until":"{wake.isoformat()}"')
            return wake
        finally:
            live.leave(frame)

    async def wait_for_event(
        self,
        name: str,
        *,
        event: str | None = None,
        timeout: Duration | None = None,
        match: Mapping[str, Any] | None = None,
        on_timeout: str = "return",
        item: Frame | None = None,
        until: datetime | None = None,
        asked: Event | None = None,
    ) -> Any:
        """Wait until an event of a name arrives; None (or EventTimeoutError) when none came in time.

        *until* is the deadline as an instant; *asked* is written together with the beginning of the wait.
        """
        wanted = None if match is None else self.engine.values.tree(dict(match))
        span = self._patience(timeout, on_timeout)
        live = self.live
        frame = await self._entered("wait", name, item)
        try:
            decision = decide_step(frame.record, "wait")
            if isinstance(decision, Recorded):
                if decision.record.state == "timed_out":
                    live.replayed += 1
                    return self._timed_out(name, on_timeout)
                return await self.recorded(decision.record)
            self.fresh(frame)
            if isinstance(decision, Unfinished):
                deadline = decision.record.until
            else:
                deadline = until if span is None else add_span(self.engine.clock.now(), span)
                data = self._head(frame, "wait", 1) + f',"event":{json_text(event or name)}'
                if deadline is not None:
                    data += f',"until":"{deadline.isoformat()}"'
                if wanted is not None:
                    data += f',"match":{json.dumps(wanted)}'
                began = Event("step.waiting", frame.key, data + "}")
                await self.face.commit(Unit(live.head, [began] if asked is None else [began, asked]))
            outcome = await self._await_message(frame, event or name, wanted, deadline, None)
            if isinstance(outcome, Take):
                message = outcome.message
                payload = json.dumps(message.payload)
                await self._complete(frame, payload, consumed=(message.id,), extra=f',"message":{message.id}')
                return await self.engine.values.decode(self.face, message.payload)
            await self.face.commit(
                Unit(live.head, [Event("step.timed_out", frame.key, self._head(frame, "wait", 1) + "}")])
            )
            if self.engine.observer is not None:
                self.engine.observer.completed(live, frame, "timed_out")
            if self.engine.always_replay:
                await self._park(frame)
            return self._timed_out(name, on_timeout)
        finally:
            live.leave(frame)

    @staticmethod
    def _timed_out(name: str, on_timeout: str) -> None:
        if on_timeout == "raise":
            raise EventTimeoutError(f"no event {name!r} came in time")


def add_span(moment: datetime, span: timedelta) -> datetime:
    """An instant and a span from there.

    Raises:
        InvalidDurationError: beyond the calendar.
    """
    try:
        return moment + span
    except OverflowError:
        from dataflows_sdk.errors import InvalidDurationError

        raise InvalidDurationError(
            f"{span.days} days from now is beyond the calendar (the year 9999); use step.wait_for_event for 'never'"
        ) from None
