"""Lists of objects that become tables of their own: which they are, and what these tables look like."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin

from dataflows_sdk.errors import DefinitionError, ShapeError
from dataflows_sdk.warehouse.columns import Column, Misfit, shortened
from dataflows_sdk.warehouse.declare import is_model, is_types
from dataflows_sdk.warehouse.rows import as_mapping
from dataflows_sdk.warehouse.shape import POSITION, Child, Shape, check_parent, check_table_name

#: rows that are looked at for what their objects look like
_SAMPLE = 10_000
_WORDS = ("key", "table", "columns", "parent", "children")
#: the columns of a table, from what a user gave: its name, what was given, what is there already
ColumnsOf = Callable[[str, Any, Shape | None], tuple[Column, ...]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list that is to be kept in a table of its own.

    Attributes:
        key, table, parent: as for `Child`; None where it is as it was, or as is usual.
        columns: of the objects, where they do not come with the columns of the parent.
        children: lists in the objects, as a user says it.
    """

    column: str
    key: tuple[str, ...] | None = None
    table: str | None = None
    parent: tuple[str, ...] | None = None
    columns: Any = None
    children: Mapping[str, Any] | None = None


def wanted(table: str, children: Any, known: Shape | None) -> dict[str, Wanted]:
    """The lists of a table: those that are asked for, and those that are there.

    Args:
        children: ``{"labels": "id"}``, or with more words, ``{"labels": {"key": "id", "table": "labels_of_issues"}}``.

    Raises:
        DefinitionError: it does not say that.
    """
    found = {} if known is None else {name: Wanted(name) for name in known.children}
    if children is not None and not isinstance(children, Mapping):
        raise DefinitionError(
            f"table {table!r}: children= says by what the objects of a list are told apart, such as "
            f"{{'labels': 'id'}}, not {shortened(children)}"
        )
    for column, said in (children or {}).items():
        if not isinstance(column, str):
            raise DefinitionError(f"table {table!r}: children= names columns, not {shortened(column)}")
        words = said if isinstance(said, Mapping) else {"key": said}
        if unknown := [word for word in words if word not in _WORDS]:
            raise DefinitionError(
                f"table {table!r}, children of {column!r}: {unknown[0]!r} is none of {', '.join(_WORDS)}"
            )
        name = words.get("table")
        found[column] = Wanted(
            column,
            _names(table, column, words.get("key")),
            None if name is None else check_table_name(name),
            _names(table, column, words.get("parent")) or None,
            words.get("columns"),
            words.get("children"),
        )
    return found


def _names(table: str, column: str, given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise DefinitionError(
            f"table {table!r}, children of {column!r}: a key is the name of a column, or several, not "
            f"{shortened(given)}; () for the place in the list"
        )
    return tuple(names)


def with_children(shape: Shape, lists: Mapping[str, Wanted], known: Shape | None) -> Shape:
    """A table without the columns that are lists, which are its children."""
    children = {}
    for each in lists.values():
        before = None if known is None else known.children.get(each.column)
        parent = each.parent or (before.parent if before else tuple(f"{shape.name}_{name}" for name in shape.key))
        if len(parent) != len(shape.key):
            raise DefinitionError(
                f"table {shape.name!r}, children of {each.column!r}: its key is ({', '.join(shape.key)}), for which "
                f"({', '.join(parent)}) does not stand"
            )
        key = each.key if each.key is not None else before.key if before else ()
        table = each.table or (before.table if before else f"{shape.name}_{each.column}")
        children[each.column] = Child(table, parent, key or (POSITION,))
    columns = tuple(column for column in shape.columns if column.name not in lists)
    return replace(shape, columns=columns, children=children)


def shapes(
    shape: Shape, lists: Mapping[str, Wanted], source: Any, known: Callable[[str], Shape | None], columns_of: ColumnsOf
) -> list[Shape]:
    """The child tables of a table, each before its own.

    Args:
        source: what the parent's columns came from: a model, a dict of types, rows, or None.

    Raises:
        ShapeError: it is not known what the objects look like, or they cannot be kept so.
    """
    found: list[Shape] = []
    for each in lists.values():
        child = shape.children[each.column]
        try:
            check_table_name(child.table)
        except (DefinitionError, ShapeError) as error:
            raise ShapeError(f"{error}; name it: children={{{each.column!r}: {{'key': ..., 'table': ...}}}}") from error
        before = known(child.table)
        if before is not None:
            check_parent(before, (shape.name, each.column))
        inner = each.columns if each.columns is not None else _below(shape.name, each.column, source)
        below = wanted(child.table, each.children, before)
        made = Shape(
            child.table,
            _columns(shape, each.column, inner, before, columns_of),
            (*child.parent, *child.key),
            {} if before is None else before.references,
            shape.evolve,
            shape.source,
            shape.timezone,
            shape.bad,
            parent=(shape.name, each.column),
        )
        made = with_children(made, below, before)
        found += [made, *shapes(made, below, inner, known, columns_of)]
    return found


def _columns(shape: Shape, column: str, inner: Any, before: Shape | None, columns_of: ColumnsOf) -> tuple[Column, ...]:
    """Those that name the parent's row, the place in the list, those of the objects."""
    child = shape.children[column]
    ours = {*child.parent, *({POSITION} if child.key == (POSITION,) else ())}
    types_ = {each.name: each.type for each in shape.columns}
    # where the parent's key is no column, the check of the parent says so
    first = [Column(name, types_.get(key, "text")) for name, key in zip(child.parent, shape.key, strict=True)]
    if before is not None:
        first = [column_ for name in child.parent if (column_ := before.column(name)) is not None]
    if POSITION in ours:
        first.append(Column(POSITION, "int"))
    own = None if before is None else replace(before, columns=tuple(c for c in before.columns if c.name not in ours))
    if inner is None and own is None:
        raise ShapeError(
            f"table {shape.name!r}: nothing says what the objects of the list {column!r} look like; say it: "
            f"children={{{column!r}: {{'key': ..., 'columns': {{'name': str}}}}}}"
        )
    columns = own.columns if inner is None and own is not None else columns_of(child.table, inner, own)
    if taken := [each.name for each in columns if each.name in ours]:
        raise ShapeError(
            f"table {child.table!r}: the objects have a {taken[0]!r} themselves, which is to name their {shape.name}; "
            f"call that otherwise: children={{{column!r}: {{'key': ..., 'parent': ...}}}}"
        )
    return (*first, *columns)


# --- what the objects look like ---------------------------------------------------------------------------


def _below(table: str, column: str, source: Any) -> Any:
    """What says the columns of a list's objects: a model, a dict of types, rows; None where nothing does.

    Raises:
        ShapeError: it is no list of objects.
    """
    if source is None:
        return None
    if is_model(source):
        if column not in source.model_fields:
            raise ShapeError(f"table {table!r}: children names {column!r}, which {source.__name__} has not")
        return _element(table, column, source.model_fields[column].annotation)
    if is_types(source):
        return _element(table, column, source[column]) if column in source else None
    if not isinstance(source, list | tuple):
        return None
    found: list[Mapping[str, Any]] = []
    for number, row in enumerate(source[:_SAMPLE]):
        value = as_mapping(row).get(column)
        if value is None:
            continue
        elements = objects(value)
        if elements is None:
            raise ShapeError(f"table {table!r}, row {number}: {column!r} is no list of objects: {shortened(value)}")
        for element in elements:
            try:
                found.append(as_mapping(element))
            except Misfit:
                raise ShapeError(
                    f"table {table!r}, row {number}: {column!r} has {shortened(element)}, and only lists of objects "
                    "become tables; leave it out of children=, and it stays a column of JSON"
                ) from None
    return found or None


def objects(value: Any) -> list[Any] | None:
    """What is in a list, whatever kind of list it is; None if it is none."""
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # an array of numpy
        found = value.tolist()
        return found if isinstance(found, list) else None
    return None


def _element(table: str, column: str, annotation: Any) -> Any:
    inner = _item(annotation)
    if inner is Any or inner is object:
        return None
    if is_model(inner):
        return inner
    if isinstance(inner, type) and (dataclasses.is_dataclass(inner) or typing.is_typeddict(inner)):
        return typing.get_type_hints(inner)
    if inner is dict or get_origin(inner) in (dict, Mapping):
        return None
    shown = getattr(annotation, "__name__", None) if get_origin(annotation) is None else None
    raise ShapeError(
        f"table {table!r}: {column!r} is {shown or annotation}, and only lists of objects become tables; leave it out "
        "of children=, and it stays a column"
    )


def _item(annotation: Any) -> Any:
    """The type of what is in a list; the type itself where it is none."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _item(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        some = [each for each in get_args(annotation) if each is not type(None)]
        return _item(some[0]) if len(some) == 1 else annotation
    if annotation in (list, tuple, set, frozenset):
        return Any
    if isinstance(origin, type) and issubclass(origin, Collection | Iterable) and not issubclass(origin, Mapping):
        inner = get_args(annotation)[0]
        return get_args(inner)[0] if get_origin(inner) is typing.Annotated else inner
    return Any if annotation in ("json", "jsonb") else annotation
