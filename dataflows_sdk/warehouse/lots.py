"""What all writes have in common: who writes and how, and what may come of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataflows_sdk.errors import BadRowsError

#: beyond so many rows they come by COPY
MANY = 500
#: from so many on the first rows of a table come before its indexes
FIRST = 5_000
#: the rows do not fit, says PostgreSQL: data exceptions and violated constraints
BAD_CLASSES = ("22", "23")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes: parameters of every write."""

    now: datetime | None
    run: str | None
    step: str | None
    source: str | None

    def parameters(self, table: str) -> list[Any]:
        """The first five."""
        return [table, self.now, self.run, self.step, self.source]


@dataclass(frozen=True, slots=True)
class How:
    """How a call writes rows: for whom, reading values from texts or not, only those that are new or all."""

    origin: Origin
    coerce: bool
    insert: bool


class Again(Exception):
    """Somebody else inserted or deleted the same rows since the snapshot: nothing of this is to stay."""


def of_table(table: str, error: BadRowsError) -> BadRowsError:
    return BadRowsError(f"table {table!r}: {error}", error.rows, error.count)
