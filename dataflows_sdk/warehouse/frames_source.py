"""What can be read as columns, and how DuckDB gets to read it.

pandas, polars and pyarrow are not imported: whoever has a DataFrame has imported them already.
"""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import glob
import gzip
import json
import math
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from dataflows_sdk.errors import UnreadableSourceError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.answer import Answer

#: what a file is, by how its name ends
_ENDINGS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
_DELIMITERS = ",;\t|"
#: before the text of a reason, where a value of pandas has no place in any column
UNFIT = "\x01"
#: Python types that DuckDB takes from a column of objects without losing anything, if all values are of one of them
_PLAIN = (str, bytes, bool, int, decimal.Decimal, dt.date, dt.time, dt.timedelta, uuid.UUID)


@dataclass
class Source:
    """A source that DuckDB can select from.

    Attributes:
        what: it in words, for errors.
        sql: what stands after ``from``.
        connection: where it is registered.
        kind: ``typed``, or what all its columns are: ``csv`` or ``value``.
        kinds: what single columns are, where their type does not say it.
        names: of the columns, where DuckDB knows them by others.
        natives: types that got lost on the way, by DuckDB's name of the column.
        nan_is_null: columns where NaN was the sign for nothing.
        again: called when DuckDB could not read it, to make it readable; None when that is of no use.
    """

    what: str
    sql: str
    connection: duckdb.DuckDBPyConnection
    kind: str = "typed"
    kinds: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    natives: dict[str, str] = field(default_factory=dict)
    nan_is_null: frozenset[str] = frozenset()
    again: Callable[[BaseException], None] | None = None

    def close(self) -> None:
        """Let go of the caller's object."""
        if self.sql == "source":
            self.connection.unregister("source")


class _Stream:
    """Only the Arrow stream of an object: for everything else that it is, DuckDB would ask for pyarrow."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        stream: object = self._source.__arrow_c_stream__(requested_schema)
        return stream


def is_columnar(source: object) -> bool:
    """Whether `Frame.open` takes it: a DataFrame, Arrow, a relation, an answer, or a path with a known ending."""
    if isinstance(source, str | Path):
        return _format(source) is not None
    if isinstance(source, type):
        return False
    return _is_pandas(source) or isinstance(source, Answer) or hasattr(source, "__arrow_c_stream__")


def take(source: Any, connection: duckdb.DuckDBPyConnection) -> Source:
    """Make a source readable for *connection*.

    Raises:
        UnreadableSourceError: it is nothing of that kind, or cannot be read.
    """
    if isinstance(source, str | Path):
        return _file(source, connection)
    if _is_pandas(source):
        return _pandas(source, connection)
    if isinstance(source, Answer):
        source = source.relation
    if not hasattr(source, "__arrow_c_stream__"):
        raise UnreadableSourceError(
            f"a {type(source).__name__} is no source of columns; there are DataFrames, Arrow tables, DuckDB relations "
            f"and the paths of files that end in {', '.join(_ENDINGS)}"
        )
    what = f"this {type(source).__name__}"
    natives: dict[str, str] = {}
    kinds: dict[str, str] = {}
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(source, polars.DataFrame):
        # Its columns of nothing have an Arrow form that DuckDB refuses.
        kinds = {name: "null" for name, dtype in source.schema.items() if dtype == polars.Null}
        source = source.with_columns(polars.col(list(kinds)).cast(polars.String))
    names = _arrow_names(source)
    if isinstance(source, duckdb.DuckDBPyRelation) and len(set(names)) == len(names):
        source, natives, kinds = _whole(source)
    try:
        connection.register("source", _Stream(source))
    except Exception as error:
        raise UnreadableSourceError(f"{what} cannot be read: {error}") from error
    return Source(what, "source", connection, kinds=kinds, names=names, natives=natives)


def _arrow_names(source: Any) -> list[str]:
    """Names as the source has them: DuckDB gives other ones to those that stand twice."""
    if isinstance(source, duckdb.DuckDBPyRelation):
        return list(source.columns)
    names = getattr(getattr(source, "schema", None), "names", None)  # of pyarrow; polars has a method of that name
    return list(names) if isinstance(names, list) else []


#: types of DuckDB that Arrow has none for: they go as text, where the type they come as loses something
_NOT_IN_ARROW = {"HUGEINT", "UHUGEINT", "BIGNUM", "TIME WITH TIME ZONE", "BIT"}


def _whole(relation: Any) -> tuple[Any, dict[str, str], dict[str, str]]:
    """A relation that loses nothing as Arrow, the types it has in truth, and what its columns are."""
    types = {name: str(native) for name, native in zip(relation.columns, relation.types, strict=True)}
    natives = {name: native for name, native in types.items() if native in _NOT_IN_ARROW | {"UUID", "JSON"}}
    kinds = {name: "value" for name in natives if natives[name] == "BIGNUM"}  # reading one can break DuckDB
    if _NOT_IN_ARROW & set(natives.values()):
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in types}
        relation = relation.project(
            ", ".join(
                f"cast({quoted[name]} as varchar) as {quoted[name]}" if native in _NOT_IN_ARROW else quoted[name]
                for name, native in types.items()
            )
        )
    return relation, {name: native for name, native in natives.items() if name not in kinds}, kinds


# --- files -----------------------------------------------------------------------------------------------------


def _format(path: str | Path) -> str | None:
    name = str(path).lower()
    if "://" in name or "\n" in name:
        return None
    for compressed in (".gz", ".zst"):
        if name.endswith(compressed) and not name.removesuffix(compressed).endswith((".parquet", ".pq")):
            name = name.removesuffix(compressed)
    return next((found for ending, found in _ENDINGS.items() if name.endswith(ending)), None)


def _file(source: str | Path, connection: duckdb.DuckDBPyConnection) -> Source:
    kind = _format(source)
    what = f"the file {str(source)!r}"
    if kind is None:
        raise UnreadableSourceError(f"{what} does not end in {', '.join(_ENDINGS)}, so what it holds is not known")
    # The name of a file may itself have a star or a bracket in it; a file that is there is that file.
    paths = [str(source)] if Path(source).is_file() else sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207
    if not paths:
        raise UnreadableSourceError(f"there is no file {str(source)!r} (looked in {Path.cwd()})")
    files = "[" + ", ".join(_literal(_plain_path(path)) for path in paths) + "]"
    if kind == "parquet":
        return Source(what, sql("parquet", files=files), connection)
    if kind == "json":
        return Source(what, sql("json_lines", files=files), connection, kind="value")
    delimiter, names = _header(paths, what)
    columns = "{" + ", ".join(f"'c{n}': 'VARCHAR'" for n in range(len(names))) + "}"
    text = sql("csv", files=files, delimiter=_literal(delimiter), columns=columns)
    return Source(what, text, connection, kind="csv", names=names)


def _plain_path(path: str) -> str:
    """A path in which DuckDB sees no pattern."""
    if not any(letter in path for letter in "*?["):
        return path
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _header(paths: list[str], what: str) -> tuple[str, list[str]]:
    """The delimiter and the names of CSV files, which have to be the same in all of them."""
    found: tuple[str, list[str]] | None = None
    for path in paths:
        header = _first_row(path, what)
        if found is not None and header != found:
            raise UnreadableSourceError(f"{path!r} has other columns than {paths[0]!r}: {header[1]}, not {found[1]}")
        found = header
    assert found is not None
    return found


def _first_row(path: str, what: str) -> tuple[str, list[str]]:
    if path.lower().endswith(".zst"):
        raise UnreadableSourceError(f"{what}: CSV that is compressed with zstd is not read; unpack it, or use gzip")
    opened: Any = gzip.open if path.lower().endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
            line = lines.readline(1 << 20)
            if not line.strip():
                raise UnreadableSourceError(f"{what} has no header: its first line has to name the columns")
            tab = ".tsv" in path.lower()
            delimiter = "\t" if tab else max(_DELIMITERS, key=lambda letter: _outside_quotes(line, letter))
            lines.seek(0)
            return delimiter, next(csv.reader(lines, delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise UnreadableSourceError(f"{what} cannot be read: {error}") from error


def _outside_quotes(line: str, letter: str) -> int:
    return sum(part.count(letter) for part in line.split('"')[::2])


# --- pandas ----------------------------------------------------------------------------------------------------


def _is_pandas(source: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def _pandas(frame: Any, connection: duckdb.DuckDBPyConnection) -> Source:
    pandas = sys.modules["pandas"]
    if all(name is not None for name in frame.index.names):
        try:
            frame = frame.reset_index()  # an index that has a name is a column
        except ValueError as error:
            raise UnreadableSourceError(f"this DataFrame's index is called as a column is: {error}") from error
    names = [_name(name) for name in frame.columns]
    if not names or len({name.lower() for name in names}) != len(names):
        return Source(
            "this DataFrame", "(select null limit 0)", connection, names=names
        )  # nothing, or refused by its names
    columns = {f"c{n}": frame.iloc[:, n] for n in range(len(names))}
    kinds: dict[str, str] = {}
    nan_is_null = set()
    for name, (short, series) in zip(names, list(columns.items()), strict=True):
        columns[short] = _series(name, series, kinds)
        if str(series.dtype) in ("float64", "float32", "float16"):
            nan_is_null.add(name)

    def register() -> None:
        connection.register("source", pandas.DataFrame(columns, index=frame.index, copy=False))

    def as_values(error: BaseException) -> None:
        """Take single values where DuckDB stumbles over one, such as a text that is no Unicode."""
        nonlocal register
        source.again = None
        texts = [n for n, name in enumerate(names) if name not in kinds and str(columns[f"c{n}"].dtype) in _TEXTS]
        if not texts:
            raise UnreadableSourceError(f"this DataFrame cannot be read: {error}") from error
        for n in texts:
            columns[f"c{n}"] = _values(frame.iloc[:, n])
            kinds[names[n]] = "value"
        register()

    register()
    source = Source(
        "this DataFrame",
        "source",
        connection,
        kinds=kinds,
        names=names,
        nan_is_null=frozenset(nan_is_null),
        again=as_values,
    )
    return source


_TEXTS = {"object", "str", "string"}


def _name(name: Any) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise UnreadableSourceError(
        f"a column of this DataFrame is called {name!r}, which is a {type(name).__name__} and no text; rename it"
    )


def _series(name: str, series: Any, kinds: dict[str, str]) -> Any:
    """A column in a form in which DuckDB loses nothing of it."""
    dtype = str(series.dtype)
    if dtype.startswith("Sparse"):
        return series.sparse.to_dense()
    if dtype.startswith(("period", "interval", "complex")):
        raise UnreadableSourceError(f"column {name!r} of this DataFrame is of {dtype}, for which there is no SQL type")
    if dtype != "object":
        return series
    try:
        there = series[series.notna()]
    except decimal.InvalidOperation as error:
        raise UnreadableSourceError(f"column {name!r} of this DataFrame has a signalling NaN") from error
    types = set(map(type, there))
    if not types:
        return series.where(series.notna(), None)
    if types in ({decimal.Decimal}, {dt.datetime}) or types == {sys.modules["pandas"].Timestamp}:
        zones = {value.tzinfo is None for value in there} if decimal.Decimal not in types else {True}
        finite = decimal.Decimal not in types or all(value.is_finite() for value in there)
        if len(zones) == 1 and finite:
            return series.where(series.notna(), None)
    elif len(types) == 1 and next(iter(types)) in _PLAIN:
        if types == {int} and not -(2**127) < min(there) <= max(there) < 2**127:
            kinds[name] = "value"
            return _values(series)
        return series.where(series.notna(), None)  # a missing value may be a Decimal that is none, or a NaT
    kinds[name] = "value"
    return _values(series)


def _values(series: Any) -> Any:
    """A column of objects as JSON. Nothing but Python can tell what they are."""
    pandas = sys.modules["pandas"]
    missing = series.isna()
    texts = [None if gone else _json(value) for value, gone in zip(series, missing, strict=True)]
    return pandas.Series(texts, index=series.index, dtype=object)


def _json(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        return str(value) if value.is_finite() else f"{UNFIT}{value} is no number"
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        return f"{UNFIT}{error}"


def _plain(value: Any) -> Any:
    """What JSON has for values that it does not know."""
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return _exact(value)
    for method in ("tolist", "item"):  # of numpy
        if callable(found := getattr(value, method, None)):
            return found()
    raise TypeError(f"a {type(value).__name__} is no value of a column")


def _exact(value: decimal.Decimal) -> Any:
    number = float(value)
    return number if math.isfinite(number) and decimal.Decimal(repr(number)) == value else str(value)


def sql(name: str, **parts: str) -> str:
    """A statement of frames.sql with *parts* put in."""
    text = statement("frames", name, "dataflows_sdk.warehouse")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return re.sub(r"\$([a-z]+)", lambda found: parts.get(found[1], found[0]), text)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
