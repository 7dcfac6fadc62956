"""A memory on a database of the test's own, and a warehouse for the tests of the gate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflows_memory.desk import Memory
from dataflows_sdk.context import Context
from dataflows_sdk.testing.databases import TestDatabases

from ..conftest import MakeContext
from .fakes import FakeEmbedder
from .gate_ground import Ground, made


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


@pytest.fixture(scope="module")
def ground(dataflows_databases: TestDatabases) -> Iterator[Ground]:
    """A warehouse with things beside it, for the tests of one file: nobody writes to it."""
    with made(dataflows_databases) as ground:
        yield ground
