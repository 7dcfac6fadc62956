"""What a sync says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dataflows_sdk.core.shown import ShownAsTable

__all__ = ["SyncReport", "SyncState"]


@dataclass(frozen=True)
class SyncReport(ShownAsTable):
    """What one run of a sync did.

    Attributes:
        name: of the sync.
        table: the table; where a source has several, their names joined by commas.
        mode: ``"full"`` or ``"incremental"``.
        pages: fetched and stored by this run.
        rows: on these pages.
        inserted, updated, unchanged: what became of them.
        deleted: rows that the source named as deleted, or that a full sync did not find any more.
        aside: rows that were set aside, see ``bad=``.
        waits: how often the other side asked to wait.
        seconds: from the run's beginning to its end.
        cursor: where the next incremental sync begins.
        continued: whether it went on with what an earlier run had begun.
    """

    name: str
    table: str
    mode: str
    pages: int = 0
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    aside: int = 0
    waits: int = 0
    seconds: float = 0.0
    cursor: Any = None
    continued: bool = False

    def __str__(self) -> str:
        counts = ", ".join(
            f"{count:,} {word}"
            for word, count in (
                ("inserted", self.inserted), ("updated", self.updated), ("unchanged", self.unchanged),
                ("deleted", self.deleted), ("set aside", self.aside),
            )
            if count
        )  # fmt: skip
        pages = f"{self.pages:,} page{'' if self.pages == 1 else 's'}"
        return f"{self.name}: {self.rows:,} rows on {pages} in {self.seconds:.1f} s ({counts or 'nothing changed'})"


@dataclass(frozen=True)
class SyncState(ShownAsTable):
    """How a sync stands.

    Attributes:
        name: of the sync; rows of it have it as ``_source``.
        table: where its rows go; None where the source names a table for each page.
        mode: of the last run.
        status: ``"running"``, ``"succeeded"``, ``"failed"``, ``"cancelled"`` or ``"quarantined"``.
        run: the id of the last run.
        page: pages of the pass that is under way, or of the last one.
        cursor: where the next page, or the next incremental sync, begins.
        last_success: when it was last complete.
        lag: how long ago that is.
        every: how often it runs by itself.
        next_at: when it runs next.
        next_run: the run that waits for that.
    """

    name: str
    table: str | None
    mode: str
    status: str
    run: str | None
    page: int
    cursor: Any
    at: datetime
    last_success: datetime | None
    lag: timedelta | None
    every: timedelta | None = None
    next_at: datetime | None = None
    next_run: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
