"""``ctx.warehouse.sync(…)``: bring rows of another system into a table, and see how that stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.core.shown import Listing
from dataflows_sdk.engine.placement import check_text
from dataflows_sdk.engine.state import TERMINAL
from dataflows_sdk.errors import DefinitionError, RunFinishedError
from dataflows_sdk.runs import Run
from dataflows_sdk.showing import browser
from dataflows_sdk.syncing import positions
from dataflows_sdk.syncing.declared import SYNC, SYNC_NAME
from dataflows_sdk.syncing.report import SyncReport, SyncState
from dataflows_sdk.warehouse.callers import caller_frames
from dataflows_sdk.warehouse.desk import AsOf, Warehouse
from dataflows_sdk.warehouse.shape import check_table_name
from dataflows_sdk.warehouse.sources.opening import source_of
from dataflows_sdk.warehouse.sources.page import Bound

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.warehouse.answer import Answer
    from dataflows_sdk.warehouse.table import Table

__all__ = ["PAGE_RETRY", "SYNC_NAME", "ContextWarehouse", "SyncRun", "Syncs"]

#: what a page does that fails: some two minutes in six attempts
PAGE_RETRY = Retry(5, "exponential", "2s", "60s")
_MODES = ("full", "incremental")
_BAD = (None, "refuse", "aside", "coerce")


class SyncRun(Run):
    """The run of a sync: `result` gives its `SyncReport`, `watch` shows a progress bar until then."""

    @property
    def report(self) -> SyncReport:
        """What it did so far, from its journal; also of a run that failed or is under way."""
        spec, pages, waits = self.input, 0, 0
        counts: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
        tables: set[str] = set()
        for event in self.events():
            if event.kind != "step.completed" or event.key is None:
                continue
            value = event.data.get("value")
            if event.key == "end":
                counts["deleted"] += int(value or 0)
            if not event.key.startswith("page ") or not isinstance(value, dict):
                continue
            if "rows" not in value:
                waits += 1
                continue
            pages += 1
            tables.update([value["table"]] if value["table"] is not None else [])
            for name in counts:
                counts[name] += value[name]
        end = self.finished_at
        seconds = (end - self.created_at).total_seconds() if end is not None else 0.0
        table = ", ".join(sorted(tables)) or spec["into"] or ""
        return SyncReport(spec["name"], table, spec["mode"], pages, waits=waits, seconds=seconds, **counts)

    def watch(self) -> SyncReport:
        """Show its progress on stderr until it is over: a bar in a terminal, a line now and then elsewhere.

        Returns:
            what `result` gives.

        Raises:
            StepFailed, RunFailed, RunCancelled, RunQuarantined: it gave no result; what it stored is kept.
        """
        from dataflows_sdk.syncing.bar import show

        show(self)
        found: SyncReport = self.result()
        return found


_COUNTS = ("rows", "inserted", "updated", "unchanged", "deleted", "aside")


class Syncs:
    """What a warehouse does with syncs; a part of `ctx.warehouse`."""

    _context: Context

    def sync(
        self,
        source: Any,
        into: Any = None,
        *,
        key: str | Sequence[str] | None = None,
        cursor: str | None = None,
        mode: str | None = None,
        name: str | None = None,
        every: Duration | None = None,
        retry: Retry | None = None,
        patience: Duration = "1h",
        allow_empty: bool = False,
        max_deletes: float = 0.5,
        bad: str | None = None,
        restart: bool = False,
    ) -> SyncRun:
        """Bring rows of another system into a table of the warehouse, page by page, in a durable run.

        Each page is a step: its rows, the place of the next page and the step's record commit together. A run that dies
        goes on with the page that it was at; after one that failed, the next ``sync(…)`` does. While a sync of the
        name is under way, its run is what comes back.

        Args:
            source: a function of the cursor, an iterable of pages or rows, the name of one declared with `source`, a
                `JsonApi`, `SqlSource` or `FileSource`, or a resource or source of dlt.
            into: the table, or its name; it is made from the rows where it does not exist. Left out where the source
                names a table for each page.
            key: the columns that tell rows apart; those of the table, if it exists.
            cursor: the field whose largest value says where the next incremental sync begins.
            mode: ``"incremental"`` begins where the last one ended; ``"full"`` goes through everything, and deletes
                at its end the rows of this sync that no page named. By default incremental where there is a *cursor*.
            name: of the sync, and the ``_source`` of its rows; by default that of the source, or of the table.
            every: run it again by itself, so long after the beginning of each run; `stop_sync` ends that.
            retry: for each page; by default 5 retries with exponential backoff from 2 s.
            patience: how long one page may be put off by the other side (``Retry-After``); that uses up no retry.
            allow_empty: a full sync may come empty, and then deletes everything.
            max_deletes: a full sync deletes at most this share of the rows.
            bad: what happens to rows that do not fit the table: ``"refuse"``, ``"aside"`` or ``"coerce"``.
            restart: begin from the beginning, whatever was stored of earlier cursors.

        Returns:
            its run; ``.result()`` is a `SyncReport`, ``.watch()`` shows a progress bar.

        Raises:
            DefinitionError: an argument makes no sense.
            MissingExtraError: the source needs dlt, which is not installed.
        """
        found = source_of(source)
        description = found.describe()
        table = None if into is None else str(getattr(into, "name", into))
        keys = (key,) if isinstance(key, str) else tuple(key or ())
        if table is not None:
            check_table_name(table)
            keys = keys or self._key_of(table)
        sync = check_text("the name of a sync", name if name is not None else found.name() or table, 200)
        field = cursor if cursor is not None else description.get("cursor_column")
        mode = mode if mode is not None else "incremental" if field is not None else "full"
        _check(mode, bad, allow_empty, max_deletes, retry, every, description)
        found.bind(Bound(sync, keys, cursor, table))
        policy = PAGE_RETRY if retry is None else retry
        waits = parse_duration(patience).total_seconds()
        if waits < 0:
            raise DefinitionError(f"patience is a time to wait, not {patience!r}")
        spec = {
            "name": sync,
            "source": description,
            "into": table,
            "key": list(keys),
            "field": cursor,
            "mode": mode,
            "every": None if every is None else parse_duration(every).total_seconds(),
            "retry": {name: part for name, part in policy.to_json().items() if name not in ("retry_on", "no_retry_on")},
            "patience": waits,
            "allow_empty": bool(allow_empty),
            "max_deletes": float(max_deletes),
            "bad": bad,
            "restart": bool(restart),
            "chained": False,
        }
        self._context._catalog.take_own(SYNC_NAME)
        run = self._context.start(SYNC, spec, key=sync, singleton=True)
        return SyncRun(self._context, run._id, run._outcome)

    def _key_of(self, table: str) -> tuple[str, ...]:
        """The key of a table, if it is there."""
        whole: Any = self
        known = whole._catalogue.find(table)
        return () if known is None else known.key

    def syncs(self, name: str | None = None) -> list[SyncState]:
        """How the syncs stand, by name.

        Args:
            name: only that one.
        """
        now = self._context._engine.clock.now()
        states: list[SyncState] = Listing()
        for row in self._context._read("sync", "list", (name,)):
            sync, target, mode, state, page, position, kept, run, status, next_run, wake, at, done, spec, every = row
            unfinished = state in ("going", "through")
            shown = {"sleeping": "running", "waiting": "running", "queued": "running"}.get(status, status)
            if status is None:
                shown = "failed" if unfinished else "succeeded"  # its run is gone
            states.append(
                SyncState(
                    sync,
                    target,
                    mode,
                    shown,
                    None if run is None else str(run),
                    page,
                    positions.shown(positions.read(position if unfinished else kept)),
                    at,
                    done,
                    None if done is None else max(timedelta(0), now - done),
                    None if every is None else timedelta(seconds=every),
                    wake,
                    None if next_run is None else str(next_run),
                    json.loads(spec)["source"],
                )
            )
        return states

    def stop_sync(self, name: str) -> None:
        """Let a sync run no more by itself; a run that is under way is cancelled, and what it stored is kept.

        Raises:
            DefinitionError: there is no sync of that name.
        """
        rows = self._context._read("sync", "stop", (name,))
        if not rows:
            raise DefinitionError(self._unknown(name))
        for run in rows[0]:
            handle = None if run is None else Run(self._context, run)
            try:
                if handle is not None and handle.status not in TERMINAL:
                    handle.cancel(f"sync {name!r} was stopped")
            except RunFinishedError:
                continue

    def forget_sync(self, name: str) -> None:
        """Forget where a sync stands; its rows stay. The next one of that name begins from the beginning.

        Raises:
            DefinitionError: there is no sync of that name, or it is under way.
        """
        known = self.syncs(name)
        if not known:
            raise DefinitionError(self._unknown(name))
        if known[0].status == "running":
            raise DefinitionError(f"sync {name!r} is under way as run {known[0].run}: stop it first")
        self._context._read("sync", "drop", (name,))

    def _unknown(self, name: str) -> str:
        names = ", ".join(each.name for each in self.syncs()) or "none"
        return f"there is no sync {name!r}; there are: {names}"


class ContextWarehouse(Syncs, Warehouse):
    """The warehouse of a context."""

    def __init__(self, context: Context, **options: Any) -> None:
        super().__init__(context._database, **options)
        self._context = context

    def _browse(self, table: Table, limit: int) -> Any:
        return browser("rows", table, limit)

    def sql(self, query: str, *parameters: Any, as_of: Any = None, timeout: Duration | None = None) -> Answer:
        """Ask the tables and views with SQL, whatever the services they come from do just now: as ``ctx.sql``.

        Raises:
            QueryError: DuckDB cannot answer it, it took too long, or *as_of* lies in the future.
        """
        return self._context._sql(query, parameters, caller_frames(2), as_of, timeout)

    def as_of(self, moment: Any) -> ContextAsOf:
        """The tables as they were: at an instant, so long ago (``"2d"``), or when a run ended."""
        if isinstance(moment, Run):
            moment = moment.finished_at or self._ago("0s")
        return ContextAsOf(self, self._ago(moment))


class ContextAsOf(AsOf):
    """The tables as they were at a moment, also for SQL. Made by ``ctx.warehouse.as_of``."""

    _warehouse: ContextWarehouse

    def sql(self, query: str, *parameters: Any, timeout: Duration | None = None) -> Answer:
        """``ctx.sql`` with the tables as they were.

        Raises:
            QueryError: DuckDB cannot answer it, it took too long, or the moment lies in the future.
        """
        return self._warehouse._context._sql(query, parameters, caller_frames(2), self.moment, timeout)


def _check(
    mode: object,
    bad: object,
    allow_empty: object,
    max_deletes: object,
    retry: object,
    every: Duration | None,
    description: dict[str, Any],
) -> None:
    if mode not in _MODES:
        raise DefinitionError(f"mode is 'full' or 'incremental', not {mode!r}")
    if bad not in _BAD:
        raise DefinitionError(f"bad is 'refuse', 'aside' or 'coerce', not {bad!r}")
    if not isinstance(allow_empty, bool):
        raise DefinitionError(f"allow_empty is True or False, not {allow_empty!r}")
    if isinstance(max_deletes, bool) or not isinstance(max_deletes, int | float) or not 0 <= max_deletes <= 1:
        raise DefinitionError(f"max_deletes is a share of the rows between 0 and 1, not {max_deletes!r}")
    if retry is not None:
        if not isinstance(retry, Retry):
            raise DefinitionError(f"retry is a policy such as df.Retry(3), not {retry!r}")
        if retry.retry_on != (Exception,) or retry.no_retry_on != ():
            raise DefinitionError("the retry of a sync is kept with it, so that it cannot name classes of exceptions")
    if every is not None:
        if parse_duration(every) <= timedelta(0):
            raise DefinitionError(f"every is a time such as '15m', not {every!r}")
        if description["kind"] == "local":
            raise DefinitionError(
                f"every={every!r}: {description['what']!r} exists in this process alone, and other processes run "
                "what comes "
                'next; declare it with @df.source("name") in a module'
            )
