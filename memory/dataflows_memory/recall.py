"""Finding: candidates by words and by meaning, put together, with what holds at the moment that is asked for."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory import ranking
from dataflows_memory.items import Hit, Item, Part
from dataflows_memory.ranking import Scores
from dataflows_memory.words import stems
from dataflows_memory.writing import written

if TYPE_CHECKING:
    from dataflows_memory.branches import Lines
    from dataflows_memory.ranking import Vector
    from dataflows_memory.store import Collection, Store
    from dataflows_sdk.store.database import Connection

#: candidates of each list
DEPTH = 100
#: so many items are compared one by one; beyond, an index finds most of the nearest
EXACT = 20_000
#: so many places of words are read for one question; those of more common words only where rarer ones lead, and there
#: in so many items
POSTINGS, LEADING = 12_000, 1_000
#: items that have so many words together are fetched to be weighed here
BY_HAND = 50_000
#: a word is looked up by itself if it stands in less than so many times the items that may be found
_FEW = 10
#: words in fewer items are counted anew each time
_COMMON = 1_000
#: seconds for which the size of a place is taken to be what it was
_SIZES = 30.0
_WORDS, _MEANING, _WORDS_AROUND, _MEANING_AROUND = "words", "meaning", "words around", "meaning around"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked.

    Attributes:
        question: in words.
        count: how many items.
        places: numbers of the scopes.
        as_of, known_at: the moments; None for now.
        since: only what became true from then on.
        origins: only what comes from there.
        having: properties that the items have.
        path: a condition over the properties, as PostgreSQL's jsonpath.
        without_runs, without_states: runs whose items are left out, and the states of such runs.
        recency: seconds of age that halve a score; None: age does not count.
        different: from 0 to 1, how much hits shall differ from each other; None: not at all.
        lines: what is seen from a branch, or in a replay; None: the main line.
    """

    question: str
    count: int
    places: tuple[int, ...]
    as_of: datetime | None = None
    known_at: datetime | None = None
    since: datetime | None = None
    origins: tuple[str, ...] | None = None
    having: str | None = None
    path: str | None = None
    without_runs: tuple[str, ...] | None = None
    without_states: tuple[str, ...] | None = None
    recency: float | None = None
    different: float | None = None
    lines: Lines | None = None

    @property
    def of_now(self) -> bool:
        """Whether what is in force now is asked for, and on the main line."""
        return self.as_of is None and self.known_at is None and self.lines is None

    @property
    def is_plain(self) -> bool:
        """Whether everything that is in force may be found."""
        conditions = (self.since, self.origins, self.having, self.path, self.without_runs, self.without_states)
        return self.of_now and all(condition is None for condition in conditions)


@dataclass(slots=True)
class Sizes:
    """How many items there are, how long they are on average, and how many have common words."""

    count: int
    alone: float
    around: float
    has_around: bool
    #: some of it will be over, or true, by itself
    changing: bool = False
    until: float = 0.0
    common: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Known:
    """What is not looked at for each question, by the places."""

    sizes: dict[tuple[int, ...], Sizes] = field(default_factory=dict)

    def forget(self) -> None:
        """Look again."""
        self.sizes.clear()


@dataclass(slots=True)
class _Lists:
    """What each list says, by item, and what is known of the items."""

    words: Scores = field(default_factory=dict)
    words_around: Scores = field(default_factory=dict)
    near: Scores = field(default_factory=dict)
    near_around: Scores = field(default_factory=dict)
    rare: dict[str, float] = field(default_factory=dict)
    #: stems of each candidate that holds
    stems: dict[int, str] = field(default_factory=dict)
    group: dict[int, tuple[Any, ...]] = field(default_factory=dict)


class Recaller:
    """Finds items of one collection."""

    def __init__(self, store: Store, collection: Collection, known: Known) -> None:
        self._store = store
        self._collection = collection
        self._known = known

    def find(
        self,
        wanted: Wanted,
        vector: Vector | None,
        now: datetime | None,
        rerank: Callable[[str, Sequence[str]], Sequence[float]] | None = None,
    ) -> tuple[list[Hit], int]:
        """The best items, and how many could have been found.

        Args:
            wanted: what is asked.
            vector: what the question means; None where there is no embedder.
            now: where time is virtual.
            rerank: scores for the texts of the best candidates, higher is better.
        """
        with self._store.reading() as connection:
            now = now or self._run(connection, "items", "now")[0][0]
            search = _Search(self, connection, wanted, now)
            return search.hits(vector, rerank)

    def _run(
        self, connection: Connection, file: str, name: str, parameters: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        return self._store.run(connection, file, name, parameters, self._collection.vectors)

    def _sizes(self, connection: Connection, places: tuple[int, ...], now: datetime) -> Sizes:
        """How large a place is, or was a moment ago."""
        sizes = self._known.sizes.get(places)
        if sizes is None or sizes.until < time.monotonic():
            ((count, alone, around, has_around, changing),) = self._run(
                connection, "recall", "place_sizes", [list(places), now]
            )
            sizes = Sizes(count, alone, around, has_around, changing, time.monotonic() + _SIZES)
            if sizes.count >= _COMMON:  # a small place changes by much, and is counted at once
                self._known.sizes[places] = sizes
        return sizes

    def _frequencies(
        self, connection: Connection, sizes: Sizes, places: Sequence[int], terms: Sequence[str]
    ) -> dict[str, int]:
        """In how many items each word stands; of common words, as it was when the size was looked at."""
        found = {term: sizes.common[term] for term in terms if term in sizes.common}
        rest = [term for term in terms if term not in found]
        if rest:
            counted = dict.fromkeys(rest, 0) | dict(
                self._run(connection, "recall", "frequencies", [list(places), rest])
            )
            sizes.common.update({term: count for term, count in counted.items() if count >= _COMMON})
            found |= counted
        return found


class _Search:
    """One question."""

    def __init__(self, recaller: Recaller, connection: Connection, wanted: Wanted, now: datetime) -> None:
        self._recaller = recaller
        self._connection = connection
        self._wanted = wanted
        self._places = list(wanted.places)
        self._as_of = wanted.as_of or now
        self._known_at = wanted.known_at or now
        self._now = now
        #: the items that may be found; None: all that are in force
        self._among: list[int] | None = None
        self._listed = "{}"
        #: stems of the items that may be found, if they are few; place, origin and name where they have neighbours
        self._texts: dict[int, str] = {}
        self._groups: dict[int, tuple[int, str, str]] = {}
        self._sizes = Sizes(0, 0.0, 0.0, False)
        self._terms = stems(wanted.question, recaller._collection.language)

    def hits(
        self, vector: Vector | None, rerank: Callable[[str, Sequence[str]], Sequence[float]] | None
    ) -> tuple[list[Hit], int]:
        wanted = self._wanted
        if wanted.is_plain:
            self._sizes = self._recaller._sizes(self._connection, wanted.places, self._now)
        if not wanted.is_plain or self._sizes.changing:
            self._narrow()
        if not self._sizes.count:
            return [], 0
        lists = self._lists(vector)
        if self._among is None and self._too_few(lists):
            self._narrow()  # of what is in force, some is over by now
            lists = self._lists(vector)
        scores = self._put_together(lists)
        few = wanted.recency is None and wanted.different is None and rerank is None
        chosen = ranking.best(scores, wanted.count if few else max(4 * wanted.count, 50))
        items = self._items(chosen)
        if wanted.recency is not None:
            ages = {item: (self._as_of - _begun(items[item], self._as_of)).total_seconds() for item in chosen}
            scores = ranking.faded({item: scores[item] for item in chosen}, ages, wanted.recency)
            chosen = ranking.best(scores, len(chosen))
        if rerank is not None:
            given = rerank(wanted.question, [items[item].text for item in chosen])
            scores = {item: float(score) for item, score in zip(chosen, given, strict=True)}
            chosen = ranking.best(scores, len(chosen))
        if wanted.different is not None and vector is not None:
            vectors = self._vectors_of(chosen)
            chosen = ranking.spread(chosen, scores, vectors, wanted.count, 1.0 - wanted.different)
        parts = _parts(lists)
        found = [Hit(items[item], scores[item], parts(item)) for item in chosen[: wanted.count]]
        return found, self._sizes.count

    # --- what may be found -------------------------------------------------------------------------------

    def _narrow(self) -> None:
        wanted = self._wanted
        conditions = [
            wanted.since,
            None if wanted.origins is None else list(wanted.origins),
            wanted.having,
            wanted.path,
            None if wanted.without_runs is None else list(wanted.without_runs),
            None if wanted.without_states is None else list(wanted.without_states),
            BY_HAND,
        ]
        if wanted.lines is None:
            file, asked = "recall", [self._places, self._as_of, self._known_at, *conditions]
        else:
            file, asked = "branches", [*wanted.lines.at(self._as_of, self._known_at), *conditions]
        ((alone, around, has_around, listed, stemmed, *groups),) = self._run(file, "allowed", asked)
        ids = [int(number) for number in listed[1:-1].split(",") if number]
        self._among, self._listed = ids, listed
        self._sizes = Sizes(len(ids), alone, around, has_around)
        texts = [] if stemmed is None else stemmed.split("\n")
        if ids and len(texts) == len(ids):
            self._texts = dict(zip(ids, texts, strict=True))
            self._groups = dict(zip(ids, zip(*groups, strict=True), strict=True)) if has_around else {}

    def _too_few(self, lists: _Lists) -> bool:
        wanted = min(self._wanted.count, self._sizes.count)
        return len(lists.stems) < wanted and any((lists.words, lists.near))

    # --- lists -------------------------------------------------------------------------------------------

    def _lists(self, vector: Vector | None) -> _Lists:
        lists = _Lists()
        if self._terms:
            self._by_words(lists)
        if vector is not None:
            lists.near = self._near(vector, "near")
            if self._sizes.has_around:
                lists.near_around = self._near(vector, "near_around")
        self._look_at(lists)
        if vector is not None:
            self._once_more(lists, vector)
        return lists

    def _by_words(self, lists: _Lists) -> None:
        times = Counter(self._terms)
        count, rest = self._sizes.count, [self._average, self._average_around, DEPTH]
        if self._texts and not self._sizes.has_around:
            scores, lists.rare = ranking.bm25(self._texts, times, self._average)
            lists.words = lists.words_around = ranking.highest(scores, DEPTH)
            return
        if self._among is not None:
            few = self._few(list(times))
            lots = [[[*lot], [float(times[term]) for term in lot]] for lot in (times.keys() - few, few)]
            rows = self._run("recall", "words_among", [self._listed, *lots[0], *rest, count, *lots[1], self._places])
            lists.rare = {term: idf for _, idf, _, term in rows if term is not None}
        else:
            found = self._recaller._frequencies(self._connection, self._sizes, self._places, list(times))
            lists.rare = {term: math.log(1 + (max(count - df, 0) + 0.5) / (df + 0.5)) for term, df in found.items()}
            terms = sorted(lists.rare, key=lambda term: (found[term], term))
            weights = [times[term] * lists.rare[term] for term in terms]
            rare = _rare([found[term] for term in terms])
            lot = [self._places, terms[:rare], weights[:rare], *rest]
            if rare < len(terms):
                rows = self._run("recall", "words_rare_first", [*lot, terms[rare:], weights[rare:], LEADING])
            else:
                rows = self._run("recall", "words_everywhere", lot)
        lists.words = {item: alone for item, alone, _, _ in rows if item is not None and alone > 0}
        lists.words_around = {item: around for item, _, around, _ in rows if item is not None and around > 0}

    def _few(self, terms: Sequence[str]) -> set[str]:
        """Of the words those that stand in few items: these are looked up, instead of the words in each item."""
        assert self._among is not None
        sizes = self._recaller._sizes(self._connection, self._wanted.places, self._now)
        if not self._wanted.of_now or sizes.changing:  # what is not in force stands elsewhere
            return set()
        found = self._recaller._frequencies(self._connection, sizes, self._places, terms)
        return {term for term, count in found.items() if count < _FEW * len(self._among)}

    @property
    def _average(self) -> float:
        return max(self._sizes.alone, 1.0)

    @property
    def _average_around(self) -> float:
        return max(self._sizes.around, 1.0)

    def _near(self, vector: Vector, name: str) -> Scores:
        asked = written(vector)
        if self._among is not None:
            rows = self._run("recall", f"{name}_among", [self._listed, asked, DEPTH])
        elif self._sizes.count <= EXACT or name != "near":
            rows = self._run("recall", f"{name}_everywhere", [self._places, asked, DEPTH])
        else:
            with self._connection.transaction():
                self._run("recall", "index_search")
                rows = self._run("recall", "near_by_index", [self._places, asked, DEPTH])
        # of a vector without a direction nothing is near, which PostgreSQL calls NaN
        return {item: 1.0 - far for item, far in rows if not math.isnan(far)}

    def _look_at(self, lists: _Lists) -> None:
        """Let go of what does not hold, and count words that stand side by side."""
        every = (lists.words, lists.words_around, lists.near, lists.near_around)
        candidates = sorted({item for scores in every for item in scores} - set(lists.stems))
        # from a branch only what it sees was looked at
        as_of = None if self._wanted.lines is not None else self._as_of
        if self._texts:
            lists.stems.update((item, self._texts[item]) for item in candidates if item in self._texts)
            lists.group.update((item, self._groups[item]) for item in candidates if item in self._groups)
        else:
            for id_, place, origin, ref, text in self._run("recall", "candidates", [candidates, as_of, self._known_at]):
                lists.stems[id_], lists.group[id_] = text, (place, origin, ref)
        for scores in every:
            for item in [item for item in scores if item not in lists.stems]:
                del scores[item]
        lists.words = ranking.with_pairs(lists.words, self._terms, lists.stems, lists.rare, self._average)

    def _once_more(self, lists: _Lists, vector: Vector) -> None:
        """Compare what was found once more, with the question moved towards the best of it."""
        scores = self._put_together(lists, 0.5)
        if len(scores) < ranking.FEEDBACK_AMONG:
            return
        first = ranking.best(scores, ranking.FEEDBACK)
        rows = self._run("recall", "near_to_both", [list(lists.stems), written(vector), first])
        if not {item for item, near, *_ in rows if not math.isnan(near)}.issuperset(first):
            return
        among = {item: among for item, _, among, _, _ in rows}
        moved = ranking.moved(first, {item: near for item, near, *_ in rows}, among)
        lists.near = ranking.highest(moved({item: (near, found) for item, near, found, _, _ in rows}), DEPTH)
        if self._sizes.has_around:
            around = {
                item: (near, found) if near_around is None else (near_around, found_around)
                for item, near, found, near_around, found_around in rows
            }
            lists.near_around = ranking.highest(moved(around), DEPTH)

    def _put_together(self, lists: _Lists, words_share: float = ranking.WORDS) -> Scores:
        def both(alone: Scores, around: Scores) -> list[tuple[float, Scores]]:
            if not self._sizes.has_around:
                return [(1.0, ranking.scaled(alone, DEPTH))]
            return [(0.5, ranking.scaled(alone, DEPTH)), (0.5, ranking.scaled(around, DEPTH))]

        words, near = both(lists.words, lists.words_around), both(lists.near, lists.near_around)
        share = words_share if lists.near else 1.0
        scores = ranking.together(
            [(share * weight, part) for weight, part in words] + [((1 - share) * weight, part) for weight, part in near]
        )
        return ranking.with_groups(scores, lists.group) if self._sizes.has_around else scores

    # --- items -------------------------------------------------------------------------------------------

    def _items(self, ids: Sequence[int]) -> dict[int, Item]:
        return {row[0]: Item.of(row) for row in self._run("recall", "shown", [list(ids)])}

    def _vectors_of(self, ids: Sequence[int]) -> dict[int, Vector]:
        import numpy as np

        rows = self._run("recall", "vectors_of", [list(ids)])
        return {id_: np.asarray(vector, dtype=np.float32) for id_, vector in rows}

    def _run(self, file: str, name: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._recaller._run(self._connection, file, name, parameters)


def _rare(frequencies: Sequence[int]) -> int:
    """How many of the words, the rarest first, are read wherever they stand; at least two."""
    read = 0
    for number, count in enumerate(frequencies):
        read += count
        if read > POSTINGS and number >= 2:
            return number
    return len(frequencies)


def _begun(item: Item, latest: datetime) -> datetime:
    return min(item.valid_from or item.recorded_at, latest)


def _parts(lists: _Lists) -> Callable[[int], Mapping[str, Part]]:
    named = {
        _WORDS: lists.words,
        _MEANING: lists.near,
        _WORDS_AROUND: lists.words_around,
        _MEANING_AROUND: lists.near_around,
    }
    if not lists.near_around:  # without neighbours these say the same as the others
        del named[_WORDS_AROUND], named[_MEANING_AROUND]
    places = {
        name: {item: rank for rank, item in enumerate(ranking.best(scores, len(scores)), 1)}
        for name, scores in named.items()
    }

    def parts(item: int) -> Mapping[str, Part]:
        return {name: Part(places[name][item], scores[item]) for name, scores in named.items() if item in scores}

    return parts
