"""Another model for a collection: everything in it is embedded anew by a durable run, while the old vectors serve.

The run takes items that have no vector of the new model, a lot at a time, those that are over as well: questions as of
before are asked too. When none is left, one transaction in which nobody writes makes the collection the new model's.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_memory.embedding.cache import embed_cached
from dataflows_memory.recall import EXACT
from dataflows_memory.writing import around_of, full_of, hash_of, written
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DefinitionError, RecallError

if TYPE_CHECKING:
    from dataflows_memory.base import Base
    from dataflows_memory.embedding.embedder import Embedder
    from dataflows_memory.store import Collection, Store, Vectors
    from dataflows_sdk.store.database import Connection

#: items of a step
LOT = 256
_RETRY = Retry(5, no_retry_on=(RecallError, DefinitionError))


def flow_name(embedder: Embedder) -> str:
    """Of the workflow: a process that has the embedder goes on with its runs."""
    return f"dataflows.embed {embedder.name}"


class Reembedder:
    """Embeds collections anew with one embedder. It does not keep the memory alive.

    Args:
        memory: whose collections they are.
        embedder: the new one.
    """

    def __init__(self, memory: Base, embedder: Embedder) -> None:
        self.embedder = embedder
        self._memory = weakref.ref(memory)
        self.workflow = Workflow(flow_name(embedder), self._flow, description="Embeds a collection anew.")

    async def _flow(self, event: Any, step: Any) -> dict[str, Any]:
        name: str = event.raw["collection"]
        total = await step.run("count", self._count, name, retry=_RETRY)
        embedded, last = 0, 0
        while True:
            done = await step.run("embed", self._lot, name, last, retry=_RETRY)
            embedded, last = embedded + done["items"], done["last"]
            step.progress(min(embedded, total), total, f"{name}: items embedded")
            if done["items"]:
                continue
            if await step.run("switch", self._switch, name, retry=_RETRY):
                break
            last = 0  # somebody wrote meanwhile
        dropped = await step.run("tidy", self._tidy, name, retry=_RETRY)
        return {"collection": name, "embedder": self.embedder.name, "embedded": embedded, "dropped": dropped}

    # --- steps -------------------------------------------------------------------------------------------

    def _parts(self, name: str) -> tuple[Base, Store, Collection, Vectors]:
        memory = self._memory()
        if memory is None:
            raise DefinitionError("the memory is gone: keep ctx.memory, or the Memory that you made")
        store = memory._store
        return memory, store, memory._home(name), store.vectors_for(self.embedder.name, self.embedder.dimension)

    def _count(self, name: str) -> int:
        _, store, home, vectors = self._parts(name)
        ((count,),) = store.ask("embedding", "left", [home.id], vectors)
        return int(count)

    def _lot(self, name: str, last: int) -> dict[str, int]:
        memory, store, home, vectors = self._parts(name)
        rows = store.ask("embedding", "without_vector", [home.id, last, LOT], vectors)
        if not rows:
            return {"items": 0, "last": last}
        neighbours = self._neighbours(store, home, [row[0] for row in rows])
        texts: dict[bytes, str] = {}
        places: list[tuple[int, bytes, bytes | None]] = []
        for id_, text, heading, part, around_hash in rows:
            full = full_of(heading, text)
            own, around = hash_of(full), None
            texts[own] = full
            if around_hash is not None:
                whole = around_of(full, part, neighbours.get(id_, {}), home.around)
                # what was beside it then may be gone: then it stands alone
                if whole is not None and hash_of(whole) == bytes(around_hash):
                    around = bytes(around_hash)
                    texts[around] = whole
            places.append((id_, own, around))
        found = self._vectors(memory, vectors, texts)
        with store.transaction() as connection:
            lists = [
                [id_ for id_, _, _ in places],
                [written(found[own]) for _, own, _ in places],
                [None if around is None else written(found[around]) for _, _, around in places],
            ]
            store.run(connection, "items", "add_vectors", lists, vectors)
        return {"items": len(rows), "last": int(rows[-1][0])}

    def _neighbours(self, store: Store, home: Collection, ids: Sequence[int]) -> dict[int, dict[int, str]]:
        found: dict[int, dict[int, str]] = {}
        if home.around:
            for item, part, heading, text in store.ask("embedding", "neighbours", [ids, home.around]):
                found.setdefault(item, {})[part] = full_of(heading, text)
        return found

    def _vectors(self, memory: Base, vectors: Vectors, texts: Mapping[bytes, str]) -> dict[bytes, Any]:
        rows = memory._store.ask("items", "vectors_of_texts", [list(texts)], vectors)
        found = {bytes(hash_): vector for hash_, vector in rows}
        missing = {hash_: text for hash_, text in texts.items() if hash_ not in found}
        if missing:
            made = embed_cached(self.embedder, memory._cache, list(missing.values()))
            found.update(zip(missing, made.vectors, strict=True))
        return found

    def _switch(self, name: str) -> bool:
        _, store, home, vectors = self._parts(name)
        store.index_near(vectors, EXACT)
        with store.transaction() as connection:
            return switch(store, connection, home, vectors)

    def _tidy(self, name: str) -> int:
        """Let go of the vectors of other models, which nobody asks for any more."""
        memory, store, home, vectors = self._parts(name)
        dropped = 0
        with store.transaction() as connection:
            for each in store.all_vectors(connection):
                if each.id != vectors.id:
                    ((count,),) = store.run(connection, "embedding", "drop_vectors", [home.id], each)
                    dropped += count
        memory._known.forget()
        return dropped


def switch(store: Store, connection: Connection, home: Collection, vectors: Vectors) -> bool:
    """Make a collection an embedder's, unless items of it have no vector of that. Nobody writes to it meanwhile."""
    store.run(connection, "embedding", "hold", [home.id])
    ((left,),) = store.run(connection, "embedding", "left", [home.id], vectors)
    if left:
        return False
    store.run(connection, "items", "use_embedder", [home.id, vectors.id])
    return True
