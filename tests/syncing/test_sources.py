"""Functions, databases and files as sources."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, SourceNotFoundError, StoreUnavailableError, SyncCursorError, SyncError
from dataflows_sdk.warehouse.sources.files import FileSource
from dataflows_sdk.warehouse.sources.marks import largest_of, precedes
from dataflows_sdk.warehouse.sources.opening import open_source, source_of
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach
from dataflows_sdk.warehouse.sources.sql import SqlSource

from .conftest import all_pages

MakeReach = Callable[..., Reach]
ROWS = [{"id": n} for n in range(10)]


def ids(pages: list[list[Any]]) -> list[list[int]]:
    return [[row["id"] for row in page] for page in pages]


# --- functions --------------------------------------------------------------------------------------------


def by_page(cursor: int | None) -> Page:
    begin = cursor or 0
    return Page(ROWS[begin : begin + 4], begin + 4 if begin + 4 < len(ROWS) else None)


def by_pair(cursor: int | None) -> tuple[list[dict[str, int]], int | None]:
    page = by_page(cursor)
    return list(page.rows), page.cursor


async def by_coroutine(cursor: int | None) -> Page:
    return by_page(cursor)


def by_generator(cursor: int | None) -> Iterator[Page]:
    page = by_page(cursor)
    yield page
    while page.cursor is not None:
        page = by_page(page.cursor)
        yield page


async def by_async_generator(cursor: int | None) -> Any:
    for page in by_generator(cursor):
        yield page


@pytest.mark.parametrize("fn", [by_page, by_pair, by_coroutine, by_generator, by_async_generator])
def test_a_function_of_the_cursor_goes_on_anywhere(fn: Any, reach: MakeReach) -> None:
    pages, _ = all_pages(source_of(fn), reach())
    assert ids(pages) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first = source_of(fn).fetch(None, reach())
    rest, _ = all_pages(source_of(fn), reach(), json.loads(json.dumps(first.cursor)))
    assert ids(rest) == [[4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    "given",
    [
        lambda: iter([ROWS[:4], ROWS[4:]]),
        [ROWS[:4], ROWS[4:]],
        [Page(ROWS[:4]), Page(ROWS[4:])],
        iter([ROWS[:4], ROWS[4:]]),
        (page for page in [ROWS[:4], ROWS[4:]]),
    ],
    ids=["callable", "lists", "pages", "iterator", "generator"],
)
def test_an_iterable_of_pages(given: Any, reach: MakeReach) -> None:
    source = source_of(given)
    assert ids(all_pages(source, reach())[0]) == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert source.describe()["kind"] == "local"


def test_an_iterable_of_rows_is_cut_into_pages(reach: MakeReach) -> None:
    many = [{"id": n} for n in range(2_500)]
    assert [len(page) for page in all_pages(source_of(iter(many)), reach())[0]] == [1_000, 1_000, 500]
    assert ids(all_pages(source_of(ROWS), reach())[0]) == [list(range(10))]


def test_a_page_is_given_again_when_it_could_not_be_stored(reach: MakeReach) -> None:
    source = source_of(page for page in [ROWS[:4], ROWS[4:]])
    first = source.fetch(None, reach())
    second = source.fetch(first.cursor, reach())
    assert source.fetch(first.cursor, reach()).rows == second.rows
    with pytest.raises(SourceNotFoundError, match="given once"):
        source.fetch(None, reach())


def test_an_incremental_function_goes_on_with_what_it_gave(reach: MakeReach) -> None:
    log = [{"seq": n} for n in range(5)]

    def changes(cursor: int | None) -> Page:
        begin = -1 if cursor is None else cursor
        found = [row for row in log if row["seq"] > begin][:2]
        return Page(found, found[-1]["seq"] if found else begin)

    source = source_of(changes)
    pages, position = all_pages(source, reach())
    assert pages == [[{"seq": 0}, {"seq": 1}], [{"seq": 2}, {"seq": 3}], [{"seq": 4}]]
    assert all_pages(source, reach(), position)[0] == []
    log.append({"seq": 5})
    assert all_pages(source, reach(), position)[0] == [[{"seq": 5}]]


def test_the_largest_value_of_a_field_is_the_cursor_of_the_next_sync(reach: MakeReach) -> None:
    asked: list[Any] = []

    def everything(cursor: datetime | None) -> list[dict[str, Any]]:
        asked.append(cursor)
        return [{"id": 1, "at": datetime(2026, 2, 1, tzinfo=UTC)}, {"id": 2, "at": None}]

    source = source_of(everything)
    source.bind(Bound("x", ("id",), "at"))
    _, position = all_pages(source, reach())
    all_pages(source, reach(), position)
    assert asked == [None, datetime(2026, 2, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Page(ROWS, 5), "does not move.*5.*names 5"),
        (Page(ROWS, 3), "goes backwards.*5 names 3"),
        (Page(ROWS, 3, more=False), "goes backwards"),
    ],
)
def test_a_cursor_that_stays_or_goes_back(given: Page, says: str, reach: MakeReach) -> None:
    with pytest.raises(SyncCursorError, match=says):
        source_of(lambda cursor: given).fetch({"cursor": 5}, reach())


def test_a_function_may_say_that_its_cursors_have_no_order(reach: MakeReach) -> None:
    @df.source("downwards", ordered=False)
    def downwards(cursor: int | None) -> Page:
        begin = 9 if cursor is None else cursor
        return Page([{"id": begin}], begin - 1 if begin else None)

    assert len(all_pages(source_of(downwards), reach())[0]) == 10


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (7, "gave int 7; a page is df.Page"),
        ("text", "gave str 'text'"),
        ({"id": 1}, "gave dict"),
        ([1, 2], "row 0 of the page is int 1"),
        (([{"id": 1}, None], None), "row 1 of the page is NoneType"),
        (Page("abc"), "as the rows of a page"),
        (Page([], None, more=True), "gives no cursor"),
    ],
)
def test_a_function_that_gives_no_page(given: Any, says: str, reach: MakeReach) -> None:
    with pytest.raises(SyncError, match=says):
        source_of(lambda: given).fetch(None, reach())


def test_cursors_are_compared_where_they_have_an_order() -> None:
    assert precedes(1, 2.5)
    assert precedes(Decimal("1.5"), 1) is False
    assert precedes("2026-01-01T00:00:00Z", "2026-01-01T01:30:00+01:00")
    assert precedes("abc", "abd") is None
    assert precedes(1, "2") is None
    assert precedes(True, 2) is None
    assert largest_of([{"a": "b"}, {"a": "c"}, {}], "a", None, "x") == "c"
    with pytest.raises(SyncCursorError, match="'a' is 1 in one row and 'b' in another"):
        largest_of([{"a": 1}, {"a": "b"}], "a", None, "x")


# --- finding them again -----------------------------------------------------------------------------------


def test_a_declared_function_is_found_by_name(reach: MakeReach) -> None:
    @df.source("numbers")
    def numbers(cursor: int | None) -> Page:
        return by_page(cursor)

    description = source_of(numbers).describe()
    assert description == {"kind": "declared", "name": "numbers"}
    assert source_of("numbers").describe() == description
    assert ids(all_pages(open_source(description), reach())[0])[0] == [0, 1, 2, 3]
    with pytest.raises(SourceNotFoundError, match=r"'letters'.*does not have"):
        open_source({"kind": "declared", "name": "letters"})
    with pytest.raises(DefinitionError, match="no source is called 'letters'"):
        source_of("letters")


def test_a_function_of_a_module_is_looked_up_and_never_imported(reach: MakeReach) -> None:
    module = ModuleType("shop_sources")
    exec("def orders(cursor):\n    return [{'id': 1}]", module.__dict__)
    sys.modules["shop_sources"] = module
    try:
        description = source_of(module.orders).describe()
        assert description == {"kind": "function", "place": "shop_sources:orders", "ordered": True}
        assert open_source(description).fetch(None, reach()).rows == [{"id": 1}]
    finally:
        del sys.modules["shop_sources"]
    with pytest.raises(SourceNotFoundError, match="has not imported; import it"):
        open_source(description)
    with pytest.raises(SourceNotFoundError, match="antigravity"):
        open_source({"kind": "function", "place": "antigravity:fly"})
    assert "antigravity" not in sys.modules


def test_what_lives_in_another_process_says_so() -> None:
    with pytest.raises(SourceNotFoundError, match=r"'<lambda>'.*process that started it.*@df.source"):
        open_source({"kind": "local", "token": "gone", "what": "<lambda>"})


@pytest.mark.parametrize("given", [7, None, object()])
def test_what_is_no_source(given: Any) -> None:
    with pytest.raises(DefinitionError, match="is no source"):
        source_of(given)


def test_a_function_that_wants_more_is_refused() -> None:
    def two(cursor: Any, other: Any) -> None: ...

    with pytest.raises(DefinitionError, match="wants more"):
        source_of(two)
    with pytest.raises(DefinitionError, match="printable name"):
        df.source("")
    with pytest.raises(DefinitionError, match="not callable"):
        df.source("seven")(7)  # type: ignore[type-var]


# --- databases --------------------------------------------------------------------------------------------


@pytest.fixture(params=["postgresql", "sqlite", "duckdb"])
def orders(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> tuple[str, Callable[[str], None]]:
    """A database with ten orders, two of them with one time, and a hand that changes it."""
    kind = request.param
    path = tmp_path / f"orders.{kind}"

    def run(text: str) -> None:
        if kind == "postgresql":
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(text)  # type: ignore[call-overload]
        elif kind == "sqlite":
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(text)
        else:
            with duckdb.connect(str(path)) as other:
                other.execute(text)

    run("create table orders (id integer, changed timestamp, total numeric(10, 2), note text)")
    for n in range(10):
        run(f"insert into orders values ({n}, '2026-01-{1 + n // 2:02} 00:00:00', {n}.50, '100% of {n}')")
    return (database_url if kind == "postgresql" else f"{kind}:////{str(path).lstrip('/')}"), run


def test_rows_of_another_database_come_once(orders: tuple[str, Any], reach: MakeReach) -> None:
    url, _ = orders
    source = SqlSource("{{env.CRM}}", table="orders", page_size=3)
    source.bind(Bound("orders", ("id",)))
    pages, _ = all_pages(source, reach(CRM=url))
    assert ids(pages) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert pages[0][1]["note"] == "100% of 1"
    assert float(pages[0][1]["total"]) == 1.5


def test_only_what_changed_comes_the_next_time(orders: tuple[str, Any], reach: MakeReach) -> None:
    url, run = orders
    source = SqlSource(
        "{{env.CRM}}",
        query="select id, changed from orders where note like '100%';",
        cursor_column="changed",
        page_size=3,
    )
    source.bind(Bound("orders", ("id",)))
    _, position = all_pages(source, reach(CRM=url))
    run("insert into orders values (99, '2026-01-04 12:00:00', 1, '100%'), (98, '2026-03-01 00:00:00', 1, '100%')")
    run("update orders set changed = '2026-02-01 00:00:00' where id < 5")
    pages, position = all_pages(source, reach(CRM=url), position)
    # those that have the largest time that was seen come again: others with that very time may have come since
    assert ids(pages) == [[8, 9, 0], [1, 2, 3], [4, 98]]
    assert ids(all_pages(source, reach(CRM=url), position)[0]) == [[98]]


def test_databases_that_are_not_what_they_should_be(orders: tuple[str, Any], reach: MakeReach) -> None:
    url, _ = orders

    def fetch(**arguments: Any) -> None:
        source = SqlSource("{{env.CRM}}", **arguments)
        source.bind(Bound("orders", ("id",)))
        source.fetch(None, reach(CRM=url))

    for query in (
        "select * from nowhere",
        "select 1; drop table orders",
        "delete from orders returning id",
        "nonsense",
    ):
        with pytest.raises(SyncError):
            fetch(query=query)
    with pytest.raises(SyncError, match=r"has no column 'changed_at'; it has id, changed"):
        fetch(table="orders", cursor_column="changed_at")
    source = SqlSource("{{env.CRM}}", table="orders")
    source.bind(Bound("orders", ("id",)))
    assert len(source.fetch(None, reach(CRM=url)).rows) == 10
    with pytest.raises(SourceNotFoundError, match="CRM"):
        source.fetch(None, reach())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": "mysql://x/y", "table": "t"}, "url is postgresql"),
        ({"url": "postgresql://me:hunter2@host/db", "table": "t"}, "holds a password"),
        ({"url": "sqlite:///x.db"}, "a query or a table"),
        ({"url": "sqlite:///x.db", "table": "t", "query": "select 1"}, "a query or a table"),
        ({"url": "sqlite:///x.db", "table": "t", "page_size": 0}, "page_size"),
        ({"url": "sqlite:///x.db", "table": "t", "page_size": True}, "page_size"),
    ],
)
def test_a_wrong_sql_source_says_so(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        SqlSource(**arguments)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_not_there(reach: MakeReach, tmp_path: Path) -> None:
    source = SqlSource(f"sqlite:///{tmp_path}/none.db", table="t")
    with pytest.raises(DefinitionError, match="key='id'"):
        source.bind(Bound("t"))
    source.bind(Bound("t", ("id",)))
    with pytest.raises(SyncError, match="there is no file"):
        source.fetch(None, reach())
    source = SqlSource("{{env.CRM}}", table="t")
    source.bind(Bound("t", ("id",)))
    with pytest.raises(StoreUnavailableError, match="does not answer") as caught:
        source.fetch(None, reach(CRM="postgresql://me:hunter2@127.0.0.1:1/db"))
    assert "hunter2" not in str(caught.value)


# --- files ------------------------------------------------------------------------------------------------


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        path.write_text("id,name\n" + "".join(f"{row['id']},{row['name']}\n" for row in rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        duckdb.sql(f"copy (select unnest(range({len(rows)})) id, 'p' || id as name) to '{path}' (format parquet)")


def named(begin: int, end: int) -> list[dict[str, Any]]:
    return [{"id": n, "name": f"n{n}"} for n in range(begin, end)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_files_page_by_page(suffix: str, tmp_path: Path, reach: MakeReach) -> None:
    write(tmp_path / f"b.{suffix}", named(0, 5))
    write(tmp_path / f"a.{suffix}", named(0, 4))
    source = FileSource(f"{tmp_path}/*.{suffix}", page_size=2)
    pages, _ = all_pages(source, reach())
    assert ids(pages) == [[0, 1], [2, 3], [0, 1], [2, 3], [4]]
    position = source.fetch(None, reach()).cursor
    rest, _ = all_pages(FileSource(f"{tmp_path}/*.{suffix}", page_size=2), reach(), json.loads(json.dumps(position)))
    assert ids(rest) == [[2, 3], [0, 1], [2, 3], [4]]


def test_only_files_that_changed_are_read_again(tmp_path: Path, reach: MakeReach) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.csv", named(0, 2))
    source = FileSource(tmp_path / "*.csv")
    _, position = all_pages(source, reach())
    assert all_pages(source, reach(), position)[0] == []
    os.utime(tmp_path / "a.csv")  # touched, and the same
    write(tmp_path / "b.csv", named(7, 9))
    write(tmp_path / "d.csv", named(20, 21))
    (tmp_path / "c.csv").unlink()
    pages, position = all_pages(source, reach(), position)
    assert ids(pages) == [[7, 8], [20]]
    assert sorted(Path(path).name for path in position["files"]) == ["a.csv", "b.csv", "d.csv"]
    assert all_pages(source, reach(), position)[0] == []


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, reach: MakeReach) -> None:
    write(tmp_path / "a.csv", named(0, 4))
    source = FileSource(f"{tmp_path}/*.csv", page_size=2)
    position = source.fetch(None, reach()).cursor
    write(tmp_path / "a.csv", named(100, 103))
    assert ids(all_pages(FileSource(f"{tmp_path}/*.csv", page_size=2), reach(), position)[0]) == [[100, 101], [102]]


def test_files_that_are_not_what_they_should_be(tmp_path: Path, reach: MakeReach) -> None:
    with pytest.raises(SyncError, match="no file matches"):
        FileSource(f"{tmp_path}/*.csv").fetch(None, reach())
    (tmp_path / "a.xls").write_text("?")
    with pytest.raises(SyncError, match="what kind of file"):
        FileSource(f"{tmp_path}/*").fetch(None, reach())
    (tmp_path / "b.parquet").write_text("this is not it")
    with pytest.raises(SyncError, match=r"DuckDB cannot read .*b.parquet"):
        FileSource(f"{tmp_path}/*.parquet").fetch(None, reach())
    for wrong in ({"pattern": ""}, {"pattern": 7}, {"pattern": "*.csv", "page_size": 0}):
        with pytest.raises(DefinitionError):
            FileSource(**wrong)  # type: ignore[arg-type]
