"""The way of texts into the memory: what is new is embedded before, and written in one transaction."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection as Some
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory.embedding.cache import embed_cached
from dataflows_memory.items import New
from dataflows_memory.words import stems
from dataflows_sdk.bars import bar
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import RecallError

if TYPE_CHECKING:
    from dataflows_memory.branches import Lines
    from dataflows_memory.embedding.cache import Cache
    from dataflows_memory.embedding.embedder import Embedder
    from dataflows_memory.store import Collection, Store
    from dataflows_sdk.store.database import Connection

#: how often somebody else may be quicker with the same parts
_RACES = 20
#: items whose words go in one statement
_AT_ONCE = 2_000
#: texts that an embedder gets at a time, for the bar to move
_EMBEDDED = 512
#: words of the neighbours that are read with an item, on each side
_AROUND_WORDS = 128


@TYPES.register
@dataclass(frozen=True, slots=True)
class Stored(ShownAsTable):
    """What came of it.

    Attributes:
        items: the numbers of what was given, in its order.
        added: how many are new or changed.
        ended: how many were true until now.
        unchanged: how many were there.
        embedded: how many texts were sent to the embedder.
    """

    items: tuple[int, ...]
    added: int = 0
    ended: int = 0
    unchanged: int = 0
    embedded: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            self.items + other.items,
            self.added + other.added,
            self.ended + other.ended,
            self.unchanged + other.unchanged,
            self.embedded + other.embedded,
        )


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the run and the step, and the moment where time is virtual."""

    now: datetime | None
    run: str | None
    step: str | None


@dataclass(slots=True)
class _Known:
    """What is in force of a group."""

    id: int
    part: int
    hash: bytes
    around_hash: bytes | None
    heading: str
    meta: dict[str, Any]
    text: str
    place: int


@dataclass(slots=True)
class _Ready:
    """An item with all that is derived from its text."""

    new: New
    full: str
    hash: bytes
    words: list[str]
    around: str | None = None
    around_hash: bytes | None = None
    around_words: list[str] | None = None
    #: its number where only the neighbours are others
    known: int | None = None

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it belongs."""
        return (self.new.origin, self.new.ref, self.new.part)


class _Again(Exception):
    """Somebody else wrote the same parts meanwhile."""


class OtherEmbedder(Exception):
    """The collection has got another embedder meanwhile."""


class Keeper:
    """Writes items into a collection.

    Args:
        store: where.
        collection: into which.
        embedder: makes vectors of what is new.
        cache: has those that were paid for and not written, because something failed.
        lines: on a branch, what is seen there: what lies below it stays as it is, and is denied instead.
    """

    def __init__(
        self,
        store: Store,
        collection: Collection,
        embedder: Embedder | None,
        cache: Cache,
        lines: Lines | None = None,
    ) -> None:
        self._store = store
        self._collection = collection
        self._embedder = embedder
        self._cache = cache
        self._lines = lines
        self._warm: dict[bytes, Any] = {}

    def put(
        self,
        place: int,
        items: Sequence[New],
        writer: Writer,
        *,
        append: bool = False,
        whole: Some[tuple[str, str]] = (),
        at: datetime | None = None,
        gone: Mapping[tuple[str, str], datetime] | None = None,
    ) -> Stored:
        """Remember; what is there with the same origin, ref and part and says something else ends when that begins.

        Args:
            place: the number of the scope.
            items: what is new, or not.
            writer: who writes.
            append: put them behind the last part of their group.
            whole: groups of which everything is given: parts that are not come to their end.
            at: since when what is changed is true; by default since now.
            gone: groups that came to their end, and when.

        Raises:
            EmbeddingError: there are no vectors for them; nothing was written.
        """
        for _ in range(_RACES):
            try:
                return self._put(place, items, writer, append, whole, at, gone or {})
            except _Again:
                continue
        raise RecallError("others write the very same items all the time; try again")

    def _put(
        self,
        place: int,
        items: Sequence[New],
        writer: Writer,
        append: bool,
        whole: Some[tuple[str, str]],
        at: datetime | None,
        gone: Mapping[tuple[str, str], datetime],
    ) -> Stored:
        with self._store.reading() as connection:
            if append:
                items, groups = self._behind(connection, place, items, writer)
            else:
                wanted = {(new.origin, new.ref) for new in items} | {*whole, *gone}
                groups = self._in_force(connection, place, wanted, writer)
            changed, again = self._ready(items, groups, whole)
            again = [one for one in again if groups[one.new.origin, one.new.ref][one.new.part].place == place]
            below = {known.id for group in groups.values() for known in group.values() if known.place != place}
            since = {one.place: one.new.valid_from or at for one in changed}
            given = {(new.origin, new.ref, new.part) for new in items}
            over: dict[int, datetime | None] = {}
            for pair, group in groups.items():
                for part, known in group.items():
                    if (*pair, part) in since:
                        over[known.id] = since[*pair, part]
                    elif pair in gone or (pair in whole and (*pair, part) not in given):
                        over[known.id] = gone.get(pair, at)
            texts = {one.hash: one.full for one in [*changed, *again]}
            for one in [*changed, *again]:
                if one.around_hash is not None and one.around is not None:
                    texts[one.around_hash] = one.around
            vectors, embedded = self._vectors(connection, texts)
        if not changed and not over and not again:
            return Stored(_numbers(items, groups, {}), unchanged=len(items))
        with self._store.transaction() as connection:
            numbers = self._write(connection, place, changed, again, over, below, vectors, writer, at)
        unchanged = len(items) - len(changed)
        return Stored(_numbers(items, groups, numbers), len(changed), len(over), unchanged, embedded)

    # --- what is there -----------------------------------------------------------------------------------

    def _in_force(
        self, connection: Connection, place: int, wanted: Iterable[tuple[str, str]], writer: Writer
    ) -> dict[tuple[str, str], dict[int, _Known]]:
        pairs = sorted(wanted)
        groups: dict[tuple[str, str], dict[int, _Known]] = {pair: {} for pair in pairs}
        lists = [[origin for origin, _ in pairs], [ref for _, ref in pairs]]
        if self._lines is None:
            rows = self._store.run(connection, "items", "in_force", [[place] * len(pairs), *lists])
        else:
            rows = self._store.run(connection, "branches", "in_force", [*self._seen(connection, writer), *lists])
        _take(groups, rows)
        return groups

    def _seen(self, connection: Connection, writer: Writer) -> list[Any]:
        assert self._lines is not None
        now = writer.now or self._store.run(connection, "items", "now")[0][0]
        return self._lines.at(now, now)

    def _behind(
        self, connection: Connection, place: int, items: Sequence[New], writer: Writer
    ) -> tuple[list[New], dict[tuple[str, str], dict[int, _Known]]]:
        """The items with their places behind what is there, and the end of what is there."""
        groups: dict[tuple[str, str], dict[int, _Known]] = {}
        behind: list[New] = []
        last: dict[tuple[str, str], int] = {}
        for new in items:
            group = (new.origin, new.ref)
            if group not in groups:
                groups[group] = {}
                wanted = [*group, max(1, 2 * self._collection.around)]
                if self._lines is None:
                    rows = self._store.run(connection, "items", "tail", [place, *wanted])
                else:
                    rows = self._store.run(connection, "branches", "tail", [*self._seen(connection, writer), *wanted])
                _take(groups, rows)
                last[group] = max(groups[group], default=-1)
            last[group] += 1
            behind.append(replace(new, part=last[group]))
        return behind, groups

    # --- what is derived ---------------------------------------------------------------------------------

    def _ready(
        self,
        items: Sequence[New],
        groups: Mapping[tuple[str, str], dict[int, _Known]],
        whole: Some[tuple[str, str]],
    ) -> tuple[list[_Ready], list[_Ready]]:
        """The items that are not there as they are given, and those that are and get other neighbours."""
        texts: dict[tuple[str, str], dict[int, str]] = {}
        for pair, group in groups.items():
            kept = {} if pair in whole else group
            texts[pair] = {part: full_of(each.heading, each.text) for part, each in kept.items()}
        ready = [self._with_words(new) for new in items]
        for one in ready:
            texts.setdefault((one.new.origin, one.new.ref), {})[one.new.part] = one.full
        given = {one.place for one in ready}
        for pair, group in groups.items():
            for part, known in group.items():
                if (*pair, part) not in given and part in texts[pair] and self._touches(part, pair, given):
                    ready.append(self._with_words(New(known.text, *pair, part, known.heading, known.meta)))
        changed: list[_Ready] = []
        again: list[_Ready] = []
        for one in ready:
            pair = (one.new.origin, one.new.ref)
            self._with_neighbours(one, texts[pair])
            there = groups.get(pair, {}).get(one.new.part)
            if there is None or there.hash != one.hash or there.meta != dict(one.new.meta):
                changed.append(one)
            elif there.around_hash != one.around_hash:
                one.known = there.id
                again.append(one)
        return changed, again

    def _with_words(self, new: New) -> _Ready:
        full = full_of(new.heading, new.text)
        return _Ready(new, full, hash_of(full), stems(full, self._collection.language))

    def _touches(self, part: int, pair: tuple[str, str], given: Some[tuple[str, str, int]]) -> bool:
        around = self._collection.around
        return any((*pair, part + step) in given for step in range(-around, around + 1))

    def _with_neighbours(self, one: _Ready, texts: Mapping[int, str]) -> None:
        one.around = around_of(one.full, one.new.part, texts, self._collection.around)
        if one.around is None:
            return
        one.around_hash = hash_of(one.around)
        one.around_words = stems(one.around, self._collection.language)

    def warm(self, items: Iterable[New]) -> int:
        """Embed what `put` will want, before a transaction is open; how many texts were sent."""
        texts = {hash_of(full): full for full in (full_of(new.heading, new.text) for new in items)}
        with self._store.reading() as connection:
            found, sent = self._vectors(connection, texts)
        self._warm = found
        return sent

    def _vectors(self, connection: Connection, texts: Mapping[bytes, str]) -> tuple[dict[bytes, Any], int]:
        """Vectors by the hash of their texts: those that are there, and new ones."""
        vectors = self._collection.vectors
        if vectors is None or self._embedder is None or not texts:
            return {}, 0
        found = {hash_: self._warm[hash_] for hash_ in texts if hash_ in self._warm}
        asked = [hash_ for hash_ in texts if hash_ not in found]
        found |= {
            bytes(hash_): vector
            for hash_, vector in self._store.run(connection, "items", "vectors_of_texts", [asked], vectors)
        }
        missing = {hash_: text for hash_, text in texts.items() if hash_ not in found and text.strip()}
        if missing:
            made = self._embedded(self._embedder, list(missing.values()))
            found.update(zip(missing, made, strict=True))
        return found, len(missing)

    def _embedded(self, embedder: Embedder, texts: list[str]) -> list[Any]:
        made: list[Any] = []
        with bar("embed", len(texts)) as tell:
            for start in range(0, len(texts), _EMBEDDED):
                made.extend(embed_cached(embedder, self._cache, texts[start : start + _EMBEDDED]).vectors)
                tell(len(made))
        return made

    # --- what is written ---------------------------------------------------------------------------------

    def _write(
        self,
        connection: Connection,
        place: int,
        changed: Sequence[_Ready],
        again: Sequence[_Ready],
        over: Mapping[int, datetime | None],
        below: Some[int],
        vectors: Mapping[bytes, Any],
        writer: Writer,
        at: datetime | None,
    ) -> dict[tuple[str, str, int], int]:
        run = self._store.run
        vectors_of = self._collection.vectors
        if run(connection, "embedding", "same_embedder", [self._collection.id]) != [(vectors_of and vectors_of.id,)]:
            raise OtherEmbedder
        now = writer.now or run(connection, "items", "now")[0][0]
        denied = {item: end or now for item, end in over.items() if item in below}
        ended = {item: end or now for item, end in over.items() if item not in below}
        if denied:
            lists = [list(denied), list(denied.values())]
            run(connection, "branches", "hide", [place, *lists, now, writer.run, writer.step])
        if ended:
            lists = [list(ended), list(ended.values())]
            run(connection, "items", "end_items", [*lists, writer.run, writer.step, now])
            for each in self._store.all_vectors(connection):
                run(connection, "items", "end_vectors", [list(ended)], each)
        numbers: dict[tuple[str, str, int], int] = {}
        for lot in _lots(changed):
            who = [now, writer.run, writer.step, *_wrote(lot)]
            rows = run(connection, "items", "add", [*_columns(place, lot, at), *who])
            if len(rows) < len(lot):
                raise _Again
            numbers.update({(origin, ref, part): id_ for id_, _, origin, ref, part in rows})
        known = {one.place: one.known for one in again}
        if again:
            ids = [one.known for one in again]
            lengths = [len(one.around_words or one.words) for one in again]
            run(connection, "items", "set_around", [ids, [one.around_hash for one in again], lengths])
            run(connection, "items", "drop_postings", [ids])
        everything = [*changed, *again]
        for lot in _lots(everything):
            ids = [known.get(one.place) or numbers[one.place] for one in lot]
            run(connection, "items", "add_postings", _postings(ids, lot))
            self._add_vectors(connection, ids, lot, vectors)
        return numbers

    def _add_vectors(
        self, connection: Connection, ids: Sequence[int | None], lot: Sequence[_Ready], vectors: Mapping[bytes, Any]
    ) -> None:
        if self._collection.vectors is None:
            return
        have = [(id_, one) for id_, one in zip(ids, lot, strict=True) if one.hash in vectors]
        if have:
            around = [vectors.get(one.around_hash) if one.around_hash is not None else None for _, one in have]
            lists = [
                [id_ for id_, _ in have],
                [written(vectors[one.hash]) for _, one in have],
                [None if vector is None else written(vector) for vector in around],
            ]
            self._store.run(connection, "items", "add_vectors", lists, self._collection.vectors)


def _lots(items: Sequence[_Ready]) -> Iterable[Sequence[_Ready]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _numbers(
    items: Sequence[New],
    groups: Mapping[tuple[str, str], Mapping[int, _Known]],
    numbers: Mapping[tuple[str, str, int], int],
) -> tuple[int, ...]:
    return tuple(
        numbers.get((new.origin, new.ref, new.part)) or groups[new.origin, new.ref][new.part].id for new in items
    )


def _take(groups: dict[tuple[str, str], dict[int, _Known]], rows: Iterable[tuple[Any, ...]]) -> None:
    for id_, place, origin, ref, part, hash_, around_hash, heading, meta, _, text in rows:
        groups.setdefault((origin, ref), {})[part] = _Known(
            id_, part, bytes(hash_), None if around_hash is None else bytes(around_hash), heading, meta, text, place
        )


def _columns(place: int, lot: Sequence[_Ready], at: datetime | None) -> list[list[Any]]:
    news = [one.new for one in lot]
    return [
        [place] * len(lot),
        [new.origin for new in news],
        [new.ref for new in news],
        [new.part for new in news],
        [new.text for new in news],
        [new.heading for new in news],
        [json.dumps(dict(new.meta), ensure_ascii=False) for new in news],
        [None if new.span is None else new.span[0] for new in news],
        [None if new.span is None else new.span[1] for new in news],
        [one.hash for one in lot],
        [one.around_hash for one in lot],
        [f" {' '.join(one.words)} " for one in lot],
        [len(one.words) for one in lot],
        [len(one.around_words or one.words) for one in lot],
        [new.valid_from or at for new in news],
        [new.valid_to for new in news],
    ]


def _wrote(lot: Sequence[_Ready]) -> list[list[Any]]:
    return [[one.new.run for one in lot], [one.new.step for one in lot]]


def _postings(ids: Sequence[int | None], lot: Sequence[_Ready]) -> list[list[Any]]:
    lists: list[list[Any]] = [[], [], [], []]
    for id_, one in zip(ids, lot, strict=True):
        alone = Counter(one.words)
        around = Counter(one.around_words) if one.around_words is not None else alone
        for term, count in around.items():
            for column, value in zip(lists, (id_, term, alone.get(term, 0), count), strict=True):
                column.append(value)
    return lists


def written(vector: Any) -> str:
    """A vector as pgvector reads it; halves of a float have three digits, so that six are enough."""
    numbers = vector.tolist() if hasattr(vector, "tolist") else vector
    return "[" + ",".join(map("%.6g".__mod__, numbers)) + "]"


def full_of(heading: str, text: str) -> str:
    """What is embedded and searched: the text under its heading."""
    return f"{heading}\n{text}" if heading else text


def hash_of(text: str) -> bytes:
    """By which a text is known that has a vector."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def around_of(full: str, part: int, texts: Mapping[int, str], around: int) -> str | None:
    """A text with what stands before and after it; None where nothing does."""
    before = [texts[each] for each in range(part - around, part) if each in texts]
    after = [texts[each] for each in range(part + 1, part + 1 + around) if each in texts]
    if not around or not (before or after):
        return None
    return "\n".join([*map(_end, before), full, *map(_beginning, after)])


def _end(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[-_AROUND_WORDS:])


def _beginning(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[:_AROUND_WORDS])
