"""Going on with runs that this process claimed: read their history, replay, continue.

Also the few things that are done to a run by its id: claiming it by hand, ending it without its code, letting it out
of quarantine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.homes import SCOPE
from dataflows_sdk.engine import settle as endings
from dataflows_sdk.engine.decide import InboxMessage, Quarantine, decide_claim
from dataflows_sdk.engine.definitions import Event, Workflow
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import LiveRun
from dataflows_sdk.engine.outcome import Outcome
from dataflows_sdk.engine.state import JournalEvent, RunState, fold, parse
from dataflows_sdk.engine.units import Event as Record
from dataflows_sdk.engine.units import RunHead, Unit
from dataflows_sdk.errors import OwnershipLost, StoreUnavailableError
from dataflows_sdk.store import wire

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine


_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Claimed:
    """A run that this process claimed, before its history is read."""

    __slots__ = ("created_at", "epoch", "first", "id", "parent", "parent_key", "version", "was", "workflow")

    def __init__(
        self,
        run_id: UUID,
        workflow: str,
        version: str,
        epoch: int,
        parent: UUID | None,
        parent_key: str | None,
        was: str,
        created_at: datetime | None,
        first: bytes | None,
    ) -> None:
        #: the data of its first event, where it is the only one: nobody had it before
        self.first = first
        self.id = run_id
        self.created_at = created_at
        self.workflow = workflow
        self.version = version
        self.epoch = epoch
        self.parent = parent
        self.parent_key = parent_key
        #: its status before: queued, sleeping, waiting, or lost
        self.was = was


class Nobody(Workflow):
    """Stands for a workflow whose code this process does not have and does not need."""

    def __init__(self, name: str, version: str) -> None:
        self.name, self.version, self.is_async = name, version, False


def claimed(row: tuple[bytes | None, ...]) -> Claimed:
    """A row of the claiming statements."""
    run, workflow, version, epoch, parent, parent_key, created, was, first = row[:9]
    assert run is not None
    assert workflow is not None
    assert version is not None
    assert epoch is not None
    return Claimed(
        UUID(run.decode()),
        workflow.decode(),
        version.decode(),
        int(epoch),
        UUID(parent.decode()) if parent is not None else None,
        parent_key.decode() if parent_key is not None else None,
        (was or b"queued").decode(),
        wire.read_instant(created) if created is not None else None,
        first,
    )


async def adopt(engine: Engine, claims: Sequence[Claimed]) -> None:
    """Go on with runs that were claimed for this process: read their history, replay, continue."""
    fault("run.claimed")
    if engine.observer is not None:
        engine.observer.claimed(claims)
    await _bring_versions(engine, claims)
    touched = []
    for claim in claims:
        if claim.first is None:
            touched.append(claim)
        else:
            _begin(engine, claim, claim.first)
    if touched:
        ids = [claim.id for claim in touched]
        histories = await engine.reader.histories(ids)
        inboxes = await engine.reader.inboxes([(run, ()) for run in ids])
        for claim in touched:
            _adopt(engine, claim, histories[claim.id], inboxes[claim.id])


def _begin(engine: Engine, claim: Claimed, first: bytes) -> None:
    """A run that nobody had before: what its claim returned is its whole history."""
    state = RunState()
    fold(state, parse(1, "run.created", "", first.decode(), claim.created_at or _EARLIEST))
    state.seq, state.status, state.claims, state.version = 2, "running", 1, claim.version
    live = LiveRun(_workflow_of(engine, claim, state), RunHead(claim.id, claim.epoch, 2), state, claim.parent)
    live.parent_key = claim.parent_key
    engine.live[live.id] = live
    live.task = engine.loop.create_task(_continue(engine, live, state, []))


async def _bring_versions(engine: Engine, claims: Sequence[Claimed]) -> None:
    """A flow that is data runs to its end on the version that it began with: fetch those that this process lacks."""
    wanted: set[tuple[str, str]] = set()
    for claim in claims:
        current = engine.catalog.get(claim.workflow)
        if current is None or current.kind != "flow" or current.version == claim.version:
            continue
        if engine.catalog.get(claim.workflow, claim.version) is None:
            wanted.add((claim.workflow, claim.version))
    if not wanted:
        return
    from dataflows_sdk.engine.dag import stored_flow

    names, hashes = zip(*sorted(wanted), strict=True)
    (rows,) = await engine.reader.query(("flow_specs", [wire.texts(names), wire.texts(hashes)]))
    for name, version, spec in rows:
        assert name is not None
        assert version is not None
        made = stored_flow(name.decode(), version.decode(), spec)
        if made is not None:
            engine.catalog.remember(made)


def _workflow_of(engine: Engine, claim: Claimed, state: RunState) -> Workflow:
    """The code for a run: what it is pinned to; a flow's own version; else today's."""
    if state.pinned is not None and (pinned := engine.catalog.get(claim.workflow, state.pinned)) is not None:
        return pinned
    current = engine.catalog.claimed(claim.workflow)
    if current.kind == "flow" and current.version != claim.version:
        own = engine.catalog.get(claim.workflow, claim.version)
        if own is not None and own.portable:
            return own
    return current


def _adopt(engine: Engine, claim: Claimed, events: list[JournalEvent], inbox: list[InboxMessage]) -> None:
    state = RunState()
    for event in events:
        fold(state, event)
    live = LiveRun(
        _workflow_of(engine, claim, state),
        RunHead(claim.id, claim.epoch, state.seq),
        state,
        claim.parent,
    )
    live.parent_key = claim.parent_key
    verdict = decide_claim(state, engine.max_crashes)
    if isinstance(verdict, Quarantine):
        engine.live[live.id] = live
        live.task = engine.loop.create_task(
            endings.quarantine(engine, live, {"code": verdict.code, "message": verdict.message})
        )
        return
    engine.live[live.id] = live
    live.task = engine.loop.create_task(_continue(engine, live, state, inbox))


async def _continue(engine: Engine, live: LiveRun, state: RunState, inbox: list[InboxMessage]) -> None:
    SCOPE.set(live.workflow.scope)
    # A cancel that came while the run slept must be known before its code reaches the next wait.
    request = next((message for message in inbox if message.kind == "cancel"), None)
    if request is not None and live.cancel is None:
        payload = request.payload if isinstance(request.payload, dict) else {}
        live.cancel = {"reason": payload.get("reason") or "", "message": request.id}
        note = Record("run.cancel_requested", "", json.dumps(live.cancel))
        engine.writer.submit(Unit(live.head, [note], consumed=(request.id,)))
        if not state.steps and not state.scopes:
            await _end_before_it_began(engine, live)
            return
    try:
        event = await event_of(engine, state)
    except Exception as error:  # noqa: BLE001 - what cannot be decoded cannot be run: it is set aside
        await endings.quarantine(engine, live, {"code": "undecodable", "message": f"the input: {error}"})
        return
    await endings.execute(engine, live, event)


async def _end_before_it_began(engine: Engine, live: LiveRun) -> None:
    """It was cancelled before its code did anything: there is nothing to undo, and no reason to call it."""
    try:
        await endings.write(engine, live, "cancelled", {"reason": (live.cancel or {}).get("reason", "")})
    except (OwnershipLost, StoreUnavailableError):
        engine.let_go(live)


async def adopt_forks(engine: Engine, forks: Sequence[tuple[UUID, str]], main: UUID) -> Outcome | None:
    """Claim forks that were just made, as far as this process knows their workflows."""
    outcome: Outcome | None = None
    if not engine.owning:
        return None
    for run, name in forks:
        if engine.catalog.get(name) is None or len(engine.live) >= engine.concurrency:
            continue
        if run == main:
            outcome = Outcome()
            engine.watched(run, outcome)
        await claim_one(engine, run, ("queued",))
    return outcome


async def claim_one(engine: Engine, run: UUID, statuses: Sequence[str]) -> bool:
    """Claim one run by its id and go on with it here."""
    (rows,) = await engine.reader.query(
        (
            "claim_one",
            [wire.instant(engine.stamp()), engine.worker_id.bytes, run.bytes, wire.texts(statuses), b"\0"],
        )
    )
    if rows:
        await adopt(engine, [claimed(row) for row in rows])
    return bool(rows)


async def cancel_without_code(engine: Engine, run: UUID) -> None:
    """End a suspended or queued run that has nothing to undo, without calling its code."""
    (rows,) = await engine.reader.query(
        (
            "claim_one",
            [
                wire.instant(engine.stamp()),
                engine.worker_id.bytes,
                run.bytes,
                wire.texts(("queued", "sleeping", "waiting", "quarantined")),
                b"\1",
            ],
        )
    )
    if not rows:
        return
    claim = claimed(rows[0])
    state = RunState()
    for event in (await engine.reader.histories([run]))[run]:
        fold(state, event)
    inbox = (await engine.reader.inboxes([(run, ())]))[run]
    request = next((message for message in inbox if message.kind == "cancel"), None)
    head = RunHead(run, claim.epoch, state.seq)
    live = LiveRun(Nobody(claim.workflow, claim.version), head, state, claim.parent)
    live.parent_key = claim.parent_key
    reason = request.payload.get("reason", "") if request is not None else ""
    if request is not None:
        live.cancel = {"reason": reason, "message": request.id}
        note = Record("run.cancel_requested", "", json.dumps(live.cancel))
        await engine.face.commit(Unit(head, [note], consumed=(request.id,)))
    await endings.write(engine, live, "cancelled", {"reason": reason})


async def resume(engine: Engine, run: UUID, pinned: str | None) -> None:
    """Let a quarantined run be claimed again, with today's code or pinned to a version."""
    data = {"version": pinned} if pinned is not None else {}
    version = None if pinned is None else pinned.encode()
    stamp, text = wire.instant(engine.stamp()), json.dumps(data).encode()
    await engine.reader.query(
        ("resume", [stamp, run.bytes, text, version]), ("notify", [f"{engine.worker_id} ".encode()])
    )
    engine.on_queued()


async def event_of(engine: Engine, state: RunState) -> Event[Any]:
    """The event that started a run, from its journal."""
    payload = await engine.values.decode(engine.face, state.created.get("input"))
    meta = state.created.get("event") or {}
    received = meta.get("received_at")
    return Event(
        payload,
        meta.get("name", "manual"),
        meta.get("service", ""),
        meta.get("id"),
        datetime.fromisoformat(received) if received else state.created_at,
        meta.get("trigger"),
    )
