"""What a frame writes as CSV is what PostgreSQL reads back: any Arrow table, any text, every type."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames import Frame

POSTGRES = {
    "int": "bigint",
    "decimal": "numeric",
    "float": "double precision",
    "bool": "boolean",
    "text": "text",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "interval": "interval",
    "uuid": "uuid",
    "bytes": "bytea",
    "json": "jsonb",
}


@pytest.fixture(scope="module")
def postgres(dataflows_databases: Any) -> Iterator[psycopg.Connection[Any]]:
    url = dataflows_databases.create()
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("set timezone = 'Asia/Kathmandu'")  # an odd one, which nothing may depend on
        yield connection
    dataflows_databases.drop(url)


def load(postgres: psycopg.Connection[Any], columns: tuple[Column, ...], chunks: Iterator[bytes]) -> list[Any]:
    """COPY into a real table and read it back, in the order of the source."""
    postgres.execute("drop table if exists loaded")
    parts = [sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(POSTGRES[c.type])) for c in columns]
    postgres.execute(sql.SQL("create temporary table loaded (_n bigint, {})").format(sql.SQL(", ").join(parts)))
    with postgres.cursor().copy("copy loaded from stdin (format csv)") as copy:
        for chunk in chunks:
            copy.write(chunk)
    return [row[1:] for row in postgres.execute("select * from loaded order by _n")]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["", "\\.", '"', '""', ",", "\r\n", "NULL", "\\N", "\\", " ", "a\nb", "\t", "é😀", "'", "\x01x", "nan"]
)
moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
).filter(lambda value: value is not None)
TYPES: dict[str, tuple[pa.DataType, str, st.SearchStrategy[Any]]] = {
    "int8": (pa.int8(), "int", st.integers(-128, 127)),
    "int64": (pa.int64(), "int", st.integers(-(2**63), 2**63 - 1)),
    "uint32": (pa.uint32(), "int", st.integers(0, 2**32 - 1)),
    "uint64": (pa.uint64(), "int", st.integers(0, 2**63 - 1)),
    "uint64 wide": (pa.uint64(), "decimal", st.integers(2**63, 2**64 - 1)),
    "decimal": (pa.decimal128(38, 10), "decimal", st.decimals(-(10**27), 10**27, places=10)),
    "decimal whole": (pa.decimal128(20, 0), "decimal", st.decimals(-(10**19), 10**19, places=0)),
    "float": (pa.float64(), "float", st.floats()),
    "float32": (pa.float32(), "float", st.floats(width=32)),
    "bool": (pa.bool_(), "bool", st.booleans()),
    "text": (pa.string(), "text", texts),
    "large text": (pa.large_string(), "text", texts),
    "categories": (pa.dictionary(pa.int32(), pa.string()), "text", texts),
    "date": (pa.date32(), "date", st.dates()),
    "time": (pa.time64("us"), "time", st.times()),
    "timestamp": (pa.timestamp("us"), "timestamp", moments),
    "timestamp s": (pa.timestamp("s"), "timestamp", moments.map(lambda value: value.replace(microsecond=0))),
    "timestamptz": (
        pa.timestamp("us", "Europe/Berlin"),
        "timestamptz",
        moments.map(lambda v: v.replace(tzinfo=dt.UTC)),
    ),
    "interval": (pa.duration("us"), "interval", st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5))),
    "uuid": (pa.uuid(), "uuid", st.uuids()),
    "bytes": (pa.binary(), "bytes", st.binary(max_size=8)),
    "list": (pa.list_(pa.int64()), "json", st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)),
    "struct": (
        pa.struct([("a", pa.string()), ("b", pa.list_(pa.float64()))]),
        "json",
        # jsonb has no -0.0
        st.fixed_dictionaries({"a": texts, "b": st.lists(st.floats(-1e300, 1e300).filter(bool), max_size=2)}),
    ),
}


def same(sent: Any, read: Any) -> bool:
    if isinstance(sent, float):
        if math.isnan(sent) or math.isnan(read):
            return math.isnan(sent) and math.isnan(read)
        return sent == float(read) and (sent != 0 or str(sent) == str(read))
    if isinstance(sent, dict):
        return sent.keys() == read.keys() and all(same(sent[name], read[name]) for name in sent)
    if isinstance(sent, list):
        return len(sent) == len(read) and all(map(same, sent, read))
    return bool(sent == read)


def arrow(values: list[Any], type: pa.DataType) -> pa.Array:
    if type == pa.uuid():
        raw = [None if value is None else value.bytes for value in values]
        return pa.ExtensionArray.from_storage(type, pa.array(raw, type.storage_type))
    if pa.types.is_dictionary(type):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, type)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, list[Any]], dict[str, str]]:
    count = draw(st.integers(1, 6))
    chosen = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5))
    columns, kinds = {}, {}
    for n, kind in enumerate(chosen):
        name = f"{draw(st.sampled_from(['a', 'select', 'é 😀', '$x', chr(34), chr(39)]))}{n}"
        values = st.none() | TYPES[kind][2] if draw(st.booleans()) else TYPES[kind][2]
        columns[name] = draw(st.lists(values, min_size=count, max_size=count))
        kinds[name] = kind
    return columns, kinds


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_arrow_table_comes_back_equal(postgres: psycopg.Connection[Any], table: Any) -> None:
    columns, kinds = table
    source = pa.table({name: arrow(values, TYPES[kinds[name]][0]) for name, values in columns.items()})
    with Frame.open(source) as frame:
        assert [c.name for c in frame.columns] == list(columns)
        for column in frame.columns:
            values = columns[column.name]
            assert column.nullable == (None in values)
            if kinds[column.name] != "uint64 wide" or values != [None] * len(values):
                assert column.type == TYPES[kinds[column.name]][1], column
        checked = frame.checked(frame.columns)
        assert checked.count == len(source)
        assert not checked.set_aside
        rows = load(postgres, frame.columns, checked.csv(numbered=True))
        plain = list(frame.rows())
    for name, values in columns.items():
        n = list(columns).index(name)
        for sent, read, seen in zip(values, rows, plain, strict=True):
            assert same(sent, read[n]), (name, sent, read[n])
            assert same(sent, seen[name]), (name, sent, seen[name])


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.none() | texts, st.none() | jsons), min_size=1, max_size=6))
@example([("x", {"a": "\\u0000"}), (None, "e5"), ("", [1.5, "NaN"])])
def test_json_lines_come_back_equal(postgres: psycopg.Connection[Any], tmp_path_factory: Any, rows: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.jsonl"
    path.write_text("".join(json.dumps({"t": t, "j": j}) + "\n" for t, j in rows))
    columns = (Column("t", "text"), Column("j", "json"))
    with Frame.open(path) as frame:
        assert load(postgres, columns, frame.checked(columns).csv(numbered=True)) == rows


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(texts, texts, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6))
def test_csv_comes_back_equal(postgres: psycopg.Connection[Any], tmp_path_factory: Any, rows: Any) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("a", "b", "n"), *rows])
    columns = (Column("a", "text"), Column("b", "text"), Column("n", "int"))
    with Frame.open(path) as frame:
        assert frame.columns[2] == Column("n", "int", nullable=False)
        assert load(postgres, columns, frame.checked(columns).csv(numbered=True)) == rows


@pytest.mark.parametrize("values", [["", None, "\\.", '"'], [None], [None, None], ["\\."]])
def test_a_single_column_without_numbers(postgres: psycopg.Connection[Any], values: list[str | None]) -> None:
    with Frame.open(pa.table({"a": pa.array(values, pa.string())})) as frame:
        chunks = list(frame.checked([Column("a", "text")]).csv())
    postgres.execute("drop table if exists one")
    postgres.execute("create temporary table one (a text)")
    with postgres.cursor().copy("copy one from stdin (format csv)") as copy:
        for chunk in chunks:
            copy.write(chunk)
    assert [value for (value,) in postgres.execute("select a from one")] == values


anything = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    texts,
    st.decimals(allow_nan=False),
    st.just(Decimal("NaN")),
    st.booleans(),
    moments,
    st.dates(),
    st.lists(st.integers(0, 5), max_size=2),
    st.dictionaries(texts, st.integers(0, 5), max_size=2),
    st.uuids(),
    st.binary(max_size=3),
    st.sets(st.integers(0, 3)),
    st.just(object()),
    st.just("\ud800"),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@example([Decimal("NaN"), ""], "json", "aside")
@given(
    st.lists(anything, min_size=1, max_size=6),
    st.sampled_from(sorted(POSTGRES)),
    st.sampled_from(["aside", "coerce", "refuse"]),
)
def test_columns_of_objects_lose_nothing(postgres: Any, values: list[Any], target: str, bad: str) -> None:
    """A value arrives as it was or is set aside; none goes lost, and PostgreSQL takes every line."""
    import pandas as pd

    from dataflows_sdk.errors import BadRowsError

    source = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    with Frame.open(source) as frame:
        try:
            checked = frame.checked([Column("a", target)], (), bad)
        except BadRowsError:
            assert bad != "aside"
            return
        aside = {position for position, _, row in checked.aside if json.loads(row) is not None}
        rows = load(postgres, checked.columns, checked.csv(numbered=True))
    assert len(rows) + len(aside) == len(values)
    kept = [value for n, value in enumerate(values) if n not in aside]
    for sent, (read,) in zip(kept, rows, strict=True):
        if sent is None or (isinstance(sent, float | Decimal) and math.isnan(sent)):
            assert read is None
        elif type(sent) is type(read) and not isinstance(sent, dict | list):
            assert same(sent, read)
        elif bad != "coerce" and target in ("int", "float", "decimal"):
            assert Decimal(str(sent)) == Decimal(str(read)) or sent == read
        else:
            assert read is not None
            assert not isinstance(sent, uuid.UUID) or str(sent) == str(read)
