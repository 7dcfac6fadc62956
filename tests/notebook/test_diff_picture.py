"""Two versions of a flow as one picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.diff import FlowDiff

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>"


def test_both_versions_are_one_graph(ctx: df.Context) -> None:
    old = df.flow("orders").on_manual().notify("tell", "one").notify("gone", "x", after="tell")
    new = df.flow("orders").on_manual().notify("tell", "two").notify("fresh", NASTY, after="tell")
    saved = ctx.flows.save(old)
    saved = ctx.flows.save(new)
    diff = saved.compare(1, 2)
    root = ET.fromstring(diff.svg())
    boxes = {box.get("data-step"): box for box in root.iter(f"{SVG}g") if box.get("data-step")}
    texts = {name: [text.text or "" for text in box.iter(f"{SVG}text")] for name, box in boxes.items()}
    assert {"tell", "gone", "fresh"} <= set(texts)
    assert texts["fresh"] == ["+ fresh", "only in 2"]
    assert texts["gone"] == ["- gone", "only in 1"]
    assert texts["tell"][0] == "~ tell"
    assert boxes["gone"].find(f"{SVG}rect").get("stroke-dasharray")  # type: ignore[union-attr]
    assert "version 1 → 2" in diff.svg()
    shown = diff._repr_mimebundle_()
    assert shown["image/svg+xml"] == diff.svg()
    assert "only in" not in shown["text/plain"]
    assert NASTY not in shown["text/html"]
    assert "_specs" not in repr(diff)

    same = saved.compare(2, 2)
    assert not same
    assert "the nodes are the same" in same.svg()
    with pytest.raises(DefinitionError, match="compare"):
        FlowDiff(1, 2).svg()
    assert "text/html" in FlowDiff(1, 2)._repr_mimebundle_()
