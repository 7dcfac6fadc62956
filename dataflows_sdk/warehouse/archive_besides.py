"""What an archive has besides runs and tables: the code of the runs' versions, and what the runs said to the memory.

Both came after the first archives: whoever reads one asks whether they are there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import duckdb

from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import filled

#: versions that are read at a time; letters of a source, of a document, and of what was said
_PAGE = 100
SOURCE, DOCUMENT, TEXT = 200_000, 2_000_000, 1_000


class Memory(Protocol):
    """What is asked of the memory, a plug-in."""

    def speakers(self) -> list[str]:
        """The runs that have said something."""
        ...

    def said(self, run: Any, /) -> Sequence[Any]:
        """What a run has said."""
        ...


class Besides:
    """Writes them into an archive that has its runs already.

    Args:
        database: where the versions are.
        redactor: masks all of it.
        memory: where one is used.
    """

    def __init__(self, database: Database, redactor: Redactor, memory: Memory | None) -> None:
        self._database = database
        self._redactor = redactor
        self._memory = memory

    def write(self, connection: duckdb.DuckDBPyConnection, archive: str) -> None:
        """Write them for the runs of the *archive*, a database of the connection."""
        _run(connection, archive, "create_versions")
        pairs = _run(connection, archive, "versions_used")
        for start in range(0, len(pairs), _PAGE):
            part = pairs[start : start + _PAGE]
            rows = self._database.read("look", "versions_of", ([one for one, _ in part], [two for _, two in part]))
            lines = [
                (workflow, version, kind, self._text(source or "", SOURCE), self._document(spec))
                for workflow, version, kind, source, spec in rows
            ]
            _run(connection, archive, "note_versions", _columns(lines, 5))
        if self._memory is None:
            return
        _run(connection, archive, "create_said")
        there = {run for (run,) in _run(connection, archive, "run_ids")}
        for run in self._memory.speakers():
            if run in there:
                _run(connection, archive, "note_said", _columns(self._said(run, self._memory.said(run)), 11))

    def _said(self, run: str, said: Iterable[Any]) -> list[tuple[Any, ...]]:
        mask = self._redactor.redact_text
        return [
            (run, each.act, each.at, each.step, each.item, mask(each.collection), mask(each.scope), each.origin,
             mask(each.ref), each.part, self._text(each.text, TEXT))
            for each in said
        ]  # fmt: skip

    def _text(self, text: str, most: int) -> str:
        masked = self._redactor.redact_text(text)  # before it is cut: half a secret is not recognised any more
        return masked if len(masked) <= most else masked[: most - 1] + "…"

    def _document(self, text: str | None) -> str | None:
        if text is None or len(text) > DOCUMENT:
            return None
        masked = None
        with contextlib.suppress(ValueError, TypeError):
            masked = json.dumps(self._redactor.redact_value(json.loads(text)))
        return masked


def _columns(lines: Sequence[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [[line[n] for line in lines] for n in range(count)]


def _run(
    connection: duckdb.DuckDBPyConnection, archive: str, name: str, parameters: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    text = filled(statement("archive", name, "dataflows_sdk.warehouse"), {"database": archive})
    return connection.execute(text, list(parameters) or None).fetchall()
