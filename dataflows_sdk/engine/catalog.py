"""Which workflows a process knows, by name and version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from dataflows_sdk.errors import DuplicateWorkflowError, WorkflowNotFoundError

if TYPE_CHECKING:
    from dataflows_sdk.engine.definitions import Workflow


class Catalog:
    """Workflows by name, with the versions that this process has seen. Thread-safe.

    Raises on `add`:
        DuplicateWorkflowError: another function, from another place, has the name.
    """

    def __init__(self, parent: Catalog | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._current: dict[str, Workflow] = {}
        self._versions: dict[tuple[str, str], Workflow] = {}
        self._gone: dict[str, Workflow] = {}
        self._listeners: list[Callable[[], None]] = []
        self._own: dict[str, Workflow] = {}
        #: of these, the ones whose runs are taken on where no other workflow is known, and as long as what is so
        self._own_anyway: dict[str, Callable[[], bool]] = {}
        self._added = 0

    @property
    def generation(self) -> int:
        """A number that grows whenever a workflow is added here or in the parent."""
        return self._added + (self._parent.generation if self._parent is not None else 0)

    def add(self, *workflows: Workflow) -> None:
        """Register all or none; the same function defined again is a new version.

        Nobody sees a part of them: a worker that claimed for the first already would pass over older runs of the next.
        """
        if not workflows:
            return
        with self._lock:
            current = dict(self._current)
            for workflow in workflows:
                known = current.get(workflow.name)
                if known is not None and not _same_place(known, workflow):
                    raise DuplicateWorkflowError(
                        f"workflow {workflow.name!r} is already {'.'.join(known.origin)}; "
                        f"give {'.'.join(workflow.origin)} another name"
                    )
                current[workflow.name] = workflow
            self._current = current
            self._versions.update({(each.name, each.version): each for each in workflows})
            self._added += 1
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def add_own(self, workflow: Workflow) -> None:
        """A workflow of the library itself: who takes on any runs takes on those of it, and nobody sees it."""
        self._own[workflow.name] = workflow

    def take_own(self, name: str, anyway: Callable[[], bool] = lambda: True) -> None:
        """Take on runs of a workflow of the library's own although no other one is known here, if *anyway* says so.

        A process that started one has to: a run that waits is woken up by whoever takes it on.
        """
        self._own_anyway[name] = anyway
        with self._lock:
            self._added += 1
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def remember(self, workflow: Workflow) -> None:
        """Keep an older version, for runs that began with it."""
        with self._lock:
            self._versions[workflow.name, workflow.version] = workflow

    def forget(self, workflow: Workflow) -> None:
        """Take on no more runs of this workflow, on whichever of its versions."""
        with self._lock:
            if self._current.get(workflow.name) is workflow:
                self._gone[workflow.name] = self._current.pop(workflow.name)
                self._versions = {key: each for key, each in self._versions.items() if key[0] != workflow.name}
                self._added += 1

    def claimed(self, name: str) -> Workflow:
        """The workflow of a run that was claimed for its name; it may have been forgotten in that moment."""
        with self._lock:
            gone = self._gone.get(name)
        return self.get(name) or gone or self.require(name)

    def get(self, name: str, version: str | None = None) -> Workflow | None:
        """The workflow of a name; with *version*, exactly that version where this process has it."""
        with self._lock:
            found = self._current.get(name) if version is None else self._versions.get((name, version))
        if found is None and self._parent is not None:
            found = self._parent.get(name, version)
        if found is None and (own := self._own.get(name)) is not None and version in (None, own.version):
            return own
        return found

    def require(self, name: str) -> Workflow:
        """The workflow of a name, or WorkflowNotFoundError which says how to bring it."""
        found = self.get(name)
        if found is None:
            known = ", ".join(each.name for each in self) or "none"
            raise WorkflowNotFoundError(
                f"this process has no workflow {name!r} (it has: {known}); import the module that defines it, "
                "or run the cell, or register the flow with ctx.register(flow)"
            )
        return found

    def versions(self) -> list[str]:
        """The hashes of all versions that this process has."""
        with self._lock:
            found = {version for _, version in self._versions}
        return sorted(found.union(self._parent.versions() if self._parent is not None else ()))

    def names(self) -> set[str]:
        with self._lock:
            names = set(self._current)
        names |= self._parent.names() if self._parent is not None else set()
        if names:
            return names | set(self._own)
        return {name for name, anyway in list(self._own_anyway.items()) if anyway()}

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* when a workflow is added here or in the parent."""
        with self._lock:
            self._listeners.append(listener)
        if self._parent is not None:
            self._parent.listen(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
        if self._parent is not None:
            self._parent.unlisten(listener)

    def __iter__(self) -> Iterator[Workflow]:
        names = sorted(self.names() - set(self._own))
        return iter([w for name in names if (w := self.get(name)) is not None])


def _same_place(one: Workflow, other: Workflow) -> bool:
    if one.kind == "flow" and other.kind == "flow":
        return True
    if one.origin == other.origin or one.scope is not None:
        return True  # what was published gives way to a newer one, and to code of this process's own
    # A function inside a function exists as often as that one is called: the last one counts.
    return "<locals>" in one.origin[1] and "<locals>" in other.origin[1]


#: what `@workflow` registers in
CATALOG = Catalog()
#: where it registers instead, while published code is being loaded
COLLECTING: ContextVar[Catalog | None] = ContextVar("dataflows_collecting", default=None)
