"""The runs of a database as a list to browse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.arguments import check_statuses, moment_or_ago
from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.ids import parse_id
from dataflows_sdk.core.shown import MARKS, Sheet
from dataflows_sdk.engine.state import TERMINAL
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook import svg, text
from dataflows_sdk.notebook.browsing import Action, Details, Field, Line, Page, Source
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.model import read
from dataflows_sdk.runs import Run, Runs

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: runs that one page looks at for a text
_LOOKED_AT = 20_000


class RunList(Source):
    """See `Context.browse`."""

    title, code, live = "runs", "ctx.runs()", True
    opens = True
    empty = "no runs"

    def __init__(self, context: Context, asked: Mapping[str, str], limit: int) -> None:
        self._context = context
        self._asked, self._limit = dict(asked), limit

    def fields(self) -> list[Field]:
        """The filters."""
        given = self._asked
        return [
            Field("text", "text", given.get("text", "")),
            Field("workflow", "workflow", given.get("workflow", "")),
            Field("status", "status", given.get("status", ""), ("", *MARKS)),
            Field("since", "since", given.get("since", "")),
        ]

    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """Runs, newest first."""
        context = self._context
        before = None if after is None else parse_id(after)
        wanted = asked.get("workflow"), check_statuses(asked.get("status"))
        since = None if "since" not in asked else moment_or_ago(asked["since"], context._engine.clock.now())
        words, limit = asked.get("text"), self._limit
        if words is None:
            rows = context._read("look", "runs", (*wanted, since, None, before, limit + 1, None, None))
        else:
            rows = context._read("browse", "runs", (*wanted, since, before, words, _LOOKED_AT, limit + 1))
        runs = [Run(context, row[0], row=row) for row in rows[:limit]]
        following, note = (runs[-1].id if len(rows) > limit else None), ""
        if words is not None and following is None:
            end = context._read("browse", "looked", (*wanted, since, before, _LOOKED_AT - 1))
            if end:
                following = str(end[0][0])
                note = f"{_LOOKED_AT:,} runs were looked at; the next page looks further"
        return Page(
            ("run", "workflow", "status", "created", "took"), [_line(each) for each in _rows(runs)], following, note
        )

    def details(self, identifier: str) -> Details:
        """A run: its head, its steps, and why it stands where it stands."""
        run = Run(self._context, _uuid(identifier)).refresh()
        head = run._head()
        view = read(source_of(run))
        took = (head["finished_at"] - head["started_at"]) if head["finished_at"] and head["started_at"] else None
        rows = [
            ("run", run.id), ("workflow", run.workflow), ("version", run.version[:12]), ("status", run.status),
            ("created", run.created_at), ("took", took), ("idempotency key", run.idempotency_key),
            ("child of", head["parent"]), ("fork of", head["forked_from"]),
        ]  # fmt: skip
        texts = [("steps", text.tree(view))]
        if run.status not in TERMINAL:
            texts.append(("why it is not over", repr(run.explain())))
        texts.append(("in a cell", f'run = ctx.get("{run.id}")\nrun.view()'))
        actions = () if run.status in TERMINAL else (Action("cancel", "Cancel run", "no", "run.cancel()"),)
        sheet = Sheet("", [row for row in rows if row[1] is not None])
        return Details(svg.summary(view), [sheet], texts, svg.dag(view), actions)

    def opened(self, identifier: str) -> Run:
        """The run itself."""
        return Run(self._context, _uuid(identifier)).refresh()

    def act(self, identifier: str, action: str, given: Mapping[str, str]) -> str:
        """Cancel it."""
        del given
        if action != "cancel":
            raise DefinitionError(f"{action!r} cannot be done with a run here: only 'cancel'")
        Run(self._context, _uuid(identifier)).cancel("from the list of runs in a notebook")
        return "asked for the run's end"

    def mask(self, text: str) -> str:
        """A text without secrets."""
        return self._context._redactor.redact_text(text)


def _rows(runs: list[Run]) -> list[dict[str, Any]]:
    return Runs(runs, None).rows()


def _line(row: Mapping[str, Any]) -> Line:
    # of one that goes on the time since its beginning would be another at every look
    took = format_duration(row["seconds"]) if row["finished_at"] is not None and row["started_at"] is not None else ""
    status = row["status"]
    return Line(row["id"], (row["id"], row["workflow"], f"{MARKS[status]} {status}", row["created_at"], took), status)


def _uuid(identifier: str) -> UUID:
    return parse_id(identifier)
