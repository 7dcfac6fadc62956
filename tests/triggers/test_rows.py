"""Triggers on rows of the warehouse: one run for each row that fits, whoever writes and whoever looks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, FlowValidationError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until


def workflow(name: str, *triggers: Any) -> df.Workflow:
    def tells(event: Any, step: Any) -> Any:
        return [event.name, event.trigger, event.raw]

    return df.Workflow(name, tells, trigger=list(triggers))


def results(ctx: df.Context, name: str) -> list[Any]:
    return [run.result("20s") for run in sorted(ctx.runs(workflow=name, limit=10_000), key=lambda run: run.id)]


def listening(make_ctx: MakeContext, *triggers: Any, name: str = "w", **options: Any) -> df.Context:
    ctx = make_ctx(triggers=False, **options)
    ctx.register(workflow(name, *triggers))
    ctx.triggers.declare()
    return ctx


# --- what fires -------------------------------------------------------------------------------------------


def test_the_background_begins_a_run_for_a_row_that_fits(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    flow = (
        df.flow("big-orders")
        .on_record("orders", "created", where=[("amount", "gt", 100)])
        .switch("s", "{{trigger.record.amount}}", [150])
    )
    ctx.flows.save(flow).activate()
    ctx.db.orders.upsert(id=1, amount=150)
    ctx.db.orders.upsert(id=2, amount=50)
    (run,) = wait_until(lambda: ctx.runs(workflow="big-orders"), "a run begins")
    assert run.result("20s")["case"] == "150"
    assert ctx.triggers.hear() == 0
    assert len(ctx.runs(workflow="big-orders")) == 1


def test_what_a_run_is_told(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("orders", ["created", "updated", "deleted"]))
    orders = ctx.warehouse.table("orders", {"number": str, "amount": Decimal, "note": dict}, key="number")
    orders.upsert(number="A1", amount=Decimal("1.50"), note={"a": [1]})
    orders.upsert(number="A1", amount=Decimal("2.50"))
    orders.upsert(number="A1", amount=Decimal("2.5"))  # as it was
    orders.delete("A1")
    assert ctx.triggers.hear() == 3
    made, changed, gone = results(ctx, "w")
    assert [each[0] for each in (made, changed, gone)] == ["orders.created", "orders.updated", "orders.deleted"]
    first = {"id": 1, "number": "A1", "amount": Decimal("1.50"), "note": {"a": [1]}}
    second = first | {"amount": Decimal("2.50")}
    ids = [each[2].pop("event_id") for each in (made, changed, gone)]
    assert len(set(ids)) == 3
    assert made[1:] == ["trigger", {"event": "created", "object": "orders", "record": first}]
    assert changed[2] == {
        "event": "updated", "object": "orders", "record": second, "old_record": first, "changed_fields": ["amount"],
    }  # fmt: skip
    assert gone[2] == {"event": "deleted", "object": "orders", "record": second, "old_record": second}


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ([("status", "changed")], [2, 4]),
        ([("status", "changed"), ("status", "eq", "done")], [4]),
        ([{"field": "amount", "op": "changed", "value": False}], [2, 4]),
        ({"or": [{"field": "status", "value": "open"}, {"field": "amount", "op": "gt", "value": 7}]}, [2, 3]),
        ("trigger.old_record.status == null", [2]),
        (None, [2, 3, 4]),
    ],
)  # fmt: skip
def test_conditions_know_what_the_row_was(make_ctx: MakeContext, where: Any, fits: list[int]) -> None:
    ctx = listening(make_ctx, df.on_record("tasks", "updated", where=where))
    tasks = ctx.warehouse.table("tasks", {"id": int, "status": str, "amount": int, "n": int})
    versions = [(None, 1), ("open", 1), ("open", 7), ("done", 7)]
    for n, (status, amount) in enumerate(versions, 1):
        tasks.upsert(id=1, status=status, amount=amount, n=n)
    ctx.triggers.hear()
    assert [each[2]["record"]["n"] for each in results(ctx, "w")] == fits


def test_a_trigger_hears_only_what_comes_after_it(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    rows = ctx.warehouse.table("rows", {"id": int})
    rows.upsert(id=1)
    ctx.register(workflow("w"))
    by_hand = ctx.triggers.create(df.on_record("rows"), "workflow:w")
    rows.upsert(id=2)
    assert ctx.triggers.hear() == 1
    ctx.triggers.disable(by_hand)
    rows.upsert(id=3)
    assert ctx.triggers.hear() == 0
    ctx.triggers.enable(by_hand)
    rows.upsert(id=4)
    assert ctx.triggers.hear() == 1
    ctx.triggers.delete(by_hand)
    rows.upsert(id=5)
    assert ctx.triggers.hear() == 0
    assert [each[2]["record"]["id"] for each in results(ctx, "w")] == [2, 4]


def test_a_flow_that_is_paused_hears_nothing_meanwhile(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    rows = ctx.warehouse.table("rows", {"id": int})
    saved = ctx.flows.save(df.flow("f").on_record("rows").delay("d", "0s")).activate()
    rows.upsert(id=1)
    saved.pause()
    assert ctx.triggers.hear() == 0
    saved.activate()
    assert ctx.triggers.hear() == 0
    rows.upsert(id=2)
    assert ctx.triggers.hear() == 1


@pytest.mark.parametrize(
    ("text", "source", "heard"),
    [
        ("record:a.b.created", "custom", ["created"]),
        ("cdc:a.b.deleted", "custom", ["deleted"]),
        ("a.b", "record", ["created", "updated", "deleted"]),
    ],
)
def test_made_by_hand_from_a_text(make_ctx: MakeContext, text: str, source: str, heard: list[str]) -> None:
    ctx = make_ctx(triggers=False)
    ctx.register(workflow("w"))
    ctx.triggers.create(text, "workflow:w", source=source, where=[("id", "eq", 1)])
    table = ctx.warehouse.table("a.b", {"id": int, "n": int})
    for n in range(2):
        table.upsert_many({"id": id, "n": n} for id in (1, 2))
    table.delete(all=True)
    ctx.triggers.hear()
    assert [each[2]["event"] for each in results(ctx, "w")] == heard


def test_two_triggers_of_one_flow_are_alternatives_and_two_by_hand_are_not(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("t"), df.on_record("t", where=[("id", "gt", 0)]))
    ctx.triggers.create("record:t.created", "workflow:w")
    ctx.db.t.upsert(id=1)
    ctx.triggers.hear()
    assert sorted(each[1].startswith("trigger") for each in results(ctx, "w")) == [False, True]


def test_a_function_is_called_with_the_row(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    ctx.functions.deploy("double", "input.record.n * 2")
    ctx.triggers.create("record:t.created", "function:double")
    ctx.db.t.upsert(id=1, n=21)
    assert ctx.triggers.hear() == 1
    (run,) = ctx.runs()
    assert run.result("30s") == 42


# --- what is wrong ----------------------------------------------------------------------------------------


def test_what_is_no_trigger_is_refused(make_ctx: MakeContext) -> None:
    with pytest.raises(FlowValidationError, match="created"):
        df.on_record("orders", "vanished")
    with pytest.raises(FlowValidationError, match="no op"):
        df.on_record("orders", where=[("amount", "exceeds", 1)])
    with pytest.raises(FlowValidationError):
        df.on_record("")
    ctx = make_ctx(work=False)
    with pytest.raises(DefinitionError, match="cannot be fired"):
        ctx.triggers.fire(df.on_record("orders"))


def test_rows_whose_run_cannot_begin_do_not_stand_in_the_way(
    make_ctx: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = make_ctx(triggers=False)
    flow = df.flow("f").on_record("t").on_manual({"properties": {"record": {"required": ["n"]}}}).delay("d", "0s")
    ctx.flows.save(flow).activate()
    ctx.db.t.upsert(id=1)
    ctx.db.t.upsert(id=2, n=1)
    ctx.db.t.upsert(id=3)
    assert ctx.triggers.hear() in (1, 3)
    assert ctx.triggers.hear() == 0


def test_a_table_that_is_dropped_and_made_anew_begins_from_there(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("t"))
    ctx.db.t.upsert(id=1)
    ctx.warehouse["t"].drop()
    assert ctx.triggers.hear() == 0
    ctx.db.t.upsert(id=2, other="x")
    assert ctx.triggers.hear() == 1
    assert results(ctx, "w")[0][2]["record"] == {"id": 2, "other": "x"}


# --- once, in order, with any number ----------------------------------------------------------------------


def test_a_write_that_commits_late_is_heard_and_nothing_twice(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("t"))
    table = ctx.warehouse.table("t", {"id": int})
    late = threading.Event()

    @df.workflow("late")
    def slow(event: Any, step: Any) -> None:
        def write() -> None:
            table.upsert(id=1)
            assert late.wait(20)

        step.run("write", write)

    run = ctx.start(slow)
    open_one = "select 1 from pg_stat_activity where datname = current_database() and state = 'idle in transaction'"
    wait_until(lambda: ctx._database.query(open_one), "it has written")
    table.upsert(id=2)
    assert ctx.triggers.hear() == 1  # nobody waits for the transaction that is older
    assert ctx.triggers.hear() == 0
    late.set()
    run.result("20s")
    assert ctx.triggers.hear() == 1
    assert [each[2]["record"]["id"] for each in results(ctx, "w")] == [2, 1]


def test_any_number_of_processes_begin_one_run_for_each_row_in_order(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows_sdk.firing.rows._ROWS", 7)
    monkeypatch.setattr("dataflows_sdk.firing.rows._WRITES", 2)
    ctxs = [listening(make_ctx, df.on_record("t", ["created", "updated"])) for _ in range(3)]
    table = ctxs[0].warehouse.table("t", {"id": int, "n": int})
    done = threading.Event()

    def look(ctx: df.Context) -> None:
        while not done.is_set():
            ctx.triggers.hear()

    threads = [threading.Thread(target=look, args=(ctx,)) for ctx in ctxs]
    for thread in threads:
        thread.start()
    for n in range(10):
        table.upsert_many({"id": id, "n": n} for id in range(20))
        table.upsert(id=7, n=n + 100)
    done.set()
    for thread in threads:
        thread.join()
    ctxs[0].triggers.hear()
    told = [each[2] for each in results(ctxs[0], "w")]
    assert len(told) == len({each["event_id"] for each in told}) == 10 * 20 + 10
    for id in range(20):
        mine = [each["record"]["n"] for each in told if each["record"]["id"] == id]
        expected = [m for n in range(10) for m in ((n, n + 100) if id == 7 else (n,))]
        assert mine == expected


@pytest.mark.slow
def test_processes_that_are_killed_lose_and_repeat_nothing(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx(work=False)
    table = ctx.warehouse.table("t", {"id": int, "n": int})
    rows = 100 if "DATAFLOWS_SWEEP" in os.environ else 40
    command = [sys.executable, str(Path(__file__).parent / "listener.py"), database_url]

    def end(process: Any) -> None:
        process.kill()
        process.wait()
        process.stdout.close()

    def begin() -> Any:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        return process

    listeners = [begin(), begin()]
    try:
        for n in range(6):
            table.upsert_many({"id": id, "n": n} for id in range(rows))
            if n in (1, 3):
                time.sleep(0.05 * n)
                end(listeners[0])
                listeners = [listeners[1], begin()]
        wait_until(lambda: len(ctx.runs(workflow="counts", limit=10_000)) >= 6 * rows, "every row began a run", 60)
        wait_until(lambda: not ctx.runs(status=["queued", "running"]), "they are over", 60)
        time.sleep(1.5)  # nobody finds anything more
        found = [run.result("20s") for run in ctx.runs(workflow="counts", limit=10_000)]
    finally:
        for process in listeners:
            end(process)
    assert sorted(found) == [[id, n] for id in range(rows) for n in range(6)]


def test_a_place_that_was_not_kept_begins_nothing_twice(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows_sdk.firing.rows._ROWS", 3)
    ctx = listening(make_ctx, df.on_record("t"))
    ctx.warehouse.table("t", {"id": int}).upsert_many({"id": id} for id in range(8))
    place = "select rows_heard::text, rows_until::text, rows_write, rows_passed from dataflows.trigger"
    before = ctx._database.query(place)[0]
    assert ctx.triggers.hear() == 8
    ctx._database.query(
        "update dataflows.trigger set rows_heard = $1::pg_snapshot, rows_until = $2::pg_snapshot, rows_write = $3, "
        "rows_passed = $4",
        list(before),
    )
    assert ctx.triggers.hear() == 0
    assert sorted(each[2]["record"]["id"] for each in results(ctx, "w")) == list(range(8))


def test_what_was_not_heard_before_a_dump_is_heard_after_it_is_restored(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("t"))
    table = ctx.warehouse.table("t", {"id": int})
    table.upsert(id=1)
    assert ctx.triggers.hear() == 1
    table.upsert(id=2)
    shift = "regexp_replace({}::text, '(\\d+)', '99\\1', 'g')::{}"
    for sql in (
        f"update dataflows.write set xid = {shift.format('xid', 'xid8')}",
        f"update dataflows.trigger set rows_heard = {shift.format('rows_heard', 'pg_snapshot')}",
    ):
        ctx._database.query(sql)
    table.upsert(id=3)  # before anybody looked
    assert ctx.triggers.hear() == 2
    table.upsert(id=4)
    assert ctx.triggers.hear() == 1
    assert ctx.triggers.hear() == 0
    assert [each[2]["record"]["id"] for each in results(ctx, "w")] == [1, 2, 3, 4]


def test_those_who_hear_nothing_do_not_look_over_everything_again(make_ctx: MakeContext) -> None:
    ctx = listening(make_ctx, df.on_record("mine"))
    heard = "select rows_heard::text from dataflows.trigger"
    before = ctx._database.query(heard)
    for n in range(3):
        ctx.db.others.upsert(id=n)
    ctx.triggers.hear()
    assert ctx._database.query(heard) == before
    ctx.triggers._rows._told = time.monotonic() - 60
    ctx.triggers.hear()
    assert ctx._database.query(heard) != before
    ctx.db.mine.upsert(id=1)
    assert ctx.triggers.hear() == 1


# --- limits -----------------------------------------------------------------------------------------------


def test_what_finds_no_room_begins_later_in_order(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = listening(make_ctx, df.on_record("t"), clock=clock)
    ctx.triggers.limit(2, 60, workflow="w")
    ctx.warehouse.table("t", {"id": int}).upsert_many({"id": id} for id in range(5))
    assert ctx.triggers.tick() == 2
    assert ctx.triggers.tick() == 0
    (trigger,) = ctx.triggers.list()
    assert trigger.resume_at is not None
    clock.advance("1m")
    assert ctx.triggers.tick() == 2
    clock.advance("1m")
    assert ctx.triggers.tick() == 1
    assert ctx.triggers.tick() == 0
    assert [each[2]["record"]["id"] for each in results(ctx, "w")] == list(range(5))
