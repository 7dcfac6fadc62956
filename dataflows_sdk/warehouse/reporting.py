"""What ``ctx.warehouse`` has for reports: views, those that come with the library, and roles for BI tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from dataflows_sdk.core.durations import Duration
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.triggers.schedule import Schedule
    from dataflows_sdk.warehouse.bi import Bi, BiAccess
    from dataflows_sdk.warehouse.view import View, ViewVersion
    from dataflows_sdk.warehouse.views import Views


class Reporting:
    """A part of `Warehouse`."""

    _database: Database
    #: where other programs reach the database; None: as we do
    _address: Callable[[], str] | None = None
    #: the moment where time is virtual
    _now: Callable[[], datetime | None] = staticmethod(lambda: None)
    #: called when a view is to be refreshed by itself from now on
    _scheduled: Callable[[], None] = staticmethod(lambda: None)

    if TYPE_CHECKING:

        def table(self, name: str, columns: Any = None, /, *, key: Any = None) -> Any:
            """`Warehouse.table`."""

    @cached_property
    def _views(self) -> Views:
        from dataflows_sdk.warehouse.views import Views

        return Views(self._database, self._now, self._scheduled)

    @cached_property
    def _bi(self) -> Bi:
        from dataflows_sdk.warehouse.bi import Bi

        return Bi(self._database, self._address)

    def view(
        self,
        name: str,
        sql: str | None = None,
        *,
        materialized: bool = False,
        key: str | Sequence[str] | None = None,
        refresh: Duration | Schedule | None = None,
        description: str | None = None,
    ) -> View:
        """A view next to the tables, which psql and BI tools see: made, changed, or the one that is there.

        The same text again changes nothing. Another text is a new version, and views that stand on this one are made
        anew with it, in one transaction. Inside a step that is a transaction of its own, too.

        Args:
            name: of the view.
            sql: one SELECT of PostgreSQL. Bare names are tables and views of the warehouse; ``dataflows.runs``,
                ``dataflows.steps`` and ``dataflows.events`` are the journal. None for a view that is there.
            materialized: keep the rows; `View.refresh` computes them anew.
            key: columns of a materialised view that are unique together; with them others can read during a refresh.
            refresh: when a materialised view is refreshed by itself: ``"5m"``, ``"0 6 * * *"`` or a `Schedule`. One of
                the contexts that work does it; `View.state` and the doctor tell of failures.
            description: for people; it is the comment of the view in PostgreSQL.

        Raises:
            ViewNotFoundError: without *sql*: there is no such view.
            DefinitionError: the name cannot be, the text is not one SELECT, or it names what does not exist.
            WarehouseError: views that stand on this one do not fit the new text, or the database is busy with it.
        """
        if sql is None:
            if materialized or key is not None or refresh is not None or description is not None:
                raise DefinitionError(f"view {name!r}: options go with a text: view(name, sql, …)")
            return self._views.get(name)
        return self._views.define(
            name, sql, materialized=materialized, key=key, refresh=refresh, description=description
        )

    async def aview(self, name: str, sql: str | None = None, **options: Any) -> View:
        """`view`, to be awaited; it runs in a thread."""
        return await asyncio.to_thread(self.view, name, sql, **options)

    def views(self) -> list[View]:
        """All views that were defined, by name."""
        return self._views.everything()

    def view_versions(self, name: str) -> list[ViewVersion]:
        """Every text that a view had, the oldest first; also that of one which was dropped."""
        return self._views.versions(name)

    def restore_view(self, name: str, version: int) -> View:
        """Make an earlier text of a view the newest one; also of a view that was dropped.

        Raises:
            ViewNotFoundError: there is no such view or version.
            DefinitionError: that text does not fit the tables of today.
        """
        return self._views.rollback(name, version)

    def refresh_due(self, now: datetime | None = None) -> list[str]:
        """Refresh the materialised views whose ``refresh=`` says that it is time; which those were.

        Contexts that work do so by themselves. Of several that do it at once, one refreshes each view, and what stands
        on another one comes after it.

        Args:
            now: another time than the clock's.

        Raises:
            WarehouseError: a view was not refreshed; the others were. It is tried again later.
        """
        return self._views.refresh_due(now)

    def standard(self, name: str) -> View:
        """A view that comes with the library, and the tables that it reads, made as far as they are missing.

        Args:
            name: ``"unified_customer"`` (Stripe and HubSpot) or ``"project_profitability"`` (ClickUp and Xero).

        Raises:
            DefinitionError: there is no such view.
            ShapeError: one of the tables is there and of another shape.
        """
        from dataflows_sdk.warehouse.standard import install

        return install(name, self, self._views)

    def bi_access(
        self,
        name: str,
        password: str | None = None,
        *,
        journal: bool = False,
        timeout: Duration = "60s",
        connections: int = 10,
    ) -> BiAccess:
        """A role that reads the warehouse and nothing else, for Metabase, Tableau, Power BI or psql.

        It sees tables, their pasts and views, also those that are made later. Again, its rights are brought up to
        date, and it keeps its password.

        Args:
            name: of the role.
            password: by default one is made; a role that is there already keeps the one it has.
            journal: let it read ``dataflows.runs``, ``steps``, ``events`` and ``executions`` as well.
            timeout: how long one statement of it may take.
            connections: how many it may have.

        Raises:
            DefinitionError: the name, the password or a number cannot be.
            StoreError: a role of that name was made by somebody else, or the role of this connection may make none.
        """
        return self._bi.access(name, password, journal=journal, timeout=timeout, connections=connections)
