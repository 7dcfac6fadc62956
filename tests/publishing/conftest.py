"""A notebook without Jupyter: cells in one namespace, their text where IPython puts it."""

from __future__ import annotations

import builtins
import linecache
from collections.abc import Iterator
from typing import Any

import pytest

from dataflows_sdk.engine.catalog import COLLECTING, Catalog

from ..conftest import MakeContext

KEY = "a-key-of-the-tests-0123456789abcdefghij"
OTHER_KEY = "another-key-of-the-tests-9876543210zyxwvu"


class Notebook:
    """Runs cells as IPython does; the process's own catalog does not get its workflows."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self._files: list[str] = []
        self.run("import dataflows_sdk as df")

    def run(self, cell: str, flags: int = 0) -> Notebook:
        # ipykernel names a cell after a hash of its text: the same cell again has the same name
        name = f"<cell {hash(cell):x}>"
        linecache.cache[name] = (len(cell), None, [line + "\n" for line in cell.splitlines()], name)
        self._files.append(name)
        token = COLLECTING.set(Catalog())
        try:
            exec(compile(cell, name, "exec", flags, dont_inherit=True), self.names)
        finally:
            COLLECTING.reset(token)
        return self

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def close(self) -> None:
        for name in self._files:
            linecache.cache.pop(name, None)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    made = Notebook()
    yield made
    made.close()


@pytest.fixture
def publisher(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A context that publishes and starts, and runs nothing itself."""
    monkeypatch.delenv("DATAFLOWS_KEY", raising=False)
    return make_ctx(work=False, key=KEY)
