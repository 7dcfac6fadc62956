"""Retention: finished runs go after a while, each in one transaction, and it is written down."""

from __future__ import annotations

import html
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.durations import Duration
from dataflows_sdk.core.retention import Retention
from dataflows_sdk.core.sizes import format_size
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.errors import DefinitionError, StoreError

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.database import Database

log = logging.getLogger("dataflows.retention")

_BATCH = 500
_EVERY = 3600.0
_FIRST = 60.0
#: pages of a table that a measurement reads
_PAGES = 2_000


@dataclass(frozen=True)
class RetentionReport:
    """What a policy took, or would take.

    Attributes:
        dry_run: nothing was deleted, only counted.
        runs: how many runs, by workflow.
        by_age, by_size: how many of them for which reason.
        freed: how many bytes they held, estimated; 0 where only ages were looked at.
        before, after: the estimated size of the journal; None where the policy has no size.
        busy: another process was deleting, so nothing was done.
        stopped: the context was closed, or *progress* said so, before all was done.
    """

    dry_run: bool
    runs: dict[str, int] = field(default_factory=dict)
    by_age: int = 0
    by_size: int = 0
    freed: int = 0
    before: int | None = None
    after: int | None = None
    busy: bool = False
    stopped: bool = False

    @property
    def total(self) -> int:
        """How many runs in all."""
        return sum(self.runs.values())

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "dry_run": self.dry_run,
            "total": self.total,
            "runs": self.runs,
            "by_age": self.by_age,
            "by_size": self.by_size,
            "freed": self.freed,
            "before": self.before,
            "after": self.after,
            "busy": self.busy,
            "stopped": self.stopped,
        }

    def __repr__(self) -> str:
        if self.busy:
            return "another process is deleting old runs; nothing was done"
        lines = [f"{self.total:,} runs {'would be' if self.dry_run else 'were'} deleted"]
        lines[0] += f": {self.by_age:,} by age, {self.by_size:,} by size" if self.total else ""
        if self.before is not None and self.after is not None:
            lines.append(f"  the journal: {format_size(self.before)} → {format_size(self.after)} (estimated)")
        lines += [f"  {count:,} of {name}" for name, count in sorted(self.runs.items())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


class Keeper:
    """``ctx.retention``: deletes finished runs by a policy, in the background and when asked to.

    Args:
        database: where.
        policy: which runs go; None keeps everything.
        engine: whose worker does it; a process that only looks deletes nothing by itself.
    """

    def __init__(self, database: Database, policy: Retention | None, engine: Engine) -> None:
        self._database = database
        #: which runs go by themselves; None: none
        self.policy = policy
        self._engine = engine
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def shown(self) -> str:
        """The policy in words; empty where nothing is deleted."""
        return "" if self.policy is None else str(self.policy)

    def start(self, works: bool) -> None:
        """Look once a while, in a thread of its own."""
        if works and self.policy is not None:
            self._thread = threading.Thread(target=self._loop, name="dataflows-retention", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _loop(self) -> None:
        assert self.policy is not None
        pause = _FIRST
        while not self._ended.wait(pause * (0.75 + chance() / 2)):
            pause = _EVERY
            if not self._engine.owning:
                continue
            try:
                self.apply()
            except StoreError as error:
                log.warning("old runs could not be deleted and will be looked at again: %s", error)

    # --- by a policy -------------------------------------------------------------------------------------

    def preview(self, policy: Retention | Duration | None = None) -> RetentionReport:
        """What `apply` would delete now. Nothing is changed.

        Args:
            policy: by default that of the context.

        Raises:
            DefinitionError: there is no policy.
        """
        chosen = self._chosen(policy)
        now = self._engine.clock.now()
        runs: Counter[str] = Counter()
        for workflow, age, left_out in _parts(chosen):
            for name, count, _, _ in self._read("count_expired", now - age, workflow, left_out):
                runs[name] += count
        by_age = sum(runs.values())
        if chosen.limit is None:
            return RetentionReport(True, dict(runs), by_age)
        before = self.measure()
        freed, by_size = 0, 0
        for page in self._oldest(now, None, chosen.kept()):
            sizes = self._sizes([row[0] for row in page])
            for run, name, finished in page:
                kept_for = chosen.age_of(name)
                if kept_for is None or finished >= now - kept_for:
                    if before - freed <= chosen.limit:
                        return RetentionReport(True, dict(runs), by_age, by_size, freed, before, before - freed)
                    runs[name] += 1
                    by_size += 1
                freed += sizes[run]
        return RetentionReport(True, dict(runs), by_age, by_size, freed, before, max(0, before - freed))

    def apply(
        self,
        policy: Retention | Duration | None = None,
        *,
        progress: Callable[[int], Any] | None = None,
    ) -> RetentionReport:
        """Delete what a policy says; a row of ``dataflows.audit`` tells of it.

        Each run goes with everything of it in one transaction. Of many processes one deletes at a time.

        Args:
            policy: by default that of the context.
            progress: called with the number of runs after every 500; False ends it there.

        Raises:
            DefinitionError: there is no policy.
        """
        chosen = self._chosen(policy)
        with self._alone() as alone:
            if not alone:
                return RetentionReport(False, busy=True)
            return self._apply(chosen, progress)

    def measure(self) -> int:
        """The estimated size of the journal in bytes: what its living rows hold. It reads a sample."""
        pages = self._read("pages")[0]
        percents = [min(100.0, 100.0 * _PAGES / there) if there else 100.0 for there in pages]
        return int(self._read("measure", *percents)[0][0])

    def _chosen(self, policy: Retention | Duration | None) -> Retention:
        chosen = self.policy if policy is None else Retention.of(policy)
        if chosen is None:
            raise DefinitionError(
                'this context keeps everything: name a policy, df.Retention(age="90d", size="20 GiB")'
            )
        return chosen

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        with self._database.connection() as connection:
            run = self._database.run
            if not run(connection, "retention", "try_lock", ())[0][0]:
                yield False
                return
            try:
                yield True
            finally:
                if not connection.closed:
                    run(connection, "retention", "unlock", ())

    def _apply(self, policy: Retention, progress: Callable[[int], Any] | None) -> RetentionReport:
        now = self._engine.clock.now()
        done = _Done(progress)
        for workflow, age, left_out in _parts(policy):
            for page in self._oldest(now - age, workflow, left_out):
                if not self._delete(page, done):
                    break
        by_age = done.total
        for workflow, age in policy.ages():
            if workflow is None:
                self._read("delete_broadcasts", now - age)
        self._read("delete_content")
        before = after = None
        if policy.limit is not None and not done.stopped:
            before = after = self.measure()
            for page in self._oldest(now, None, policy.kept()) if before > policy.limit else ():
                sizes = self._sizes([row[0] for row in page])
                chosen = []
                for row in page:
                    if after <= policy.limit:
                        break
                    chosen.append(row)
                    after -= sizes[row[0]]
                if not self._delete(chosen, done) or len(chosen) < len(page):
                    break
            self._read("delete_content")
            if after > policy.limit:
                log.warning(
                    "the journal holds some %s, more than %s, and no run is left that may go",
                    format_size(after),
                    format_size(policy.limit),
                )
        self._trim()
        report = RetentionReport(
            False,
            dict(done.runs),
            by_age,
            done.total - by_age,
            0 if before is None or after is None else before - after,
            before,
            None if after is None else max(0, after),
            stopped=done.stopped,
        )
        if report.total:
            self._note("retention", {"policy": str(policy), **report.to_json()})
            log.info("deleted %d runs: %s", report.total, policy)
        return report

    def _oldest(
        self, before: datetime, workflow: str | None, left_out: Sequence[str]
    ) -> Iterator[list[tuple[UUID, str, datetime]]]:
        """Pages of finished runs, those that ended first at the beginning."""
        after: tuple[datetime | None, UUID | None] = (None, None)
        while not self._ended.is_set():
            rows = self._read("expired", before, _BATCH, workflow, list(left_out), *after)
            if not rows:
                return
            yield [(row[0], row[1], row[2]) for row in rows]
            after = (rows[-1][2], rows[-1][0])

    def _delete(self, page: Sequence[tuple[UUID, str, datetime]], done: _Done) -> bool:
        """Whether to go on."""
        for run, workflow, _ in page:
            if self._ended.is_set():
                done.stopped = True
                return False
            if self._read("delete_run", run):
                done.runs[workflow] += 1
                done.total += 1
        return done.told()

    def _sizes(self, runs: list[UUID]) -> dict[UUID, int]:
        return {run: int(size) for run, size in self._read("run_sizes", runs)}

    def _trim(self) -> None:
        # what is said of streams is meant to hold also where nobody publishes any more
        while self._database.read("streams", "trim", (None, self._engine.clock.now(), _BATCH)):
            pass

    def _note(self, action: str, detail: dict[str, Any]) -> None:
        self._read("note", action, json.dumps(detail))

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._database.read("retention", statement, parameters)

    # --- by hand -----------------------------------------------------------------------------------------

    def purge(self, before: datetime, workflow: str | None, *, dry_run: bool = False) -> int:
        """Delete runs that ended before *before*; gives how many."""
        if dry_run:
            return sum(row[1] for row in self._read("count_expired", before, workflow, []))
        done = _Done(None)
        try:
            for page in self._oldest(before, workflow, ()):
                if not self._delete(page, done):
                    break
        finally:  # also where it is interrupted: what was deleted is logged
            if done.total:
                self._note("purge", {"before": before.isoformat(), "workflow": workflow, "runs": done.total})
                log.info("deleted %d runs that ended before %s", done.total, before)
        if done.total or workflow is None:
            self._read("delete_broadcasts", before)
            self._read("delete_content")
            self._read("delete_spent_keys")
        if workflow is None:
            self._trim()
        return done.total


class _Done:
    """What was deleted so far."""

    def __init__(self, progress: Callable[[int], Any] | None) -> None:
        if progress is not None and not callable(progress):
            raise DefinitionError(f"progress is a function of a number, not {progress!r}")
        self.runs: Counter[str] = Counter()
        self.total = 0
        self.stopped = False
        self._progress = progress

    def told(self) -> bool:
        if self._progress is not None and self._progress(self.total) is False:
            self.stopped = True
        return not self.stopped


def _parts(policy: Retention) -> Iterator[tuple[str | None, timedelta, list[str]]]:
    """Workflow or None, age, and the workflows that the part does not concern."""
    for workflow, age in policy.ages():
        yield workflow, age, [] if workflow is not None else sorted(policy.per_workflow)
