"""What runs and archived runs have in common: they show themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.notebook.widgets.browse import Browser
    from dataflows_sdk.notebook.widgets.run import RunView
    from dataflows_sdk.runs import Run


def browser(of: str, *given: Any) -> Browser:
    """A list to browse in a notebook: of ``"runs"``, ``"approvals"`` or ``"rows"``."""
    from dataflows_sdk.notebook import display

    found: Browser = getattr(display, f"browse_{of}")(*given)
    return found


class Viewable:
    """A part of `Run` and `ArchivedRun`, which have a view with a past; what is a table there is `ShownAsTable`."""

    def view(
        self, at: str | int | None = None, *, keep: bool | None = None, against: Run | ArchivedRun | None = None
    ) -> RunView:
        """The run as a live view for notebooks: its steps, what happened when, and any point of its past.

        Args:
            at: show it as of this event (its number in the journal), or before this step began.
            keep: what becomes of the view when the run ends: True, it stays; False, a page that needs no kernel takes
                its place, which a saved notebook still shows. By default it stays if the run is over already or
                fails, since then one may want to retry or fork it.
            against: another run: the steps in which it ended otherwise are marked and listed, with both outcomes.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
            RunNotFoundError: the run is not there any more.
            DefinitionError: there is no such event or step, or *against* is no other run.
        """
        from dataflows_sdk.notebook import display

        return display.widget(self, at, keep, against)  # type: ignore[arg-type]

    def svg(self, at: str | int | None = None) -> str:
        """The run's steps as a picture, at its end or at a point; see `view`."""
        from dataflows_sdk.notebook import display

        return display.as_svg(self, at)  # type: ignore[arg-type]

    def text(self, at: str | int | None = None) -> str:
        """The run's steps as text for a terminal, at its end or at a point; see `view`."""
        from dataflows_sdk.notebook import display

        return display.as_text(self, at)  # type: ignore[arg-type]

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the view as a page that needs neither a kernel nor a network, for an issue or a build's artefacts.

        Values are in it as previews, with secrets masked.

        Raises:
            DefinitionError: the folder is not there.
            RunNotFoundError: the run is not there any more.
        """
        from dataflows_sdk.notebook import display

        return display.save(self, path)  # type: ignore[arg-type]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from dataflows_sdk.notebook import display

        return display.of_run(self)  # type: ignore[arg-type]

    def _ipython_display_(self) -> None:
        from dataflows_sdk.notebook import display

        display.show(self)  # type: ignore[arg-type]
