"""Where a view comes from: a run in a database, or one in an archive. Read in pages, and nothing large of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic_core import from_json

from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.engine.state import TERMINAL, JournalEvent
from dataflows_sdk.errors import RunNotFoundError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook.folding import Event
from dataflows_sdk.notebook.previews import cut, preview

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.runs import Run

#: events of one page; bytes from which on an event's data is taken apart; characters that are kept of what is large
PAGE, _WHOLE, _KEPT = 2_000, 4_096, 1_200
#: members of an event's data that are taken over as they are, and those that are texts of people
_TAKEN = ("op", "name", "n", "attempt", "took", "status", "count", "id", "required", "done", "total", "child", "why")
_TEXTS = ("reason", "text", "message")


class Source(Protocol):
    """What a view asks."""

    run_id: str

    def mask(self, text: str, /) -> str:
        """The text without its secrets."""
        ...

    def head(self) -> dict[str, Any]:
        """Workflow, version, status, created, parent, forked_from. RunNotFoundError where the run is gone."""
        ...

    def page(self, after: int) -> list[JournalEvent]:
        """The events behind a seq, a page of them."""
        ...

    def spec(self) -> FlowSpec | None:
        """The definition, where the run is of a flow and it is known."""
        ...

    def writes(self, events: Sequence[Event]) -> list[list[Any]]:
        """What it wrote to the warehouse, see `written`."""
        ...

    def closed(self) -> bool:
        """Whether nothing can be read any more."""
        ...


def source_of(run: Run | ArchivedRun) -> Source:
    """Where the view of a run comes from."""
    found: Source = _Stored(cast("Run", run)) if hasattr(run, "_context") else _Archived(run)
    return found


class _Stored:
    """A run in a database."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.run_id = run.id

    def mask(self, text: str, /) -> str:
        return self._run._context._redactor.redact_text(text)

    def head(self) -> dict[str, Any]:
        head = self._run.refresh()._head()
        return _head(
            head["workflow"], head["version"], head["status"], head["created_at"], head["parent"], head["forked_from"]
        )

    def page(self, after: int) -> list[JournalEvent]:
        rows = self._run._context._read("shown", "page", (self._run._id, after, PAGE, _WHOLE, _KEPT))
        return [JournalEvent(seq, kind, key, from_json(data), at) for seq, kind, key, at, data in rows]

    def spec(self) -> FlowSpec | None:
        run = self._run
        rows = run._context._read("look", "version", (run.workflow, run.version))
        return FlowSpec.from_document(rows[0][2]) if rows and rows[0][0] == "flow" and rows[0][2] else None

    def writes(self, events: Sequence[Event]) -> list[list[Any]]:
        from dataflows_sdk.notebook.written import placed

        return placed(self._run.wrote(), events, self._run._head()["created_at"])

    def closed(self) -> bool:
        return self._run._context._closed


class _Archived:
    """A run in an archive, which does not change."""

    def __init__(self, run: ArchivedRun) -> None:
        self._run = run
        self.run_id = run.id
        self._events: list[JournalEvent] | None = None

    def mask(self, text: str, /) -> str:
        return REDACTOR.redact_text(text)

    def head(self) -> dict[str, Any]:
        run = self._run
        return _head(run.workflow, run.version, run.status, run.created_at, run.parent, run.forked_from)

    def page(self, after: int) -> list[JournalEvent]:
        if self._events is None:
            self._events = self._run.events()
        return [event for event in self._events if event.seq > after][:PAGE]

    def spec(self) -> FlowSpec | None:
        return None

    def writes(self, events: Sequence[Event]) -> list[list[Any]]:
        del events
        return []  # an archive has the rows' last state only

    def closed(self) -> bool:
        return False


def _head(workflow: str, version: str, status: str, created: datetime, parent: Any, forked: Any) -> dict[str, Any]:
    return {
        "workflow": workflow,
        "version": version,
        "status": status,
        "created": created,
        "parent": None if parent is None else str(parent),
        "forked_from": None if forked is None else str(forked),
    }


def is_over(status: str) -> bool:
    """Whether nothing happens in a run of that status unless a person does something."""
    return status in TERMINAL


def not_found(run_id: str) -> RunNotFoundError:
    """A run without any event."""
    return RunNotFoundError(
        f"run {run_id} is not there any more: retention or a purge took it; ctx.runs() lists the rest"
    )


# --- events for the page --------------------------------------------------------------------------------------


def compact(events: Iterable[JournalEvent], began: datetime, mask: Callable[[str], str]) -> list[Event]:
    """Events as pages get them: times since the beginning in milliseconds, values as previews, secrets masked."""
    return [[event.seq, _since(event.at, began), event.kind, event.key, _data(event, began, mask)] for event in events]


def _since(moment: datetime, began: datetime) -> float:
    return round((moment - began).total_seconds() * 1_000, 1)


def _data(event: JournalEvent, began: datetime, mask: Callable[[str], str]) -> dict[str, Any]:
    given = event.data
    data: dict[str, Any] = {name: given[name] for name in _TAKEN if isinstance(given.get(name), str | int | float)}
    for name in _TEXTS:
        if isinstance(given.get(name), str):
            data[name] = cut(mask(given[name]))
        elif isinstance(given.get(name), dict):
            data[name] = preview(given[name].get("message", given[name]), mask)
    for name in ("until", "retry_at"):
        if given.get(name):
            data[name] = _since(datetime.fromisoformat(given[name]), began)
    if "value" in given:
        data["out"] = preview(given["value"], mask)
    if "input" in given:
        data["in"] = preview(given["input"], mask)
    if given.get("error"):
        data["err"] = _error(given["error"], mask)
    if event.kind == "approval.requested":
        data["approvers"] = [cut(str(each)) for each in given.get("approvers", ())[:50]]
    if event.kind == "step.waiting" and isinstance(given.get("event"), str):
        data["event"] = cut(mask(given["event"]))
    if event.kind == "run.created" and isinstance(given.get("fork"), dict):
        data["fork"] = {name: given["fork"].get(name) for name in ("of", "at", "events")}
    return data


def _error(error: dict[str, Any], mask: Callable[[str], str]) -> str:
    kind, message = error.get("type") or "Error", error.get("message") or ""
    if isinstance(message, dict):  # a large one, cut by the database within its JSON text
        text = str(message.get("$cut", ""))[1:]
        message = text.encode().decode("unicode_escape", "ignore") if text.isascii() else text
    kind = kind if isinstance(kind, str) else json.dumps(kind)
    return cut(mask(f"{kind.rpartition(':')[2]}: {message}"[:4_000]))
