"""Triggers that workflows in code declare."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.definitions import Workflow
    from dataflows_sdk.flow.sources import TriggerSpec


class Declared:
    """Brings what the workflows of this process declare into the database.

    Args:
        put: stores the triggers of one workflow.
    """

    def __init__(self, context: Context, put: Callable[[str, tuple[TriggerSpec, ...]], None]) -> None:
        self._context = context
        self._put = put
        self._lock = threading.Lock()
        self._done: dict[str, tuple[TriggerSpec, ...]] = {}
        self._stored: set[str] | None = None
        self._generation = -1

    def look(self) -> None:
        """Store what is new; nothing if there is nothing new. A process that only looks on declares nothing."""
        if not self._context._works:
            return
        generation = self._context._catalog.generation
        with self._lock:
            if generation == self._generation:
                return
            for workflow in self._context.workflows():
                if workflow.kind == "code":
                    self._take(workflow)
            self._generation = generation

    def _take(self, workflow: Workflow) -> None:
        specs = workflow.triggers
        if self._done.get(workflow.name) != specs and (specs or self._was_on(workflow.name)):
            self._put(workflow.name, specs)
        self._done[workflow.name] = specs

    def _was_on(self, name: str) -> bool:
        """Whether another process, or an earlier one, declared triggers of it."""
        if self._stored is None:
            self._stored = {row[0] for row in self._context._read("triggers", "code")}
        return name in self._stored or bool(self._done.get(name))
