"""Making a fork: a new run whose journal begins with a part of another one's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.engine import claims
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.fork import plan_fork
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.engine.outcome import Outcome
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.database import Connection, Database


def fork_run(
    engine: Engine, database: Database, run: Any, at: Any, replace: Mapping[str, Any], workflow: Workflow
) -> tuple[UUID, Outcome | None]:
    """Fork *run*; see `dataflows_sdk.runs.Run.fork`. Gives the new run's id and a future of its end."""
    path: Sequence[str | int | None] = [at] if at is None or isinstance(at, str | int) else list(at)
    if not path or any(part is not None and not isinstance(part, str | int) for part in path):
        raise DefinitionError(f"a fork begins at a step's key, a seq, or a sequence of keys into children, not {at!r}")
    new = new_uuid()
    queue: list[tuple[UUID, str]] = []
    with database.connection() as connection, connection.transaction():
        _fork(engine, database, connection, run, path, replace, workflow, new, None, None, queue)
    outcome = engine.ask(claims.adopt_forks(engine, queue, new))
    return new, outcome


def fork_within(
    engine: Engine,
    database: Database,
    connection: Connection,
    run: Any,
    at: Sequence[str | int | None],
    workflow: Workflow,
) -> UUID:
    """Fork *run* in the transaction that is open on *connection*; the new run is queued for whoever knows its code."""
    new = new_uuid()
    _fork(engine, database, connection, run, at, {}, workflow, new, None, None, [])
    return new


def _fork(
    engine: Engine,
    database: Database,
    connection: Connection,
    run: Any,
    path: Sequence[str | int | None],
    replace: Mapping[str, Any],
    workflow: Workflow,
    new: UUID,
    parent: UUID | None,
    parent_key: str | None,
    queue: list[tuple[UUID, str]],
) -> None:
    events = run._events()
    at, inner = path[0], path[1:]
    upstream = getattr(workflow, "upstream", None)
    plan = plan_fork(events, at, {} if inner else replace, upstream() if upstream is not None else None)
    created = dict(events[0].data)
    created |= {
        "workflow": workflow.name,
        "version": workflow.version,
        "status": "queued",
        "fork": {"of": run.id, "at": plan.at, "set": sorted(plan.replaced), "events": len(plan.copied)},
    }
    for name in ("parent", "pinned"):
        created.pop(name, None)
    if parent is not None:
        created["parent"] = str(parent)
    encoded = {key: engine.values.encode(value, f"value for step {key!r}") for key, value in plan.replaced.items()}
    database.run(
        connection,
        "forks",
        "create",
        (
            new,
            workflow.name,
            workflow.version,
            run._id,
            parent,
            parent_key,
            json.dumps(created),
            engine.stamp(),
        ),
    )
    version = engine.versions(workflow)
    for row in version:
        database.run(
            connection,
            "journal",
            "put_versions",
            ([row.workflow], [row.hash], [row.kind], [row.source], [row.spec], [row.info]),
        )
    database.run(connection, "forks", "copy", (new, run._id, list(plan.copied)))
    seq = len(plan.copied) + 1
    records = {event.key: event.data for event in events if event.kind.startswith("step.")}
    for key, value in encoded.items():
        seq += 1
        head = {name: records[key][name] for name in ("op", "name", "n") if name in records.get(key, {})}
        data = json.dumps(head)[:-1] + ("," if head else "") + f'"set":true,"value":{value.text}}}'
        database.run(connection, "forks", "append", (new, seq, "step.completed", key, data, engine.stamp()))
        for blob in value.blobs:
            database.run(
                connection,
                "journal",
                "put_blobs",
                ([blob.sha256], [blob.media], [blob.data], [json.dumps(blob.meta)]),
            )
            database.run(connection, "journal", "put_blob_refs", ([new], [blob.sha256]))
    if inner:
        _fork_child(engine, database, connection, run, plan.at, inner, replace, new, seq + 1, queue)
    queue.append((new, workflow.name))


def _fork_child(
    engine: Engine,
    database: Database,
    connection: Connection,
    run: Any,
    key: str,
    inner: Sequence[str | int | None],
    replace: Mapping[str, Any],
    new: UUID,
    seq: int,
    queue: list[tuple[UUID, str]],
) -> None:
    """The step at which the parent is forked waits for a fork of its child."""
    record = run.state().steps.get(key)
    if record is None or record.op != "child" or "child" not in record.data:
        raise DefinitionError(f"step {key!r} is no child run, so there is nothing to fork at {list(inner)!r} inside it")
    child_run = type(run)(run._context, UUID(record.data["child"]))
    definition = engine.resolve(child_run.workflow)
    child = new_uuid()
    head = {name: record.data[name] for name in ("op", "name", "n") if name in record.data}
    data = json.dumps({**head, "child": str(child), "workflow": definition.name})
    database.run(connection, "forks", "append", (new, seq, "step.waiting", key, data, engine.stamp()))
    _fork(engine, database, connection, child_run, inner, replace, definition, child, new, key, queue)
