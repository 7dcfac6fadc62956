"""A text that was embedded once is not embedded again."""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dataflows_memory.embedding.driving import adrive, drive
from dataflows_memory.embedding.embedder import Embedder, checked_vectors, clean_texts, import_numpy, without_surrogates
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, EmbeddingError

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Vectors


class Cache(Protocol):
    """Keeps vectors by the name of their embedder and the hash of their text."""

    def get_many(self, embedder: str, hashes: Sequence[str]) -> Mapping[str, Any]:
        """Hash → vector, for those that are there."""
        ...

    def put_many(self, embedder: str, vectors: Mapping[str, Any]) -> None:
        """Keep them; one that is there already may be replaced."""
        ...


class AsyncCache(Protocol):
    """The same, awaited."""

    def get_many(self, embedder: str, hashes: Sequence[str]) -> Awaitable[Mapping[str, Any]]:
        """Hash → vector, for those that are there."""
        ...

    def put_many(self, embedder: str, vectors: Mapping[str, Any]) -> Awaitable[None]:
        """Keep them."""
        ...


class LRUCache:
    """A cache in memory that forgets what was not used for longest. Safe to use from several threads.

    Args:
        size: how many vectors; one of 1,536 numbers takes 6 KB.

    Raises:
        DefinitionError: a size below 1.
    """

    def __init__(self, size: int = 10_000) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DefinitionError(f"size is a whole number above 0, not {size!r}")
        self._size = size
        self._lock = threading.Lock()
        self._vectors: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def get_many(self, embedder: str, hashes: Sequence[str]) -> dict[str, Any]:
        """Hash → vector, for those that are there; they count as used."""
        found = {}
        with self._lock:
            for text in hashes:
                vector = self._vectors.get((embedder, text))
                if vector is not None:
                    self._vectors.move_to_end((embedder, text))
                    found[text] = vector
        return found

    def put_many(self, embedder: str, vectors: Mapping[str, Any]) -> None:
        """Keep copies of them, and forget the oldest beyond `size`."""
        np = import_numpy()
        with self._lock:
            for text, vector in vectors.items():
                kept = np.array(vector, dtype=np.float32)
                kept.flags.writeable = False
                self._vectors[embedder, text] = kept
                self._vectors.move_to_end((embedder, text))
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._vectors.clear()

    def __len__(self) -> int:
        return len(self._vectors)


@dataclass(frozen=True)
class Embedded(ShownAsTable):
    """Vectors, and what they cost.

    Attributes:
        vectors: one row per text, in order.
        hits: texts whose vector was in the cache.
        misses: different texts that were embedded.
        repeated: texts that stood in the same call already.
    """

    vectors: Vectors
    hits: int
    misses: int
    repeated: int


def content_hash(text: str, *, query: bool = False) -> str:
    """The SHA-256 of a text; that of a query differs, because a model may embed it differently."""
    return hashlib.sha256((b"query\0" if query else b"") + without_surrogates(text).encode()).hexdigest()


@dataclass(frozen=True)
class _Get:
    hashes: list[str]


@dataclass(frozen=True)
class _Make:
    texts: list[str]


@dataclass(frozen=True)
class _Put:
    vectors: dict[str, Any]


_Steps: TypeAlias = Generator[_Get | _Make | _Put, Any, Embedded]


def embed_cached(embedder: Embedder, cache: Cache, texts: Sequence[str], *, query: bool = False) -> Embedded:
    """Embed only what the cache does not have; equal texts once.

    Where the embedder fails in the middle, what it had paid for goes into the cache before the error is raised.

    Args:
        embedder: makes what is missing.
        cache: of any embedders; their names keep them apart.
        texts: none of them empty.
        query: they are questions.

    Raises:
        EmbeddingError: as from the embedder, with `.done` by position in `texts`; also where it gives something else
            than a vector of its length for each, and for a vector in the cache that is not as long.
    """

    def do(step: _Get | _Make | _Put) -> Any:
        match step:
            case _Get(hashes):
                return cache.get_many(embedder.name, hashes)
            case _Put(vectors):
                return cache.put_many(embedder.name, vectors)
            case _Make(missing):
                return checked_vectors(embedder.embed(missing, query=query), embedder, len(missing))

    return drive(_cached(texts, embedder, query=query), do)


async def aembed_cached(
    embedder: Embedder, cache: Cache | AsyncCache, texts: Sequence[str], *, query: bool = False
) -> Embedded:
    """The same, awaited; the cache may be of either kind."""

    async def do(step: _Get | _Make | _Put) -> Any:
        match step:
            case _Get(hashes):
                result: Any = cache.get_many(embedder.name, hashes)
            case _Put(vectors):
                result = cache.put_many(embedder.name, vectors)
            case _Make(missing):
                return checked_vectors(await embedder.aembed(missing, query=query), embedder, len(missing))
        return await result if inspect.isawaitable(result) else result

    return await adrive(_cached(texts, embedder, query=query), do)


def _cached(texts: Sequence[str], embedder: Embedder, *, query: bool) -> _Steps:
    np = import_numpy()
    cleaned = clean_texts(texts)
    hashes = [content_hash(text, query=query) for text in cleaned]
    first = {text: position for position, text in reversed(list(enumerate(hashes)))}
    found = dict((yield _Get(list(dict.fromkeys(hashes)))) if hashes else {})
    missing = [text for text in dict.fromkeys(hashes) if text not in found]
    hits = sum(text in found for text in hashes)
    if missing:
        try:
            made = yield _Make([cleaned[first[text]] for text in missing])
        except EmbeddingError as error:
            found.update({missing[position]: vector for position, vector in error.done.items()})
            if error.done:
                yield _Put({missing[position]: vector for position, vector in error.done.items()})
            error.done = {position: found[text] for position, text in enumerate(hashes) if text in found}
            raise
        new = dict(zip(missing, made, strict=True))
        yield _Put(new)
        found.update(new)
    for text, vector in found.items():
        if len(vector) != embedder.dimension:
            raise EmbeddingError(
                f"the cache has a vector of {len(vector)} numbers under {embedder.name!r} for the text {text[:12]}…, "
                f"and the embedder makes {embedder.dimension}: two models share that name; give one of them another"
            )
    rows = [found[text] for text in hashes]
    vectors = np.array(rows, dtype=np.float32).reshape(len(hashes), embedder.dimension if rows else 0)
    return Embedded(vectors, hits, len(missing), len(hashes) - hits - len(missing))
