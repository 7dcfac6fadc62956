"""Where the rows of a page go: a table of the warehouse, in the transaction of the page's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Sink", "Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the rows of a page.

    Attributes:
        ids: the rows that the page named, as they are in the table now; only where they were asked for.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    aside: int = 0
    ids: tuple[str, ...] = ()


class Sink(Protocol):
    """Writes rows. Everything happens in the transaction of the step that calls."""

    def store(
        self, connection: Any, table: str, key: Sequence[str], rows: Sequence[Any], deleted: Sequence[Any], *, ids: bool
    ) -> Stored:
        """Upsert rows and delete keys."""
        ...

    def gone(self, connection: Any, table: str, named: Any) -> tuple[int, int]:
        """How many rows of the source there are, and how many of these no page named."""
        ...

    def sweep(self, connection: Any, table: str, named: Any) -> int:
        """Delete the rows of the source that no page named."""
        ...

    def statement(self, connection: Any, name: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement of ``sync.sql`` in that transaction."""
        ...
