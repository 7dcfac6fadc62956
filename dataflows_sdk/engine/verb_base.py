"""What the step verbs have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.retry import Retry
from dataflows_sdk.engine.faces import Face, Settle
from dataflows_sdk.engine.live import Frame, LiveRun, Pending
from dataflows_sdk.engine.state import StepRecord
from dataflows_sdk.engine.units import Broadcast, Event, Message, Unit
from dataflows_sdk.errors import (
    Cancelled,
)

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine


#: how often code may ignore that its run is unwound
_PATIENCE = 100


@lru_cache(maxsize=4096)
def json_text(text: str) -> str:
    """A string as JSON; names repeat, so they are kept."""
    return json.dumps(text)


class ReplayStopped(BaseException):
    """A dry replay came to the end of what is recorded."""

    def __init__(self, key: str, op: str) -> None:
        super().__init__(f"{op} {key}")
        self.key = key
        self.op = op


class VerbBase:
    """What every verb needs: the run, the face that waits, and the engine."""

    __slots__ = ("engine", "face", "live")

    def __init__(self, live: LiveRun, face: Face) -> None:
        self.live = live
        self.face = face
        self.engine: Engine = face.engine

    # --- common ground -----------------------------------------------------------------------------------

    async def unwound(self) -> None:
        """The run is being unwound and its code asks for more: it caught what was to end it, and may do so in a loop.

        Others get a turn in between; code that does not stop asking is left where it is, for good.
        """
        live = self.live
        live.ignored += 1
        await self.face.breathe(forever=live.ignored > _PATIENCE)

    def enter(self, op: str, name: str, key: object = None, *, ordered: bool = True) -> Frame:
        """A verb begins, asked for by whoever calls; see `LiveRun.enter`."""
        return self.live.enter(self.face.actor(), op, name, key, ordered=ordered)

    def fresh(self, frame: Frame) -> None:
        """From here on something is done that is not recorded: may it be?"""
        live = self.live
        if not frame.since and self.engine.observer is not None:
            frame.since = time.time_ns()
        if live.lost and live.is_lost(frame):
            raise Cancelled("another branch won the race")
        if live.dry:
            raise ReplayStopped(frame.key, frame.op)
        if live.stopping is not None:
            raise live.stopping
        if live.cancel is not None and not live.shielded:
            live.stopping = Cancelled(str(live.cancel.get("reason") or "the run was cancelled"))
            raise live.stopping

    async def recorded(self, record: StepRecord) -> Any:
        """Give what is recorded: the value, or the error raised again."""
        self.live.replayed += 1
        if record.state == "failed":
            error = self.engine.values.error(record.data.get("error") or {})
            error.__dict__["__dataflows_step__"] = (record.key, record.attempt)
            raise error
        return await self.engine.values.decode(self.face, record.data.get("value"), tagged=record.tagged)

    async def _complete(
        self,
        frame: Frame,
        value: str,
        *,
        consumed: tuple[int, ...] = (),
        messages: tuple[Message, ...] = (),
        broadcasts: tuple[Broadcast, ...] = (),
        blobs: tuple[Any, ...] = (),
        extra: str = "",
    ) -> None:
        data = f'{self._head(frame, frame.op, 1)}{extra},"value":{value}}}'
        unit = Unit(
            self.live.head,
            [Event("step.completed", frame.key, data)],
            blobs=blobs,
            consumed=consumed,
            messages=messages,
            broadcasts=broadcasts,
        )
        self.live.ran += 1
        await self.face.commit(unit)
        if self.engine.observer is not None:
            self.engine.observer.completed(self.live, frame, "completed")
        if self.engine.always_replay:
            await self._park(frame)

    def _failed(
        self,
        frame: Frame,
        attempt: int,
        took: float,
        error: BaseException,
        retry_at: datetime | None,
        extra: str = "",
    ) -> Unit:
        data = json.dumps(self.engine.values.error_data(error))
        when = "null" if retry_at is None else f'"{retry_at.isoformat()}"'
        text = f'{self._head(frame, frame.op, attempt)},"took":{took:.6f},"retry_at":{when}{extra},"error":{data}'
        if frame.started is not None and frame.started.seq:
            text += ',"long":true'
        return Unit(self.live.head, [Event("step.failed", frame.key, text + "}")])

    @staticmethod
    def _end(frame: Frame) -> None:
        """The step is over: a `step.started` that is not yet on its way is not worth writing."""
        frame.ended = True
        if frame.started is not None and not frame.started.seq:
            frame.started.void = True

    def _head(self, frame: Frame, op: str, attempt: int) -> str:
        order = f',"n":{frame.n}' if frame.n is not None else ""
        count = f',"attempt":{attempt}' if attempt != 1 else ""
        return f'{{"op":"{op}","name":{json_text(frame.name)}{order}{count}{frame.extra}'

    def _started(self, frame: Frame, attempt: int, shown: Any) -> str:
        given = "" if shown is None else f',"input":{shown.text}'
        return self._head(frame, frame.op, attempt) + given + "}"

    def _remember(self, frame: Frame, seq: int, undo: Callable[..., Any], value: Any, retry: Retry | None) -> None:
        self.live.undos.append((seq, frame.key, frame.name, undo, value, retry))

    async def _pause(self, frame: Frame, op: str, until: datetime | None) -> None:
        """Wait for an instant of the database's clock, in memory or by letting go of the run."""
        if until is None or until <= self.engine.clock.now():
            return
        pending = Pending(frame, op, until)
        await self.face.wait(lambda settle: self.engine.block(self.live, pending, settle))

    async def _park(self, frame: Frame) -> None:
        """For `always_replay`: nothing goes on from memory, every step is followed by a replay."""
        pending = Pending(frame, "replay", None)
        await self.face.wait(lambda settle: self.engine.block(self.live, pending, settle))

    async def _await_message(
        self, frame: Frame, name: str, match: dict[str, Any] | None, deadline: datetime | None, _since: Any
    ) -> Any:
        pending = Pending(frame, "wait", deadline, name, match)
        return await self.face.wait(lambda settle: self.engine.block(self.live, pending, settle))

    async def wait_group(self, start: Callable[[Settle], None]) -> Any:
        """Branches run; this one does not until they are done."""
        return await self.face.wait(start)
