"""Starting a run as a part of somebody else's transaction: the statements of the writer, on a connection of the user's.

The run exists if and only if that transaction commits. Nobody begins it before; the notification that wakes the workers
is sent by the commit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.engine.definitions import Event, Workflow, describe
from dataflows_sdk.engine.observer import started_within
from dataflows_sdk.engine.placement import Placement
from dataflows_sdk.errors import StoreError

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.database import Database


def enqueue(
    engine: Engine,
    database: Database,
    connection: Any,
    workflow: Workflow,
    event: Event[Any],
    *,
    idempotency_key: str | None = None,
    run_id: UUID | None = None,
    placement: Placement | None = None,
) -> UUID:
    """Create a queued run on *connection*; the id of it, or of the run that has the idempotency key.

    Raises:
        DefinitionError, StoreError: see `Database.within`.
        NotSerializableError: the payload cannot be stored.
    """
    encoded = engine.values.encode(event.raw, f"payload of workflow {workflow.name!r}")
    run = engine.new_run(
        workflow,
        encoded.text,
        run_id,
        event=event,
        idempotency_key=idempotency_key,
        queued=True,
        placement=placement,
    )
    started_within(run, event.traceparent)
    now = engine.stamp()
    version: list[Any] = []
    if workflow.kind != "elsewhere":
        columns = describe(workflow)
        version = [[value] for value in (workflow.name, workflow.version, *(columns[name] for name in _COLUMNS))]
    head = [[run.id], [run.workflow], [run.version], [None], [run.status], [run.wake_at]]
    rest = [[None], [None], [None], [idempotency_key], [run.queue], [run.priority], [0]]
    rest += [[run.key], [run.slot], [run.key_until]]
    later = f" {run.wake_at.isoformat()}" if run.status == "sleeping" and run.wake_at is not None else ""
    statements: list[tuple[str, str, Any]] = [
        ("journal", "release_keys", [now, [run.workflow], [idempotency_key]]),
        *([("journal", "put_versions", version)] if workflow.kind != "elsewhere" else []),
        ("journal", "create_runs", [now, *head, *rest]),
        ("journal", "first_events", [now, [run.id], [run.data], [0]]),
        ("journal", "notify", [f"enqueue {later}"]),
    ]
    if encoded.blobs:
        blobs = sorted(encoded.blobs, key=lambda blob: blob.sha256)
        kept = [[b.sha256 for b in blobs], [b.media for b in blobs], [b.data for b in blobs]]
        statements += [
            ("journal", "put_blobs", [*kept, [json.dumps(b.meta) for b in blobs]]),
            ("journal", "put_blob_refs", [[run.id] * len(blobs), kept[0]]),
        ]
    made = database.within(connection, statements)[[name for _, name, _ in statements].index("create_runs")]
    if made or (idempotency_key is None and run.slot is None):
        return run.id
    by_key, by_slot = database.within(
        connection,
        [
            ("claim", "find_by_idempotency", [[run.workflow], [idempotency_key]]),
            ("claim", "find_by_slot", [run.workflow, run.slot]),
        ],
    )
    if not by_key and not by_slot:
        raise StoreError(
            f"the idempotency key or slot {idempotency_key or run.slot!r} belongs to a run that this transaction "
            "cannot see; its isolation level is stricter than READ COMMITTED: try the whole transaction again"
        )
    identifier: UUID = by_key[0][2] if by_key else by_slot[0][0]
    return identifier


#: of a version, in the order of the statement
_COLUMNS = ("kind", "source", "spec", "info")
