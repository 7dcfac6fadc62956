from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dataflows_sdk.core import frames
from dataflows_sdk.core.codec import Codec, Encoded, blob_refs
from dataflows_sdk.core.codec_refused import Refused
from dataflows_sdk.core.codec_same import check_same
from dataflows_sdk.errors import MissingExtraError, NotSerializableError

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

CODEC = Codec()


def contents(encoded: Encoded) -> dict[str, bytes]:
    return {blob.sha256: blob.data for blob in encoded.blobs}


def round_trip(value: Any, codec: Codec = CODEC) -> Encoded:
    encoded = codec.encode(value)
    json.loads(encoded.text)
    assert set(blob_refs(encoded.text)) == set(contents(encoded))
    back = codec.decode(encoded.text, contents(encoded))
    check_same(value, back)
    check_same({"n": [value]}, {"n": [codec.decode(encoded.text, contents(encoded))]})
    assert codec.encode(back).text == encoded.text
    return encoded


PANDAS = {
    "plain": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, float("nan")], "c": ["x", None], "d": [True, False]}),
    "empty": lambda: pd.DataFrame(),
    "no rows": lambda: pd.DataFrame({"a": pd.Series([], dtype="int32")}),
    "index": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.Index(["p", "q"], name="key")),
    "index of days": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026-01-01", periods=2)),
    "two-level index": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")])),
    "int columns": lambda: pd.DataFrame({0: [1], 1: [2]}),
    "category": lambda: pd.DataFrame({"a": pd.Categorical(["x", "y", "x"], ["y", "x"], ordered=True)}),
    "times": lambda: pd.DataFrame(
        {"a": pd.to_datetime(["2026-01-01"]).tz_localize("Europe/Berlin"), "b": [pd.Timedelta("1s")]}
    ),
    "objects": lambda: pd.DataFrame(
        {"a": pd.Series([Decimal("1.10"), None], dtype=object), "b": [date(2026, 1, 1)] * 2}
    ),
    "nullable": lambda: pd.DataFrame(
        {"a": pd.array([1, None], dtype="Int64"), "b": pd.array(["x", None], dtype="string")}
    ),
    "odd names": lambda: pd.DataFrame({"a\0b": [1], "ü $x": [2]}),
}
SERIES = {
    "series": lambda: pd.Series([1.5, None], name="s"),
    "series without a name": lambda: pd.Series(["x"]),
    "series with an index": lambda: pd.Series([1], index=["k"], name="ü"),
}


@pytest.mark.parametrize("make", [*PANDAS.values(), *SERIES.values()], ids=[*PANDAS, *SERIES])
def test_pandas(make: Any) -> None:
    encoded = round_trip(make())
    (blob,) = encoded.blobs
    assert blob.media == frames.ARROW_STREAM
    # whoever has Arrow can read the blob
    assert pa.ipc.open_stream(blob.data).read_all().num_rows == blob.meta["rows"]


def test_the_tag_of_a_frame_says_what_is_in_it() -> None:
    encoded = CODEC.encode({"frame": pd.DataFrame({7: [1, 2], 8: [3, 4]})})
    (blob,) = encoded.blobs
    assert json.loads(encoded.text)["frame"]["$frame"] == {
        "sha256": blob.sha256,
        "size": len(blob.data),
        "kind": "pandas",
        "rows": 2,
        "columns": ["7", "8"],
    }


def test_the_same_table_twice_is_one_blob() -> None:
    make = PANDAS["plain"]
    assert len(CODEC.encode([make(), make()]).blobs) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"a": [object(), "secret cell"]}),
        lambda: pd.DataFrame({"a": [(1, "secret cell")]}),
        lambda: pd.DataFrame({"a": [{"secret cell": 1}, {"b": 2}]}),
        lambda: pd.DataFrame({"a": [1, "secret cell"]}),
        lambda: pd.Series([1], name=("a", 1)),
        lambda: pd.DataFrame({"a": [1], 7: [2]}),
        lambda: type("Sub", (pd.DataFrame,), {})({"a": [1]}),
        lambda: pd.Series([{1, 2}]),
    ],
)
def test_tables_that_would_change_are_refused_without_showing_cells(make: Any) -> None:
    with pytest.raises(NotSerializableError) as caught:
        CODEC.encode({"t": make()})
    assert caught.value.path == "$.t"
    assert "secret cell" not in str(caught.value)


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    for value in (
        pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [[1], []], "d": [{"k": 1}, {"k": 2}]}),
        pl.DataFrame(),
        pl.DataFrame({"a": [datetime(2026, 1, 1, tzinfo=UTC)], "n": [float("nan")], "x": [Decimal("1.10")]}),
        pl.DataFrame({"a": pl.Series(["x"], dtype=pl.Categorical), "e": pl.Series(["u"], dtype=pl.Enum(["u", "v"]))}),
        pl.Series("name", [1, 2]),
    ):
        (blob,) = round_trip(value).blobs
        pa.ipc.open_stream(blob.data).read_all()
    with pytest.raises(NotSerializableError, match=r"LazyFrame.*collect\(\)"):
        CODEC.encode(pl.LazyFrame({"a": [1]}))
    with pytest.raises(NotSerializableError, match=r"polars\.DataFrame"):
        CODEC.encode(pl.DataFrame({"a": [object()]}))


def test_arrow() -> None:
    table = pa.table({"a": [1, None], "b": [float("nan"), 1.0]}).replace_schema_metadata({"k": "v"})
    round_trip(table)
    round_trip(pa.record_batch({"a": [1]}))
    round_trip(pa.table({"a": pa.chunked_array([[1], [2, 3]])}))
    round_trip(pa.table({}))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    with pytest.raises(NotSerializableError, match=r"read_all\(\)"):
        CODEC.encode(reader)
    with pytest.raises(NotSerializableError, match="Return a DataFrame"):
        CODEC.encode(pa.array([1]))


def test_duckdb_relations_are_refused_with_the_way_out() -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        relation = connection.sql("select 1 as a")
        with pytest.raises(NotSerializableError, match=r"\.df\(\) or .*\.arrow\(\)"):
            CODEC.encode({"rows": relation})
        assert json.loads(CODEC.encode_view(connection.sql("select error('it ran')")).text) == {
            "$repr": f"<{type(relation).__module__}.DuckDBPyRelation>"
        }


@pytest.mark.parametrize(
    "value",
    [
        np.bool_(True),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.float16(0.1),
        np.float32(0.1),
        np.float64(0.1),
        np.float64("nan"),
        np.float64("-inf"),
        np.float64(-0.0),
        np.complex128(1 + 2j),
        np.str_("hi ü"),
        np.bytes_(b"x\0y"),
        np.datetime64("2026-01-01"),
        np.datetime64("NaT", "s"),
        np.timedelta64(3, "s"),
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::2],
        np.array(5),
        np.array([]),
        np.array(["a", "bcd"]),
        np.array([1.0, float("nan")]),
        np.array([1, 2], dtype=">i4"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.zeros(10_000),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r:.20}",
)
def test_numpy(value: Any) -> None:
    encoded = round_trip(value)
    assert len(encoded.blobs) == (1 if value.nbytes > 20_000 else 0)
    assert type(CODEC.decode(encoded.text, contents(encoded))) is type(value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.array([object()]), r"tolist\(\)"),
        (np.array([1, None]), r"tolist\(\)"),
        (np.ma.masked_array([1, 2], [True, False]), "filled"),
        (np.rec.array([(1, 2)]), "asarray"),
        (np.random.default_rng(1), "no stored form"),
        (np.longdouble("0.1"), r"float\(value\)"),
        (np.zeros(2, dtype="g"), "long double"),
    ],
)
def test_numpy_refused(value: Any, says: str) -> None:
    with pytest.raises(NotSerializableError, match=says):
        CODEC.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2026-01-01 00:00:00.123456789"),
        pd.Timestamp("2026-01-01", tz="Europe/Berlin"),
        pd.Timestamp(datetime(2026, 10, 25, 2, 30), tz="Europe/Berlin", fold=1),
        pd.Timestamp("2026-01-01", tz=UTC),
        pd.Timestamp("2026-01-01", tz=ZoneInfo("UTC")),
        pd.Timestamp("2026-01-01", tz=timezone(timedelta(hours=-3, minutes=-30))),
        pd.Timestamp("2026-01-01").as_unit("s"),
        pd.Timestamp.min,
        pd.Timestamp.max,
        pd.Timedelta("-1 days 00:00:00.000000001"),
        pd.Timedelta("1s").as_unit("ms"),
        pd.NaT,
        pd.NA,
    ],
    ids=repr,
)
def test_scalars_of_pandas(value: Any) -> None:
    round_trip(value)
    round_trip([{"at": value}])


def test_differences_of_tables_are_found() -> None:
    one = pd.DataFrame({"a": [1, 2]})
    for other in (
        pd.DataFrame({"a": [1, 3]}),
        pd.DataFrame({"b": [1, 2]}),
        pd.DataFrame({"a": [1.0, 2.0]}),
        pd.DataFrame({"a": [1, 2]}, index=[1, 2]),
    ):
        with pytest.raises(Refused, match="not come back equal"):
            check_same(one, other)
    for first, second in (
        (pa.table({"a": [1]}), pa.table({"a": [2]})),
        (pa.table({"a": [1]}), pa.table({"a": [1]}).replace_schema_metadata({"k": "v"})),
        (np.arange(3), np.arange(4)),
        (np.zeros(1), np.zeros(1, dtype="f4")),
        (np.zeros(1), -np.zeros(1)),
        (pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01").as_unit("ns")),
        (pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-01", tz="Europe/London")),
    ):
        with pytest.raises(Refused):
            check_same(first, second)


def test_views_show_the_shape_of_a_table_and_no_cells() -> None:
    shown = CODEC.encode_view({"t": pd.DataFrame({"who": ["private"], "n": [1]}), "a": np.zeros((2, 3))}).text
    assert json.loads(shown) == {
        "t": {"$repr": "<pandas.DataFrame 1×2: who, n>"},
        "a": {"$repr": "<numpy.ndarray 2×3>"},
    }
    assert json.loads(CODEC.encode_view(pa.table({"who": ["private"]})).text) == {
        "$repr": "<pyarrow.lib.Table 1×1: who>"
    }
    assert json.loads(CODEC.encode_view(np.float64(1.5)).text) == {"$numpy": {"dtype": "float64", "value": 1.5}}


def test_without_pyarrow_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = CODEC.encode(pd.DataFrame({"a": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    for call in (
        lambda: CODEC.encode({"t": pd.DataFrame({"a": [1]})}),
        lambda: CODEC.decode(encoded.text, contents(encoded)),
    ):
        with pytest.raises(MissingExtraError, match=r"pyarrow.*dataflows-sdk\[frames\]"):
            call()
    assert CODEC.decode_lenient(encoded.text, contents(encoded)).type == "$frame"


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys\n"
        "from dataflows_sdk.core.codec import Codec\n"
        "c = Codec(); c.decode(c.encode({'a': (1, 2.5)}).text); c.encode_view({'a': object()})\n"
        "heavy = {'pandas', 'polars', 'pyarrow', 'numpy', 'duckdb', 'psycopg', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
