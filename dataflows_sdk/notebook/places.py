"""What stands beside a run's events, in a table or in the memory: at which of the events it is to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.folding import Event

_ENDS = ("step.completed", "step.failed", "step.timed_out")
#: what is done in a step and the step's record are one commit, and the clocks of both may differ by a little; ms
_APART = 50
#: times of events are rounded in a view
_ROUNDED = timedelta(milliseconds=0.1)


def places(happened: Iterable[tuple[datetime, str | None]], events: Sequence[Event], began: datetime) -> list[int]:
    """At which number of events each is seen: at the end of the try that did it, else at the first event after it.

    Args:
        happened: when, and in which step; oldest first.
        events: of the run.
        began: when it was created.
    """
    ends: dict[str, list[tuple[float, int]]] = {}
    for number, (_, t, kind, key, _data) in enumerate(events):
        if kind in _ENDS:
            ends.setdefault(key, []).append((t, number + 1))
    found: list[int] = []
    last = 0
    for at, step in happened:
        t = (at - began).total_seconds() * 1_000
        own = [place for end, place in ends.get(step or "", ()) if end >= t - _APART]
        if own:
            found.append(own[0])
            continue
        while last < len(events) and events[last][1] < t:
            last += 1
        found.append(min(last + 1, len(events)))
    return found


def moment(n: int, events: Sequence[Event], began: datetime, placed: Iterable[tuple[int, datetime]]) -> datetime:
    """As of when the first *n* events had happened: with all that is placed up to there, and with nothing after it.

    A step's beginning may be noted after what it did first; so what comes later counts more than the event's own
    time. Of steps side by side something may be seen early.

    Args:
        n, events, began: as for `places`.
        placed: what stands beside the events: its place, and when it was done.
    """
    by_then, later = [began], [began + timedelta(milliseconds=events[n - 1][1]) + _ROUNDED]
    for place, at in placed:
        if place <= n:
            by_then.append(at)
        else:
            later.append(at - timedelta(microseconds=1))
    return max([*by_then, min(later)])


def checked(n: object, events: Sequence[Event], what: str) -> int:
    """A number of events, as a page gives it.

    Raises:
        DefinitionError: there are not that many events.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 0 < n <= len(events):
        raise DefinitionError(f"{what} of 1 to {len(events)} events of this run, not of {n!r}")
    return n
