"""Queues: how many of their runs work at once, begin in a time, and who goes first. ``ctx.queues``."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.durations import Duration, format_duration, parse_duration
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.engine.placement import DEFAULT_QUEUE, check_queue
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: stands for all queues together
ALL = "*"
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Queue(ShownAsTable):
    """A queue as it stands.

    Attributes:
        name: ``"*"`` for all queues together.
        concurrency: runs at work at once; None for any number.
        concurrency_per_key: those of one key.
        rate: runs that begin in a period, as (number, period).
        rate_per_key: those of one key.
        fair: whether keys take turns.
        paused: whether nothing of it is let go.
        ageing: what one step of priority is worth in waiting time.
        queued, running: how many runs are.
        oldest: when the first of those that are queued was started.
    """

    name: str
    concurrency: int | None
    concurrency_per_key: int | None
    rate: tuple[int, timedelta] | None
    rate_per_key: tuple[int, timedelta] | None
    fair: bool
    paused: bool
    ageing: timedelta
    queued: int
    running: int
    oldest: datetime | None


class Queues(ShownAsTable):
    """The queues of a database. A queue needs no making: a start that names it is enough; here it gets limits.

    Slots are not counted anywhere: those taken are the runs that are running, so that none can leak. A run that sleeps
    or waits for an event holds none. While a queue has limits its runs always line up first, whoever starts them.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def set(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        concurrency_per_key: int | None = None,
        rate: tuple[int, Duration] | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
        fair: bool = False,
        ageing: Duration = "1m",
    ) -> Queue:
        """Say how a queue lets go of its runs; what is not given is not limited.

        Args:
            name: of the queue; ``"*"`` for all queues together. That and ``"default"`` have *concurrency* and *rate*
                only.
            concurrency: at most so many of its runs are at work at once, on all workers together.
            concurrency_per_key: of the runs with one key. Those without a key are not limited by it.
            rate: ``(100, "1m")``: at most 100 runs begin within any minute.
            rate_per_key: the same for the runs with one key.
            fair: keys take turns, those with the fewest runs at work first; so they do with a limit per key.
            ageing: a step of priority is worth so much waiting time. It counts for runs that are started from now on.

        Raises:
            DefinitionError: a value that makes no sense.
        """
        self._check(name)
        if name in (ALL, DEFAULT_QUEUE) and (concurrency_per_key is not None or rate_per_key is not None or fair):
            raise DefinitionError(
                f"queue {name!r} has a concurrency and a rate; keys belong to a queue with a name of its own, in which "
                "every run is found by its key: ctx.start(…, queue='customers', key='c-7')"
            )
        age = parse_duration(ageing)
        if age <= timedelta(0):
            raise DefinitionError(f"ageing is a time, not {ageing!r}")
        self._write(
            "set",
            name,
            _limit("concurrency", concurrency),
            _limit("concurrency_per_key", concurrency_per_key),
            *_rate("rate", rate),
            *_rate("rate_per_key", rate_per_key),
            bool(fair),
            age.total_seconds(),
        )
        return self.get(name)

    def remove(self, name: str) -> bool:
        """Take the limits away; its runs stay. Whether there were any."""
        self._check(name)
        return bool(self._write("remove", name))

    def pause(self, name: str) -> None:
        """Let go of no more runs of the queue, until `resume`; those at work go on."""
        self._check(name)
        self._write("pause", name, True)

    def resume(self, name: str) -> None:
        """Let go of runs again."""
        self._check(name)
        self._write("pause", name, False)

    def get(self, name: str) -> Queue:
        """One queue; one that nobody ever spoke of has no limits and no runs."""
        self._check(name)
        found = [each for each in self.list() if each.name == name]
        nothing = Queue(name, None, None, None, None, False, False, timedelta(minutes=1), 0, 0, None)
        return found[0] if found else nothing

    def list(self) -> builtins.list[Queue]:
        """Queues that have limits or runs, and all together first if that has limits."""
        return Listing([_queue(row) for row in self._context._read("queues", "all")])

    def _write(self, statement: str, *parameters: Any) -> builtins.list[tuple[Any, ...]]:
        rows = self._context._read("queues", statement, parameters)
        self._context._read("queues", "changed")
        return rows

    @staticmethod
    def _check(name: object) -> None:
        if name != ALL:
            check_queue(name)

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "queues")


def _queue(row: tuple[Any, ...]) -> Queue:
    name, concurrency, per_key, rate, period, key_rate, key_period, fair, paused, ageing, queued, running, oldest = row
    return Queue(
        name,
        concurrency,
        per_key,
        None if rate is None else (rate, timedelta(seconds=period)),
        None if key_rate is None else (key_rate, timedelta(seconds=key_period)),
        fair,
        paused,
        timedelta(seconds=ageing),
        queued,
        running,
        oldest,
    )


def _limit(what: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise DefinitionError(f"{what} is a number from 0 to {_LARGEST:,}, or None for no limit, not {value!r}")
    return value


def _rate(what: str, value: Any) -> tuple[int | None, float | None]:
    if value is None:
        return None, None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DefinitionError(f'{what} is a number and a period, (100, "1m"), not {value!r}')
    number, period = value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _LARGEST:
        raise DefinitionError(f"{what} lets a number of runs begin, 1 to {_LARGEST:,}, not {number!r}")
    seconds = parse_duration(period).total_seconds()
    if seconds <= 0:
        raise DefinitionError(f"the period of {what} is a time, not {period!r}")
    return number, seconds


# --- why a run is queued ----------------------------------------------------------------------------------


def standing(context: Context, run: Any) -> tuple[str, ...]:
    """Why a queued run is not at work, a line for each reason; see `Run.explain`."""
    now = context._engine.clock.now()
    rows = context._read("queues", "standing", (run, now))
    if not rows:
        return ()
    (
        queue, key, priority, workflow, _, limits, concurrency, per_key, rate, period, key_rate, key_period, paused,
        all_concurrency, _, _, all_paused, running, of_key, of_all, ahead, begun, next_at, key_begun, key_next_at,
        pinned,
    ) = rows[0]  # fmt: skip
    found: list[str] = []
    if paused or all_paused:
        found.append(f"queue {queue!r} is paused; ctx.queues.resume({queue if paused else ALL!r})")
    if limits is not None and concurrency is not None and running >= concurrency:
        found.append(f"queue {queue!r} lets {concurrency} of its runs work at once, and {running} do")
    if per_key is not None and key and of_key >= per_key:
        found.append(f"queue {queue!r} lets {per_key} of the runs of key {key!r} work at once, and {of_key} do")
    if all_concurrency is not None and of_all >= all_concurrency:
        found.append(f"all queues together let {all_concurrency} runs work at once, and {of_all} do")
    if rate is not None and begun >= rate:
        found.append(_rated(f"queue {queue!r}", rate, period, next_at, now))
    if key_rate is not None and key and key_begun >= key_rate:
        found.append(_rated(f"queue {queue!r} of key {key!r}", key_rate, key_period, key_next_at, now))
    found += _who(context, workflow, queue, pinned)
    if ahead:
        some = "more than 1,000" if ahead > 1000 else str(ahead)
        found.append(f"{some} of {workflow!r} stand before it (its priority is {priority})")
    return tuple(found)


def _rated(what: str, rate: int, period: float, next_at: datetime | None, now: datetime) -> str:
    window = format_duration(timedelta(seconds=period))
    after = "" if next_at is None else f"; the next may in {format_duration(max(timedelta(0), next_at - now))}"
    return f"{what} lets {rate} runs begin in {window}, and so many did{after}"


def _who(context: Context, workflow: str, queue: str, version: str | None) -> list[str]:
    """Is there anybody who would take it?"""
    workers = [info for _, info in context._read("queues", "workers")]
    knowing = [info for info in workers if workflow in info.get("workflows", (workflow,))]
    pinned = [info for info in knowing if version is None or version in info.get("versions", (version,))]
    if not workers:
        return ["no worker is alive"]
    if not knowing:
        return [f"none of the {len(workers)} live workers knows workflow {workflow!r}"]
    if not pinned:
        return [f"it is pinned to version {version} of {workflow!r}, which no live worker has"]
    if not any(info.get("queues") is None or queue in info["queues"] for info in knowing):
        return [f"none of the {len(knowing)} live workers that know {workflow!r} takes from queue {queue!r}"]
    return []
