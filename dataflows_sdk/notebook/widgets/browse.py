"""A list in a notebook: an anywidget that asks for pages, details and actions."""

from __future__ import annotations

import contextlib
from typing import Any

import anywidget
import traitlets

from dataflows_sdk.notebook import html
from dataflows_sdk.notebook.browsing import Answers, Source, first_page, plain, still
from dataflows_sdk.notebook.kernel import hinted, widgets_are_shown


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
        self._answers = Answers(source, self._tell)
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

    def close(self) -> None:
        """Take it out of the page."""
        self._answers.stop()
        super().close()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super()._repr_mimebundle_()
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        lines = ["\t".join(plain(cell) for cell in line["cells"]) for line in self.first["lines"]]
        text = "\n".join([self.title, *lines, *([self.first["note"]] if self.first["note"] else [])])
        shown = {"text/plain": text, "text/html": still(self._source, self.first)}
        return ({**data, **shown}, metadata) if widgets_are_shown(metadata) else (hinted(shown), {})
