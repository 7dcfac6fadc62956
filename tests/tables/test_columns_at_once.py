"""DataFrames, Arrow, relations and files go the columnar way, and end up as rows one by one would."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from pydantic import BaseModel, Field

import dataflows_sdk as df
from dataflows_sdk.errors import BadRowsError, ShapeError, UnreadableSourceError
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.rows import Written

from ..conftest import MakeContext
from .conftest import Sql

COUNT = 7_000


def table_of(count: int = COUNT, step: int = 0) -> pa.Table:
    return pa.table(
        {
            "a": list(range(count)),
            "b": [f'k{n % 7}, "it\'s"' for n in range(count)],
            "x": [None if n % 5 == 0 else n / 3 for n in range(count)],
            "n": [n if n % 100 else n + step for n in range(count)],
            "at": [datetime(2024, 1, 1, n % 24, tzinfo=UTC) for n in range(count)],
        }
    )


def sources(arrow: pa.Table, directory: Path) -> dict[str, Any]:
    pa.parquet.write_table(arrow, directory / "rows.parquet")
    pa.csv.write_csv(arrow, directory / "rows.csv")
    return {
        "arrow": arrow,
        "pandas": arrow.to_pandas(),
        "polars": pl.from_arrow(arrow),
        "relation": duckdb.connect().from_arrow(arrow),
        "reader": arrow.to_reader(),
        "parquet": str(directory / "*.parquet"),
        "csv": directory / "rows.csv",
    }


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "relation", "reader", "parquet", "csv"])
def test_a_first_load_and_a_second(warehouse: Warehouse, sql: Sql, tmp_path: Path, kind: str) -> None:
    first = sources(table_of(), tmp_path)[kind]
    table = warehouse.table("t", table_of(10), key=("a", "b"), source="them")
    assert table.upsert_many(first) == Written("t", inserted=COUNT, write=1)
    names = "a, b, x, n, at, _source, _external_id, _version, _write"
    assert sql(f"select {names} from warehouse.t where a in (0, 1) order by a") == [
        (0, 'k0, "it\'s"', None, 0, datetime(2024, 1, 1, tzinfo=UTC), "them", '0,k0, "it\'s"', 1, 1),
        (1, 'k1, "it\'s"', 1 / 3, 1, datetime(2024, 1, 1, 1, tzinfo=UTC), "them", '1,k1, "it\'s"', 1, 1),
    ]
    assert sql("select count(*), sum(n), count(x), count(distinct id) from warehouse.t") == [
        (COUNT, sum(range(COUNT)), 5600, COUNT)
    ]
    # the indexes are back
    assert len(sql("select 1 from pg_index where indrelid = 'warehouse.t'::regclass")) == 3
    assert sql("select 1 from pg_attrdef where adrelid = 'warehouse.t'::regclass") == []
    second = sources(table_of(step=1), tmp_path)[kind]
    assert table.upsert_many(second) == Written("t", updated=70, unchanged=COUNT - 70, write=2)
    assert sql("select count(*), min(_version), max(_ended_by) from warehouse_past.t") == [(70, 1, 2)]
    assert [version.row.n for version in table.history((100, 'k2, "it\'s"')) if version.row] == [100, 101]
    third = sources(table_of(step=1), tmp_path)[kind]
    assert table.upsert_many(third) == Written("t", unchanged=COUNT)


def test_a_table_takes_its_columns_from_a_frame(warehouse: Warehouse) -> None:
    frame = pd.DataFrame({"key": ["a", "b"], "n": [1, None], "m": [1.5, 2], "ok": [True, False], "none": [None, None]})
    table = warehouse.table("t", frame, key="key", timezone="UTC")
    assert [str(column) for column in table.columns] == ["key text", "n int", "m float", "ok bool", "none text"]
    table.upsert_many(frame)
    assert [(row.n, row.m, row.ok) for row in table.find()] == [(1, 1.5, True), (None, 2, False)]
    # and gets more and wider ones
    more = pd.DataFrame({"key": ["a"], "n": ["x"], "late": [pd.Timestamp("2024-01-01")]})
    assert table.upsert_many(more).updated == 1
    assert table.get("a").late == datetime(2024, 1, 1, tzinfo=UTC)  # type: ignore[union-attr]
    assert table.get("a").m == 1.5  # type: ignore[union-attr]
    strict = warehouse.table("strict", {"key": str, "n": int}, key="key")
    with pytest.raises(ShapeError, match="table 'strict' has no column 'm', 'ok', 'none'; evolve=True"):
        strict.upsert_many(frame)
    assert len(strict) == 0


def test_bad_rows_of_a_frame(warehouse: Warehouse) -> None:
    frame = pd.DataFrame({"key": ["a", "b", None, "b"], "n": ["1", "x", "3", "4"]})
    table = warehouse.table("t", {"key": str, "n": int}, key="key")
    with pytest.raises(BadRowsError, match="table 't': 4 rows do not fit, and nothing was written") as caught:
        table.upsert_many(frame)
    assert caught.value.count == 4
    assert len(table) == 0
    warehouse.table("t", bad="aside")
    mixed = pa.table({"key": ["a", "b", None], "n": [1, 2, 3]})
    written = table.upsert_many(mixed)
    assert (written.inserted, written.aside) == (2, 1)
    assert table.aside()[0]["row"] == {"key": None, "n": 3}
    warehouse.table("t", bad="coerce")
    assert table.upsert_many(pd.DataFrame({"key": ["a"], "n": ["7"]})).updated == 1
    for wrong, why in [("missing.parquet", "missing.parquet"), (pd.DataFrame({"n": [1]}), "'key'")]:
        with pytest.raises(UnreadableSourceError, match=why):
            table.upsert_many(wrong)


def test_a_model_judges_the_rows_of_a_frame(warehouse: Warehouse) -> None:
    class Order(BaseModel):
        id: int
        amount: float = Field(gt=0)

    orders = warehouse.table("orders", Order)
    with pytest.raises(BadRowsError, match="row 1, 'amount': Input should be greater than 0"):
        orders.upsert_many(pd.DataFrame({"id": [1, 2], "amount": [1.0, -1.0]}))
    assert orders.upsert_many(pd.DataFrame({"id": [1, 2], "amount": [1.0, 2.0]})).inserted == 2


def test_a_first_load_in_a_step_that_fails(make_ctx: MakeContext, sql: Sql) -> None:
    ctx = make_ctx()
    table = ctx.warehouse.table("t", table_of(10), key=("a", "b"))
    tries: list[int] = []

    @df.workflow("w")
    def w(event: Any, step: Any) -> Any:
        def load() -> Any:
            tries.append(table.upsert_many(table_of()).inserted)
            if len(tries) == 1:
                raise ValueError
            return table.upsert_many(table_of(step=1)).updated

        return step.run("load", load, retry=df.Retry(2, initial_delay="1ms"))

    assert ctx.run(w, {}).result() == 70
    assert tries == [COUNT, COUNT]
    assert sql("select count(*) from warehouse.t") == [(COUNT,)]
    assert len(sql("select 1 from pg_index where indrelid = 'warehouse.t'::regclass")) == 3
    assert sql("select count(*) from dataflows.write") == [(2,)]


def test_tables_of_the_users_own_that_refer(warehouse: Warehouse, sql: Sql) -> None:
    parents = warehouse.table("parents", {"id": int})
    parents.upsert_many(pa.table({"id": list(range(COUNT))}))
    children = warehouse.table("children", {"id": int, "parent": int}, references={"parent": "parents"})
    assert children.upsert_many(pa.table({"id": list(range(COUNT)), "parent": list(range(COUNT))})).inserted == COUNT
    with pytest.raises(BadRowsError, match="violates foreign key constraint"):
        children.upsert_many(pa.table({"id": [-1], "parent": [-1]}))
    assert parents.delete(where=[("id", "lt", 0)]).deleted == 0
    assert children.delete(all=True).deleted == COUNT
    # empty now, but with a past: the second time it is no first load
    assert children.upsert_many(pa.table({"id": list(range(COUNT)), "parent": list(range(COUNT))})).inserted == COUNT
    assert sql("select count(*), count(distinct _valid_to) from warehouse_past.children") == [(COUNT, 1)]


def test_a_column_of_csv_is_what_all_of_its_values_are(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("key,n,na,d,t\n" + "".join(f"{n},{n},{'NA' if n == 7 else n},2024-01-01,x\n" for n in range(50)))
    table = warehouse.table("t", path, key="key")
    assert [column.type for column in table.columns] == ["int", "int", "text", "date", "text"]
    assert table.upsert_many(path).inserted == 50
    relation = duckdb.connect().read_csv(str(path), na_values="NA")
    assert warehouse.table("u", relation, key="key").columns[2].type == "int"
