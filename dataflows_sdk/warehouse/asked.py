"""Which rows are meant: a key, or conditions on columns, as SQL with parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.warehouse.columns import Column, Misfit, converter, shortened
from dataflows_sdk.warehouse.rows import Row
from dataflows_sdk.warehouse.shape import PROVENANCE, Shape
from dataflows_sdk.warehouse.statements import quoted

#: a condition over ``t``, and its parameters
Asked = tuple[str, list[Any]]

_COMPARE = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_SIGNS = {"=": "eq", "==": "eq", "!=": "neq", "<>": "neq", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
#: the operators of conditions that a query of a table knows, those of flows' conditions
OPERATORS = (
    *_COMPARE,
    "neq",
    "in",
    "nin",
    "contains",
    "starts_with",
    "ends_with",
    "like",
    "ilike",
    "is_null",
    "not_null",
)
_OURS = {
    "_source": "text",
    "_external_id": "text",
    "_synced_at": "timestamptz",
    "_execution_id": "uuid",
    "_version": "int",
    "_write": "int",
}
assert set(_OURS) == {name for name, _ in PROVENANCE}


def column_named(shape: Shape, name: Any) -> Column:
    """A column, one of ours too.

    Raises:
        DefinitionError: there is none of that name.
    """
    found = shape.column(name) if isinstance(name, str) else None
    if found is None and name in _OURS:
        found = Column(name, _OURS[name])
    if found is None and name == "id" and not shape.own_id:
        found = Column("id", "int")
    if found is None:
        names = ", ".join(column.name for column in shape.columns)
        raise DefinitionError(f"table {shape.name!r} has no column {shortened(name)}; it has {names}")
    return found


def by_key(shape: Shape, key: Any, first: int = 1, zone: tzinfo | None = None) -> Asked:
    """The row of a key.

    Args:
        key: the value; for a key of several columns a tuple, or a mapping from their names. A `Row` stands for its own.

    Raises:
        DefinitionError: it is no key of this table.
    """
    names = shape.row_key
    if isinstance(key, Row | Mapping):
        missing = [name for name in names if name not in key]
        if missing:
            raise DefinitionError(f"table {shape.name!r}: the key is ({', '.join(names)}); {missing[0]!r} is missing")
        values = [key[name] for name in names]
    elif len(names) == 1:
        values = [key]
    elif isinstance(key, tuple | list) and len(key) == len(names):
        values = list(key)
    else:
        raise DefinitionError(
            f"table {shape.name!r}: the key is ({', '.join(names)}): give a tuple of {len(names)}, not {shortened(key)}"
        )
    parts, parameters = [], []
    for at, (name, value) in enumerate(zip(names, values, strict=True), first):
        column = column_named(shape, name)
        if value is None:
            raise DefinitionError(f"table {shape.name!r}: the key {name!r} is None")
        parts.append(f"t.{quoted(name)} = ${at}::text::{column.postgres}")
        parameters.append(_value(shape, column, value, zone))
    return " and ".join(parts), parameters


def where(shape: Shape, conditions: Any, first: int = 1, zone: tzinfo | None = None) -> Asked:
    """Rows for which every condition holds.

    Args:
        conditions: None for all; a mapping from columns to values; or triples ``("amount", "gt", 100)``, also as
            ``{"field": "amount", "op": "gt", "value": 100}``.
        first: the number of the first parameter.

    Raises:
        DefinitionError: it names no column or no operator, or a value does not fit.
    """
    if conditions is None:
        return "true", []
    parts: list[str] = []
    parameters: list[Any] = []
    for name, operator, value in _triples(shape, conditions):
        column = column_named(shape, name)
        text, values = _one(shape, column, operator, value, first + len(parameters), zone)
        parts.append(text)
        parameters += values
    return " and ".join(parts) or "true", parameters


def _triples(shape: Shape, conditions: Any) -> list[tuple[Any, str, Any]]:
    if isinstance(conditions, Mapping) and "field" not in conditions:
        return [
            (name, "in" if isinstance(value, list | set | frozenset) else "eq", value)
            for name, value in conditions.items()
        ]
    if isinstance(conditions, Mapping) or (
        isinstance(conditions, tuple) and len(conditions) in (2, 3) and isinstance(conditions[0], str)
    ):
        conditions = [conditions]
    if not isinstance(conditions, Sequence) or isinstance(conditions, str | bytes):
        raise DefinitionError(
            f"table {shape.name!r}: where= is a dict of columns and values, or a list of triples such as "
            f"('amount', 'gt', 100), not {shortened(conditions)}"
        )
    found = []
    for each in conditions:
        if isinstance(each, Mapping):
            each = (each.get("field"), each.get("op", "eq"), each.get("value"))
        if not isinstance(each, Sequence) or isinstance(each, str) or len(each) not in (2, 3):
            raise DefinitionError(
                f"table {shape.name!r}: {shortened(each)} is no condition; write ('amount', 'gt', 100)"
            )
        name, operator, value = each if len(each) == 3 else (*each, None)
        found.append((name, str(operator), value))
    return found


def _one(shape: Shape, column: Column, operator: str, value: Any, at: int, zone: tzinfo | None) -> Asked:
    name, kind = f"t.{quoted(column.name)}", column.postgres
    negated = operator.startswith("not.")
    word = _SIGNS.get(operator, operator.removeprefix("not."))
    if word not in OPERATORS:
        raise DefinitionError(
            f"table {shape.name!r}: there is no operator {operator!r}; there are {', '.join(OPERATORS)}"
        )
    parameters: list[Any] = []
    if word in ("is_null", "not_null") or (word in ("eq", "neq") and value is None):
        text = f"{name} is {'not ' if word in ('not_null', 'neq') else ''}null"
    elif word in _COMPARE:
        text, parameters = f"{name} {_COMPARE[word]} ${at}::text::{kind}", [_value(shape, column, value, zone)]
    elif word == "neq":
        text, parameters = f"{name} is distinct from ${at}::text::{kind}", [_value(shape, column, value, zone)]
    elif word in ("in", "nin"):
        if not isinstance(value, list | tuple | set | frozenset):
            raise DefinitionError(f"table {shape.name!r}: {word!r} wants a list of values, not {shortened(value)}")
        parameters = [[_value(shape, column, each, zone) for each in value]]
        text = f"{name} = any(${at}::text[]::{kind}[])"
        if word == "nin":
            text = f"({text}) is not true"
    elif word == "contains" and column.type == "json":
        text, parameters = f"{name} @> ${at}::text::jsonb", [_value(shape, column, value, zone)]
    else:
        text, parameters = _text_match(shape, column, word, value, at)
    return (f"({text}) is not true" if negated else text), parameters


_MATCH: dict[str, Callable[[str, int], str]] = {
    "contains": lambda name, at: f"position(${at}::text in {name}) > 0",
    "starts_with": lambda name, at: f"starts_with({name}, ${at}::text)",
    "ends_with": lambda name, at: f"right({name}, length(${at}::text)) = ${at}::text",
    "like": lambda name, at: f"{name} like ${at}::text",
    "ilike": lambda name, at: f"{name} ilike ${at}::text",
}


def _text_match(shape: Shape, column: Column, word: str, value: Any, at: int) -> Asked:
    if column.type != "text" or not isinstance(value, str):
        raise DefinitionError(
            f"table {shape.name!r}: {word!r} compares texts; {column.name!r} is {column.type}, and the value "
            f"{shortened(value)}"
        )
    return _MATCH[word](f"t.{quoted(column.name)}", at), [_value(shape, column, value, None)]


def _value(shape: Shape, column: Column, value: Any, zone: tzinfo | None) -> str:
    try:
        return converter(column, coerce=column.type not in ("text", "json"), zone=zone)(value)
    except (Misfit, ValueError, ArithmeticError, TypeError) as error:
        raise DefinitionError(f"table {shape.name!r}, {column.name!r}: {error}") from None


def ordering(shape: Shape, order: Any) -> list[tuple[str, bool]]:
    """``"amount"``, ``"-amount"`` (descending), or several, as names and whether descending.

    Raises:
        DefinitionError: there is no such column.
    """
    wanted = [order] if isinstance(order, str) else list(order or ())
    found = []
    for each in wanted:
        down = isinstance(each, str) and each.startswith("-") and shape.column(each) is None
        name = each[1:] if down else each
        found.append((column_named(shape, name).name, down))
    return found


def complete(shape: Shape, order: Any) -> list[tuple[str, bool]]:
    """An order in which no two rows are equal: as asked, then by the key."""
    found = ordering(shape, order)
    named = {name for name, _ in found}
    return [*found, *((name, False) for name in shape.row_key if name not in named)]


def behind(
    shape: Shape, order: Sequence[tuple[str, bool]], row: Any, first: int = 1, zone: tzinfo | None = None
) -> Asked:
    """Rows that stand behind another one, whether that is still there or not.

    Args:
        order: of `complete`. What is null is the last, or in descending order the first.
        row: a row, or a mapping from the columns of the order to its values.

    Raises:
        DefinitionError: it has no value for a column of the order, or one that does not fit.
    """
    if not isinstance(row, Row | Mapping):
        raise DefinitionError(f"table {shape.name!r}: after= is a row, or a mapping, not {shortened(row)}")
    missing = [name for name, _ in order if name not in row]
    if missing:
        raise DefinitionError(f"table {shape.name!r}: after= has no {missing[0]!r}, by which the rows are in order")
    parameters: list[Any] = []
    signs: list[str | None] = []
    for name, _ in order:
        column = column_named(shape, name)
        if row[name] is None:
            signs.append(None)
            continue
        signs.append(f"${first + len(parameters)}::text::{column.postgres}")
        parameters.append(_value(shape, column, row[name], zone))
    names = [f"t.{quoted(name)}" for name, _ in order]
    if all(name in shape.row_key and not down for name, down in order) and None not in signs:
        # one comparison of all, for which the index of the key serves
        return f"({', '.join(names)}) > ({', '.join(map(str, signs))})", parameters
    text = "false"
    for name, sign, (_, down) in reversed(list(zip(names, signs, order, strict=True))):
        if sign is None:
            beyond, same = f"{name} is not null" if down else "false", f"{name} is null"
        else:
            beyond, same = f"{name} < {sign}" if down else f"({name} > {sign} or {name} is null)", f"{name} = {sign}"
        text = f"({beyond} or ({same} and {text}))"
    return text, parameters
