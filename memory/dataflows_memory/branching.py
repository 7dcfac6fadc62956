"""What a memory does with branches: looking at one, merging it, letting go of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from dataflows_memory.base import Base
from dataflows_memory.branches import MAIN, View
from dataflows_memory.items import New
from dataflows_memory.writing import Stored, Writer
from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import RecallError

if TYPE_CHECKING:
    from dataflows_memory.branches import Branch, BranchInfo, Lines
    from dataflows_memory.store import Collection

Conflicts = Literal["refuse", "branch", "main"]
#: origin, ref and part
_Place = tuple[str, str, int]
#: a conflict is told with so many
_TOLD = 5


@TYPES.register
@dataclass(frozen=True, slots=True)
class Merged(ShownAsTable):
    """What came of a merge.

    Attributes:
        added: items that are new, or changed.
        ended: items that were true until the branch said otherwise, or never were.
        unchanged: items that were there as the branch has them.
        conflicts: what both sides had changed: origin, name and part.
    """

    added: int
    ended: int
    unchanged: int
    conflicts: tuple[_Place, ...] = ()


@dataclass(frozen=True, slots=True)
class _Version:
    id: int
    place: int
    hash: bytes
    meta: dict[str, Any]


@dataclass(slots=True)
class _Sides:
    """One place of a branch, and what it is to be merged with."""

    home: Collection
    scope: str
    #: what the branch says, by number and version
    said: dict[_Place, tuple[New, _Version]]
    #: since when it denies what was there; -infinity is None
    denied: dict[_Place, datetime | None]
    #: what was there at the fork's point, and what is there now
    base: dict[_Place, _Version]
    now: dict[_Place, _Version]

    def conflicts(self) -> list[_Place]:
        """What somebody else has changed since, and not to the same."""
        found = []
        for place in {**self.said, **self.denied}:
            base, now = self.base.get(place), self.now.get(place)
            if (base and base.id) == (now and now.id):
                continue
            if place in self.said:
                own = self.said[place][1]
                same = now is not None and (now.hash, now.meta) == (own.hash, own.meta)
            else:
                same = now is None
            if not same:
                found.append(place)
        return sorted(found)


class Branching(Base):
    """A part of `Memory`."""

    def on(self, run: Any) -> Self:
        """Give this memory as a fork sees it, or with ``"main"`` as everybody does; what it remembers goes there too.

        Within a fork `ctx.memory` is already the fork's.

        Args:
            run: a fork, or a run that one has started, or its id; or ``"main"``.

        Raises:
            RecallError: it is no fork.
            RunNotFoundError: there is no such run.
        """
        fixed = MAIN if run == "main" else View(self._branches.named(str(getattr(run, "id", run))))
        found = copy.copy(self)
        found._fixed = fixed
        return found

    def branches(self) -> list[BranchInfo]:
        """What forks have remembered for themselves, oldest first."""
        return self._branches.all()

    def merge(self, run: Any, *, conflicts: Conflicts = "refuse") -> Merged:
        """Let everybody see what a fork has remembered, or the branch that it stands on; all of it, or nothing.

        What it wrote keeps its times and the run and step that wrote it. Merging again takes what came since.

        Args:
            run: the fork, or its id.
            conflicts: what becomes of items that both sides have changed since the fork's point: ``"refuse"`` the
                merge, take the ``"branch"``, or leave what is on ``"main"``.

        Raises:
            RecallError: it is no fork; there are conflicts.
            RunNotFoundError: there is no such run.
        """
        if conflicts not in ("refuse", "branch", "main"):
            raise RecallError(f"conflicts={conflicts!r} is none of 'refuse', 'branch', 'main'")
        self._writing_view()
        branch = self._branches.named(str(getattr(run, "id", run)))
        total, ended, clashes = Stored(()), 0, list[_Place]()
        with self._at_once():
            now = self._time()
            places = self._store.ask("branches", "places_of", [branch.run])
            for place, collection, scope in places:
                sides = self._sides(branch, place, collection, scope, now)
                found = sides.conflicts()
                clashes += found
                if found and conflicts == "refuse":
                    raise RecallError(_told(branch, found))
                if conflicts == "main":
                    for each in found:
                        sides.said.pop(each, None)
                        sides.denied.pop(each, None)
                stored, gone = self._take_over(branch, sides, now)
                total, ended = total + stored, ended + gone
            self._store.ask("branches", "merged", [branch.run, now])
        self._known.forget()
        return Merged(total.added, total.ended + ended, total.unchanged, tuple(clashes))

    def discard(self, run: Any) -> int:
        """Delete for good what a fork has remembered; how many versions of items.

        Raises:
            RecallError: it is no fork; or the branch of another fork stands on it.
            RunNotFoundError: there is no such run.
        """
        self._writing_view()
        branch = self._branches.named(str(getattr(run, "id", run)))
        above = [str(each) for (each,) in self._store.ask("branches", "above", [branch.run])]
        if above:
            names = ", ".join(above)
            raise RecallError(f"the branches of {names} stand on that of {branch.run}: discard these first")
        with self._store.transaction() as connection:
            ((count,),) = self._store.run(connection, "branches", "versions", [branch.run])
            self._store.run(connection, "branches", "discard", [branch.run])
        self._branches.forget()
        return int(count)

    # --- within ------------------------------------------------------------------------------------------

    def _branch_name(self) -> str | None:
        """The fork whose memory this is, for a run that looks into it."""
        branch = self._view().branch
        return None if branch is None else branch.run

    def _lines_of(self, collection: str, scope: str) -> Lines | None:
        """What the view that this memory has is made of; None on the main line."""
        view = self._view()
        return None if view == MAIN else self._branches.lines(view, self._home(collection), [scope])[0]

    def _own(self, items: Iterable[int], branch: Branch) -> set[int]:
        return {id_ for (id_,) in self._store.ask("branches", "own_items", [list(items), branch.run])}

    def _at_once(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._writer.joined() is not None else self._store.together()

    def _sides(self, branch: Branch, place: int, collection: str, scope: str, now: datetime) -> _Sides:
        home = self._home(collection)
        said: dict[_Place, tuple[New, _Version]] = {}
        for row in self._store.ask("branches", "said", [place]):
            id_, origin, ref, part, text, heading, meta, start, end, since, until, run, step, hash_ = row
            span = None if start is None else (start, end)
            wrote = None if run is None else str(run)
            new = New(text, origin, ref, part, heading, meta, span, since, until, wrote, step)
            said[origin, ref, part] = (new, _Version(id_, place, bytes(hash_), meta))
        denied = {
            (origin, ref, part): since for _, origin, ref, part, since in self._store.ask("branches", "denied", [place])
        }
        pairs = sorted({(origin, ref) for origin, ref, _ in {**said, **denied}})
        asked = [[origin for origin, _ in pairs], [ref for _, ref in pairs]]
        base = self._branches.lines(View(branch), home, [scope], below=True)[0]
        if branch.below is None:
            target = self._store.make_place(home, scope)
            there = self._store.ask("items", "in_force", [[target] * len(pairs), *asked])
        else:
            lines = self._branches.lines(View(branch.below), home, [scope])[0]
            there = self._store.ask("branches", "in_force", [*lines.at(now, now), *asked])
        before = self._store.ask("branches", "in_force", [*base.at(now, now), *asked])
        return _Sides(home, scope, said, denied, _versions(before), _versions(there))

    def _take_over(self, branch: Branch, sides: _Sides, now: datetime) -> tuple[Stored, int]:
        place, lines = self._place(sides.home, sides.scope, View(branch.below))
        who = self._who()
        ended = 0
        with self._store.transaction() as connection:
            for each, since in sides.denied.items():
                there = sides.now.get(each)
                # what the branch says instead puts an end to it anyway
                if there is None or (each in sides.said and since is not None):
                    continue
                self._deny(connection, place, there, since, now, who)
                ended += 1
            news = [new for new, _ in sides.said.values()]
            keeper = self._keeper(sides.home, lines)
            stored = keeper.put(place, news, Writer(now, None, None)) if news else Stored(())
        return stored, ended

    def _deny(
        self, connection: Any, place: int, there: _Version, since: datetime | None, now: datetime, who: Writer
    ) -> None:
        run = self._store.run
        if there.place != place:
            run(connection, "branches", "hide", [place, [there.id], [since or "-infinity"], now, who.run, who.step])
            return
        if since is None:
            run(connection, "items", "retire_items", [[there.id], now, who.run, who.step])
        else:
            run(connection, "items", "end_items", [[there.id], [since], who.run, who.step, now])
        for each in self._store.all_vectors(connection):
            run(connection, "items", "end_vectors", [[there.id]], each)


def _versions(rows: Iterable[tuple[Any, ...]]) -> dict[_Place, _Version]:
    return {
        (origin, ref, part): _Version(id_, place, bytes(hash_), meta)
        for id_, place, origin, ref, part, hash_, _, _, meta, _, _ in rows
    }


def _told(branch: Branch, conflicts: list[_Place]) -> str:
    names = ", ".join(f"{ref!r}" + (f" part {part}" if part else "") for _, ref, part in conflicts[:_TOLD])
    more = f" and {len(conflicts) - _TOLD} more" if len(conflicts) > _TOLD else ""
    return (
        f"branch {branch.run} and what it stands on have both changed {names}{more} since "
        f"{branch.point:%Y-%m-%d %H:%M:%S}; nothing was merged: "
        'merge(run, conflicts="branch") takes the branch, conflicts="main" leaves what is there'
    )
