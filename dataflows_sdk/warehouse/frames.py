"""Many rows at once, on their way into a table of the warehouse: DataFrames, Arrow, DuckDB relations, files.

DuckDB reads them, checks them and writes what PostgreSQL's ``COPY`` takes; Python sees no single row. What is asked
for twice (a file, a stream that can be read once only) is taken in first, into a DuckDB of its own that moves to
disk what does not fit into memory.

What a missing value is depends on the source: NaN in pandas, where it has no other sign for it, and null in Arrow,
polars, Parquet and relations, where NaN is a number like any other and arrives as NaN.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from dataflows_sdk.errors import UnreadableSourceError
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames_source import UNFIT, Source, is_columnar, sql, take

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.frames_cast import Cast
    from dataflows_sdk.warehouse.frames_check import Checked

__all__ = ["Field", "Frame", "is_columnar"]

#: what a column of a DuckDB type becomes; "wide" is `int` when its values are, else `decimal`
_TYPES = {
    "TINYINT": "int",
    "SMALLINT": "int",
    "INTEGER": "int",
    "BIGINT": "int",
    "UTINYINT": "int",
    "USMALLINT": "int",
    "UINTEGER": "int",
    "UBIGINT": "wide",
    "HUGEINT": "wide",
    "UHUGEINT": "wide",
    "FLOAT": "float",
    "DOUBLE": "float",
    "BOOLEAN": "bool",
    "VARCHAR": "text",
    "DATE": "date",
    "TIME": "time",
    "TIME_NS": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMPTZ_NS": "timestamptz",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "BLOB": "bytes",
    "JSON": "document",
    '"NULL"': "null",
}
#: what a column of CSV may be, the strictest first, and how it is told: text that is written otherwise stays text
_CSV = (
    ("int", "cast(try_cast({x} as bigint) as varchar) = {x}"),
    ("float", "regexp_full_match({x}, '-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]{{1,3}})?') and isfinite({d})"),
    ("bool", "lower({x}) in ('true', 'false')"),
    ("date", "as_date({x}) is not null"),
    ("timestamp", "as_timestamp({x}) is not null"),
    ("timestamptz", "as_moment({x}) is not null"),
)
_SAMPLE = 2_000
_EXACT = 2**53


@dataclass(frozen=True)
class Field:
    """A column of a source, where it is staged.

    Attributes:
        name: its name in the source.
        sql: its name in the table ``staged``.
        kind: what DuckDB holds: a type of the warehouse, or ``wide`` (integers beyond 64 bits), ``nested``,
            ``document`` (JSON as text), ``null``, ``csv`` (text that may mean anything) or ``value`` (any JSON value).
        native: DuckDB's own name of the type.
        column: what a table of its own would have for it.
        unknown: whether there is nothing in it to tell a type from.
    """

    name: str
    sql: str
    kind: str
    native: str
    column: Column
    unknown: bool = False


class Frame:
    """Rows of a columnar source. Use it as a context manager: it holds memory, and a directory.

    Attributes:
        columns: what a table of its own would have for them, in their order.
        count: how many rows there are.
        unknown: names of columns with nothing in them; their type ``text`` is a guess.
    """

    def __init__(self, source: Any, timezone: str | None = None) -> None:
        directory = Path(tempfile.mkdtemp(prefix="dataflows-frame-"))  # nobody else may look in
        self._finalizer = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.timezone = timezone
        self._kept: dict[str, str] = {}
        self._checks = 0
        try:
            self._connection = duckdb.connect(
                ":memory:",
                config={
                    "python_enable_replacements": False,
                    "autoinstall_known_extensions": False,
                    "memory_limit": "25%",
                    "temp_directory": str(directory / "spill"),
                },
            )
            try:
                self.run("session")
                self._check_timezone()
                self.fields = self._stage(source)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._finalizer()
            raise
        self.columns: tuple[Column, ...] = tuple(field.column for field in self.fields)
        self.unknown = frozenset(field.name for field in self.fields if field.unknown)

    @classmethod
    def open(cls, source: Any, timezone: str | None = None) -> Self:
        """Take a source in.

        Args:
            source: a DataFrame of pandas or polars, an Arrow table, batch or reader, anything with
                ``__arrow_c_stream__``, a DuckDB relation, an answer of `ctx.sql`, or the path of ``.parquet``,
                ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.json``, also with ``*`` and compressed as ``.gz``.
            timezone: where timestamps are from that name no zone, for example ``"Europe/Berlin"``.

        Raises:
            UnreadableSourceError: it cannot be read, has no columns, or a column's name is none or stands twice.
        """
        return cls(source, timezone)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory and the directory back."""
        with contextlib.suppress(duckdb.Error):
            self._connection.close()
        self._finalizer()

    def checked(self, columns: Sequence[Column], key: Sequence[str] = (), bad: str = "refuse") -> Checked:
        """Hold the rows against what a table has.

        Args:
            columns: those of the table. The frame may have fewer, and more.
            key: names of the columns that tell rows apart.
            bad: what becomes of rows that do not fit: ``"refuse"`` all of them with an error, set them ``"aside"``,
                or ``"coerce"`` what can be read as the column's type and refuse what cannot.

        Raises:
            BadRowsError: rows do not fit, and *bad* is not ``"aside"``.
            UnreadableSourceError: a column of the key is not in the frame.
        """
        from dataflows_sdk.warehouse.frames_check import Checked

        return Checked(self, columns, key, bad)

    def rows(self, size: int = 2_000) -> Iterator[dict[str, Any]]:
        """Every row as a dict of Python values, read *size* at a time; for what has to see single rows.

        Raises:
            UnreadableSourceError: a value is none that a column could have, such as a set.
        """
        from dataflows_sdk.warehouse.frames_cast import python_value

        if not self.fields:
            return
        documents = [n for n, field in enumerate(self.fields) if field.kind in ("document", "value")]
        names = [field.name for field in self.fields]
        asked = ", ".join(python_value(field, self.timezone) for field in self.fields)
        for part in self.parts(sql("rows", values=asked), size):
            for row in part:
                values = list(row)
                for n in documents:
                    values[n] = self._loaded(names[n], values[n])
                yield dict(zip(names, values, strict=True))

    def next_check(self) -> int:
        """A number that no check of these rows has had."""
        self._checks += 1
        return self._checks

    def sql_of(self, name: str) -> str:
        """The column of `staged` that has a column of the source."""
        return next(field.sql for field in self.fields if field.name == name)

    def kept(self, casts: Sequence[Cast]) -> list[Cast]:
        """Do what is slow once: reading text is, and each value is looked at three times."""
        new = [made.value for made in casts if made.slow and made.value not in self._kept]
        if new and self.count:
            for value in new:
                self._kept[value] = f"k{len(self._kept)}"
            values = ", ".join(f"{value} as {self._kept[value]}" for value in new)
            self.run("keep", values=values)
        return [made.kept_in(self._kept[made.value]) if made.value in self._kept else made for made in casts]

    def _loaded(self, name: str, text: str | None) -> Any:
        if text is None:
            return None
        if text.startswith(UNFIT):
            raise UnreadableSourceError(f"column {name!r} has a value that fits nowhere: {text.removeprefix(UNFIT)}")
        return json.loads(text)

    # --- DuckDB ------------------------------------------------------------------------------------------

    def run(self, name: str, **parts: str) -> list[tuple[Any, ...]]:
        """Run a statement of frames.sql with *parts* put in."""
        return self.execute(sql(name, **parts))

    def execute(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query and give all its rows."""
        try:
            return self._connection.execute(query).fetchall()
        except duckdb.Error as error:
            raise UnreadableSourceError(f"DuckDB cannot read these rows: {_first_line(error)}") from error

    def parts(self, query: str, size: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, *size* at a time, while DuckDB makes the next ones."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(query)
            while part := cursor.fetchmany(size):
                yield part
        except duckdb.Error as error:
            raise UnreadableSourceError(f"DuckDB cannot read these rows: {_first_line(error)}") from error
        finally:
            cursor.close()

    # --- taking in ---------------------------------------------------------------------------------------

    def _check_timezone(self) -> None:
        if self.timezone is None:
            return
        import zoneinfo

        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
            message = f"timezone={self.timezone!r} is no time zone; one is 'Europe/Berlin' or 'UTC'"
            raise UnreadableSourceError(message) from error

    def _stage(self, source: Any) -> tuple[Field, ...]:
        with contextlib.closing(take(source, self._connection)) as taken:
            found = self._read(taken)
            return tuple(self._fields(taken, found))

    def _read(self, taken: Source) -> list[tuple[str, str]]:
        """Stage it, and tell the names and the types of its columns."""
        try:
            described = [(name, str(native)) for name, native, *_ in self._describe(taken.sql)]
            if described == [("json", "JSON")] and taken.kind == "value" and self._is_empty(taken.sql):
                described = []  # DuckDB's word for: there is nothing
            columns = []
            for n, (name, native) in enumerate(described):
                lost = taken.natives.get(name)  # what Arrow has no type for
                described[n] = (name, lost or native)
                value = quote(name)
                if (lost or native) == "JSON":
                    value = f"nullif(cast({value} as varchar), 'null')"
                elif lost:
                    value = f"cast({value} as {lost})"
                columns.append(f"{value} as c{n}")
            taken_in = sql("stage", columns=", ".join(columns) or "null", source=taken.sql)
            self._connection.execute(taken_in)
        except duckdb.Error as error:
            if taken.again is None:
                raise UnreadableSourceError(f"{taken.what} cannot be read: {_first_line(error)}") from error
            taken.again(error)
            return self._read(taken)
        return described

    def _describe(self, source: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql("describe", source=source)).fetchall()

    def _is_empty(self, source: str) -> bool:
        return self._connection.execute(sql("any", source=source)).fetchone() is None

    def _fields(self, taken: Source, found: list[tuple[str, str]]) -> list[Field]:
        names = taken.names or [name for name, _ in found]
        check_names(names, taken.what)
        natives = [native for _, native in found]
        kinds = [
            taken.kinds.get(name) or (taken.kind if taken.kind != "typed" else _kind(native))
            for name, native in zip(names, natives, strict=True)
        ]
        asked = ["count(*)"]
        for n, kind in enumerate(kinds):
            asked += [f"count(c{n})", _question(f"c{n}", kind, names[n] in taken.nan_is_null)]
        answers = self.run("rows", values=", ".join(asked))[0]
        self.count: int = answers[0]
        csv = self._csv_types([n for n, kind in enumerate(kinds) if kind == "csv"])
        fields = []
        for n, (name, native, kind) in enumerate(zip(names, natives, kinds, strict=True)):
            filled, answer = answers[2 * n + 1], answers[2 * n + 2]
            found_type = csv[n] if kind == "csv" else _type(kind, answer, filled < self.count)
            guessed = kind in ("null", "csv", "value") or (kind == "float" and name in taken.nan_is_null)
            unknown = not filled and guessed
            if unknown:
                found_type = "text"
            if found_type == "timestamp" and self.timezone is not None:
                found_type = "timestamptz"
            column = Column(name, found_type, nullable=filled < self.count or unknown)
            fields.append(Field(name, f"c{n}", kind, native, column, unknown))
        return fields

    def _csv_types(self, columns: list[int]) -> dict[int, str]:
        """What texts of CSV are: guessed from the first rows, and held against all of them."""
        if not columns:
            return {}
        asked = [_all(f"c{n}", how) for n in columns for _, how in _CSV]
        first = self.run("first_rows", values=", ".join(asked), count=str(_SAMPLE))[0]
        guesses = {n: [_CSV[m] for m in range(len(_CSV)) if first[at * len(_CSV) + m]] for at, n in enumerate(columns)}
        types = dict.fromkeys(columns, "text")
        while guesses := {n: left for n, left in guesses.items() if left}:
            asked = [_all(f"c{n}", left[0][1]) for n, left in guesses.items()]
            answers = self.run("rows", values=", ".join(asked))[0]
            for (n, left), fits in zip(list(guesses.items()), answers, strict=True):
                if fits:
                    types[n] = left[0][0]
                    guesses[n] = []
                else:
                    guesses[n] = left[1:]
        return types


def quote(name: str) -> str:
    """A name as DuckDB's SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def check_names(names: Sequence[str], what: str) -> None:
    """Names of columns have to differ, and to be names.

    Raises:
        UnreadableSourceError: they do not.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name or "\0" in name:
            raise UnreadableSourceError(f"{what} has a column that is called {name!r}, which is no name; rename it")
        if (other := seen.get(name.lower())) is not None:
            how = "two columns that are called" if other == name else f"the columns {other!r} and"
            rest = "" if other == name else ", which differ only in case"
            raise UnreadableSourceError(f"{what} has {how} {name!r}{rest}; rename one of them")
        seen[name.lower()] = name


def _kind(native: str) -> str:
    if native in _TYPES:
        return _TYPES[native]
    if native.startswith("DECIMAL"):
        return "decimal"
    if native.startswith("ENUM("):
        return "text"
    if native.endswith("]") or native.startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
        return "nested"
    return "other"


def _question(x: str, kind: str, nan_is_null: bool) -> str:
    """What has to be known of all values to tell the type."""
    if kind == "wide":
        return f"count_if({x} is not null and try_cast({x} as bigint) is null)"
    if kind == "float" and nan_is_null:
        return f"count_if({x} <> floor({x}) or abs({x}) > {_EXACT})"
    if kind == "value":
        return (
            f"list(distinct case when json_kind({x}) is null then 'VARCHAR' "
            f"when as_int(json_number({x})) is not null then 'INT' "
            f"when regexp_full_match(json_number({x}), '-?[0-9]+') then 'WIDE' else json_kind({x}) end) "
            f"filter (where {x} is not null)"
        )
    return "null"


def _type(kind: str, answer: Any, missing: bool) -> str:
    """The warehouse's type for a kind."""
    if kind == "wide":
        return "decimal" if answer else "int"
    if kind == "float":
        # Integers of pandas become floats as soon as one of them is missing.
        return "int" if answer == 0 and missing else "float"
    if kind == "value":
        return _value_type(set(answer or ()))
    return {"nested": "json", "document": "json", "null": "text", "other": "text"}.get(kind, kind)


def _value_type(found: set[str]) -> str:
    found.discard("NULL")
    if found <= {"INT"}:
        return "int"
    if found <= {"INT", "WIDE"}:
        return "decimal"
    if found <= {"INT", "WIDE", "DOUBLE"}:
        return "float"
    if found == {"BOOLEAN"}:
        return "bool"
    return "text" if found == {"VARCHAR"} else "json"


def _all(x: str, how: str) -> str:
    fits = how.format(x=x, d=f"try_cast({x} as double)")  # null where it cannot even be tried
    return f"coalesce(bool_and(coalesce({fits}, false)) filter (where {x} is not null), false)"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
