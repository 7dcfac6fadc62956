"""The engine: an event loop in a thread of its own, on which the runs of this process live.

It starts runs, executes their code, writes what came of them, and hands them back when it stops. Which runs of the
database it should take on is decided elsewhere (`dataflows_sdk.worker`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.engine import settle as endings
from dataflows_sdk.engine.calling import Calls
from dataflows_sdk.engine.catalog import Catalog
from dataflows_sdk.engine.decide import Suspend
from dataflows_sdk.engine.definitions import Event, Workflow, describe
from dataflows_sdk.engine.faces import AsyncFace, Settle
from dataflows_sdk.engine.live import Frame, LiveRun, Pending
from dataflows_sdk.engine.outcome import Outcome
from dataflows_sdk.engine.placement import DEFAULT_QUEUE, Placement
from dataflows_sdk.engine.reader import Reader
from dataflows_sdk.engine.starting import begin as begin_run
from dataflows_sdk.engine.transactions import transact
from dataflows_sdk.engine.units import NewRun, RunHead, Version
from dataflows_sdk.engine.values import Values
from dataflows_sdk.engine.verb_base import json_text
from dataflows_sdk.engine.visible import Visible
from dataflows_sdk.engine.waiting import Waits
from dataflows_sdk.engine.watching import Watchers
from dataflows_sdk.engine.writer import Writer
from dataflows_sdk.errors import NotInWorkflowError, StoreUnavailableError
from dataflows_sdk.executors.registry import Executors
from dataflows_sdk.store import wire
from dataflows_sdk.store.database import ENGINE_SETTINGS, Database, engine_statements
from dataflows_sdk.store.pipeline import Pipeline

if TYPE_CHECKING:
    from dataflows_sdk.core.clock import Clock
    from dataflows_sdk.core.current import StepInfo
    from dataflows_sdk.engine.observer import Observer
    from dataflows_sdk.nodes.services import Services

log = logging.getLogger("dataflows.engine")


class Engine:
    """Runs of one process on one database.

    Args:
        database: prepared.
        catalog: where the code of runs is found by name.
        clock: the database's time; a virtual one in tests.
        values: the codec.
        linger: how long a run may wait in memory before it is let go of.
        concurrency: how many runs are in memory at once; more are queued.
        threads: how many steps and workflows written with ``def`` run at once.
        max_crashes: after so many lost owners without progress a run is quarantined.
        always_replay: after every step the run is rebuilt from the journal (tests).
        executors: where functions of steps may run but here.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        clock: Clock,
        values: Values,
        *,
        linger: timedelta = timedelta(seconds=1),
        concurrency: int = 2000,
        threads: int = 256,
        max_crashes: int = 5,
        always_replay: bool = False,
        services: Services | None = None,
        executors: Executors | None = None,
    ) -> None:
        self._services, self._offered = services, False
        #: where functions of steps may run but here
        self.executors = executors if executors is not None else Executors()
        self.database = database
        self.catalog = catalog
        self.clock = clock
        self.values = values
        self.redactor = values.redactor
        self.linger = linger
        self.concurrency = concurrency
        self.max_crashes = max_crashes
        self.always_replay = always_replay
        self.worker_id = new_uuid()
        self.observer: Observer | None = None  # set before the start
        self.live: dict[UUID, LiveRun] = {}
        #: told when something may be claimable
        self.on_queued: Callable[[], None] = lambda: None
        #: told when what is known of the database has changed as a whole
        self.on_changed: Callable[[], None] = lambda: None
        #: told when something will be claimable at a time
        self.on_later: Callable[[datetime], None] = lambda _: None
        #: the queues that this process takes runs from; None for all
        self.queues: tuple[str, ...] | None = None
        #: called once before the first run is owned by this process, in the caller's thread
        self.before_first_run: Callable[[], None] = lambda: None
        #: finds a function in the database, for nodes that call it
        self.stored_function: Callable[[str], Awaitable[Any]] | None = None
        self.kv: Any = None
        #: how nodes write records, and how runs wait for rows; nothing without a warehouse
        self.records: Callable[[], Any] = lambda: None
        self.row_waits: Callable[[], Any] = lambda: None
        #: the access to other systems that sources of syncs name
        self.connections: Callable[[], Any] = lambda: None
        #: told which tables of the warehouse a step wrote to, or somebody else
        self.on_rows: Callable[[Iterable[str]], None] = lambda _: None
        #: told when somebody published a workflow, or took one back
        self.on_published: Callable[[], None] = lambda: None
        #: told when there is room for one more run
        self.on_room: Callable[[], None] = lambda: None
        self._threads = threads
        self._known: set[tuple[str, str]] = set()
        self._submitted: deque[Callable[[], None]] = deque()
        self._kept: set[asyncio.Task[Any]] = set()
        self._submitting = False
        self._lock = threading.Lock()
        self._owns = False
        #: until when, on the monotonic clock, others let this process keep its runs; the heartbeat moves it on
        self.lease_until = math.inf
        #: seconds that steps under way get to end when the engine closes
        self.grace = 2.0
        self._proving: asyncio.Task[None] | None = None
        self.closing = False

    # --- the loop ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loop and connect.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(ready,), name="dataflows-engine", daemon=True)
        self._thread.start()
        ready.result()

    def _main(self, ready: Future[None]) -> None:
        # A selector loop everywhere: libpq's socket is watched by it, which Windows' default loop cannot.
        self.loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._connect())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            ready.set_exception(error)
            self.loop.close()
            return
        ready.set_result(None)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    async def _connect(self) -> None:
        sql = engine_statements()
        conninfo = self.database.conninfo
        writing = Pipeline(conninfo, sql, ENGINE_SETTINGS)
        reading = Pipeline(conninfo, sql, ENGINE_SETTINGS)
        self.reader = Reader(reading, self._notified)
        await asyncio.gather(writing.connect(), self.reader.connect())
        self.writer = Writer(
            writing, self.loop, self.stamp, self._messages, self._queued, self._lost, self._alone, str(self.worker_id)
        )
        self.writer.observer = self.observer
        self.waits = Waits(
            self.loop,
            self.clock,
            self.writer,
            self.reader,
            self.linger,
            self.let_go,
            self._queued,
        )
        self._watchers = Watchers(self.loop, self.reader, self.live)
        self.face = AsyncFace(self)
        self.calls = Calls(self, self.face, self._threads)
        self.visible = Visible(self.loop, threading.get_ident(), self.clock, self.writer)

    def _queued(self, status: str = "queued", wake_at: datetime | None = None) -> None:
        if status == "queued":
            self.on_queued()
        elif wake_at is not None:
            self.on_later(wake_at)

    def serves(self, queue: str) -> bool:
        """Whether this process takes runs from a queue."""
        return self.queues is None or queue in self.queues

    def _alone(self) -> bool:
        live = self.live
        return len(live) == 1 and not self._submitted and next(iter(live.values())).active == 1

    def _lost(self, head: RunHead) -> None:
        live = self.live.get(head.id)
        if live is not None and live.head is head:
            self.waits.abandon(live)

    def stamp(self) -> datetime | None:
        return self.clock.now() if getattr(self.clock, "virtual", False) else None

    def call(self, fn: Callable[..., Any], *args: Any) -> None:
        """Call *fn* on the loop, from any thread."""
        self.loop.call_soon_threadsafe(fn, *args)

    def submit(self, call: Callable[[], None]) -> None:
        """Call *call* on the loop, soon; from any thread, many in one wake-up.

        Raises:
            StoreUnavailableError: the engine was closed.
        """
        if self.closing:
            raise StoreUnavailableError("the context is closed")
        self._submitted.append(call)
        if not self._submitting:
            self._submitting = True
            self.loop.call_soon_threadsafe(self._run_submitted)

    def _run_submitted(self) -> None:
        self._submitting = False
        while self._submitted:
            self._submitted.popleft()()

    def ask(self, work: Any) -> Any:
        """Run a coroutine on the loop and wait for it, from a thread of the caller's."""
        try:
            self.not_from_inside()
        except BaseException:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def not_from_inside(self) -> None:
        """A blocking call must not come from the loop that would have to answer it.

        Raises:
            StoreUnavailableError: the engine was closed.
            NotInWorkflowError: it does.
        """
        if self.closing:
            raise StoreUnavailableError("the context is closed")
        if self.on_loop():
            raise NotInWorkflowError(
                "a blocking call of the context on the engine's own loop would wait for itself; inside an async "
                "workflow or step use the step's verbs, or await asyncio.to_thread(...)"
            )

    def _notified(self, payload: str) -> None:
        sender, _, rest = payload.partition(" ")
        if sender == "published":
            self.on_published()
            return
        if sender.startswith("rows:"):  # the name of a table follows, in hex
            self.on_rows([bytes.fromhex(sender[5:]).decode()])
            return
        if sender == str(self.worker_id):
            return  # what we sent ourselves was dealt with when it was committed
        if sender == "queues":
            self.on_changed()
            return
        runs, _, later = rest.partition(" ")
        if later:
            self.on_later(datetime.fromisoformat(later))
            if not runs:
                return
        if runs == "*" or payload == "wake":
            self.refresh_waiting()
        else:
            self.refresh(UUID(run) for run in filter(None, runs.split(",")))
        self.on_queued()

    def refresh(self, runs: Iterable[UUID]) -> None:
        """Look at the inboxes of these runs, as far as they are in memory."""
        for run in runs:
            live = self.live.get(run)
            if live is not None:
                self.waits.refresh(live)

    def refresh_waiting(self) -> None:
        """Look at the inboxes of runs in memory that wait for a message."""
        for live in self.live.values():
            if live.pendings and any(pending.message is not None for pending in live.pendings):
                self.waits.refresh(live)

    def _messages(self, runs: set[UUID], names: set[str]) -> None:
        """Messages of ours are committed: whom here do they concern?"""
        self.refresh(runs)
        if names:
            for live in list(self.live.values()):
                if names & live.messages():
                    self.waits.refresh(live)

    # --- starting ----------------------------------------------------------------------------------------

    def own(self) -> None:
        """Before the first run: whatever makes this process an owner others can tell dead from alive."""
        if not self._owns:
            with self._lock:
                if not self._owns:
                    self.before_first_run()
                    self._owns = True

    @property
    def owning(self) -> bool:
        """Whether this process is a worker yet."""
        return self._owns

    def idle(self) -> bool:
        """Whether nothing is in memory and nothing on its way to the database."""
        return not self.live and self.writer.quiet

    @property
    def services(self) -> Services:
        """The outside world as nodes of flows may see it."""
        if self._services is None:
            from dataflows_sdk.nodes.services import Services

            self._services = Services()
        if not self._offered:  # other contexts may share it, with databases of their own
            self._services.offer(self.loop, self.kv, self.stored_function)
            self._offered = True
        return self._services

    def resolve(self, workflow: Any) -> Workflow:
        """A workflow by object or name; a flow becomes one."""
        if isinstance(workflow, Workflow):
            return workflow
        if isinstance(workflow, str):
            return self.catalog.require(workflow)
        as_workflow = getattr(workflow, "as_workflow", None)
        if as_workflow is not None:
            made = as_workflow()
            if isinstance(made, Workflow):
                return made
        from dataflows_sdk.engine.dag import flow_workflow

        return flow_workflow(workflow)

    def versions(self, workflow: Workflow) -> tuple[Version, ...]:
        """The version's row, the first time that this process uses it."""
        key = (workflow.name, workflow.version)
        if key in self._known or workflow.kind == "elsewhere":
            return ()
        columns = describe(workflow)
        return (Version(workflow.name, workflow.version, **columns),)

    def unkept(self) -> list[Version]:
        """The code here that the database may not have yet; see `kept`."""
        return [version for each in self.catalog if each.kind == "code" for version in self.versions(each)]

    def kept(self, versions: Sequence[Version]) -> None:
        """The database has them now. From any thread."""
        self._known.update((each.workflow, each.hash) for each in versions)

    def begins_here(self, workflow: Workflow, place: Placement) -> bool:
        """Whether a run may begin in this process as soon as it is made, if there is room."""
        here = self._owns and not self.closing and place.direct and self.serves(place.queue)
        return here and self.catalog.get(workflow.name) is not None

    def new_run(
        self,
        workflow: Workflow,
        payload: str,
        run_id: UUID | None = None,
        *,
        event: Event[Any] | None = None,
        parent: LiveRun | None = None,
        parent_key: str | None = None,
        idempotency_key: str | None = None,
        queued: bool = False,
        placement: Placement | None = None,
        now: datetime | None = None,
    ) -> NewRun:
        """A run to create: ours at once where there is room, else queued for whoever has it."""
        place = placement if placement is not None else workflow.placement
        here = not queued and len(self.live) < self.concurrency and self.begins_here(workflow, place)
        depth = parent.depth + 1 if parent is not None else 0
        status = "running" if here else "queued" if place.delay is None else "sleeping"
        data = (
            f'{{"workflow":{json_text(workflow.name)},"version":"{workflow.version}"'
            + (f',"parent":"{parent.id}","depth":{depth}' if parent is not None else "")
            + (f',"event":{event.meta_text()}' if event is not None else "")
            + (f',"queue":{json_text(place.queue)}' if place.queue != DEFAULT_QUEUE else "")
            + f',"status":"{status}","input":{payload}}}'
        )
        if now is None and (not here or place.key_lasts is not None):
            now = self.clock.now()
        return NewRun(
            run_id or new_uuid(),
            workflow.name,
            workflow.version,
            data,
            owner=self.worker_id if here else None,
            status=status,
            wake_at=None if here or now is None else now + place.delay if place.delay is not None else now,
            parent=parent.id if parent is not None else None,
            parent_key=parent_key,
            parent_epoch=parent.head.epoch if parent is not None else 0,
            depth=depth,
            idempotency_key=idempotency_key,
            queue=place.queue,
            priority=place.priority,
            key=place.key,
            slot=place.slot,
            key_until=None if now is None or place.key_lasts is None else now + place.key_lasts,
        )

    def knows(self, workflow: Workflow) -> None:
        """The version's row is in the database."""
        self._known.add((workflow.name, workflow.version))

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold a task until it is done; the loop alone would not."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def launch_child(self, run: NewRun, workflow: Workflow, event: Event[Any], settle: Settle) -> None:
        """A child of a run here was created: begin it here too."""
        self.knows(workflow)

        async def begin() -> None:
            # what it begins with is what was written down: it finds the same again when it is replayed
            payload = await self.values.decode(self.face, json.loads(run.data)["input"])
            begin_run(self, run, workflow, event.with_payload(payload))

        self.loop.create_task(begin()).add_done_callback(lambda task: settle(None, task.exception()))

    def launch(self, live: LiveRun, event: Event[Any]) -> None:
        """Execute a run that is ours."""
        self.live[live.id] = live
        live.task = self.loop.create_task(endings.execute(self, live, event))

    # --- what verbs ask of the engine --------------------------------------------------------------------

    def began(self, live: LiveRun, frame: Frame, head: str, shown: Any) -> None:
        self.visible.began(live, frame, head, shown)

    def block(self, live: LiveRun, pending: Pending, settle: Settle) -> None:
        self.waits.block(live, pending, settle)

    def unblock(self, live: LiveRun, pending: Pending, outcome: Any, error: BaseException | None) -> None:
        self.waits.unblock(live, pending, outcome, error)

    def consider(self, live: LiveRun) -> None:
        self.waits.consider(live)

    def ask_blobs(self, hashes: Sequence[str], settle: Settle) -> None:
        self._answer(self.reader.blobs(hashes), settle)

    def ask_status(self, run: UUID, settle: Settle) -> None:
        self._answer(self.reader.status(run), settle)

    def ask_outcome(self, run: UUID, settle: Settle) -> None:
        self._answer(self.reader.outcome(run), settle)

    def _answer(self, work: Any, settle: Settle) -> None:
        def done(task: asyncio.Future[Any]) -> None:
            error = task.exception()
            settle(None if error else task.result(), error)

        asyncio.ensure_future(work, loop=self.loop).add_done_callback(done)

    def ask_ours(self, settle: Settle) -> None:
        """Our lease ran out, by our own clock: ask whose our runs are before any of them does something more.

        It ran out because the process stood still, or because PostgreSQL was away; others may have taken the runs.
        Those that were are abandoned when *settle* is called.
        """
        if self._proving is None or self._proving.done():
            self._proving = self.loop.create_task(self._prove())
        self._answer(asyncio.shield(self._proving), settle)

    async def _prove(self) -> None:
        log.warning("the lease of this worker ran out; its runs stand still until it is known whose they are")
        while time.monotonic() > self.lease_until:  # noqa: ASYNC110 - the heartbeat is a thread
            await asyncio.sleep(0.02)
        mine = list(self.live.values())
        heads = [live.head for live in mine]
        asked = [self.worker_id.bytes, wire.raw_uuids([h.raw for h in heads]), wire.int4s([h.epoch for h in heads])]
        (rows,) = await self.reader.query(("still_ours", asked))
        ours = {UUID(row[0].decode()) for row in rows if row[0] is not None}
        for live in mine:
            if live.id not in ours and self.live.get(live.id) is live and not live.head.lost:
                live.head.lost = True
                self.waits.abandon(live)

    def transact(
        self,
        live: LiveRun,
        frame: Frame,
        head: str,
        info: StepInfo,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Callable[[], Any]:
        return transact(self, live, frame, head, info, fn, args, kwargs)

    # --- the end of a run --------------------------------------------------------------------------------

    def on_loop(self) -> bool:
        """Whether this is the thread of the engine's loop, which must not block."""
        return threading.current_thread() is self._thread

    def forget(self, live: LiveRun) -> None:
        """The run is no longer in this process's memory."""
        if self.live.get(live.id) is live:
            del self.live[live.id]
            live.retire()

    def ended(self, live: LiveRun, status: str, data: str) -> None:
        """The run's end is durable: tell those who wait for it here."""
        self.forget(live)
        self._watchers.ended(live.id, status, data)
        self.on_room()

    def watched(self, run: UUID, watcher: Outcome) -> None:
        """Tell *watcher* how the run ends; on the loop."""
        self._watchers.add(run, watcher)

    def watch(self, run: UUID, watcher: Outcome) -> None:
        """Have *watcher* told how a run ends, wherever it does. From any thread."""
        watcher.wanted, watcher.dropped = True, False
        if self.closing:
            raise StoreUnavailableError("the context is closed")
        self.call(self.watched, run, watcher)

    def let_go(self, live: LiveRun) -> None:
        """The run leaves the memory and is not over: forget those who were only told because they had started it."""
        self.forget(live)
        self._watchers.left(live.id)
        self.on_room()

    # --- the end of the engine ---------------------------------------------------------------------------

    def hurry(self) -> None:
        """Steps under way get no more time to end; from any thread."""
        self.grace = 0.0

    def close(self) -> None:
        """Hand the runs back and stop. Steps under way get `grace` seconds to end; what they return is kept."""
        if self.closing:
            return
        self.closing = True
        if self._thread.is_alive():
            try:
                asyncio.run_coroutine_threadsafe(self._hand_back(), self.loop).result(self.grace + 10)
            except (TimeoutError, StoreUnavailableError):
                log.warning("runs could not be handed back in time; others take them over when their lease ends")
            self.loop.call_soon_threadsafe(self._stop)
            self._thread.join(10)
        self.calls.close()

    async def _hand_back(self) -> None:
        begun = self.loop.time()
        for live in list(self.live.values()):
            live.closing = True  # it begins no further step: it parks, and is let go of
            self.waits.consider(live)
        while self.live and self._busy() and self.loop.time() < begun + self.grace:  # noqa: ASYNC110 - at shutdown only
            await asyncio.sleep(0.005)
        for live in list(self.live.values()):
            if not live.suspending and not live.head.lost:
                self.waits.suspend(live, Suspend("queued", self.clock.now(), ()), "run.released")
        begun = self.loop.time()
        while self.live and self.loop.time() < begun + 5:  # noqa: ASYNC110 - at shutdown only
            await asyncio.sleep(0.005)
        try:
            await asyncio.wait_for(self.writer.drain(), 5)
            if self._services is not None:
                await asyncio.wait_for(self._services.aclose(), 5)
        finally:
            await asyncio.wait_for(self.executors.close(), 5)

    def _busy(self) -> bool:
        return any(live.active for live in self.live.values())

    def _stop(self) -> None:
        self.writer.close()
        self.reader.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.call_soon(self.loop.stop)
        self._watchers.close()
