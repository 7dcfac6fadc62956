"""The live view of a run: an anywidget, a feed that grows its events, and commands that a page gives."""

from __future__ import annotations

import contextlib
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from dataflows_sdk.drawing.bundle import bundle
from dataflows_sdk.engine.state import FINISHED
from dataflows_sdk.errors import DataflowsError
from dataflows_sdk.notebook import html, svg
from dataflows_sdk.notebook.commands import Commands
from dataflows_sdk.notebook.feed import Feed
from dataflows_sdk.notebook.folding import State
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.kernel import hinted, in_a_kernel, widgets_are_shown
from dataflows_sdk.notebook.model import View, over

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.runs import Run

log = logging.getLogger("dataflows.notebook")

#: events of one message to a page that missed some
_AGAIN = 2_000


class RunView(anywidget.AnyWidget):
    """A run in a notebook, live: its steps, what happened when, and any point of its past.

    Made by ``run.view()``; shown as the last line of a cell. The page moves through time by itself; `cursor` says where
    it is, as a number of events, and may be set.
    """

    _esm = html.module("run.js")
    _css = html.asset("df.css")

    #: drawn once; grown in place by the feed, so that a page that comes later gets all: what is sent are messages
    graph = traitlets.Dict().tag(sync=True)
    events = traitlets.Any().tag(sync=True)
    writes = traitlets.Any().tag(sync=True)
    said = traitlets.Any().tag(sync=True)
    lacks = traitlets.List(traitlets.Unicode()).tag(sync=True)
    head = traitlets.Dict().tag(sync=True)
    cut = traitlets.Bool(False).tag(sync=True)
    commands = traitlets.Bool(False).tag(sync=True)
    looks = traitlets.Bool(False).tag(sync=True)
    hint = traitlets.Unicode("").tag(sync=True)
    cursor = traitlets.Int(0).tag(sync=True)
    against = traitlets.Dict(None, allow_none=True).tag(sync=True)
    pins = traitlets.List(traitlets.Int()).tag(sync=True)
    selected = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    follow = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        run: Run | ArchivedRun,
        view: View,
        n: int | None = None,
        *,
        keep: bool | None = None,
        against: dict[str, Any] | None = None,
    ) -> None:
        live: Run | None = run if hasattr(run, "_context") else None  # type: ignore[assignment]
        self._view = view
        self._keep = keep
        self._handle: Any = None
        self._was_over = view.head["status"] in FINISHED
        super().__init__(
            graph=view.page_graph(),
            events=view.events,
            writes=view.writes,
            said=view.said,
            lacks=view.lacks,
            head=view.head,
            cut=view.cut,
            commands=live is not None,
            looks=True,
            hint=_hint(),
            cursor=len(view.events) if n is None else n,
            follow=n is None,
            against=against,
        )
        self._commands = Commands(run, view, self._tell, self._changed)
        self.on_msg(self._heard)
        self._feed: Feed | None = None
        if live is not None and not self._was_over:
            self._feed = Feed(source_of(run), view, self._fed, self._over)
            self._feed.start()
            with contextlib.suppress(DataflowsError):
                live._watched().when_done(self._feed.wake)

    # --- from the page ---------------------------------------------------------------------------------------

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """A message of the page, on any thread: only handed on."""
        if isinstance(message, dict) and message.get("do") == "sync":
            begin = message.get("from")
            if isinstance(begin, int) and 0 <= begin <= len(self._view.events):
                self._tell({"do": "events", "from": begin, "events": self._view.events[begin : begin + _AGAIN]})
            return
        self._commands.put(message)

    # --- to the page -----------------------------------------------------------------------------------------

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self.send(message)
        except Exception as error:  # noqa: BLE001 - the page is gone, or the kernel ends
            log.debug("a message to a view was not sent: %s", error)

    def _fed(self, message: dict[str, Any]) -> None:
        if "graph" in message:
            self.graph.update(message["graph"])
        self._tell(message)

    def _changed(self) -> None:
        if self._feed is not None:
            self._feed.wake()

    def _over(self, state: State) -> None:
        """The run is over: a page that needs no kernel takes the view's place, unless its buttons are still wanted."""
        if state.status not in FINISHED:
            return  # it has more events than a view holds
        keep = self._keep if self._keep is not None else state.status == "failed"
        if self._handle is not None and not keep:
            try:
                self._handle.update(self._still(), raw=True)
            except Exception as error:  # noqa: BLE001 - the kernel ends
                log.warning("the last picture of run %s could not be shown: %s", self._view.head["run"], error)

    # --- shown -----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Show it here; when the run ends, what is shown can be put in another's place."""
        from IPython.display import display

        shown = self._bundle()
        self._handle = display(  # type: ignore[no-untyped-call]
            shown[0], metadata=shown[1], raw=True, display_id=True
        )
        if self._view.head["status"] in FINISHED and not self._was_over:
            self._over(self._view.at())  # it ended in between

    def stop(self) -> None:
        """Follow the run no longer; what is shown stays."""
        if self._feed is not None:
            self._feed.stop()
        self._commands.stop()

    def close(self) -> None:
        """Stop, and take the view out of the page."""
        self.stop()
        super().close()

    def _bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super()._repr_mimebundle_()
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        if not widgets_are_shown(metadata):
            return hinted(self._still() if over(self._view) else self._picture()), {}
        return {**data, **self._picture()}, metadata

    def __repr__(self) -> str:
        return f"<view of run {self._view.head['run']} of {self._view.head['workflow']!r}, at the end of a cell>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._bundle()

    def _ipython_display_(self) -> None:
        if not in_a_kernel():
            raise NotImplementedError  # IPython takes the bundle
        self.show()

    def _picture(self) -> dict[str, Any]:
        view = self._view
        return bundle(svg.dag(view), svg.summary(view), html.picture(view))

    def _still(self) -> dict[str, Any]:
        view = self._view
        return bundle(svg.dag(view), svg.summary(view), html.fragment(view))


def _hint() -> str:
    """Before its seventh version the kernel does nothing for widgets while a cell runs."""
    if not in_a_kernel():
        return ""
    first = version("ipykernel").partition(".")[0]
    return "widgets answer between cells; ipykernel 7 lifts this" if first.isdigit() and int(first) < 7 else ""
