"""What follows a run: few messages, nothing lost, nothing told twice, and an end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import RunNotFoundError, StoreUnavailableError
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.notebook import feed as feeds
from dataflows_sdk.notebook.feed import PACE, Feed
from dataflows_sdk.notebook.folding import State, fold
from dataflows_sdk.notebook.model import read

from ..conftest import wait_until
from .shows import asking, colourful

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Journal:
    """A journal that grows as a test says: no database, so that its times are the test's."""

    def __init__(self) -> None:
        self.run_id = "01a2064c-43af"
        self.all: list[JournalEvent] = []
        self.hidden: set[int] = set()
        self.gone = self.down = False
        self.looks = 0
        self.add("run.created", status="running")

    def add(self, kind: str, key: str = "", **data: Any) -> None:
        seq = len(self.all) + 1
        self.all.append(JournalEvent(seq, kind, key, data, BEGAN + timedelta(milliseconds=seq)))

    def mask(self, text: str, /) -> str:
        return text

    def head(self) -> dict[str, Any]:
        if self.gone:
            raise RunNotFoundError("there is no run")
        head = {"workflow": "w", "version": "1", "status": "running", "created": BEGAN}
        return {**head, "parent": None, "forked_from": None}

    def page(self, after: int) -> list[JournalEvent]:
        self.looks += 1
        if self.down:
            raise StoreUnavailableError("nobody answers")
        return [event for event in self.all if event.seq > after and event.seq not in self.hidden][:2_000]

    def spec(self) -> FlowSpec | None:
        return None

    def wrote(self) -> list[dict[str, Any]]:
        return []

    def said(self) -> None:
        return None

    def lacks(self) -> list[str]:
        return []

    def closed(self) -> bool:
        return False


class Told:
    """A feed whose clock the test sets, and what it told."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.now = journal, 100.0
        self.messages: list[tuple[float, dict[str, Any]]] = []
        self.ends: list[State] = []
        self.view = read(journal)
        self.known = [json.loads(json.dumps(event)) for event in self.view.events]
        self.feed = Feed(journal, self.view, self.tell, self.ends.append, clock=lambda: self.now)

    def tell(self, message: dict[str, Any]) -> None:
        self.messages.append((self.now, json.loads(json.dumps(message))))
        if message["do"] == "events":
            assert message["from"] == len(self.known), "a page that missed nothing sees no gap"
            self.known += self.messages[-1][1]["events"]

    def turns(self, seconds: float) -> bool:
        """Let time go by as the feed's thread would."""
        until, going_on = self.now + seconds, True
        while self.now < until and going_on:
            going_on = self.feed.turn()
            self.now += max(0.001, self.feed._pause)
        return going_on


def test_ten_messages_a_second_however_much_happens() -> None:
    journal = Journal()
    told = Told(journal)
    for turn in range(300):
        for _ in range(20):
            journal.add("step.completed", f"load#{len(journal.all)}", op="run", took=0.001, value=1, n=1)
        told.turns(0.001)
        del turn
    journal.add("run.completed", value=1)
    assert told.turns(10) is False
    times = [time for time, _ in told.messages]
    assert all(b - a >= PACE - 1e-9 for a, b in pairwise(times))
    assert len(times) > 2
    assert [event[0] for event in told.known] == [event.seq for event in journal.all]
    assert all(len(message.get("events", ())) <= feeds.MOST for _, message in told.messages)
    assert len(told.ends) == 1
    assert told.ends[0].plain() == fold(told.known).plain()


def test_new_boxes_come_with_their_events() -> None:
    journal = Journal()
    told = Told(journal)
    journal.add("step.completed", "load", op="run", n=1, took=0.001)
    told.turns(1)
    journal.add("scope.opened", "many", op="map", n=2, count=20)
    journal.add("step.completed", "many[0]", op="run", took=0.001)
    told.turns(1)
    for number in range(1, 20):
        journal.add("step.completed", f"many[{number}]", op="run", took=0.001)
        told.turns(1)
    graphs = [message["graph"]["ids"] for _, message in told.messages if "graph" in message]
    assert graphs[0] == ["load"]
    assert graphs[-1] == ["load", "many"]
    assert len(graphs) < 13, "what is folded already needs no new picture"


def test_what_overtook_is_told_after_what_it_overtook() -> None:
    journal = Journal()
    told = Told(journal)
    journal.add("step.started", "a", op="run")
    journal.add("step.completed", "b", op="run")
    journal.hidden = {2}
    told.turns(1)
    assert [event[0] for event in told.known] == [1]
    journal.hidden = set()
    told.turns(1)
    assert [event[0] for event in told.known] == [1, 2, 3]
    journal.add("step.started", "never", op="run")
    journal.add("step.completed", "c", op="run")
    journal.hidden = {4}
    told.turns(4)
    assert [event[0] for event in told.known] == [1, 2, 3, 5], "a number that never comes is not waited for"


def test_it_looks_seldom_while_nothing_happens() -> None:
    journal = Journal()
    told = Told(journal)
    told.turns(30)
    assert journal.looks < 30 * 12
    told.turns(1_000)
    before = journal.looks
    told.turns(100)
    assert journal.looks - before <= 201
    assert told.messages == []


def test_a_run_that_vanishes_ends_it() -> None:
    journal = Journal()
    told = Told(journal)
    journal.gone = True
    with pytest.raises(RunNotFoundError):
        told.turns(60)


def test_a_view_is_full_some_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "EVENTS", 10)
    journal = Journal()
    told = Told(journal)
    for _ in range(20):
        journal.add("step.completed", f"s#{len(journal.all)}", op="run", n=1)
    assert told.turns(5) is False
    assert len(told.known) == 10
    assert told.view.cut
    assert told.messages[-1][1]["cut"] is True
    assert not told.ends[0].over


def test_it_says_that_the_database_is_away_and_goes_on() -> None:
    journal = Journal()
    told = Told(journal)
    journal.down = True
    told.feed.start()
    wait_until(lambda: told.messages, "it says so")
    assert "does not answer" in told.messages[0][1]["text"]
    journal.add("run.completed", value=1)
    journal.down = False
    told.feed.wake()
    wait_until(lambda: told.ends, "it went on")
    assert told.feed.join(20)
    assert len(told.messages) == 2


def test_a_real_run_is_followed_to_its_end(ctx: df.Context) -> None:
    from dataflows_sdk.notebook.kept import source_of

    run = ctx.start(asking(), {})
    view = read(source_of(run))
    messages: list[dict[str, Any]] = []
    ends: list[State] = []
    feed = Feed(source_of(run), view, messages.append, ends.append)
    feed.start()
    wait_until(lambda: fold(view.events).asks, "the question is seen")
    ctx.approvals.respond(next(iter(fold(view.events).asks)), True)
    run.wait("20s")
    feed.wake()
    wait_until(lambda: ends, "the end is seen")
    assert feed.join(20)
    assert [event[0] for event in view.events] == [event.seq for event in run.events()]
    assert not any("graph" in message for message in messages), "a flow's boxes are known from the beginning"


def test_a_closed_context_ends_it(ctx: df.Context) -> None:
    from dataflows_sdk.notebook.kept import source_of

    run = ctx.start(colourful(), {"n": 1})
    view = read(source_of(run))
    feed = Feed(source_of(run), view, lambda _: None, lambda _: None)
    feed.start()
    ctx.close()
    feed.wake()
    assert feed.join(20)
