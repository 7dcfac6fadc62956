"""Recorded histories: the journal of a run in a file, to be replayed by the code of another day.

    record_history(run, "tests/histories/order-1.json")          # once, and committed

    def test_old_orders_still_replay():
        for path in Path("tests/histories").glob("*.json"):
            replay = check_replay(path)
            assert replay.ok, str(replay)

A replay calls the workflow's code and gives it what was recorded instead of doing anything: no step's function is
called, no database is needed. A history holds the run's inputs and results, as the database does: think of that before
committing one from production.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.codec import Codec, blob_refs
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.ids import parse_id
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.engine.catalog import CATALOG, Catalog
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.replay import Replay, replay_offline
from dataflows_sdk.engine.state import JournalEvent, parse
from dataflows_sdk.engine.values import Values
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.runs import Run

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class History:
    """A run's journal.

    Attributes:
        run: its id.
        workflow, version: the code that it was started with; `source` is the text of that.
        status: where it stood.
        events: the journal, in order.
        blobs: content of its large values, by hash.
    """

    run: UUID
    workflow: str
    version: str
    status: str
    events: tuple[JournalEvent, ...]
    source: str = ""
    blobs: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<history of run {self.run} of {self.workflow!r}: {self.status}, {len(self.events)} events>"

    def to_json(self) -> dict[str, Any]:
        """The document that `load_history` reads."""
        return {
            "format": _FORMAT,
            "run": str(self.run),
            "workflow": self.workflow,
            "version": self.version,
            "status": self.status,
            "source": self.source,
            "events": [
                {"seq": e.seq, "kind": e.kind, "key": e.key, "data": e.data, "at": e.at.isoformat()}
                for e in self.events
            ],
            "blobs": {sha: base64.b64encode(data).decode() for sha, data in self.blobs.items()},
        }


def record_history(run: Run, path: str | os.PathLike[str] | None = None) -> History:
    """Take the journal of a run, in whatever state it is; with *path* also write it there, as JSON.

    Raises:
        RunNotFoundError: there is no such run.
    """
    events = tuple(run.events())
    refs = sorted({sha for event in events for sha in blob_refs(json.dumps(event.data))})
    blobs = {sha: bytes(data) for sha, data in run._context._read("look", "blobs", (refs,))} if refs else {}
    history = History(run._id, run.workflow, run.version, run.status, events, run.source, blobs)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(history.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return history


def load_history(path: str | os.PathLike[str]) -> History:
    """Read what `record_history` wrote.

    Raises:
        DefinitionError: the file is not there, is no history, or comes from a later version of this library.
    """
    file = Path(path)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise DefinitionError(
                f"history {file} has format {document['format']!r}, and this version of dataflows-sdk reads {_FORMAT}"
            )
        return History(
            parse_id(document["run"]),
            document["workflow"],
            document["version"],
            document["status"],
            tuple(
                parse(e["seq"], e["kind"], e["key"], json.dumps(e["data"]), datetime.fromisoformat(e["at"]))
                for e in document["events"]
            ),
            document.get("source", ""),
            {sha: base64.b64decode(text) for sha, text in document.get("blobs", {}).items()},
        )
    except OSError as error:
        raise DefinitionError(f"history {file} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DefinitionError(f"{file} is no history that record_history wrote: {error!r}") from error


def check_replay(history: History | str | os.PathLike[str], workflow: Any = None) -> Replay:
    """Replay a history with today's code, without any effect and without a database.

    Args:
        history: one, or the path of one.
        workflow: the code, as a workflow or a flow; by default the workflow of that name in this process.

    Returns:
        What came of it: `Replay.ok`, and where it is not, `Replay.difference` says what does not fit.

    Raises:
        DefinitionError: the file is no history.
        WorkflowNotFoundError: this process has no workflow of that name.
    """
    found = history if isinstance(history, History) else load_history(history)
    definition = _definition(found, workflow)
    catalog = Catalog(CATALOG)
    return replay_offline(found.run, definition, found.events, found.blobs, Values(Codec(TYPES), REDACTOR), catalog)


def _definition(history: History, workflow: Any) -> Workflow:
    if workflow is None:
        return CATALOG.require(history.workflow)
    if isinstance(workflow, Workflow):
        return workflow
    from dataflows_sdk.engine.dag import flow_workflow

    return flow_workflow(workflow)
