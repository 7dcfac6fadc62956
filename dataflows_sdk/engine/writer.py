"""The group-commit writer: every append of this process that is ready goes to PostgreSQL in one transaction.

While one batch is in flight the next one gathers; there is no delay to make batches larger. With a single run the
latency is one commit, with a thousand runs a commit carries a thousand appends.

When the connection breaks while a batch is in flight nobody knows whether it was committed. A batch is one
transaction, so one of its events tells for all of them: the writer reconnects, looks for that witness, and sends the
batch again only if it is not there. Those who wait for it notice nothing but the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from dataflows_sdk.engine.batch import commands, wakes
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.units import RunHead, Unit
from dataflows_sdk.errors import OwnershipLost, StoreError, StoreUnavailableError
from dataflows_sdk.store import wire
from dataflows_sdk.store.pipeline import Command, Pipeline, Rows, StatementError

if TYPE_CHECKING:
    from dataflows_sdk.engine.observer import Observer

log = logging.getLogger("dataflows.writer")

_BATCH_UNITS = 4096
_BATCH_BYTES = 32 * 1024 * 1024
_UNIQUE_VIOLATION = "23505"
#: classes of SQLSTATE that say "not now": conflicts, resources, locks, shutdown, I/O, read-only, connection
_TRANSIENT = frozenset({"40", "53", "55", "57", "58", "25", "08"})
_UUID_TEXT = 36


class Writer:
    """One per engine; lives on the engine's loop. `submit` may be called from any thread.

    Args:
        pipeline: a connection of its own.
        loop: the engine's loop.
        stamp: the time to write instead of the database's own (virtual clocks), or None.
        on_messages: told, after a commit, which runs got messages and which names were broadcast.
        on_woken: told when suspended runs may be claimed.
        on_lost: told when the fence refused a write of a run for the first time.
        alone: whether a single branch of a single run is at work, so that nothing can join its batch.
        sender: the worker's id, by which it knows its own notifications.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        loop: asyncio.AbstractEventLoop,
        stamp: Callable[[], datetime | None],
        on_messages: Callable[[set[UUID], set[str]], None],
        on_woken: Callable[[], None],
        on_lost: Callable[[RunHead], None],
        alone: Callable[[], bool],
        sender: str,
    ) -> None:
        self._pipeline = pipeline
        self._loop = loop
        self._stamp = stamp
        self._on_messages = on_messages
        self._on_woken = on_woken
        self._on_lost = on_lost
        self._alone = alone
        self._sender = sender
        self._pending: deque[Unit] = deque()
        self._scheduled = False
        self._busy = False
        self._flying: list[Unit] = []
        self._closed = False
        self._doubted: Unit | None = None
        self._task: asyncio.Task[None] | None = None
        #: told the size and the latency of each commit
        self.observer: Observer | None = None
        self._sent_at = 0.0
        #: commits and units so far, for those who measure
        self.commits = 0
        self.units = 0

    # --- coming in ---------------------------------------------------------------------------------------

    def submit(self, unit: Unit) -> None:
        """Queue a unit, on the engine's loop."""
        self._pending.append(unit)
        if not self._busy and not self._scheduled:
            if self._alone():
                self._flush()  # nobody is there to join the batch
                return
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def submit_threadsafe(self, unit: Unit) -> None:
        """Queue a unit, from any thread."""
        self._pending.append(unit)
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._flush)

    # --- going out ---------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._scheduled = False
        if self._busy:
            return
        batch = self._gather()
        if not batch:
            return
        self._busy = True
        self._flying = batch
        if self.observer is not None:
            self._sent_at = time.perf_counter()
        try:
            self._pipeline.post(self._transactions(batch), self._settled)
        except StoreUnavailableError:
            self._recover(batch, sent=False)
            return
        except Exception as error:  # noqa: BLE001 - one unit that cannot be written must not stop the others
            self._set_aside(batch, error)
            return
        fault("commit.sent")

    def _set_aside(self, batch: list[Unit], error: Exception) -> None:
        """A batch could not even be put into PostgreSQL's format: tell those to blame, send the others again."""
        self._flying = []
        good: list[Unit] = []
        for unit in batch:
            try:
                self._transactions([unit])
            except Exception as own:  # noqa: BLE001 - whatever it is, it is this unit's
                self._finish(unit, StoreError(f"the record cannot be written for PostgreSQL: {own}"))
            else:
                good.append(unit)
        if len(good) == len(batch):  # it was none of them: do not try the same for ever
            for unit in good:
                self._finish(unit, StoreError(f"the batch cannot be written for PostgreSQL: {error}"))
            good = []
        self._pending.extendleft(reversed(good))
        self._next()

    def _gather(self) -> list[Unit]:
        batch: list[Unit] = []
        size = 0
        pending = self._pending
        while pending and len(batch) < _BATCH_UNITS and size < _BATCH_BYTES:
            unit = pending.popleft()
            head = unit.head
            if head is not None:
                if head.lost:
                    self._finish(unit, OwnershipLost())
                    continue
                if unit.events and unit.events[0].void:
                    unit.events = [event for event in unit.events if not event.void]
                    if not unit.events and unit.change is None:
                        self._finish(unit, None)
                        continue
                for event in unit.events:
                    if not event.seq:
                        event.seq = head.take()
                    size += len(event.data)
            for blob in unit.blobs:
                size += len(blob.data)
            batch.append(unit)
        return batch

    def _settled(
        self, outcomes: list[list[Rows] | StatementError] | None, _error: StoreUnavailableError | None
    ) -> None:
        batch, self._flying = self._flying, []
        if outcomes is None:
            self._recover(batch, sent=True)
            return
        outcome = outcomes[0]
        if isinstance(outcome, StatementError):
            self._refused(batch, outcome)
            return
        fault("commit.done")
        self._acknowledge(batch, outcome)
        self._look_for_woken(outcomes)
        self._next()

    def _next(self) -> None:
        """Nothing is in flight any more: on to what has gathered meanwhile."""
        self._busy = False
        if self._pending and not self._scheduled:
            # One turn of the loop first: those who were just told get ready and join the next batch.
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _look_for_woken(self, outcomes: list[list[Rows] | StatementError]) -> None:
        woken = outcomes[1] if len(outcomes) > 1 else None
        if isinstance(woken, list) and any(rows and len(rows[0][0] or b"") == _UUID_TEXT for rows in woken):
            self._on_woken()

    def _acknowledge(self, batch: list[Unit], rows: list[Rows] | None, lost: AbstractSet[bytes] = frozenset()) -> None:
        """Tell everybody. *rows* is None when a witness told us that the batch had been committed, all but *lost*."""
        self.commits += 1
        self.units += len(batch)
        if self.observer is not None:
            self.observer.committed(len(batch), time.perf_counter() - self._sent_at)
        if rows is not None:
            lost = self._read_answers(batch, rows)
        hints: set[UUID] = set()
        names: set[str] = set()
        for unit in batch:
            for message in unit.messages:
                hints.add(message.run)
            for broadcast in unit.broadcasts:
                names.add(broadcast.name)
            head = unit.head
            if lost and head is not None and str(head.id).encode() in lost:
                self._lose(unit)
            else:
                self._finish(unit, None)
        if hints or names:
            self._on_messages(hints, names)

    def _read_answers(self, batch: list[Unit], rows: list[Rows]) -> set[bytes]:
        answers = dict(zip(self._order, rows, strict=True))
        refused = (*answers.get("fence", ()), *answers.get("set_heads", ()))
        lost = {row[0] for row in refused if row[0] is not None}
        alone = batch[0].head
        if alone is not None and "append_one" in answers and not answers["append_one"]:
            lost.add(str(alone.id).encode())
        if "create_runs" in answers:
            _tell_created(batch, answers["create_runs"])
        if "send" in answers:
            statuses = iter(answers["send"])
            for unit in batch:
                if unit.messages:
                    unit.delivered = tuple(
                        None if (value := next(statuses)[0]) is None else value.decode() for _ in unit.messages
                    )
        return lost

    @staticmethod
    def _finish(unit: Unit, error: BaseException | None) -> None:
        if (future := unit.future) is not None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        elif unit.settle is not None:
            settle, unit.settle = unit.settle, None
            settle(error)

    # --- trouble -----------------------------------------------------------------------------------------

    def _refused(self, batch: list[Unit], error: StatementError) -> None:
        """PostgreSQL undid the batch: split it until the unit to blame stands alone, or try again later."""
        state = error.sqlstate
        if state == _UNIQUE_VIOLATION or state[:2] in _TRANSIENT:
            self._recover(batch, sent=True, why=error)
            return
        if len(batch) == 1:
            self._finish(batch[0], StoreError(f"PostgreSQL refused the record ({state}): {error}"))
            self._next()
            return
        middle = len(batch) // 2
        self._task = self._loop.create_task(self._resend([batch[:middle], batch[middle:]], sent=False, why=error))

    def _recover(self, batch: list[Unit], *, sent: bool, why: Exception | None = None) -> None:
        self._task = self._loop.create_task(self._resend([batch], sent=sent, why=why))

    async def _resend(self, batches: list[list[Unit]], *, sent: bool, why: Exception | None) -> None:
        if why is not None:
            log.warning("a commit was refused and will be sent again: %s", why)
        todo = deque(batches)
        attempt = 0
        while todo:
            batch = todo[0]
            try:
                if attempt:
                    await asyncio.sleep(min(5.0, 0.05 * 2 ** min(attempt, 8)) * (0.5 + chance()))
                attempt += 1
                if not self._pipeline.connected:
                    await self._pipeline.connect()
                    log.info("connected to PostgreSQL again")
                if sent:
                    await self._find_created(batch)
                    refused = await self._witness(batch)
                    if refused is not None:
                        await self._tell_again(batch)
                        self._acknowledge(todo.popleft(), None, refused)
                        attempt = 0
                        continue
                outcomes = await self._pipeline.send(*self._transactions(batch))
                outcome = outcomes[0]
            except StoreUnavailableError as error:
                if self._closed:
                    self._fail(todo, error)
                    return
                if attempt in (1, 5) or attempt % 20 == 0:
                    log.warning("PostgreSQL is away, %d appends wait: %s", len(batch) + len(self._pending), error)
                sent = True
                continue
            if isinstance(outcome, StatementError):
                self._sort_out(todo, outcome)
                sent = True  # look before it is sent again
                continue
            self._acknowledge(todo.popleft(), outcome)
            self._look_for_woken(outcomes)
            attempt = 0
        self._next()

    def _sort_out(self, todo: deque[list[Unit]], refusal: StatementError) -> None:
        """A batch that was sent again was refused again: wait, split it, or tell the one who is to blame."""
        batch = todo[0]
        if refusal.sqlstate[:2] in _TRANSIENT:
            log.warning("PostgreSQL cannot write now: %s", refusal)
        elif len(batch) > 1:
            todo.popleft()
            middle = len(batch) // 2
            todo.extendleft([batch[middle:], batch[:middle]])
        elif refusal.sqlstate == _UNIQUE_VIOLATION and batch[0].head is not None:
            if self._doubted is not batch[0]:
                self._doubted = batch[0]  # the first sending may have been at its commit when we looked: look again
                return
            # Somebody else wrote under a seq of ours: the run is theirs.
            todo.popleft()
            self._lose(batch[0])
        else:
            todo.popleft()
            self._finish(batch[0], StoreError(f"PostgreSQL refused the record ({refusal.sqlstate}): {refusal}"))

    def _lose(self, unit: Unit) -> None:
        """The fence refused a unit: its run belongs to somebody else."""
        assert unit.head is not None
        first = not unit.head.lost
        unit.head.lost = True
        self._finish(unit, OwnershipLost())
        if first:
            self._on_lost(unit.head)

    async def _witness(self, batch: list[Unit]) -> set[bytes] | None:
        """Did a batch arrive whose answer was lost? It was one transaction: an event of it tells for all.

        Gives the runs that the fence refused in it; None when it did not arrive, or has no event to tell. What has
        none (starts, messages) may be sent twice without harm.
        """
        own = [(u.head, u.events[0].seq) for u in batch if u.head is not None and u.events and not u.head.lost]
        if not own:
            return None
        asked = [
            wire.raw_uuids([head.raw for head, _ in own]),
            wire.int4s([seq for _, seq in own]),
            wire.int4s([head.epoch for head, _ in own]),
        ]
        outcome = (await self._pipeline.send([("witnesses", asked)]))[0]
        if isinstance(outcome, StatementError):
            raise StoreUnavailableError(str(outcome))
        there = {row[0] for row in outcome[0] if row[0] is not None}
        return {run for head, _ in own if (run := str(head.id).encode()) not in there} if there else None

    async def _find_created(self, batch: list[Unit]) -> None:
        """Which runs did a batch make whose answer was lost? One that is another's, or over, is not begun here."""
        ids = [run.id for unit in batch for run in unit.runs]
        if ids:
            outcome = (await self._pipeline.send([("witness_runs", [wire.uuids(ids)])]))[0]
            if isinstance(outcome, StatementError):
                raise StoreUnavailableError(str(outcome))
            _tell_witnessed(batch, outcome[0])

    async def _tell_again(self, batch: list[Unit]) -> None:
        """A batch is there; whether those whom it concerns were woken after it, nobody knows."""
        told = self._transactions(batch)[1:]
        if told:
            self._look_for_woken([[], *await self._pipeline.send(*told)])

    def _fail(self, batches: deque[list[Unit]], error: BaseException) -> None:
        for batch in batches:
            for unit in batch:
                self._finish(unit, error)
        while self._pending:
            self._finish(self._pending.popleft(), error)
        self._busy = False

    # --- what a batch looks like to PostgreSQL -----------------------------------------------------------

    def _transactions(self, batch: Sequence[Unit]) -> list[list[Command]]:
        stamp = wire.instant(self._stamp())
        written = commands(batch, stamp)
        self._order = [name for name, _ in written]
        transactions = [written]
        told = wakes(batch, stamp, self._sender)
        if told:
            transactions.append(told)
        return transactions

    @property
    def quiet(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._busy and not self._pending

    async def drain(self) -> None:
        """Wait until everything that was submitted is settled."""
        while self._busy or self._pending:  # noqa: ASYNC110 - at shutdown only; an event would cost every commit
            await asyncio.sleep(0.001)

    def close(self) -> None:
        """Give up: what is not yet committed fails with StoreUnavailableError."""
        self._closed = True
        if not self._busy:
            self._fail(deque(), StoreUnavailableError("the engine was closed"))
        self._pipeline.close()


def _tell_created(batch: Sequence[Unit], rows: Rows) -> None:
    """Which runs were made; those that nobody owns have found a limit on their queue and wait for their turn."""
    asked = [run for unit in batch for run in unit.runs]
    ownerless = sum(run.owner is None for run in asked)
    if len(rows) == len(asked) and sum(row[1] == b"t" for row in rows) == ownerless:
        for unit in batch:  # all of them, and as they were meant to be
            if unit.runs:
                unit.created = frozenset([run.id for run in unit.runs])
        return
    made: dict[UUID, bool] = {UUID(row[0].decode()): row[1] == b"t" for row in rows if row[0] is not None}
    for unit in batch:
        if unit.runs:  # sent again, some may have been there already, made by the first sending
            unit.created |= frozenset(run.id for run in unit.runs if run.id in made)
            for run in unit.runs:
                if run.owner is not None and made.get(run.id):
                    run.owner, run.status = None, "queued"


def _tell_witnessed(batch: Sequence[Unit], rows: Rows) -> None:
    """Which runs a batch had made whose answer was lost. One that is another's, or over, is not begun here."""
    there = {UUID(row[0].decode()): (row[1], row[2] == b"t") for row in rows if row[0] is not None}
    for unit in batch:
        found: list[UUID] = []
        for run in unit.runs:
            owner, queued = there.get(run.id, (None, False))
            if run.id not in there or (run.owner is not None and not queued and owner != str(run.owner).encode()):
                continue
            if run.owner is not None and queued:
                run.owner, run.status = None, "queued"
            found.append(run.id)
        unit.created = frozenset(found)
