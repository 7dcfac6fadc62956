"""Pictures and pages: whole, escaped, bounded, and of what every place shows."""

from __future__ import annotations

import base64
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, MissingExtraError
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec
from dataflows_sdk.notebook import graph, html, svg, text
from dataflows_sdk.notebook.model import BOXES_LIVE, BOXES_STILL, View

from .shows import NASTY, declare, failing

#: what sanitizers take away, or what could do something
FORBIDDEN = re.compile(r"<script|<style|\sstyle=|foreignObject|\shref|\son\w+=|javascript:", re.IGNORECASE)
STATIC = Path(html.__file__).parent / "widgets" / "static"


def view_of(nodes: int, events_each: int = 1, name: str = "step") -> View:
    """A flow's run with so many steps, in chains of forty."""
    ids = [f"{name} {number}" for number in range(nodes)]
    spec = FlowSpec(
        name="large",
        nodes=tuple(NodeSpec(id=each, type="python") for each in ids),
        edges=tuple(EdgeSpec(source=a, target=b) for a, b in zip(ids, ids[40:], strict=False)),
    )
    events: list[list[Any]] = [[1, 0.0, "run.created", "", {"status": "running"}]]
    for each in ids:
        for attempt in range(1, events_each):
            events.append([len(events) + 1, float(len(events)), "step.failed", each, _failed(attempt)])
        data = {"took": 0.0005, "out": "x" * 250, "attempt": events_each}
        events.append([len(events) + 1, float(len(events)), "step.completed", each, data])
    head = {
        "run": "01a2",
        "workflow": name,
        "version": "1",
        "status": "running",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return View({**head, "parent": None, "forked_from": None, "kind": "flow"}, events, spec)


def _failed(attempt: int) -> dict[str, Any]:
    return {"attempt": attempt, "retry_at": 1.0, "err": "E: " + "x" * 250}


@pytest.fixture(scope="module")
def large() -> View:
    return view_of(2_000, 5)


def check(picture: str) -> ET.Element:
    assert not FORBIDDEN.search(picture)
    return ET.fromstring(picture)


def test_names_are_shown_and_not_obeyed(ctx: df.Context) -> None:
    async def nasty(event: Any, step: Any) -> None:
        await step.run(NASTY, lambda: f"{NASTY}</svg>")
        await step.run("a\x1b[31m\x07&\"'<b>", lambda: "\x1b[2J")
        raise ValueError(f"{NASTY} \x1b[31m")

    run = ctx.start(declare(nasty, f"w {NASTY}"), NASTY)
    run.wait("20s")
    bundle = run._repr_mimebundle_()
    assert NASTY in "".join(check(bundle["image/svg+xml"]).itertext())
    outside = re.sub(r'base64,[^"]*', "", bundle["text/html"])
    before, script = outside.split('<script type="module">')
    assert "<script" not in before
    assert script.count("</script") == 1
    assert "\x1b" not in run.text()
    for image in re.findall(r'base64,([^"]*)', bundle["text/html"]):
        check(base64.b64decode(image).decode())


def test_a_page_of_a_run_needs_nothing_else(ctx: df.Context, tmp_path: Path) -> None:
    run = ctx.start(failing(), None)
    run.wait("20s")
    page = run.save_html(tmp_path / "run.html").read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r'(src|href)="(?!data:)|https?://(?!www\.w3\.org/2000/svg)', page)
    script = page.split('<script type="module">')[1].split("</script>")[0]
    state, length = json.JSONDecoder().raw_decode(script.partition("\n{\n  const state = ")[2])
    assert length > 500
    assert state["still"]
    assert [event[2] for event in state["events"]] == [event.kind for event in run.events()]
    assert "@STATE@" not in script
    for bad in (tmp_path, tmp_path / "no" / "such.html"):
        with pytest.raises(DefinitionError, match="file"):
            run.save_html(bad)


def test_two_thousand_steps_and_ten_thousand_events(large: View) -> None:
    assert len(large.events) == 10_001
    picture = svg.dag(large)
    assert len(check(picture).findall(".//{*}rect")) <= BOXES_STILL
    assert len(picture) < 300_000
    assert len(svg.waterfall(large)) < 300_000
    assert len(large.page_graph()["ids"]) == 2_000
    assert len(text.tree(large).splitlines()) <= 200
    cell = html.fragment(large)
    assert len(cell) < 800_000
    assert "<script" not in cell
    assert "save_html" in cell


def test_too_many_boxes_are_put_together() -> None:
    view = view_of(3_000)
    shape = graph.staged(view.shape, BOXES_LIVE)
    assert len(shape.parts) <= BOXES_LIVE
    stands_for = [shape.within.get(part.id, part.id) for part in view.shape.parts]
    assert set(stands_for) == {part.id for part in shape.parts}
    boxes = view.boxes(view.at(), shape)
    assert sum(len(box.members) + (box.own is not None) for box in boxes.values()) == 3_000
    chain = graph.Shape([graph.Part(str(n), str(n)) for n in range(900)], [])
    chain.edges += [graph.Edge(str(n), str(n + 1)) for n in range(899)]
    folded = graph.staged(chain, 300)
    assert len(folded.parts) == 300
    assert len(folded.edges) == 299


def test_assets_are_small_and_plain() -> None:
    files = list(STATIC.iterdir())
    assert sum(file.stat().st_size for file in files) < 500_000
    for file in files:
        source = file.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://(?!www\.w3\.org)", source
        )
        assert not re.search(r"^\s*import\s", source, re.MULTILINE), "nothing is imported over a network"


def test_a_flow_shows_its_plan_and_its_problems() -> None:
    flow = df.flow("plan").notify("a", "x", after="b").notify("b", "x", after="a").notify(NASTY, "x", after="nowhere")
    picture = flow.svg()
    root = check(picture)
    hints = ["".join(title.itertext()) for title in root.findall(".//{*}g/{*}title")]
    assert any("nodes wait for each other" in hint for hint in hints)
    assert any("'nowhere'" in hint for hint in hints)
    assert set(flow._repr_mimebundle_()) == {"text/plain", "text/html", "image/svg+xml"}
    fine = df.flow("fine").step("one", lambda event: 1)
    assert "#cf222e" not in fine.svg()
    assert fine.svg() == fine.svg()


def test_without_the_extra_there_are_pictures(ctx: df.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ctx.start(failing(), None)
    run.wait("20s")
    for name in [each for each in sys.modules if each.startswith("dataflows_sdk.notebook.widgets.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[notebook\]"):
        run.view()
    assert "image/svg+xml" in run._repr_mimebundle_()
    with pytest.raises(NotImplementedError):
        run._ipython_display_()
