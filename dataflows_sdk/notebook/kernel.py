"""Where this process is shown, if anywhere, and what that place makes of a widget."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

#: a front end that knows it prefers it to all else, and shows nothing else when the widget cannot be loaded
WIDGET = "application/vnd.jupyter.widget-view+json"
#: for who reads the output of a notebook there
HINT = "To see it live in Colab: from google.colab import output; output.enable_custom_widget_manager()"


def in_a_kernel() -> bool:
    """Whether this process is a notebook's kernel."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def widgets_are_shown(metadata: Mapping[str, Any]) -> bool:
    """Whether a widget with this metadata of its bundle is seen here.

    Colab shows widgets of other packages by its custom widget manager only, whose address it wants in the metadata.
    anywidget switches it on and puts it there; who switched it off again sees a complaint instead of the widget.
    """
    return "google.colab" not in sys.modules or "colab" in metadata.get(WIDGET, {})


def hinted(data: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle without a widget, that says how to see one."""
    return {**data, "text/html": f"{data['text/html']}<div><small>{HINT}</small></div>"}
