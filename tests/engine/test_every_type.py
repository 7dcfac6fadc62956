"""A flow of every type that can run: in memory, suspended at every wait, and replayed after every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df

from ..conftest import MakeContext
from . import every_type


@pytest.mark.parametrize("options", [{}, {"linger": "0s"}, {"always_replay": True}], ids=str)
def test_every_type_that_runs(
    make_ctx: MakeContext, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOWS_EFFECTS", str(tmp_path / "effects"))
    every_type.declare()
    flow = every_type.every_type_that_runs()
    assert [str(problem) for problem in flow.validate()] == []
    with every_type.server() as url:
        ctx = make_ctx(services=every_type.services(url), **options)
        ctx.register(every_type.child_flow())
        run = ctx.start(flow, {"n": 3, "items": [1, 2, 3]})
        assert every_type.finish(ctx, run) == every_type.EXPECTED
        assert run.replay().ok


def test_it_has_every_type_but_those_of_parts_to_come() -> None:
    used = {node.type for node in every_type.every_type_that_runs().spec.nodes}
    elsewhere = {"action_record", "action_integration"} | {
        each for each in df.NODE_TYPES if each.startswith("trigger_")
    }
    assert set(df.NODE_TYPES) - elsewhere <= used
