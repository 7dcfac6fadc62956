"""Rows of a frame that fit a table, and what is said of those that do not."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from dataflows_sdk.errors import BadRowsError, UnreadableSourceError
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames import Frame

MOMENT = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)


def check(source: Any, type: str, bad: str = "aside", timezone: str | None = None) -> tuple[list[str], list[str]]:
    """Lines and reasons, for the one column `a`."""
    with Frame.open(source, timezone) as frame:
        checked = frame.checked([Column("a", type)], (), bad)
        lines = b"".join(checked.csv()).decode().splitlines()
        assert len(lines) == checked.count
        return lines, [reason for _, reason, _ in checked.aside]


GOOD: list[tuple[Any, str, str, str]] = [
    (pa.array([3.0]), "int", "refuse", "3"),
    (pa.array([Decimal("3.00")]), "int", "refuse", "3"),
    (pa.array([2**53]), "float", "refuse", "9007199254740992.0"),
    (pa.array([7]), "decimal", "refuse", "7"),
    (pa.array([0.1]), "decimal", "refuse", "0.1"),
    (pa.array([Decimal("0.5")]), "float", "refuse", "0.5"),
    (pa.array([dt.datetime(2024, 1, 1)]), "date", "refuse", "2024-01-01"),
    (pa.array([dt.date(2024, 1, 1)]), "timestamp", "refuse", "2024-01-01 00:00:00"),
    (pa.array(["x"]), "json", "refuse", '"""x"""'),
    (pa.array([Decimal("12345678901234567890.12345")]), "json", "refuse", '"12345678901234567890.12345"'),
    (pa.array([float("inf")]), "float", "refuse", "inf"),
    (pa.array([float("nan")]), "float", "refuse", "nan"),
    (pa.array([" 12 "]), "int", "coerce", "12"),
    (pa.array(["1e400"]), "decimal", "coerce", "1e400"),
    (pa.array(["yes"]), "bool", "coerce", "true"),
    (pa.array([1]), "bool", "coerce", "true"),
    (pa.array([True]), "int", "coerce", "1"),
    (pa.array([12]), "text", "coerce", '"12"'),
    (pa.array(["2024-01-01T10:00:00+02:00"]), "timestamptz", "coerce", "2024-01-01 08:00:00+00"),
    (pa.array([MOMENT]), "timestamp", "coerce", "2024-05-01 12:30:00"),
    (pa.array(["00000000000000000000000000000005"]), "uuid", "coerce", str(uuid.UUID(int=5))),
    (pa.array(["10:00"]), "time", "coerce", "10:00:00"),
    (pa.array(["3 days 04:05:06"]), "interval", "coerce", "3 days 04:05:06"),
    (pa.array(["é"]), "bytes", "coerce", "\\xc3a9"),
]
BAD: list[tuple[Any, str, str, str]] = [
    (pa.array(["12"]), "int", "aside", "a = '12': a text where int belongs; bad=\"coerce\" reads it"),
    (pa.array(["1.5"]), "int", "coerce", "it is no integer"),
    (pa.array(["1_000"]), "int", "coerce", "it is no integer"),
    (pa.array(["0x10"]), "int", "coerce", "it is no integer"),
    (pa.array([3.5]), "int", "aside", "it is no integer"),
    (pa.array([float("nan")]), "int", "aside", "it is no integer"),
    (pa.array([1e19]), "int", "aside", "it is no integer"),
    (pa.array([2**64 - 1], pa.uint64()), "int", "aside", "it is no integer"),
    (pa.array(["9" * 19]), "int", "coerce", "it is no integer"),
    (pa.array([2**53 + 1]), "float", "aside", "it loses digits"),
    (pa.array([Decimal(10**37 + 1)]), "float", "aside", "it loses digits"),
    (pa.array([Decimal("0.1234567890123456789")]), "float", "aside", "it loses digits"),
    (pa.array([float("inf")]), "decimal", "aside", "finite"),
    (pa.array([float("nan")]), "json", "aside", "NaN"),
    (pa.array([{"x": float("inf")}]), "json", "aside", "Infinity"),
    (pa.array(["a\0b"]), "text", "aside", "NUL"),
    (pa.array([["a\0b"]]), "json", "aside", "u0000"),
    (pa.array(["a\0b"]), "json", "aside", "u0000"),
    (pa.array([b"x"]), "json", "aside", "bytes where json"),
    (pa.array([True]), "int", "aside", "a bool where int belongs"),
    (pa.array([2]), "bool", "coerce", "neither 0 nor 1"),
    (pa.array([12]), "text", "aside", "an int where text belongs"),
    (pa.array([dt.datetime(2024, 1, 1, 1)]), "date", "aside", "time of day"),
    (pa.array([dt.datetime(2024, 1, 1, 1)]), "timestamptz", "coerce", "no time zone"),
    (pa.array(["2024-01-01 10:00"]), "timestamptz", "coerce", "no time zone"),
    (pa.array(["2024-01-01T10:00:00Z"]), "timestamp", "coerce", "it is no timestamp"),
    (pa.array(["2024-01-01 10:00"]), "date", "coerce", "it is no date"),
    (pa.array(["2024-02-30"]), "date", "coerce", "it is no date"),
    (pa.array([MOMENT]), "timestamp", "aside", "a timestamptz where timestamp"),
    (pa.array([1001], pa.timestamp("ns")), "timestamp", "aside", "nanoseconds"),
    (pa.array([1001], pa.timestamp("ns", "UTC")), "timestamptz", "aside", "nanoseconds"),
    (pa.array([1001], pa.time64("ns")), "time", "aside", "nanoseconds"),
    (pa.array([-800000], pa.date32()), "date", "aside", "years go from 1 to 9999"),
    (pa.array([2**60], pa.timestamp("us")), "timestamp", "aside", "years go from 1 to 9999"),
    (pa.array([86_400_000_000], pa.time64("us")), "time", "aside", "24:00"),
    (pa.array([2**63 - 1], pa.duration("us")), "interval", "aside", "999,999,999 days"),
]


@pytest.mark.parametrize(("values", "type", "bad", "line"), GOOD)
def test_a_value_that_loses_nothing_fits(values: Any, type: str, bad: str, line: str) -> None:
    assert check(pa.table({"a": values}), type, bad) == ([line], [])


@pytest.mark.parametrize(("values", "type", "bad", "reason"), BAD)
def test_a_value_that_does_not_fit_is_refused_or_set_aside(values: Any, type: str, bad: str, reason: str) -> None:
    source = pa.table({"a": pa.concat_arrays([values, pa.nulls(1, values.type)])})
    if bad == "aside":
        lines, reasons = check(source, type)
        assert (len(lines), len(reasons)) == (1, 1), reasons
        assert reason in reasons[0]
    with pytest.raises(BadRowsError) as caught:
        check(source, type, "refuse" if bad == "aside" else bad)
    assert caught.value.count == 1
    told = caught.value.rows[0]
    assert reason in f"{told.column} = {told.value}: {told.reason}"
    assert told.position == 0


def test_intervals_are_as_long_as_python_holds() -> None:
    assert check(duckdb.connect().sql("select interval 999999999 days as a"), "interval") == (["999999999 days"], [])
    for longer in ("to_days(1000000000)", "to_months(40000000)", "to_days(-1000000001)"):
        lines, (reason,) = check(duckdb.connect().sql(f"select {longer} as a"), "interval")
        assert not lines
        assert "999,999,999 days" in reason


FAR = duckdb.connect()


@pytest.mark.parametrize("target", ["date", "timestamp", "timestamptz", "json", "text", "int", "interval"])
@pytest.mark.parametrize("far", ["infinity", "-infinity", "5000000-01-01", "4000-01-01 (BC)", "10000-01-01"])
def test_far_from_our_time_nothing_breaks(target: str, far: str) -> None:
    for source in ("date", "timestamp", "timestamptz", "timestamp_s", "timestamp_ms"):
        relation = FAR.sql(f"select try_cast('{far}' as {source}) as a union all select null as a")
        for zone in (None, "Asia/Kathmandu") if target == "timestamptz" else (None,):
            lines, reasons = check(relation, target, "aside", zone)
            assert len(lines) + len(reasons) == 2
            assert target == "json" or lines == [""] * len(lines)
            if target == "text":
                assert len(check(relation, target, "coerce", zone)[0]) == 2


def test_what_is_set_aside_is_whole(tmp_path: Path) -> None:
    source = pd.DataFrame(
        {
            "k": ["a", "b", "c"],
            "n": pd.Series([1, "x", {1, 2}], dtype=object),
            "f": [1.0, float("inf"), float("nan")],
            "t": ["x", "y\0z", None],
            "b": [b"\x01", b"", None],
            "w": [[1.5], [float("nan")], None],
        }
    )
    columns = [Column("k", "text"), Column("n", "int"), Column("t", "text"), Column("f", "float")]
    with Frame.open(source) as frame:
        checked = frame.checked(columns, ("k",), "aside")
        assert (checked.count, checked.set_aside, checked.repeated) == (1, 2, 0)
        assert [column.name for column in checked.new] == ["b", "w"]
        aside = list(checked.aside)
    assert [position for position, _, _ in aside] == [1, 2]
    assert "n = 'x'" in aside[0][1]
    assert "t = " in aside[0][1]
    assert "set" in aside[1][1]
    first = json.loads(aside[0][2])
    assert first == {"k": "b", "n": "x", "f": "inf", "t": "y\ufffdz", "b": "\\x", "w": ["nan"]}
    assert json.loads(aside[1][2])["n"] == "Object of type set is not JSON serializable" or "set" in aside[1][2]


def test_keys() -> None:
    source = pa.table(
        {
            "a": ["x", "x", "y", None, "z", "z", "w"],
            "n": [1, 1, 1, 1, 2, 2, 3],
            "v": [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    columns = [Column("v", "float"), Column("a", "text", False), Column("n", "int")]
    with Frame.open(source) as frame:
        checked = frame.checked(columns, ("a", "n"), "aside")
        assert (checked.count, checked.set_aside, checked.repeated) == (3, 3, 1)
        assert [(position, reason) for position, reason, _ in checked.aside] == [
            (3, "a = None: the key is empty"),
            (4, "the key (a, n) is also that of row 5, and they differ"),
            (5, "the key (a, n) is also that of row 4, and they differ"),
        ]
        assert b"".join(checked.csv(numbered=True)) == b'0,1.0,"x",1\n2,2.0,"y",1\n6,6.0,"w",3\n'
        with pytest.raises(BadRowsError, match=r"3 rows do not fit \(of 7\)") as caught:
            frame.checked(columns, ("a", "n"))
        assert [row.position for row in caught.value.rows] == [3, 4, 5]
        # and again with other columns: neither check disturbs the other
        assert frame.checked([Column("v", "float")], ("v",), "aside").count == 6
        assert frame.checked([Column("v", "float"), Column("more", "int")]).missing == ("more",)
        assert b"".join(checked.csv(numbered=True)) == b'0,1.0,"x",1\n2,2.0,"y",1\n6,6.0,"w",3\n'
        assert [position for position, _, _ in checked.aside] == [3, 4, 5]
        with pytest.raises(UnreadableSourceError, match="no column 'id', which is in the key"):
            frame.checked(columns, ("id",))
        with pytest.raises(ValueError, match="maybe"):
            frame.checked(columns, (), "maybe")


@pytest.mark.parametrize(
    ("type", "same"),
    [("int", ["1", "01"]), ("decimal", ["1.0", "1.00"]), ("decimal", ["1e2", "100"]), ("uuid", ["A" * 32, "a" * 32]),
     ("timestamptz", ["2024-01-01T10:00:00Z", "2024-01-01 11:00:00+01:00"]), ("bool", ["yes", "true"])],
)  # fmt: skip
def test_keys_are_the_same_when_postgres_says_so(tmp_path: Path, type: str, same: list[str]) -> None:
    (tmp_path / "k.csv").write_text("\n".join(["k", *same]))
    with Frame.open(tmp_path / "k.csv") as frame:
        checked = frame.checked([Column("k", type)], ("k",), "aside")
        assert checked.count in (0, 1)
        assert checked.count + checked.set_aside + checked.repeated == 2


def test_columns_that_take_no_nulls() -> None:
    with Frame.open(pa.table({"a": [1, None]})) as frame:
        assert not frame.checked([Column("a", "int")]).set_aside
        with pytest.raises(BadRowsError, match="takes no nulls"):
            frame.checked([Column("a", "int", False)])
    with Frame.open(duckdb.connect().sql("select 'null'::json as a")) as frame:
        assert b"".join(frame.checked([Column("a", "json")]).csv(numbered=True)) == b"0,\n"
        with pytest.raises(BadRowsError, match="takes no nulls"):
            frame.checked([Column("a", "json", False)])


def test_the_error_is_short_when_rows_are_long() -> None:
    with Frame.open(pa.table({"a": ["x" * 10_000] * 1_000})) as frame:
        with pytest.raises(BadRowsError) as caught:
            frame.checked([Column("a", "int")])
    assert len(str(caught.value)) < 1_000
    assert caught.value.count == 1_000
    assert len(caught.value.rows) == 20
    assert "and 997 more" in str(caught.value)


def test_chunks_are_of_the_size_that_was_asked_for() -> None:
    with Frame.open(pa.table({"a": list(range(200_000))})) as frame:
        checked = frame.checked(frame.columns, ("a",))
        chunks = list(checked.csv(chunk=200_000))
        assert all(180_000 < len(chunk) < 300_000 for chunk in chunks[:-1])
        assert b"".join(chunks) == b"".join(b"%d\n" % n for n in range(200_000))
        # Somebody stops in the middle, and asks again.
        stopped = checked.csv(chunk=1)
        next(stopped)
        stopped.close()
        assert sum(map(len, checked.csv())) == sum(map(len, chunks))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_lines_do_not_pile_up(tmp_path: Path) -> None:
    """A million rows of 200 bytes are written in much less memory than they are long."""
    code = """
import duckdb
from dataflows_sdk.warehouse.frames import Frame
def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
source = duckdb.connect().sql("select range as id, repeat('x', 200) as t from range(1000000)")
with Frame.open(source) as frame:
    checked = frame.checked(frame.columns, ("id",))
    before = peak()
    size = sum(map(len, checked.csv()))
    print(size >> 10, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    size, more = map(int, done.stdout.split()[-2:])  # once there was more before, on a busy machine
    assert size > 190_000
    assert more < size / 3
