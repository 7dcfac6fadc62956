"""``ctx.memory``: what agents remember and recall."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflows_memory.conditions import conditions
from dataflows_memory.documents.chunks import chunk
from dataflows_memory.documents.document import Document
from dataflows_memory.documents.reading import read_document
from dataflows_memory.embedding.choice import Choice, choose_embedder
from dataflows_memory.items import ORIGINS, Item, New, Recalled
from dataflows_memory.recall import EXACT, Known, Recaller, Wanted
from dataflows_memory.store import Store, check_name
from dataflows_memory.tables import Source, Tables
from dataflows_memory.words import check_language
from dataflows_memory.writing import Keeper, Stored, Writer
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.errors import DocumentError, ItemNotFoundError, RecallError
from dataflows_sdk.warehouse.table import in_thread

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Embedder
    from dataflows_memory.store import Collection
    from dataflows_sdk.context import Context
    from dataflows_sdk.core.durations import Instant

#: what a collection is called when nothing is said
DEFAULT = "default"
#: the mark of memory on a step's transaction
_MARK = "dataflows_memory"
_LONGEST = 10_000_000
#: after so many new items the planner is told, and the index of what is near is made if there are enough
_GROWN = 2_000
#: so many changes of a table are read before an answer
_AT_RECALL = 1_000


class Memory:
    """Texts that are found again by what they mean, by their words and by time. Usable from any thread.

    Args:
        context: whose database it is in.
        embedder: makes texts into vectors: an `Embedder`, ``"local"``, ``"openai:<model>"``, ``"none"`` or None for
            words alone. ``"auto"``: what the environment variable ``DATAFLOWS_EMBEDDER`` says, or else the local model
            where it is installed.
    """

    def __init__(self, context: Context, embedder: str | Embedder | None = "auto") -> None:
        self._context = context
        self._setting = os.environ.get("DATAFLOWS_EMBEDDER", "auto") if embedder == "auto" else embedder
        warehouse = context.warehouse
        self._store = Store(context._database, self._transaction, self._has_written)
        self._tables = Tables(self._store, warehouse)
        self._writer = warehouse._writer
        self._grown = 0
        self._known = Known()

    def __repr__(self) -> str:
        return f"<Memory: {self._choice.reason}>"

    @cached_property
    def _choice(self) -> Choice:
        return choose_embedder(self._setting)

    @property
    def _embedder(self) -> Embedder | None:
        return self._choice.embedder

    def use(self, embedder: str | Embedder | None) -> None:
        """Take another embedder from now on, for collections that have none yet or are its own.

        Raises:
            DefinitionError: there is no such embedder.
            MissingExtraError: it is not installed.
        """
        self._choice = choose_embedder(embedder)

    # --- collections -------------------------------------------------------------------------------------

    def collection(self, name: str = DEFAULT, *, language: str = "english", around: int = 1) -> None:
        """Make a collection, if there is none of this name; `remember` makes one with these defaults.

        Args:
            name: of it.
            language: by which words are cut to stems, for example ``"german"``; ``"none"`` leaves them whole.
            around: with how many neighbours on each side a part of a document or conversation is read besides alone;
                0 halves what is embedded.

        Raises:
            RecallError: there is one, with another language or other neighbours; or the name is none.
        """
        check_language(language)
        if not 0 <= around <= 5:
            raise RecallError(f"around={around}: a part is read with 0 to 5 neighbours on each side")
        made = self._store.make_collection(name, language, around)
        if (made.language, made.around) != (language, around):
            raise RecallError(
                f"collection {name!r} is there with language={made.language!r} and around={made.around}; "
                "what is in it was read so: take another name"
            )

    def collections(self) -> list[dict[str, Any]]:
        """What there is: name, language, around, embedder, dimension, scopes and the number of items in force."""
        self._store.prepare()
        names = ("name", "language", "around", "embedder", "dimension", "scopes", "items")
        return [
            {**dict(zip(names, row, strict=True)), "scopes": row[5] or []}
            for row in self._store.ask("items", "collections")
        ]

    # --- remembering -------------------------------------------------------------------------------------

    def remember(
        self,
        texts: str | Iterable[str],
        *,
        collection: str = DEFAULT,
        scope: str = "",
        ref: str | None = None,
        to: str | None = None,
        meta: Mapping[str, Any] | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
    ) -> Stored:
        """Remember a text, or several; inside a step it commits together with the step's record.

        The same text in the same place is kept once and embedded once. Another text with the *ref* of an earlier one
        takes its place from now on: the earlier one is still what `recall` finds as of before.

        Args:
            texts: one, or several; each is an item.
            collection: where; it is made if there is none.
            scope: whose memory it is: a tenant, a user, a project. `recall` sees one scope, unless more are asked for.
            ref: a name for it, by which it can be replaced and forgotten; several texts are then the parts of one.
            to: a conversation (or log) at whose end the texts are put.
            meta: properties to filter by; a JSON object.
            since: when it became true; by default now.
            until: when it stops to be true.

        Returns:
            the numbers of the items, and how many of them are new.

        Raises:
            RecallError: a text is empty or longer than 10 million letters; the collection was made by another embedder.
            EmbeddingError: the embedder gives no vectors; nothing was remembered.
        """
        if ref is not None and to is not None:
            raise RecallError("ref= replaces what is there, to= puts something at its end: give one of them")
        given = [texts] if isinstance(texts, str) else list(texts)
        begin, end = self._moment(since), self._moment(until)
        if begin is not None and end is not None and begin >= end:
            raise RecallError(f"since={since!r} is not before until={until!r}")
        properties = _checked_meta(meta)
        name = ref if ref is not None else to
        refs = [_ref_of(text) for text in given] if name is None else [check_ref(name)] * len(given)
        parts = [0] * len(given) if ref is None else range(len(given))
        items = [
            New(_checked_text(text), "text", each, part, meta=properties, valid_from=begin, valid_to=end)
            for text, each, part in zip(given, refs, parts, strict=True)
        ]
        if name is None:
            items = list({item.ref: item for item in items}.values())
        whole = {("text", ref)} if ref is not None else set[tuple[str, str]]()
        return self._put(collection, scope, items, append=to is not None, whole=whole, at=begin)

    def update(
        self, item: int, text: str, *, meta: Mapping[str, Any] | None = None, since: Instant | None = None
    ) -> Stored:
        """Say what is true now instead of an item; what it said stays true until then.

        Args:
            item: its number.
            text: what is true now.
            meta: its properties now; by default those that it has.
            since: when that became true; by default now.

        Raises:
            ItemNotFoundError: there is no such item.
            RecallError: it is over already.
        """
        known = self.get(item)
        if known.valid_to is not None or known.retired_at is not None:
            raise RecallError(f"item {item} is over: another one has taken its place, see history({known.ref!r})")
        at = self._moment(since)
        properties = known.meta if meta is None else _checked_meta(meta)
        new = New(_checked_text(text), known.origin, known.ref, known.part, known.heading, properties, None, at)
        return self._put(known.collection, known.scope, [new], at=at)

    def retract(self, *items: int) -> int:
        """Take items back that were never true: nothing finds them any more, except ``known_at`` before.

        Returns:
            how many were taken back.
        """
        return self._end("retire_items", items)

    def forget(self, *items: int, ref: str | None = None, collection: str = DEFAULT, scope: str = "") -> int:
        """Delete items for good, with every version, their words and their vectors.

        Args:
            items: their numbers; or
            ref: what is to be forgotten with all of its parts, in a
            collection: and a
            scope: of it.

        Returns:
            how many versions were deleted.

        Raises:
            RecallError: neither numbers nor a name.
        """
        self._store.prepare()
        if bool(items) == (ref is not None):
            raise RecallError("forget(number, …), or forget(ref=…): say what")
        if ref is not None:
            places = list(self._places(collection, [scope]).values())
            ids = [id_ for (id_,) in self._store.ask("items", "all_of", [places, None, ref])]
        else:
            ids = []
            for item in items:
                known = self.get(item)
                ids += [version.id for version in self._history(known) if version.part == known.part]
        with self._store.transaction() as connection:
            self._store.run(connection, "items", "forget", [sorted(set(ids))])
        self._known.forget()
        return len(set(ids))

    # --- documents and tables ----------------------------------------------------------------------------

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
        properties = _checked_meta(meta)
        begin = self._moment(since)
        items = [
            New(
                each.text,
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
        home = self._with_embedder(self._made(collection))
        source = self._tables.declare(self._store.make_place(home, scope), table, text, list(meta))
        stored, _ = self._tables.follow(source, Keeper(self._store, home, self._embedder))
        self._settle(home, stored)
        return stored

    def drop_index(self, table: str, *, collection: str = DEFAULT, scope: str = "") -> None:
        """Follow a table no longer, and forget its rows.

        Raises:
            RecallError: it is not followed.
        """
        place = self._places(collection, [scope])[scope]
        source = self._tables.source(place, table)
        if source is None:
            raise RecallError(f"table {table!r} is not followed in scope {scope!r} of collection {collection!r}")
        self._tables.drop(source)
        self._known.forget()

    def refresh(self, *, collection: str = DEFAULT, scope: str | Sequence[str] | None = None) -> Stored:
        """Read what changed in the tables that are followed; `recall` does so for up to 1,000 changes a table."""
        home = self._with_embedder(self._home(collection))
        scopes = None if scope is None else [scope] if isinstance(scope, str) else list(scope)
        total, _ = self._follow(home, list(self._places(collection, scopes).values()), None)
        return total

    def _follow(self, home: Collection, places: Sequence[int], most: int | None) -> tuple[Stored, list[Source]]:
        """Read changes of the tables that are followed; those that are not through with."""
        total, behind = Stored(()), []
        for source in self._tables.sources(places):
            stored, through = self._tables.follow(source, Keeper(self._store, home, self._embedder), most)
            if not through:
                behind.append(source)
            self._settle(home, stored)
            total += stored
        return total, behind

    # --- looking -----------------------------------------------------------------------------------------

    def get(self, item: int) -> Item:
        """An item by its number.

        Raises:
            ItemNotFoundError: there is none.
        """
        self._store.prepare()
        found = self._store.ask("items", "item", [_number(item)])
        if not found:
            raise ItemNotFoundError(f"there is no item {item} in the memory: it was never there, or is forgotten")
        return Item.of(found[0])

    def around(self, item: int, before: int = 1, after: int = 1, *, as_of: Instant | None = None) -> list[Item]:
        """An item with the parts before and after it, as they are now, or when it ended.

        Raises:
            ItemNotFoundError: there is none.
        """
        self.get(item)
        moment = self._moment(as_of) or self._now()
        rows = self._store.ask("recall", "neighbours", [item, max(0, before), max(0, after), moment])
        return [Item.of(row) for row in rows]

    def history(self, ref: str, *, collection: str = DEFAULT, scope: str = "") -> list[Item]:
        """Every version of what has this name, oldest first."""
        places = self._places(collection, [scope])
        return [Item.of(row) for row in self._store.ask("items", "history", [list(places.values()), ref])]

    def recall(
        self,
        question: str,
        k: int = 5,
        *,
        collection: str = DEFAULT,
        scope: str | Sequence[str] | None = "",
        where: Mapping[str, Any] | None = None,
        origin: str | Sequence[str] | None = None,
        as_of: Instant | None = None,
        known_at: Instant | None = None,
        since: Instant | None = None,
        recency: Duration | None = None,
        different: float | None = None,
        without_runs: Sequence[Any] = (),
        rerank: Callable[[str, Sequence[str]], Sequence[float]] | None = None,
        around: int = 0,
    ) -> Recalled:
        """The items that fit a question best: by their words and, with an embedder, by what they mean.

        Args:
            question: in words.
            k: how many.
            collection: where to look.
            scope: whose memory; several; or None for all scopes.
            where: properties that the items have: ``{"project": "alpha", "hours": {"gt": 3}, "state": ["open"]}``, with
                ``eq ne gt gte lt lte in exists``.
            origin: only ``"text"``, ``"document"``, ``"row"``, ``"run"`` or ``"step"``.
            as_of: what was true then; by default now.
            known_at: what was known here then.
            since: only what became true from then on.
            recency: the age that halves a score; by default age does not count.
            different: 0 to 1, how much the hits shall differ from each other (maximal marginal relevance).
            without_runs: leave out what these runs wrote.
            rerank: a function of the question and of texts that gives a score for each; the best come first.
            around: give each hit with so many parts before and after it.

        Raises:
            RecallError: the question is empty, there is no such collection or scope, or a condition makes no sense.
            EmbeddingError: the question cannot be embedded.
        """
        if not isinstance(question, str) or not question.strip():
            raise RecallError("the question is empty: recall('what to look for')")
        if not 1 <= k <= 1_000:
            raise RecallError(f"k={k}: 1 to 1,000 items are found at once")
        if different is not None and not 0 <= different <= 1:
            raise RecallError(f"different={different}: from 0 (only relevance) to 1 (only difference)")
        home = self._home(collection)
        scopes = None if scope is None else [scope] if isinstance(scope, str) else list(scope)
        places = self._places(collection, scopes)
        having, path = conditions(where or {})
        wanted = Wanted(
            question,
            k,
            tuple(sorted(places.values())),
            self._moment(as_of),
            self._moment(known_at),
            self._moment(since),
            _origins(origin),
            having,
            path,
            tuple(str(getattr(run, "id", run)) for run in without_runs) or None,
            None if recency is None else parse_duration(recency).total_seconds(),
            different,
        )
        _, behind = self._follow(home, wanted.places, _AT_RECALL) if not self._has_written() else (None, [])
        vector = None
        if home.vectors is not None and self._embedder is not None:
            self._check_same(home)
            vector = self._embedder.embed([question], query=True)[0]
        hits, among = Recaller(self._store, home, self._known).find(wanted, vector, self._now(), rerank)
        if not hits and where:
            self._check_properties(wanted.places, where)
        if around:
            hits = [
                replace(hit, around=tuple(self.around(hit.item.id, around, around, as_of=wanted.as_of))) for hit in hits
            ]
        return Recalled(
            question,
            tuple(hits),
            collection,
            tuple(sorted(places)),
            "words" if vector is None else "hybrid",
            None if home.vectors is None or vector is None else home.vectors.name,
            wanted.as_of,
            wanted.known_at,
            among,
            " ".join([*([] if vector is not None else [self._why_words(home)]), *map(_behind, behind)]),
        )

    # --- awaited -----------------------------------------------------------------------------------------

    async def aremember(self, texts: str | Iterable[str], **options: Any) -> Stored:
        """`remember`, to be awaited."""
        return await in_thread(self.remember, texts, **options)

    async def aupdate(self, item: int, text: str, **options: Any) -> Stored:
        """`update`, to be awaited."""
        return await in_thread(self.update, item, text, **options)

    async def aforget(self, *items: int, **options: Any) -> int:
        """`forget`, to be awaited."""
        return await in_thread(self.forget, *items, **options)

    async def arecall(self, question: str, k: int = 5, **options: Any) -> Recalled:
        """`recall`, to be awaited."""
        return await in_thread(self.recall, question, k, **options)

    # --- within ------------------------------------------------------------------------------------------

    def _put(
        self,
        collection: str,
        scope: str,
        items: Sequence[New],
        *,
        append: bool = False,
        whole: Iterable[tuple[str, str]] = (),
        at: datetime | None = None,
    ) -> Stored:
        home = self._with_embedder(self._made(collection))
        place = self._store.make_place(home, scope)
        origin = self._writer.origin(None)
        writer = Writer(origin.now, origin.run, origin.step)
        stored = Keeper(self._store, home, self._embedder).put(
            place, items, writer, append=append, whole=set(whole), at=at
        )
        self._settle(home, stored)
        return stored

    def _made(self, collection: str) -> Collection:
        return self._store.collection(collection) or self._store.make_collection(collection, "english", 1)

    def _settle(self, home: Collection, stored: Stored) -> None:
        """Look at sizes again; after many new items tell the planner, and make an index where it pays."""
        if stored.added or stored.ended:
            self._known.forget()
            self._grown += stored.added
            if self._grown >= _GROWN and not self._has_written():
                self._grown = 0
                self._store.ask("items", "settle_words")
                if home.vectors is not None:
                    self._store.index_near(home.vectors, EXACT)

    def _with_embedder(self, home: Collection) -> Collection:
        if self._embedder is None or home.vectors is not None:
            self._check_same(home)
            return home
        vectors = self._store.vectors_for(self._embedder.name, self._embedder.dimension)
        self._store.ask("items", "use_embedder", [home.id, vectors.id])
        made = self._store.collection(home.name)
        assert made is not None
        return made

    def _check_same(self, home: Collection) -> None:
        if self._embedder is not None and home.vectors is not None and home.vectors.name != self._embedder.name:
            raise RecallError(
                f"collection {home.name!r} was embedded by {home.vectors.name!r}, and this memory has "
                f"{self._embedder.name!r}: what they give cannot be compared. Use that one, or another collection"
            )

    def _why_words(self, home: Collection) -> str:
        if self._embedder is None:
            return self._choice.reason
        return f"found by words alone: collection {home.name!r} was written without an embedder"

    def _home(self, collection: str) -> Collection:
        home = self._store.collection(collection)
        if home is None:
            names = ", ".join(repr(each["name"]) for each in self.collections()) or "none yet"
            raise RecallError(f"there is no collection {collection!r}; there are: {names}")
        return home

    def _places(self, collection: str, scopes: Sequence[str] | None) -> dict[str, int]:
        home = self._home(collection)
        found = self._store.places(home, scopes)
        missing = [scope for scope in scopes or () if scope not in found]
        if missing:
            known = self._store.places(home, None)
            there = ", ".join(map(repr, sorted(known)[:20])) or "none"
            raise RecallError(f"nothing was ever remembered in scope {missing[0]!r} of {collection!r}; scopes: {there}")
        return found

    def _check_properties(self, places: Sequence[int], where: Mapping[str, Any]) -> None:
        known = {name for (name,) in self._store.ask("recall", "properties", [list(places)])}
        for name in where:
            if name.partition(".")[0] not in known:
                there = ", ".join(map(repr, sorted(known))) or "none"
                raise RecallError(f"no item has the property {name!r}; there are: {there}")

    def _end(self, how: str, items: Sequence[int]) -> int:
        known = [self.get(item) for item in items]
        ids = [item.id for item in known if item.retired_at is None]
        origin = self._writer.origin(None)
        with self._store.transaction() as connection:
            now = origin.now or self._store.run(connection, "items", "now")[0][0]
            self._store.run(connection, "items", how, [ids, now, origin.run, origin.step])
            for each in self._store.all_vectors(connection):
                self._store.run(connection, "items", "end_vectors", [ids], each)
        self._known.forget()
        return len(ids)

    def _history(self, item: Item) -> list[Item]:
        return self.history(item.ref, collection=item.collection, scope=item.scope)

    def _moment(self, moment: Instant | None) -> datetime | None:
        return None if moment is None else self._context.warehouse._ago(moment)

    def _now(self) -> datetime | None:
        return self._writer.origin(None).now

    def _transaction(self) -> Any:
        joined = self._writer.joined()
        if joined is not None:
            joined.marks.add(_MARK)
        return self._writer.transaction()

    def _has_written(self) -> bool:
        joined = self._writer.joined()
        return joined is not None and _MARK in joined.marks


def _behind(source: Source) -> str:
    return (
        f"Not all changes of table {source.name!r} are read yet: refresh() reads many, another process is at it, or a "
        "transaction that began before them goes on."
    )


def check_ref(ref: object) -> str:
    """A name of what is remembered.

    Raises:
        RecallError: it is none.
    """
    check_name("ref", ref)
    return str(ref)


def _ref_of(text: Any) -> str:
    """The same text is the same thing."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text)) if isinstance(text, str) else ""


def _checked_text(text: Any) -> str:
    if not isinstance(text, str):
        raise RecallError(f"a text is remembered, not {type(text).__name__}: {text!r:.80}")
    if not text.strip():
        raise RecallError("an empty text cannot be remembered: there is nothing to find it by")
    if "\0" in text:
        raise RecallError("the text has a NUL character, which PostgreSQL keeps in no text")
    if len(text) > _LONGEST:
        raise RecallError(
            f"the text has {len(text):,} letters, an item at most {_LONGEST:,}; cut it: add_document() does"
        )
    return text.encode("utf-8", "replace").decode("utf-8")


def _checked_meta(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        text = json.dumps(dict(meta or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecallError(f"meta is a JSON object, and this is none: {error}") from None
    if "\\u0000" in text:
        raise RecallError("meta has a NUL character, which PostgreSQL keeps in no text")
    found: dict[str, Any] = json.loads(text)
    return found


def _origins(origin: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if origin is None:
        return None
    given = (origin,) if isinstance(origin, str) else tuple(origin)
    for each in given:
        if each not in ORIGINS:
            raise RecallError(f"origin={each!r} is none of {', '.join(ORIGINS)}")
    return given


def _number(item: Any) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < 1 << 63:
        raise RecallError(f"an item is named by its number, not by {item!r}")
    return item
