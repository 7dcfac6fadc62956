"""How a run shows itself: one bundle for every front end, and a live view where there is a kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dataflows_sdk.core.shown import MOST_ROWS
from dataflows_sdk.drawing.bundle import bundle
from dataflows_sdk.errors import DataflowsError, DefinitionError, MissingExtraError
from dataflows_sdk.notebook import html, svg, text
from dataflows_sdk.notebook.against import compared
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.kernel import in_a_kernel
from dataflows_sdk.notebook.model import View, over, position, read
from dataflows_sdk.notebook.sources import is_over

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.context import Context
    from dataflows_sdk.notebook.browsing import Source
    from dataflows_sdk.notebook.widgets.browse import Browser
    from dataflows_sdk.notebook.widgets.run import RunView
    from dataflows_sdk.runs import Run
    from dataflows_sdk.warehouse.table import Table

    AnyRun: TypeAlias = Run | ArchivedRun


def view_of(run: AnyRun) -> View:
    """The model of a run, read now."""
    return read(source_of(run))


def point(view: View, at: str | int | None) -> int | None:
    """How many events there were at an event's number in the journal, or before a step began.

    Raises:
        DefinitionError: there is no such event or step.
    """
    if at is None:
        return None
    if isinstance(at, bool) or not isinstance(at, str | int):
        raise DefinitionError(f"at= is an event's number or a step's key, not {at!r}")
    if isinstance(at, int):
        last = view.events[-1][0]
        if not 0 <= at <= last:
            raise DefinitionError(f"the run has events 1 to {last}, there is no {at}")
        return position(view.events, at)
    for number, (_, _, _, key, data) in enumerate(view.events):
        if key == at or (key and data.get("name") == at):
            return number
    raise DefinitionError(f"the run has no step {at!r}; it has {', '.join(list(view.at().steps)[:20]) or 'none'}")


def as_svg(run: AnyRun, at: str | int | None) -> str:
    """See `Viewable.svg`."""
    view = view_of(run)
    return svg.dag(view, point(view, at))


def as_text(run: AnyRun, at: str | int | None) -> str:
    """See `Viewable.text`."""
    view = view_of(run)
    return text.tree(view, point(view, at))


def save(run: AnyRun, path: str | os.PathLike[str]) -> Path:
    """See `Viewable.save_html`."""
    return html.save(view_of(run), path)


def of_run(run: AnyRun) -> dict[str, Any]:
    """The bundle: of a run that is over a page without a kernel, else the picture."""
    try:
        view = view_of(run)
    except DataflowsError:
        return {"text/plain": repr(run)}
    line = f"{run!r}\n{svg.summary(view)}"
    page = html.fragment(view) if over(view) else html.picture(view)
    return bundle(svg.dag(view), line, page)


def widget(run: AnyRun, at: str | int | None, keep: bool | None, against: object = None) -> RunView:
    """See `Viewable.view`."""
    try:
        from dataflows_sdk.notebook.widgets.run import RunView
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise MissingExtraError(
            'run.view() needs anywidget: pip install "dataflows-sdk[notebook]". Without it a run is shown as a picture '
            "(run.svg()), as text (run.text()) and as a page (run.save_html(path))"
        ) from None
    view = view_of(run)
    beside = compared(run, against) if against is not None else None
    return RunView(run, view, point(view, at), keep=keep, against=beside)


def browser(source: Source, call: str, instead: str) -> Browser:
    """A list to browse.

    Args:
        source: what is in it.
        call: what the user wrote.
        instead: what shows the same without a widget.

    Raises:
        MissingExtraError: the extra ``notebook`` is not installed.
    """
    try:
        from dataflows_sdk.notebook.widgets.browse import Browser
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise MissingExtraError(
            f'{call} needs anywidget: pip install "dataflows-sdk[notebook]". Without it {instead} shows the same'
        ) from None
    return Browser(source)


def browse_runs(context: Context, asked: Mapping[str, str | None], limit: int) -> Browser:
    """See `Context.browse`."""
    from dataflows_sdk.notebook.browse_runs import RunList

    _check_limit(limit)
    given = {name: value for name, value in asked.items() if value}
    for name, value in given.items():
        if not isinstance(value, str):
            raise DefinitionError(f"{name}= is a text, not {value!r}")
    return browser(RunList(context, given, limit), "ctx.browse()", "ctx.runs()")


def show(run: AnyRun) -> None:
    """What a notebook does with a run at the end of a cell.

    Raises:
        NotImplementedError: there is no kernel, no anywidget, or nothing live to be seen: IPython takes the bundle.
    """
    if not in_a_kernel():
        raise NotImplementedError
    try:
        if is_over(source_of(run).head()["status"]):
            raise NotImplementedError
        found = widget(run, None, None)
    except DataflowsError:
        raise NotImplementedError from None
    found.show()


def browse_approvals(context: Context, approver: str | None) -> Browser:
    """See `Approvals.view`."""
    from dataflows_sdk.notebook.browse_approvals import ApprovalList

    if approver is not None and not isinstance(approver, str):
        raise DefinitionError(f"approver= is a name, not {approver!r}")
    return browser(ApprovalList(context, approver), "ctx.approvals.view()", "ctx.approvals.pending()")


def browse_rows(table: Table, limit: int) -> Browser:
    """See `Table.browse`."""
    from dataflows_sdk.notebook.browse_rows import RowList

    _check_limit(limit)
    return browser(RowList(table, limit), "table.browse()", "table.find()")


def _check_limit(limit: Any) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_ROWS:
        raise DefinitionError(f"limit lies between 1 and {MOST_ROWS}, not {limit!r}")
