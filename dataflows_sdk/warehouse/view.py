"""A view as it was found: `View`, its versions, and how stale it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from dataflows_sdk.core.shown import ShownAsTable

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.views import Views


class ViewColumn(NamedTuple):
    """A column of a view: its name, and its type as PostgreSQL calls it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ViewVersion(ShownAsTable):
    """One text that a view had.

    Attributes:
        sql: the text; None where the view was dropped.
        depends: what it read then.
        restored_from: the version whose text it took up again.
        role, run, step: the role of PostgreSQL, and the run and step in which it was defined, if it was in one.
    """

    version: int
    sql: str | None
    materialized: bool
    key: tuple[str, ...]
    depends: tuple[str, ...]
    restored_from: int | None
    role: str
    run: UUID | None
    step: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Staleness(ShownAsTable):
    """How far the rows of a view are behind those of the tables.

    Attributes:
        refreshed_at: when it was filled; where several materialised views are involved, the oldest. None: none is.
        age: how long ago that is.
        writes, rows: calls that changed rows of the warehouse since, and how many rows.
        since: when the first of them was.
        counted: whether that is all: False if something is read whose changes nobody counts, such as the journal.
    """

    refreshed_at: datetime | None
    age: timedelta
    writes: int
    rows: int
    since: datetime | None
    counted: bool

    @property
    def fresh(self) -> bool:
        """Whether nothing that is counted has changed since."""
        return self.writes == 0


@dataclass(frozen=True, slots=True, repr=False)
class View(ShownAsTable):
    """A view of the warehouse, as it was when it was looked up; got from `Views`.

    Attributes:
        name, version, sql: what it is called, which text that is, and the text.
        columns: as PostgreSQL has them.
        depends: what it reads itself: names of tables and views, with their schema if that is not ``warehouse``.
        dependants: the views that stand on it, directly or not.
        materialized, key: whether its rows are kept, and by which columns they are told apart.
        refresh_every: the schedule by which it is refreshed, as text; None without one.
        due_at: when that is to be next; in the past while it goes on, fails, or nobody works.
        refreshed_at: when its rows were computed, if they are kept.
        failures: how often it was due and not refreshed, since the last time that went well.
        last_error, failed_at: why not, and when; None where all is well.
        retry_at: it is not tried again before that.
    """

    name: str
    version: int
    sql: str
    materialized: bool
    key: tuple[str, ...]
    description: str | None
    columns: tuple[ViewColumn, ...]
    depends: tuple[str, ...]
    dependants: tuple[str, ...]
    refresh_every: str | None
    due_at: datetime | None
    refreshed_at: datetime | None
    changed_at: datetime
    failures: int
    last_error: str | None
    failed_at: datetime | None
    retry_at: datetime | None
    _views: Views = field(repr=False, compare=False)

    def __repr__(self) -> str:
        what = "materialized view" if self.materialized else "view"
        columns, reads = ", ".join(each.name for each in self.columns), ", ".join(self.depends) or "nothing"
        return f"<{what} {self.name!r}, version {self.version}: {columns}; reads {reads}>"

    @property
    def state(self) -> Literal["computed", "kept", "scheduled", "failing"]:
        """``computed`` whenever it is read; ``kept`` until `refresh`; ``scheduled``; or ``failing`` to be refreshed."""
        if not self.materialized:
            return "computed"
        if self.refresh_every is None:
            return "kept"
        return "failing" if self.failures else "scheduled"

    def versions(self) -> list[ViewVersion]:
        """Every text that it had, the oldest first."""
        return self._views.versions(self.name)

    def rollback(self, version: int) -> View:
        """Make the text of an earlier version the newest one; nothing is lost by it.

        Raises:
            ViewNotFoundError: there is no such version.
            DefinitionError: that text does not fit the tables of today.
            WarehouseError: views that stand on this one do not fit that text.
        """
        return self._views.rollback(self.name, version)

    def drop(self, *, cascade: bool = False) -> list[str]:
        """Drop it; its versions are kept.

        Args:
            cascade: drop the views that stand on it as well.

        Returns:
            the names of what was dropped.

        Raises:
            WarehouseError: others stand on it.
        """
        return self._views.drop(self.name, cascade=cascade)

    def refresh(self) -> View:
        """Compute the kept rows anew. With a ``key=`` others can read the old ones meanwhile.

        Raises:
            DefinitionError: its rows are not kept.
            WarehouseError: PostgreSQL refused, for example because the key is not unique any more.
        """
        return self._views.refresh(self.name)

    async def arefresh(self) -> View:
        """`refresh` on a loop; it runs in a thread."""
        return await asyncio.to_thread(self.refresh)

    def staleness(self) -> Staleness:
        """What was written since its rows were computed. A plain view is fresh, unless it reads one that is not."""
        return self._views.staleness(self.name)
