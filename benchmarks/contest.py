"""What a contest is made of: who plays what with which settings, and what the project promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: a workload and a mode: what is compared stands in one
Row = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """A contestant in a workload: the program, the mode in which it plays, its settings."""

    name: str
    program: str
    workload: str
    mode: str
    settings: dict[str, Any] = field(default_factory=dict)
    #: the row in which it stands, when that is not its mode: a neighbour that is faster in another mode stands
    #: against the mode of ours with which it is compared, another way to the same end has a row of its own
    against: str = ""

    @property
    def row(self) -> Row:
        return self.workload, self.against or self.mode


@dataclass(frozen=True)
class Bar:
    """Ours in ``row`` is at least (or at most) ``factor`` times ``other`` in ``other_row``, or just ``factor``."""

    row: Row
    other: str
    factor: float
    other_row: Row
    at_most: bool = False

    @classmethod
    def fixed(cls, row: Row, value: float) -> Bar:
        """Ours is at most this, whatever the others do."""
        return cls(row, "", value, row, at_most=True)


@dataclass(frozen=True)
class Contest:
    """The workloads of one script.

    Args:
        sizes: how many runs and steps a workload has; one that is not here has none.
        titles: the workloads that the table shows, with their unit.
        contestants: the columns of the table.
    """

    sizes: dict[str, dict[str, int]]
    titles: dict[str, str]
    contestants: tuple[str, ...]
    entries: tuple[Entry, ...]
    bars: tuple[Bar, ...]

    @property
    def workloads(self) -> list[str]:
        return list(dict.fromkeys(entry.workload for entry in self.entries))
