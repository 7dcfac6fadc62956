"""Groups have a place in the order of a scope, also while they are open."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import RunQuarantined

from ..conftest import MakeContext, wait_until


def versions(seen: list[Any]) -> tuple[df.Workflow, df.Workflow, df.Workflow]:
    """A workflow that waits inside a group, one with a new step before the group, and one with a patch there."""

    async def branch(number: int, step: Any) -> Any:
        return await step.wait_for_event(f"go {number}")

    async def before(event: Any, step: Any) -> Any:
        return await step.map("all", branch, [1, 2])

    async def new_step(event: Any, step: Any) -> Any:
        await step.run("new", lambda: seen.append("new"))
        return await step.map("all", branch, [1, 2])

    async def patch(event: Any, step: Any) -> Any:
        seen.append(await step.patched("before the group"))
        found = await step.map("all", branch, [1, 2])
        seen.append(await step.patched("after the group"))
        return found

    return df.Workflow("grouped", before), df.Workflow("grouped", new_step), df.Workflow("grouped", patch)


def begun(ctx: df.Context, workflow: df.Workflow) -> df.Run:
    run = ctx.start(workflow)
    wait_until(lambda: run.status == "waiting", "the run waits")
    return run


def test_a_step_that_is_new_before_an_open_group_is_noticed(make_ctx: MakeContext) -> None:
    ctx, seen = make_ctx(linger="0s"), list[Any]()
    before, new_step, _ = versions(seen)
    run = begun(ctx, before)
    ctx.register(new_step)
    run.send_event("go 1")
    with pytest.raises(RunQuarantined) as caught:
        run.result("20s")
    assert (caught.value.reason["recorded"], caught.value.reason["asked"]) == ("all", "new")
    assert not seen
    run.resume(version="recorded")
    run.send_event("go 2")
    assert run.result("20s") == [None, None]


def test_an_open_group_says_that_the_code_before_it_was_passed(make_ctx: MakeContext) -> None:
    ctx, seen = make_ctx(linger="0s"), list[Any]()
    before, _, patch = versions(seen)
    run = begun(ctx, before)
    ctx.register(patch)
    run.send_event("go 1").send_event("go 2")
    assert run.result("20s") == [None, None]
    assert seen[-2:] == [False, True]
    assert False not in (fresh := ctx.start(patch).send_event("go 1").send_event("go 2")).result("20s")
    assert fresh.status == "succeeded"
    assert seen[-2:] == [True, True]
