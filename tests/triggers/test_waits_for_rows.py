"""Runs that wait for a row: nothing is missed between the look and the wait, whoever dies in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import EventTimeoutError, FlowValidationError, RunFailed
from dataflows_sdk.testing import TestDatabases, VirtualClock, kill_sweep

from ..conftest import MakeContext, wait_until

HERE = Path(__file__).parent


def waiting(ctx: df.Context, **options: Any) -> df.Workflow:
    """A workflow that waits for the row whose key it is begun with."""

    @df.workflow("waits")
    async def waits(event: Any, step: Any) -> Any:
        told = await step.wait_for_change("paid", "orders", event.payload, **{"field": "status", **options})
        return told and {name: value for name, value in told.items() if name not in ("at", "object")}

    return waits


def status(ctx: df.Context, run: Any, word: str = "waiting") -> None:
    wait_until(lambda: run.refresh().status == word, f"it is {word}")


def orders(ctx: df.Context) -> Any:
    return ctx.warehouse.table("orders", {"id": int, "status": str, "amount": Decimal, "due": date})


# --- what wakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linger", ["0s", "5s"], ids=["suspended", "in-memory"])
def test_a_change_wakes_the_run(make_ctx: MakeContext, linger: str) -> None:
    ctx = make_ctx(linger=linger)
    table = orders(ctx)
    table.upsert(id=1, status="open")
    run = ctx.start(waiting(ctx), 1)
    wait_until(lambda: any(each.kind == "step.waiting" for each in run.events()), "it waits")
    if linger == "0s":
        status(ctx, run)
        wait_until(lambda: not ctx._engine.live, "no thread and no task is left of it; a row is")
    table.upsert(id=2, status="paid")  # another row
    table.upsert(id=1, amount=1)  # another field
    table.upsert(id=1, status="paid")
    told = run.result("20s")
    assert told["event"] == "updated"
    assert (told["old_record"]["status"], told["record"]["status"]) == ("open", "paid")
    wait_until(lambda: ctx._database.query("select count(*) from dataflows.row_wait") == [(0,)], "nothing is left")


@pytest.mark.parametrize(
    ("writes", "event"),
    [
        (lambda t: t.delete(1), "deleted"),
        (lambda t: [t.upsert(id=1, status="paid"), t.upsert(id=1, status="open")], "updated"),  # and back
        (lambda t: t.upsert(id=1, status=None), "updated"),
        (lambda t: t.upsert_many([{"id": id, "status": "paid"} for id in range(2000)]), "updated"),
    ],
)
def test_what_counts_as_a_change(make_ctx: MakeContext, writes: Callable[[Any], Any], event: str) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    table = orders(ctx)
    table.upsert(id=1, status="open")
    run = ctx.start(waiting(ctx), 1)
    status(ctx, run)
    writes(table)
    ctx.triggers.hear()
    assert run.result("20s")["event"] == event


def test_a_row_that_is_not_there_yet(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    table = orders(ctx)
    run = ctx.start(waiting(ctx), 1)
    status(ctx, run)
    table.upsert(id=1, status=None)
    ctx.triggers.hear()
    assert run.refresh().status == "waiting"  # nothing before and nothing now
    table.upsert(id=1, status="open")
    ctx.triggers.hear()
    assert run.result("20s")["old_record"]["status"] is None


@pytest.mark.parametrize(
    ("options", "before", "fits"),
    [
        ({"value": "paid"}, {"status": "open"}, {"status": "paid"}),
        ({"field": "amount", "op": "gte", "value": 100}, {"amount": 99}, {"amount": Decimal("100.5")}),
        ({"field": "amount", "op": "gte", "value": Decimal("100.5")}, {"amount": 99}, {"amount": Decimal("100.5")}),
        ({"field": "due", "op": "lt", "value": date(2026, 5, 1)}, {"due": date(2026, 6, 1)}, {"due": date(2026, 4, 1)}),
        ({"op": "in", "value": ["paid", "void"]}, {"status": "open"}, {"status": "void"}),
        ({"op": "not_null"}, {"status": None}, {"status": "open"}),
        ({"value": "{{trigger.secret}}"}, {"status": "open"}, {"status": "{{trigger.secret}}"}),
    ],
)
def test_a_condition_is_waited_for_or_holds_already(
    make_ctx: MakeContext, options: dict[str, Any], before: dict[str, Any], fits: dict[str, Any]
) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    table = orders(ctx)
    table.upsert(id=1, **before)
    run = ctx.start(waiting(ctx, **options), 1)
    status(ctx, run)
    table.upsert(id=1, **{"amount": 1, **before, "due": date(2027, 1, 1)})  # changed, and it does not hold
    ctx.triggers.hear()
    assert run.refresh().status == "waiting"
    table.upsert(id=1, **fits)
    table.upsert(id=1, **before)  # it held for a moment
    ctx.triggers.hear()
    assert run.result("20s")["event"] == "updated"
    table.upsert(id=1, **fits)
    assert ctx.run("waits", 1).result()["event"] == "held"


def test_keys_of_several_columns_and_every_type(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    key = {"day": date(2026, 5, 1), "at": datetime.fromisoformat("2026-05-01T12:00:00+02:00"), "n": Decimal("1.50")}
    types = {"day": date, "at": datetime, "n": Decimal, 'say "{table}"; --': str}
    table = ctx.warehouse.table('ta"b{past}', types, key=("day", "at", "n"))

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        return step.wait_for_change("it", table.name, tuple(key.values()), field='say "{table}"; --', value="yes")

    run = ctx.start(w)
    status(ctx, run)
    table.upsert({**key, 'say "{table}"; --': "no"})
    table.upsert({**key, "n": Decimal("1.51"), 'say "{table}"; --': "yes"})
    ctx.triggers.hear()
    assert run.refresh().status == "waiting"
    table.upsert({**key, "n": Decimal("1.5"), 'say "{table}"; --': "yes"})
    ctx.triggers.hear()
    assert run.result("20s")["event"] == "updated"


# --- time -------------------------------------------------------------------------------------------------


def test_a_timeout_ends_the_wait(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())
    orders(ctx).upsert(id=1, status="open")
    assert ctx.run(waiting(ctx, timeout="7d"), 1).result("20s") is None
    assert ctx._database.query("select count(*) from dataflows.row_wait") == [(0,)]

    @df.workflow("raises")
    def raises(event: Any, step: Any) -> str:
        try:
            step.wait_for_change("paid", "orders", 1, field="status", timeout="1h", on_timeout="raise")
        except EventTimeoutError as error:
            return str(error)
        return "?"

    assert "'paid'" in ctx.run(raises, 1).result("20s")


def test_what_was_written_in_time_counts_though_nobody_told_of_it(make_ctx: MakeContext) -> None:
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(clock=clock, triggers=False)
    table = orders(ctx)
    table.upsert(id=1, status="open")
    workflow = waiting(ctx, timeout="1h")
    early, late = (ctx.start(workflow, number) for number in (1, 2))
    for run in (early, late):
        status(ctx, run)
    table.upsert(id=1, status="paid")
    ctx.close()
    clock.advance("2h")
    writer = make_ctx(clock=clock, work=False)
    orders(writer).upsert(id=2, status="paid")
    writer.close()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.register(workflow)
    early, late = ctx.get(early.id), ctx.get(late.id)
    assert early.result("20s")["event"] == "updated"
    assert late.result("20s") is None


# --- as a node --------------------------------------------------------------------------------------------


def test_a_delay_of_a_flow_until_a_field_changes(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    table = orders(ctx)
    table.upsert(id=7, status="open")
    asked = {"object": "orders", "id": "{{trigger.id}}", "field": "status", "value": "{{trigger.wanted}}"}
    flow = df.flow("f").on_manual().delay("d", until_field=asked, timeout="1d")
    run = ctx.start(flow, {"id": "7", "wanted": "paid"})
    status(ctx, run)
    begun = table.get(7)._synced_at
    table.upsert(id=7, status="paid")
    ctx.triggers.hear()
    output = run.result("20s")
    assert output["reason"] == "changed"
    assert datetime.fromisoformat(output["waited_until"]) == table.get(7)._synced_at > begun
    assert ctx.run(flow, {"id": 7, "wanted": "paid"}).result("20s")["reason"] == "changed"  # it is so already
    again = df.Flow.from_json(flow.to_json())
    assert ctx.run(again, {"id": 7, "wanted": "paid"}).result("20s")["reason"] == "changed"


def test_a_delay_of_a_flow_that_takes_too_long(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())
    orders(ctx)
    asked = {"object": "orders", "id": 7, "field": "status"}
    output = ctx.run(df.flow("f").on_manual().delay("d", until_field=asked, timeout="1d"), {}).result("20s")
    assert output["reason"] == "timeout"
    assert datetime.fromisoformat(output["waited_until"]) - ctx._engine.clock.now() <= timedelta(0)


# --- what is wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "key", "options", "message"),
    [
        ("nobody", 1, {}, "nobody"),
        ("orders", "one", {}, "one"),
        ("orders", None, {}, "None"),
        ("orders", (1, 2), {}, "1, 2"),
        ("orders", 1, {"field": "colour"}, "colour"),
        ("orders", 1, {"op": "exceeds", "value": 1}, "exceeds"),
        ("orders", 1, {"op": "gt"}, "value"),
        ("orders", 1, {"timeout": "soon"}, "soon"),
        ("orders", 1, {"on_timeout": "shrug"}, "shrug"),
    ],
)
def test_what_cannot_be_waited_for_is_an_error_at_once(
    make_ctx: MakeContext, table: str, key: Any, options: dict[str, Any], message: str
) -> None:
    ctx = make_ctx()
    orders(ctx)

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        return step.wait_for_change("it", table, key, **{"field": "status", **options})

    with pytest.raises(RunFailed, match=message):
        ctx.run(w).result("20s")
    assert ctx.runs()[0].replay().ok


def test_a_delay_that_cannot_be_waited_for(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    for asked, message in (
        ({"object": "nobody", "id": 1, "field": "a"}, "nobody"),
        ({"object": "nobody", "id": "{{trigger.nope}}", "field": "a"}, "no 'id'"),
    ):
        with pytest.raises(RunFailed, match=message):
            ctx.run(df.flow("f").on_manual().delay("d", until_field=asked), {}).result("20s")
    with pytest.raises(FlowValidationError, match="needs 'field'"):
        df.flow("f").on_manual().delay("d", until_field={"object": "o", "id": 1}).check()
    with pytest.raises(FlowValidationError, match="no op"):
        df.flow("f").on_manual().delay("d", until_field={"object": "o", "id": 1, "field": "a", "op": "exceeds"}).check()


def test_a_failed_wait_is_recorded(make_ctx: MakeContext) -> None:
    ctx = make_ctx(always_replay=True)

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        try:
            step.wait_for_change("it", "t", 1, field="n")
        except Exception as error:
            name = type(error).__name__
            ctx.db.t.upsert(id=1, n=1)  # on the next replay the table is there
            return step.run("after", lambda: name)

    run = ctx.run(w)
    assert run.result("20s") == "TableNotFoundError"
    assert run.replay().ok


def test_runs_that_are_cancelled_leave_no_wait_for_ever(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s", triggers=False)
    table = orders(ctx)
    run = ctx.start(waiting(ctx), 1)
    status(ctx, run)
    run.cancel()
    status(ctx, run, "cancelled")
    ctx.triggers._rows._told -= 60
    ctx.triggers.hear()
    assert ctx._database.query("select count(*) from dataflows.row_wait") == [(0,)]
    other = ctx.start(waiting(ctx), 1)
    status(ctx, other)
    other.cancel()
    status(ctx, other, "cancelled")
    table.upsert(id=1, status="paid")  # the message finds nobody
    ctx.triggers.hear()
    assert ctx._database.query("select count(*) from dataflows.row_wait") == [(0,)]


# --- nothing is missed ------------------------------------------------------------------------------------


def test_every_write_beside_a_wait_that_begins_wakes_it(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")
    table = orders(ctx)
    table.upsert_many({"id": id, "status": "open"} for id in range(40))
    workflow = waiting(ctx, value="paid")
    runs = []

    def write() -> None:
        for id in range(40):
            table.upsert(id=id, status="paid")
            table.upsert(id=id, status="open")

    thread = threading.Thread(target=write)
    for id in range(40):
        runs.append(ctx.start(workflow, id))
        if id == 5:
            thread.start()
    thread.join()
    for id in range(40):  # whose wait began after all that
        table.upsert(id=id, status="paid")
    assert {run.result("30s")["event"] for run in runs} <= {"updated", "held"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wait_survives_a_kill_at_every_point(dataflows_databases: TestDatabases) -> None:
    report = kill_sweep(
        f"{HERE / 'flows_that_wait.py'}:main",
        dataflows_databases,
        sample=2,
        seed=3,
        connect={"linger": "0s"},
        timeout="45s",
    )
    print(report)
    assert report.ok, str(report)
