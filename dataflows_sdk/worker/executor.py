"""Taking on runs: those whose time has come, and those whose process died.

An executor belongs to one engine. It begins to look for work once the process knows a workflow, and becomes a
worker, with a heartbeat in a thread and on a connection of its own, before the first run is owned here.

What may be claimed is announced by notifications and by timers that are known here; looking at the database is for
what was not announced. A look is one statement, and the more workers there are the more seldom each of them looks:
together they look about twenty times a second at most, so that a hundred idle workers cost no more than a few.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.engine.batch import put_versions
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.claims import adopt, claimed
from dataflows_sdk.errors import StoreError, StoreUnavailableError
from dataflows_sdk.store import wire
from dataflows_sdk.worker.heartbeat import Heartbeat
from dataflows_sdk.worker.strays import Strays

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.pipeline import Rows

log = logging.getLogger("dataflows.worker")

#: runs claimed at once, and from queues with limits, where a claim costs more and others wait for it
_CLAIM = 200
_CLAIM_LIMITED = 500
#: a session that is gone is believed after it was seen so for this long, in seconds
_TWICE = 0.8
#: looks per second of all workers together
LOOKS = 20.0
#: the longest pause between two looks, in seconds
_SELDOM = 10.0
_REQUEUE = 1000


class Executor:
    """Claims runs for an engine.

    Args:
        engine: started.
        lease: how long after its last heartbeat a worker still owns its runs.
        poll: seconds between looks at the database when nothing is announced and there are few workers.
    """

    def __init__(self, engine: Engine, *, lease: timedelta = timedelta(seconds=20), poll: float = 1.0) -> None:
        self._engine = engine
        self._lease = lease
        self._poll = poll
        self._heart: Heartbeat | None = None
        self._kicked: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._suspects: dict[UUID, float] = {}
        self._strays = Strays(engine)
        self._last_look = 0.0
        self._pause = poll
        #: when the next run that is known here may be claimed
        self._next_at: datetime | None = None
        self._announced = False
        self._backlog = False
        self._limits = True
        #: the code that runs may begin with here, as claims name it, and the state of the catalog that it is of
        self._code: tuple[bytes, bytes] = (wire.texts(()), wire.texts(()))
        self._generation = -1
        #: where the turns of the keys go on, by queue
        self._turns: dict[str, str] = {}
        self._stopping = False
        #: how many workers there are, as of the last look
        self.population = 1
        engine.before_first_run = self._become_worker
        engine.on_queued = self.kick
        engine.on_later = self.later
        engine.on_changed = self._look_anew
        engine.on_room = self._room

    def start(self) -> None:
        """Begin to look for work; from any thread."""
        self._engine.catalog.listen(self._catalog_grew)
        self._engine.call(self._begin)

    def _begin(self) -> None:
        self._kicked = asyncio.Event()
        self._task = self._engine.loop.create_task(self._run())

    def _catalog_grew(self) -> None:
        if not self._stopping:
            self._engine.call(self._look_anew)

    def _look_anew(self) -> None:
        self._last_look = 0.0
        self.kick()

    def kick(self) -> None:
        """Something may be claimable; on the engine's loop."""
        self._announced = True
        if self._kicked is not None:
            self._kicked.set()

    def later(self, at: datetime) -> None:
        """Something will be claimable at a time; on the engine's loop."""
        if self._next_at is None or at < self._next_at:
            self._next_at = at
            if self._kicked is not None:
                self._kicked.set()

    def _room(self) -> None:
        if self._backlog or self._limits:
            self.kick()

    def _become_worker(self) -> None:
        self._heart = Heartbeat(self._engine, self._lease)
        self._heart.start()

    # --- the loop ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        assert self._kicked is not None
        while not self._stopping:
            self._kicked.clear()
            pause = self._poll
            try:
                pause = await self._once()
            except StoreUnavailableError:
                return
            except StoreError as error:
                log.warning("looking for work failed and will be tried again: %s", error)
            except Exception:
                log.exception("looking for work failed and will be tried again")
            if pause > 0:
                try:
                    await asyncio.wait_for(self._kicked.wait(), pause)
                except TimeoutError:
                    continue

    async def _once(self) -> float:
        """Claim what there is; gives the seconds until the next look."""
        engine = self._engine
        names = sorted(engine.catalog.names())
        if not names or engine.closing:
            return self._poll
        due = self._is_due()
        if self._announced or due:
            self._announced = False
            if due:
                self._next_at = None
            if due or not engine.owning:
                self._last_look = 0.0
            if engine.owning and await self._claim(names, timers=due) and self._backlog:
                self._announced = True  # there may be more
        if self._virtual_clock or time.monotonic() - self._last_look >= self._pause:
            self._last_look = time.monotonic()
            if await self._look(names):  # also while there is no end of runs to claim: somebody may have died
                return 0.0
        return 0.0 if self._announced else self._until()

    @property
    def _virtual_clock(self) -> bool:
        return getattr(self._engine.clock, "virtual", False)

    def _is_due(self) -> bool:
        return self._next_at is not None and self._next_at <= self._engine.clock.now()

    def _until(self) -> float:
        """Seconds until there is something to do that nobody announces."""
        next_look = max(0.0005, self._last_look + self._pause - time.monotonic())
        if self._next_at is None:
            return self._poll if self._virtual_clock else next_look
        if self._virtual_clock:
            return self._virtual(self._next_at)
        left = (self._next_at - self._engine.clock.now()).total_seconds()
        return max(0.0005, min(next_look, left))

    def _virtual(self, due: datetime) -> float:
        """With a virtual clock, time passes when nobody has anything to do."""
        clock: Any = self._engine.clock
        if self._engine.idle():
            moved = clock.jump(due)
            return 0.01 if moved is False else 0.0  # a clock that is held moves when the test says so
        return 0.002

    # --- looking -----------------------------------------------------------------------------------------

    async def _look(self, names: list[str]) -> bool:
        """One glance at everything; whether there is something to claim now."""
        engine = self._engine
        stamp = wire.instant(engine.stamp())
        (rows,) = await engine.reader.query(
            ("look", [stamp, engine.worker_id.bytes, wire.texts(names), self._queues()])
        )
        workers, dead, orphans, limits, ready, next_at, owned = rows[0]
        self.population = max(1, int(workers or 1))
        self._limits = limits == b"t"
        self._next_at = None if next_at is None else wire.read_instant(next_at)
        self._pause = min(_SELDOM, max(self._poll, self.population / LOOKS)) * (0.75 + chance() / 2)
        found = False
        if dead == b"t":
            found = await self._sweep(names)
        else:
            self._suspects = {}
        if orphans == b"t":
            found = await self._wake_orphans() or found
        if int(owned or 0) > len(engine.live):
            found = await self._strays.look() or found
        if engine.live:
            await self._look_at_inboxes()
        if found or ready == b"t" or self._is_due():
            return bool(await self._claim(names, timers=True)) or found
        return False

    def _queues(self) -> bytes | None:
        queues = self._engine.queues
        return None if queues is None else wire.texts(queues)

    async def _look_at_inboxes(self) -> None:
        """Messages whose announcement was lost, for runs in memory: cancels above all."""
        engine = self._engine
        (rows,) = await engine.reader.query(("owned_with_messages", [engine.worker_id.bytes]))
        engine.refresh([UUID(row[0].decode()) for row in rows if row[0] is not None])
        engine.refresh_waiting()

    # --- claiming ----------------------------------------------------------------------------------------

    async def _claim(self, names: list[str], *, timers: bool) -> int:
        """Claim as many runs as there is room for, up to a batch; gives how many."""
        engine = self._engine
        await self._learn()
        room = engine.concurrency - len(engine.live)
        if room <= 0:
            self._backlog = True
            return 0
        await self._own()
        stamp = wire.instant(engine.stamp())
        whose = [engine.worker_id.bytes, wire.texts(names)]
        if timers:
            await engine.reader.query(("ready_delayed", [stamp, wire.int4(_REQUEUE)]))
        chosen = [self._queues(), wire.texts(engine.catalog.versions()), *self._code]
        if self._limits:
            if timers:
                await engine.reader.query(("ready_limited", [stamp, wire.int4(_REQUEUE)]))
            # half of the room for each kind of queue; the last place for whichever has a run
            for part in (1, 0) if room == 1 else (room // 2,):
                count = await self._claim_both(stamp, whose, part, room - part, chosen)
                if count:
                    return count
            return 0
        limit = min(_CLAIM, room)
        (rows,) = await engine.reader.query(("claim_due", [stamp, *whose, wire.int4(limit), *chosen]))
        self._backlog = len(rows) == limit
        if rows:
            await adopt(engine, [claimed(row) for row in rows])
        return len(rows)

    async def _learn(self) -> None:
        """What code is here, if that has changed. It is in the database before a run begins with it."""
        engine = self._engine
        generation = engine.catalog.generation
        if generation == self._generation:
            return
        code = [each for each in engine.catalog if each.kind == "code"]
        if fresh := engine.unkept():
            await engine.reader.query(put_versions(fresh))
            engine.kept(fresh)
        self._code = wire.texts([each.name for each in code]), wire.texts([each.version for each in code])
        self._generation = generation

    async def _claim_both(
        self, stamp: bytes | None, whose: list[bytes], plain: int, limited: int, chosen: list[bytes | None]
    ) -> int:
        """From queues without limits, and in the same round trip from those that have some.

        Those who claim from queues with limits do so one after another.
        """
        engine = self._engine
        queues = list(self._turns)
        turns = [wire.texts(queues), wire.texts([self._turns[queue] for queue in queues])]
        plain, limited = min(_CLAIM, plain), min(_CLAIM_LIMITED, limited)
        due: Rows
        rows: Rows
        due, _, rows = await engine.reader.query(
            ("claim_due", [stamp, *whose, wire.int4(plain), *chosen]),
            ("lock_queues", []),
            ("claim_limited", [stamp, *whose, wire.int4(limited), *chosen, *turns]),
        )
        for row in rows:
            queue, key = row[9], row[10]
            if queue is not None and key:
                self._turns[queue.decode()] = key.decode()  # in the order of the lanes: the last one is where to go on
        self._backlog = bool(rows) or (plain > 0 and len(due) == plain)  # of very many keys a part is looked at
        if due or rows:
            await adopt(engine, [claimed(row) for row in [*due, *rows]])
        return len(due) + len(rows)

    async def _own(self) -> None:
        if not self._engine.owning:
            await asyncio.to_thread(self._engine.own)

    # --- others' runs ------------------------------------------------------------------------------------

    async def _wake_orphans(self) -> bool:
        """Runs whose message or event arrived and whose sender died before it could wake them."""
        engine = self._engine
        stamp = wire.instant(engine.stamp())
        orphans, _, woken = await engine.reader.query(
            ("orphaned_wakes", []), ("allow_bitmaps", []), ("wake_untold", [stamp])
        )
        if orphans:
            ids = sorted({UUID(row[0].decode()) for row in orphans if row[0] is not None})
            await engine.reader.query(("wake", [stamp, wire.uuids(ids)]))
        return bool(orphans or woken)

    async def _sweep(self, names: list[str]) -> bool:
        """Runs of workers that are gone: those that we know are ours now, the others line up again."""
        engine = self._engine
        dead = await self._dead()
        if not dead:
            return False
        await self._own()
        room = max(0, min(_CLAIM, engine.concurrency - len(engine.live)))
        stamp, gone = wire.instant(engine.stamp()), wire.uuids(dead)
        (rows,) = await engine.reader.query(
            (
                "reclaim",
                [
                    stamp,
                    engine.worker_id.bytes,
                    wire.texts(names),
                    wire.int4(room),
                    gone,
                    self._queues(),
                    wire.texts(engine.catalog.versions()),
                ],
            )
        )
        if rows:
            log.info("took over %d runs of processes that are gone", len(rows))
            await adopt(engine, [claimed(row) for row in rows])
            self._last_look = 0.0
        if room and len(rows) == room:
            return True  # there are more
        (queued,) = await engine.reader.query(("requeue_lost", [stamp, gone, wire.int4(_REQUEUE)]))
        if queued:
            log.info("queued %d runs of processes that are gone", len(queued))
            await engine.reader.query(("notify", [f"{engine.worker_id} ".encode()]))
        if len(queued) < _REQUEUE:
            await engine.reader.query(*[("retire_worker", [worker.bytes]) for worker in dead])
        return bool(rows) or bool(queued)

    async def _dead(self) -> list[UUID]:
        (rows,) = await self._engine.reader.query(("dead_workers", [self._engine.worker_id.bytes]))
        now = time.monotonic()
        seen: dict[UUID, float] = {}
        dead: list[UUID] = []
        for raw, expired in rows:
            assert raw is not None
            worker = UUID(raw.decode())
            seen[worker] = self._suspects.get(worker, now)
            if expired == b"t" or now - seen[worker] >= _TWICE:
                dead.append(worker)
        self._suspects = seen
        if len(dead) < len(seen):
            self._pause = min(self._pause, _TWICE)  # look at the others once more
        return dead

    # --- the end -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Claim nothing more; before the engine hands its runs back."""
        self._stopping = True
        self._engine.catalog.unlisten(self._catalog_grew)

        def end() -> None:
            if self._task is not None:
                self._task.cancel()

        self._engine.call(end)

    def retire(self) -> None:
        """Stop the heartbeat; after the engine handed its runs back."""
        if self._heart is not None:
            self._heart.stop()
