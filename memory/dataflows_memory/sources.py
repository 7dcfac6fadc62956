"""What a memory does with documents and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_memory.base import DEFAULT, Base
from dataflows_memory.checks import check_ref, checked_meta, checked_text
from dataflows_memory.documents.chunks import chunk
from dataflows_memory.documents.document import Document
from dataflows_memory.documents.reading import read_document
from dataflows_memory.items import New
from dataflows_memory.runs import RUNS
from dataflows_memory.tables import Source
from dataflows_memory.writing import Stored
from dataflows_sdk.errors import DocumentError, RecallError

if TYPE_CHECKING:
    from dataflows_memory.store import Collection
    from dataflows_sdk.core.durations import Instant


#: so many changes of a table are read before an answer
_AT_RECALL = 1_000


class Sources(Base):
    """A part of `Memory`."""

    def add_document(
        self,
        document: Document | str | bytes | os.PathLike[str],
        *,
        ref: str | None = None,
        kind: str | None = None,
        collection: str = DEFAULT,
        scope: str = "",
        meta: Mapping[str, Any] | None = None,
        since: Instant | None = None,
        size: int = 1_000,
        overlap: int = 150,
    ) -> Stored:
        """Remember a document in chunks, each with the headings that it stands under and its place in the text.

        The same document again changes nothing; another one with its name takes its place, and only what is new in it
        is embedded.

        Args:
            document: a path (``Path("guide.md")``), bytes, a text with its *kind*, or what `read_document` gave.
            ref: its name; by default that of the file, or its title.
            kind: ``"text"``, ``"markdown"``, ``"html"`` or ``"pdf"``; by default as it looks.
            collection, scope: where.
            meta: properties to filter by; each chunk gets ``title``, and ``page`` where there are pages, besides.
            since: when it became true; by default now.
            size: the most letters in a chunk.
            overlap: letters that a chunk may share with the one before.

        Raises:
            DocumentError: it cannot be read, or has no text.
            RecallError: it has no name; something else does not fit.
        """
        path = document if isinstance(document, os.PathLike) else None
        read = document if isinstance(document, Document) else read_document(document, kind)  # type: ignore[arg-type]
        name = ref or (os.fspath(path) if path is not None else "") or read.title
        if not name:
            raise RecallError("a document is cited and replaced by its name: add_document(…, ref='guide')")
        properties = checked_meta(meta)
        begin = self._moment(since)
        items = [
            New(
                checked_text(each.text),
                "document",
                check_ref(name),
                each.position,
                each.heading,
                {"title": read.title, **({} if each.page is None else {"page": each.page}), **properties},
                (each.start, each.end),
                begin,
            )
            for each in chunk(read, size, overlap)
            if each.text.strip()
        ]
        if not items:
            raise DocumentError(f"document {name!r} has no text that could be found again")
        return self._put(collection, scope, items, whole={("document", name)}, at=begin)

    def index_table(
        self,
        table: str,
        text: str,
        *,
        meta: Sequence[str] = (),
        collection: str = DEFAULT,
        scope: str = "",
    ) -> Stored:
        """Remember the rows of a table of the warehouse, with every version, and follow its changes from now on.

        A version of a row is true as long as the row was so, and is cited with the run and the step that wrote it.
        `recall` reads what changed since before it answers; a row whose text is as it was is not embedded again.

        Args:
            table: its name; it needs a key.
            text: a row in words: ``"{name}: {notes}"``, with its columns in braces. A row without words is left out.
            meta: columns to filter by.
            collection, scope: where. The same table may be in several.

        Raises:
            RecallError: there is no such column, or no key.
            TableNotFoundError: there is no such table.
        """

        def index(home: Collection) -> Stored:
            source = self._tables.declare(self._store.make_place(home, scope), table, text, list(meta))
            return self._tables.follow(source, self._keeper(home))[0]

        return self._written(self._made(collection), index)[0]

    def drop_index(self, table: str, *, collection: str = DEFAULT, scope: str = "") -> None:
        """Follow a table no longer, and forget its rows; ``"dataflows.runs"`` are the runs.

        Raises:
            RecallError: it is not followed.
        """
        place = self._places(collection, [scope])[scope]
        source = self._runs.source(place) if table == RUNS else self._tables.source(place, table)
        if source is None:
            raise RecallError(f"table {table!r} is not followed in scope {scope!r} of collection {collection!r}")
        (self._runs if table == RUNS else self._tables).drop(source)
        self._known.forget()

    def refresh(self, *, collection: str = DEFAULT, scope: str | Sequence[str] | None = None) -> Stored:
        """Read what changed in the tables that are followed; `recall` does so for up to 1,000 changes a table."""
        scopes = None if scope is None else [scope] if isinstance(scope, str) else list(scope)
        places = list(self._places(collection, scopes).values())
        return self._written(self._home(collection), lambda home: self._follow(home, places, None)[0])[0]

    def index_runs(self, *workflows: str, steps: bool = True, collection: str = DEFAULT, scope: str = "") -> Stored:
        """Remember how runs ended, and follow those that will: what was asked, what came of it, what went wrong.

        Secrets are masked, values are cut after 400 letters. `recall` with ``where={"status": "succeeded"}`` leaves
        out what failed.

        Args:
            workflows: their names; none: all but the library's own.
            steps: besides, an item for each step.
            collection, scope: where.
        """

        def index(home: Collection) -> Stored:
            source = self._runs.declare(self._store.make_place(home, scope), workflows, steps)
            return self._runs.follow(source, self._keeper(home))[0]

        return self._written(self._made(collection), index)[0]

    def _follow(self, home: Collection, places: Sequence[int], most: int | None) -> tuple[Stored, list[Source]]:
        """Read changes of the tables that are followed; those that are not through with."""
        total, behind = Stored(()), []
        for source in self._tables.sources(places):
            follower = self._runs if source.name == RUNS else self._tables
            stored, through = follower.follow(source, self._keeper(home), most)
            if not through:
                behind.append(source)
            total += stored
        return total, behind

    def _caught_up(self, home: Collection, places: Sequence[int]) -> tuple[Collection, list[Source]]:
        """The collection after what changed in its tables was read, if that is not too much; those not through with."""
        if self._has_written():  # the step's transaction is no place for that
            return home, []
        behind: list[Source] = []

        def follow(home: Collection) -> Stored:
            stored, behind[:] = self._follow(home, places, _AT_RECALL)
            return stored

        return self._written(home, follow, as_is=True)[1], behind
