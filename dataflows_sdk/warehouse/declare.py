"""Columns from what a user gives: a pydantic model, a dict of types, or rows."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, NaiveDatetime, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from dataflows_sdk.errors import ShapeError
from dataflows_sdk.warehouse.columns import EXACT_FLOAT, Column, Misfit, join, type_named, type_of_value

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.frames import Frame
    from dataflows_sdk.warehouse.shape import Shape

_PLAIN: dict[Any, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    Decimal: "decimal",
    str: "text",
    datetime: "timestamptz",
    AwareDatetime: "timestamptz",
    NaiveDatetime: "timestamp",
    date: "date",
    time: "time",
    timedelta: "interval",
    UUID: "uuid",
    bytes: "bytes",
    bytearray: "bytes",
    Any: "json",
    object: "json",
}
#: what pydantic's JSON Schema says of classes of which we know nothing else
_OF_SCHEMA = {"integer": "int", "number": "float", "string": "text", "boolean": "bool"}


def is_model(what: Any) -> bool:
    """Whether it is a pydantic model class."""
    return isinstance(what, type) and issubclass(what, BaseModel)


def is_types(what: Any) -> bool:
    """Whether it is a dict from names to types, and not a row."""
    return (
        isinstance(what, Mapping)
        and bool(what)
        and all(
            _is_type(value) or (isinstance(value, str) and type_named(value) is not None) for value in what.values()
        )
    )


def _is_type(value: Any) -> bool:
    return isinstance(value, type | types.UnionType | typing.NewType) or get_origin(value) is not None or value is Any


def columns_of_model(table: str, model: type[BaseModel]) -> tuple[Column, ...]:
    """A column for each field, by its alias where rows come with one.

    Raises:
        ShapeError: a field has no type of column, or holds a secret.
    """
    found, problems = [], []
    for name, field in model.model_fields.items():
        try:
            annotation = field.annotation
            for extra in field.metadata:
                if extra in (AwareDatetime, NaiveDatetime):
                    annotation = extra
            found.append(Column(name, type_of(annotation)))
        except Misfit as error:
            problems.append(f"{name!r}: {error}")
    if problems:
        raise ShapeError(f"table {table!r}, model {model.__name__}: " + "; ".join(problems))
    return tuple(found)


def columns_of_types(table: str, given: Mapping[str, Any]) -> tuple[Column, ...]:
    """A column for each entry.

    Raises:
        ShapeError: something is no type.
    """
    found, problems = [], []
    for name, kind in given.items():
        try:
            named = type_named(kind) if isinstance(kind, str) else type_of(kind)
            if named is None:
                raise Misfit(f"{kind!r} is no type")
            found.append(Column(name, named))
        except Misfit as error:
            problems.append(f"{name!r}: {error}")
    if problems:
        raise ShapeError(f"table {table!r}: " + "; ".join(problems))
    return tuple(found)


def columns_of_rows(
    table: str, rows: Sequence[Mapping[str, Any]], known: Iterable[Column] = (), zone: tzinfo | None = None
) -> tuple[Column, ...]:
    """The columns that hold what is in *rows*: those *known*, wider where need be, and new ones.

    A column in which every value is missing is a text.

    Raises:
        ShapeError: values of a column have no common type.
    """
    found: dict[str, str | None] = {column.name: column.type for column in known}
    problems: dict[str, str] = {}
    large: set[str] = set()
    for position, row in enumerate(rows):
        for name, value in row.items():
            if value is None:
                found.setdefault(name, None)
                continue
            try:
                kind = type_of_value(value, zone)
            except Misfit as error:
                problems.setdefault(name, f"row {position}, {name!r}: {error}")
                continue
            if kind == "int" and abs(value) > EXACT_FLOAT:
                large.add(name)
            before = found.get(name)
            if before == kind or kind is None:
                continue
            both = kind if before is None else join(before, kind)
            if both is None:
                problems.setdefault(name, f"row {position}, {name!r}: {_unlike(str(before), kind)}")
            else:
                found[name] = both
    if problems:
        raise ShapeError(f"table {table!r}: " + "; ".join(list(problems.values())[:20]))
    for name in large:
        if found[name] == "float":
            found[name] = "decimal"  # a float has not all whole numbers
    return tuple(Column(name, kind or "text") for name, kind in found.items())


def columns_of_frame(shape: Shape, frame: Frame) -> tuple[Column, ...]:
    """The columns of a table and those of a frame: wider where need be, and new ones.

    Raises:
        ShapeError: a column of the two has no common type.
    """
    found = {column.name: column for column in shape.columns}
    for column in frame.columns:
        known = found.get(column.name)
        if known is None:
            found[column.name] = column
        elif column.name not in frame.unknown and known.type != column.type:
            both = join(known.type, column.type)
            if both is None:
                raise ShapeError(f"table {shape.name!r}, {column.name!r}: {_unlike(known.type, column.type)}")
            found[column.name] = replace(known, type=both)
    return tuple(found.values())


def _unlike(one: str, other: str) -> str:
    if {one, other} == {"timestamp", "timestamptz"}:
        return "some moments have a zone and some have none; say timezone='UTC' or which one the others are in"
    return f"no type of column holds both {one} and {other}"


def type_of(annotation: Any) -> str:
    """The type of a column for a Python type.

    Raises:
        Misfit: there is none.
    """
    try:
        if annotation in _PLAIN:
            return _PLAIN[annotation]
    except TypeError:  # not hashable: some Annotated
        pass
    if isinstance(annotation, typing.NewType):
        return type_of(annotation.__supertype__)
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        if any(extra is AwareDatetime or extra is NaiveDatetime for extra in get_args(annotation)[1:]):
            return "timestamp" if NaiveDatetime in get_args(annotation)[1:] else "timestamptz"
        return type_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _common(type_of(each) for each in get_args(annotation) if each is not type(None))
    if origin is Literal:
        return _common(str(type_of_value(each)) for each in get_args(annotation) if each is not None)
    if origin is not None:
        return "json"
    if not isinstance(annotation, type):
        raise Misfit(f"{annotation!r} is no type of which a column can be made")
    return _of_class(annotation)


def _of_class(cls: type) -> str:
    if issubclass(cls, SecretStr | SecretBytes):
        raise Misfit("secrets do not go into tables; connections keep them encrypted")
    if issubclass(cls, enum.Enum):
        return _common(str(type_of_value(member)) for member in cls)
    if issubclass(cls, BaseModel | dict | list | tuple | set | frozenset) or dataclasses.is_dataclass(cls):
        return "json"
    for known, name in _PLAIN.items():
        if isinstance(known, type) and known is not object and issubclass(cls, known):
            return name
    if typing.is_typeddict(cls):
        return "json"
    try:
        schema = TypeAdapter(cls).json_schema(mode="serialization")
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        raise Misfit(f"there is no type of column for {cls.__module__}.{cls.__qualname__}") from None
    return _OF_SCHEMA.get(str(schema.get("type")), "json")


def _common(found: Iterable[str]) -> str:
    kinds = list(found)
    if not kinds:
        return "json"
    kind = kinds[0]
    for other in kinds[1:]:
        both = join(kind, other)
        # a number or a text: JSON keeps both as they are, a text would not
        kind = "json" if both is None or (both == "text" and "text" in (kind, other) and kind != other) else both
    return kind
