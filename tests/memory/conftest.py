"""What the tests of the gate share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflows_sdk.testing.databases import TestDatabases

from .gate_ground import Ground, made


@pytest.fixture(scope="module")
def ground(dataflows_databases: TestDatabases) -> Iterator[Ground]:
    """A warehouse with things beside it, for the tests of one file: nobody writes to it."""
    with made(dataflows_databases) as ground:
        yield ground
