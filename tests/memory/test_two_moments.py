"""What was true at half past ten, and what is true now: each answer with the run that wrote it. By a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_memory.models import ChatModel
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext
from .fakes import FakeEmbedder
from .openai_peer import Peer, Text, ToolCall, serving

QUESTION = "Who is in charge of the harbour project?"
HALF_PAST_TEN = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


@pytest.fixture(params=[True, False], ids=["with-vectors", "by-words"])
def told(make_ctx: MakeContext, request: pytest.FixtureRequest) -> tuple[Memory, str, str]:
    """A memory that follows a table, and the two runs of which each wrote its row."""
    clock = VirtualClock(datetime(2026, 5, 4, 9, tzinfo=UTC))
    ctx = make_ctx(clock=clock)
    table = ctx.warehouse.table("projects", {"id": int, "name": str, "boss": str}, key="id")
    memory = Memory(ctx, FakeEmbedder() if request.param else None)

    @df.workflow("appoint")
    async def appoint(event: Any, step: Any) -> None:
        await step.run("write it down", lambda: table.upsert(id=1, name="harbour", boss=event.payload) and None)

    runs = []
    for hour, boss in ((10, "Miller"), (11, "Okafor")):
        clock.advance_to(datetime(2026, 5, 4, hour, tzinfo=UTC))
        run = ctx.start(appoint, boss)
        run.result()
        runs.append(run.id)
        if hour == 10:  # before the change, so that it comes by the feed; afterwards is tested by index_table's own
            memory.index_table("projects", "{boss} is in charge of the {name} project")
    clock.advance_to(datetime(2026, 5, 4, 12, tzinfo=UTC))
    return memory, runs[0], runs[1]


def test_recall_gives_what_was_true_then_and_the_run_that_wrote_it(told: tuple[Memory, str, str]) -> None:
    memory, first, second = told
    for as_of, boss, run in ((HALF_PAST_TEN, "Miller", first), (None, "Okafor", second)):
        [hit] = memory.recall(QUESTION, as_of=as_of)
        assert hit.item.text == f"{boss} is in charge of the harbour project"
        assert (hit.item.run, hit.item.step) == (run, "write it down")
    assert memory._context.get(second).workflow == "appoint"


def test_ask_cites_what_was_true_then(told: tuple[Memory, str, str], peer: Peer) -> None:
    memory, first, second = told
    model = ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key)
    query = ToolCall("sql", {"query": "select id, boss from projects"})
    for as_of, boss, run in ((HALF_PAST_TEN, "Miller", first), (None, "Okafor", second)):
        peer.script(Text(calls=(query,)), Text(f'It is "{boss}" [1], as the table says, too: "{boss}" [2.1].'))
        answer = memory.ask(QUESTION, model=model, tables=["projects"], as_of=as_of, timeout="60s")
        assert answer.found, answer
        assert [(each.kind, each.run, each.step) for each in answer.citations] == [
            ("item", run, "write it down"), ("row", run, "write it down"),
        ]  # fmt: skip
        assert answer.citations[1].row == {"id": 1, "boss": boss}
        assert answer.as_of == as_of
        # nothing of the other moment was shown to the model
        shown = str(peer.requests[-1].body["messages"])
        assert ("Miller" in shown, "Okafor" in shown) == (boss == "Miller", boss == "Okafor")


def test_before_anything_was_true_there_is_no_answer(told: tuple[Memory, str, str], peer: Peer) -> None:
    memory, _, _ = told
    model = ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key)
    nine = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
    assert len(memory.recall(QUESTION, as_of=nine)) == 0
    answer = memory.ask(QUESTION, model=model, as_of=nine, timeout="60s")
    assert not answer.found
    assert peer.count() == 0
