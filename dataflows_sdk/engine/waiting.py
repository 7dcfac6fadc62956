"""Runs that wait: timers and inboxes of those in memory, and letting go of those that only wait.

A run that waits in memory does so for a moment only. After that its standing is written down, its code is unwound
and nothing of it is left here: no thread, no task, no timer, no connection. Whoever claims it later, in this process
or another, replays it up to the same point.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.engine.decide import KeepWaiting, Stay, Suspend, decide_suspend, decide_wait
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import LiveRun, Pending
from dataflows_sdk.engine.units import Event, HeadChange, Unit
from dataflows_sdk.errors import Cancelled, OwnershipLost, StoreUnavailableError, Suspended

if TYPE_CHECKING:
    from dataflows_sdk.core.clock import Clock
    from dataflows_sdk.engine.reader import Reader
    from dataflows_sdk.engine.writer import Writer

log = logging.getLogger("dataflows.engine")

#: asyncio's timers lose precision over very long spans; a timer looks again at least once a day
_LONGEST_TIMER = 86400.0
Settle = Callable[[Any, BaseException | None], None]


class Waits:
    """What runs in memory wait for. Everything here happens on the engine's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        writer: Writer,
        reader: Reader,
        linger: timedelta,
        forget: Callable[[LiveRun], None],
        suspended: Callable[[str, datetime | None], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._writer = writer
        self._reader = reader
        self._linger = linger
        self._forget = forget
        self._suspended = suspended
        self._stale: dict[UUID, LiveRun] = {}
        self._fetching = False

    # --- one thing to wait for ---------------------------------------------------------------------------

    def block(self, live: LiveRun, pending: Pending, settle: Settle) -> None:
        """A branch waits from here on; *settle* is told the outcome: a decision, or None for a timer."""
        if live.stopping is not None:
            settle(None, live.stopping)
            return
        if live.cancel is not None and not live.shielded:
            settle(None, Cancelled(str(live.cancel.get("reason") or "the run was cancelled")))
            return
        if live.lost and live.is_lost(pending.frame):
            # A thread of a loser comes here late: it was told nothing, because it was not yet waiting.
            settle(None, Cancelled("another branch won the race"))
            return
        pending.settle = settle
        live.pendings[pending] = None
        with live.lock:
            live.active -= 1
        if pending.until is not None:
            self._arm(live, pending)
        if pending.message is not None:
            self.refresh(live)
        self.consider(live)

    def unblock(self, live: LiveRun, pending: Pending, outcome: Any, error: BaseException | None) -> None:
        """A wait is over."""
        if pending not in live.pendings:
            return
        del live.pendings[pending]
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        with live.lock:
            live.active += 1
        live.idle_since = None
        pending.settle(outcome, error)

    def _arm(self, live: LiveRun, pending: Pending) -> None:
        assert pending.until is not None
        seconds = (pending.until - self._clock.now()).total_seconds()
        pending.timer = self._loop.call_later(max(0.0, min(seconds, _LONGEST_TIMER)), self._due, live, pending)

    def _due(self, live: LiveRun, pending: Pending) -> None:
        pending.timer = None
        if pending not in live.pendings or live.suspending or pending.until is None:
            return
        if self._clock.now() < pending.until:
            self._arm(live, pending)
        elif pending.message is None:
            self.unblock(live, pending, None, None)
        else:
            # A message may have come before the deadline and not have been heard of: ask before deciding.
            self.refresh(live)

    # --- inboxes -----------------------------------------------------------------------------------------

    def refresh(self, live: LiveRun) -> None:
        """Read the run's inbox, soon and together with others."""
        self._stale[live.id] = live
        if not self._fetching:
            self._fetching = True
            self._loop.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            await asyncio.sleep(0)
            while self._stale:
                asked, self._stale = self._stale, {}
                wanted = [(run, live.messages()) for run, live in asked.items()]
                inboxes = await self._reader.inboxes(wanted)
                for run, live in asked.items():
                    if not live.suspending:
                        self._look(live, inboxes[run])
        except StoreUnavailableError:
            return  # the engine is being closed
        finally:
            self._fetching = False

    def _look(self, live: LiveRun, inbox: list[Any]) -> None:
        for message in inbox:
            if message.kind == "cancel" and live.cancel is None:
                self._request_cancel(live, message)
        if live.stopping is not None:
            return
        now = self._clock.now()
        taken = live.taken
        open_messages = [m for m in inbox if m.kind != "cancel" and m.id not in taken]
        for pending in list(live.pendings):
            if pending.message is None:
                continue
            outcome = decide_wait(pending.message, pending.match, pending.until, open_messages, now)
            pending.looked = True
            if isinstance(outcome, KeepWaiting):
                if pending.until is not None and pending.timer is None:
                    self._arm(live, pending)
                continue
            message = getattr(outcome, "message", None)
            if message is not None:
                taken.add(message.id)
                open_messages.remove(message)
            self.unblock(live, pending, outcome, None)
        self.consider(live)

    # --- cancelling --------------------------------------------------------------------------------------

    def _request_cancel(self, live: LiveRun, message: Any) -> None:
        if live.shielded:
            return
        payload = message.payload if isinstance(message.payload, dict) else {}
        live.cancel = {"reason": payload.get("reason") or "", "message": message.id}
        event = Event("run.cancel_requested", "", json.dumps(live.cancel))

        def noted(error: BaseException | None) -> None:
            if error is None:
                self.deliver_cancel(live)

        self._writer.submit(Unit(live.head, [event], consumed=(message.id,), settle=noted))

    def deliver_cancel(self, live: LiveRun) -> None:
        """The request is in the journal: it arrives at whatever the run awaits."""
        if live.shielded or live.stopping is not None or live.suspending:
            return
        assert live.cancel is not None
        error = Cancelled(str(live.cancel.get("reason") or "the run was cancelled"))
        live.stopping = error
        for pending in list(live.pendings):
            self.unblock(live, pending, None, error)
        self._cancel_tasks(live)

    def abandon(self, live: LiveRun) -> None:
        """The run belongs to somebody else: unwind it, write nothing."""
        error = OwnershipLost()
        live.stopping = error
        for pending in list(live.pendings):
            self.unblock(live, pending, None, error)
        self._cancel_tasks(live)

    @staticmethod
    def _cancel_tasks(live: LiveRun) -> None:
        for task in list(live.tasks):
            task.cancel()
        if live.workflow.is_async and live.task is not None:
            live.task.cancel()

    # --- letting go --------------------------------------------------------------------------------------

    def consider(self, live: LiveRun) -> None:
        """Does this run only wait? Looked at in the next turn of the loop, when branches had time to begin."""
        if live.active == 0 and not live.suspending:
            self._loop.call_soon(self._consider, live)

    def _consider(self, live: LiveRun) -> None:
        if live.check is not None:
            live.check.cancel()
            live.check = None
        if live.active != 0 or live.suspending or live.stopping is not None or not live.pendings:
            return
        if live.cancel is not None and not live.shielded:
            return  # its record is on its way; let go of now, the run would never hear of it
        if not all(pending.looked for pending in live.pendings):
            return  # its inbox is being read; it is considered again after that
        now = self._clock.now()
        if live.idle_since is None:
            live.idle_since = now
        if live.closing or any(pending.op == "replay" for pending in live.pendings):
            decision: Suspend | Stay = Suspend("queued", now, ())
        else:
            decision = decide_suspend(live.waiting(), now, live.idle_since, self._linger)
        if isinstance(decision, Stay):
            if decision.look_again is not None:
                pause = max(0.0, (decision.look_again - now).total_seconds())
                live.check = self._loop.call_later(pause + 0.001, self._consider, live)
            return
        self.suspend(live, decision)

    def suspend(self, live: LiveRun, decision: Suspend, kind: str = "run.suspended") -> None:
        """Write down what the run waits for and unwind its code."""
        live.suspending = True
        fault("run.suspending")
        wake_at: datetime | None = decision.wake_at
        data = {
            "status": decision.status,
            "until": wake_at.isoformat() if wake_at else None,
            "waiting": [
                {
                    "key": w.key,
                    "op": w.op,
                    "name": w.name,
                    "until": w.until.isoformat() if w.until else None,
                    "message": w.message,
                }
                for w in live.waiting()
            ],
        }
        change = HeadChange(decision.status, wake_at, decision.messages)

        def written(error: BaseException | None) -> None:
            fault("run.suspended")
            self._forget(live)
            live.stopping = error if error is not None else Suspended()
            for pending in list(live.pendings):
                self.unblock(live, pending, None, live.stopping)
            if kind != "run.suspended":
                self._cancel_tasks(live)
            self._suspended(decision.status, wake_at)

        self._writer.submit(Unit(live.head, [Event(kind, "", json.dumps(data))], change, settle=written))
