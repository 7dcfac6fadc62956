"""What a batch of units looks like to PostgreSQL: named statements with arrays, one element a row."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dataflows_sdk.engine.units import RunHead, Unit, Version
from dataflows_sdk.store import wire
from dataflows_sdk.store.pipeline import Command

_NOTIFY_RUNS = 100  # a notification holds 8,000 bytes


def commands(batch: Sequence[Unit], stamp: bytes | None) -> list[Command]:
    """The statements of the batch's transaction."""
    if len(batch) == 1 and (alone := _alone(batch[0], stamp)) is not None:
        return [alone]
    return [
        *_content(batch),
        *_appends(batch, stamp),
        *_creations(batch, stamp),
        *_deliveries(batch, stamp),
    ]


def _alone(unit: Unit, stamp: bytes | None) -> Command | None:
    """The statement of a batch that is one event and nothing else."""
    head = unit.head
    if head is None or len(unit.events) != 1 or unit.change is not None:
        return None
    if unit.blobs or unit.consumed or unit.messages or unit.broadcasts or unit.runs or unit.versions:
        return None
    event = unit.events[0]
    return (
        "append_one",
        [
            stamp,
            head.raw[4:],
            wire.int4(head.epoch),
            wire.int4(event.seq),
            event.kind.encode(),
            event.key.encode(),
            event.data.encode(),
        ],
    )


def _content(batch: Sequence[Unit]) -> list[Command]:
    found: list[Command] = []
    blobs = {blob.sha256: blob for unit in batch for blob in unit.blobs}
    if blobs:
        # Sorted, so that two processes which write the same content take their locks in one order.
        rows = [blobs[sha] for sha in sorted(blobs)]
        found.append(
            (
                "put_blobs",
                [
                    wire.texts([b.sha256 for b in rows]),
                    wire.texts([b.media for b in rows]),
                    wire.byteas([b.data for b in rows]),
                    wire.texts([json.dumps(b.meta) for b in rows]),
                ],
            )
        )
        refs = sorted({(owner, blob.sha256) for unit in batch for blob in unit.blobs for owner in unit.owners()})
        found.append(
            (
                "put_blob_refs",
                [wire.uuids([owner for owner, _ in refs]), wire.texts([sha for _, sha in refs])],
            )
        )
    versions = {(v.workflow, v.hash): v for unit in batch for v in unit.versions}
    if versions:
        found.append(put_versions([versions[key] for key in sorted(versions)]))
    return found


def put_versions(versions: Sequence[Version]) -> Command:
    """The statement that keeps the code of workflows; what is there already stays."""
    return (
        "put_versions",
        [
            wire.texts([v.workflow for v in versions]),
            wire.texts([v.hash for v in versions]),
            wire.texts([v.kind for v in versions]),
            wire.texts([v.source for v in versions]),
            wire.texts([v.spec for v in versions]),
            wire.texts([v.info for v in versions]),
        ],
    )


def _creations(batch: Sequence[Unit], stamp: bytes | None) -> list[Command]:
    runs = [run for unit in batch for run in unit.runs]
    if not runs:
        return []
    lasting = [run for run in runs if run.key_until is not None]
    found: list[Command] = []
    if lasting:
        keys = wire.texts([r.idempotency_key for r in lasting])
        found.append(("release_keys", [stamp, wire.texts([r.workflow for r in lasting]), keys]))
    found += [
        (
            "create_runs",
            [
                stamp,
                wire.uuids([r.id for r in runs]),
                wire.texts([r.workflow for r in runs]),
                wire.texts([r.version for r in runs]),
                wire.uuids([r.owner for r in runs]),
                wire.texts([r.status for r in runs]),
                wire.instants([r.wake_at for r in runs]),
                wire.uuids([r.parent for r in runs]),
                wire.texts([r.parent_key for r in runs]),
                wire.uuids([r.forked_from for r in runs]),
                wire.texts([r.idempotency_key for r in runs]),
                wire.texts([r.queue for r in runs]),
                wire.int4s([r.priority for r in runs]),
                wire.int4s([r.parent_epoch for r in runs]),
                wire.texts([r.key for r in runs]) if any(r.key is not None for r in runs) else None,
                wire.texts([r.slot for r in runs]) if any(r.slot is not None for r in runs) else None,
                wire.instants([r.key_until for r in runs]) if lasting else None,
            ],
        ),
        (
            "first_events",
            [
                stamp,
                wire.uuids([r.id for r in runs]),
                wire.texts([r.data for r in runs]),
                wire.int4s([1 if r.owner is not None else 0 for r in runs]),
            ],
        ),
    ]
    return found


def _appends(batch: Sequence[Unit], stamp: bytes | None) -> list[Command]:
    heads: dict[RunHead, None] = {}
    ids: list[bytes] = []
    epochs: list[int] = []
    seqs: list[int] = []
    kinds: list[str] = []
    keys: list[str] = []
    data: list[str] = []
    changes: list[Unit] = []
    for unit in batch:
        head = unit.head
        if head is None:
            continue
        heads[head] = None
        for event in unit.events:
            ids.append(head.raw)
            epochs.append(head.epoch)
            seqs.append(event.seq)
            kinds.append(event.kind)
            keys.append(event.key)
            data.append(event.data)
        if unit.change is not None:
            changes.append(unit)
    found: list[Command] = []
    if changes:
        found.append(("set_heads", _head_columns(changes, stamp)))
    leaving = {unit.head for unit in changes}
    staying = [head for head in heads if head not in leaving]
    if staying:
        asked = [wire.raw_uuids([head.raw for head in staying]), wire.int4s([head.epoch for head in staying])]
        found.append(("fence", asked))
    if ids:
        found.append(
            (
                "append_events",
                [
                    stamp,
                    wire.raw_uuids(ids),
                    wire.int4s(epochs),
                    wire.int4s(seqs),
                    wire.words(kinds),
                    wire.words(keys),
                    wire.texts(data),
                ],
            )
        )
    consumed = [(unit, message) for unit in batch for message in unit.consumed]
    if consumed:
        found.append(
            (
                "consume",
                [
                    wire.uuids([unit.head.id for unit, _ in consumed if unit.head]),
                    wire.int8s([message for _, message in consumed]),
                    wire.int4s([unit.events[-1].seq for unit, _ in consumed]),
                    wire.int4s([unit.head.epoch for unit, _ in consumed if unit.head]),
                ],
            )
        )
    return found


def _head_columns(units: Sequence[Unit], stamp: bytes | None) -> list[bytes | None]:
    rows = [(unit.head, unit.change, unit.events[-1].seq) for unit in units if unit.head and unit.change]
    wakes = any(change.wake_at is not None for _, change, _ in rows)
    waits = any(change.waits for _, change, _ in rows)
    return [
        stamp,
        wire.raw_uuids([head.raw for head, _, _ in rows]),
        wire.int4s([head.epoch for head, _, _ in rows]),
        wire.words([change.status for _, change, _ in rows]),
        wire.int4s([seq for _, _, seq in rows]),
        wire.instants([change.wake_at for _, change, _ in rows]) if wakes else None,
        wire.texts(["\n".join(change.waits) for _, change, _ in rows]) if waits else None,
    ]


def _deliveries(batch: Sequence[Unit], stamp: bytes | None) -> list[Command]:
    found: list[Command] = []
    messages = [message for unit in batch for message in unit.messages]
    if messages:
        senders = [unit for unit in batch for _ in unit.messages]
        found.append(
            (
                "send",
                [
                    stamp,
                    wire.uuids([m.run for m in messages]),
                    wire.texts([m.kind for m in messages]),
                    wire.texts([m.name for m in messages]),
                    wire.texts([m.payload for m in messages]),
                    wire.texts([m.dedupe for m in messages]),
                    *_senders(senders),
                ],
            )
        )
    broadcasts = [broadcast for unit in batch for broadcast in unit.broadcasts]
    if broadcasts:
        senders = [unit for unit in batch for _ in unit.broadcasts]
        found.append(
            (
                "broadcast",
                [
                    stamp,
                    wire.uuids([b.id for b in broadcasts]),
                    wire.texts([b.name for b in broadcasts]),
                    wire.texts([b.payload for b in broadcasts]),
                    *_senders(senders),
                ],
            )
        )
    return found


def _senders(units: Sequence[Unit]) -> list[bytes | None]:
    """The run, the event and the epoch with which something is sent; what no run sends has none."""
    own = [(unit.head, unit.events[-1].seq) if unit.head and unit.events else (None, 0) for unit in units]
    return [
        wire.uuids([head.id if head else None for head, _ in own]),
        wire.int4s([seq for _, seq in own]),
        wire.int4s([head.epoch if head else 0 for head, _ in own]),
    ]


def wakes(batch: Sequence[Unit], stamp: bytes | None, sender: str) -> list[Command]:
    """After the commit: whom did it concern? Suspended runs look once more at their own inbox.

    Those before the notification return the ids of the runs that they woke.
    """
    told = {message.run for unit in batch for message in unit.messages}
    suspended = {
        unit.head.id for unit in batch if unit.head and unit.change and unit.change.status in ("sleeping", "waiting")
    }
    events = [broadcast for unit in batch for broadcast in unit.broadcasts]
    names = {broadcast.name for broadcast in events}
    queued = any(unit.change is not None and unit.change.status == "queued" for unit in batch) or any(
        run.status == "queued" for unit in batch for run in unit.runs
    )
    delayed = [run.wake_at for unit in batch for run in unit.runs if run.status == "sleeping" and run.wake_at]
    found: list[Command] = []
    if told or suspended:
        found.append(("wake", [stamp, wire.uuids(sorted(told | suspended))]))
    if names:
        ids = wire.uuids([broadcast.id for broadcast in events])
        found += [("allow_bitmaps", []), ("wake_broadcast", [stamp, wire.texts(sorted(names)), ids])]
    if told or names or queued or delayed:
        runs = "*" if names or len(told) > _NOTIFY_RUNS else ",".join(str(run) for run in told)
        later = f" {min(delayed).isoformat()}" if delayed else ""
        found.append(("notify", [f"{sender} {runs}{later}".encode()]))
    return [("commit_asynchronously", []), *found] if found else []
