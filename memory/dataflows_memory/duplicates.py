"""Items that say nearly the same: they are kept, and reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflows_memory.base import DEFAULT
from dataflows_memory.branching import Branching
from dataflows_memory.items import Item
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import RecallError

if TYPE_CHECKING:
    from dataflows_memory.ranking import Vector

#: items that are compared with each other: 20,000 take some seconds
MOST = 20_000
#: rows that are compared with all at a time
_LOT = 1_000


@TYPES.register
@dataclass(frozen=True, slots=True)
class Alike(ShownAsTable):
    """Two items that say nearly the same.

    Attributes:
        older, newer: them, by their numbers.
        likeness: the cosine of what they mean.
    """

    older: Item
    newer: Item
    likeness: float

    def __str__(self) -> str:
        return f"{self.likeness:.3f}  {self.older}\n       {self.newer}"


class Duplicates(Branching):
    """A part of `Memory`."""

    def near_duplicates(
        self, above: float = 0.95, k: int = 50, *, collection: str = DEFAULT, scope: str = "", origin: str | None = None
    ) -> list[Alike]:
        """Items in force that say nearly the same, the most alike first: something to merge, or to `forget`.

        Nothing is merged by itself, because two facts that differ in one number are as alike as two that say the same.
        The newest 20,000 of a scope are compared.

        Args:
            above: the cosine from which two items are told.
            k: how many pairs.
            collection, scope: where.
            origin: only what comes from there.

        Raises:
            RecallError: the collection has no vectors; a number makes no sense.
        """
        if not 0 < above <= 1 or not 1 <= k <= 10_000:
            raise RecallError(f"above={above}, k={k}: a cosine up to 1, and 1 to 10,000 pairs")
        home = self._home(collection)
        if home.vectors is None:
            raise RecallError(f"collection {collection!r} has no vectors: {self._why_words(home)}")
        places = list(self._places(collection, [scope]).values())
        rows = self._store.ask("embedding", "newest", [places, origin, MOST], home.vectors)
        found = sorted(_pairs(rows, above, k), reverse=True)[:k]
        shown = self._store.ask("recall", "shown", [sorted({id_ for _, *pair in found for id_ in pair})])
        items = {row[0]: Item.of(row) for row in shown}
        return [
            Alike(items[older], items[newer], likeness)
            for likeness, older, newer in found
            if {older, newer} <= set(items)
        ]


def _pairs(rows: Sequence[tuple[int, Any]], above: float, most: int) -> Iterator[tuple[float, int, int]]:
    import numpy as np

    if not rows:
        return
    ids = np.array([id_ for id_, _ in rows])
    vectors: Vector = np.asarray([vector for _, vector in rows], dtype=np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    for start in range(0, len(ids), _LOT):
        likeness = vectors[start : start + _LOT] @ vectors[start:].T
        one, other = np.nonzero(np.triu(likeness >= above, 1))
        values = likeness[one, other]
        best = np.argsort(-values)[:most]
        for n in best:
            pair = sorted((int(ids[start + one[n]]), int(ids[start + other[n]])))
            yield float(values[n]), pair[0], pair[1]
