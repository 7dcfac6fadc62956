"""A run in an archive, as views see it: it does not change, and there is no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import ArchiveError, FlowValidationError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook.sources import PAGE, head_of
from dataflows_sdk.warehouse.reading import Difference
from dataflows_sdk.warehouse.rows import Row

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun

#: the last events of a step
_RECORDS = 20


class Archived:
    """A run in an archive, which does not change."""

    def __init__(self, run: ArchivedRun) -> None:
        self._run = run
        self.run_id = run.id
        self._events: list[JournalEvent] | None = None

    @property
    def redactor(self) -> Redactor:
        return REDACTOR

    def mask(self, text: str, /) -> str:
        return REDACTOR.redact_text(text)

    def head(self) -> dict[str, Any]:
        run = self._run
        return head_of(run.workflow, run.version, run.status, run.created_at, run.parent, run.forked_from)

    def page(self, after: int) -> list[JournalEvent]:
        if self._events is None:
            self._events = self._run.events()
        return [event for event in self._events if event.seq > after][:PAGE]

    def spec(self) -> FlowSpec | None:
        document = self._run._version()[1]
        try:
            return FlowSpec.from_document(document) if document else None
        except FlowValidationError:  # what was masked in it was more than a value: it is drawn as it ran
            return None

    def wrote(self) -> list[dict[str, Any]]:
        return self._run.wrote()

    def said(self) -> list[dict[str, Any]] | None:
        return self._run.said()

    def lacks(self) -> list[str]:
        archive = self._run._archive
        found = []
        if "versions" not in archive._found.besides:
            found.append("The archive is of an older version: it has no source, and nothing of the memory.")
        ((count,),) = archive._run("count_writes", self.run_id)
        missing = count - len({each["write"] for each in self._run.wrote()})
        if missing > 0:
            found.append(f"Writes of this run to tables that are not in the archive: {missing:,}.")
        return found

    def closed(self) -> bool:
        return False

    # --- what is asked besides -----------------------------------------------------------------------------

    def records(self, key: str, most: int) -> list[tuple[int, str, str | None, int]]:
        rows = [
            (seq, kind, text if size <= most else None, size)
            for seq, kind, where, text, _ in self._run._archive._run("events", self.run_id)
            if where == key and kind.startswith("step.")
            for size in (len(text.encode()),)
        ]
        return rows[::-1][:_RECORDS]

    def decode(self, tree: Any) -> Any:
        return self._run._archive._decode(tree)

    def code(self) -> tuple[str, str]:
        return self._run.source, self._run.version

    def rows(self, table: str, moment: datetime, limit: int) -> Sequence[Mapping[str, Any]]:
        return self._run._archive._rows("rows", table, moment, limit)

    def changes(self, table: str, after: datetime, until: datetime, limit: int) -> list[Difference]:
        archive = self._run._archive
        ids = [id_ for (id_,) in archive._of_table("moved", table, after, until, limit)]
        before, now = (
            {row["id"]: Row(table, row) for row in archive._rows("rows_of", table, moment, ids)}
            for moment in (after, until)
        )
        return [
            Difference((id_,), before.get(id_), now.get(id_), _differ(before.get(id_), now.get(id_)))
            for id_ in ids
            if _differ(before.get(id_), now.get(id_))
        ]

    def other(self, run_id: str) -> ArchivedRun:
        return self._run._archive.run(run_id)

    def collections(self) -> list[dict[str, Any]]:
        return []

    def recall(self, question: str, moment: datetime, collection: str, scope: str | None) -> Any:
        del question, moment, collection, scope
        raise ArchiveError("an archive has what the run said to the memory, not the memory: nothing can be recalled")


def _differ(one: Row | None, other: Row | None) -> tuple[str, ...]:
    names = [name for name in (one or other or ()) if not name.startswith("_")]
    return tuple(name for name in names if one is None or other is None or one[name] != other[name])
