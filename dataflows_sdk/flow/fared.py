"""How two versions of a flow have fared: their runs and their nodes, beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflows_sdk.core.shown import ShownAsTable

#: below which seconds a length of time is told in units of how many, and their letters
_UNITS = ((1.0, 0.001, "ms"), (120.0, 1.0, "s"), (7_200.0, 60.0, "min"), (172_800.0, 3_600.0, "h"))


@dataclass(frozen=True, slots=True)
class NodeFared(ShownAsTable):
    """How a node has fared in the runs of a version.

    Attributes:
        ended: in how many runs it ended; in a loop each time counts.
        failed: how often it failed for good.
        tries: how many tries there were.
        median: seconds of the try that ended it, or of a wait; None where it never ended.
    """

    ended: int = 0
    failed: int = 0
    tries: int = 0
    median: float | None = None

    @property
    def failure_rate(self) -> float | None:
        """From 0 to 1; None where it never ended."""
        return self.failed / self.ended if self.ended else None

    def __str__(self) -> str:
        if not self.ended:
            return "never ended"
        again = f", {self.tries / self.ended:.1f} tries" if self.tries > self.ended else ""
        return f"{seconds(self.median)}, {percent(self.failure_rate)} of {self.ended:,} failed{again}"


@dataclass(frozen=True, slots=True)
class VersionFared(ShownAsTable):
    """How the runs of a version have fared.

    Attributes:
        version: its number, or the beginning of its hash.
        runs: how many there are; those that are not over are among them.
        succeeded, failed, cancelled: how many of them.
        median: seconds from start to end of those that succeeded or failed; None where there is none.
        nodes: how the nodes have fared in the newest *of* runs.
    """

    version: int | str
    runs: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    median: float | None = None
    nodes: Mapping[str, NodeFared] = field(default_factory=dict)
    of: int = 0

    @property
    def failure_rate(self) -> float | None:
        """From 0 to 1, of those that succeeded or failed; None where there is none."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None

    def __str__(self) -> str:
        if not self.runs:
            return "no runs"
        words = [f"{self.runs:,} runs" if self.runs > 1 else "1 run"]
        if self.failure_rate is not None:
            words += [f"{percent(self.failure_rate)} failed", f"median {seconds(self.median)}"]
        return ", ".join(words)


def seconds(value: float | None) -> str:
    """A length of time in a few letters."""
    if value is None:
        return ""
    for limit, unit, letters in _UNITS:
        if value < limit:
            return f"{value / unit:.3g} {letters}"
    return f"{value / 86_400:.3g} d"


def percent(rate: float | None) -> str:
    """A part of all in a few letters; what is not 0 does not look like it."""
    if rate is None:
        return ""
    return "<1%" if 0 < rate < 0.01 else ">99%" if 0.99 < rate < 1 else f"{100 * rate:.0f}%"
