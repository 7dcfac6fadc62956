"""Nodes that write records: rows of the warehouse, by name and by value, together with the record of their step."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DataflowsError, FlowValidationError, RunFailed

from ..conftest import MakeContext
from .conftest import Sql


def record(operation: str, **fields: Any) -> df.Flow:
    return df.flow("f").on_manual().record("r", "orders", operation, **fields)


@pytest.fixture
def orders(make_ctx: MakeContext) -> tuple[df.Context, Any]:
    ctx = make_ctx()
    types = {"number": str, "amount": Decimal, "due": date, "at": datetime, "note": dict, "status": str}
    return ctx, ctx.warehouse.table("orders", types, key="number", timezone="UTC")


def test_each_operation(orders: tuple[df.Context, Any]) -> None:
    ctx, table = orders
    data = {
        "number": "{{trigger.n}}",
        "amount": "{{trigger.amount}}",
        "due": "2026-05-01",
        "note": {"a": ["{{trigger.n}}"]},
    }
    row = ctx.run(record("create", data=data), {"n": "A1", "amount": "1.50"}).result("20s")
    assert row == {
        "id": 1, "number": "A1", "amount": Decimal("1.50"), "due": date(2026, 5, 1), "at": None, "note": {"a": ["A1"]},
        "status": None,
    }  # fmt: skip
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    row = ctx.run(record("update", id="A1", data={"status": "paid", "at": "2026-05-01T10:00:00"}), {}).result("20s")
    assert (row["status"], row["at"], row["amount"]) == ("paid", at, Decimal("1.50"))
    row = ctx.run(record("upsert", id="A2", data={"amount": 3}), {}).result("20s")
    assert (row["id"], row["number"], row["amount"]) == (2, "A2", 3)
    row = ctx.run(record("upsert", data={"number": "A2", "status": "open"}), {}).result("20s")
    assert (row["amount"], row["status"]) == (3, "open")
    where = [{"field": "amount", "op": "gt", "value": "{{trigger.least}}"}]
    assert ctx.run(record("update", where=where, data={"status": "big"}), {"least": 1}).result("20s") == {"count": 2}
    assert ctx.run(record("update", where=where, data={"status": "big"}), {"least": 1}).result("20s") == {"count": 0}
    assert ctx.run(record("update", where=where, data={"status": "no"}), {"least": 9}).result("20s") == {"count": 0}
    assert {each.status for each in table.find()} == {"big"}
    assert ctx.run(record("delete", id="A1"), {}).result("20s") == {"count": 1}
    assert ctx.run(record("delete", id="A1"), {}).result("20s") == {"count": 0}
    run = ctx.run(record("delete", where={"status": ["big", "small"]}), {})
    assert run.result("20s") == {"count": 1}
    assert table.count() == 0
    why = ctx.warehouse.why("orders", "A2")
    assert why is not None
    assert (why.operation, why.run, why.step) == ("delete", run.id, "r")


def test_a_value_is_a_value(orders: tuple[df.Context, Any], sql: Sql) -> None:
    ctx, table = orders
    for text in ("'); DROP TABLE warehouse.orders; --", 'a"b', "{{trigger.x}}", "$1", "%s", "\\'", "☃"):
        ctx.run(record("upsert", id="{{trigger.key}}", data={"status": "{{trigger.key}}"}), {"key": text}).result("20s")
        row = table.get(text)
        assert row is not None
        assert (row.number, row.status) == (text, text)
    assert sql("select count(*) from warehouse.orders") == [(7,)]


@pytest.mark.parametrize(
    ("flow", "payload", "message"),
    [
        (record("create", data={"number": "A", "colour": 1}), {}, "colour"),
        (record("create", data={'number", "id': 1}), {}, "no column"),
        (record("create", data={"number": "A0"}), {}, "A0"),
        (record("create", data={"number": "A", "amount": "much"}), {}, "much"),
        (record("create", data={"amount": 1}), {}, "key is missing"),
        (record("create", data={"number": "A", "_version": 7}), {}, "_version"),
        (record("update", id="nobody", data={"amount": 1}), {}, "no row"),
        (record("update", id="A0", data={"number": "A9"}), {}, "its key"),
        (record("update", id="{{trigger.nope}}", data={"amount": 1}), {}, "needs an id or a where"),
        (record("update", where={"status": "{{trigger.nope}}"}, data={"amount": 1}), {}, "has no value"),
        (record("delete", where=[{"field": "status", "value": "{{trigger.nope}}"}]), {}, "has no value"),
        (record("delete", where={"1=1; --": 1}), {}, "no column"),
        (record("delete", where=[{"field": "status", "op": "= '' or 1=1", "value": 1}]), {}, "no operator"),
        (record("delete", id=["A0", "x"]), {}, "no text"),
        (df.flow("f").on_manual().record("r", "nobody", "delete", id=1), {}, "nobody"),
        (df.flow("f").on_manual().record("r", "dataflows.run", "delete", id=1), {}, "dataflows.run"),
        (df.flow("f").on_manual().record("r", "log", "update", id=1, data={"n": 1}), {}, "no key"),
        (df.flow("f").on_manual().record("r", "log", "upsert", data={"n": 1}), {}, "no key"),
    ],
)
def test_what_is_wrong_is_an_error_and_nothing_is_written(
    orders: tuple[df.Context, Any], sql: Sql, flow: df.Flow, payload: Any, message: str
) -> None:
    ctx, table = orders
    table.upsert(number="A0", amount=1)
    ctx.warehouse.table("log", {"n": int}, key=(), evolve=True).insert(n=0)
    with pytest.raises(RunFailed, match=message):
        ctx.run(flow, payload).result("20s")
    assert sql("select number, amount from warehouse.orders") == [("A0", 1)]
    assert sql("select count(*) from dataflows.write") == [(2,)]


def test_a_document_widens_no_table(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("orders", [{"id": 1, "amount": 1}])  # which may grow by its rows
    with pytest.raises(RunFailed, match="much"):
        ctx.run(record("upsert", data={"id": 1, "amount": "much"}), {}).result("20s")
    ctx.run(record("upsert", data={"id": 1, "amount": "7"}), {}).result("20s")
    assert [str(column) for column in table.columns][-1] == "amount int"


def test_what_cannot_be_is_refused_before_anything_runs() -> None:
    for flow, message in (
        (record("delete"), "needs an id or a where"),
        (record("delete", where={}), "needs an id or a where"),
        (record("update", id=1), "needs data"),
        (record("explode", id=1), "explode"),
    ):
        with pytest.raises((FlowValidationError, DataflowsError), match=message):
            flow.check()


def test_nothing_is_left_when_the_step_is_not_recorded(make_ctx: MakeContext, sql: Sql) -> None:
    """The connection is cut between the row and the record: the node does it again, and the row is there once."""
    ctx = make_ctx()
    table = ctx.warehouse.table("log", {"n": int}, key=())
    cut = [True]
    writer = ctx.warehouse._writer
    plain = writer.one

    def one(*args: Any, **kwargs: Any) -> Any:
        row = plain(*args, **kwargs)
        if cut.pop() if cut else False:
            sql(
                """select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and state = 'idle in transaction'"""
            )
        return row

    writer.one = one  # type: ignore[method-assign]
    flow = df.flow("f").on_manual().record("r", "log", "create", data={"n": 1}, retry=df.Retry(3, initial_delay="1ms"))
    ctx.run(flow, {}).result("20s")
    assert cut == []
    assert table.count() == 1
    assert sql("select count(*) from dataflows.write") == [(1,)]


def test_the_step_of_a_loop_writes_each_row(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("orders", {"id": int, "n": int})

    def body(part: df.Flow) -> df.Flow:
        return part.record("r", "orders", "create", data={"id": "{{loop.item}}", "n": "{{loop.index}}"})

    flow = df.flow("f").on_manual().loop("l", "{{trigger.ids}}", body)
    ctx.run(flow, {"ids": [3, 1, 2]}).result("20s")
    assert {row.id: row.n for row in table.find()} == {3: 0, 1: 1, 2: 2}
