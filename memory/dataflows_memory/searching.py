"""The search box of a notebook: a question, what was found and why it stands where it does, and who wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflows_memory.items import ORIGINS
from dataflows_memory.words import stems
from dataflows_sdk.core.shown import MOST_ROWS, Sheet, counted
from dataflows_sdk.errors import DefinitionError, RunNotFoundError
from dataflows_sdk.notebook import svg, text
from dataflows_sdk.notebook.browsing import Action, Details, Field, Line, Page, Pieces, Source
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.model import read

if TYPE_CHECKING:
    from dataflows_memory.desk import Memory
    from dataflows_memory.items import Hit, Item
    from dataflows_sdk.notebook.model import View

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
        """An item as it is kept: its versions, the parts around it, and the run and step that wrote it."""
        item = self._memory.get(_number(identifier))
        rows = [
            ("item", item.id), ("from", item.source), ("collection", item.collection), ("scope", item.scope),
            ("heading", item.heading), ("true since", item.valid_from), ("until", item.valid_to),
            ("known since", item.recorded_at), ("taken back", item.retired_at), ("run", item.run), ("step", item.step),
            *item.meta.items(),
        ]  # fmt: skip
        sheets = [Sheet("", [row for row in rows if row[1] not in (None, "")]), _history(self._versions(item))]
        around = [each for each in self._memory.around(item.id) if each.id != item.id]
        texts = [("text", item.text), *((f"part {each.part}", each.text) for each in around)]
        picture, code = "", f"ctx.memory.get({item.id})"
        if item.run is not None:
            try:
                view = read(source_of(self._memory._context.get(item.run)))
            except RunNotFoundError as error:
                texts.append(("the run that wrote it", str(error)))
            else:
                picture = svg.dag(view)
                texts.append(("the run that wrote it", text.tree(view)))
                sheets += _step(view, item.step)
                at = "" if item.step is None else f"at={item.step!r}"
                code += f'\nctx.get("{item.run}").view({at})  # the run, where it wrote this'
        texts.append(("in a cell", code))
        forget = Action(
            "forget", "Forget", "no", f"ctx.memory.forget({item.id})",
            ask="Forget it for good, with every version of it? Nothing brings it back.",
        )  # fmt: skip
        return Details(item.source, sheets, texts, picture, (forget,))

    def act(self, identifier: str, action: str, given: Mapping[str, str]) -> str:
        """Forget it."""
        del given
        if action != "forget":
            raise DefinitionError(f"{action!r} cannot be done with what is remembered: only 'forget'")
        item = self._memory.get(_number(identifier))
        count = self._memory.forget(item.id)
        return f"forgotten: {item.source}, {counted(count, 'version')}"

    def mask(self, text: str) -> str:
        """A text without secrets."""
        return self._memory._context._redactor.redact_text(text)

    def _versions(self, item: Item) -> list[Item]:
        found = self._memory.history(item.ref, collection=item.collection, scope=item.scope)
        return [each for each in found if (each.origin, each.part) == (item.origin, item.part)]

    def _line(self, hit: Hit, parts: list[str], wanted: set[str]) -> Line:
        scores = [
            f"#{hit.parts[name].rank} ({hit.parts[name].score:.3g})" if name in hit.parts else "" for name in parts
        ]
        pieces = marked(hit.text, wanted, self._language())
        return Line(str(hit.item.id), (pieces, round(hit.score, 4), *scores, hit.item.source, hit.item.valid_from))

    def _language(self) -> str:
        return self._memory._home(self._collection).language


def _number(identifier: str) -> int:
    if not (identifier.isascii() and identifier.isdigit() and len(identifier) < 19):
        raise DefinitionError(f"{identifier!r} is no number of an item")
    return int(identifier)


def _history(versions: list[Item]) -> Sheet:
    """The newest versions, in the order in which they became known."""
    columns = ("item", "text", "true since", "until", "known since", "taken back", "step")
    rows = [
        (each.id, each.text, each.valid_from, each.valid_to, each.recorded_at, each.retired_at, each.step)
        for each in versions[-MOST_ROWS:]
    ]
    return Sheet(f"history: {counted(len(versions), 'version')}", rows, columns, total=len(versions))


def _step(view: View, key: str | None) -> list[Sheet]:
    """The step of a run, as its journal has it."""
    found = view.at().steps.get(key) if key is not None else None
    if found is None:
        return []
    rows = [("step", key), ("status", found["status"]), ("input", found["in"]), ("output", found["out"])]
    return [Sheet("the step that wrote it", [row for row in rows if row[1] is not None])]


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
