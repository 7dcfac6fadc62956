"""pandas, polars, Arrow and numpy values: tables as Arrow IPC streams beside the JSON, the small ones in it.

None of these libraries is imported before a value of theirs turns up.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from datetime import UTC, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from dataflows_sdk.core.codec_refused import Refused
from dataflows_sdk.core.codec_scalars import BlobSource, from_base64, to_base64
from dataflows_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    from dataflows_sdk.core.codec_write import Writer

__all__ = ["ARROW_STREAM", "DECODERS", "PACKAGES", "difference", "write"]

#: packages whose values are handled here
PACKAGES = frozenset({"pandas", "polars", "pyarrow", "numpy", "duckdb", "_duckdb"})
ARROW_STREAM = "application/vnd.apache.arrow.stream"
NPY = "application/vnd.numpy.npy"

_HINTS = {
    "DuckDBPyRelation": "Return relation.df() or relation.arrow(); it lives as long as its connection",
    "LazyFrame": "Return frame.collect()",
    "RecordBatchReader": "Return reader.read_all()",
    "GroupBy": "Return the aggregated frame",
}


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = "install polars" if name == "polars" else "pip install 'dataflows-sdk[frames]'"
        raise MissingExtraError(
            f"DataFrames and arrays as values need {name}: {extra} (dataflows-sdk[frames])"
        ) from None


def write(value: Any, writer: Writer) -> Any:
    """The tag of a value of one of `PACKAGES`.

    Raises:
        Refused: it would not come back equal.
        MissingExtraError: pyarrow is not installed.
    """
    package, name = type(value).__module__.partition(".")[0], type(value).__name__
    kind = f"{package}.{name}"
    if kind in _TO_ARROW:
        return _write_frame(kind, value, writer)
    if package == "numpy":
        return _write_numpy(value, writer)
    if package == "pandas":
        scalar = _write_pandas_scalar(value)
        if scalar is not None:
            return scalar
    raise Refused(f"is a {kind}, which has no stored form. {_HINTS.get(name, 'Return a DataFrame, or plain values')}")


# --- tables
# -----------------------------------------------------------------------------------------------------


def _write_frame(kind: str, value: Any, writer: Writer) -> Any:
    try:
        # a warning about a frame's layout is no reason to fail, nor to be shown at a return statement
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _TO_ARROW[kind](value)
    except (MissingExtraError, Refused):
        raise
    except Exception as error:
        # the first part of Arrow's message quotes a cell, which is nobody's business; the last one names
        # the column
        reason = str(error.args[-1] if len(error.args) > 1 else type(error).__name__)[:200]
        raise Refused(f"is a {kind} that Arrow cannot hold ({reason})") from error
    shape = value.shape if hasattr(value, "shape") else (value.num_rows, value.num_columns)
    names = getattr(value, "columns", None) if kind.endswith("DataFrame") else getattr(value, "column_names", None)
    meta = {
        "kind": _KINDS[kind],
        "rows": int(shape[0]),
        "columns": [_label(name) for name in list(names)[:200]]
        if names is not None
        else [_label(getattr(value, "name", None))],
    }
    return {"$frame": {**writer.leaf(data, ARROW_STREAM, meta), **meta}}


def _label(name: object) -> str:
    """A column's name as text that JSON in PostgreSQL can hold."""
    return str(name).encode("utf-8", "replace").decode().replace("\0", "")[:200]


def _arrow_bytes(table: Any) -> bytes:
    arrow = _require("pyarrow")
    ipc = _require("pyarrow.ipc")
    codec = "zstd" if arrow.Codec.is_available("zstd") else None
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression=codec)) as stream:
        stream.write(table)
    return sink.getvalue()


def _arrow_table(data: bytes) -> Any:
    return _require("pyarrow.ipc").open_stream(data).read_all()


def _from_pandas(frame: Any) -> bytes:
    return _arrow_bytes(_require("pyarrow").Table.from_pandas(frame))


def _from_series(series: Any) -> bytes:
    # one column of a fixed name: a series may have none, or one that is not a text; its name goes into
    # the metadata
    frame = series.to_frame("value")
    table = _require("pyarrow").Table.from_pandas(frame)
    name = series.name
    if name is not None and type(name) is not str:
        raise Refused(f"is a pandas.Series whose name is a {type(name).__name__}. Rename it to a text or to None")
    if name is not None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"series": name.encode()})
    return _arrow_bytes(table)


def _to_series(data: bytes) -> Any:
    table = _arrow_table(data)
    name = (table.schema.metadata or {}).get(b"series")
    return table.to_pandas()["value"].rename(name.decode() if name is not None else None)


def _from_polars(frame: Any) -> bytes:
    sink = io.BytesIO()
    # the oldest level, so that every Arrow reader understands it: DuckDB and pyarrow read these blobs too
    frame.write_ipc_stream(sink, compression="zstd", compat_level=_require("polars").CompatLevel.oldest())
    return sink.getvalue()


def _to_polars(data: bytes) -> Any:
    return _require("polars").read_ipc_stream(io.BytesIO(data))


def _to_batch(data: bytes) -> Any:
    return _require("pyarrow.ipc").open_stream(data).read_next_batch()


_TO_ARROW = {
    "pandas.DataFrame": _from_pandas,
    "pandas.Series": _from_series,
    "polars.DataFrame": _from_polars,
    "polars.Series": lambda series: _from_polars(series.to_frame()),
    "pyarrow.Table": _arrow_bytes,
    "pyarrow.RecordBatch": _arrow_bytes,
}
_KINDS = {
    "pandas.DataFrame": "pandas",
    "pandas.Series": "pandas.Series",
    "polars.DataFrame": "polars",
    "polars.Series": "polars.Series",
    "pyarrow.Table": "arrow",
    "pyarrow.RecordBatch": "arrow.RecordBatch",
}
_FROM_ARROW = {
    "pandas": lambda data: _require("pandas") and _arrow_table(data).to_pandas(),
    "pandas.Series": _to_series,
    "polars": _to_polars,
    "polars.Series": lambda data: _to_polars(data).to_series(0),
    "arrow": _arrow_table,
    "arrow.RecordBatch": _to_batch,
}


def _read_frame(payload: dict[str, Any], source: BlobSource) -> Any:
    return _FROM_ARROW[payload["kind"]](source.blob(payload))


# --- numpy
# ------------------------------------------------------------------------------------------------------

_PLAIN_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")


def _write_numpy(value: Any, writer: Writer) -> Any:
    numpy = _require("numpy")
    kind = type(value)
    if isinstance(value, numpy.generic):
        name = value.dtype.name
        # half a dozen of types whose Python twin is exact; everything else as an array without dimensions
        if _PLAIN_DTYPE.fullmatch(name):
            return {"$numpy": {"dtype": name, "value": writer.tree(value.item())}}
        return {"$numpy": {"dtype": name, "npy": to_base64(_npy(numpy.asarray(value)))}}
    if kind is not numpy.ndarray:
        if isinstance(value, numpy.ndarray):
            raise Refused(
                f"is a numpy {kind.__name__}, which would come back as a plain array. "
                "Return numpy.asarray(value), or value.filled(…) and the mask"
            )
        raise Refused(f"is a numpy.{kind.__name__}, which has no stored form. Return an array, or plain values")
    data = _npy(value)
    meta = {"dtype": str(value.dtype)[:200], "shape": [int(size) for size in value.shape]}
    if len(data) > writer.leaf_limit:
        return {"$ndarray": {**writer.leaf(data, NPY, meta), **meta}}
    return {"$ndarray": {**meta, "npy": to_base64(data)}}


def _npy(array: Any) -> bytes:
    if array.dtype.hasobject:
        raise Refused("holds Python objects in a numpy array. Return value.tolist()")
    if array.dtype.char in "gG":
        raise Refused("is a long double of numpy, which other machines do not have. Return float(value)")
    sink = io.BytesIO()
    _require("numpy").save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _load_npy(data: bytes) -> Any:
    return _require("numpy").load(io.BytesIO(data), allow_pickle=False)


def _read_numpy(payload: dict[str, Any], _: BlobSource) -> Any:
    if "npy" in payload:
        return _load_npy(from_base64(payload["npy"]))[()]
    name = payload["dtype"]
    if not _PLAIN_DTYPE.fullmatch(name):
        raise ValueError(f"no plain numpy type: {name!r:.100}")
    value = payload["value"]
    if isinstance(value, dict):
        value = float(value["$float"])
    return _require("numpy").dtype(name).type(value)


def _read_ndarray(payload: dict[str, Any], source: BlobSource) -> Any:
    return _load_npy(from_base64(payload["npy"]) if "npy" in payload else source.blob(payload))


# --- scalars of pandas
# ------------------------------------------------------------------------------------------


def _write_pandas_scalar(value: Any) -> Any:
    pandas = _require("pandas")
    if value is pandas.NaT or value is pandas.NA:
        return {"$pandas": {"type": "NaT" if value is pandas.NaT else "NA"}}
    if type(value) is pandas.Timedelta:
        return {"$pandas": {"type": "Timedelta", "unit": value.unit, "value": int(value.asm8.astype("int64"))}}
    if type(value) is pandas.Timestamp:
        return {
            "$pandas": {
                "type": "Timestamp",
                "text": value.isoformat(),
                "unit": value.unit,
                # since 1970 in UTC, in units; the text is for people
                "value": int(value.asm8.astype("int64")),
                "zone": _zone_name(value.tzinfo),
            }
        }
    return None


def _zone_name(zone: Any) -> str | None:
    if zone is None:
        return None
    if zone is UTC:
        return "+0"
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        return f"{zone.utcoffset(None).total_seconds():+.0f}"
    raise Refused("has a time zone that would not come back equal. Convert it: value.tz_convert('Europe/Berlin')")


def _read_pandas(payload: dict[str, Any], _: BlobSource) -> Any:
    pandas = _require("pandas")
    kind = payload["type"]
    if kind in ("NaT", "NA"):
        return getattr(pandas, kind)
    if kind not in ("Timestamp", "Timedelta") or payload["unit"] not in ("s", "ms", "us", "ns"):
        raise ValueError(f"no value of pandas: {kind!r:.100}")
    numpy = _require("numpy")
    if kind == "Timedelta":
        return pandas.Timedelta(numpy.timedelta64(payload["value"], payload["unit"]))
    moment = pandas.Timestamp(numpy.datetime64(payload["value"], payload["unit"]))
    zone = payload["zone"]
    if zone is None:
        return moment
    return moment.tz_localize("UTC").tz_convert(_zone(zone))


def _zone(name: str) -> Any:
    from datetime import timedelta

    if name[0] in "+-":
        return timezone(timedelta(seconds=int(name)))
    return ZoneInfo(name)


DECODERS = {
    "$frame": _read_frame,
    "$numpy": _read_numpy,
    "$ndarray": _read_ndarray,
    "$pandas": _read_pandas,
}


def difference(first: Any, second: Any) -> str | None:
    """How the second of two values of the same type, and of one of `PACKAGES`, differs from the first."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _difference(first, second)
    except Exception as error:  # noqa: BLE001 - assert_frame_equal, and cells whose == has no single answer
        # the first line names the column, or says that it is the index; the values come after it
        reason = str(error).partition("\n")[0][:200] if isinstance(error, AssertionError) else ""
        return "would not come back equal" + (f" ({reason})" if reason else "")


def _difference(first: Any, second: Any) -> str | None:
    package, name = type(first).__module__.partition(".")[0], type(first).__name__
    if package == "pandas" and name in ("DataFrame", "Series"):
        testing = _require("pandas.testing")
        compare = testing.assert_frame_equal if name == "DataFrame" else testing.assert_series_equal
        compare(first, second, check_exact=True, check_freq=False)
        return None
    if package == "pandas":
        if first is second:
            return None
        same = first == second and first.unit == second.unit
        same = same and _zone_name(getattr(first, "tzinfo", None)) == _zone_name(getattr(second, "tzinfo", None))
    elif package == "polars":
        same = first.equals(second, null_equal=True) and _polars_types(first) == _polars_types(second)
    elif package == "pyarrow":
        # NaN is not equal to itself in Arrow: compare what is written instead
        same = first.schema.equals(second.schema, check_metadata=True) and (
            first.equals(second) or _arrow_bytes(first) == _arrow_bytes(second)
        )
    else:
        same = first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    return None if same else "would not come back equal"


def _polars_types(value: Any) -> Any:
    return value.schema if hasattr(value, "schema") else (value.name, value.dtype)
