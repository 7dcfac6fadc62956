"""Frames: what they take, and what they make of it."""

from __future__ import annotations

import datetime as dt
import gzip
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflows_sdk.errors import UnreadableSourceError
from dataflows_sdk.warehouse.answer import Answer
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames import Frame, is_columnar

MOMENT = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)


def types(source: Any, timezone: str | None = None) -> dict[str, str]:
    with Frame.open(source, timezone) as frame:
        return {column.name: column.type for column in frame.columns}


def rows(source: Any, timezone: str | None = None) -> list[dict[str, Any]]:
    with Frame.open(source, timezone) as frame:
        return list(frame.rows())


def check(source: Any, type: str, bad: str = "aside", timezone: str | None = None) -> tuple[list[str], list[str]]:
    """Lines and reasons, for the one column `a`."""
    with Frame.open(source, timezone) as frame:
        checked = frame.checked([Column("a", type)], (), bad)
        lines = b"".join(checked.csv()).decode().splitlines()
        assert len(lines) == checked.count
        return lines, [reason for _, reason, _ in checked.aside]


# --- what is columnar ------------------------------------------------------------------------------------------


def test_what_is_columnar(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    relation = duckdb.connect().sql("select 1 as a")
    for source in (
        table, table.to_batches()[0], table.to_reader(), pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}),
        relation, Answer(relation), Path("a.parquet"), "b/*.parquet", "a.CSV", "a.csv.gz", "x.jsonl",
        "x.ndjson", "x.json",
    ):  # fmt: skip
        assert is_columnar(source), source
    for other in (
        [],
        {},
        "tasks",
        "a.txt",
        Path("a"),
        3,
        None,
        pd.DataFrame,
        iter([]),
        "https://a.b/c.csv",
        pd.Series([1]).to_list(),
    ):
        assert not is_columnar(other), other


def test_every_source_gives_the_same_rows(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None], "c": [1.5, 2.5]})
    pq.write_table(table, tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_text("\ufeffa;b;c\r\n1;x;1.5\r\n2;;2.5\r\n")
    with gzip.open(tmp_path / "r.tsv.gz", "wt") as file:
        file.write("a\tb\tc\n1\tx\t1.5\n2\t\t2.5\n")
    lines = ['{"a": 1, "b": "x", "c": 1.5}', '{"a": 2, "c": 2.5}']
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    (tmp_path / "r.json").write_text("[" + ",".join(lines) + "]")
    relation = duckdb.connect().from_arrow(table)
    expected = table.to_pylist()
    for source in (
        table, table.to_reader(), table.to_pandas(), pl.from_arrow(table), relation, Answer(relation),
        *sorted(tmp_path.iterdir()), str(tmp_path / "*.jsonl"),
    ):  # fmt: skip
        assert rows(source) == expected, source
        assert types(source) == {"a": "int", "b": "text", "c": "float"}, source
    with Frame.open(str(tmp_path / "*.parquet")) as frame:
        assert frame.count == 2
        assert frame.columns == (Column("a", "int", False), Column("b", "text", True), Column("c", "float", False))


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1]*.csv").write_text("a\n7\n")
    (tmp_path / "a1.csv").write_text("a\n8\n")
    (tmp_path / "it's $columns.csv").write_text("a\n9\n")
    assert rows(tmp_path / "a[1]*.csv") == [{"a": 7}]
    assert rows(tmp_path / "it's $columns.csv") == [{"a": 9}]


def test_several_files_have_one_header(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,a\n1,2\n")
    with pytest.raises(UnreadableSourceError, match="other columns"):
        Frame.open(tmp_path / "*.csv")


def test_no_library_of_frames_is_needed_or_loaded(tmp_path: Path) -> None:
    """Files, relations and Arrow streams are read without pandas, polars and pyarrow."""
    (tmp_path / "r.csv").write_text("a\n1\n")
    code = f"""
import sys
for name in ("pandas", "pyarrow", "polars", "numpy"):
    sys.modules[name] = None
import duckdb
from dataflows_sdk.warehouse.frames import Frame
for source in ({str(tmp_path / "r.csv")!r}, duckdb.connect().sql("select 1::bigint as a")):
    with Frame.open(source) as frame:
        print(list(frame.rows()), b"".join(frame.checked(frame.columns, ("a",)).csv()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[{'a': 1}] b'1\\n'"] * 2


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Frame.open(pa.table({"a": [1]})):
        (directory,) = tmp_path.iterdir()
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnreadableSourceError):
        Frame.open("nothing.csv")
    assert not list(tmp_path.iterdir())


# --- types -----------------------------------------------------------------------------------------------------


def test_types_of_duckdb() -> None:
    relation = duckdb.connect().sql(
        "select 1::utinyint as u8, 1::ubigint as u64, 2::hugeint as h, 1::hugeint << 80 as wide,"
        "1.5::decimal(5, 2) as d, "
        "'a'::enum('a', 'b') as e, date '2024-01-01' as day, time '10:00' as t, timestamp '2024-01-01' as ts,"
        "timestamptz '2024-01-01 00:00:00+00' as tz, timestamp_ns '2024-01-01' as ns, interval 3 days as i,"
        "'00000000-0000-0000-0000-000000000005'::uuid as id, '\\x00'::blob as b, [1] as l, {'x': 1} as s,"
        "map {'k': 1} as m,"
        "'{\"a\": 1}'::json as j, null as nothing, true as ok"
    )
    assert types(relation) == {
        "u8": "int", "u64": "int", "h": "int", "wide": "decimal", "d": "decimal", "e": "text", "day": "date",
        "t": "time", "ts": "timestamp", "tz": "timestamptz", "ns": "timestamp", "i": "interval", "id": "uuid",
        "b": "bytes",
        "l": "json", "s": "json", "m": "json", "j": "json", "nothing": "text", "ok": "bool",
    }  # fmt: skip
    (row,) = rows(relation)
    assert row["id"] == uuid.UUID(int=5)
    assert row["j"] == {"a": 1}
    assert row["s"] == {"x": 1}
    assert row["nothing"] is None
    with Frame.open(relation) as frame:
        assert frame.unknown == {"nothing"}


def test_pandas_and_what_it_has_no_sign_for() -> None:
    frame = pd.DataFrame(
        {
            "n": [1.0, np.nan], "f": [1.0, 2.0], "half": [1.5, np.nan], "none": [np.nan, np.nan], "s": ["a", None],
            "I": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean"), "c": pd.Categorical(["x", None]),
            "o": pd.Series([1, None], dtype=object), "dec": pd.Series([Decimal("1.10"), None], dtype=object),
            "mixed": pd.Series([1, "x"], dtype=object), "d": pd.Series([{"k": [1]}, None], dtype=object),
            "l": pd.Series([[1], ["x", None]], dtype=object), "u": pd.Series([uuid.UUID(int=1), None], dtype=object),
            "day": pd.Series([dt.date(2024, 1, 2), None], dtype=object), "big": pd.Series([2**90, 1], dtype=object),
            "bigger": pd.Series([10**40, None], dtype=object), "np": pd.Series([np.int64(3), 4.5], dtype=object),
            "sparse": pd.Series([0, 1], dtype="Sparse[int]"), "ts": pd.to_datetime(["2024-01-02 03:04:05", None]),
            "tz": pd.to_datetime(["2024-01-02 03:04:05", None]).tz_localize("Europe/Berlin"),
            "zones": pd.Series([MOMENT, dt.datetime(2024, 1, 1)], dtype=object),
        }
    )  # fmt: skip
    assert types(frame) == {
        "n": "int", "f": "float", "half": "float", "none": "text", "s": "text", "I": "int", "b": "bool", "c": "text",
        "o": "int", "dec": "decimal", "mixed": "json", "d": "json", "l": "json", "u": "uuid", "day": "date",
        "big": "decimal", "bigger": "decimal", "np": "float", "sparse": "int", "ts": "timestamp", "tz": "timestamptz",
        "zones": "text",
    }  # fmt: skip
    first, second = rows(frame)
    assert first["n"] == 1
    assert isinstance(first["n"], int)
    assert second["n"] is None
    assert first["mixed"] == 1
    assert second["mixed"] == "x"
    assert first["d"] == {"k": [1]}
    assert second["l"] == ["x", None]
    assert first["bigger"] == str(10**40) or Decimal(first["bigger"]) == 10**40
    assert first["tz"] == dt.datetime(2024, 1, 2, 2, 4, 5, tzinfo=dt.UTC)
    with Frame.open(frame) as opened:
        assert opened.unknown == {"none"}


def test_rows_lose_nothing() -> None:
    mixed = pd.DataFrame({"a": pd.Series([1, "x", None, [1.5], {"k": "\ud800"}], dtype=object)})
    assert [row["a"] for row in rows(mixed)] == [1, "x", None, [1.5], {"k": "\ud800"}]
    with pytest.raises(UnreadableSourceError, match=r"'a' has a value that fits nowhere: .*set"):
        rows(pd.DataFrame({"a": pd.Series([1, {1}], dtype=object)}))
    odd = duckdb.connect().sql(
        "select '0101'::bit as b, '10:00:00+02'::timetz as t, 12345678901234567890123::bignum as n,"
        "340282366920938463463374607431768211455::uhugeint as u"
    )
    assert rows(odd)[0]["t"] == "10:00:00+02"
    with Frame.open(odd) as frame:
        assert b"".join(frame.checked(frame.columns).csv()) == b'"0101","10:00:00+02",12345678901234567890123,%d\n' % (
            2**128 - 1
        )


def test_polars() -> None:
    frame = pl.DataFrame(
        {
            "c": pl.Series(["x", None], dtype=pl.Categorical),
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
            "t": pl.Series([dt.time(1, 2, 3), None]),
            "d": pl.Series([dt.timedelta(days=1), None]),
            "n": pl.Series([Decimal("1.50"), None]),
            "s": pl.Series([{"a": 1}, {"a": None}]),
            "f": pl.Series([float("nan"), None]),
            "ns": pl.Series([MOMENT, None], dtype=pl.Datetime("ns", "Europe/Berlin")),
            "nothing": pl.Series([None, None], dtype=pl.Null),
        }
    )
    with Frame.open(frame) as opened:
        assert [column.type for column in opened.columns] == [
            "text", "text", "time", "interval", "decimal", "json", "float", "timestamptz", "text",
        ]  # fmt: skip
        assert b"".join(opened.checked(opened.columns).csv()) == (
            b'"x","x",01:02:03,24:00:00,1.50,"{""a"":1}",nan,2024-05-01 12:30:00+00,\n,"y",,,,"{""a"":null}",,,\n'
        )


def test_as_many_columns_as_a_table_may_have() -> None:
    with Frame.open(pa.table({f"c{n}": [n, None] for n in range(1_600)})) as frame:
        (chunk,) = frame.checked(frame.columns).csv()
        assert chunk == ",".join(map(str, range(1_600))).encode() + b"\n" + b"," * 1_599 + b"\n"


def test_an_index_that_has_a_name_is_a_column() -> None:
    frame = pd.DataFrame({"v": [1, 2]}, index=pd.Index(["a", "b"], name="id"))
    assert rows(frame) == [{"id": "a", "v": 1}, {"id": "b", "v": 2}]
    assert rows(pd.DataFrame({"v": [1, 2]}, index=[5, 5])) == [{"v": 1}, {"v": 2}]
    assert types(pd.DataFrame({0: [1], "x": [2]})) == {"0": "int", "x": "int"}
    with pytest.raises(UnreadableSourceError, match="index"):
        Frame.open(pd.DataFrame({"id": [1]}, index=pd.Index([1], name="id")))


def test_csv_is_told_by_all_of_it(tmp_path: Path) -> None:
    lines = ["n,zip,f,b,d,ts,tz,t,late,void"]
    lines += ["1,01234,1.5,true,2024-01-01,2024-01-01 10:00:00,2024-01-01T10:00:00Z,x,1,"] * 5_000
    lines += ['-2,99999,1e3,FALSE,2024-02-29,2024-01-01,2024-01-01 10:00:00.5+02:00,"",1.5,']
    (tmp_path / "r.csv").write_text("\n".join(lines))
    with Frame.open(tmp_path / "r.csv") as frame:
        assert {column.name: column.type for column in frame.columns} == {
            "n": "int", "zip": "text", "f": "float", "b": "bool", "d": "date", "ts": "timestamp", "tz": "timestamptz",
            "t": "text", "late": "float", "void": "text",
        }  # fmt: skip
        assert frame.unknown == {"void"}
        *_, last = frame.rows()
        assert last["t"] == ""
        assert last["late"] == 1.5
        assert last["b"] is False
        assert last["void"] is None
        # What the table says goes before what it looks like.
        lines_of = b"".join(frame.checked([Column("n", "text"), Column("zip", "int")]).csv()).decode().splitlines()
    assert lines_of[0] == '"1",1234'
    assert lines_of[-1] == '"-2",99999'


def test_json_has_no_dates_until_a_column_says_so(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(
        '{"a": "2024-01-01T10:00:00Z", "n": 3}\n{"a": null, "n": 12345678901234567890123}\n'
    )
    assert types(tmp_path / "r.jsonl") == {"a": "text", "n": "decimal"}
    with Frame.open(tmp_path / "r.jsonl") as frame:
        made = frame.checked([Column("a", "timestamptz"), Column("n", "decimal")])
        assert b"".join(made.csv()) == b"2024-01-01 10:00:00+00,3\n,12345678901234567890123\n"


def test_naive_timestamps_are_from_where_they_say() -> None:
    frame = pa.table({"a": pa.array([dt.datetime(2024, 7, 1, 12)], pa.timestamp("us"))})
    assert types(frame) == {"a": "timestamp"}
    assert types(frame, "Europe/Berlin") == {"a": "timestamptz"}
    assert check(frame, "timestamptz", timezone="Europe/Berlin") == (["2024-07-01 10:00:00+00"], [])
    assert check(frame, "timestamptz")[1][0].endswith('say timezone="Europe/Berlin", or where it is from')
    assert check(frame, "timestamptz", "aside")[0] == []
    with pytest.raises(UnreadableSourceError, match="Mars"):
        Frame.open(frame, timezone="Mars/Base'")


# --- sources that cannot be read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns that are called 'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "A"]), "differ only in case"),
        (pd.DataFrame([[1]], columns=[("a", 1)]), "tuple"),
        (pd.DataFrame([[1]], columns=[1.5]), "float"),
        (pd.DataFrame([[1]], columns=[""]), "no name"),
        (pd.DataFrame({"a": [1j]}), "complex128"),
        (pd.DataFrame({"a": pd.period_range("2024", periods=1, freq="M")}), "period"),
        (pd.DataFrame({"a": pd.Series([Decimal("sNaN")], dtype=object)}), "signalling"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "two columns that are called 'a'"),
        (pa.table({"a": pa.array([Decimal(1)], pa.decimal256(50, 2))}), "cannot be read"),
        (duckdb.connect().sql("select error('ouch') as a"), "ouch"),
        ("nowhere/*.parquet", "there is no file"),
        ("nowhere.csv", "there is no file"),
        (3, "no source of columns"),
        ("a.txt", "does not end in"),
    ],
)  # fmt: skip
def test_errors_name_what_is_wrong(source: Any, message: str) -> None:
    with pytest.raises(UnreadableSourceError, match=message):
        Frame.open(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", b"", "no header"),
        ("r.csv", b"a,b\n1\n", "Line: 2"),
        ("r.csv", b"a,b\n1,2\n1,2,3\n", "Line: 3"),
        ("r.csv", b"a,a\n1,2\n", "called 'a'"),
        ("r.csv", b'a,b\n1,"x\n', "r.csv"),
        ("r.csv", b"a\n\xff\xfe\n", "utf-8"),
        ("r.csv.gz", b"a\n1\n", "zip"),
        ("r.parquet", b"no parquet", "cannot be read"),
        ("r.parquet", b"", "cannot be read"),
        ("r.jsonl", b'{"a": 1}\n{"a":\n', "Malformed"),
        ("r.jsonl", b"\x00\x01", "cannot be read"),
    ],
)
def test_broken_files_are_errors(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableSourceError, match=f"(?i){message}"):
        Frame.open(tmp_path / name)


def test_what_is_empty_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("")
    (tmp_path / "r.csv").write_text("a,b\n")
    for source in (
        tmp_path / "r.jsonl",
        tmp_path / "r.csv",
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pa.table({"a": []}),
    ):
        with Frame.open(source) as frame:
            checked = frame.checked([Column("a", "int", False)], ("a",))
            assert (frame.count, checked.count, list(checked.csv()), list(frame.rows())) == (0, 0, [], [])
