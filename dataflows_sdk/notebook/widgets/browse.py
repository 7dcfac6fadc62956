"""A list in a notebook: an anywidget that asks for pages, details and actions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from dataflows_sdk.notebook import html
from dataflows_sdk.notebook.browsing import Answers, Source, first_page, plain, still
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.kernel import hinted, widgets_are_shown
from dataflows_sdk.notebook.model import read
from dataflows_sdk.notebook.widgets.run import RunView

if TYPE_CHECKING:
    from dataflows_sdk.runs import Run


class Browser(anywidget.AnyWidget):
    """A list with filters, pages, details and buttons; shown as the last line of a cell.

    Made by ``ctx.browse()``, ``ctx.approvals.view()``, ``table.browse()`` and ``memory.search_box()``. While it is to
    be seen it looks at most once a second for what is new, where the list changes by itself.
    """

    _esm = html.module("browse.js", shared=("dom.js",))
    _css = html.asset("df.css")

    title = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    live = traitlets.Bool(False).tag(sync=True)
    fields: Any = traitlets.List().tag(sync=True)
    first = traitlets.Dict().tag(sync=True)

    def __init__(self, source: Source) -> None:
        self._source = source
        self._answers = Answers(source, self._tell, self._show)
        self._inside: RunView | None = None
        first = first_page(source)
        super().__init__(
            title=source.title,
            code=source.code,
            live=source.live,
            fields=[{"name": f.name, "label": f.label, "value": f.value, "options": list(f.options)}
                    for f in source.fields()],
            first=first,
        )  # fmt: skip
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """A message of the page, on any thread: only handed on."""
        self._answers.put(message)

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # the page is gone, or the kernel ends
            self.send(message)

    def _show(self, run: Run | None) -> str:
        """The live view of a run, in place of the one that was shown; the id of its model."""
        if self._inside is not None:
            self._inside.close()
        self._inside = None if run is None else RunView(run, read(source_of(run)))
        return "" if self._inside is None else str(self._inside.model_id)

    def close(self) -> None:
        """Take it out of the page."""
        self._answers.stop()
        self._show(None)
        super().close()

    def __repr__(self) -> str:
        more = "" if self.first["next"] is None else "+"
        return f"<{self.title}: {len(self.first['lines'])}{more} to browse at the end of a cell>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super()._repr_mimebundle_()
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        lines = ["\t".join(plain(cell) for cell in line["cells"]) for line in self.first["lines"]]
        text = "\n".join([self.title, *lines, *([self.first["note"]] if self.first["note"] else [])])
        shown = {"text/plain": text, "text/html": still(self._source, self.first)}
        return ({**data, **shown}, metadata) if widgets_are_shown(metadata) else (hinted(shown), {})
