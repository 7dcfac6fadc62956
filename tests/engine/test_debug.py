"""A run under a debugger: today's code against what is recorded, in the calling thread."""

from __future__ import annotations

import asyncio
import io
import pdb  # noqa: T100
import sys
import threading
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.engine.debugging import SKIPPED
from dataflows_sdk.errors import DefinitionError, WorkflowNotFoundError

CALLS: list[str] = []


def blocking(event: Any, step: Any) -> int:
    first = step.run("first", lambda: CALLS.append("first") or 20)
    where = threading.current_thread().name
    second = step.run("second", lambda: first + 1)
    return second + len(where) * 0


async def awaiting(event: Any, step: Any) -> int:
    first = await step.run("first", lambda: CALLS.append("first") or 20)
    where = threading.current_thread().name
    second = await step.run("second", lambda: first + 1)
    return second + len(where) * 0


def typed(*commands: str) -> tuple[pdb.Pdb, io.StringIO]:
    out = io.StringIO()
    told = io.StringIO("".join(f"{each}\n" for each in commands))
    return pdb.Pdb(stdin=told, stdout=out, skip=SKIPPED, nosigint=True, readrc=False), out


@pytest.mark.parametrize("fn", [blocking, awaiting])
@pytest.mark.parametrize("in_a_loop", [False, True])
def test_it_is_stepped_through_here(ctx: df.Context, fn: Any, in_a_loop: bool) -> None:
    run = ctx.start(df.Workflow(f"debugged-{fn.__name__}", fn), {"n": 1})
    assert run.result() == 21
    CALLS.clear()
    debugger, out = typed("p event.payload", "n", "p first", "n", "p where", "s", "n", "c")

    async def cell() -> Any:
        task = asyncio.current_task()
        found = run.debug(workflow, debugger=debugger)
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        return found

    workflow = df.Workflow(f"debugged-{fn.__name__}", fn)
    result = asyncio.run(cell()) if in_a_loop else run.debug(workflow, debugger=debugger)
    said = out.getvalue()
    assert "'n': 1" in said
    assert "(Pdb) 20\n" in said
    assert repr(threading.current_thread().name) in said
    assert "dataflows_sdk/engine" not in said  # no line of ours was stepped into
    assert (result.ok, result.outcome, result.value) == (True, "completed", 21), result
    assert CALLS == []
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())
    assert run.status == "succeeded"


def test_to_leave_it_is_said(ctx: df.Context) -> None:
    workflow = df.Workflow("debugged-left", blocking)
    run = ctx.start(workflow, {}).wait("20s")
    debugger, _ = typed("q")
    result = run.debug(workflow, debugger=debugger)
    assert (result.ok, result.outcome, result.difference) == (False, "stopped", "the debugger was left")


def test_a_flow_has_no_code(ctx: df.Context) -> None:
    flow = df.flow("no-code").step("one", lambda: 1)
    run = ctx.start(flow, {}).wait("20s")
    with pytest.raises(DefinitionError, match="no code to step through"):
        run.debug()
    with pytest.raises(WorkflowNotFoundError):
        run.debug("nothing of that name")


class ByInstruction(pdb.Pdb):
    """A debugger that stops at the next instruction after `set_trace`, as that of Python 3.13 does."""

    def set_trace(self, frame: Any = None, **more: Any) -> None:
        super().set_trace(frame, **more)
        frame.f_trace_opcodes = True

    def trace_dispatch(self, frame: Any, event: str, arg: Any) -> Any:
        if event != "opcode":
            return super().trace_dispatch(frame, event, arg)
        if self.stop_here(frame):
            self.user_line(frame)
        return self.trace_dispatch


@pytest.mark.parametrize("fn", [blocking, awaiting])
def test_it_stops_at_the_first_line_and_not_at_an_instruction(ctx: df.Context, fn: Any) -> None:
    workflow = df.Workflow(f"instructed-{fn.__name__}", fn)
    run = ctx.start(workflow, {"n": 1})
    assert run.result() == 21
    out = io.StringIO()
    told = io.StringIO("n\np first\nc\n")
    debugger = ByInstruction(stdin=told, stdout=out, skip=SKIPPED, nosigint=True, readrc=False)
    assert run.debug(workflow, debugger=debugger).ok
    assert "(Pdb) 20\n" in out.getvalue()
