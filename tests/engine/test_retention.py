"""Old runs go by the database's time, not by that of the machine that deletes them."""

from __future__ import annotations

from typing import Any

from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext
from .workflows import declare


async def nothing(event: Any, step: Any) -> None:
    await step.run("nothing", lambda: None)


def test_the_age_of_runs_is_reckoned_by_the_databases_clock(make_ctx: MakeContext) -> None:
    clock = VirtualClock()  # years from what this machine's clock says
    ctx = make_ctx(clock=clock, retention="30d")
    ctx.run(declare(nothing)).result()
    assert ctx.retention.preview().total == 0
    assert ctx.retention.apply().total == 0
    clock.advance("31d")
    assert ctx.retention.preview().total == 1
    assert ctx.retention.apply().total == 1
