"""What a view asks of where a run is kept, see `kept`; and its events as pages get them, nothing large among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

from dataflows_sdk.engine.state import TERMINAL, JournalEvent
from dataflows_sdk.errors import RunNotFoundError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook.folding import Event
from dataflows_sdk.notebook.previews import cut, preview

#: events of one page
PAGE = 2_000
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

    def wrote(self) -> list[dict[str, Any]]:
        """What it wrote to the warehouse, in order, as of `Run.wrote`."""
        ...

    def said(self) -> list[dict[str, Any]] | None:
        """What it said to the memory, in order, as of `Memory.said`; None where there is no memory."""
        ...

    def lacks(self) -> list[str]:
        """What cannot be shown, in a sentence each."""
        ...

    def closed(self) -> bool:
        """Whether nothing can be read any more."""
        ...


def head_of(workflow: str, version: str, status: str, created: datetime, parent: Any, forked: Any) -> dict[str, Any]:
    """What a view begins with."""
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
