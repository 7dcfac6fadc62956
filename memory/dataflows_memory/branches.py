"""Branches: a fork remembers for itself, on top of what was there at its point, until somebody merges it.

What the original run did counts by its steps: those that the fork shares with it are its past too. What others did
counts by time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.engine.live import current_run
from dataflows_sdk.errors import RecallError, RunNotFoundError

if TYPE_CHECKING:
    from dataflows_memory.store import Collection, Store

#: so many runs are known without a question
_KNOWN = 10_000
#: so deep may forks stand on forks
_DEEP = 1_000


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of the memory.

    Attributes:
        run: the fork whose it is.
        below: the branch that it stands on; None: what everybody sees.
        origin: the run that it is a fork of.
        point: until when the past is a common one.
        shared: the steps of the original that are steps of the fork.
    """

    run: str
    below: Branch | None
    origin: str
    point: datetime
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What somebody sees who is not on the main line of now.

    Attributes:
        branch: on which branch; None: the main line.
        until: the moment that a replay has come to, which sees what was there then and says nothing.
        run, steps: what it replays, and how much of it.
    """

    branch: Branch | None
    until: datetime | None = None
    run: str = ""
    steps: tuple[str, ...] = ()


#: what everybody sees, whoever asks
MAIN = View(None)


@dataclass(frozen=True, slots=True)
class Lines:
    """The places that a view is made of.

    Attributes:
        text: the places, as the statements of branches.sql take them.
        own: the runs that are on the branch.
        places: their numbers.
    """

    text: str
    own: tuple[str, ...]
    places: tuple[int, ...] = ()

    def at(self, true: datetime, known: datetime) -> list[Any]:
        """What each of those statements begins with."""
        return [self.text, true, known, list(self.own)]


@TYPES.register
@dataclass(frozen=True, slots=True)
class BranchInfo(ShownAsTable):
    """What a fork has said.

    Attributes:
        run, workflow: the fork; no workflow: it was purged.
        origin: the run that it is a fork of.
        point: until when their past is the same.
        made_at, merged_at: when it said something for the first time; when it was merged.
        scopes: where.
        items: how many items it has.
        denied: of how many items of others it says that they are not true.
    """

    run: str
    workflow: str | None
    origin: str
    point: datetime
    made_at: datetime
    merged_at: datetime | None
    scopes: tuple[str, ...] = field(default=())
    items: int = 0
    denied: int = 0


class Branches:
    """Knows which run is on which branch. Thread-safe.

    Args:
        store: the memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        #: a run and what it is a fork of never change
        self._topmost: dict[str, str | None] = {}
        self._branches: dict[str, Branch] = {}

    def here(self) -> View:
        """What the code sees that is running."""
        info = current_step.get()
        if info is not None and info.active:
            return View(self.of(info.run_id))
        live = current_run()
        if live is None:
            return MAIN
        run = str(live.id)
        if not live.dry or live.point is None:
            return View(self.of(run))
        self._store.prepare()
        until, steps = live.point()
        return View(self.of(run), self._after(until, run, steps), run, tuple(steps))

    def _after(self, moment: datetime, run: str, steps: Sequence[str]) -> datetime:
        """A moment of the journal, as late as what the steps before it wrote here."""
        ((last,),) = self._store.ask("branches", "written", [run, list(steps)])
        return moment if last is None else max(moment, last)

    def of(self, run: str) -> Branch | None:
        """The branch that a run is on: that of the outermost fork it belongs to."""
        with self._lock:
            if run in self._topmost:
                top = self._topmost[run]
                return None if top is None else self._branches[top]
        self._store.prepare()
        rows = self._store.ask("branches", "topmost", [run])
        top = str(rows[0][0]) if rows else None
        branch = None if top is None else self._branch(top, 0)
        with self._lock:
            if len(self._topmost) >= _KNOWN:
                self._topmost.clear()
                self._branches.clear()
            self._topmost[run] = top
            if branch is not None:
                self._branches[branch.run] = branch
        return branch

    def bring(self, run: str, fork: str) -> None:
        """Put a run on the branch of a fork that is not its parent."""
        self._store.prepare()
        self._store.ask("branches", "bring", [run, fork])
        with self._lock:
            self._topmost.pop(run, None)

    def named(self, run: str) -> Branch:
        """The branch of a fork, also of one that was purged.

        Raises:
            RunNotFoundError: there is no such run.
            RecallError: it is no fork.
        """
        try:
            run = str(UUID(run))
        except ValueError:
            raise RunNotFoundError(f"{run!r} is no id of a run") from None
        self._store.prepare()
        branch = self.of(run) or self._written(run, 0)
        if branch is None:
            if not self._store.ask("branches", "known_run", [run]):
                raise RunNotFoundError(f"there is no run {run}, and no branch of one")
            raise RecallError(f"run {run} is no fork and belongs to none: what it remembers, everybody sees")
        return branch

    def _branch(self, run: str, depth: int) -> Branch | None:
        found = self._store.ask("branches", "point", [run])
        if not found or depth > _DEEP:
            return self._written(run, depth)
        ((origin, point, shared),) = found
        point = self._after(point, str(origin), shared)
        return Branch(run, self._below(str(origin), depth), str(origin), point, tuple(shared))

    def _written(self, run: str, depth: int) -> Branch | None:
        found = self._store.ask("branches", "branch", [run])
        if not found or depth > _DEEP:
            return None
        ((below, origin, point, shared),) = found
        lower = None if below is None else self._written(str(below), depth + 1)
        return Branch(run, lower, str(origin), point, tuple(shared))

    def _below(self, origin: str, depth: int) -> Branch | None:
        rows = self._store.ask("branches", "topmost", [origin])
        return self._branch(str(rows[0][0]), depth + 1) if rows else None

    # --- places ------------------------------------------------------------------------------------------

    def lines(
        self, view: View, home: Collection, scopes: Sequence[str] | None, *, below: bool = False
    ) -> tuple[Lines, set[str]]:
        """The places of a view, and the scopes that are there; with *below* without those of the branch itself."""
        told: list[dict[str, Any]] = []
        there: set[str] = set()
        until, level = view.until, 0 if view.until is None else 1
        branch, above = view.branch, None
        origin, steps = (view.run or None), view.steps
        while True:
            found = self._store.places(home, scopes, None if branch is None else branch.run)
            there |= set(found)
            if below and above is None and branch is not None:
                found = {}
            told += [
                {
                    "place": place,
                    "level": level,
                    "until": "infinity" if until is None else until.isoformat(),
                    "origin": origin,
                    "shared": steps,
                }
                for place in found.values()
            ]
            if branch is None:
                break
            until = branch.point if until is None else min(until, branch.point)
            origin, steps = branch.origin, branch.shared
            above, branch, level = branch, branch.below, level + 1
        own: Sequence[UUID] = ()
        if view.branch is not None and view.until is None:
            ((own,),) = self._store.ask("branches", "own_runs", [view.branch.run])
        text = json.dumps(told)
        return Lines(text, tuple(map(str, own)), tuple(line["place"] for line in told)), there

    def make_place(self, branch: Branch, home: Collection, scope: str) -> int:
        """The number of a branch's scope, made if there is none."""
        chain: list[Branch] = []
        each: Branch | None = branch
        while each is not None:
            chain.append(each)
            each = each.below
        for each in reversed(chain):
            below = None if each.below is None else each.below.run
            self._store.ask("branches", "make_branch", [each.run, below, each.origin, each.point, list(each.shared)])
        return self._store.make_place(home, scope, branch.run)

    def all(self) -> list[BranchInfo]:
        """What forks have said."""
        self._store.prepare()
        rows = self._store.ask("branches", "branches")
        return [
            BranchInfo(str(run), workflow, str(origin), point, made, merged, tuple(scopes), items, denied)
            for run, workflow, origin, point, made, merged, scopes, items, denied in rows
        ]

    def forget(self) -> None:
        """A branch is gone."""
        with self._lock:
            self._topmost.clear()
            self._branches.clear()
