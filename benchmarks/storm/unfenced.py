"""The engine's statements without the fence. For one purpose: to see that the chaos test would notice."""

from __future__ import annotations

from dataflows_sdk.store.sqlfiles import statements
from storm.named import named


def remove_fence() -> None:
    """In this process, write whatever the epoch. Before `connect`."""
    # The library's copy is kept once for each way of asking for it.
    for journal in (statements("journal"), statements("journal", "dataflows_sdk.store")):
        for name, text in named("unfenced").items():
            if name not in journal:
                raise LookupError(f"unfenced.sql replaces {name!r}, which the engine no longer has")
            journal[name] = text.rstrip().rstrip(";")
