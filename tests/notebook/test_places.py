"""What each display offers, and what of it JupyterLab, VS Code and Colab show by what they document."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from types import ModuleType
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

from dataflows_sdk.notebook.kernel import WIDGET

from ..conftest import MakeContext
from . import fake_colab
from .fake_colab import MANAGER
from .shows import asking, declare

pytest.importorskip("anywidget")

PICTURE = {"text/plain", "text/html", "image/svg+xml"}
#: microsoft/vscode, extensions/ipynb/src/deserializers.ts: the first of these that an output has is shown
VS_CODE = (
    "application/vnd.*", "application/vdom.*", "application/geo+json", "application/x-nteract-model-debug+json",
    "text/html", "application/javascript", "image/gif", "text/latex", "text/markdown", "image/png", "image/svg+xml",
    "image/jpeg", "application/json", "text/plain",
)  # fmt: skip


def in_vs_code(kinds: Iterable[str]) -> str:
    """Which of its mimetypes an output shows there."""
    return min(kinds, key=lambda kind: next(i for i, each in enumerate(VS_CODE) if fnmatch(kind, each)))


def bundle(shown: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an object offers where there is no kernel to do it otherwise."""
    data, metadata = DisplayFormatter().format(shown)
    return data, metadata


async def two_steps(event: Any, step: Any) -> int:
    await step.run("one", lambda: 1)
    return int(await step.run("two", lambda: 2))


@pytest.fixture
def shown(make_ctx: MakeContext) -> Mapping[str, Any]:
    """One of each kind that is more than a table."""
    ctx = make_ctx()
    workflow = declare(two_steps)
    over, waiting = ctx.run(workflow), ctx.start(asking(), {})
    table = ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    table.upsert({"id": 1, "name": "fence"})
    return {
        "a run that is over": over,
        "a run that goes on": waiting,
        "its view": waiting.view(),
        "the view of one that is over": over.view(),
        "a list to browse": ctx.browse(),
        "a flow": asking(),
        "a workflow": workflow,
        "runs": ctx.runs(),
        "a table": table,
    }


def test_each_display_offers_what_the_documentation_says(shown: Mapping[str, Any]) -> None:
    offered = {name: set(bundle(each)[0]) for name, each in shown.items()}
    assert offered == {
        "a run that is over": PICTURE,
        "a run that goes on": PICTURE,
        "its view": {WIDGET, *PICTURE},
        "the view of one that is over": {WIDGET, *PICTURE},
        "a list to browse": {WIDGET, "text/plain", "text/html"},
        "a flow": PICTURE,
        "a workflow": {"text/plain", "text/html"},
        "runs": {"text/plain", "text/html"},
        "a table": {"text/plain", "text/html"},
    }
    views = {name for name, kinds in offered.items() if in_vs_code(kinds) == WIDGET}
    assert views == {"its view", "the view of one that is over", "a list to browse"}
    assert {in_vs_code(kinds) for name, kinds in offered.items() if name not in views} == {"text/html"}


def test_html_asks_nobody_for_anything(shown: Mapping[str, Any]) -> None:
    for name, each in shown.items():
        text = bundle(each)[0]["text/html"]
        for word in (' src="http', "import(", "createObjectURL", 'from "http', "url(http", "fetch("):
            assert word not in text, (name, word)
        # in the HTML of a run that is over the module stands in the page itself, behind the picture
        assert ("<script" in text) == (name == "a run that is over"), name
        if "<script" in text:
            assert text.index("<img") < text.index("<script")
            assert text.count("</script>") == 1


def test_colab_shows_a_view_by_its_widget_manager(shown: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    output = fake_colab.install(monkeypatch)
    for name in ("its view", "a list to browse"):
        data, metadata = bundle(shown[name])
        assert WIDGET in data
        assert metadata[WIDGET] == {"colab": {"custom_widget_manager": {"url": MANAGER}}}
        assert "enable_custom_widget_manager" not in data["text/html"]
    assert output._widgets._installed_url == MANAGER


def test_colab_without_it_shows_the_html_and_how_to_enable(
    shown: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = fake_colab.install(monkeypatch)
    bundle(shown["its view"])
    output.disable_custom_widget_manager()
    for name in ("its view", "the view of one that is over", "a list to browse"):
        data, metadata = bundle(shown[name])
        assert WIDGET not in {*data, *metadata}
        assert "output.enable_custom_widget_manager()" in data["text/html"]
        assert ("<table" if name == "a list to browse" else "<img") in data["text/html"]
        # of a run that is over all can be seen without a kernel
        assert ("<script" in data["text/html"]) == (name == "the view of one that is over")
    # what needs no widget is as it is elsewhere
    data, _ = bundle(shown["a run that is over"])
    assert "enable_custom_widget_manager" not in data["text/html"]
    output.enable_custom_widget_manager()
    assert WIDGET in bundle(shown["its view"])[0]


def test_colab_of_a_kind_that_nobody_knows_shows_the_html(
    shown: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))  # and no output in it
    data, _ = bundle(shown["its view"])
    assert WIDGET not in data
    assert "<img" in data["text/html"]
