"""``ctx.memory``: what agents remember and recall."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory.asking.desk import Asking
from dataflows_memory.base import DEFAULT
from dataflows_memory.branches import MAIN
from dataflows_memory.checks import check_ref, checked_meta, checked_text, excluded, number, origins, ref_of
from dataflows_memory.conditions import conditions
from dataflows_memory.duplicates import Duplicates
from dataflows_memory.embedding.cache import embed_cached
from dataflows_memory.items import Item, New, Recalled
from dataflows_memory.recall import Recaller, Wanted
from dataflows_memory.saying import Saying
from dataflows_memory.sources import Sources
from dataflows_memory.writing import Stored
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.shown import MOST_ROWS, Sheet, ShownAsTable
from dataflows_sdk.errors import ItemNotFoundError, RecallError
from dataflows_sdk.warehouse.table import in_thread

if TYPE_CHECKING:
    from dataflows_memory.tables import Source
    from dataflows_sdk.core.durations import Instant
    from dataflows_sdk.notebook.widgets.browse import Browser


class Memory(Sources, Duplicates, Saying, Asking, ShownAsTable):
    """Texts that are found again by what they mean, by their words and by time. Usable from any thread.

    Args:
        context: whose database it is in.
        embedder: makes texts into vectors: an `Embedder`, ``"local"``, ``"openai:<model>"``, ``"none"`` or None for
            words alone. ``"auto"``: what the environment variable ``DATAFLOWS_EMBEDDER`` says, or else the local model
            where it is installed.
    """

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
        properties = checked_meta(meta)
        name = ref if ref is not None else to
        refs = [ref_of(text) for text in given] if name is None else [check_ref(name)] * len(given)
        parts = [0] * len(given) if ref is None else range(len(given))
        items = [
            New(checked_text(text), "text", each, part, meta=properties, valid_from=begin, valid_to=end)
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

        What was to end at a moment to come ends then as well after the update.

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
        at = self._moment(since)
        ends = self._end_to_come(known, at)
        properties = known.meta if meta is None else checked_meta(meta)
        new = New(checked_text(text), known.origin, known.ref, known.part, known.heading, properties, None, at, ends)
        return self._put(known.collection, known.scope, [new], at=at)

    def retract(self, *items: int) -> int:
        """Take items back that were never true: nothing finds them any more, except ``known_at`` before.

        Returns:
            how many were taken back.
        """
        return self._retire(items)

    def forget(self, *items: int, ref: str | None = None, collection: str = DEFAULT, scope: str = "") -> int:
        """Delete items for good, with every version, their words and their vectors, also on branches.

        A fork can only delete what it has remembered itself; ``on("main").forget(…)`` deletes everywhere.

        Args:
            items: their numbers; or
            ref: what is to be forgotten with all of its parts, in a
            collection: and a
            scope: of it.

        Returns:
            how many versions were deleted.

        Raises:
            RecallError: neither numbers nor a name; or, in a fork, something that it has not remembered itself.
        """
        self._store.prepare()
        if bool(items) == (ref is not None):
            raise RecallError("forget(number, …), or forget(ref=…): say what")
        branch = self._writing_view().branch
        on = None if branch is None else branch.run
        if ref is not None:
            home = self._home(collection)
            if branch is None:
                self._places(collection, [scope])
            ids = [id_ for (id_,) in self._store.ask("items", "all_of", [home.id, scope, ref, on])]
        else:
            given = [self.get(item).id for item in items]
            if branch is not None and (others := set(given) - self._own(given, branch)):
                raise RecallError(
                    f"item {min(others)} was not remembered by this fork, which sees it but does not own it: retract() "
                    'hides it on the branch, on("main").forget() deletes it for everybody'
                )
            ids = [id_ for (id_,) in self._store.ask("items", "versions_of", [given, on])]
        with self._store.transaction() as connection:
            self._store.run(connection, "items", "forget", [ids])
        self._known.forget()
        self._cache.clear()
        return len(ids)

    # --- looking -----------------------------------------------------------------------------------------

    def get(self, item: int) -> Item:
        """An item by its number.

        Raises:
            ItemNotFoundError: there is none.
        """
        self._store.prepare()
        found = self._store.ask("items", "item", [number(item)])
        if not found:
            raise ItemNotFoundError(f"there is no item {item} in the memory: it was never there, or is forgotten")
        return Item.of(found[0])

    def around(self, item: int, before: int = 1, after: int = 1, *, as_of: Instant | None = None) -> list[Item]:
        """An item with the parts before and after it, as they are now, or when it ended.

        Raises:
            ItemNotFoundError: there is none.
        """
        one, before, after = self.get(item), max(0, before), max(0, after)
        lines = self._lines_of(one.collection, one.scope)
        if lines is None:
            moment = self._moment(as_of) or self._now()
            rows = self._store.ask("recall", "neighbours", [item, before, after, moment])
        else:
            now = self._time()
            within = [one.origin, one.ref, one.part - before, one.part + after]
            rows = self._store.ask("branches", "around", [*lines.at(self._moment(as_of) or now, now), *within])
        return [Item.of(row) for row in rows]

    def history(self, ref: str, *, collection: str = DEFAULT, scope: str = "") -> list[Item]:
        """Every version of what has this name, oldest first; in a fork those that it sees, or saw before."""
        lines = self._lines_of(collection, scope)
        if lines is None:
            places = self._places(collection, [scope])
            rows = self._store.ask("items", "history", [list(places.values()), ref])
        else:
            now = self._time()
            rows = self._store.ask("branches", "history", [*lines.at(now, now), ref])
        return [Item.of(row) for row in rows]

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
            without_runs: leave out what these runs wrote; or runs of a state, as in ``("failed", "cancelled")``.
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
        scopes = None if scope is None else [scope] if isinstance(scope, str) else list(scope)
        ground = self._ground(collection, scopes)
        home, places, view = ground.collection, ground.places, self._view()
        lines, there = (None, set[str]()) if view == MAIN else self._branches.lines(view, home, scopes)
        self._check_scopes(ground, scopes, there)
        runs, states = excluded(without_runs)
        having, path = conditions(where or {})
        wanted = Wanted(
            question,
            k,
            tuple(sorted(places.values())),
            self._moment(as_of),
            self._moment(known_at),
            self._moment(since),
            origins(origin),
            having,
            path,
            runs,
            states,
            None if recency is None else parse_duration(recency).total_seconds(),
            different,
            lines,
        )
        now: datetime | None = ground.now
        behind: list[Source] = []
        if ground.follows:  # what is read now was recorded later
            home, behind = self._caught_up(home, wanted.places)
            now = None
        vector = None
        embedder = self._embedder_of(home)
        if embedder is not None and home.vectors is not None:
            vector = embed_cached(embedder, self._cache, [question], query=True).vectors[0]
        hits, among = Recaller(self._store, home, self._known).find(wanted, vector, self._now() or now, rerank)
        if not hits and where:
            self._check_properties(wanted.places if lines is None else lines.places, where)
        if around:
            hits = [
                replace(hit, around=tuple(self.around(hit.item.id, around, around, as_of=wanted.as_of))) for hit in hits
            ]
        return Recalled(
            question,
            tuple(hits),
            collection,
            tuple(sorted({*places, *there})),
            "words" if vector is None else "hybrid",
            None if home.vectors is None or vector is None else home.vectors.name,
            wanted.as_of,
            wanted.known_at,
            among,
            " ".join([*([] if vector is not None else [self._why_words(home)]), *map(_behind, behind)]),
        )

    def search_box(
        self, question: str = "", k: int = 20, *, collection: str = DEFAULT, scope: str | None = ""
    ) -> Browser:
        """A question, an origin and a time as inputs in a notebook; below them the hits and their scores.

        Args:
            question: what it begins with.
            k: how many hits.
            collection, scope: where it looks, as for `recall`.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
            RecallError: a question is given, and there is no such collection or scope.
        """
        from dataflows_memory.searching import SearchBox
        from dataflows_sdk.notebook.display import browser

        if not isinstance(question, str):
            raise RecallError(f"a question is a text, not {question!r}")
        if not isinstance(k, int) or not 1 <= k <= MOST_ROWS:
            raise RecallError(f"k={k!r}: a search box shows 1 to {MOST_ROWS} items")
        box = SearchBox(self, question, k, collection, scope)
        return browser(box, "ctx.memory.search_box()", "ctx.memory.recall()")

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

    def _end_to_come(self, item: Item, at: datetime | None) -> datetime | None:
        """When what is to be said instead of an item ends too; None: it has no end."""
        end, now = item.valid_to, self._time()
        if self._view().branch is None and not self._store.ask("items", "is_in_force", [item.id]):
            raise RecallError(f"item {item.id} is over: another one has taken its place, see history({item.ref!r})")
        if end is None or (end <= now and self._view().branch is not None):
            return None
        told = f"{end:%Y-%m-%d %H:%M:%S}; remember(…, ref={item.ref!r}) says what is true after that"
        if end <= now:
            raise RecallError(f"item {item.id} is over since {told}")
        if at is not None and at >= end:
            raise RecallError(f"since={at:%Y-%m-%d %H:%M:%S} is not before the end of item {item.id}, {told}")
        return end

    def _retire(self, items: Sequence[int]) -> int:
        known = [self.get(item) for item in items]
        branch, who = self._writing_view().branch, self._who()
        ids = {item.id for item in known if branch is not None or item.retired_at is None}
        own = ids if branch is None else self._own(ids, branch)
        with self._store.transaction() as connection:
            now = who.now or self._store.run(connection, "items", "now")[0][0]
            self._store.run(connection, "items", "retire_items", [sorted(own), now, who.run, who.step])
            for each in self._store.all_vectors(connection):
                self._store.run(connection, "items", "end_vectors", [sorted(own)], each)
            for one in known:
                if branch is not None and one.id not in own:
                    place = self._branches.make_place(branch, self._home(one.collection), one.scope)
                    self._store.run(
                        connection, "branches", "hide", [place, [one.id], ["-infinity"], now, who.run, who.step]
                    )
        self._known.forget()
        return len(ids)

    def _sheet(self) -> Sheet:
        embedder = "none: by words alone" if self._embedder is None else repr(self._embedder)
        return Sheet("memory", [("embedder", embedder)])


def _behind(source: Source) -> str:
    return f"Not all changes of table {source.name!r} are read yet: refresh() reads many, or another process is at it."
