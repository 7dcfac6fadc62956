"""Workflows that use every verb, for kill sweeps: as ``async def``, as ``def``, as a DAG, and one that undoes.

Each step function notes its effect; what `main_*` return is the same in every run, killed or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any

import psycopg

import dataflows_sdk as df
from dataflows_sdk.errors import RunError, RunFinishedError
from dataflows_sdk.testing import record_effect

ID = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77"
QUICK = df.Retry(3, initial_delay="5ms", jitter=0)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


# --- step functions: each notes its effect ----------------------------------------------------------------


def load(n: int) -> int:
    record_effect()
    return n


async def aload(n: int) -> int:
    record_effect()
    await asyncio.sleep(0)
    return n


def flaky() -> str:
    record_effect()
    if df.current_step().attempt < 3:
        raise ConnectionError("not yet")
    return f"attempt {df.current_step().attempt}"


async def slow_at_first() -> str:
    record_effect()
    if df.current_step().attempt == 1:
        await asyncio.sleep(30)
    return "in time"


def visible() -> str:
    """Long enough to be seen as started."""
    record_effect()
    time.sleep(0.05)
    return "seen"


def square(i: int) -> int:
    record_effect()
    return i * i


def echo(value: Any) -> Any:
    record_effect()
    return value


def note() -> str:
    record_effect()
    return "noted"


def insert(connection: Any, name: str) -> str:
    connection.execute("insert into effect_row (name) values (%s)", (name,))
    return name


def fail() -> None:
    record_effect()
    raise ValueError("on purpose")


def undo(value: Any) -> None:
    record_effect()


# --- children ---------------------------------------------------------------------------------------------


@df.workflow("kit-helper")
async def helper(event: Any, step: Any) -> Any:
    got = await step.wait_for_event("go", timeout="120s")
    await step.run("note", note)
    return got


@df.workflow("kit-listener")
def listener(event: Any, step: Any) -> Any:
    got = step.wait_for_event("news", timeout="120s")
    step.run("note", note)
    return got


@df.workflow("kit-child")
async def child(event: Any, step: Any) -> int:
    got = await step.run("load", aload, event.payload["n"])
    await step.sleep("nap", "10ms")
    await step.transaction("row", insert, f"child-{event.payload['n']}")
    return int(got) * 100


# --- every verb, async ------------------------------------------------------------------------------------


async def row(columns: list[int], step: Any) -> int:
    first = await step.run("first", load, columns[0])
    cells = await step.map("cells", square, columns)
    await step.sleep("nap", "5ms")
    return int(first) + sum(cells)


async def quick(step: Any) -> str:
    return str(await step.run("quick", echo, "quick"))


async def never(step: Any) -> str:
    await step.sleep("long", "1h")
    return "never"


@df.workflow("kit-every-async")
async def every_async(event: Any, step: Any) -> dict[str, Any]:
    n = await step.run("load", load, event.payload["n"])
    a = await step.run("aload", aload, n)
    flaked = await step.run("flaky", flaky, retry=QUICK)
    timed = await step.run("timed", slow_at_first, retry=QUICK, timeout="60ms")
    seen = await step.run("visible", visible)
    await step.sleep("nap", "20ms")
    await step.sleep_until("past", PAST)
    helping = await step.invoke("helper", helper, {}, detach=True)
    listening = await step.invoke("listener", listener, {}, detach=True)
    sent = await step.send_event("send", helping, "go", {"n": n})
    await step.emit("tell", "news", {"x": 1})
    approval = await step.wait_for_event("approval", timeout="120s")
    nothing = await step.wait_for_event("nothing", timeout="20ms")
    squares = await step.map("squares", square, range(4), concurrency=2)
    rows = await step.map("rows", row, [[1, 2], [3, 4]])
    both = await step.parallel("both", {"a": quick, "b": note})
    won = await step.parallel("race", {"never": never, "quick": quick}, join="any")

    async def branch(name: str) -> Any:
        await step.sleep("nap", "5ms")
        return await step.run("echo", echo, name)

    gathered = await step.gather(branch("x"), branch("y"))
    hundred = await step.invoke("child", child, {"n": n})
    inserted = await step.transaction("row", insert, "every")
    now, uuid, number = await step.now(), await step.uuid(), await step.random()
    again = await step.run("chance", echo, [now, uuid, number])
    patched = await step.patched("v2")
    return {
        "n": n,
        "a": a,
        "flaky": flaked,
        "timed": timed,
        "seen": seen,
        "sent": sent,
        "approval": approval,
        "nothing": nothing,
        "squares": squares,
        "rows": rows,
        "both": both,
        "won": won,
        "gathered": gathered,
        "hundred": hundred,
        "inserted": inserted,
        "same": again == [now, uuid, number],
        "patched": patched,
        "detached": helping != listening,
    }


# --- every verb, blocking ---------------------------------------------------------------------------------


def srow(columns: list[int], step: Any) -> int:
    first = step.run("first", load, columns[0])
    cells = step.map("cells", square, columns)
    step.sleep("nap", "5ms")
    return int(first) + sum(cells)


def squick(step: Any) -> str:
    return str(step.run("quick", echo, "quick"))


def snever(step: Any) -> str:
    step.sleep("long", "1h")
    return "never"


@df.workflow("kit-every-sync")
def every_sync(event: Any, step: Any) -> dict[str, Any]:
    n = step.run("load", load, event.payload["n"])
    a = step.run("aload", aload, n)
    flaked = step.run("flaky", flaky, retry=QUICK)
    timed = step.run("timed", slow_at_first, retry=QUICK, timeout="60ms")
    seen = step.run("visible", visible)
    step.sleep("nap", "20ms")
    step.sleep_until("past", PAST)
    helping = step.invoke("helper", helper, {}, detach=True)
    listening = step.invoke("listener", listener, {}, detach=True)
    sent = step.send_event("send", helping, "go", {"n": n})
    step.emit("tell", "news", {"x": 1})
    approval = step.wait_for_event("approval", timeout="120s")
    nothing = step.wait_for_event("nothing", timeout="20ms")
    squares = step.map("squares", square, range(4), concurrency=2)
    rows = step.map("rows", srow, [[1, 2], [3, 4]])
    both = step.parallel("both", {"a": squick, "b": note})
    won = step.parallel("race", {"never": snever, "quick": squick}, join="any")

    def branch(name: str) -> Any:
        step.sleep("nap", "5ms")
        return step.run("echo", echo, name)

    gathered = step.gather(lambda: branch("x"), lambda: branch("y"))
    hundred = step.invoke("child", child, {"n": n})
    inserted = step.transaction("row", insert, "every")
    now, uuid, number = step.now(), step.uuid(), step.random()
    again = step.run("chance", echo, [now, uuid, number])
    patched = step.patched("v2")
    return {
        "n": n,
        "a": a,
        "flaky": flaked,
        "timed": timed,
        "seen": seen,
        "sent": sent,
        "approval": approval,
        "nothing": nothing,
        "squares": squares,
        "rows": rows,
        "both": both,
        "won": won,
        "gathered": gathered,
        "hundred": hundred,
        "inserted": inserted,
        "same": again == [now, uuid, number],
        "patched": patched,
        "detached": helping != listening,
    }


# --- one that fails and undoes ----------------------------------------------------------------------------


@df.workflow("kit-undo")
async def undoing(event: Any, step: Any) -> None:
    await step.run("one", note, undo=undo)
    await step.map("many", square, range(3), undo=undo)
    await step.run("two", note, undo=undo)
    await step.sleep("nap", "100ms")
    await step.run("fail", fail, retry=df.NO_RETRY)


@df.workflow("kit-undo-sync")
def undoing_sync(event: Any, step: Any) -> None:
    step.run("one", note, undo=undo)
    step.map("many", square, range(3), undo=undo)
    step.run("two", note, undo=undo)
    step.sleep("nap", "100ms")
    step.run("fail", fail, retry=df.NO_RETRY)


# --- a DAG ------------------------------------------------------------------------------------------------


def numbers(event: Any) -> list[int]:
    record_effect()
    return list(range(event.payload["n"]))


def total(squared: list[int]) -> int:
    record_effect()
    return sum(squared)


def is_big(total: int) -> bool:
    record_effect()
    return total > 3


def ship(total: int) -> str:
    record_effect()
    return f"shipped {total}"


def pack(total: int) -> str:
    record_effect()
    return f"packed {total}"


def scoped(total: int, step: Any) -> int:
    step.sleep("nap", "300ms")  # longer than all that runs beside it: then the run only waits
    return int(step.run("inner", echo, total + 1))


def shaky() -> str:
    record_effect()
    if df.current_step().attempt < 2:
        raise ConnectionError("not yet")
    return "steady"


def end(meet: dict[str, Any], below: int, scoped: int, shaky: str) -> dict[str, Any]:
    record_effect()
    return {"meet": meet, "below": below, "scoped": scoped, "shaky": shaky}


dag = (
    df.flow("kit-dag")
    .step("numbers", numbers)
    .map("squared", square, over="numbers", concurrency=2)
    .step("total", total)
    .condition("is_big", is_big)
    .step("ship", ship, when="is_big")
    .step("pack", pack, when="not is_big")
    .join("meet", ["ship", "pack"], join="any")
    .step("scoped", scoped)
    .step("shaky", shaky, retry=QUICK)
    .subflow("below", child, payload=df.value({"n": 7}))
    .step("end", end)
)


# --- what a sweep calls -----------------------------------------------------------------------------------


def _table(ctx: Any) -> None:
    with psycopg.connect(ctx.url, autocommit=True) as connection:
        connection.execute("create table if not exists effect_row (id bigserial, name text not null)")


def _every(ctx: Any, workflow: Any) -> Any:
    _table(ctx)
    run = ctx.start(workflow, {"n": 3}, id=ID)
    with contextlib.suppress(RunFinishedError):
        ctx.send_event(run, "approval", {"by": "me"}, dedupe_key="approval")
    return run.result("60s")


def main_async(ctx: Any) -> Any:
    return _every(ctx, every_async)


def main_sync(ctx: Any) -> Any:
    return _every(ctx, every_sync)


def _undo(ctx: Any, workflow: Any) -> Any:
    run = ctx.start(workflow, id=ID)
    try:
        run.result("60s")
    except RunError as error:
        undone = [e.key for e in run.events() if e.kind == "step.completed" and e.key.startswith("undo/")]
        last = [key for key in undone if "many" not in key]
        return [type(error).__name__, len(undone), last, undone[0] == "undo/two", undone[-1] == "undo/one"]
    raise AssertionError("the run was to fail")


def main_undo(ctx: Any) -> Any:
    return _undo(ctx, undoing)


def main_undo_sync(ctx: Any) -> Any:
    return _undo(ctx, undoing_sync)


def main_dag(ctx: Any) -> Any:
    _table(ctx)
    ctx.register(dag)
    return ctx.start(dag, {"n": 4}, id=ID).result("60s")


def observe(ctx: Any) -> Any:
    """What happened exactly once."""
    with psycopg.connect(ctx.url) as connection:
        if connection.execute("select to_regclass('effect_row')").fetchone() == (None,):
            return []
        return connection.execute("select name, count(*) from effect_row group by name order by name").fetchall()
