"""The workflow of a sync: pages as durable steps, the place of the next one stored with the rows of each.

A step fetches a page, upserts its rows and notes where the next page begins, and all of that commits with the step's
record. What happened is therefore known whatever dies when: the page is stored and behind us, or it is fetched again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from dataflows_sdk.core.current import current_step_info
from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.engine.definitions import Event, Workflow
from dataflows_sdk.engine.enqueue import enqueue
from dataflows_sdk.engine.placement import Placement
from dataflows_sdk.engine.state import TERMINAL
from dataflows_sdk.errors import (
    BadRowsError,
    ConnectionNotFoundError,
    DefinitionError,
    NonRetryableError,
    NotSerializableError,
    ServiceClientNotFoundError,
    ShapeError,
    SyncCursorError,
    SyncDeleteError,
    SyncError,
)
from dataflows_sdk.syncing import positions
from dataflows_sdk.syncing.report import SyncReport
from dataflows_sdk.syncing.tables import Stored, Tables
from dataflows_sdk.warehouse.sources.opening import open_source
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach, Source
from dataflows_sdk.warehouse.sources.throttle import asked_to_wait

#: what comes back the same at every attempt
_FINAL = (
    BadRowsError, ShapeError, DefinitionError, NotSerializableError, ServiceClientNotFoundError,
    ConnectionNotFoundError,
)  # fmt: skip
#: how often one page may ask to wait
_MOST_WAITS = 1_000


async def sync(event: Any, step: Any, workflow: Workflow) -> SyncReport | None:
    """What *workflow* does; it may begin another run of itself."""
    work = _Work(step._verbs.engine, event.raw, step.run_id, workflow)
    begun_at = await step.now()
    place = await step.transaction("begin", work.begin)
    if place["does"] == "nothing":
        return None
    try:
        report = await _pages(step, work, place, begun_at) if place["does"] == "sync" else None
    finally:
        failure = sys.exc_info()[1]
        if place["every"] is not None and (failure is None or isinstance(failure, Exception)):
            await step.transaction("next", work.next, begun_at)
    return report


async def _pages(step: Any, work: _Work, place: dict[str, Any], begun_at: datetime) -> SyncReport:
    counts = dict.fromkeys(("rows", "inserted", "updated", "unchanged", "deleted", "aside"), 0)
    pages, waits, page, position = 0, 0, place["page"], place["position"]
    tables: set[str] = set()
    total: int | None = None
    more = place["more"]
    while more:
        waited, since = 0, None
        while True:
            fetch = partial(work.page, place["pass"], page + 1, position)
            got = await step.run(f"page {page + 1}", fetch, retry=work.retry)
            if got["wait_until"] is None or "rows" in got:
                break
            since = since if since is not None else await step.now()
            waited += 1
            work.check_patience(page + 1, waited, since, got["wait_until"])
            await step.sleep_until("rate limit", got["wait_until"])
        waits += waited
        for name in counts:
            counts[name] += got[name]
        pages, page, position, more = pages + 1, page + 1, got["position"], got["more"]
        tables.update([got["table"]] if got["table"] is not None else [])
        total = got["total"] if got["total"] is not None else total
        step.progress(counts["rows"], total, f"page {page:,}, {counts['rows']:,} rows")
        if more and got["wait_until"] is not None:
            waits += 1
            await step.sleep_until("rate limit", got["wait_until"])
    ended = await step.transaction("end", work.end, place["pass"])
    counts["deleted"] += ended
    seconds = (await step.now() - begun_at).total_seconds()
    return SyncReport(
        work.name, ", ".join(sorted(tables)) or work.into or "", work.mode, pages, **counts, waits=waits,
        seconds=seconds,
        cursor=positions.shown(positions.read(position)), continued=place["page"] > 0,
    )  # fmt: skip


class _Work:
    """What the steps of one run do."""

    def __init__(self, engine: Any, spec: Mapping[str, Any], run: str, workflow: Workflow) -> None:
        self._engine, self._spec, self._run, self._workflow = engine, spec, UUID(run), workflow
        self.name = str(spec["name"])
        self.into: str | None = spec["into"]
        self.mode = str(spec["mode"])
        self.retry = replace(Retry.from_json(spec["retry"]), no_retry_on=_FINAL)
        self._source: Source | None = None

    def _bound_source(self) -> Source:
        if self._source is None:
            spec = self._spec
            source = open_source(spec["source"])
            source.bind(Bound(self.name, tuple(spec["key"]), spec["field"], self.into))
            self._source = source
        return self._source

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self._engine, self.name, self._spec["bad"])

    def _statement(self, connection: Any, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._engine.database.run(connection, "sync", name, parameters)  # type: ignore[no-any-return]

    # --- the beginning -----------------------------------------------------------------------------------

    def begin(self, connection: Any) -> dict[str, Any]:
        """Take the sync, and find where it stands: in a pass that an earlier run left, or at the beginning of one."""
        spec, stamp = self._spec, self._engine.stamp()
        kept_spec = json.dumps({**spec, "restart": False, "every": None})
        self._statement(connection, "make", self.name, self.into, kept_spec, self.mode, stamp)
        [row] = self._statement(connection, "lock", self.name)
        number, mode, page, position, kept, state, run, status, old_spec, next_run, every, target = row
        if spec["chained"] and next_run != self._run:
            return {"does": "nothing"}  # it was stopped, or is to come otherwise
        if run is not None and run != self._run and status is not None and status not in TERMINAL:
            if spec["chained"]:
                self._statement(connection, "next", self.name, None)
                return {"does": "wait", "every": every}
            raise NonRetryableError(
                f"sync {self.name!r} is under way as run {run} ({status}); wait for it, or cancel it"
            )
        if target != self.into and state != "new":
            raise NonRetryableError(
                f"sync {self.name!r} brings rows into {target!r}, not {self.into!r}; give this one another name="
            )
        same = json.loads(old_spec)["source"].get("kind") == spec["source"].get("kind")
        if not same or spec["restart"]:
            position = kept = None
        if state in ("going", "through") and mode == self.mode and same and not spec["restart"]:
            more = state == "going"
        else:
            number, page, more = number + 1, 0, True
            position = kept if self.mode == "incremental" else None
            self._statement(connection, "forget_pages", self.name, None)
        self._statement(
            connection, "begin", self.name, self.into, kept_spec, self.mode, stamp, number, page, position, self._run,
            "going" if more else "through", spec["every"],
        )  # fmt: skip
        every = every if spec["every"] is None else spec["every"]
        return {"does": "sync", "pass": number, "page": page, "position": position, "more": more, "every": every}

    # --- a page ------------------------------------------------------------------------------------------

    def page(self, number: int, page: int, position: str | None) -> dict[str, Any]:
        """Fetch a page and store it, with where the next one begins; or say until when the other side wants to wait."""
        engine, now = self._engine, self._engine.clock.now()
        info = current_step_info()
        reach = Reach(engine.services, engine.loop, now, info.run_id, info.attempt, connections=engine.connections())
        try:
            fetched = self._bound_source().fetch(positions.read(position), reach)
        except Exception as error:
            until = asked_to_wait(error, now)
            if until is None:
                raise
            return {"wait_until": until}
        table = fetched.table or self.into
        if not isinstance(table, str) and (table is not None or fetched.rows or fetched.deleted):
            raise SyncError(f"sync {self.name!r}: page {page} names no table, and sync(…, into=…) names none")
        following = positions.write(fetched.cursor, f"page {page} of sync {self.name!r}")
        if table is not None:
            self._tables.ready(table, tuple(self._spec["key"]) or tuple(fetched.key), fetched.rows)
        with self._tables.transaction() as connection:
            if fetched.goes_on:
                self._check_circle(connection, number, page, position, following)
            stored = self._store(connection, table, fetched)
            self._turn(connection, number, page, position, following, table, stored, fetched)
        return {
            "wait_until": fetched.wait_until,
            "rows": len(fetched.rows),
            "inserted": stored.inserted,
            "updated": stored.updated,
            "unchanged": stored.unchanged,
            "deleted": stored.deleted,
            "aside": stored.aside,
            "table": table,
            "total": fetched.total,
            "more": fetched.goes_on,
            "position": following,
        }

    def _store(self, connection: Any, table: str | None, fetched: Page) -> Stored:
        if table is None or not (fetched.rows or fetched.deleted):
            return Stored()
        return self._tables.store(connection, table, fetched.rows, fetched.deleted, ids=self.mode == "full")

    def _turn(
        self,
        connection: Any,
        number: int,
        page: int,
        given: str | None,
        following: str,
        table: str | None,
        stored: Stored,
        fetched: Page,
    ) -> None:
        ids = list(stored.ids) if self.mode == "full" else None
        self._statement(connection, "note_page", self.name, number, positions.hash_of(given), page, table, ids)
        state, stamp = "going" if fetched.goes_on else "through", self._engine.stamp()
        if not self._statement(connection, "turn", self.name, self._run, number, page, following, state, stamp):
            raise NonRetryableError(
                f"sync {self.name!r} was taken over by another run; this one stops before page {page}"
            )

    def _check_circle(self, connection: Any, number: int, page: int, given: str | None, following: str) -> None:
        if following == given:
            raise SyncCursorError(
                f"sync {self.name!r}: the cursor does not move: page {page} at {_short(given)} names "
                f"{_short(following)} as "
                "the next one"
            )
        known = self._statement(connection, "known_page", self.name, number, positions.hash_of(following))
        if known:
            raise SyncCursorError(
                f"sync {self.name!r}: the cursor goes in a circle: page {page} at {_short(given)} names "
                f"{_short(following)} as the next one, and that was page {known[0][0]} already"
            )

    def check_patience(self, page: int, waited: int, since: datetime, until: datetime) -> None:
        """Raises SyncError where the other side asks for more patience than there is."""
        patience = float(self._spec["patience"])
        asked = (until - since).total_seconds()
        if asked > patience or waited > _MOST_WAITS:
            raise SyncError(
                f"sync {self.name!r}: page {page} was put off {waited} times, at last until "
                f"{until:%Y-%m-%d %H:%M:%S}Z: "
                f"{asked:,.0f} s in all, and patience={patience:,.0f} s. What came before is stored; sync(…) goes "
                "on from here"
            )

    # --- the end -----------------------------------------------------------------------------------------

    def end(self, connection: Any, number: int) -> int:
        """Delete what a full pass did not find, and be done."""
        deleted = self._sweep(connection, number) if self.mode == "full" else 0
        if not self._statement(connection, "end", self.name, self._run, number, self._engine.stamp()):
            raise NonRetryableError(f"sync {self.name!r} was taken over by another run; this one stops before its end")
        self._statement(connection, "forget_pages", self.name, None)
        return deleted

    def _sweep(self, connection: Any, number: int) -> int:
        spec, tables = self._spec, self._tables
        targets = self._statement(connection, "targets", self.name, number)
        deleted = 0
        for table, _, named in targets:
            there, gone = tables.gone(connection, table, number)
            if not gone:
                continue
            if not named and not spec["allow_empty"]:
                raise SyncDeleteError(
                    f"sync {self.name!r}: the source gave no row for {table!r}, which has {there:,} rows of it. "
                    "If it is "
                    "really empty: sync(…, allow_empty=True)"
                )
            if gone > there * float(spec["max_deletes"]):
                raise SyncDeleteError(
                    f"sync {self.name!r}: {gone:,} of {there:,} rows of {table!r} would be deleted, because no "
                    "page named "
                    f"them; max_deletes={spec['max_deletes']:g} allows a share of {spec['max_deletes']:.0%}. "
                    "Nothing was "
                    "deleted. If that is right: sync(…, max_deletes=1)"
                )
            deleted += tables.sweep(table, number)
        return deleted

    # --- again -------------------------------------------------------------------------------------------

    def next(self, connection: Any, begun_at: datetime) -> str | None:
        """Start the run that comes after this one, in the transaction that records it."""
        engine = self._engine
        rows = self._statement(connection, "lock", self.name)
        if not rows or rows[0][9] is not None or rows[0][10] is None:
            return None  # it was stopped, or somebody else saw to it
        spec = {**json.loads(rows[0][8]), "chained": True, "every": None}
        delay = max(timedelta(milliseconds=1), begun_at + timedelta(seconds=rows[0][10]) - engine.clock.now())
        made = enqueue(
            engine,
            engine.database,
            connection,
            self._workflow,
            Event(spec),
            run_id=new_uuid(),
            placement=Placement(delay=delay),
        )
        self._statement(connection, "next", self.name, made)
        return str(made)


def _short(text: str | None) -> str:
    from dataflows_sdk.core.redact import REDACTOR

    found = positions.shown(positions.read(text))
    return "the beginning" if found is None else REDACTOR.redact_repr(found, 200)
