"""An embedder for tests that no model is needed for: a fake, and named so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataflows_memory.embedding.embedder import Usage


class FakeEmbedder:
    """Words fall into places of a vector by their hash: texts with the same words are near each other, and no more."""

    def __init__(self, name: str = "fake-hashed-words", dimension: int = 256) -> None:
        self.name = name
        self.dimension = dimension
        self.usage = Usage()
        #: what was asked of it, in order
        self.seen: list[str] = []
        #: raised instead of an answer
        self.error: Exception | None = None

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        if self.error is not None:
            raise self.error
        self.seen += texts
        out = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()):
                row[int(hashlib.md5(word.encode()).hexdigest(), 16) % self.dimension] += 1
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        return self.embed(texts, query=query)
