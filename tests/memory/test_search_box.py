"""The search box of a notebook: hits with their scores, matched words marked, without a browser."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from dataflows_memory.desk import Memory
from dataflows_memory.searching import SearchBox, marked
from dataflows_memory.words import stems
from dataflows_sdk.errors import MissingExtraError, RecallError
from dataflows_sdk.notebook.browsing import Answers


def ask(box: SearchBox, do: str, **message: Any) -> dict[str, Any]:
    reply = Answers(box, lambda _: None).answer({"do": do, "id": 1, "page": "p", **message})
    json.dumps(reply)
    return reply


def test_hits_have_parts_of_their_score_and_marked_words(memory: Memory) -> None:
    memory.remember(["Two invoices <b>waited</b> for the bridge.", "The river froze in March.", "Nothing at all."])
    box = SearchBox(memory, "", 5, "default", "")
    assert ask(box, "page")["list"]["note"] == "ask something"
    found = ask(box, "page", asked={"question": "an invoice that waits", "origin": "text", "since": "2d"})["list"]
    text = found["lines"][0]["cells"][0]
    assert [piece for piece, hit in text if hit] == ["invoices", "waited"]
    assert "".join(piece for piece, _ in text) == "Two invoices <b>waited</b> for the bridge."
    assert found["columns"][:2] == ["text", "score"]
    assert {"words", "meaning"} <= set(found["columns"])
    assert found["lines"][0]["cells"][found["columns"].index("words")].startswith("#1 (")
    assert "hybrid" in found["note"]
    told = ask(box, "details", row=found["lines"][0]["id"])["details"]
    assert dict(told["texts"])["text"] == "Two invoices <b>waited</b> for the bridge."
    assert ask(box, "page", asked={"question": "invoice", "since": "2999-01-01"})["list"]["lines"] == []


@pytest.mark.parametrize(
    "message",
    [
        {"do": "page", "asked": {"question": "x", "origin": "nowhere"}},
        {"do": "page", "asked": {"question": "x", "since": "someday"}},
        {"do": "page", "asked": {"question": "x"}, "after": "2"},
        {"do": "details", "row": "77"}, {"do": "details", "row": "-1"}, {"do": "act", "row": "1", "action": "forget"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(memory: Memory, message: dict[str, Any]) -> None:
    memory.remember("one")
    reply = ask(SearchBox(memory, "", 5, "default", ""), **message)
    assert not reply["ok"]
    assert reply["text"]


def test_a_long_text_is_shown_at_its_first_match() -> None:
    text = f"{'word ' * 500}needle {'tail ' * 500}"
    pieces = marked(text, set(stems("needles")), "english")
    assert ("needle", True) in pieces
    assert sum(len(piece) for piece, _ in pieces) < 320
    assert (pieces[0], pieces[-1]) == (("…", False), ("…", False))
    assert marked("", {"x"}, "english") == [("", False)]


def test_it_is_a_widget(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget")
    memory.remember("The bridge <i>is</i> open.")
    widget = memory.search_box("bridges")
    data, _ = widget._repr_mimebundle_()
    assert "bridge &lt;i&gt;" in data["text/html"]
    widget.close()
    with pytest.raises(RecallError, match="0"):
        memory.search_box(k=0)
    with pytest.raises(RecallError, match="7"):
        memory.search_box(7)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "dataflows_sdk.notebook.widgets.browse", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[notebook\]"):
        memory.search_box()
