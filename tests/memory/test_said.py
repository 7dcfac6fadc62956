"""What a run has said to the memory, by the run: remembered, ended, taken back; on branches too."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_sdk.errors import RecallError, RunNotFoundError

from ..conftest import MakeContext
from .fakes import FakeEmbedder


def acts(memory: Memory, run: Any) -> list[tuple[str, str | None, str]]:
    return [(each.act, each.step, each.text) for each in memory.said(run)]


@pytest.fixture
def ctx(make_ctx: MakeContext) -> df.Context:
    return make_ctx()


def test_it_is_told_in_order_and_by_step(ctx: df.Context, embedder: FakeEmbedder) -> None:
    memory = Memory(ctx, embedder)
    (other,) = memory.remember("said by nobody", ref="note").items
    wrong: list[int] = []

    @df.workflow("noting")
    def noting(event: Any, step: Any) -> None:
        step.run("one", lambda: memory.remember("the gate is open", ref="gate").added)
        step.run("two", lambda: memory.remember("the gate is shut", ref="gate", scope="").added)
        step.run("three", lambda: wrong.extend(memory.remember("a mistake", collection="more", scope="ana").items))
        step.run("four", lambda: memory.retract(*wrong))
        step.run("five", lambda: memory.update(other, "said by a run").added)

    ctx.register(noting)
    run = ctx.start(noting)
    run.result(timeout=30)
    assert acts(memory, run) == [
        ("remembered", "one", "the gate is open"),
        ("ended", "two", "the gate is open"),
        ("remembered", "two", "the gate is shut"),
        ("remembered", "three", "a mistake"),
        ("retracted", "four", "a mistake"),
        ("ended", "five", "said by nobody"),
        ("remembered", "five", "said by a run"),
    ]
    said = memory.said(run.id)
    assert [each.at for each in said] == sorted(each.at for each in said)
    assert {(each.collection, each.scope, each.ref) for each in said} >= {("default", "", "gate")}
    assert (said[3].collection, said[3].scope, said[3].item) == ("more", "ana", wrong[0])
    assert acts(memory, run) == [(each.act, each.step, each.text) for each in memory.said(run, limit=7)]
    assert len(memory.said(run, limit=2)) == 2
    memory.forget(said[0].item)
    assert ("remembered", "one", "the gate is open") not in acts(memory, run)


def test_long_texts_are_told_by_their_beginning(ctx: df.Context) -> None:
    memory = Memory(ctx, None)

    @df.workflow("long")
    def long(event: Any, step: Any) -> None:
        step.run("one", lambda: memory.remember("é" * 100_000).added)

    ctx.register(long)
    run = ctx.start(long)
    run.result(timeout=30)
    assert [len(each.text) for each in memory.said(run)] == [2_000]


def test_a_fork_says_it_on_its_branch_and_a_merge_tells_it_once(ctx: df.Context, embedder: FakeEmbedder) -> None:
    memory = Memory(ctx, embedder)
    says = {"second": "the tower stands"}

    @df.workflow("branching")
    def branching(event: Any, step: Any) -> None:
        step.run("first", lambda: memory.remember("the fence is new", ref="fence").added)
        step.run("second", lambda: memory.remember(says["second"], ref="fence").added)

    ctx.register(branching)
    run = ctx.start(branching)
    run.result(timeout=30)
    says["second"] = "the tower fell"
    fork = run.fork("second")
    fork.result(timeout=30)
    of_fork = [("ended", "second", "the fence is new"), ("remembered", "second", "the tower fell")]
    assert acts(memory, fork) == of_fork
    assert [text for _, _, text in acts(memory, run)] == ["the fence is new", "the fence is new", "the tower stands"]
    memory.merge(fork, conflicts="branch")
    assert acts(memory, fork) == of_fork
    memory.discard(fork)
    assert ("remembered", "second", "the tower fell") in acts(memory, fork)


def test_asking_makes_no_memory(ctx: df.Context) -> None:
    memory = Memory(ctx, None)

    @df.workflow("silent")
    def silent(event: Any, step: Any) -> None:
        step.run("one", lambda: 1)

    ctx.register(silent)
    run = ctx.start(silent)
    run.result(timeout=30)
    assert memory.said(run) == []
    assert ctx._read("shown", "schema", ("dataflows_memory",)) == [(False,)]


def test_bad_input(ctx: df.Context) -> None:
    memory = Memory(ctx, None)
    for wrong in ("nothing", None, 3):
        with pytest.raises(RunNotFoundError, match="no id of a run"):
            memory.said(wrong)
    run = "00000000-0000-7000-8000-000000000000"
    for limit in (0, 10_001, None, True, "5"):
        with pytest.raises(RecallError, match="limit="):
            memory.said(run, limit=limit)  # type: ignore[arg-type]
    memory.remember("something")
    assert memory.said(run) == []
