"""Views of the warehouse, and tables as they were, in SQL of the context."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from dataflows_sdk.errors import QueryError

from ..conftest import MakeContext


def test_views_are_read_at_every_query(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    jobs = ctx.warehouse.table("jobs", {"job_id": str, "hours": Decimal, "day": "date", "tags": list})
    ctx.warehouse.view("per Day", "select day, sum(hours) as hours, count(*) as n from jobs group by day")
    assert ctx.sql('from "per day"').fetchall() == []
    jobs.upsert_many([{"job_id": f"J-{n}", "hours": Decimal("1.25"), "day": date(2024, 1, 1)} for n in range(4)])
    assert ctx.warehouse.sql('select * from "per Day"').dicts() == [
        {"day": date(2024, 1, 1), "hours": Decimal("5.00"), "n": 4}
    ]
    kept = ctx.sql('create table mine as select * from "per Day"')
    jobs.upsert(job_id="J-9", hours=Decimal("1e-9"), day=date(2024, 1, 2))
    assert ctx.sql('select hours from "per Day" order by day').fetchall() == [
        (Decimal("5.000000000"),), (Decimal("0.000000001"),),
    ]  # fmt: skip
    assert kept is not None
    assert ctx.sql("select n from mine").fetchall() == [(4,)]
    assert ctx.sql('select count(*) from "per Day" join jobs using (day) where jobs.hours > ?', 1).fetchone() == (4,)
    with pytest.raises(QueryError, match="is a view of PostgreSQL, which answers as of now"):
        ctx.sql('from "per Day"', as_of="0s")


def test_the_shipped_views_in_sql(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.warehouse.standard("unified_customer")
    assert ctx.warehouse.sql("select * from unified_customer").fetchall() == []


def test_tables_as_they_were_in_sql(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", {"id": int, "status": str})
    for status in ("a", "b"):
        table.upsert(id=1, status=status)
    first, second = table.history(1)
    assert ctx.warehouse.as_of(first.valid_from).sql("select status from t").fetchall() == [("a",)]
    assert ctx.warehouse.as_of(second.valid_from).sql("select status from t where id = ?", 1).fetchall() == [("b",)]
    assert ctx.warehouse.sql("select status from t", as_of=first.valid_from).dicts() == [{"status": "a"}]
    mine = [first, second]
    assert ctx.warehouse.sql("select count(*) from t_history").fetchone() == (len(mine),)
