"""Rows on their way in, checked one by one, and rows as they come out."""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, tzinfo
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from dataflows_sdk.core.codec_types import TYPES
from dataflows_sdk.core.shown import Sheet, ShownAsTable
from dataflows_sdk.errors import BadRow, BadRowsError, DefinitionError
from dataflows_sdk.warehouse.columns import Column, Convert, Misfit, converter, shortened
from dataflows_sdk.warehouse.shape import Shape

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.lists import Lists

#: bad rows that an error tells of
_TOLD = 20
#: as deep as rows that were refused are written down
_DEEPEST = 50


@TYPES.register
@dataclass(frozen=True, eq=False, repr=False)
class Row(ShownAsTable, Mapping[str, Any]):
    """A row of a table: ``row["name"]`` and ``row.name``.

    Attributes:
        table: whose row it is. A column of that name is reached as ``row["table"]``.
    """

    table: str
    values_: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "values_":
            raise AttributeError(name)
        try:
            return self.values_[name]
        except KeyError:
            raise AttributeError(f"a row of {self.table!r} has no {name!r}; it has {', '.join(self.values_)}") from None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Row):
            return self.table == other.table and self.values_ == other.values_
        return isinstance(other, Mapping) and self.values_ == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(name for name in self.values_ if name.isidentifier())]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.values_.items() if not name.startswith("_"))
        return f"{self.table}({shown})"

    def _sheet(self) -> Sheet:
        return Sheet(self.table, list(self.values_.items()))


@TYPES.register
@dataclass(frozen=True, slots=True)
class Written(ShownAsTable):
    """What a call did to a table.

    Attributes:
        inserted, updated, unchanged, deleted: rows.
        aside: rows that did not fit and were set aside (``ctx.warehouse.aside(table)``).
        write: the number of the write, under which the versions are found; None when nothing changed.
        children: the same of its lists that are tables of their own, by the name of the list.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    aside: int = 0
    write: int | None = None
    children: dict[str, Written] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Rows that are not as they were."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: Written) -> Written:
        names = dict.fromkeys([*self.children, *other.children])
        children = {
            name: each + other.children[name] if (each := self.children.get(name)) and name in other.children
            else each or other.children[name]
            for name in names
        }  # fmt: skip
        return Written(
            self.table,
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.deleted + other.deleted,
            self.aside + other.aside,
            other.write if other.write is not None else self.write,
            children,
        )


@dataclass(slots=True)
class Bad:
    """Rows that do not fit: the first for the error, all of them to be set aside."""

    told: list[BadRow] = field(default_factory=list)
    count: int = 0
    aside: list[tuple[str, str]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def add(self, position: int, column: str | None, value: Any, reason: str, row: Any) -> None:
        self.count += 1
        self.positions.append(position)
        if len(self.told) < _TOLD:
            self.told.append(BadRow(position, column, shortened(value), reason))
        where = f"{column}: " if column is not None else ""
        self.aside.append((where + reason, as_json(row)))

    def place(self, position: int) -> str:
        """How a row is called in a reason."""
        return f"row {position}"

    def error(self, total: int) -> BadRowsError:
        """The error that tells of them."""
        return refusal(self.told, self.count, total)


def refusal(told: Sequence[BadRow], count: int, total: int) -> BadRowsError:
    """Rows do not fit: which, why, and the way out."""
    many = "1 row does" if count == 1 else f"{count:,} rows do"
    of = f" (of {total:,})" if total != count else ""
    first = "; ".join(str(row) for row in told[:3])
    more = f"; and {count - 3:,} more" if count > 3 else ""
    return BadRowsError(
        f"{many} not fit{of}, and nothing was written: {first}{more}. "
        "bad='aside' sets such rows aside, bad='coerce' reads numbers and moments from texts",
        told,
        count,
    )


def as_json(row: Any) -> str:
    """A row that was refused, as JSON as good as it can be had: what JSON does not know stands there as text."""
    return json.dumps(_as_far_as_json(row, 0), allow_nan=False)


def _as_far_as_json(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**300 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, BaseModel) or hasattr(value, "_asdict") or hasattr(value, "__dataclass_fields__"):
            with contextlib.suppress(Misfit, TypeError, AttributeError):
                value = as_mapping(value)
        if isinstance(value, Mapping):
            return {str(name): _as_far_as_json(each, depth + 1) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_as_far_as_json(each, depth + 1) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time | Decimal | UUID):
        return str(value)
    return shortened(value)


def as_mapping(row: Any) -> Mapping[str, Any]:
    """A row as names and values.

    Raises:
        Misfit: it is no row.
    """
    if isinstance(row, Mapping):
        return row
    if isinstance(row, BaseModel):
        return {name: getattr(row, name) for name in type(row).model_fields} | (row.__pydantic_extra__ or {})
    if hasattr(row, "__dataclass_fields__") and not isinstance(row, type):
        return {name: getattr(row, name) for name in row.__dataclass_fields__}
    if hasattr(row, "_asdict"):
        return dict(row._asdict())
    raise Misfit(f"a row is a dict, a model or a dataclass, not {type(row).__name__}")


class Texts:
    """Rows as texts that PostgreSQL reads, column by column.

    Attributes:
        columns: those that some row has.
        rows: for each row the text of each column, None for a missing value.
        positions: where each row stood in what was given.
    """

    __slots__ = ("columns", "positions", "rows")

    def __init__(self, columns: Sequence[Column], rows: list[tuple[str | None, ...]], positions: list[int]) -> None:
        self.columns = tuple(columns)
        self.rows = rows
        self.positions = positions

    def lists(self) -> list[list[str | None]]:
        """The same, a list for each column."""
        return [list(each) for each in zip(*self.rows, strict=True)] if self.rows else [[] for _ in self.columns]

    def csv(self, keys: Sequence[int] | None) -> Iterator[bytes]:
        """Rows as CSV for PostgreSQL, in chunks; with the key as text at the end, if there is one and it is asked for.

        Args:
            keys: which columns are the key.
        """
        lines: list[str] = []
        for at, row in enumerate(self.rows, 1):
            values = row if not keys else (*row, ",".join(str(row[key]) for key in keys))
            lines.append(",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in values))
            if not at % 2_000:
                yield ("\n".join(lines) + "\n").encode()
                lines = []
        if lines:
            yield ("\n".join(lines) + "\n").encode()

    def without(self, positions: Iterable[int]) -> Texts:
        """Those that did not stand at these places."""
        out = set(positions)
        kept = [at for at, position in enumerate(self.positions) if position not in out]
        return Texts(self.columns, [self.rows[at] for at in kept], [self.positions[at] for at in kept])


def checked(
    shape: Shape,
    rows: Sequence[Any],
    bad: Bad,
    *,
    model: type[BaseModel] | None = None,
    coerce: bool = False,
    zone: tzinfo | None = None,
    offset: int = 0,
    keyed: bool = True,
    known: dict[Any, tuple[int, int]] | None = None,
    lists: Lists | None = None,
) -> list[Texts]:
    """Rows as texts, those together that have the same columns, and those that do not fit in *bad*.

    Args:
        model: validates each row first.
        coerce: read numbers, moments and the like from texts.
        zone: what moments without a zone are in.
        offset: the position of the first row.
        keyed: whether every row needs its key, and one row may stand for a key only.
        known: keys of rows that came before, by which repetitions are found; those of these rows are added.
        lists: takes the lists of the rows that are kept in tables of their own.
    """
    converters, order = _converters(shape.columns, coerce, zone)
    groups: dict[tuple[str, ...], Texts] = {}
    known = {} if known is None else known
    for position, given in enumerate(rows, offset):
        try:
            valid = _valid(model, given) if model is not None else given
            row = as_mapping(valid)
            held = None
            if lists is not None:
                row, held = lists.split(row, valid, coerce=coerce)
            names = tuple(name for name in row if name in order)
            if len(names) != len(row):
                extra = next(name for name in row if name not in order)
                _no_column(shape, extra)
            texts = _texts(row, names, converters)
        except _Wrong as wrong:
            bad.add(position, wrong.column, wrong.value, wrong.reason, given)
            continue
        except Misfit as misfit:
            bad.add(position, None, given, str(misfit), given)
            continue
        if keyed:
            values = dict(zip(names, texts, strict=True))
            missing = next((name for name in shape.key if values.get(name) is None), None)
            if missing is not None:
                what = "is null" if missing in values else "is missing"
                bad.add(position, missing, None, f"the key {what}", given)
                continue
            key = tuple(values[name] for name in shape.key)
            content = hash((tuple(sorted(values.items())), as_json(held) if held else None))
            if (before := known.get(key)) is not None:
                if before[1] != content:
                    shown = ", ".join(str(part) for part in key)
                    other = bad.place(before[0])
                    bad.add(position, shape.key[0], shown, f"the key {shown[:80]!r} is that of {other} too", given)
                continue  # the very same row twice is one row
            known[key] = (position, content)
            if lists is not None and held is not None:
                lists.keep(position, key, tuple(row[name] for name in shape.key), held)
        group = groups.get(names)
        if group is None:
            columns = [shape.columns[order[name]] for name in names]
            group = groups[names] = Texts(columns, [], [])
        group.rows.append(texts)
        group.positions.append(position)
    return list(groups.values())


@lru_cache(maxsize=256)
def _converters(
    columns: tuple[Column, ...], coerce: bool, zone: tzinfo | None
) -> tuple[dict[str, Convert], dict[str, int]]:
    return (
        {column.name: converter(column, coerce=coerce, zone=zone) for column in columns},
        {column.name: at for at, column in enumerate(columns)},
    )


class _Wrong(Exception):
    def __init__(self, column: str | None, value: Any, reason: str) -> None:
        self.column, self.value, self.reason = column, value, reason


def _texts(row: Mapping[str, Any], names: tuple[str, ...], converters: Mapping[str, Any]) -> tuple[str | None, ...]:
    found: list[str | None] = []
    for name in names:
        value = row[name]
        if value is None:
            found.append(None)
            continue
        try:
            found.append(converters[name](value))
        except Misfit as misfit:
            raise _Wrong(name, value, str(misfit)) from None
        except (ValueError, ArithmeticError, TypeError) as error:
            raise _Wrong(name, value, f"{type(error).__name__}: {error}") from None
    return tuple(found)


def _no_column(shape: Shape, name: Any) -> None:
    if not isinstance(name, str):
        raise Misfit(f"the name of a column is a text, not {shortened(name)}")
    near = next((each.name for each in shape.columns if each.name.lower() == name.lower()), None)
    hint = f"; there is {near!r}" if near is not None else "; evolve=True at the table would add it"
    raise _Wrong(name, None, f"the table has no such column{hint}")


def _valid(model: type[BaseModel], given: Any) -> Any:
    try:
        if isinstance(given, model):
            return given
        if isinstance(given, Row):
            given = dict(given)
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise _Wrong(where, first.get("input"), first["msg"] + more) from None


def rows_in_parts(source: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Rows of an iterable, so many at a time; at least one part, which may be empty.

    Raises:
        DefinitionError: it is a text or a mapping, whose parts are no rows.
    """
    if isinstance(source, str | bytes | Mapping):
        raise DefinitionError(f"rows are a list, a generator or a table, not {shortened(source)}")
    iterator = iter(source)
    part: list[Any] = []
    for row in chain(iterator):
        part.append(row)
        if len(part) >= size:
            yield part
            part = []
    yield part
