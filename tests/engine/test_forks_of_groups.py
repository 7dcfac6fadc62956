"""Forks that are given the result of a whole map, parallel or loop: its branches have nothing to say then."""

from __future__ import annotations

from typing import Any

import dataflows_sdk as df

from ..conftest import MakeContext
from .workflows import declare


def test_a_fork_may_be_given_the_result_of_a_whole_group(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    async def groups(event: Any, step: Any) -> Any:
        one = await step.map("one", lambda n: n * 2, [1, 2])
        two = await step.parallel("two", {"a": lambda: 1, "b": lambda: 2})
        return await step.run("end", lambda: [one, two])

    run = ctx.run(declare(groups))
    assert run.result() == [[2, 4], {"a": 1, "b": 2}]
    assert run.fork(at="end", set={"one": [7]}).result("20s") == [[7], {"a": 1, "b": 2}]
    assert run.fork(at="end", set={"two": {"c": 3}}).result("20s") == [[2, 4], {"c": 3}]
    flow = df.flow("grouped").step("load", lambda event: [1, 2]).map("m", lambda n: n * 2, over="load")
    made = ctx.run(
        flow.loop("each", "{{m}}", lambda part: part.delay("d", "0s"), after="m").step(
            "end", lambda m, each: [m, each["count"]]
        ),
        {},
    )
    assert made.result() == [[2, 4], 2]
    assert made.fork(at="end", set={"m": [1]}).result("20s") == [[1], 1]
    assert made.fork(at="end", set={"each": {"count": 5}}).result("20s") == [[2, 4], 5]
