"""Views of the warehouse: PostgreSQL's own, with versions, and with those that stand on them looked after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.durations import Duration
from dataflows_sdk.core.shown import Listing
from dataflows_sdk.errors import DefinitionError, ViewNotFoundError, WarehouseError
from dataflows_sdk.store.statements import RefusedError, alone
from dataflows_sdk.triggers.schedule import Schedule
from dataflows_sdk.warehouse import rebuilding as building
from dataflows_sdk.warehouse import refreshing
from dataflows_sdk.warehouse.defining import (
    ChangedColumnsError,
    Wanted,
    content,
    schedule_of,
    secret,
    tables_of,
    told,
    wanted_view,
)
from dataflows_sdk.warehouse.rebuilding import missing, run
from dataflows_sdk.warehouse.view import Staleness, View, ViewColumn, ViewVersion
from dataflows_sdk.warehouse.view_text import JOURNAL, SECRET, explained, taken

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database


class Views:
    """The views of a database.

    Args:
        database: whose schema ``warehouse`` they are in.
        now: the moment where time is virtual; None for the database's clock.
        scheduled: called after a definition that says when rows are to be computed anew.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime | None] = lambda: None,
        scheduled: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._now = now
        self._scheduled = scheduled

    # --- looking -----------------------------------------------------------------------------------------

    def get(self, name: str) -> View:
        """A view as it is now.

        Raises:
            ViewNotFoundError: none was defined under that name, or it was dropped by hand.
        """
        with self._database.connection() as connection, connection.transaction():
            return self._get(connection, name)

    def everything(self) -> list[View]:
        """All views that were defined, by name; without those that somebody dropped by hand."""
        with self._database.connection() as connection, connection.transaction():
            return Listing(
                [self._view(connection, row) for row in run(connection, "list", None) if row[10] is not None]
            )

    def versions(self, name: str) -> list[ViewVersion]:
        """Every text that a view had, the oldest first; also that of one which was dropped."""
        with self._database.connection() as connection:
            return Listing([_version(row) for row in run(connection, "versions", name)])

    def readable(self) -> dict[str, tuple[ViewColumn, ...]]:
        """Every view in the schema ``warehouse``, whoever made it, with its columns; without the pasts of tables."""
        found: dict[str, tuple[ViewColumn, ...]] = {}
        with self._database.connection() as connection:
            for name, column, kind in run(connection, "readable"):
                found[name] = (*found.get(name, ()), ViewColumn(column, kind))
        return found

    def staleness(self, name: str) -> Staleness:
        """How far the rows of a view are behind those of the tables."""
        with self._database.connection() as connection, connection.transaction():
            view = run(connection, "list", name)
            if not view or view[0][10] is None:
                raise missing(connection, name)
            row = run(connection, "staleness", view[0][10], self._now())[0]
        _, refreshed_at, now, writes, rows, since, counted = row
        age = timedelta(0) if refreshed_at is None else max(now - refreshed_at, timedelta(0))
        return Staleness(refreshed_at, age, writes, rows, since, counted)

    # --- defining ----------------------------------------------------------------------------------------

    def define(
        self,
        name: str,
        sql: str,
        *,
        materialized: bool = False,
        key: str | Sequence[str] | None = None,
        refresh: Duration | Schedule | None = None,
        description: str | None = None,
    ) -> View:
        """Make a view, or change it. The same text again changes nothing.

        Args:
            name: in the schema ``warehouse``, next to the tables.
            sql: one SELECT of PostgreSQL. Bare names are tables and views of the warehouse; ``dataflows.runs``,
                ``dataflows.steps`` and ``dataflows.events`` are the journal.
            materialized: keep the rows; `View.refresh` computes them anew.
            key: columns of a materialised view that are unique together; with them others can read during a refresh.
            refresh: when that is done by itself: ``"5m"``, ``"0 6 * * *"`` or a `Schedule`.
            description: for people; it is the comment of the view in PostgreSQL.

        Raises:
            DefinitionError: the name cannot be, the text is not one SELECT, or names what does not exist.
            WarehouseError: views that stand on this one do not fit the new text.
        """
        wanted = wanted_view(name, sql, materialized, key, refresh, description)
        with self._database.connection() as connection, self._definition(connection, wanted):
            self._define(connection, wanted)
            found = self._get(connection, wanted.name)
        if wanted.schedule is not None:
            self._scheduled()
        return found

    def rollback(self, name: str, version: int) -> View:
        """Make the text of an earlier version the newest one; see `View.rollback`."""
        with self._database.connection() as connection, connection.transaction():
            self._begin(connection)
            rows = run(connection, "list", name)
            versions = {each.version: each for each in map(_version, run(connection, "versions", name))}
            if not versions:
                raise missing(connection, name)
            old = versions.get(version)
            if old is None or old.sql is None:
                there = ", ".join(str(each.version) for each in versions.values() if each.sql is not None)
                what = "was dropped with" if old is not None else "has no"
                raise ViewNotFoundError(f"view {name!r} {what} version {version}; it has {there}")
            described, schedule = (rows[0][5], schedule_of(rows[0][6])) if rows else (None, None)
            kind = "m" if old.materialized else "v"
            schedule = schedule if old.materialized else None
            wanted = Wanted(name, old.sql, kind, old.key, described, schedule, restored_from=version)
            with self._definition(connection, wanted):
                self._define(connection, wanted)
            found = self._get(connection, name)
        if schedule is not None:
            self._scheduled()
        return found

    @contextmanager
    def _definition(self, connection: Any, wanted: Wanted) -> Iterator[None]:
        """A transaction whose refusals are told to the author of the view."""
        try:
            with connection.transaction():
                yield
        except RefusedError as refused:
            known = sorted(self._known())
            raise explained(refused, wanted.name, wanted.sql, 0, known) from None

    def _known(self) -> set[str]:
        with self._database.connection() as connection:
            return {row[0] for row in run(connection, "relations", "warehouse")}

    @staticmethod
    def _begin(connection: Any) -> None:
        run(connection, "patience", building.PATIENCE)
        building.lock(connection)

    def _define(self, connection: Any, wanted: Wanted) -> None:
        self._begin(connection)
        relations = run(connection, "relations", "warehouse")
        taken(wanted.name, relations)
        rows = run(connection, "list", wanted.name)
        current = rows[0] if rows and rows[0][10] is not None else None
        now, seen = run(connection, "now")[0]
        now = self._now() or now
        config = None if wanted.schedule is None else json.dumps(wanted.schedule.to_config())
        next_at = None if wanted.schedule is None else wanted.schedule.next_after(now)
        if current is not None and (current[2], current[3], tuple(current[4])) == content(wanted):
            if (current[5], current[6]) != (wanted.description, None if config is None else json.loads(config)):
                run(connection, "describe", wanted.name, wanted.description, config, next_at)
                self._comment(connection, wanted)
            return
        self._checked(connection, wanted, [row[0] for row in relations])
        self._make(connection, wanted, current, [row[0] for row in relations])
        depends = self._depends(connection, wanted.name)
        self._comment(connection, wanted)
        self._note(connection, wanted, depends)
        seen = seen if wanted.kind == "m" else None
        version = run(connection, "next_version", wanted.name)[0][0] - 1
        run(connection, "put", wanted.name, version, wanted.description, config, next_at, seen, now)

    def _checked(self, connection: Any, wanted: Wanted, known: Sequence[str]) -> None:
        """Let PostgreSQL read the text where nothing but one SELECT can stand."""
        with told(wanted, known, before := run(connection, "check")[0][0]), building.path(connection, "warehouse"):
            alone(connection, before + wanted.sql)
        run(connection, "check_done")
        # PostgreSQL notes no dependency on its own tables; a plan names them, also under the views of its catalog.
        with told(wanted, known, before := run(connection, "plan")[0][0]), building.path(connection, "warehouse"):
            plan = alone(connection, before + wanted.sql)
        shown = sorted(SECRET & set(tables_of(plan[0][0])))
        if shown:
            raise secret(wanted.name, f"pg_catalog.{shown[0]}")

    def _make(self, connection: Any, wanted: Wanted, current: Any, known: Sequence[str]) -> None:
        if current is not None and current[11] == wanted.kind == "v":
            try:
                with connection.transaction():  # a savepoint
                    self._create(connection, wanted, known, replace=True)
                return
            except ChangedColumnsError:
                pass  # others may stand on columns that go or change: made anew, with them
        kept: list[building.Kept] = []
        grants: list[str] = []
        if current is not None:
            oid = current[10]
            kept = building.take_down(connection, [oid])
            grants = [row[0] for row in run(connection, "grants", oid)]
            building.drop(connection, building.Relation(oid, "warehouse", wanted.name, current[11]))
        try:
            self._create(connection, wanted, known)
        except DefinitionError as error:
            above = next((each.relation.shown for each in kept if f'"{each.relation.name}"' in str(error)), None)
            if above is None:
                raise
            raise DefinitionError(f"view {wanted.name!r} would stand on itself: {above!r} stands on it") from error
        for text in grants:
            alone(connection, text)
        building.put_up(connection, kept, f"view {wanted.name!r}")

    def _create(self, connection: Any, wanted: Wanted, known: Sequence[str], *, replace: bool = False) -> None:
        before = run(connection, "create", wanted.name, wanted.kind, replace)[0][0]
        with told(wanted, known, before, replace=replace), building.path(connection, "warehouse"):
            alone(connection, before + wanted.sql)
        if wanted.key:
            self._index(connection, wanted)
        if wanted.kind == "v":
            alone(connection, run(connection, "trial", wanted.name)[0][0])

    @staticmethod
    def _index(connection: Any, wanted: Wanted) -> None:
        try:
            alone(connection, run(connection, "index", wanted.name, list(wanted.key))[0][0])
        except RefusedError as refused:
            if refused.sqlstate != "42703":
                raise
            raise DefinitionError(f"view {wanted.name!r}: key= names no column of it: {refused.message}") from None

    @staticmethod
    def _comment(connection: Any, wanted: Wanted) -> None:
        alone(connection, run(connection, "comment", wanted.name, wanted.kind, wanted.description)[0][0])

    def _depends(self, connection: Any, name: str) -> list[str]:
        """What a new view reads.

        Raises:
            DefinitionError: it is something that is not for everybody.
        """
        found = run(connection, "depends", run(connection, "list_oid", name)[0][0])
        for schema, relation, _ in found:
            if schema == "dataflows" and relation not in JOURNAL:
                raise secret(name, f"dataflows.{relation}")
        return [_shown(schema, relation) for schema, relation, _ in found]

    @staticmethod
    def _note(connection: Any, wanted: Wanted | None, depends: Sequence[str], name: str = "") -> None:
        step = current_step.get()
        inside = (UUID(step.run_id), step.key) if step is not None and step.active else (None, None)
        if wanted is None:
            number = run(connection, "next_version", name)[0][0]
            run(connection, "put_version", name, number, None, False, [], [], None, *inside)
            return
        number = run(connection, "next_version", wanted.name)[0][0]
        what = (*content(wanted)[:2], list(wanted.key), list(depends), wanted.restored_from)
        run(connection, "put_version", wanted.name, number, *what, *inside)

    # --- dropping ----------------------------------------------------------------------------------------

    def drop(self, name: str, *, cascade: bool = False) -> list[str]:
        """Drop a view; see `View.drop`."""
        try:
            with self._database.connection() as connection, connection.transaction():
                self._begin(connection)
                rows = run(connection, "list", name)
                if not rows:
                    raise missing(connection, name)
                oid, kind = rows[0][10:12]
                above = [] if oid is None else building.dependants(connection, [oid])
                if above and not cascade:
                    raise WarehouseError(
                        f"view {name!r} is not dropped: {', '.join(repr(each.shown) for each in above)} stand on it; "
                        "drop them first, or all together with drop(cascade=True)"
                    )
                own = [] if oid is None else [building.Relation(oid, "warehouse", name, kind)]
                going = [*reversed(above), *own]
                for each in going:
                    building.drop(connection, each)
                known = {row[0] for row in run(connection, "list", None)}
                for gone in {name, *(each.name for each in going if each.schema == "warehouse")} & known:
                    run(connection, "forget", gone)
                    self._note(connection, None, (), gone)
                return [each.shown for each in going]
        except RefusedError as refused:
            raise WarehouseError(f"view {name!r} is not dropped: {refused.message}{building.more(refused)}") from None

    # --- kept rows ---------------------------------------------------------------------------------------

    def refresh(self, name: str) -> View:
        """Compute the kept rows of a view anew; see `View.refresh`."""
        with self._database.connection() as connection:
            try:
                with connection.transaction():
                    refreshing.refresh(connection, name, self._now())
                    return self._get(connection, name)
            except RefusedError as refused:
                raise refreshing.not_refreshed(name, refused) from None

    def refresh_due(self, now: datetime | None = None) -> list[str]:
        """Refresh the materialised views whose ``refresh=`` says that it is time; which those were.

        Several processes may do so at once: each view is refreshed by one. What stands on another one comes after it.

        Args:
            now: another time than the clock's.

        Raises:
            WarehouseError: one of them was not refreshed; the others were.
        """
        moment = self._now() if now is None else now
        looked: dict[str, bool] = {}
        failed: list[WarehouseError] = []
        while names := [name for name in self.due(moment) if name not in looked]:
            for name in names:
                with self._database.connection() as connection:
                    try:
                        looked[name] = refreshing.refresh_if_due(connection, name, moment)
                    except WarehouseError as error:
                        looked[name] = False
                        failed.append(error)
        if failed:
            for other in failed[1:]:
                failed[0].add_note(str(other))
            raise failed[0]
        return [name for name, done in looked.items() if done]

    def due(self, now: datetime | None = None) -> list[str]:
        """Which views are to be refreshed; without those that stand on one of them and come after it."""
        with self._database.connection() as connection:
            return [row[0] for row in run(connection, "due", now)]

    def next_due(self) -> datetime | None:
        """When the next view is to be refreshed; None if none ever is."""
        with self._database.connection() as connection:
            found: datetime | None = run(connection, "pulse")[0][0]
            return found

    # --- tables that change ------------------------------------------------------------------------------

    @staticmethod
    def rebuilding(connection: Any, *tables: str, whole: bool = True) -> AbstractContextManager[list[str]]:
        """Change tables under their views, in the caller's transaction; see `warehouse.rebuilding.rebuilding`."""
        return building.rebuilding(connection, *tables, whole=whole)

    # --- made of rows ------------------------------------------------------------------------------------

    def _get(self, connection: Any, name: str) -> View:
        rows = run(connection, "list", name)
        if not rows or rows[0][10] is None:
            raise missing(connection, name)
        return self._view(connection, rows[0])

    def _view(self, connection: Any, row: tuple[Any, ...]) -> View:
        name, version, sql, kept, key, description, refresh, next_at, refreshed_at, changed_at, oid = row[:11]
        failures, last_error, failed_at, retry_at = row[12:]
        schedule = schedule_of(refresh)
        return View(
            name=name,
            version=version,
            sql=sql,
            materialized=kept,
            key=tuple(key),
            description=description,
            columns=tuple(ViewColumn(*each) for each in run(connection, "columns", oid)),
            depends=tuple(_shown(schema, relation) for schema, relation, _ in run(connection, "depends", oid)),
            dependants=tuple(each.shown for each in building.dependants(connection, [oid])),
            refresh_every=None if schedule is None else str(schedule),
            due_at=next_at,
            refreshed_at=refreshed_at if kept else None,
            changed_at=changed_at,
            failures=failures,
            last_error=last_error,
            failed_at=failed_at,
            retry_at=retry_at,
            _views=self,
        )


def _version(row: tuple[Any, ...]) -> ViewVersion:
    number, sql, kept, key, depends, *rest = row
    return ViewVersion(number, sql, kept, tuple(key), tuple(depends), *rest)


def _shown(schema: str, relation: str) -> str:
    return relation if schema == "warehouse" else f"{schema}.{relation}"
