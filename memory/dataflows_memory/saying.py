"""What a run has said to the memory, in the order in which that was known: for whoever looks at the run's past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dataflows_memory.branching import Branching
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import Listing, ShownAsTable
from dataflows_sdk.errors import RecallError, RunNotFoundError

#: what is told at once at most: of so many items, of each so many letters
_MOST, _LETTERS = 10_000, 2_000


@TYPES.register
@dataclass(frozen=True, slots=True)
class Said(ShownAsTable):
    """One thing that a run has said.

    Attributes:
        act: ``"remembered"``; ``"ended"``, true until then; or ``"retracted"``, never true.
        at: when that was known here.
        step: the step that said it; None outside of steps.
        item: the number of the item.
        collection, scope, origin, ref, part: where the item is kept, and where it comes from.
        text: the beginning of what it says, 2,000 letters at most.
    """

    act: str
    at: datetime
    step: str | None
    item: int
    collection: str
    scope: str
    origin: str
    ref: str
    part: int
    text: str


class Saying(Branching):
    """A part of `Memory`."""

    def said(self, run: Any, *, limit: int = 1_000) -> list[Said]:
        """What a run has remembered, ended and taken back, oldest first; texts and documents, not rows that it wrote.

        Of a fork what it has said on its branch. What was forgotten since is not told. Where no memory was ever used
        there is none, and asking makes none.

        Args:
            run: a run, or its id.
            limit: how much, 1 to 10,000.

        Raises:
            RunNotFoundError: it is no id of a run.
            RecallError: another limit.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MOST:
            raise RecallError(f"limit={limit!r}: what 1 to {_MOST:,} items were said to be is told at once")
        wanted = str(getattr(run, "id", run))
        try:
            wanted = str(UUID(wanted))
        except ValueError:
            raise RunNotFoundError(f"{wanted!r} is no id of a run") from None
        if not self._store.there():
            return Listing()
        branch = self._branches.of(wanted)
        asked = [wanted, None if branch is None else branch.run, limit, _LETTERS]
        return Listing([Said(*row) for row in self._store.ask("items", "said_by", asked)])

    def speakers(self) -> list[str]:
        """The ids of the runs that have said something, newest first."""
        return [str(run) for (run,) in self._store.ask("items", "speakers")] if self._store.there() else []
