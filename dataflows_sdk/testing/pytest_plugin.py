"""Fixtures for tests of workflows. pytest loads this file in every session, so it imports pytest and nothing else.

``dataflows_ctx``    a context on a database of its own, closed at the end
``dataflows_url``    the address of that database
``dataflows_clock``  a `VirtualClock`; a test that asks for it gets a context which runs by it

    def test_reminder(dataflows_ctx, dataflows_clock):
        before = dataflows_clock.now()
        dataflows_ctx.run(reminder, {"days": 7}).result()
        assert dataflows_clock.now() - before == timedelta(days=7)

The database server is embedded, starts with the first test that needs it, is shared by the workers of pytest-xdist, and
stops with the session, however that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflows_sdk.context import Context
    from dataflows_sdk.testing.clock import VirtualClock
    from dataflows_sdk.testing.databases import TestDatabases


def shared_directory(factory: pytest.TempPathFactory, config: pytest.Config) -> Path:
    """A directory that every worker of this session names the same."""
    base = factory.getbasetemp()
    return base.parent if hasattr(config, "workerinput") else base


@pytest.fixture(scope="session")
def dataflows_databases(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[TestDatabases]:
    """The session's server; ``create()`` gives the URL of a new database."""
    from dataflows_sdk.testing.databases import TestDatabases

    with TestDatabases(shared_directory(tmp_path_factory, pytestconfig) / "dataflows-postgres") as databases:
        yield databases


@pytest.fixture
def dataflows_url(dataflows_databases: TestDatabases) -> Iterator[str]:
    """The URL of a database of the test's own, with the schema in place; dropped afterwards."""
    url = dataflows_databases.create()
    yield url
    dataflows_databases.drop(url)


@pytest.fixture
def dataflows_clock() -> VirtualClock:
    """A clock that jumps when every run waits."""
    from dataflows_sdk.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def dataflows_ctx(request: pytest.FixtureRequest, dataflows_url: str) -> Iterator[Context]:
    """A context on the test's database; by the virtual clock where the test asks for that."""
    from dataflows_sdk.context import connect

    clock = request.getfixturevalue("dataflows_clock") if "dataflows_clock" in request.fixturenames else None
    with connect(dataflows_url, clock=clock) as context:
        yield context
