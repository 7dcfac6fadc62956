"""Resources and sources of dlt, with dlt itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, MissingExtraError, SyncError
from dataflows_sdk.warehouse.sources import dlt as ours
from dataflows_sdk.warehouse.sources.opening import open_source, source_of
from dataflows_sdk.warehouse.sources.page import Bound, Reach

from ..conftest import MakeContext
from .conftest import all_pages

dlt = pytest.importorskip("dlt", reason="the extra dlt is not installed")

MakeReach = Callable[..., Reach]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Items that change, what was asked of them, and a dlt source on top."""
    monkeypatch.setattr(ours, "_CHUNK", 4)
    world: dict[str, Any] = {
        "rows": [{"id": n, "part": {"of": [n]}, "at": BEGIN + timedelta(days=n)} for n in range(10)],
        "asked": [],
    }

    def items(at: Any = dlt.sources.incremental("at")) -> Iterator[list[dict[str, Any]]]:  # noqa: B008 - as dlt wants it
        world["asked"].append(at.last_value)
        for begin in range(0, len(world["rows"]), 3):
            yield world["rows"][begin : begin + 3]

    world["items"] = dlt.resource(items, name="items", primary_key="id")
    return world


def test_a_resource_comes_with_its_key_and_its_pages(shop: dict[str, Any], reach: MakeReach) -> None:
    source = source_of(shop["items"])
    first = source.fetch(None, reach())
    assert (first.table, first.key, len(first.rows)) == ("items", ("id",), 4)
    assert first.rows[1]["part"] == {"of": [1]}
    rest, _ = all_pages(source, reach(), first.cursor)
    assert [len(page) for page in rest] == [4, 2]
    assert source.describe()["kind"] == "local"


def test_the_state_of_dlt_is_kept_and_given_back(shop: dict[str, Any], reach: MakeReach) -> None:
    _, position = all_pages(source_of(shop["items"]), reach())
    position = json.loads(json.dumps(position))
    shop["rows"] += [{"id": 99, "at": BEGIN + timedelta(days=50)}]
    pages, _ = all_pages(source_of(shop["items"]), reach(), position)
    assert [[row["id"] for row in page] for page in pages] == [[99]]
    assert shop["asked"] == [None, BEGIN + timedelta(days=9)]


def test_in_the_middle_another_process_begins_the_resource_again(shop: dict[str, Any], reach: MakeReach) -> None:
    first = source_of(shop["items"]).fetch(None, reach())
    rest, _ = all_pages(source_of(shop["items"]), reach(), json.loads(json.dumps(first.cursor)))
    assert sorted(row["id"] for page in rest for row in page) == list(range(10))
    assert shop["asked"] == [None, None]


def test_a_source_of_several_resources(shop: dict[str, Any], reach: MakeReach) -> None:
    parts = dlt.transformer(
        lambda rows: [{"item": row["id"], "part": 1} for row in rows],
        data_from=shop["items"],
        name="parts",
        primary_key=("item", "part"),
    )

    @df.source("the-shop")
    @dlt.source(name="shop")
    def made() -> Any:
        return shop["items"], parts

    source = open_source(source_of(made).describe())
    tables: dict[str, list[Any]] = {}
    position, keys = None, {}
    while True:
        page = source.fetch(position, reach())
        position = json.loads(json.dumps(page.cursor))
        tables.setdefault(str(page.table), []).extend(page.rows)
        keys[page.table] = page.key
        if not page.goes_on:
            break
    assert {name: len(rows) for name, rows in tables.items()} == {"items": 10, "parts": 10}
    assert keys == {"items": ("id",), "parts": ("item", "part")}
    with pytest.raises(DefinitionError, match="several resources"):
        source.bind(Bound("x", into="one"))
    with pytest.raises(DefinitionError, match="incremental"):
        source.bind(Bound("x", field="at"))


def test_a_declared_function_may_give_a_resource(shop: dict[str, Any], reach: MakeReach) -> None:
    @df.source("given-by-dlt")
    def made() -> Any:
        return shop["items"]

    source = open_source(source_of(made).describe())
    first = source.fetch(None, reach())
    assert first.key == ("id",)
    again = open_source(source_of(made).describe())
    rest, _ = all_pages(again, reach(), json.loads(json.dumps(first.cursor)))
    assert len(rest) == 3


def test_a_resource_that_gives_no_rows_says_so(reach: MakeReach) -> None:
    resource = dlt.resource(lambda: iter([7, 8]), name="numbers")
    with pytest.raises(SyncError, match="dlt resource 'numbers' yields int"):
        source_of(resource).fetch(None, reach())


def test_from_end_to_end(shop: dict[str, Any], make_ctx: MakeContext) -> None:
    @df.source("dlt-shop")
    @dlt.source(name="shop")
    def made() -> Any:
        return shop["items"], dlt.resource([{"code": "EUR"}, {"code": "CHF"}], name="money", primary_key="code")

    ctx = make_ctx()
    report = ctx.warehouse.sync("dlt-shop", mode="incremental").result("30s")
    assert (report.table, report.inserted, report.pages) == ("items, money", 12, 4)
    assert ctx.warehouse.table("items").key == ("id",)
    row = ctx.warehouse.table("items").get(3)
    assert row is not None
    assert (row["part"], row["_source"]) == ({"of": [3]}, "dlt-shop")
    shop["rows"] += [{"id": 3, "part": {"of": []}, "at": BEGIN + timedelta(days=40)}]
    report = ctx.warehouse.sync("dlt-shop", mode="incremental").result("30s")
    assert (report.rows, report.updated, report.unchanged) == (3, 1, 2)
    assert shop["asked"] == [None, BEGIN + timedelta(days=9)]
    assert len(ctx.warehouse.history("items", 3)) == 2
    assert ctx.warehouse.sync(shop["items"], into="other", name="one").result("30s").inserted == 10


def test_without_dlt_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, shop: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "dlt", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[dlt\]"):
        source_of(shop["items"])
