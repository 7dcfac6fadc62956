"""Starting runs: at once, in a queue, with a transaction of the caller's, or gathered with other starts."""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

from dataflows_sdk.arguments import check_key
from dataflows_sdk.core.durations import Duration
from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.engine.definitions import Elsewhere
from dataflows_sdk.engine.outcome import Bridge, Reply
from dataflows_sdk.engine.starting import Started, start_run, start_runs
from dataflows_sdk.errors import DefinitionError, StoreError
from dataflows_sdk.options import Start, StartOptions, check_options
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.catalog import Catalog
    from dataflows_sdk.engine.definitions import Event, Workflow
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.database import Database

#: how often a start looks for the run that it may join, and for how long between
_TRIES = 100
_BETWEEN = 0.02


class Starts:
    """A part of `Context`."""

    _engine: Engine
    _catalog: Catalog
    _database: Database
    _works: bool
    _read: Callable[..., list[tuple[Any, ...]]]
    _bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge]

    def register(self, *workflows: Any) -> None:
        """Make workflows and flows known to this context, all or none, so that it goes on with their runs.

        Raises:
            FlowValidationError: a flow has problems.
            DuplicateWorkflowError: the name belongs to another workflow.
        """
        self._catalog.add(*[self._engine.resolve(each) for each in workflows])

    def _definition(self, workflow: Any) -> Workflow:
        if isinstance(workflow, str) and self._catalog.get(workflow) is None:
            rows = self._read("look", "latest_version", (workflow,))
            if rows:
                return Elsewhere(workflow, rows[0][0])
        if isinstance(workflow, Elsewhere):
            return workflow  # who knows it takes on its runs, and fails them for want of code
        definition = self._engine.resolve(workflow)
        if self._catalog.get(definition.name) is not definition:
            self._catalog.add(definition)
        if hasattr(definition, "fn"):
            self._engine.values.see(definition.fn)
        return definition

    def start(
        self,
        workflow: Any,
        payload: Any = None,
        *,
        id: str | UUID | None = None,
        idempotency_key: str | None = None,
        connection: Any = None,
        **options: Unpack[StartOptions],
    ) -> Run:
        """Start a run and return at once, after one commit.

        Args:
            workflow: a workflow, a flow, or the name of one, which only a worker needs to know.
            payload: what the code gets as ``event.payload``; or an `Event`.
            id: the run's id, when it must be known before; starting it twice gives the same run.
            idempotency_key: a second start of this workflow with the key gives the first one's run.
            connection: of psycopg, to the same database, in a transaction of yours: the run exists, and begins, if and
                only if that commits. ``dataflows.start(workflow, payload, …)`` does the same in SQL.
            options: ``queue``, ``priority``, ``key``, ``delay``, ``idempotency_ttl``, ``singleton``, ``debounce``,
                ``batch``: see `StartOptions`. A run with a queue, a priority or a delay waits for a worker, which may
                be this process.

        Raises:
            WorkflowNotFoundError, FlowValidationError, NotSerializableError, DefinitionError.
            StoreError: the connection leads to another database.
        """
        definition = self._definition(workflow)
        start = check_options(options, definition.placement, idempotency_key) if options else None
        self._be_owner()
        run_id = None if id is None else parse_id(id)
        if start is not None and start.gathering is not None:
            if run_id is not None or connection is not None:
                raise DefinitionError("a debounced or batched start has no id and no connection of its own")
            return self._gather(definition, payload, start)
        event = definition.event(payload)
        key = check_key(idempotency_key)
        placement = None if start is None else start.placement
        if connection is not None:
            from dataflows_sdk.engine.enqueue import enqueue

            made = enqueue(
                self._engine,
                self._database,
                connection,
                definition,
                event,
                idempotency_key=key,
                run_id=run_id,
                placement=placement,
            )
            return Run(self._context, made)
        answer, engine = Reply(), self._engine
        engine.not_from_inside()
        engine.submit(
            lambda: start_run(
                engine, definition, event, answer.set, idempotency_key=key, run_id=run_id, placement=placement
            )
        )
        found, outcome = answer.get()
        return Run(self._context, found, outcome)

    async def astart(
        self,
        workflow: Any,
        payload: Any = None,
        *,
        id: str | UUID | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Run:
        """`start` for code on an event loop of its own: many starts at once share a commit."""
        definition = self._definition(workflow)
        start = check_options(options, definition.placement, idempotency_key) if options else None
        if start is not None and start.gathering is not None:
            if id is not None:
                raise DefinitionError("a debounced or batched start has no id of its own")
            return await asyncio.to_thread(self._gather, definition, payload, start)
        event = definition.event(payload)
        if self._works and not self._engine.owning:
            await asyncio.to_thread(self._engine.own)
        run_id = None if id is None else parse_id(id)
        key, engine = check_key(idempotency_key), self._engine
        placement = None if start is None else start.placement
        loop = asyncio.get_running_loop()
        bridge = self._bridge(loop)
        future: asyncio.Future[Started] = loop.create_future()

        def told(started: Any, error: BaseException | None) -> None:
            bridge.call(lambda: _fill(future, started, error))

        engine.submit(
            lambda: start_run(engine, definition, event, told, idempotency_key=key, run_id=run_id, placement=placement)
        )
        found, outcome = await future
        return Run(self._context, found, outcome)

    def _bridge(self, loop: asyncio.AbstractEventLoop) -> Bridge:
        """The way back to a loop of the caller."""
        bridge = self._bridges.get(loop)
        if bridge is None:
            bridge = self._bridges[loop] = Bridge(loop)
        return bridge

    def start_many(self, workflow: Any, payloads: Iterable[Any], **options: Unpack[StartOptions]) -> list[Run]:
        """Start a run for each payload, all of them in one commit; those that find no room are queued.

        Args:
            options: ``queue``, ``priority``, ``key`` and ``delay``, for all of them; see `StartOptions`.
        """
        definition = self._definition(workflow)
        start = check_options(options, definition.placement, None) if options else None
        if start is not None and start.placement.slot is not None:
            raise DefinitionError("start_many takes no singleton, debounce or batch: each payload is a run of its own")
        events = [definition.event(payload) for payload in payloads]
        self._be_owner()
        engine, answer = self._engine, Reply()
        engine.not_from_inside()
        placement = None if start is None else start.placement
        engine.submit(lambda: start_runs(engine, definition, events, answer.set, placement))
        started: list[Started] = answer.get()
        return [Run(self._context, run, outcome) for run, outcome in started]

    def run(
        self,
        workflow: Any,
        payload: Any = None,
        *,
        timeout: Duration | None = None,
        id: str | UUID | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Run:
        """Start a run and wait for its end; ``.result()`` of what it returns gives the value or raises.

        Raises:
            TimeoutError: it is not over after *timeout*. The run goes on.
        """
        return self.start(workflow, payload, id=id, idempotency_key=idempotency_key, **options).wait(timeout)

    # --- several starts are one run ----------------------------------------------------------------------

    def _gather(self, definition: Workflow, payload: Any, start: Start) -> Run:
        """Join the run that gathers these starts, or make it."""
        assert start.gathering is not None
        event = definition.event([payload] if start.gathering.size is not None else payload)
        for _ in range(_TRIES):
            joined = self._join(definition, event, payload, start)
            if joined is not None:
                return Run(self._context, joined)
            made = self._make(definition, event, start)
            if made is not None:
                return made
            time.sleep(_BETWEEN)  # the run that was there begins in this moment
        raise StoreError(
            f"a run of {definition.name!r} stands in the way of the starts that are to be gathered "
            f"({start.gathering.slot!r}): it neither begins nor takes another input; dataflows doctor shows why"
        )

    def _join(self, definition: Workflow, event: Event[Any], payload: Any, start: Start) -> UUID | None:
        gathering = start.gathering
        assert gathering is not None
        engine, batch = self._engine, gathering.size is not None
        encoded = engine.values.encode(payload if batch else event.raw, f"payload of workflow {definition.name!r}")
        data = f'{{"batch":{"true" if batch else "false"},"input":{encoded.text}}}'
        longest = None if gathering.longest is None else gathering.longest.total_seconds()
        size = None if gathering.size is None else gathering.size - 1
        run, stamp = self._database.run, engine.stamp()
        with self._database.connection() as connection, connection.transaction():
            rows = run(
                connection,
                "journal",
                "join_waiting",
                (
                    stamp,
                    definition.name,
                    gathering.slot,
                    "run.input",
                    data,
                    engine.clock.now() + gathering.wait,
                    longest,
                    size,
                ),
            )
            if not rows:
                return None
            found: UUID = rows[0][0]
            if encoded.blobs:
                blobs = sorted(encoded.blobs, key=lambda blob: blob.sha256)
                hashes = [blob.sha256 for blob in blobs]
                columns = [
                    hashes,
                    [b.media for b in blobs],
                    [b.data for b in blobs],
                    [json.dumps(b.meta) for b in blobs],
                ]
                run(connection, "journal", "put_blobs", columns)
                run(connection, "journal", "put_blob_refs", ([found] * len(blobs), hashes))
        if rows[0][1] == "queued":
            engine.call(engine.on_queued)
        return found

    def _make(self, definition: Workflow, event: Event[Any], start: Start) -> Run | None:
        gathering, placement = start.gathering, start.placement
        assert gathering is not None
        if gathering.size == 1:
            return self.start(definition, event, queue=placement.queue, priority=placement.priority, key=placement.key)
        engine, answer, made = self._engine, Reply(), new_uuid()
        engine.not_from_inside()
        engine.submit(lambda: start_run(engine, definition, event, answer.set, run_id=made, placement=placement))
        try:
            found, outcome = answer.get()
        except StoreError:
            return None  # who stood in the way is gone: try again
        return Run(self._context, found, outcome) if found == made else None

    def _be_owner(self) -> None:
        if self._works:
            self._engine.own()

    @property
    def _context(self) -> Context:
        whole: Any = self
        return whole  # type: ignore[no-any-return]


def _fill(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
