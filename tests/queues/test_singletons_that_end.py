"""A start whose place is taken by a run that ends in this very moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import dataflows_sdk as df

from ..conftest import MakeContext


def test_a_place_that_is_free_again_is_taken(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = make_ctx()

    @df.workflow("holds")
    def holds(event: Any, step: Any) -> Any:
        return step.wait_for_event("go") if event.payload else "at once"

    first = ctx.start(holds, 1, singleton=True)
    reader = ctx._engine.reader
    holder = reader.holder

    async def late(*arguments: Any) -> Any:
        """Looks only when the run in the way is over."""
        await asyncio.to_thread(first.send_event, "go", 7)
        while await reader.status(first._id) in ("running", "waiting", "queued"):
            await asyncio.sleep(0.005)
        return await holder(*arguments)

    monkeypatch.setattr(reader, "holder", late)
    second = ctx.start(holds, 0, singleton=True)
    assert second.id != first.id
    assert second.result(timeout=20) == "at once"
