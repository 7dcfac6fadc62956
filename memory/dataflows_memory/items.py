"""What is remembered, and what comes back for a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import Sheet, ShownAsTable

#: where an item may come from
ORIGINS = ("text", "document", "row", "run", "step")
#: letters of a text where it is shown in a line
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class New:
    """Something to be remembered.

    Attributes:
        text: what is searched and given back.
        origin: one of `ORIGINS`.
        ref: what it is a part of: a document, a conversation, a row's table and key.
        part: which part of that, from 0.
        heading: where in the document it stands; it is searched too.
        meta: properties to filter by, JSON.
        span: where the text begins and ends in the document.
        valid_from: since when it is true; None for now.
        valid_to: until when, if that is known.
        run, step: what wrote it, where that is not who remembers it.
    """

    text: str
    origin: str
    ref: str
    part: int = 0
    heading: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[int, int] | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    run: str | None = None
    step: str | None = None


@TYPES.register
@dataclass(frozen=True, slots=True)
class Item(ShownAsTable):
    """Something that is remembered.

    Attributes:
        id: its number. Another version of the same has another one.
        collection, scope: where it is kept.
        origin, ref, part: where it comes from: ``"text"``, ``"document"``, ``"row"``, ``"run"`` or ``"step"``; of what
            it is a part, and which.
        text, heading, meta: what it says, under which heading, with which properties.
        span: where the text begins and ends in the document.
        valid_from, valid_to: when it is true; None: no end is known.
        recorded_at, retired_at: when it was known here; None: it still is.
        run, step: what wrote it.
    """

    id: int
    collection: str
    scope: str
    origin: str
    ref: str
    part: int
    text: str
    heading: str
    meta: dict[str, Any]
    span: tuple[int, int] | None
    valid_from: datetime | None
    valid_to: datetime | None
    recorded_at: datetime
    retired_at: datetime | None
    run: str | None
    step: str | None

    @staticmethod
    def of(row: tuple[Any, ...]) -> Item:
        """From the columns ``item_columns`` of items.sql."""
        (id_, collection, scope, origin, ref, part, text, heading, meta, since, until, *times, run, step) = row
        valid_from, valid_to, recorded_at, retired_at = times
        return Item(
            id_,
            collection,
            scope,
            origin,
            ref,
            part,
            text,
            heading,
            meta,
            None if since is None else (since, until),
            valid_from,
            valid_to,
            recorded_at,
            retired_at,
            None if run is None else str(run),
            step,
        )

    @property
    def source(self) -> str:
        """Where it comes from, in words: for a citation."""
        place = self.ref if not self.part and self.origin != "document" else f"{self.ref} #{self.part}"
        by = f", written by step {self.step!r} of run {self.run}" if self.step else ""
        return f"{self.origin} {place}{by}" if self.origin != "text" else f"{place}{by}"

    def __str__(self) -> str:
        return f"[{self.id}] {_line(self.text)} ({self.source})"


@TYPES.register
@dataclass(frozen=True, slots=True)
class Part(ShownAsTable):
    """What one list said of an item: its place there, from 1, and the score as that list counts."""

    rank: int
    score: float


@TYPES.register
@dataclass(frozen=True, slots=True)
class Hit(ShownAsTable):
    """An item that was found.

    Attributes:
        item: it.
        score: by which the hits are in order. It compares hits of one answer, not of two.
        parts: where the score comes from: ``"words"`` (BM25), ``"meaning"`` (cosine), and ``"words around"`` and
            ``"meaning around"`` (the same of the item with its neighbours).
        around: the texts before and after it, when they were asked for.
    """

    item: Item
    score: float
    parts: Mapping[str, Part]
    around: tuple[Item, ...] = ()

    @property
    def text(self) -> str:
        """What it says."""
        return self.item.text

    def __str__(self) -> str:
        why = ", ".join(f"{name} #{part.rank} ({part.score:.3g})" for name, part in self.parts.items())
        return f"{self.score:.3f}  {self.item}  {why}"

    def _sheet(self) -> Sheet:
        scores = [(name, f"#{part.rank} ({part.score:.3g})") for name, part in self.parts.items()]
        return Sheet(f"hit {self.score:.3f}", [("text", self.text), ("source", self.item.source), *scores])


@TYPES.register
@dataclass(frozen=True, slots=True)
class Recalled(ShownAsTable):
    """What was found, and what was asked.

    Attributes:
        question: it.
        hits: the best first.
        collection, scopes: where was searched.
        mode: ``"hybrid"``, or ``"words"`` where there is no embedder.
        embedder: by which meaning was compared.
        as_of, known_at: the moments asked for; None: now.
        among: how many items could have been found.
        note: what the one who asks should know.
    """

    question: str
    hits: tuple[Hit, ...]
    collection: str
    scopes: tuple[str, ...]
    mode: str
    embedder: str | None
    as_of: datetime | None
    known_at: datetime | None
    among: int
    note: str = ""

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, at: int) -> Hit:
        return self.hits[at]

    def __bool__(self) -> bool:
        return bool(self.hits)

    def __str__(self) -> str:
        when = "" if self.as_of is None else f" as of {self.as_of:%Y-%m-%d %H:%M:%S}"
        head = f"{len(self.hits)} of {self.among} items for {self.question!r}{when}, by {self.mode}"
        return "\n".join([head, *(f"  {hit}" for hit in self.hits), *([self.note] if self.note else [])])

    __repr__ = __str__

    def _sheet(self) -> Sheet:
        parts = list(dict.fromkeys(name for hit in self.hits for name in hit.parts))
        rows = [
            (round(hit.score, 4), hit.text, hit.item.heading, hit.item.source, hit.item.valid_from,
             *(f"#{hit.parts[name].rank} ({hit.parts[name].score:.3g})" if name in hit.parts else "" for name in parts))
            for hit in self.hits
        ]  # fmt: skip
        columns = ("score", "text", "heading", "source", "true since", *parts)
        title = f"{len(self.hits)} of {self.among:,} items for {self.question!r}, by {self.mode}"
        return Sheet(title, rows, columns, total=len(rows), notes=[self.note] if self.note else [])


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
