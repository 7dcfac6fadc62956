"""Taking on runs: those whose time has come, and those whose process died.

An executor belongs to one engine. It begins to look for work once the process knows a workflow, and becomes a
worker, with a heartbeat in a thread and on a connection of its own, before the first run is owned here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import socket
import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.clock import SystemClock
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.claims import adopt, claimed
from dataflows_sdk.errors import StoreError, StoreUnavailableError
from dataflows_sdk.store import wire
from dataflows_sdk.worker.strays import Strays

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.worker")

#: runs claimed at once
_CLAIM = 200
#: a session that is gone is believed after it was seen so for this long, in seconds
_TWICE = 0.8


class Executor:
    """Claims runs for an engine.

    Args:
        engine: started.
        lease: how long after its last heartbeat a worker still owns its runs.
        poll: seconds between looks at the database when nothing is announced; notifications only hint.
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
        self._last_sweep = 0.0
        self._backlog = False
        self._stopping = False
        engine.before_first_run = self._become_worker
        engine.on_queued = self.kick
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
            self._engine.call(self.kick)

    def kick(self) -> None:
        """Something may be claimable; on the engine's loop."""
        if self._kicked is not None:
            self._kicked.set()

    def _room(self) -> None:
        if self._backlog:
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
        if await self._claim(names):
            return 0.0
        now = time.monotonic()
        if now - self._last_sweep >= self._poll * 0.5:
            self._last_sweep = now
            if await self._sweep(names) or await self._strays.look():
                return 0.0
            await self._look_at_inboxes()
        return await self._pause(names)

    async def _look_at_inboxes(self) -> None:
        """Messages whose announcement was lost, for runs in memory: cancels above all."""
        engine = self._engine
        if engine.live:
            (rows,) = await engine.reader.query(("owned_with_messages", [engine.worker_id.bytes]))
            engine.refresh([UUID(row[0].decode()) for row in rows if row[0] is not None])
            engine.refresh_waiting()

    async def _pause(self, names: list[str]) -> float:
        engine = self._engine
        jittered = self._poll * (0.75 + chance() / 2)
        (rows,) = await engine.reader.query(("next_due", [wire.texts(names)]))
        due = None if not rows or rows[0][0] is None else wire.read_instant(rows[0][0])
        if due is None:
            return jittered
        if getattr(engine.clock, "virtual", False):
            return self._virtual(due)
        return min(jittered, max(0.0005, (due - engine.clock.now()).total_seconds()))

    def _virtual(self, due: datetime) -> float:
        """With a virtual clock, time passes when nobody has anything to do."""
        clock: Any = self._engine.clock
        if self._engine.idle():
            moved = clock.jump(due)
            return 0.01 if moved is False else 0.0  # a clock that is held moves when the test says so
        return 0.002

    async def _claim(self, names: list[str]) -> bool:
        engine = self._engine
        room = engine.concurrency - len(engine.live)
        if room <= 0:
            self._backlog = True
            return False
        if not engine.owning and not await self._anything_due(names):
            return False
        await self._own()
        limit = min(_CLAIM, room)
        (rows,) = await engine.reader.query(
            (
                "claim_due",
                [wire.instant(engine.stamp()), engine.worker_id.bytes, wire.texts(names), wire.int4(limit)],
            )
        )
        self._backlog = len(rows) == limit
        if rows:
            await adopt(engine, [claimed(row) for row in rows])
        return bool(rows)

    async def _anything_due(self, names: list[str]) -> bool:
        """Before this process is a worker: is there a reason to become one?"""
        (rows,) = await self._engine.reader.query(("next_due", [wire.texts(names)]))
        return bool(rows) and rows[0][0] is not None

    async def _own(self) -> None:
        if not self._engine.owning:
            await asyncio.to_thread(self._engine.own)

    async def _sweep(self, names: list[str]) -> bool:
        """Runs of workers that are gone, and wakes whose sender died."""
        engine = self._engine
        dead = await self._dead()
        found = False
        if dead:
            await self._own()
            room = engine.concurrency - len(engine.live)
            (rows,) = await engine.reader.query(
                (
                    "reclaim",
                    [
                        wire.instant(engine.stamp()),
                        engine.worker_id.bytes,
                        wire.texts(names),
                        wire.int4(max(0, min(_CLAIM, room))),
                        wire.uuids(dead),
                    ],
                )
            )
            if rows:
                log.info("took over %d runs of processes that are gone", len(rows))
                await adopt(engine, [claimed(row) for row in rows])
                found = True
            else:
                await engine.reader.query(*[("retire_worker", [worker.bytes]) for worker in dead])
        (orphans,) = await engine.reader.query(("orphaned_wakes", []))
        if orphans:
            ids = sorted({UUID(row[0].decode()) for row in orphans if row[0] is not None})
            await engine.reader.query(("wake", [wire.instant(engine.stamp()), wire.uuids(ids)]))
            found = True
        return found

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


class Heartbeat(threading.Thread):
    """Says that this process is alive, whatever the engine's loop and the user's code are doing."""

    def __init__(self, engine: Engine, lease: timedelta) -> None:
        super().__init__(name="dataflows-heartbeat", daemon=True)
        self._database = engine.database
        self._worker = engine.worker_id
        self._clock = engine.clock
        self._lease = lease
        self._ended = threading.Event()
        self._connection: Any = None
        self._key = int.from_bytes(engine.worker_id.bytes[8:], "big", signed=True)

    def start(self) -> None:
        """Register, then beat."""
        self._register()
        super().start()

    def _register(self) -> None:
        connection = self._database.open()
        info = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
        }
        self._database.run(connection, "claim", "hold_lock", (self._key,))
        self._database.run(
            connection,
            "claim",
            "register_worker",
            (self._worker, self._key, self._lease.total_seconds(), json.dumps(info)),
        )
        self._connection = connection

    def run(self) -> None:
        interval = self._lease.total_seconds() / 4
        pause = interval
        while not self._ended.wait(pause):
            try:
                if self._connection is None:
                    self._register()
                begun = time.monotonic()
                rows = self._database.run(self._connection, "claim", "heartbeat", (self._worker,))
                if not rows:
                    self._register_again()
                elif isinstance(self._clock, SystemClock):
                    self._clock.sync(rows[0][0], time.monotonic() - begun)
                pause = interval
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat tries again
                log.debug("a heartbeat failed: %s", error)
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                pause = min(0.25, interval)

    def _register_again(self) -> None:
        """Somebody took our row for that of a dead process; its runs are theirs, new ones are ours again."""
        self._connection.close()
        self._connection = None
        self._register()

    def stop(self) -> None:
        """The last beat: the worker's row goes when it owns nothing."""
        self._ended.set()
        if self.is_alive():
            self.join(5)
        if self._connection is not None:
            try:
                self._database.run(self._connection, "claim", "retire_worker", (self._worker,))
            except Exception as error:  # noqa: BLE001 - the row is swept up by others
                log.debug("the worker's row stays: %s", error)
            self._connection.close()
