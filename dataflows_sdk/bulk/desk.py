"""`ctx.bulk`: many runs at once, page by page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID

from dataflows_sdk.arguments import check_statuses, moment_or_ago
from dataflows_sdk.bulk.failure import failure_of
from dataflows_sdk.bulk.report import BulkReport, Work
from dataflows_sdk.core.durations import Duration, Instant
from dataflows_sdk.core.ids import parse_id
from dataflows_sdk.engine.claims import Nobody
from dataflows_sdk.engine.dag import stored_flow
from dataflows_sdk.engine.forking import fork_within
from dataflows_sdk.engine.units import Message, Unit
from dataflows_sdk.errors import DataflowsError, DefinitionError, WorkflowNotFoundError
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.definitions import Workflow

#: told after every page: runs dealt with, runs there were at the start; False ends it there
Progress = Callable[[int, int], Any]

_OPEN = ("queued", "running", "sleeping", "waiting", "quarantined")
#: what each verb may be asked of
_STATUSES = {"cancel": _OPEN, "resume": ("quarantined",), "retry": ("failed",)}
#: statuses whose last event holds an error
_WITH_ERROR = frozenset({"failed", "quarantined"})
_PAGE = 500
_MOST_PER_PAGE = 10_000
#: ids in one notification, which holds 8,000 bytes
_TOLD = 100


@dataclass(frozen=True, slots=True)
class _Filter:
    """Which runs, as the parameters of the statements."""

    parameters: tuple[Any, ...]
    limit: int | None
    page: int


class BulkOptions(TypedDict, total=False):
    """What all operations take besides the name of a workflow; see `Bulk`."""

    since: Instant | Duration | None
    until: Instant | Duration | None
    queue: str | None
    error: str | None
    message: str | None
    runs: Iterable[Run | str | UUID] | None
    limit: int | None
    everything: bool
    dry_run: bool
    progress: Progress | None
    page: int


class Bulk:
    """``ctx.bulk``: operations on all runs that a filter finds, however many.

    They go page by page in the order of the runs' ids, each page in a transaction of its own: nothing waits long for
    them, and what ends in the middle is done for the pages before and not for those after. Runs that begin after the
    call are not met. The same call again goes on with what is left.

    Every operation takes the same filter, of which everything that is given has to hold:

    Args:
        workflow: only runs of this name.
        status: one of the status words, or several.
        since, until: when they were created; both may be a duration: ``"24h"`` ago.
        queue: only runs of this queue.
        error: only runs with this type of error (``"KeyError"``, ``"shop.models:OutOfStock"``), or of quarantined ones
            with this code (``"changed-code"``).
        message: only runs whose error says this, in whatever case.
        runs: only these, as ids or handles.
        limit: at most so many, the oldest first.
        everything: needed where no filter is given.
        dry_run: only count: the report's `matched`.
        progress: called after each page with the number of runs dealt with and that of all; False ends it there.
        page: how many runs make a page, 1 to 10,000.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    # --- the verbs ---------------------------------------------------------------------------------------

    def cancel(
        self,
        workflow: str | None = None,
        status: str | Sequence[str] | None = None,
        *,
        reason: str = "",
        **options: Unpack[BulkOptions],
    ) -> BulkReport:
        """Ask for the end of all open runs of a filter, see `Bulk`.

        Runs that nobody executes and that have nothing to undo end at once; the others at their next step or wait,
        after their compensations.

        Raises:
            DefinitionError: the filter makes no sense, or there is none.
        """
        if not isinstance(reason, str):
            raise DefinitionError(f"reason is a text, not {reason!r}")
        said = self._context._redactor.redact_text(reason)
        return self._go("cancel", workflow, status, options, lambda rows, work: self._cancel(rows, said, work))

    def resume(
        self,
        workflow: str | None = None,
        *,
        version: str = "current",
        **options: Unpack[BulkOptions],
    ) -> BulkReport:
        """Let all quarantined runs of a filter go on, see `Bulk`.

        Args:
            version: ``"current"`` for today's code, or ``"recorded"`` for the code that each began with; then runs
                whose version this process does not have are failures of the report.

        Raises:
            DefinitionError: the filter or the version makes no sense.
        """
        if version not in ("current", "recorded"):
            raise DefinitionError(f"runs are resumed on their 'current' or their 'recorded' version, not {version!r}")
        recorded = version == "recorded"
        return self._go("resume", workflow, None, options, lambda rows, work: self._resume(rows, recorded, work))

    def retry(
        self,
        workflow: str | None = None,
        *,
        again: bool = False,
        **options: Unpack[BulkOptions],
    ) -> BulkReport:
        """Try all failed runs of a filter again, see `Bulk`: each is forked at the step that failed.

        The past stays as it was: a retry is a new run, which shares what the failed one had done before the failure and
        does the rest on today's code. Where the step that failed was a child run, that one is forked inside. Left out
        are runs that have a fork already (so that nothing is done twice), and children of parents that did not succeed
        (they come with their parent).

        Args:
            again: also those that have a fork.

        Raises:
            DefinitionError: the filter makes no sense, or there is none.
        """
        return self._go(
            "retry", workflow, None, options, lambda rows, work: self._retry(rows, again, work), fresh=not again
        )

    # --- which runs --------------------------------------------------------------------------------------

    def _filter(
        self,
        action: str,
        workflow: str | None,
        status: str | Sequence[str] | None,
        fresh: bool,
        *,
        since: Instant | Duration | None = None,
        until: Instant | Duration | None = None,
        queue: str | None = None,
        error: str | None = None,
        message: str | None = None,
        runs: Iterable[Run | str | UUID] | None = None,
        limit: int | None = None,
        everything: bool = False,
        page: int = _PAGE,
    ) -> _Filter:
        given = {"workflow": workflow, "queue": queue, "error": error, "message": message}
        for name, value in given.items():
            if value is not None and (not isinstance(value, str) or not value or "\0" in value):
                raise DefinitionError(f"{name} is a text, not {value!r}")
        for name, number, most in (("limit", limit, None), ("page", page, _MOST_PER_PAGE)):
            if number is not None and (
                isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= (most or number)
            ):
                raise DefinitionError(f"{name} is a number from 1{f' to {most:,}' if most else ''}, not {number!r}")
        ids = None if runs is None else _ids(runs)
        filters = (workflow, status, since, until, queue, error, message, ids)
        if not everything and all(value is None for value in filters):
            raise DefinitionError(
                f"ctx.bulk.{action}() without a filter would take every run: name a workflow, a status, a time, an "
                "error, or say everything=True"
            )
        wanted = check_statuses(status) or list(_STATUSES[action])
        if wrong := [word for word in wanted if word not in _STATUSES[action]]:
            raise DefinitionError(
                f"a run that is {wrong[0]} cannot be {_PAST[action]}; those that are {', '.join(_STATUSES[action])} can"
            )
        if error is not None or message is not None:
            wanted = [word for word in wanted if word in _WITH_ERROR]
            if not wanted:
                raise DefinitionError("only runs that failed or are quarantined have an error")
        now = self._context._engine.stamp() or self._context._read("schema", "server")[0][3]
        start = None if since is None else moment_or_ago(since)
        # what begins after this is not met; the smallest step of time, so that what began right now is
        end = now + timedelta(microseconds=1)
        if until is not None:
            end = min(end, moment_or_ago(until))
        parameters = (workflow, wanted, start, end, queue, error, message, ids, fresh, action == "retry")
        return _Filter(parameters, limit, page)

    def _pages(self, found: _Filter) -> Iterator[list[tuple[UUID, str, str]]]:
        after: UUID | None = None
        left = found.limit
        while left is None or left > 0:
            size = found.page if left is None else min(left, found.page)
            rows = self._context._read("bulk", "page", (*found.parameters, after, size))
            if not rows:
                return
            yield [(row[0], row[1], row[2]) for row in rows]
            after = rows[-1][0]
            if left is not None:
                left -= len(rows)

    def _go(
        self,
        action: str,
        workflow: str | None,
        status: str | Sequence[str] | None,
        options: BulkOptions,
        act: Callable[[list[tuple[UUID, str, str]], Work], None],
        *,
        fresh: bool = False,
    ) -> BulkReport:
        which: dict[str, Any] = {**options}
        dry_run, progress = which.pop("dry_run", False), which.pop("progress", None)
        found = self._filter(action, workflow, status, fresh, **which)
        if progress is not None and not callable(progress):
            raise DefinitionError(f"progress is a function of two numbers, not {progress!r}")
        begun = time.monotonic()
        counts = self._context._read("bulk", "counts", found.parameters)
        matched = {(workflow, status): count for workflow, status, count in counts}
        if dry_run:
            return BulkReport(action, True, matched, seconds=time.monotonic() - begun)
        total, seen, stopped = sum(matched.values()), 0, False
        work = Work()
        for rows in self._pages(found) if total else ():
            act(rows, work)
            seen += len(rows)
            if progress is not None and progress(seen, max(total, seen)) is False:
                stopped = True
                break
        stopped = stopped or (found.limit is not None and seen >= found.limit and seen < total)
        report = BulkReport(
            action,
            False,
            matched,
            dict(work.results),
            work.failures,
            work.failed,
            work.sample,
            stopped,
            time.monotonic() - begun,
        )
        if seen:
            detail = {"runs": seen, "results": report.results, "failed": report.failed, "filter": _shown(found)}
            self._context._read("bulk", "note", (f"bulk {action}", json.dumps(detail)))
        return report

    # --- a page ------------------------------------------------------------------------------------------

    def _cancel(self, rows: list[tuple[UUID, str, str]], reason: str, work: Work) -> None:
        context = self._context
        engine = context._engine
        here = [row[1] for row in rows if context._works and context._knows(row[1])]
        ids = [row[0] for row in rows]
        parameters = (engine.stamp(), ids, engine.worker_id, reason, here)
        ended = context._read("bulk", "end_idle", parameters)
        over = {row[0] for row in ended}
        work.did("ended", sorted(over))
        parents = sorted({row[1] for row in ended if row[1] is not None})
        if parents:
            context._read("journal", "wake", (engine.stamp(), parents))
            self._tell(parents)
        asked = [run for run in ids if run not in over]
        if not asked:
            return
        payload = json.dumps({"reason": reason})
        unit = Unit(messages=tuple(Message(run, "cancel", "cancel", payload, "cancel:request") for run in asked))

        async def commit() -> None:
            await engine.face.commit(unit)

        engine.ask(commit())
        statuses = unit.delivered or ("running",) * len(asked)
        took = [run for run, status in zip(asked, statuses, strict=True) if status in _OPEN]
        work.did("asked", took)
        if len(took) < len(asked):
            work.results["over"] += len(asked) - len(took)
        if len(took) > _TOLD:
            self._tell(took)  # a unit with so many messages names none of them in its notification

    def _resume(self, rows: list[tuple[UUID, str, str]], recorded: bool, work: Work) -> None:
        context = self._context
        ids: list[UUID] = []
        for run, workflow, version in rows:
            if recorded and context._catalog.get(workflow, version) is None:
                work.failed_with(run, f"this process does not have version {version} of {workflow!r}")
            else:
                ids.append(run)
        done = context._read("bulk", "resume", (context._engine.stamp(), ids, recorded))
        work.did("resumed", [row[0] for row in done])
        if len(done) < len(ids):
            work.results["over"] += len(ids) - len(done)
        self._tell([])

    def _retry(self, rows: list[tuple[UUID, str, str]], again: bool, work: Work) -> None:
        for identifier, workflow, version in rows:
            run = Run(self._context, identifier)
            try:
                fork = self._fork(run, workflow, version, again)
            except DataflowsError as error:
                work.failed_with(identifier, str(error))
                continue
            if fork is None:
                work.results["over"] += 1
            else:
                work.did("forked", [fork])
        self._tell([])

    def _fork(self, run: Run, workflow: str, version: str, again: bool) -> UUID | None:
        context = self._context
        database = context._database
        definition = self._definition(workflow, version)
        path = failure_of(run)
        with database.connection() as connection, connection.transaction():
            if not database.run(connection, "bulk", "hold_failed", (run._id,)):
                return None  # it is gone
            if not again and database.run(connection, "bulk", "was_forked", (run._id,)):
                return None  # somebody else was quicker
            return fork_within(context._engine, database, connection, run, path, definition)

    def _definition(self, workflow: str, version: str) -> Workflow:
        """Today's code for a run, or what stands for it where only other processes have it."""
        context = self._context
        own = context._own_version(workflow, version)
        known = own if own is not None else context._catalog.get(workflow)
        if known is not None:
            return known
        rows = context._read("bulk", "newest_version", (workflow,))
        if not rows:
            raise WorkflowNotFoundError(f"nobody has ever run a workflow {workflow!r}")
        newest, kind, spec = rows[0]
        found = stored_flow(workflow, newest, spec.encode()) if kind == "flow" and spec else None
        stands_for: Workflow = found if found is not None else Nobody(workflow, newest)
        context._engine.knows(stands_for)  # its version is in the database: that is where it was found
        return stands_for

    def _tell(self, runs: Sequence[UUID]) -> None:
        """Wake whoever may have something to do now."""
        engine = self._context._engine
        for begin in range(0, len(runs), _TOLD):
            chosen = runs[begin : begin + _TOLD]
            self._context._read("journal", "notify", (f"bulk {','.join(map(str, chosen))}",))
        if not runs:
            self._context._read("journal", "notify", ("bulk ",))
        engine.call(engine.on_queued)


_PAST = {"cancel": "cancelled", "resume": "resumed", "retry": "tried again"}


def _ids(runs: Iterable[Run | str | UUID]) -> list[UUID]:
    if isinstance(runs, str | UUID | Run):
        runs = [runs]
    try:
        given = list(runs)
    except TypeError:
        raise DefinitionError(f"runs is a list of ids or handles, not {runs!r}") from None
    return [each._id if isinstance(each, Run) else parse_id(each) for each in given]


def _shown(found: _Filter) -> dict[str, Any]:
    names = ("workflow", "status", "since", "until", "queue", "error", "message")
    shown = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in zip(names, found.parameters, strict=False)
        if value is not None
    }
    if found.parameters[7] is not None:
        shown["runs"] = len(found.parameters[7])
    return shown
