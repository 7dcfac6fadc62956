"""A fake of ``google.colab``: what anywidget calls of it, as colabtools publishes it in ``google/colab/output``.

The real one puts the address of its widget manager into the metadata of a widget's bundle, by a hook; so does
anywidget.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

MANAGER = "https://ssl.gstatic.com/colaboratory-static/widgets/colab-cdn-widget-manager/fake/manager.min.js"


class FakeOutput(ModuleType):
    """``google.colab.output``."""

    def __init__(self) -> None:
        super().__init__("google.colab.output")
        self._widgets = SimpleNamespace(_installed_url=None)

    def enable_custom_widget_manager(self) -> None:
        self._widgets._installed_url = MANAGER

    def disable_custom_widget_manager(self) -> None:
        self._widgets._installed_url = None


def install(monkeypatch: pytest.MonkeyPatch) -> FakeOutput:
    """Be in Colab until the test is over."""
    from anywidget import _util

    output = FakeOutput()
    package = ModuleType("google.colab")
    package.output = output  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    _util.enable_custom_widget_manager_once.cache_clear()
    return output
