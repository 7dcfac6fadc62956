"""Where the runs are kept that views show: in a database, or in an archive (see `archived`). Read in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic_core import from_json

from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.core.shown import fields_of
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import RecallError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook.archived import Archived
from dataflows_sdk.notebook.sources import PAGE, Source, head_of
from dataflows_sdk.plugins import desk_in_use

if TYPE_CHECKING:
    from dataflows_memory.desk import Memory
    from dataflows_memory.items import Recalled
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.runs import Run
    from dataflows_sdk.warehouse.reading import Difference

#: bytes from which on an event's data is taken apart; characters that are kept of what is large
_WHOLE, _KEPT = 4_096, 1_200
#: hits of a question
_HITS = 10


class Kept(Source, Protocol):
    """What is asked besides when somebody looks closer."""

    @property
    def redactor(self) -> Redactor:
        """What masks the values of the run."""
        ...

    def records(self, key: str, most: int) -> list[tuple[int, str, str | None, int]]:
        """The last events of a step, newest first: seq, kind, data (None beyond *most* bytes) and its bytes."""
        ...

    def decode(self, tree: Any) -> Any:
        """A recorded value."""
        ...

    def code(self) -> tuple[str, str]:
        """The source of the run's version, empty where it is not known, and the version."""
        ...

    def rows(self, table: str, moment: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        """The rows of a table as of a moment."""
        ...

    def changes(self, table: str, after: datetime, until: datetime, limit: int) -> list[Difference]:
        """What differs in a table between two moments."""
        ...

    def other(self, run_id: str) -> Run | ArchivedRun:
        """Another run that is kept there."""
        ...

    def collections(self) -> list[dict[str, Any]]:
        """The collections of the memory: name and scopes."""
        ...

    def recall(self, question: str, moment: datetime, collection: str, scope: str | None) -> Recalled:
        """What the run would have been answered by its memory at a moment; *scope* None is all of them."""
        ...


def source_of(run: Run | ArchivedRun) -> Kept:
    """Where the view of a run comes from."""
    found: Kept = _Stored(cast("Run", run)) if hasattr(run, "_context") else Archived(run)
    return found


class _Stored:
    """A run in a database."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.run_id = run.id

    # --- what a view asks ----------------------------------------------------------------------------------

    @property
    def redactor(self) -> Redactor:
        return self._run._context._redactor

    def mask(self, text: str, /) -> str:
        return self.redactor.redact_text(text)

    def head(self) -> dict[str, Any]:
        head = self._run.refresh()._head()
        return head_of(
            head["workflow"], head["version"], head["status"], head["created_at"], head["parent"], head["forked_from"]
        )

    def page(self, after: int) -> list[JournalEvent]:
        rows = self._run._context._read("shown", "page", (self._run._id, after, PAGE, _WHOLE, _KEPT))
        return [JournalEvent(seq, kind, key, from_json(data), at) for seq, kind, key, at, data in rows]

    def spec(self) -> FlowSpec | None:
        run = self._run
        rows = run._context._read("look", "version", (run.workflow, run.version))
        return FlowSpec.from_document(rows[0][2]) if rows and rows[0][0] == "flow" and rows[0][2] else None

    def wrote(self) -> list[dict[str, Any]]:
        return self._run.wrote()

    def said(self) -> list[dict[str, Any]] | None:
        memory = self._memory()
        return None if memory is None else [dict(fields_of(each)) for each in memory.said(self.run_id)]

    def lacks(self) -> list[str]:
        return []

    def closed(self) -> bool:
        return self._run._context._closed

    # --- what is asked besides -----------------------------------------------------------------------------

    def records(self, key: str, most: int) -> list[tuple[int, str, str | None, int]]:
        return [row[:4] for row in self._run._context._read("shown", "one", (self._run._id, key, most))]

    def decode(self, tree: Any) -> Any:
        return self._run._decode(tree)

    def code(self) -> tuple[str, str]:
        return self._run.source, self._run.version

    def rows(self, table: str, moment: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        return self._run._context.warehouse.as_of(moment).find(table, limit=limit)

    def changes(self, table: str, after: datetime, until: datetime, limit: int) -> list[Difference]:
        return self._run._context.warehouse.diff(after, until, table=table, limit=limit)

    def other(self, run_id: str) -> Run:
        return self._run._context.get(run_id)

    def collections(self) -> list[dict[str, Any]]:
        memory = self._memory()
        return [] if memory is None else memory.collections()

    def recall(self, question: str, moment: datetime, collection: str, scope: str | None) -> Recalled:
        memory = self._memory()
        if memory is None:
            raise RecallError("nothing was ever remembered in this database")
        try:
            seen = memory.on(self.run_id)
        except RecallError:  # it is no fork: it sees what everybody sees
            seen = memory.on("main")
        return seen.recall(question, _HITS, collection=collection, scope=scope, as_of=moment, known_at=moment)

    def _memory(self) -> Memory | None:
        found: Memory | None = desk_in_use("memory", self._run._context)
        return found
