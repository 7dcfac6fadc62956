"""Lists of objects on their way out of the rows that bring them, into rows of tables of their own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from dataflows_sdk.warehouse.columns import Misfit, shortened
from dataflows_sdk.warehouse.nested import objects
from dataflows_sdk.warehouse.rows import _TOLD, Bad, as_json, as_mapping
from dataflows_sdk.warehouse.shape import POSITION, Child, Shape

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.frames import Frame


@dataclass(frozen=True, slots=True)
class Held:
    """The lists of one row.

    Attributes:
        position: where the row stood.
        key: its key, as texts that PostgreSQL reads.
        values: its key, as it came.
        lists: by the name of the list.
    """

    position: int
    key: tuple[str | None, ...]
    values: tuple[Any, ...]
    lists: dict[str, list[Any]]


class Lists:
    """The lists that rows of a table bring.

    Attributes:
        held: by the position of the row.
    """

    def __init__(self, shape: Shape) -> None:
        self._children = shape.children
        self.held: dict[int, Held] = {}

    def __bool__(self) -> bool:
        return bool(self.held)

    def split(
        self, row: Mapping[str, Any], valid: Any, *, coerce: bool
    ) -> tuple[Mapping[str, Any], dict[str, list[Any]]]:
        """A row without its lists, and those that it names.

        Args:
            valid: the row as its model has it: a list that was left out is not the empty list of the model's default.

        Raises:
            Misfit: something is no list.
        """
        found: dict[str, list[Any]] = {}
        for name in self._children:
            if name not in row:
                continue
            value = row[name]
            if isinstance(value, str) and coerce:
                with contextlib.suppress(ValueError):
                    value = json.loads(value)
            elements = [] if value is None else objects(value)
            if elements is None:
                raise Misfit(f"{name!r} is a list of objects, and {shortened(value)} is none")
            if not elements and isinstance(valid, BaseModel) and name not in valid.model_fields_set:
                continue
            found[name] = elements
        return {name: value for name, value in row.items() if name not in self._children}, found

    def keep(
        self, position: int, key: tuple[str | None, ...], values: tuple[Any, ...], found: dict[str, list[Any]]
    ) -> None:
        """The row fits."""
        if found:
            self.held[position] = Held(position, key, values, found)

    def settle(self, bad: Bad, since: int) -> None:
        """PostgreSQL refused rows, from that place in *bad* on: their lists go with them."""
        for at in range(since, len(bad.aside)):
            held = self.held.pop(bad.positions[at], None)
            if held is not None:
                reason, row = bad.aside[at]
                bad.aside[at] = (reason, json.dumps({**json.loads(row), **json.loads(as_json(held.lists))}))


def plain(shape: Shape, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row without its lists."""
    if not shape.children:
        return row
    return {name: value for name, value in row.items() if name not in shape.children}


def rows_of(frame: Frame, source: Any, shape: Shape) -> Iterator[dict[str, Any]]:
    """The rows of a frame. Objects in lists of pandas have no types there that DuckDB knows: they come as they are."""
    mine: dict[str, list[Any]] = {}
    if type(source).__module__.partition(".")[0] == "pandas":
        mine = {name: source[name].tolist() for name in shape.children if name in source}
    for at, row in enumerate(frame.rows()):
        yield row | {name: None if isinstance(each[at], float) else each[at] for name, each in mine.items()}


def elements(column: str, rows: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """The objects in the lists of rows, as far as they are some: for what their table is to look like."""
    for row in rows:
        with contextlib.suppress(Misfit):
            for element in objects(as_mapping(row).get(column)) or ():
                with contextlib.suppress(Misfit):
                    yield as_mapping(element)


@dataclass(slots=True)
class BadObjects(Bad):
    """Objects that do not fit, with the row and the place in its list where they stood.

    Attributes:
        table: of the rows.
        column: the list.
        child: where it is kept.
        places: for each object that is looked at the row, the place in its list, and the object as it came.
    """

    table: str = ""
    column: str = ""
    child: Child = field(default_factory=lambda: Child("", ()))
    places: list[tuple[Held, int, Any]] = field(default_factory=list)

    def add(self, position: int, column: str | None, value: Any, reason: str, _: Any) -> None:
        held, at, given = self.places[position]
        where = f"{self.column}[{at}]" + (f".{column}" if column is not None else "")
        reason = f"{reason}, in {self.table} {', '.join(str(part) for part in held.key)}"
        Bad.add(self, held.position, where, value, reason, self._whole(held, given))
        self.positions[-1] = position  # of the object, while the error tells of the row

    def place(self, position: int) -> str:
        return f"{self.column}[{self.places[position][1]}]"

    def _whole(self, held: Held, given: Any) -> Any:
        owner = dict(zip(self.child.parent, held.values, strict=True))
        try:
            return owner | dict(as_mapping(given))
        except Misfit:
            return owner | {self.column: given}


class Rows:
    """The objects of a list as rows of their table.

    Args:
        shape: of the child table.
        owners: the rows that bring the list.
    """

    def __init__(self, shape: Shape, child: Child, owners: Sequence[Held], faults: BadObjects) -> None:
        ours = {*child.parent, POSITION} if child.key == (POSITION,) else set(child.parent)
        nothing = dict.fromkeys(each.name for each in shape.columns if each.name not in ours)
        self.rows: list[Any] = []
        for held in owners:
            first = dict(zip(child.parent, held.values, strict=True))
            for at, element in enumerate(held.lists[faults.column]):
                faults.places.append((held, at, element))
                mine = {**first, POSITION: at} if POSITION in ours else first
                self.rows.append(_row(nothing, mine, element))


def _row(nothing: Mapping[str, Any], mine: Mapping[str, Any], element: Any) -> Any:
    """One object. A field that it does not name is null: the list says everything."""
    try:
        given = as_mapping(element)
    except Misfit:
        return element
    for name in mine:
        if name in given and given[name] != mine[name]:
            return Other(f"its own {name!r} is {shortened(given[name])}, where its table names the row it belongs to")
    return {**nothing, **given, **mine}


class Other:
    """What is no row, and says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def _asdict(self) -> dict[str, Any]:
        raise Misfit(self.reason)


def merge(bad: Bad, faults: Bad) -> None:
    """Faults of objects are faults of the call."""
    bad.told += faults.told[: max(0, _TOLD - len(bad.told))]
    bad.count += faults.count
