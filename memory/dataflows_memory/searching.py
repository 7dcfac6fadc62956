"""The search box of a notebook: a question, what was found, and why it stands where it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflows_memory.items import ORIGINS
from dataflows_memory.words import stems
from dataflows_sdk.core.shown import Sheet
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.browsing import Details, Field, Line, Page, Pieces, Source

if TYPE_CHECKING:
    from dataflows_memory.desk import Memory
    from dataflows_memory.items import Hit

#: letters of a hit that the list shows, and what is looked at for a word of the question
_SHOWN, _LOOKED_AT = 300, 20_000
_WORD = re.compile(r"\w+")


class SearchBox(Source):
    """See `Memory.search_box`."""

    title, code, empty = "memory", "ctx.memory.recall(…)", "ask something"

    def __init__(self, memory: Memory, question: str, k: int, collection: str, scope: str | None) -> None:
        self._memory, self._question = memory, question
        self._k, self._collection, self._scope = k, collection, scope

    def fields(self) -> list[Field]:
        """The filters."""
        return [
            Field("question", "question", self._question),
            Field("origin", "origin", "", ("", *ORIGINS)),
            Field("since", "since"),
        ]

    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """The hits, the best first; there is one page."""
        if after is not None:
            raise DefinitionError("what is recalled has one page; ask for more with k=")
        question = asked.get("question")
        if question is None:
            return Page((), [])
        found = self._memory.recall(
            question,
            self._k,
            collection=self._collection,
            scope=self._scope,
            origin=asked.get("origin"),
            since=asked.get("since"),
        )
        wanted = set(stems(question, self._language()))
        parts = list(dict.fromkeys(name for hit in found for name in hit.parts))
        columns = ("text", "score", *parts, "source", "true since")
        note = f"{len(found)} of {found.among:,} items, by {found.mode}. {found.note}".strip()
        return Page(columns, [self._line(hit, parts, wanted) for hit in found], None, note)

    def details(self, identifier: str) -> Details:
        """An item as it is kept, with the parts around it."""
        if not (identifier.isascii() and identifier.isdigit() and len(identifier) < 19):
            raise DefinitionError(f"{identifier!r} is no number of an item")
        number = int(identifier)
        item = self._memory.get(number)
        rows = [
            ("item", item.id), ("from", item.source), ("collection", item.collection), ("scope", item.scope),
            ("heading", item.heading), ("true since", item.valid_from), ("until", item.valid_to),
            ("known since", item.recorded_at), ("taken back", item.retired_at), ("run", item.run), ("step", item.step),
            *item.meta.items(),
        ]  # fmt: skip
        around = [each for each in self._memory.around(number) if each.id != number]
        texts = [("text", item.text), *((f"part {each.part}", each.text) for each in around)]
        texts.append(("in a cell", f"ctx.memory.get({number})"))
        sheet = Sheet("", [row for row in rows if row[1] not in (None, "")])
        return Details(item.source, [sheet], texts)

    def _line(self, hit: Hit, parts: list[str], wanted: set[str]) -> Line:
        scores = [
            f"#{hit.parts[name].rank} ({hit.parts[name].score:.3g})" if name in hit.parts else "" for name in parts
        ]
        text = marked(hit.text, wanted, self._language())
        return Line(str(hit.item.id), (text, round(hit.score, 4), *scores, hit.item.source, hit.item.valid_from))

    def _language(self) -> str:
        return self._memory._home(self._collection).language


def marked(text: str, wanted: set[str], language: str) -> Pieces:
    """A text cut to the place of its first word that was asked for, with such words marked."""
    looked = text[:_LOOKED_AT]
    hits = [word.span() for word in _WORD.finditer(looked) if not wanted.isdisjoint(stems(word.group(), language))]
    first = hits[0][0] if hits else 0
    begin = 0 if first < _SHOWN - 60 else first - 60
    end = begin + _SHOWN
    pieces: Pieces = [("…", False)] if begin else []
    at = begin
    for start, stop in hits:
        if stop > end:
            break
        pieces += [(looked[at:start], False)] if start > at else []
        pieces.append((looked[start:stop], True))
        at = stop
    rest = looked[at:end]
    pieces += [(rest, False)] if rest else []
    return [*pieces, ("…", False)] if end < len(text) else pieces or [("", False)]
