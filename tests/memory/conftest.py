"""A memory on a database of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dataflows_memory.desk import Memory
from dataflows_sdk.context import Context

from ..conftest import MakeContext
from .fakes import FakeEmbedder

MakeMemory = Callable[..., Memory]


@pytest.fixture
def context(make_ctx: MakeContext) -> Context:
    return make_ctx(work=False)


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def memory(context: Context, embedder: FakeEmbedder) -> Memory:
    return Memory(context, embedder)


@pytest.fixture
def words_only(context: Context) -> Memory:
    return Memory(context, None)
