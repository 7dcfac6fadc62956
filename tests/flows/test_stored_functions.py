"""Functions in the database: deployed once, called by any process, with versions."""

from __future__ import annotations

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, NonRetryableError, RunFailed
from dataflows_sdk.nodes.functions import FunctionRegistry

from ..conftest import MakeContext


def test_what_is_deployed_is_called_everywhere(make_ctx: MakeContext) -> None:
    first, other = make_ctx(), make_ctx()
    made = first.functions.deploy("double", "input.x * 2")
    assert other.functions.invoke("double", {"x": 2}, timeout="30s") == 4
    assert first.functions.deploy("double", "input.x * 2") == made
    newer = first.functions.deploy("double", "input.x * 20")
    assert other.functions.invoke("double", {"x": 2}, timeout="30s") == 40
    assert [each.version for each in other.functions.versions("double")] == [made.version, newer.version]
    assert [each.slug for each in other.functions.list()] == ["double"]
    first.functions.deploy("double", "input.x * 2")
    run = other.functions.start("double", {"x": 3})
    assert run.result("30s") == 6
    assert run.workflow == "function double"
    flow = df.flow("uses").on_manual().function("f", "double", input={"x": "{{trigger.n}}"})
    assert other.run(flow, {"n": 5}, timeout="30s").result() == 10


def test_a_callable_of_the_process_comes_first(make_ctx: MakeContext) -> None:
    functions = FunctionRegistry()
    functions.register("twice", lambda value: value * 2)
    ctx = make_ctx(services=df.Services(functions=functions))
    ctx.functions.deploy("twice", "input * 200")
    assert ctx.functions.invoke("twice", 4, timeout="30s") == 8
    assert make_ctx().functions.invoke("twice", 4, timeout="30s") == 800


def test_what_cannot_be(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    with pytest.raises(DefinitionError, match="slug"):
        ctx.functions.deploy("no slug", "1")
    with pytest.raises(DefinitionError, match="engine"):
        ctx.functions.deploy("a", "1", "javy")  # type: ignore[arg-type]
    with pytest.raises(NonRetryableError, match="nobody"):
        ctx.functions.versions("nobody")
    with pytest.raises(RunFailed, match="no function 'nobody'"):
        ctx.functions.invoke("nobody", timeout="30s")
