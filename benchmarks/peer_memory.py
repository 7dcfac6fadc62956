"""Others that find texts for a question, over the same texts and vectors: bm25s, plain cosine, LangGraph's store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

#: from a question to the numbers of texts, the best first
Find = Callable[[str], list[int]]


def bm25(texts: Sequence[str]) -> Find:
    """bm25s with Snowball stems and English stop words, k1 1.2, b 0.75."""
    import bm25s
    import snowballstemmer

    stem = snowballstemmer.stemmer("english").stemWords
    tokens = bm25s.tokenize(list(texts), stopwords="en", stemmer=stem, show_progress=False)
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(tokens, show_progress=False)

    def find(question: str) -> list[int]:
        asked = bm25s.tokenize([question], stopwords="en", stemmer=stem, show_progress=False)
        found, scores = index.retrieve(asked, k=10, show_progress=False)
        return [int(number) for number, score in zip(found[0], scores[0], strict=True) if score > 0]

    return find


def dense(texts: Sequence[str], embedder: Any) -> Find:
    """The nearest by cosine, each compared."""
    vectors = np.concatenate([embedder.embed(texts[start : start + 256]) for start in range(0, len(texts), 256)])

    def find(question: str) -> list[int]:
        near = vectors @ embedder.embed([question], query=True)[0]
        return [int(number) for number in np.argsort(-near)[:10]]

    return find


@contextmanager
def langgraph_store(texts: Sequence[str], embedder: Any, url: str, name: str) -> Iterator[Find]:
    """LangGraph's PostgresStore with pgvector, as its manual has it."""
    from langgraph.store.postgres import PostgresStore

    def embed(given: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in embedder.embed(given)]

    with PostgresStore.from_conn_string(url, index={"dims": embedder.dimension, "embed": embed}) as store:
        store.setup()
        from langgraph.store.base import PutOp

        for start in range(0, len(texts), 200):
            lot = enumerate(texts[start : start + 200], start)
            store.batch([PutOp((name,), str(number), {"text": text}) for number, text in lot])
        yield lambda question: [int(item.key) for item in store.search((name,), query=question, limit=10)]
