"""Dry replay: today's code against a recorded run, without any effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from dataflows_sdk.core.clock import SystemClock
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.engine.calling import Calls
from dataflows_sdk.engine.catalog import Catalog
from dataflows_sdk.engine.claims import event_of
from dataflows_sdk.engine.decide import decide_leftovers
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.faces import AsyncFace, Settle
from dataflows_sdk.engine.live import LiveRun, leftovers
from dataflows_sdk.engine.runner import Engine
from dataflows_sdk.engine.state import JournalEvent, RunState, fold
from dataflows_sdk.engine.units import RunHead
from dataflows_sdk.engine.values import Values
from dataflows_sdk.engine.verbs import ReplayStopped
from dataflows_sdk.errors import BlobMissingError, NonDeterminismError, Suspended
from dataflows_sdk.store.database import Database


@dataclass(slots=True)
class Replay(ShownAsTable):
    """What came of a dry replay.

    Attributes:
        ok: the code asked for what was recorded, and where the run is over, ended as it did.
        outcome: ``"completed"``, ``"failed"``, ``"stopped"`` (it came to something that is not recorded) or
            ``"mismatch"``.
        replayed: how many steps came from the journal.
        next: the step at which it stopped, with what it would do there.
        difference: readable, empty where there is none.
    """

    ok: bool
    outcome: str
    replayed: int
    next: str = ""
    difference: str = ""
    value: Any = None
    error: BaseException | None = None
    recorded_version: str = ""
    version: str = ""
    steps: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        head = f"replay {'ok' if self.ok else 'differs'}: {self.replayed} steps from the journal"
        if self.recorded_version != self.version:
            head += f"; recorded with version {self.recorded_version}, replayed with {self.version}"
        if self.next:
            head += f"; stopped at {self.next}"
        return head + (f"\n{self.difference}" if self.difference else "")


async def dry_replay(engine: Engine, run: UUID, workflow: Workflow, events: Sequence[JournalEvent]) -> Replay:
    """Call the workflow's code with a run whose every verb may only give what is recorded."""
    state = RunState()
    for event in events:
        fold(state, event)
    ended = state.status
    live = LiveRun(workflow, RunHead(run, -1, state.seq), state)
    live.dry = True
    steps = list(state.steps)
    live.point = lambda: (_reached(live, events), [key for key in steps if key not in live.records])
    # A cancel or failure is replayed as far as the code goes by itself.
    live.cancel = None
    started = await event_of(engine, state)
    result = Replay(False, "completed", 0, recorded_version=state.version, version=workflow.version)
    try:
        result.value = await engine.calls.workflow(live, started)
        decide_leftovers(leftovers(live))
        _compare_end(engine, result, ended, state)
    except ReplayStopped as stopped:
        result.outcome = "stopped"
        result.next = f"{stopped.op} {stopped.key}"
        result.ok = ended != "succeeded"
        if not result.ok:
            result.difference = (
                f"the run is over, but the code asks for {stopped.op} {stopped.key!r}, which is not recorded"
            )
    except NonDeterminismError as error:
        result.outcome = "mismatch"
        result.difference = f"recorded: {error.recorded}\nasked:    {error.asked}\n{error}"
        result.error = error
    except Suspended:
        result.outcome = "stopped"
        result.ok = True
    except Exception as error:  # noqa: BLE001 - whatever the code raises is the outcome
        result.outcome = "failed"
        result.error = error
        recorded = (state.outcome or {}).get("error") or {}
        result.ok = ended == "failed" and recorded.get("message") == engine.redactor.redact_text(str(error))
        if not result.ok:
            result.difference = (
                f"the code raises {type(error).__name__}: {error}\nrecorded: {ended} {recorded.get('message', '')}"
            )
    result.replayed = live.replayed
    return result


def _reached(live: LiveRun, events: Sequence[JournalEvent]) -> datetime:
    """When the first step began that the code has not asked for yet, or the run's last event."""
    left = min((record.first_seq for record in live.records.values()), default=events[-1].seq)
    event = next(event for event in events if event.seq >= left)
    return event.at - timedelta(seconds=event.data.get("took") or 0)  # a short step is recorded when it is over


def _compare_end(engine: Engine, result: Replay, ended: str, state: RunState) -> None:
    if ended != "succeeded":
        result.ok = ended not in ("failed", "cancelled")
        if not result.ok:
            result.difference = f"the code now ends well; the run is recorded as {ended}"
        return
    text = engine.values.tree(result.value)
    recorded = (state.outcome or {}).get("value")
    result.ok = text == recorded
    if not result.ok:
        result.difference = f"result recorded: {_short(recorded)}\nresult now:      {_short(text)}"


def _short(value: Any, limit: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- without a database -----------------------------------------------------------------------------------


class OfflineEngine(Engine):
    """An engine that has no database, for dry replays of recorded journals.

    Nothing of a dry replay writes or waits; what it reads are large values, and these come with the history.

    Args:
        catalog: where children's workflows are looked up.
        values: the codec.
        blobs: content of large values by hash.
    """

    def __init__(self, catalog: Catalog, values: Values, blobs: Mapping[str, bytes]) -> None:
        super().__init__(Database("dbname=none"), catalog, SystemClock(), values)
        self._blobs = blobs

    async def _connect(self) -> None:
        self.face = AsyncFace(self)
        self.calls = Calls(self, self.face, self._threads)

    def consider(self, live: LiveRun) -> None:
        """A dry replay is never let go of."""

    def ask_blobs(self, hashes: Sequence[str], settle: Settle) -> None:
        """Content of large values, from the history."""
        missing = [sha for sha in hashes if sha not in self._blobs]
        error = BlobMissingError(f"the history lacks the content {missing[0]} of a large value") if missing else None
        settle({sha: self._blobs[sha] for sha in hashes} if error is None else None, error)

    def close(self, grace: float = 2.0) -> None:
        """Stop the loop."""
        if not self.closing:
            self.closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(grace + 8)
            self.calls.close()
            self.database.close()


def replay_offline(
    run: UUID,
    workflow: Workflow,
    events: Sequence[JournalEvent],
    blobs: Mapping[str, bytes],
    values: Values,
    catalog: Catalog,
) -> Replay:
    """`dry_replay` of a journal that comes from a file instead of a database."""
    engine = OfflineEngine(catalog, values, blobs)
    engine.start()
    try:
        values.see(workflow.fn)
        result: Replay = engine.ask(dry_replay(engine, run, workflow, events))
        return result
    finally:
        engine.close()
