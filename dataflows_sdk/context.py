"""`connect` and `Context`: the one place where store, engine, worker and views meet."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from dataflows_sdk.arguments import check_statuses, moment_or_ago
from dataflows_sdk.bars import bar
from dataflows_sdk.core.clock import Clock, SystemClock
from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.codec_read import Reader as ValueReader
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.codec_view import LenientReader
from dataflows_sdk.core.durations import Duration, Instant, parse_duration, parse_instant
from dataflows_sdk.core.ids import parse_id
from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.core.retention import Retention
from dataflows_sdk.core.shown import Sheet, ShownAsTable
from dataflows_sdk.desks import Desks, offering, weakly
from dataflows_sdk.engine import claims
from dataflows_sdk.engine.catalog import CATALOG, Catalog
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.forking import fork_run
from dataflows_sdk.engine.outcome import Bridge
from dataflows_sdk.engine.placement import check_queue
from dataflows_sdk.engine.runner import Engine
from dataflows_sdk.engine.values import Values
from dataflows_sdk.errors import DefinitionError, QueryError, RunNotFoundError
from dataflows_sdk.executors.registry import Executors
from dataflows_sdk.jobs.work import JOB
from dataflows_sdk.lookout import Lookout
from dataflows_sdk.overview import overview
from dataflows_sdk.plugins import desk_in_use
from dataflows_sdk.runs import Run, Runs
from dataflows_sdk.signals import Signals
from dataflows_sdk.starts import Starts
from dataflows_sdk.store.database import Database
from dataflows_sdk.syncing.declared import SYNC, any_declared
from dataflows_sdk.telemetry import Telemetry, observing
from dataflows_sdk.vault.gate import Gate
from dataflows_sdk.worker.executor import Executor
from dataflows_sdk.worker.retention import Keeper
from dataflows_sdk.worker.views import Refresher
from dataflows_sdk.workers import Works

if TYPE_CHECKING:
    from dataflows_sdk.engine.observer import Observer
    from dataflows_sdk.nodes.services import Services
    from dataflows_sdk.store.embedded import EmbeddedServer
    from dataflows_sdk.warehouse.answer import Answer
    from dataflows_sdk.warehouse.lens import Lens


def connect(
    url: str | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
    work: bool = True,
    linger: Duration = "1s",
    lease: Duration = "20s",
    concurrency: int = 2000,
    threads: int = 256,
    max_crashes: int = 5,
    retention: Retention | Duration | None = "365d",
    vector: bool | None = None,
    clock: Clock | None = None,
    redactor: Redactor | None = None,
    always_replay: bool = False,
    services: Services | None = None,
    triggers: bool = True,
    queues: Sequence[str] | None = None,
    telemetry: Telemetry | bool | None = None,
    executors: Mapping[str, Any] | None = None,
    key: str | Sequence[str] | None = None,
    published: bool = False,
) -> Context:
    """Connect to a database and be ready to run.

    Args:
        url: ``"postgresql://user:password@host/db"``; without one, and without a *directory*, the environment
            variable ``DATAFLOWS_URL``; without that an embedded PostgreSQL is started, or joined.
        directory: where the embedded database lives, ``.dataflows`` by default.
        work: whether this process takes on runs, refreshes views and deletes what is old; False only looks and starts
            queued runs.
        linger: how long a run that waits is kept in memory before only its rows are left.
        lease: how long after its last heartbeat this process still owns its runs.
        concurrency: runs in memory at once; more are queued.
        threads: ``def`` workflows and blocking steps at once.
        max_crashes: a run that took its process down so often without progress is quarantined.
        retention: finished runs older than this are deleted, and that is logged; None keeps them for ever. Or a
            `Retention`, which says it by age, size and workflow.
        vector: True to insist on the extension `vector`.
        clock: another clock, for tests.
        redactor: which secrets to mask; by default the process-wide one.
        always_replay: rebuild every run from its journal after every step, for tests.
        services: what the nodes of flows may reach: mail, addresses, environment variables.
        triggers: whether this process, if it works, also looks after schedules and emitted events.
        queues: take runs from these queues only; all by default.
        telemetry: True, or a `Telemetry`, for traces and metrics by OpenTelemetry; by default the environment says
            (``OTEL_EXPORTER_OTLP_ENDPOINT`` and the like).
        executors: where steps may run their functions with ``executor=name``, by name: ``{"process": 4}`` says how many
            processes at the most (as many as cores by default), ``{"dask": "tcp://host:8786"}`` and ``{"ray": "auto"}``
            name clusters, and any other object is a `dataflows_sdk.executors.Executor`.
        key: signs and verifies published workflows; several, separated by commas: the first signs. By default that of
            the environment variable ``DATAFLOWS_KEY``, else with an embedded database a file beside it.
        published: take up the workflows that are published in the database, now and later, if a key verifies them.

    Raises:
        SigningKeyError: *key* is no good, or there is none and *published* wants one.
        StoreUnavailableError: nobody answers at *url*.
        StoreVersionError, StoreExtensionError, SchemaVersionError: the database does not fit.
        EmbeddedServerError: the embedded PostgreSQL cannot run here.
        MissingExtraError: telemetry was asked for, and OpenTelemetry is not installed.
    """
    observer = observing(telemetry)
    server: EmbeddedServer | None = None
    address = url if url is not None or directory is not None else os.environ.get("DATAFLOWS_URL")
    if address is None:
        from dataflows_sdk.store.embedded import acquire

        server = acquire(Path(directory if directory is not None else ".dataflows"))
        address = server.url
    try:
        return Context(
            Database(address),
            server=server,
            work=work,
            linger=parse_duration(linger),
            lease=parse_duration(lease),
            concurrency=concurrency,
            threads=threads,
            max_crashes=max_crashes,
            retention=Retention.of(retention),
            vector=vector,
            clock=clock,
            redactor=redactor,
            always_replay=always_replay,
            services=services,
            triggers=triggers,
            queues=queues,
            observer=observer,
            executors=executors,
            key=key,
            published=published,
        )
    except BaseException:
        if server is not None:
            server.close()
        raise


class Context(Starts, Works, Desks, Signals, ShownAsTable):
    """Runs, events and their past on one database. Made by `connect`; usable from any thread.

    ``with df.connect() as ctx:`` closes it at the end; otherwise the process's end does. Runs that are under way are
    then handed back and go on in the next process that knows their workflow.
    """

    def __init__(
        self,
        database: Database,
        *,
        server: EmbeddedServer | None,
        work: bool,
        linger: timedelta,
        lease: timedelta,
        concurrency: int,
        threads: int,
        max_crashes: int,
        retention: Retention | None,
        vector: bool | None,
        clock: Clock | None,
        redactor: Redactor | None,
        always_replay: bool,
        services: Services | None,
        triggers: bool,
        queues: Sequence[str] | None = None,
        observer: Callable[[Engine], Observer] | None = None,
        executors: Mapping[str, Any] | None,
        key: str | Sequence[str] | None,
        published: bool,
    ) -> None:
        self._server = server
        self._database = database
        self._key = key
        system = SystemClock()
        try:
            system.sync(*database.prepare(vector=vector))
            self._catalog = Catalog(CATALOG)
            self._catalog.add_own(JOB)
            self._catalog.add_own(SYNC)
            self._catalog.take_own(SYNC.name, any_declared)
            self._redactor = redactor if redactor is not None else REDACTOR
            self._types = TYPES
            self._gate = Gate(self._redactor)
            values = Values(Codec(self._types), self._redactor)
            values.finder = self._gate.finder
            virtual = getattr(clock, "virtual", False)
            self._engine = Engine(
                database,
                self._catalog,
                clock if clock is not None else system,
                values,
                linger=timedelta(0) if virtual or always_replay else linger,
                concurrency=concurrency,
                threads=threads,
                max_crashes=max_crashes,
                always_replay=always_replay,
                services=services,
                executors=Executors(executors),
            )
            self._engine.observer = observer(self._engine) if observer is not None else None
            if queues is not None:
                self._engine.queues = tuple(check_queue(queue) for queue in queues)
            self._engine.start()
        except BaseException:
            database.close()
            raise
        self._engine.stored_function = weakly(self)
        self._engine.kv = self.kv
        self._engine.records, self._engine.row_waits = offering(self, "_records"), offering(self, "_row_waits")
        self._engine.connections = offering(self, "connections")
        for secret in services.secrets() if services is not None else ():
            self._redactor.add(secret)
        self._works = work
        self._executor = Executor(self._engine, lease=lease)
        if work:
            self._executor.start()
        self._retention = Keeper(database, retention, self._engine)
        self._retention.start(work)
        self._lookout = Lookout(self)
        self._engine.on_rows = self._lookout.wrote
        if work and triggers:
            self._lookout.start()
        self._lens: Lens | None = None
        self._lens_lock = threading.Lock()
        self._bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = weakref.WeakKeyDictionary()
        self._closed = False
        executor = self._executor
        self._refresher = Refresher(database, self._engine.clock, lambda: executor.population)
        if work:
            self._refresher.start()
        self._closing = [self._refresher.stop]
        # The interpreter's end is a close too; the context must not be kept alive for that.
        self._finalizer = weakref.finalize(
            self,
            _close,
            self._engine,
            self._executor,
            self._retention,
            self._lookout,
            self._closing,
            database,
            server,
        )
        if key is not None or published:
            try:
                self._publishing.keys()
                if published:
                    self._publishing.follow()
            except BaseException:
                self._finalizer()
                raise

    # --- finding -----------------------------------------------------------------------------------------

    def get(self, run_id: str | UUID) -> Run:
        """The run of an id, or of the beginning of one.

        Raises:
            RunNotFoundError: there is none, or several begin like this.
        """
        if isinstance(run_id, UUID) or len(run_id.replace("-", "")) >= 32:
            return Run(self, parse_id(run_id)).refresh()
        return Run(self, self._by_prefix(run_id)).refresh()

    def _by_prefix(self, prefix: str) -> UUID:
        digits = prefix.replace("-", "").lower()
        if len(digits) < 4 or not all(digit in "0123456789abcdef" for digit in digits):
            raise RunNotFoundError(f"{prefix!r} is no run id, nor the beginning of one (4 hex digits at least)")
        low, high = UUID(hex=digits.ljust(32, "0")), UUID(hex=digits.ljust(32, "f"))
        rows = self._read("look", "find_prefix", (low, high))
        if len(rows) != 1:
            what = "several runs begin with {!r}; write more of the id" if rows else "no run begins with {!r}"
            raise RunNotFoundError(what.format(prefix))
        found: UUID = rows[0][0]
        return found

    def runs(
        self,
        workflow: str | None = None,
        status: str | Sequence[str] | None = None,
        *,
        since: Instant | Duration | None = None,
        until: Instant | None = None,
        limit: int = 50,
        before: str | UUID | None = None,
    ) -> Runs:
        """Runs, newest first, a page at a time.

        Args:
            workflow: only those of this name.
            status: one of the status words, or several.
            since, until: when they were created; *since* may be a duration: ``"24h"`` ago.
            limit: rows on a page, 1 to 10,000.
            before: only runs older than this one.

        Raises:
            DefinitionError: an unknown status, or a limit out of range.
        """
        wanted = check_statuses(status)
        if not 1 <= limit <= 10_000:
            raise DefinitionError(f"limit lies between 1 and 10,000, not {limit}")
        found = self._runs(
            workflow=workflow,
            status=wanted,
            since=None if since is None else moment_or_ago(since),
            until=None if until is None else parse_instant(until),
            before=None if before is None else parse_id(before),
            limit=limit + 1,
        )
        options = {"workflow": workflow, "status": status, "since": since, "until": until, "limit": limit}
        more = {"context": self, "options": options} if len(found) > limit else None
        return Runs(found[:limit], more)

    def _runs(
        self,
        *,
        workflow: str | None = None,
        status: list[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: UUID | None = None,
        limit: int = 50,
        parent: UUID | None = None,
        forked_from: UUID | None = None,
    ) -> list[Run]:
        rows = self._read("look", "runs", (workflow, status, since, until, before, limit, parent, forked_from))
        return [Run(self, row[0], row=row) for row in rows]

    def workflows(self) -> list[Workflow]:
        """The workflows that this process knows."""
        return list(self._catalog)

    # --- another try --------------------------------------------------------------------------------------

    def _resume(self, run: Run, version: str) -> None:
        if version not in ("current", "recorded"):
            raise DefinitionError(f"a run is resumed on its 'current' or its 'recorded' version, not {version!r}")
        if run.status != "quarantined":
            raise DefinitionError(f"run {run.id} is {run.status}; only a quarantined run is resumed")
        pinned = None
        if version == "recorded":
            workers = [info for _, info in self._read("queues", "workers")]
            if self._catalog.get(run.workflow, run.version) is None and not any(
                run.version in info.get("versions", ()) for info in workers
            ):
                raise DefinitionError(
                    f"neither this process nor a live worker has version {run.version} of {run.workflow!r}: load the "
                    "code that the run began with (run.source shows it), or fork it on today's code"
                )
            pinned = run.version
        self._engine.ask(claims.resume(self._engine, run._id, pinned))

    def _fork(self, run: Run, at: Any, replace: Mapping[str, Any], workflow: Any) -> Run:
        own = self._own_version(run.workflow, run.version) if workflow is None else None
        definition = own or self._definition(run.workflow if workflow is None else workflow)
        self._be_owner()
        found, outcome = fork_run(self._engine, self._database, run, at, replace, definition)
        return Run(self, found, outcome)

    # --- retention ---------------------------------------------------------------------------------------

    @property
    def retention(self) -> Keeper:
        """The policy by which old runs go: `preview` what it would delete, `apply` it now."""
        return self._retention

    def purge(self, before: Instant | Duration, *, workflow: str | None = None, dry_run: bool = False) -> int:
        """Delete finished runs that ended before an instant (or a duration ago); gives how many.

        Each run goes with everything of it in one transaction, and the purge itself is written to the audit table.

        Args:
            dry_run: only count.
        """
        return self._retention.purge(moment_or_ago(before), workflow, dry_run=dry_run)

    # --- SQL ---------------------------------------------------------------------------------------------

    def sql(
        self,
        query: str,
        *parameters: Any,
        as_of: Instant | Duration | Run | None = None,
        timeout: Duration | None = None,
        reload: bool = False,
    ) -> Answer:
        """Ask DuckDB, in process: ``ctx.sql("select status, count(*) from runs group by 1").df()``.

        Tables are ``runs``, ``steps`` and ``events`` (as the views of the same names in PostgreSQL), the tables of the
        warehouse and their histories (``tasks``, ``tasks_history``, also as ``warehouse.tasks``) and its views, all up
        to date at every call; DataFrames, Arrow tables and relations in the caller's variables, files
        (``'orders.csv'``), and what earlier calls created. A column called ``at`` is written ``"at"`` or ``events.at``.

        Args:
            query: DuckDB's SQL.
            parameters: for ``?`` in order, or one mapping for ``$name``.
            as_of: all tables as they were at an instant, so long ago (``"2d"``), or when a run ended; runs are the fold
                of the events that they had then.
            timeout: how long a statement may take; without it Ctrl-C ends one.
            reload: read the tables of the warehouse that it names as a whole: somebody changed a large one by hand.

        Returns:
            The answer: a DuckDB relation with ``.df()``, ``.arrow()``, ``.pl()``, ``.fetchone()``, ``.fetchall()``,
            ``.dicts()``, ``.show()``.

        Raises:
            QueryError: DuckDB cannot answer it, it took too long, or *as_of* lies in the future.
            StoreUnavailableError: the database cannot be read.
        """
        from dataflows_sdk.warehouse.lens import caller_frames

        return self._sql(query, parameters, caller_frames(2), as_of, timeout, reload=reload)

    def _sql(
        self,
        query: str,
        parameters: Sequence[Any],
        scopes: Sequence[Mapping[str, Any]],
        as_of: Instant | Duration | Run | None = None,
        timeout: Duration | None = None,
        *,
        reload: bool = False,
    ) -> Answer:
        """`sql`, with the variables of *scopes*: for those who ask on somebody's behalf."""
        moment = _moment(as_of, self._engine.clock.now())
        seconds = None if timeout is None else parse_duration(timeout).total_seconds()
        return self._open_lens().sql(query, parameters, scopes, as_of=moment, timeout=seconds, anew=reload)

    def _open_lens(self) -> Lens:
        from dataflows_sdk.warehouse.lens import Lens

        with self._lens_lock:
            if self._closed:
                raise QueryError("the context is closed; connect() makes a new one")
            if self._lens is None:
                self._lens = Lens(self._database, now=self._engine.clock.now)
            return self._lens

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        tables: Sequence[str] | None = None,
        runs: Iterable[Run | str | UUID] | None = None,
        replace: bool = False,
        progress: Callable[[str, int, int | None], None] | None = None,
    ) -> Path:
        """Write an archive: runs with their steps, events and sources, tables with their histories, as of one moment.

        `open_archive` reads it without any PostgreSQL; so does DuckDB itself. It is written beside *path* and renamed
        when it is whole. What the journal has masked is masked there too; connections and keys are never in it.

        Args:
            path: of a file (``.duckdb``, ``.db``), or of a folder: it ends in ``/``.
            format: ``"duckdb"`` for a file, ``"parquet"`` for a folder; by default as the path says.
            tables: names of tables in the warehouse; None for all, ``[]`` for none.
            runs: runs or ids; None for all, ``[]`` for none.
            replace: put it in the place of an archive that is there.
            progress: hears what is done, how much of it, and how much there is (None where nobody knows).

        Returns:
            the path.

        Raises:
            ArchiveError: something is there already, or it cannot be written.
            TableNotFoundError: one of *tables* is not there.
            RunNotFoundError: one of *runs* is not there.
            DefinitionError: another format.
        """
        from dataflows_sdk.archive import archive_form
        from dataflows_sdk.warehouse.export import Exporter

        form = archive_form(os.fspath(path), format)
        wanted = None if runs is None else [run.id if isinstance(run, Run) else self.get(run).id for run in runs]
        with bar("export") as tell:
            heard = progress or (lambda what, done, total: tell(done, total, what))
            memory = desk_in_use("memory", self)
            exporter = Exporter(self._database, heard, self._redactor, memory)
            exporter.write(Path(path), form, tables, wanted, replace=replace)
        return Path(path)

    @property
    def url(self) -> str:
        """The address for psql and BI tools; with the embedded database it contains its password."""
        return self._server.tcp_url if self._server is not None else self._database.conninfo

    # --- for the handles ---------------------------------------------------------------------------------

    def _read(self, file: str, name: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._database.read(file, name, parameters)

    def _decode(self, tree: Any, *, strict: bool = False) -> Any:
        if type(tree) not in (dict, list):
            return tree
        text = json.dumps(tree)
        if '"$' not in text:
            return tree
        from dataflows_sdk.core.codec import blob_refs

        refs = blob_refs(text)
        blobs = {sha: bytes(data) for sha, data in self._read("look", "blobs", (list(refs),))} if refs else {}
        reader = ValueReader if strict else LenientReader
        return reader(self._types, blobs).value(tree)

    def _knows(self, workflow: str) -> bool:
        return self._catalog.get(workflow) is not None

    # --- the end -----------------------------------------------------------------------------------------

    def close(self, *, grace: float | None = None) -> None:
        """Hand back the runs that are under way and disconnect. Idempotent.

        Args:
            grace: seconds that steps under way get to end, 2 if nothing is said; what they return is kept.
        """
        if grace is not None:
            self._engine.grace = grace
        with self._lens_lock:
            self._closed = True
            lens, self._lens = self._lens, None
        if lens is not None:
            lens.close()
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = str(self._server.data_dir.parent) if self._server is not None else repr(self._database)
        return f"<dataflows context on {where}{' (closed)' if self._closed else ''}>"

    def _sheet(self) -> Sheet:
        where = str(self._server.data_dir.parent) if self._server is not None else repr(self._database)
        return overview(self, where)


def _moment(as_of: Instant | Duration | Run | None, now: datetime) -> datetime | None:
    if not isinstance(as_of, Run):
        return None if as_of is None else moment_or_ago(as_of, now)
    ended: datetime | None = as_of.refresh().finished_at
    if ended is None:
        raise QueryError(f"as_of a run is when it ended, and run {as_of.id} is {as_of.status}; give a time instead")
    return ended


def _close(
    engine: Engine,
    executor: Executor,
    retention: Keeper,
    lookout: Lookout,
    closing: list[Callable[[], None]],
    database: Database,
    server: EmbeddedServer | None,
) -> None:
    for each in closing:
        each()
    lookout.stop()
    retention.stop()
    executor.stop()
    engine.close()
    executor.retire()
    database.close()
    if server is not None:
        server.close()
