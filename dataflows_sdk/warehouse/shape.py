"""What a table looks like, as a value: columns, key, references; and what leads from one look to the next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import ShapeError
from dataflows_sdk.warehouse.columns import Column, Misfit, check_name, holds, type_of_value

#: what we put behind the columns of the user, in this order: name, type in PostgreSQL
PROVENANCE = (
    ("_source", "text"),
    ("_external_id", "text"),
    ("_synced_at", "timestamptz not null"),
    ("_execution_id", "uuid"),
    ("_version", "integer not null"),
    ("_write", "bigint not null"),
)
#: what a version that is over has besides
ENDED = (
    ("_valid_to", "timestamptz not null"),
    ("_ended_by", "bigint not null"),
    ("_deleted", "boolean not null"),
)
#: what the view of the history calls its own columns; with a _ before it where the user has a column of that name
HISTORY = ("valid_from", "valid_to", "operation", "ended_by", "run", "step", "ended_run", "ended_step")
_OURS = frozenset(name for name, _ in (*PROVENANCE, *ENDED)) | frozenset(f"_{name}" for name in HISTORY) | {"_row"}
#: PostgreSQL has 1,600 columns at the most; ours, and the local id, are among them
MOST_COLUMNS = 1_500
LONGEST_TABLE = 55
#: tables of `ctx.sql` that are not the user's
RESERVED = frozenset({"runs", "steps", "events", "executions", "execution_steps", "connections", "service_clients"})


#: the column of a child table that says where in its list an object stood
POSITION = "_position"


@dataclass(frozen=True, slots=True)
class Child(ShownAsTable):
    """Where the objects of a list are kept: a table of its own.

    Attributes:
        table: its name.
        parent: the columns there that name the row whose list it is, in the order of that row's key.
        key: the columns that tell the objects of one list apart; ``("_position",)`` for their place in it.
    """

    table: str
    parent: tuple[str, ...]
    key: tuple[str, ...] = (POSITION,)


@dataclass(frozen=True, slots=True)
class Shape(ShownAsTable):
    """A table.

    Attributes:
        columns: those of the user, in order.
        key: names of columns; none for a table into which rows are only inserted.
        references: from a column to the table and column it names.
        evolve: whether rows may bring new columns and wider types.
        source: where the rows come from, unless a call says otherwise.
        timezone: what moments without a zone are in.
        bad: what happens to rows that do not fit: ``"refuse"``, ``"aside"`` or ``"coerce"``.
        version: goes up with every change.
        children: lists of objects that rows bring, and where they are kept.
        parent: the table and its list whose objects are kept here; None for a table of no other.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    evolve: bool = False
    source: str | None = None
    timezone: str | None = None
    bad: str = "refuse"
    version: int = 0
    children: Mapping[str, Child] = field(default_factory=dict)
    parent: tuple[str, str] | None = None

    @property
    def own_id(self) -> bool:
        """Whether `id` is a column of the user's."""
        return any(column.name.lower() == "id" for column in self.columns)

    @property
    def row_key(self) -> tuple[str, ...]:
        """The columns that tell rows apart."""
        return self.key or ("id",)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> str:
        return json.dumps(
            {
                "columns": [[column.name, column.type, column.nullable] for column in self.columns],
                "key": list(self.key),
                "references": {column: list(target) for column, target in self.references.items()},
                "evolve": self.evolve,
                "source": self.source,
                "timezone": self.timezone,
                "bad": self.bad,
                "children": {name: [each.table, each.parent, each.key] for name, each in self.children.items()},
                "parent": self.parent,
            }
        )

    @classmethod
    def of_json(cls, name: str, data: Mapping[str, Any], version: int) -> Shape:
        return cls(
            name,
            tuple(Column(*each) for each in data["columns"]),
            tuple(data["key"]),
            {column: (table, other) for column, (table, other) in data["references"].items()},
            data["evolve"],
            data["source"],
            data["timezone"],
            data["bad"],
            version,
            {
                column: Child(table, tuple(parent), tuple(key))
                for column, (table, parent, key) in data.get("children", {}).items()
            },
            None if data.get("parent") is None else (data["parent"][0], data["parent"][1]),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One step from a look to the next: ``add``, ``widen``, ``rename`` or ``reference``."""

    kind: str
    column: str
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        if self.kind == "add":
            return f"{self.column} {self.new} added"
        if self.kind == "widen":
            return f"{self.column} from {self.old} to {self.new}"
        if self.kind == "rename":
            return f"{self.old} renamed to {self.new}"
        return f"{self.column} refers to {self.new}"


def zone_of(shape: Shape) -> tzinfo | None:
    """The zone of moments that have none."""
    return None if shape.timezone is None else ZoneInfo(shape.timezone)


def check(shape: Shape) -> Shape:
    """The shape itself, if PostgreSQL and DuckDB can have such a table.

    Raises:
        ShapeError: every problem of it.
        DefinitionError: a name that is none.
    """
    problems: list[str] = []
    check_table_name(shape.name)
    seen: dict[str, str] = {}
    for column in shape.columns:
        check_name(column.name, f"the column's name in {shape.name!r}")
        low = column.name.lower()
        if low in seen and seen[low] == column.name:
            problems.append(f"the column {column.name!r} is there twice")
        elif low in seen:
            problems.append(f"the columns {seen[low]!r} and {column.name!r} differ only in case; rename= one of them")
        seen[low] = column.name
        if low in _OURS:
            problems.append(f"the column {column.name!r} is one that every table has already; rename= it")
    if not shape.columns:
        problems.append("it has no columns")
    if len(shape.columns) > MOST_COLUMNS:
        problems.append(
            f"it has {len(shape.columns):,} columns, and {MOST_COLUMNS:,} are the most; put what is rarely asked for "
            "into one column of JSON (a dict)"
        )
    names = {column.name for column in shape.columns}
    problems += [f"the key names {name!r}, which is no column" for name in shape.key if name not in names]
    problems += [f"references names {name!r}, which is no column" for name in shape.references if name not in names]
    for name in shape.key:
        found = shape.column(name)
        if found is not None and found.type == "json":
            problems.append(f"the key {name!r} is JSON, by which rows cannot be told apart")
    problems += [
        f"{name!r} is a column and, as a list, the table {child.table!r}; rename= the column"
        for name, child in shape.children.items()
        if name.lower() in seen
    ]
    if shape.children and not shape.key:
        problems.append("it has no key, by which the objects of a list could name the row that they belong to")
    if len(set(shape.key)) != len(shape.key):
        problems.append(f"the key names a column twice: {', '.join(shape.key)}")
    if problems:
        raise ShapeError(f"table {shape.name!r}: " + "; ".join(problems))
    return shape


def check_table_name(name: Any) -> str:
    """A name for a table.

    Raises:
        DefinitionError: it is none, is too long, ends like a history, or is one of the journal's.
    """
    check_name(name, "the name of a table", LONGEST_TABLE)
    if name.lower().endswith("_history"):
        raise ShapeError(f"table {name!r}: names that end in _history are those of the histories; take another")
    if name.lower() in RESERVED:
        raise ShapeError(
            f"table {name!r}: ctx.sql has a table of that name, which is not yours; take another, such as my_{name}"
        )
    return str(name)


def check_parent(shape: Shape, parent: tuple[str, str] | None) -> None:
    """A table that is there keeps the lists that it is to keep.

    Raises:
        ShapeError: it does not.
    """
    if parent is not None and shape.parent != parent:
        table, column = parent
        raise ShapeError(
            f"table {table!r}: the list {column!r} would go into {shape.name!r}, which is there and keeps something "
            f"else; name another: children={{{column!r}: {{'table': ...}}}}"
        )


def with_key(shape: Shape) -> Shape:
    """Columns of the key are never null."""
    columns = tuple(replace(each, nullable=False) if each.name in shape.key else each for each in shape.columns)
    return replace(shape, columns=columns)


def guess_key(name: str, columns: Iterable[Column], references: Iterable[str]) -> tuple[str, ...]:
    """The key of a table that names none: the only column ``*_id`` that refers to no other table, else ``id``.

    Raises:
        ShapeError: several could be it.
    """
    names = [column.name for column in columns]
    others = set(references)
    found = [each for each in names if each.lower().endswith("_id") and each not in others]
    if len(found) > 1:
        raise ShapeError(
            f"table {name!r}: {', '.join(found)} could all be its key; say key=..., and references= for those that "
            "name rows of other tables (key=() for a table into which rows are only inserted)"
        )
    return tuple(found) or tuple(each for each in names if each == "id")


def changes(old: Shape, new: Shape, rename: Mapping[str, str] | None = None) -> tuple[Shape, list[Change]]:
    """From the table that is there to what is asked for.

    A column that is no longer asked for stays.

    Returns:
        what the table looks like afterwards, and the steps there.

    Raises:
        ShapeError: a type would become narrower, or the key another one; every such problem.
    """
    steps: list[Change] = []
    problems: list[str] = []
    columns, key = list(old.columns), old.key
    columns, key = _renamed(columns, key, rename or {}, steps, problems)
    there = {column.name: at for at, column in enumerate(columns)}
    for wanted in new.columns:
        at = there.get(wanted.name, -1)
        if at < 0:
            columns.append(replace(wanted, nullable=True))
            steps.append(Change("add", wanted.name, None, wanted.type))
            continue
        is_now = columns[at]
        if is_now.type == wanted.type:
            continue
        if holds(is_now.type, wanted.type):
            problems.append(
                f"{wanted.name!r} is {is_now.type}, and {wanted.type} would be narrower; declare it {is_now.type}"
            )
            continue
        if not holds(wanted.type, is_now.type):
            problems.append(
                f"{wanted.name!r} is {is_now.type} and would become {wanted.type}, which does not hold every value of "
                "it; name a new column, or convert by hand"
            )
            continue
        columns[at] = replace(is_now, type=wanted.type)
        steps.append(Change("widen", wanted.name, is_now.type, wanted.type))
    if new.key != key:
        problems.append(
            f"its key is ({', '.join(key)}) and would become ({', '.join(new.key)}); a table keeps its key: "
            "make another one and copy the rows"
        )
    problems += _of_lists(old, new, columns, key)
    references = {(rename or {}).get(name, name): target for name, target in old.references.items()}
    for name, target in new.references.items():
        if references.get(name) not in (None, target):
            problems.append(f"{name!r} refers to {'.'.join(references[name])} already, not to {'.'.join(target)}")
        elif name not in references:
            references[name] = target
            steps.append(Change("reference", name, None, ".".join(target)))
    if problems:
        raise ShapeError(f"table {old.name!r}: " + "; ".join(problems))
    shape = replace(
        old,
        columns=tuple(columns),
        key=key,
        references=references,
        evolve=new.evolve,
        source=new.source if new.source is not None else old.source,
        timezone=new.timezone if new.timezone is not None else old.timezone,
        bad=new.bad,
        children={**old.children, **new.children},
    )
    return check(shape), steps


def _of_lists(old: Shape, new: Shape, columns: Iterable[Column], key: tuple[str, ...]) -> list[str]:
    """What is wrong with the lists of a table, whose columns and key are these now."""
    problems = []
    if old.parent is not None and key != old.key:
        table, column = old.parent
        problems.append(f"its key is what the list {column!r} of {table!r} is written by; the names in it stay")
    names = {column.name for column in columns}
    for name, child in new.children.items():
        before = old.children.get(name, child)
        if before != child:
            problems.append(
                f"the list {name!r} is kept in {before.table!r} by ({', '.join((*before.parent, *before.key))}) and "
                f"would go to {child.table!r} by ({', '.join((*child.parent, *child.key))}); it stays where it is"
            )
        elif name in names:
            problems.append(
                f"{name!r} is a column whose values stay in it; with rename={{{name!r}: '{name}_before'}} besides, the "
                f"lists of rows that come from now on go into {child.table!r}"
            )
    return problems


def _renamed(
    columns: list[Column], key: tuple[str, ...], rename: Mapping[str, str], steps: list[Change], problems: list[str]
) -> tuple[list[Column], tuple[str, ...]]:
    for before, after in rename.items():
        names = [column.name for column in columns]
        if before not in names and after in names:
            continue  # done before
        if before not in names:
            problems.append(f"rename: there is no column {before!r} (there are {', '.join(names)})")
        elif after in names:
            problems.append(f"rename: there is a column {after!r} already")
        else:
            at = names.index(before)
            columns[at] = replace(columns[at], name=after)
            key = tuple(after if name == before else name for name in key)
            steps.append(Change("rename", after, before, after))
    return columns, key


def columns_with(shape: Shape, rows: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of a table and those that rows have besides, of the type of the first value that has one."""
    found = {column.name: column for column in shape.columns}
    for row in rows:
        for name, value in row.items():
            if name not in found and value is not None and isinstance(name, str):
                try:
                    found[name] = Column(name, type_of_value(value) or "text")
                except Misfit:
                    continue
    return tuple(found.values())
