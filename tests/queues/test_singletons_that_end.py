"""A start whose place is taken by a run that ends in this very moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dataflows_sdk as df

from ..conftest import MakeContext


def test_a_place_that_is_free_again_is_taken(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("short")
    def short(event: Any, step: Any) -> int:
        return 1

    def start(number: int) -> list[str]:
        return [ctx.start(short, {}, key="k", singleton=True).id for _ in range(60)]

    with ThreadPoolExecutor(6) as pool:
        started = {run for runs in pool.map(start, range(6)) for run in runs}
    assert len(started) > 6  # most found their place free again at some time
    assert all(ctx.get(run).result(timeout=20) == 1 for run in started)
