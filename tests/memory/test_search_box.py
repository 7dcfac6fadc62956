"""The search box of a notebook: hits with their scores, matched words marked, without a browser."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_memory.searching import SearchBox, marked
from dataflows_memory.words import stems
from dataflows_sdk.errors import MissingExtraError, RecallError
from dataflows_sdk.notebook.browsing import Answers

from ..conftest import MakeContext
from .fakes import FakeEmbedder


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
        {"do": "details", "row": "77"}, {"do": "details", "row": "-1"}, {"do": "act", "row": "1", "action": "burn"},
        {"do": "act", "row": "77", "action": "forget"}, {"do": "act", "row": "one", "action": "forget"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(memory: Memory, message: dict[str, Any]) -> None:
    memory.remember("one")
    reply = ask(SearchBox(memory, "", 5, "default", ""), **message)
    assert not reply["ok"]
    assert reply["text"]


def test_a_hit_tells_its_history_and_who_wrote_it_and_is_forgotten(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, FakeEmbedder())
    memory.remember("The budget of alpha is <b>1,000</b>", ref="alpha", since="2026-01-01")
    memory.remember("The budget of beta is 7", ref="beta")

    async def raise_it(event: Any, step: Any) -> None:
        await step.run("raise", lambda: bool(memory.remember("The budget of alpha is 1,500", ref="alpha")))

    run = ctx.start(df.Workflow("budget", raise_it)).wait("20s")
    box = SearchBox(memory, "", 5, "default", "")
    asked = {"question": "budget of alpha"}
    found = ask(box, "page", asked=asked)["list"]["lines"]
    told = ask(box, "details", row=found[0]["id"])["details"]
    history = next(each for each in told["sheets"] if each["title"].startswith("history"))
    assert history["title"] == "history: 2 versions"
    texts = [row[history["columns"].index("text")] for row in history["rows"]]
    assert texts == ["The budget of alpha is <b>1,000</b>", "The budget of alpha is 1,500"]
    assert history["rows"][1][history["columns"].index("step")] == "raise"
    step = next(each for each in told["sheets"] if each["title"] == "the step that wrote it")
    assert ["status", "completed"] in step["rows"]
    assert told["svg"].startswith("<svg")
    assert "raise" in dict(told["texts"])["the run that wrote it"]
    code = dict(told["texts"])["in a cell"]
    assert f"ctx.get(\"{run.id}\").view(at='raise')" in code

    [forget] = told["actions"]
    assert "for good" in forget["ask"]
    reply = ask(box, "act", row=found[0]["id"], action=forget["name"], given={})
    assert reply["ok"]
    assert reply["text"].startswith("forgotten: alpha")
    assert reply["text"].endswith("2 versions")
    assert memory.history("alpha") == []
    assert [line["id"] for line in ask(box, "page", asked=asked)["list"]["lines"]] == [found[1]["id"]]
    assert "forgotten" in ask(box, "details", row=found[0]["id"])["text"]
    other = ask(box, "details", row=found[1]["id"])["details"]
    assert (other["svg"], len(other["sheets"])) == ("", 2)  # no run wrote it


def test_the_run_that_wrote_it_may_be_gone(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, None)

    async def note(event: Any, step: Any) -> None:
        await step.run("note", lambda: bool(memory.remember("The ferry is late", ref="ferry")))

    run = ctx.start(df.Workflow("note", note)).wait("20s")
    assert ctx.purge("0s") == 1
    told = ask(SearchBox(memory, "", 5, "default", ""), "details", row=str(memory.history("ferry")[0].id))["details"]
    assert run.id in dict(told["texts"])["the run that wrote it"]
    assert told["svg"] == ""


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
