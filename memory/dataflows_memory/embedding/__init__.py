"""Texts to vectors: by an endpoint that speaks OpenAI's API, or by a small model in this process."""

from __future__ import annotations

from dataflows_memory.embedding.cache import (
    AsyncCache,
    Cache,
    Embedded,
    LRUCache,
    aembed_cached,
    content_hash,
    embed_cached,
)
from dataflows_memory.embedding.choice import Choice, choose_embedder
from dataflows_memory.embedding.embedder import Embedder, Usage
from dataflows_memory.embedding.local import LocalEmbedder
from dataflows_memory.embedding.openai_embedder import OpenAIEmbedder

__all__ = [
    "AsyncCache",
    "Cache",
    "Choice",
    "Embedded",
    "Embedder",
    "LRUCache",
    "LocalEmbedder",
    "OpenAIEmbedder",
    "Usage",
    "aembed_cached",
    "choose_embedder",
    "content_hash",
    "embed_cached",
]
