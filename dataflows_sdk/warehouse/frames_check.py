"""Rows of a frame held against the columns of a table: which of them fit, and those as PostgreSQL takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import BadRow, BadRowsError, UnreadableSourceError
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames_cast import Cast, cast, shown, written
from dataflows_sdk.warehouse.frames_source import UNFIT, sql
from dataflows_sdk.warehouse.rows import refusal

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.frames import Field, Frame

#: rows an error tells of, and letters of a value in it
_TOLD, _LETTERS = 20, 80
_CHUNK = 1 << 20
#: rows that come from DuckDB at a time, as lines of CSV
_LINES = 8_192


class Checked:
    """Rows that fit a table. They are read from the frame, which has to stay open.

    Attributes:
        columns: those columns of the table that the frame has, in the table's order.
        new: columns of the frame that the table has not.
        missing: names of columns of the table that the frame has not.
        count: how many rows fit.
        set_aside: how many do not.
        repeated: how many were left out because an earlier row with the same key says the same in every column.
    """

    def __init__(self, frame: Frame, columns: Sequence[Column], key: Sequence[str], bad: str) -> None:
        if bad not in ("refuse", "aside", "coerce"):
            raise ValueError(f"bad={bad!r} is none of 'refuse', 'aside' and 'coerce'")
        self._frame = frame
        fields = {field.name: field for field in frame.fields}
        declared = {column.name for column in columns}
        self.columns = tuple(column for column in columns if column.name in fields)
        self.new = tuple(column for column in frame.columns if column.name not in declared)
        self.missing = tuple(column.name for column in columns if column.name not in fields)
        absent = [name for name in key if name not in {column.name for column in self.columns}]
        if absent and frame.count:
            raise UnreadableSourceError(
                f"these rows have no column {absent[0]!r}, which is in the key; they have {', '.join(fields)}"
            )
        self._fields = [fields[column.name] for column in self.columns]
        casts = [
            cast(field, column.type, bad == "coerce", frame.timezone)
            for field, column in zip(self._fields, self.columns, strict=True)
        ]
        self._casts = frame.kept(casts)
        self._key = [] if absent else list(key)
        self._issues: list[tuple[int | None, str]] = []
        number = frame.next_check()
        self._out = {"bad": f"bad{number}", "repeated": f"repeated{number}"}  # its own: a frame may be checked again
        self.repeated = self.set_aside = 0
        self._any_out = self._find()
        if self.set_aside and bad != "aside":
            raise self._refused()
        self.count = frame.count - self.set_aside - self.repeated

    # --- what does not fit -------------------------------------------------------------------------------

    def _find(self) -> bool:
        """Look at every value once; only when one of them does not fit, look where. Whether rows are left out."""
        checks = self._checks()
        found: Sequence[int] = ()
        if checks and self._frame.count:
            asked = ", ".join(f"count_if({condition})" for _, condition, _ in checks)
            found = self._frame.run("rows", values=asked)[0]
        same = self._has_same_keys()
        if not any(found) and not same:
            return False
        for name in ("bad", "repeated"):
            self._frame.run(name, **self._out)
        for (column, condition, reason), count in zip(checks, found, strict=bool(found)):
            if count:
                self._frame.run("note_bad", **self._out, issue=str(len(self._issues)), condition=condition)
                self._issues.append((column, reason))
        if same:
            self._find_same_keys()
        self.set_aside = self._frame.run("bad_count", **self._out)[0][0]
        self.repeated = self._frame.run("repeated_count", **self._out)[0][0]
        return True

    def _checks(self) -> list[tuple[int, str, str]]:
        """The column, the SQL that is true for what does not fit, the reason."""
        checks = []
        for n, (column, field, made) in enumerate(zip(self.columns, self._fields, self._casts, strict=True)):
            checks += [(n, condition, reason) for condition, reason in made.checks]
            if field.column.nullable and (column.name in self._key or not column.nullable):
                what = "the key is empty" if column.name in self._key else "it is empty, and the column takes no nulls"
                checks.append((n, f"{field.sql} is null", what))
        return checks

    def _keys(self) -> list[str]:
        """The parts of the key, so that DuckDB finds those equal that PostgreSQL finds equal."""
        keys = []
        for column, made in zip(self.columns, self._casts, strict=True):
            if column.name in self._key:
                value = made.value
                if column.type == "decimal" and self._field(column.name).kind in ("csv", "text", "value", "float"):
                    value = f"coalesce(cast(try_cast({value} as decimal(38, 15)) as varchar), {value})"
                keys.append(value)
        return keys

    def _has_same_keys(self) -> bool:
        keys = self._keys()
        if not keys or self._frame.count < 2:
            return False
        different: int = self._frame.run("keys", keys=", ".join(keys))[0][0]
        return different < self._frame.count

    def _find_same_keys(self) -> None:
        keys = self._keys()
        every = ", ".join(
            [made.value for made in self._casts] + [self._frame.sql_of(column.name) for column in self.new]
        )
        self._frame.run("note_same_keys", **self._out, issue=str(len(self._issues)), keys=", ".join(keys), all=every)
        self._issues.append((None, f"the key ({', '.join(self._key)}) is also that of row "))

    def _field(self, name: str) -> Field:
        return self._fields[[column.name for column in self.columns].index(name)]

    # --- those rows --------------------------------------------------------------------------------------

    def bad_rows(self, limit: int | None = None) -> Iterator[BadRow]:
        """What is wrong with rows that do not fit, in their order; for each row what was found first."""
        for position, found, _ in self._bad(limit):
            yield found[0]._replace(position=position)

    @property
    def aside(self) -> Iterator[tuple[int, str, str]]:
        """Rows that do not fit: the position in the source (the first is 0), the reasons, the row as JSON."""
        for position, found, row in self._bad(None):
            reasons = (
                bad.reason if bad.column is None else f"{bad.column} = {bad.value}: {bad.reason}" for bad in found
            )
            yield position, "; ".join(reasons), json.dumps(row, ensure_ascii=False, allow_nan=False)

    def _bad(self, limit: int | None) -> Iterator[tuple[int, list[BadRow], dict[str, Any]]]:
        if not self.set_aside:
            return
        fields = self._frame.fields
        query = sql(
            "bad_rows",
            **self._out,
            values=", ".join(shown(field) for field in fields),
            limit=str(-1 if limit is None else limit),
        )
        for part in self._frame.parts(query, _LINES):
            for position, issues, others, *values in part:
                row = {field.name: _plain(field, value) for field, value in zip(fields, values, strict=True)}
                found = []
                for issue, other in zip(issues, others, strict=True):
                    column, reason = self._issues[issue]
                    if column is None:
                        found.append(BadRow(position, None, "", f"{reason}{other}, and they differ"))
                        continue
                    value = row[self.columns[column].name]
                    if isinstance(value, str) and value.startswith(UNFIT):
                        reason, value = value.removeprefix(UNFIT), None
                    found.append(BadRow(position, self.columns[column].name, _short(value), reason))
                yield position, found, {name: _without_marks(value) for name, value in row.items()}

    def _refused(self) -> BadRowsError:
        return refusal(list(self.bad_rows(_TOLD)), self.set_aside, self._frame.count)

    # --- the others --------------------------------------------------------------------------------------

    def csv(self, numbered: bool = False, chunk: int = _CHUNK, *, keyed: bool = False) -> Iterator[bytes]:
        """The rows that fit as PostgreSQL's ``COPY … (FORMAT csv)`` takes them, in the order of `columns`.

        Args:
            numbered: put the position in the source before each row.
            chunk: how many bytes to give at a time, roughly.
            keyed: put the key as text behind each row, its parts joined by commas; nothing if there is no key.
        """
        if not self.columns or not self.count:
            return
        lines: list[bytes] = []
        size = 0
        for part in self._frame.parts(sql("lines", line=self._line(numbered, keyed), good=self._good()), _LINES):
            lines += [line for (line,) in part]
            size += sum(map(len, lines[-len(part) :]))
            if size >= chunk:
                yield b"".join(lines)
                lines, size = [], 0
        if lines:
            yield b"".join(lines)

    def _good(self) -> str:
        return sql("good", **self._out) if self._any_out else "staged"

    def _line(self, numbered: bool, keyed: bool) -> str:
        """SQL for a line of CSV. Constant parts are put together: each costs as much as a value."""
        pieces: list[str] = []
        between = ""
        if numbered:
            pieces, between = ["rowid"], ","
        for column, field, made in zip(self.columns, self._fields, self._casts, strict=True):
            before, value, after = written(made.value, column.type, _may_be_empty(field, made))
            if between + before:
                pieces.append(f"'{between}{before}'")
            pieces.append(value)
            between = after + ","
        if keyed and self._key:
            parts = [made.value for each, made in zip(self.columns, self._casts, strict=True) if each.name in self._key]
            order = [each.name for each in self.columns if each.name in self._key]
            sorted_ = [parts[order.index(name)] for name in self._key]
            text = f"concat_ws(',', {', '.join(f'cast({part} as varchar)' for part in sorted_)})"
            pieces += [f"'{between}\"'", f"replace({text}, '\"', '\"\"')"]
            between = '",'
        return f"concat({', '.join(pieces)}, '{between[:-1]}' || chr(10))"


def _may_be_empty(field: Field, made: Cast) -> bool:
    return field.column.nullable or made.value.startswith("cast(null")


def _plain(field: Field, value: Any) -> Any:
    """A value as `json` writes it, and as PostgreSQL's JSON takes it."""
    if isinstance(value, str) and field.kind in ("nested", "document", "value") and not value.startswith(UNFIT):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value


def _without_marks(value: Any) -> Any:
    if isinstance(value, str):
        value = value.removeprefix(UNFIT).replace("\0", "\ufffd")
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_without_marks(item) for item in value]
    if isinstance(value, dict):
        return {_without_marks(name): _without_marks(item) for name, item in value.items()}
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
