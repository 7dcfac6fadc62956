"""Syncs: rows of other systems into tables of the warehouse, page by page, as durable runs."""

from __future__ import annotations

from dataflows_sdk.syncing.desk import SyncRun, Syncs
from dataflows_sdk.syncing.report import SyncReport, SyncState

__all__ = ["SyncReport", "SyncRun", "SyncState", "Syncs"]
