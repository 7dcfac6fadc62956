"""The journal's tables as they were at another time, made of those of today.

Nothing is kept for it: the journal only grows, and what a run was is the fold of the events that it had by then.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from dataflows_sdk.store.sqlfiles import statement

#: tables of today that those of other times are made of
_MADE_OF = {"runs": ("runs", "events"), "steps": ("steps", "events"), "events": ("events",)}


def sources(tables: Collection[str]) -> set[str]:
    """Which tables of today *tables* of another time are made of."""
    return {source for table in tables for source in _MADE_OF[table]}


def make_past(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views ``runs``, ``steps`` and ``events`` of ``dataflows_past``, over the tables of ``dataflows``."""
    connection.execute(statement("journal_past", "create", "dataflows_sdk.warehouse"))
