"""The workflow of a sync, by its name: what it does is imported when the first run of it begins.

Every context that works knows this workflow, and few ever have a sync; with what it needs (DuckDB, the warehouse) a
connect() would take half as long again.
"""

from __future__ import annotations

import sys
from typing import Any

from dataflows_sdk.engine.definitions import Workflow

#: the name of the workflow
SYNC_NAME = "dataflows.sync"


async def _sync(event: Any, step: Any) -> Any:
    from dataflows_sdk.syncing.work import sync

    return await sync(event, step, SYNC)


SYNC = Workflow(SYNC_NAME, _sync, description="Brings rows of another system into a table, page by page.")


def any_declared() -> bool:
    """Whether this process has declared sources, so that it can take on syncs."""
    registry = sys.modules.get("dataflows_sdk.warehouse.sources.registry")
    return registry is not None and bool(registry.any_declared())
