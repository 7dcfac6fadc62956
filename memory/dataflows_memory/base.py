"""What every part of the memory stands on: the embedder, the collections, the way of items into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from dataflows_memory.branches import Branches, Lines, View
from dataflows_memory.embedding.cache import LRUCache
from dataflows_memory.embedding.choice import Choice, choose_embedder
from dataflows_memory.items import New
from dataflows_memory.recall import EXACT, Known
from dataflows_memory.reembedding import Reembedder
from dataflows_memory.runs import Runs
from dataflows_memory.store import Store
from dataflows_memory.tables import Tables
from dataflows_memory.words import check_language
from dataflows_memory.writing import Keeper, OtherEmbedder, Stored, Writer
from dataflows_sdk.errors import DefinitionError, RecallError

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Embedder
    from dataflows_memory.store import Collection, Ground
    from dataflows_sdk.context import Context
    from dataflows_sdk.core.durations import Instant
    from dataflows_sdk.runs import Run

#: what a collection is called when nothing is said
DEFAULT = "default"
#: the mark of memory on a step's transaction
_MARK = "dataflows_memory"
#: after so many new items the planner is told, and the index of what is near is made if there are enough
_GROWN = 2_000
#: vectors that are kept in memory: 15 MB of 384 numbers each, 60 MB of 1,536
_CACHED = 10_000
#: how often a collection may get another embedder while something is written to it
_RACES = 20


class Base:
    """A part of `Memory`."""

    def __init__(self, context: Context, embedder: str | Embedder | None = "auto") -> None:
        self._context = context
        self._setting = os.environ.get("DATAFLOWS_EMBEDDER", "auto") if embedder == "auto" else embedder
        warehouse = context.warehouse
        self._store = Store(context._database, self._transaction, self._has_written)
        self._tables = Tables(self._store, warehouse, self._now)
        self._runs = Runs(self._store, self._now)
        self._writer = warehouse._writer
        self._branches = Branches(self._store)
        #: whose eyes this memory has; None: those of the code that asks
        self._fixed: View | None = None
        #: embedders that this memory has, or had before it got another one, by their names
        self._embedders: dict[str, Embedder] = {}
        self._reembedders: dict[str, Reembedder] = {}
        #: to be closed with the context
        self._opened: list[Embedder] = []
        context._closing.append(_closing(self._opened))
        self._grown = 0
        self._known = Known()
        #: questions, and what was paid for and is not in the database yet
        self._cache = LRUCache(_CACHED)

    def __repr__(self) -> str:
        return f"<Memory: {self._choice.reason}>"

    @cached_property
    def _choice(self) -> Choice:
        return self._taken(self._setting)

    @property
    def _embedder(self) -> Embedder | None:
        return self._choice.embedder

    def use(self, embedder: str | Embedder | None) -> None:
        """Take another embedder from now on, for collections that have none yet or are its own.

        Those that another one has filled, and that this memory had before, go on with that; see `reembed`.

        Raises:
            DefinitionError: there is no such embedder.
            MissingExtraError: it is not installed.
        """
        choice = self._taken(embedder)
        if self._embedder is not None:
            self._embedders[self._embedder.name] = self._embedder
        self._choice = choice

    def reembed(self, embedder: str | Embedder, *, collection: str = DEFAULT) -> Run:
        """Embed a collection anew by another model: a durable run, which others of this embedder go on with.

        Until it is over, the old vectors serve, and what is written meanwhile is embedded by both. Items of before are
        embedded too, so that `recall` finds them as of then. A collection without vectors gets some.

        Args:
            embedder: as for `use`; this memory knows it from then on. Other processes need it when the run is over:
                by ``use``, or by ``DATAFLOWS_EMBEDDER``.
            collection: which.

        Raises:
            DefinitionError: there is no such embedder, or none at all.
            RecallError: there is no such collection.
            MissingExtraError: it is not installed.
        """
        chosen = self._taken(embedder).embedder
        if chosen is None:
            raise DefinitionError("reembed() wants an embedder: 'local', 'openai:<model>', or one of your own")
        home = self._home(collection)
        chosen = self._embedders.setdefault(chosen.name, chosen)
        known = self._reembedders.get(chosen.name)
        if known is None:
            known = self._reembedders[chosen.name] = Reembedder(self, chosen)
            self._context.register(known.workflow)
        return self._context.start(known.workflow, {"collection": home.name})

    def _taken(self, setting: str | Embedder | None) -> Choice:
        choice = choose_embedder(setting)
        if choice.embedder is not None:
            self._opened.append(choice.embedder)
        return choice

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
        view = self._writing_view()

        def put(home: Collection) -> Stored:
            place, lines = self._place(home, scope, view)
            return self._keeper(home, lines).put(place, items, self._who(), append=append, whole=set(whole), at=at)

        return self._written(self._made(collection), put)[0]

    def _written(
        self, home: Collection, work: Callable[[Collection], Stored], *, as_is: bool = False
    ) -> tuple[Stored, Collection]:
        """Write to a collection, again if it gets another embedder at that moment; gives it as it is then.

        One that has no vectors gets this memory's embedder, unless it is to stay *as it is*.
        """
        for _ in range(_RACES):
            home = home if as_is else self._with_embedder(home)
            try:
                stored = work(home)
            except OtherEmbedder:
                home = self._home(home.name)
                continue
            self._settle(home, stored)
            return stored, home
        raise RecallError(f"collection {home.name!r} gets another embedder all the time; try again")

    def _keeper(self, home: Collection, lines: Lines | None = None) -> Keeper:
        return Keeper(self._store, home, self._embedder_of(home), self._cache, lines)

    def _place(self, home: Collection, scope: str, view: View) -> tuple[int, Lines | None]:
        """Where a view writes, and what it sees there if that is not the main line."""
        if view.branch is None:
            return self._store.make_place(home, scope), None
        place = self._branches.make_place(view.branch, home, scope)
        return place, self._branches.lines(view, home, [scope])[0]

    def _who(self) -> Writer:
        origin = self._writer.origin(None)
        return Writer(origin.now, origin.run, origin.step)

    def _view(self) -> View:
        return self._branches.here() if self._fixed is None else self._fixed

    def _writing_view(self) -> View:
        view = self._view()
        if view.until is not None:
            raise RecallError(
                "a replay changes nothing, and the code remembers outside of a step: give it to step.run(…), which is "
                "not called again"
            )
        return view

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

    def _embedder_of(self, home: Collection) -> Embedder | None:
        """What makes the vectors of a collection: what it was filled by, if that is known here."""
        if home.vectors is None or self._embedder is None or home.vectors.name == self._embedder.name:
            return None if home.vectors is None else self._embedder
        known = self._embedders.get(home.vectors.name)
        if known is None:
            raise RecallError(
                f"collection {home.name!r} was embedded by {home.vectors.name!r}, and this memory has "
                f"{self._embedder.name!r}: what they give cannot be compared. use() that embedder, or take another "
                f"collection; or give the collection this memory's vectors: reembed(…, collection={home.name!r})"
            )
        return known

    def _with_embedder(self, home: Collection) -> Collection:
        if self._embedder is None or home.vectors is not None:
            self._embedder_of(home)
            return home
        vectors = self._store.vectors_for(self._embedder.name, self._embedder.dimension)
        self._store.ask("items", "use_embedder", [home.id, vectors.id])
        made = self._store.collection(home.name)
        assert made is not None
        return made

    def _why_words(self, home: Collection) -> str:
        if self._embedder is None:
            return self._choice.reason
        return f"found by words alone: collection {home.name!r} was written without an embedder"

    def _home(self, collection: str) -> Collection:
        home = self._store.collection(collection)
        return self._no_collection(collection) if home is None else home

    def _ground(self, collection: str, scopes: Sequence[str] | None) -> Ground:
        ground = self._store.ground(collection, scopes)
        return self._no_collection(collection) if ground is None else ground

    def _no_collection(self, collection: str) -> NoReturn:
        names = ", ".join(repr(each["name"]) for each in self.collections()) or "none yet"
        raise RecallError(f"there is no collection {collection!r}; there are: {names}")

    def _places(self, collection: str, scopes: Sequence[str] | None) -> dict[str, int]:
        """Scopes that everybody sees, and their numbers."""
        ground = self._ground(collection, scopes)
        self._check_scopes(ground, scopes)
        return ground.places

    def _check_scopes(self, ground: Ground, scopes: Sequence[str] | None, there: Iterable[str] = ()) -> None:
        """Refuse scopes that there are not; those that are *there* besides, only a branch has."""
        missing = [scope for scope in scopes or () if scope not in ground.places and scope not in there]
        if missing:
            home = ground.collection
            known = ", ".join(map(repr, sorted(self._store.places(home, None))[:20])) or "none"
            raise RecallError(f"nothing was ever remembered in scope {missing[0]!r} of {home.name!r}; scopes: {known}")

    def _check_properties(self, places: Sequence[int], where: Mapping[str, Any]) -> None:
        known = {name for (name,) in self._store.ask("recall", "properties", [list(places)])}
        for name in where:
            if name.partition(".")[0] not in known:
                there = ", ".join(map(repr, sorted(known))) or "none"
                raise RecallError(f"no item has the property {name!r}; there are: {there}")

    def _moment(self, moment: Instant | None) -> datetime | None:
        return None if moment is None else self._context.warehouse._ago(moment)

    def _time(self) -> datetime:
        now: datetime = self._now() or self._store.ask("items", "now")[0][0]
        return now

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


def _closing(embedders: list[Embedder]) -> Callable[[], None]:
    """Closes the connections of the embedders that were taken; one that is used again opens new ones."""

    def close() -> None:
        for each in embedders:
            end = getattr(each, "close", None)
            if callable(end):
                end()

    return close
