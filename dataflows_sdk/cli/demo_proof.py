"""The demo's proof: the journal against the file in which every step left a line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.engine.state import JournalEvent


@dataclass(frozen=True, slots=True)
class Check:
    """One statement and whether it holds."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class NodeCount:
    """The steps of one node of the flow: how many there are, and where their functions ran.

    Attributes:
        recorded: in the journal before the other process took over.
        first, second: calls in the process that was killed and in the one that finished.
        in_flight: begun in the first, recorded only by the second.
    """

    name: str
    steps: int
    recorded: int
    first: int
    second: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What ran, what was replayed, and whether that is right."""

    nodes: list[NodeCount]
    checks: list[Check]
    #: the last event of the killed process, and the take-over
    killed_at: datetime
    taken_over_at: datetime
    #: steps that were recorded and so not run again, and those that were in flight at the kill
    replayed: int
    in_flight: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def prove(events: Sequence[JournalEvent], effects: Iterable[Mapping[str, Any]], first: int, second: int) -> Proof:
    """Compare the journal with the effects.

    Args:
        events: the whole journal of the run.
        effects: a mapping with ``step`` and ``pid`` for every call of a step's function.
        first, second: the processes: the one that was killed, the one that finished.

    Raises:
        ValueError: the run was never taken over.
    """
    takeover = next((e for e in events if e.kind == "run.claimed" and e.data.get("why") == "lost"), None)
    if takeover is None:
        raise ValueError("the run was not taken over from a process that died")
    calls = {first: Counter[str](), second: Counter[str]()}
    others = 0
    for effect in effects:
        if effect["pid"] in calls:
            calls[effect["pid"]][effect["step"]] += 1
        else:
            others += 1
    done = [e for e in events if e.kind == "step.completed" and e.data.get("op") == "run"]
    steps = [e.key for e in done]
    before = {e.key for e in done if e.seq < takeover.seq}
    in_flight = sorted(set(calls[first]) - before, key=steps.index if set(calls[first]) <= set(steps) else None)
    again = sorted(before & set(calls[second]))
    total = calls[first].total() + calls[second].total()
    both = [key for key in in_flight if key in calls[second]]
    rest = len(steps) - len(before)
    checks = [
        Check(
            f"{len(before)} steps were recorded before the kill; {len(again) or 'none'} of them ran again", not again
        ),
        Check(
            f"the other {rest} ran in the second process, each once",
            calls[second] == Counter(set(steps) - before),
        ),
        Check(
            f"{len(both)} of those were in flight at the kill and began twice (at least once)",
            len(both) == len(in_flight),
        ),
        Check(
            f"{len(steps)} steps + {len(both)} begun twice = {len(steps) + len(both)}; the file has {total} lines",
            total == len(steps) + len(both) and not others and len(set(steps)) == len(steps),
        ),
    ]
    return Proof(
        _nodes(steps, before, in_flight, calls[first], calls[second]), checks, _last_before(events, takeover.seq),
        takeover.at, len(before), in_flight,
    )  # fmt: skip


def _last_before(events: Sequence[JournalEvent], seq: int) -> datetime:
    return max(event.at for event in events if event.seq < seq)


def _nodes(
    steps: list[str], before: set[str], in_flight: list[str], first: Counter[str], second: Counter[str]
) -> list[NodeCount]:
    names: dict[str, list[str]] = {}
    for key in steps:
        names.setdefault(key.partition("[")[0], []).append(key)
    return [
        NodeCount(
            name,
            len(keys),
            sum(key in before for key in keys),
            sum(first[key] for key in keys),
            sum(second[key] for key in keys),
            sum(key in in_flight for key in keys),
        )
        for name, keys in names.items()
    ]


def check_rows(result: Mapping[str, Any], rows_in_file: int) -> list[Check]:
    """Whether every row of the file is accounted for in the result."""
    valid, aside = result["valid"], sum(result["aside"].values())
    tables = {name: sum(row["flights"] for row in result[name]) for name in ("airlines", "months", "ages", "skies")}
    return [
        Check(
            f"{rows_in_file:,} rows in the file = {valid:,} flights + {aside:,} set aside with a reason",
            rows_in_file == result["rows"] == valid + aside,
        ),
        Check(f"each table sums up to {valid:,} flights", all(total == valid for total in tables.values())),
    ]
