"""What the engine reads while runs are under way: histories, inboxes, outcomes, content of large values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.decide import InboxMessage
from dataflows_sdk.engine.outcome import End
from dataflows_sdk.engine.state import JournalEvent, parse
from dataflows_sdk.errors import BlobMissingError, StoreError, StoreUnavailableError
from dataflows_sdk.store import wire
from dataflows_sdk.store.pipeline import Command, Pipeline, Rows, StatementError

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class LetGoError(StoreError):
    """The run that held a key or a slot ended at the moment in which it was asked for."""


class Reader:
    """A second connection of the engine; it also listens for notifications.

    Args:
        pipeline: a connection of its own.
        on_notify: called with the payload of each notification, and with ``"wake"`` after a reconnect, because
            notifications of the meantime are lost.
    """

    def __init__(self, pipeline: Pipeline, on_notify: Callable[[str], None]) -> None:
        self._pipeline = pipeline
        self._pipeline.on_notify = on_notify
        self._pipeline.on_lost = self._lost
        self._on_notify = on_notify
        self._connecting: asyncio.Lock | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect for the first time; StoreUnavailableError when nobody answers."""
        self._connecting = asyncio.Lock()
        await self._pipeline.connect(listen="dataflows")

    def _lost(self) -> None:
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        await self._reconnect()
        self._on_notify("wake")

    async def _reconnect(self) -> None:
        assert self._connecting is not None
        attempt = 0
        async with self._connecting:
            while not self._pipeline.connected and not self._closed:
                try:
                    await self._pipeline.connect(listen="dataflows")
                except StoreUnavailableError:
                    attempt += 1
                    pause = min(5.0, 0.05 * 2 ** min(attempt, 8))
                    await asyncio.sleep(pause * (0.5 + chance()))

    async def query(self, *commands: Command) -> list[Rows]:
        """Run statements that may be run twice, as one transaction; waits until PostgreSQL is there.

        Raises:
            StatementError: PostgreSQL refused one.
            StoreUnavailableError: the reader was closed.
        """
        while True:
            if self._closed:
                raise StoreUnavailableError("the engine was closed")
            try:
                if not self._pipeline.connected:
                    await self._reconnect()
                outcome = (await self._pipeline.send(commands))[0]
            except StoreUnavailableError:
                if self._closed:
                    raise
                await asyncio.sleep(0.02)
                continue
            if isinstance(outcome, StatementError):
                if outcome.sqlstate[:2] in ("40", "57", "53"):
                    await asyncio.sleep(0.05 * (0.5 + chance()))
                    continue
                raise outcome
            return outcome

    # --- the journal -------------------------------------------------------------------------------------

    async def histories(self, runs: Sequence[UUID]) -> dict[UUID, list[JournalEvent]]:
        """Every event of some runs, in order."""
        (rows,) = await self.query(("load_events", [wire.uuids(runs)]))
        found: dict[UUID, list[JournalEvent]] = {run: [] for run in runs}
        last: bytes | None = None
        stamp: bytes | None = None
        moment = _EARLIEST
        events: list[JournalEvent] = []
        for run, seq, kind, key, data, at in rows:
            assert run is not None
            assert seq is not None
            assert kind is not None
            assert key is not None
            assert data is not None
            assert at is not None
            if run != last:
                events = found[UUID(run.decode())]
                last = run
            if at != stamp:  # events of one commit share theirs
                moment, stamp = wire.read_instant(at), at
            events.append(parse(int(seq), kind.decode(), key.decode(), data.decode(), moment))
        return found

    async def inboxes(self, wanted: Iterable[tuple[UUID, Iterable[str]]]) -> dict[UUID, list[InboxMessage]]:
        """Messages that nobody took yet; events for everybody are pulled in first, for the names waited for."""
        runs: list[UUID] = []
        pairs: list[tuple[UUID, str]] = []
        for run, names in wanted:
            runs.append(run)
            pairs.extend((run, name) for name in names if not name.startswith("child:"))
        commands: list[Command] = []
        if pairs:
            commands.append(
                (
                    "pull_broadcasts",
                    [wire.uuids([run for run, _ in pairs]), wire.texts([name for _, name in pairs])],
                )
            )
        commands.append(("load_messages", [wire.uuids(runs)]))
        rows = (await self.query(*commands))[-1]
        found: dict[UUID, list[InboxMessage]] = {run: [] for run in runs}
        for owner, number, kind, name, payload, at in rows:
            assert owner is not None
            assert number is not None
            assert kind is not None
            assert name is not None
            assert payload is not None
            assert at is not None
            found[UUID(owner.decode())].append(
                InboxMessage(int(number), kind.decode(), name.decode(), json.loads(payload), wire.read_instant(at))
            )
        return found

    async def blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """Content by hash.

        Raises:
            BlobMissingError: one is not there.
        """
        (rows,) = await self.query(("load_blobs", [wire.texts(hashes)]))
        found = {sha.decode(): unhex(data) for sha, data in rows if sha is not None and data is not None}
        for sha in hashes:
            if sha not in found:
                raise BlobMissingError(f"the content {sha[:16]}… of a large value is not in the store")
        return found

    async def outcome(self, run: UUID) -> tuple[str, dict[str, object]] | None:
        """How a run ended, or None while it has not."""
        (rows,) = await self.query(("run_outcomes", [wire.uuids([run])]))
        if not rows:
            return None
        _, status, data = rows[0]
        assert status is not None
        assert data is not None
        return status.decode(), json.loads(data)

    async def ends(self, runs: Sequence[UUID]) -> dict[UUID, End]:
        """How runs ended, as far as they have: status and the JSON text of their last event."""
        (rows,) = await self.query(("run_outcomes", [wire.uuids(runs)]))
        return {
            UUID(run.decode()): (status.decode(), data.decode())
            for run, status, data in rows
            if run is not None and status is not None and data is not None
        }

    async def status(self, run: UUID) -> str | None:
        """The status of a run; None for an unknown one."""
        (rows,) = await self.query(("run_status", [wire.uuids([run])]))
        return None if not rows or rows[0][0] is None else rows[0][0].decode()

    async def holder(self, workflow: str, key: str | None, slot: str | None) -> UUID:
        """The run that has an idempotency key, or a slot.

        Raises:
            LetGoError: it has let go of it meanwhile.
        """
        if key is not None:
            (rows,) = await self.query(("find_by_idempotency", [wire.texts([workflow]), wire.texts([key])]))
            if rows and rows[0][2] is not None:
                return UUID(rows[0][2].decode())
        if slot is not None:
            (rows,) = await self.query(("find_by_slot", [workflow.encode(), slot.encode()]))
            if rows and rows[0][0] is not None:
                return UUID(rows[0][0].decode())
        raise LetGoError(
            f"the run of {workflow!r} that stood in the way ({key or slot!r}) ended in this moment; start it again"
        )

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._pipeline.close()


def unhex(data: bytes) -> bytes:
    """A ``bytea`` in text format."""
    return bytes.fromhex(data[2:].decode())
