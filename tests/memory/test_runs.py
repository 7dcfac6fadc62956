"""Runs and their steps in the memory."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_memory.runs import RUNS
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import NotSerializableError, RecallError, RunFailed

from ..conftest import MakeContext
from .fakes import FakeEmbedder


def test_what_ran_what_failed_and_when(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)

    @df.workflow("paint")
    def paint(event: Any, step: Any) -> str:
        def brush(colour: str) -> str:
            if colour == "octarine":
                raise ValueError("there is no such colour as octarine")
            return f"the fence is {colour}"

        return step.run("brush", brush, event.payload, retry=df.Retry(0))

    good = ctx.run(paint, "red")
    bad = ctx.start(paint, "octarine")
    with pytest.raises(RunFailed):
        bad.result(timeout=30)
    assert memory.index_runs().added == 4
    failed = memory.recall("which colour is there no such", where={"status": "failed"})
    assert {hit.item.run for hit in failed} == {str(bad.id)}
    assert "ValueError: there is no such colour as octarine" in failed[0].text
    step = memory.recall("red fence", origin="step", where={"status": "completed"})[0].item
    assert (step.ref, step.step, step.valid_from is not None) == (f"{good.id}/brush", "brush", True)
    assert memory.recall("paint", as_of=good.created_at).among == 0

    before = len(embedder.seen)
    again = ctx.run(paint, "green")
    found = memory.recall("green fence", origin="run")
    assert found[0].item.ref == str(again.id)
    assert len([text for text in embedder.seen[before:] if "green" in text]) == 3  # a run, a step, a question
    assert memory.index_runs().added == 0
    assert memory.index_runs("other").added == 0
    assert len(memory.recall("paint")) == 0
    memory.drop_index(RUNS)
    with pytest.raises(RecallError, match="is not followed"):
        memory.drop_index(RUNS)


def test_many_runs_by_the_page_and_only_those_asked_for(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)

    @df.workflow("count")
    async def count(event: Any, step: Any) -> int:
        return int(event.payload)

    @df.workflow("other")
    async def other(event: Any, step: Any) -> None: ...

    for run in [*ctx.start_many(count, range(250)), ctx.start(other, 0)]:
        run.result(timeout=30)
    assert memory.index_runs("count", steps=False).added == 250
    assert memory.refresh().added == 0
    assert memory.recall("workflow", 1_000).among == 250


def test_secrets_are_not_remembered(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)

    @df.workflow("leak")
    def leak(event: Any, step: Any) -> None:
        raise ValueError("the server said no to hunter2-hunter2")

    assert ctx.run(leak, {}).status == "failed"
    REDACTOR.add("hunter2-hunter2")
    memory.index_runs()
    assert not [text for text in embedder.seen if "hunter2" in text]
    for remember in (memory.remember, lambda text: memory.add_document(text, kind="text", ref="x")):
        with pytest.raises(NotSerializableError, match="declared secret"):
            remember("it is hunter2-hunter2")
