"""Runs that show what a view has to show."""

from __future__ import annotations

from typing import Any

import dataflows_sdk as df
from dataflows_sdk.context import Context
from dataflows_sdk.runs import Run

NASTY = "<script>alert(1)</script>"
TOKEN = "plum-tree-token-93751"


def declare(fn: Any, name: str | None = None) -> df.Workflow:
    """A workflow that only this test knows."""
    return df.Workflow(name or fn.__name__, fn)


def colourful() -> df.Workflow:
    """Branches that stay, branches that are folded, another try, a repetition, progress, a wait, an event."""

    async def colourful(event: Any, step: Any) -> Any:
        numbers = await step.run("load", lambda: [1, 2, 3])

        async def twice(number: int, step: Any) -> int:
            return int(await step.run("inner", lambda: number * 2))

        await step.map("few", twice, numbers)
        await step.map("many", lambda number: number + 1, list(range(12)))
        await step.parallel("both", {"left": lambda: 1, "right": lambda: 2})
        tries: list[int] = []

        def flaky() -> str:
            tries.append(1)
            if len(tries) < 2:
                raise ValueError(f"not yet {NASTY}")
            return "x" * 5_000

        await step.run("flaky", flaky, retry=df.Retry(2, initial_delay="1ms", jitter=False))
        for number in range(3):
            await step.run("again", lambda number=number: number)
        await step.sleep("nap", "5ms")
        return await step.wait_for_event("go")

    return declare(colourful)


def asking() -> df.Flow:
    """A flow with a question in it, and branches behind that."""
    flow = df.flow("asking").on_manual().step("prepare", lambda event: {"rows": 3})
    flow = flow.approval("ok", f"Publish {NASTY}?", after="prepare")
    return flow.notify("tell", "yes", after="ok:approved").notify("drop", "no", after="ok:rejected")


def failing() -> df.Workflow:
    """Fails for good in its second step."""

    async def failing(event: Any, step: Any) -> None:
        await step.run("first", lambda: 1)
        await step.run("second", _refuse, retry=df.Retry(0))

    return declare(failing)


def _refuse() -> None:
    raise ValueError("on purpose")


def all_of_them(ctx: Context) -> dict[str, Run]:
    """One run of each kind, all over."""
    from ..conftest import wait_until

    done = ctx.start(colourful(), {"n": 1})
    done.send_event("go", {"by": "ana"})
    approved = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(approved), "it asks")
    ctx.approvals.respond(ctx.approvals.pending(approved)[0], True)
    failed = ctx.start(failing(), None)
    cancelled = ctx.start(colourful(), {"n": 2})
    wait_until(lambda: any(event.kind == "step.waiting" for event in cancelled.events()[-2:]), "it waits")
    cancelled.cancel("enough")
    found = {"done": done, "approved": approved, "failed": failed, "cancelled": cancelled}
    for run in found.values():
        run.wait("20s")
    return found
