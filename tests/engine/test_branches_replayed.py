"""Branches that had begun when a run was let go of begin again in the replay, whatever became of their neighbours."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import RunFailed

from ..conftest import MakeContext
from .workflows import declare

OPTIONS = [{"linger": "0s"}, {"always_replay": True}, {}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_branch_goes_on_after_its_neighbour_failed(make_ctx: MakeContext, options: dict[str, Any]) -> None:
    """In memory every branch that has begun runs to its end; so it must where the run sleeps in the meantime."""
    done: list[str] = []

    def fail() -> None:
        done.append("fail")
        raise ValueError("on purpose")

    async def failing(step: Any) -> None:
        await step.run("fail", fail, retry=df.NO_RETRY)

    async def going_on(step: Any) -> None:
        await step.run("before", done.append, "before", undo=lambda: done.append("undo"))
        await step.sleep("nap", "200ms")
        await step.run("after", done.append, "after", undo=lambda: done.append("undo"))

    async def both(event: Any, step: Any) -> None:
        await step.parallel("both", [failing, going_on])

    run = make_ctx(**options).run(declare(both), timeout="20s")
    with pytest.raises(RunFailed, match="on purpose"):
        run.result()
    assert sorted(done) == ["after", "before", "fail", "undo", "undo"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_the_loser_of_a_race_did_is_undone_after_a_replay_too(
    make_ctx: MakeContext, options: dict[str, Any]
) -> None:
    done: list[str] = []

    async def loser(step: Any) -> None:
        await step.run("reserve", done.append, "reserve", undo=lambda: done.append("release"))
        await step.map("more", done.append, ["more"], undo=lambda: done.append("less"))
        await step.sleep("long", "1h")
        await step.run("never", done.append, "never")

    async def winner(step: Any) -> str:
        await step.sleep("nap", "200ms")
        return "won"

    async def race(event: Any, step: Any) -> None:
        assert await step.parallel("race", {"loser": loser, "winner": winner}, join="any") == {"winner": "won"}
        await step.sleep("nap", "200ms")
        raise ValueError("on purpose")

    run = make_ctx(**options).run(declare(race), timeout="20s")
    with pytest.raises(RunFailed, match="on purpose"):
        run.result()
    assert sorted(done) == ["less", "more", "release", "reserve"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_branches_that_had_not_begun_stay_away_in_a_replay(make_ctx: MakeContext, options: dict[str, Any]) -> None:
    done: list[int] = []

    async def branch(item: int, step: Any) -> None:
        await step.sleep("nap", "150ms")
        await step.run("note", done.append, item)
        if item == 1:
            raise ValueError("on purpose")

    async def limited(event: Any, step: Any) -> str:
        try:
            await step.map("items", branch, range(5), concurrency=1)
        except ValueError:
            await step.sleep("nap", "150ms")
            return "caught"
        return "not caught"

    assert make_ctx(**options).run(declare(limited), timeout="20s").result() == "caught"
    assert done == [0, 1]
