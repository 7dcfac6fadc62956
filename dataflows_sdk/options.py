"""What can be said of a run when it is started, checked before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.engine.placement import Placement, check_priority, check_queue, check_text
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_KEY = 500
_MAX_BATCH = 10_000


class StartOptions(TypedDict, total=False):
    """Where a new run lines up, and when a start makes no new one.

    Attributes:
        queue: the queue that it waits in, ``"default"`` if nothing else is said. Workers take from all queues, or from
            those that they were given; limits are set by ``ctx.queues``.
        priority: -1000 to 1000, higher first; one step is worth the queue's ``ageing`` (a minute) in waiting time, so
            that nothing waits for ever.
        key: whose run it is: limits per key and turns between keys go by it, debounce, batch and singleton too.
        delay: how long it waits before it lines up.
        idempotency_ttl: for how long the idempotency key is refused to a second start, whether its run exists or not;
            without it as long as the run exists.
        singleton: while a run of this workflow and key is not over, a start gives that one.
        debounce: the run begins when no start came for so long, with the payload of the last one.
        batch: starts are gathered into one run, whose payload is the list of theirs.
    """

    queue: str
    priority: int
    key: str | None
    delay: Duration | None
    idempotency_ttl: Duration | None
    singleton: bool
    debounce: Duration | Debounce | None
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class Debounce(ShownAsTable):
    """Wait for quiet: the run begins when no start came for *wait*, at the latest *longest* after the first."""

    wait: Duration
    longest: Duration | None = None


@dataclass(frozen=True, slots=True)
class Batch(ShownAsTable):
    """Gather: the run begins with *size* payloads, or *wait* after the first."""

    size: int
    wait: Duration


@dataclass(frozen=True, slots=True)
class Gathering:
    """Starts that join a run which has not begun.

    Attributes:
        slot: what the run is found by.
        wait: from the last start (debounce), or from the first (batch), to its beginning.
        longest: from the first start to its beginning.
        size: payloads of a batch; None for a debounce, where the last one counts.
    """

    slot: str
    wait: timedelta
    longest: timedelta | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """The options of a start, checked."""

    placement: Placement
    gathering: Gathering | None = None


def check_options(given: Mapping[str, Any], usual: Placement, idempotency_key: str | None) -> Start | None:
    """What *given* comes to, on top of what is *usual* for the workflow; None where nothing is given.

    Raises:
        DefinitionError: an option that there is not, a value out of range, or options that exclude each other.
    """
    if not given:
        return None
    unknown = sorted(set(given) - StartOptions.__optional_keys__)
    if unknown:
        known = ", ".join(sorted(StartOptions.__optional_keys__))
        raise DefinitionError(f"a start has no option {unknown[0]!r}; it has id, idempotency_key, connection, {known}")
    queue = check_queue(given.get("queue", usual.queue))
    priority = check_priority(given.get("priority", usual.priority))
    key = given.get("key", usual.key)
    if key is not None:
        key = check_text("key", key, _MAX_KEY)
    delay = _duration("delay", given.get("delay"))
    lasts = _duration("idempotency_ttl", given.get("idempotency_ttl"))
    if lasts is not None and idempotency_key is None:
        raise DefinitionError("idempotency_ttl says how long an idempotency_key lasts: give one")
    ways = [name for name in ("singleton", "debounce", "batch") if given.get(name)]
    if len(ways) > 1 or (len(ways) == 1 and (idempotency_key is not None or (ways != ["singleton"] and delay))):
        raise DefinitionError(
            "a start takes one of singleton, debounce, batch and idempotency_key, and no delay beside those that gather"
        )
    gathering = _gathering(given.get("debounce"), given.get("batch"), key or "")
    slot = gathering.slot if gathering is not None else f"one:{key or ''}" if given.get("singleton") else None
    if gathering is not None:
        delay = gathering.wait
    batched = gathering is not None and gathering.size is not None
    return Start(Placement(queue, priority, key, delay or None, slot, lasts, batched), gathering)


def _gathering(debounce: Any, batch: Any, key: str) -> Gathering | None:
    if batch is not None:
        if not isinstance(batch, Batch):
            raise DefinitionError(f"batch is a df.Batch(size, wait), not {batch!r}")
        size = batch.size
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MAX_BATCH:
            raise DefinitionError(f"a batch has 1 to {_MAX_BATCH:,} payloads, not {size!r}")
        wait = _some("batch", batch.wait)
        return Gathering(f"wait:batch:{key}", wait, wait, size)
    if debounce is None:
        return None
    given = debounce if isinstance(debounce, Debounce) else Debounce(debounce)
    wait = _some("debounce", given.wait)
    longest = _duration("debounce", given.longest)
    if longest is not None and longest < wait:
        raise DefinitionError(f"a debounce of {given.wait!r} cannot be over after {given.longest!r}")
    return Gathering(f"wait:debounce:{key}", wait, longest, None)


def _some(option: str, value: Any) -> timedelta:
    found = _duration(option, value)
    if not found:
        raise DefinitionError(f"{option} waits for some time, not {value!r}")
    return found


def _duration(option: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    found = parse_duration(value)
    if found < timedelta(0):
        raise DefinitionError(f"{option} is a time to come, not {value!r}")
    return found
