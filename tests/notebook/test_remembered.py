"""The memory beside a run's events: what it said by a point, and what it would have recalled then."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook import html
from dataflows_sdk.notebook.display import view_of
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.places import checked, moment
from dataflows_sdk.notebook.places import places as place_of
from dataflows_sdk.notebook.remembered import SAID
from dataflows_sdk.runs import Run

from .shows import declare
from .test_commands import Page

TOKEN = "loquat-tree-token-77310"


def places(run: Run) -> dict[str, int]:
    """How many events there are when a step is over."""
    return {event[3]: n + 1 for n, event in enumerate(view_of(run).events) if event[2] == "step.completed"}


@pytest.fixture
def memory(ctx: df.Context) -> Any:
    ctx.memory.use("none")
    return ctx.memory


@pytest.fixture
def noting(ctx: df.Context, memory: Any) -> Run:
    says = {"second": f"the gate is shut with {TOKEN}"}

    async def noting(event: Any, step: Any) -> None:
        await step.run("first", lambda: memory.remember("the gate is open", ref="gate").added)
        await step.run("look", lambda: [hit.text for hit in memory.recall("gate")])
        await step.run("second", lambda: memory.remember(says["second"], ref="gate").added)
        await step.run("third", lambda: memory.remember("a gate of ana", collection="more", scope="ana").added)

    run = ctx.start(declare(noting), None).wait("20s")
    assert run.status == "succeeded", run.error
    says["second"] = "the gate fell"
    REDACTOR.add(TOKEN)
    memory.remember("the gate is painted", ref="gate")  # after the run, by nobody
    return run


def test_what_was_said_stands_at_its_step(ctx: df.Context, noting: Run) -> None:
    view, place = view_of(noting), places(noting)
    assert view.said is not None
    assert [[*each[:3], *each[4:6]] for each in view.said] == [
        [place["first"], "remembered", "first", "default", ""],
        [place["second"], "ended", "second", "default", ""],
        [place["second"], "remembered", "second", "default", ""],
        [place["third"], "remembered", "third", "more", "ana"],
    ]
    assert TOKEN not in str(view.said)
    assert view.said[2][6].startswith("the gate is shut with ")
    page = Page(noting, view)
    assert page.ask(do="writes")["said"] == view.said
    assert page.changed == 0


def test_a_question_is_answered_as_of_then(ctx: df.Context, noting: Run) -> None:
    place, page = places(noting), Page(noting)

    def texts(n: int, **more: Any) -> list[str]:
        reply = page.ask(**{"do": "recall", "n": n, "question": "gate", "collection": "default", "scope": None, **more})
        assert reply["ok"], reply["text"]
        return [text for _, text, _ in reply["hits"]]

    assert texts(place["first"]) == ["the gate is open"] == texts(place["second"] - 1)
    (shut,) = texts(place["second"])
    assert shut.startswith("the gate is shut with ")
    assert TOKEN not in shut
    assert texts(place["third"], scope="") == [shut]
    assert texts(1) == []
    assert texts(place["third"], collection="more", scope="ana") == ["a gate of ana"]
    assert page.ask(do="places")["places"] == [["default", None], ["default", ""], ["more", None], ["more", "ana"]]
    fork = noting.fork("second")
    assert fork.wait("20s").status == "succeeded"
    page, place = Page(fork), places(fork)
    assert texts(place["second"]) == ["the gate fell"]
    began = source_of(noting).head()["created"]
    print([(n + 1, e[0], e[1], e[2], e[3]) for n, e in enumerate(view_of(noting).events)])
    print([((each.at - began).total_seconds() * 1000, each.act, each.step) for each in ctx.memory.said(noting)])
    assert texts(place["first"]) == ["the gate is open"]
    # the page of the original is not told of the branch
    page = Page(noting)
    assert texts(places(noting)["third"]) == [shut]
    assert page.changed == 0


def test_bad_questions_are_answered(ctx: df.Context, noting: Run) -> None:
    page = Page(noting)
    good = {"do": "recall", "n": 2, "question": "gate", "collection": "default", "scope": None}
    for bad in (
        {"n": 0}, {"n": 10_000}, {"n": None}, {"n": True}, {"question": ""}, {"question": 3}, {"question": "x" * 2_001},
        {"collection": None}, {"collection": "nowhere"}, {"scope": 3}, {"scope": "nobody"},
    ):  # fmt: skip
        reply = page.ask(**{**good, **bad})
        assert not reply["ok"], bad
        assert reply["text"]


def test_without_a_memory_nothing_is_shown_and_none_is_made(ctx: df.Context, tmp_path: Path) -> None:
    async def silent(event: Any, step: Any) -> None:
        await step.run("one", lambda: 1)

    run = ctx.start(declare(silent), None).wait("20s")
    page = Page(run)
    assert view_of(run).said is None
    assert page.ask(do="writes")["said"] is None
    assert page.ask(do="places")["places"] == []
    reply = page.ask(do="recall", n=1, question="gate", collection="default")
    assert not reply["ok"]
    assert "ever remembered" in reply["text"]
    run.save_html(tmp_path / "run.html")
    assert not source_of(run)._run._context._read("shown", "schema", ("dataflows_memory",))[0][0]  # type: ignore[attr-defined]
    assert "memory" not in ctx.__dict__, "the package was not loaded for it"


def test_a_page_has_what_was_said_and_not_too_much_of_it(ctx: df.Context, memory: Any, tmp_path: Path) -> None:
    async def talking(event: Any, step: Any) -> None:
        await step.run("much", lambda: memory.remember([f"{n} " + "x" * 10_000 for n in range(SAID + 10)]).added)

    run = ctx.start(declare(talking), None).wait("60s")
    assert run.status == "succeeded", run.error
    view = view_of(run)
    assert view.said is not None
    assert len(view.said) == SAID
    assert len(json.dumps(html.state_of(view)["said"])) < SAID * 450
    page = run.save_html(tmp_path / "run.html").read_text(encoding="utf-8")
    assert '"said":[[' in page
    assert "499 xxx" in page
    assert "500 xxx" not in page


def test_a_moment_lies_between_what_is_seen_and_what_is_not() -> None:
    began = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)

    def at(milliseconds: float) -> dt.datetime:
        return began + dt.timedelta(milliseconds=milliseconds)

    events = [[1, 0.0, "run.created", "", {}], [2, 50.0, "step.started", "a", {}], [3, 90.0, "step.completed", "a", {}]]
    assert place_of([(at(40), "a"), (at(200), None)], events, began) == [3, 3]
    assert moment(1, events, began, []) == at(0.1)
    # the beginning of the step was noted after its first deed, and is before it nevertheless
    assert moment(2, events, began, [(3, at(40))]) == at(40) - dt.timedelta(microseconds=1)
    assert moment(3, events, began, [(3, at(40))]) == at(90.1)
    assert moment(3, events, began, [(3, at(95))]) == at(95)
    # steps side by side: what is seen is seen
    assert moment(2, events, began, [(2, at(60)), (3, at(40))]) == at(60)
    for wrong in (0, 4, None, True, "1"):
        with pytest.raises(DefinitionError, match="1 to 3 events"):
            checked(wrong, events, "rows are")
