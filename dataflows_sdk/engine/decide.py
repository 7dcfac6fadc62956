"""What to do next, as pure functions of what is known.

Nothing here reads a clock, a database or a random number: the callers pass what these said. Every function is total
and is tested without an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from dataflows_sdk.core.retry import Retry, next_delay
from dataflows_sdk.engine.state import RunState, StepRecord
from dataflows_sdk.errors import NonDeterminismError

Uncertain = Literal["retry", "fail", "ask"]


# --- a step is asked for ----------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Fresh:
    """Nothing is recorded: do it."""

    attempt: int = 1


@dataclass(slots=True, frozen=True)
class Recorded:
    """It is over: give what was recorded."""

    record: StepRecord


@dataclass(slots=True, frozen=True)
class Retrying:
    """An attempt failed; the next may begin at a given time."""

    attempt: int
    not_before: datetime | None


@dataclass(slots=True, frozen=True)
class Unfinished:
    """A wait that was opened and not yet settled."""

    record: StepRecord


@dataclass(slots=True, frozen=True)
class MayHaveRun:
    """An attempt began before a crash and its end was never recorded."""

    attempt: int


StepDecision = Fresh | Recorded | Retrying | Unfinished | MayHaveRun


def decide_step(record: StepRecord | None, op: str) -> StepDecision:
    """What a step call means, given what is recorded under its key.

    Raises:
        NonDeterminismError: another kind of step stands there.
    """
    if record is None:
        return Fresh()
    if record.op != op and record.state != "skipped":
        raise NonDeterminismError(
            f"step {record.key!r} was recorded as {record.op!r} and the code now asks for {op!r} under that name; "
            "rename the new step, guard it with step.patched(), or fork the run before it",
            recorded=f"{record.op} {record.key}",
            asked=f"{op} {record.key}",
        )
    if record.done:
        return Recorded(record)
    if record.state == "retrying":
        return Retrying(record.attempt + 1, record.until)
    if record.state == "waiting":
        return Unfinished(record)
    return MayHaveRun(record.attempt)


def decide_order(expected: Mapping[int, StepRecord], n: int, key: str, known: bool) -> None:
    """The identity check: does the code ask for what it asked for when this was recorded?

    *expected* are the recorded steps of the scope by the order in which its code asked for them, *n* the order of
    this call, *known* whether something is recorded under its key. Order is only kept where code is sequential, so
    branches that overtake each other never trip it.

    Raises:
        NonDeterminismError: another step stands at this place.
    """
    recorded = expected.get(n)
    if recorded is None or recorded.key == key:
        return
    raise NonDeterminismError(
        f"the code asks for step {key!r} where {recorded.key!r} is recorded (call {n} of its scope"
        + (f"; {key!r} is recorded elsewhere" if known else "")
        + "); guard the change with step.patched(), fork the run before it, or resume it on its recorded version",
        recorded=recorded.key,
        asked=key,
    )


def decide_leftovers(expected: Iterable[StepRecord]) -> None:
    """The code came to its end: was everything that is recorded asked for?

    Raises:
        NonDeterminismError: a recorded step was never asked for.
    """
    for record in expected:
        if record.state != "skipped":
            raise NonDeterminismError(
                f"the code came to its end without asking for the recorded step {record.key!r}; guard the change "
                "with step.patched(), fork the run before it, or resume it on its recorded version",
                recorded=record.key,
                asked="the end of the workflow",
            )


# --- an attempt failed ------------------------------------------------------------------------------------


def decide_retry(policy: Retry, attempt: int, error: BaseException, now: datetime, random01: float) -> datetime | None:
    """When to try again; None to give up. *random01* is a number in [0, 1) for the jitter."""
    delay = next_delay(policy, attempt, error, random01, now)
    return None if delay is None else now + timedelta(seconds=delay)


# --- a wait -----------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class InboxMessage:
    """A message that nobody has taken yet. ``payload`` is the decoded JSON tree, tags and all."""

    id: int
    kind: str
    name: str
    payload: Any
    at: datetime


@dataclass(slots=True, frozen=True)
class Take:
    """A message that ends the wait."""

    message: InboxMessage


@dataclass(slots=True, frozen=True)
class TimedOut:
    """The time ran out before a message came."""


@dataclass(slots=True, frozen=True)
class KeepWaiting:
    """Nothing yet."""


def decide_wait(
    name: str,
    match: Mapping[str, Any] | None,
    deadline: datetime | None,
    inbox: Sequence[InboxMessage],
    now: datetime,
) -> Take | TimedOut | KeepWaiting:
    """The oldest message that matches and came in time wins; then the deadline; then patience."""
    for message in inbox:
        if message.name != name or (deadline is not None and message.at > deadline):
            continue
        if match is None or matches(match, message.payload):
            return Take(message)
    if deadline is not None and now >= deadline:
        return TimedOut()
    return KeepWaiting()


def matches(wanted: Mapping[str, Any], payload: Any) -> bool:
    """Whether *payload* has every field of *wanted*; keys may be dotted paths (``"order.id"``)."""
    for path, value in wanted.items():
        found = payload
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return False
            found = found[part]
        if type(found) is not type(value) and not (isinstance(found, int | float) and isinstance(value, int | float)):
            return False
        if found != value:
            return False
    return True


# --- everything waits -------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Waiting:
    """One thing a run waits for: a time, a message of a name, or both."""

    key: str
    op: str
    name: str
    until: datetime | None
    message: str | None


@dataclass(slots=True, frozen=True)
class Suspend:
    """Let go of the run."""

    status: Literal["sleeping", "waiting", "queued"]
    wake_at: datetime | None
    messages: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Stay:
    """Keep the run in memory and look again at a given time (None: when something happens)."""

    look_again: datetime | None


def decide_suspend(
    waiting: Sequence[Waiting], now: datetime, idle_since: datetime, linger: timedelta
) -> Suspend | Stay:
    """Every branch of a run waits: keep it in memory or let go of it?

    A timer within *linger* is waited for in memory. Something that may come at any moment (an event, a child) is
    given *linger* from *idle_since* on; a mere long sleep is let go at once.
    """
    times = [item.until for item in waiting if item.until is not None]
    first = min(times, default=None)
    if first is not None and first - now <= linger and linger > timedelta(0):
        return Stay(first)
    names = tuple(sorted({item.message for item in waiting if item.message is not None}))
    if names and now - idle_since < linger:
        return Stay(idle_since + linger)
    return Suspend("waiting" if names else "sleeping", first, names)


# --- a run is claimed -------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Proceed:
    """Replay and go on."""


@dataclass(slots=True, frozen=True)
class Quarantine:
    """Set the run aside, with the reason."""

    code: str
    message: str


def decide_claim(state: RunState, max_crashes: int) -> Proceed | Quarantine:
    """May a run that was claimed go on? Not when it keeps taking its process down."""
    if state.crashes < max_crashes:
        return Proceed()
    last = max(state.steps.values(), key=lambda record: record.seq, default=None)
    where = f"; the last step seen was {last.key!r} ({last.state})" if last is not None else ""
    return Quarantine(
        "crash-loop",
        f"the process that ran it died {state.crashes} times without any progress{where}; "
        "mend the cause, then resume the run",
    )
