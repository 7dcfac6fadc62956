"""What the engine tells of its work to somebody who counts and traces.

One protocol with few methods; `Engine.observer` is None where nobody listens, and that is all that being watched costs
then. The engine calls it where something happens, never where something recorded is replayed. An observer must not
raise, and is quick: most calls come on the engine's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dataflows_sdk.engine.claims import Claimed
    from dataflows_sdk.engine.live import Frame, LiveRun
    from dataflows_sdk.engine.units import NewRun

#: told once how an attempt ended: the exception or None, and when it will be tried again
Attempted = Callable[[BaseException | None, datetime | None], None]
#: told once how an activation ended: ``ended``, ``suspended``, ``released``, ``lost`` or ``interrupted``
Left = Callable[[str], None]


class Observer(Protocol):
    """Whoever counts and traces."""

    def activated(self, live: LiveRun) -> Left:
        """The code of a run is about to be called, in the task in which this is called."""
        ...

    def ended(self, live: LiveRun, status: str, data: str) -> None:
        """The end of a run is durable; *data* is that of its last event, JSON text."""
        ...

    def attempt(self, live: LiveRun, frame: Frame, attempt: int) -> Attempted:
        """A step's function is about to be called, in this context; what is returned is called in the same one."""
        ...

    def completed(self, live: LiveRun, frame: Frame, outcome: str) -> None:
        """The record of a verb without a function of the user is durable: a wait, a child, something sent."""
        ...

    def claimed(self, claims: Sequence[Claimed]) -> None:
        """Runs were taken on here."""
        ...

    def committed(self, units: int, seconds: float) -> None:
        """A batch of so many units is durable, so long after it was sent."""
        ...

    def heartbeat_failed(self) -> None:
        """A heartbeat did not reach the database."""
        ...

    def traceparent(self, live: LiveRun, key: str | None) -> str | None:
        """What a child that the step *key* starts has as its parent; without a key, one that nobody waits for."""
        ...


#: names the trace of the code that starts a run, as W3C's ``traceparent``; None where nobody traces. One for the
#: process, because the current span is the process's and a run may be started before it is known who executes it.
caller_traceparent: Callable[[], str | None] | None = None


def trace_callers(name: Callable[[], str | None]) -> None:
    """From now on the journal says of each run that is started here within a trace, within which."""
    global caller_traceparent  # noqa: PLW0603 - see above
    caller_traceparent = name


def started_within(run: NewRun, traceparent: str | None) -> NewRun:
    """Note in a run that is about to be created within which span it is started."""
    if traceparent is not None:
        run.traceparent = traceparent
        run.data = f'{run.data[:-1]},"traceparent":"{traceparent}"}}'
    return run


def unobserved(_error: BaseException | None, _retry_at: datetime | None) -> None:
    """Where nobody listens, nobody is told how an attempt ended."""


def about(live: LiveRun) -> dict[str, Any]:
    """What the engine's own log records say of the run that they concern, as ``extra=``."""
    return {"run_id": str(live.id), "workflow": live.workflow.name}
