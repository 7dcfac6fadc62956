"""What there is to ask: tables and views for `check_query`, and as a text for a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from dataflows_memory.gate.reader import Reader
from dataflows_memory.gate.relations import Relation, near
from dataflows_memory.gate.texts import text_of
from dataflows_sdk.core.redact_patterns import is_secret_name
from dataflows_sdk.errors import DefinitionError, QueryError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.shape import PROVENANCE
from dataflows_sdk.warehouse.statements import quoted

_OURS = tuple(name for name, _ in PROVENANCE)
_TEXTS = ("text", "character varying", "varchar")
#: values of a column that are shown, and how many rows are looked at for them
_VALUES, _LOOKED_AT, _LONGEST = 8, 2_000, 40
_MOST_COLUMNS = 60


def readable(
    database: Database,
    tables: Iterable[str] | None = None,
    *,
    hide: Mapping[str, Iterable[str]] | None = None,
    history: bool = False,
) -> list[Relation]:
    """Tables and views of the warehouse, for `Reader`.

    Args:
        tables: which; by default all of them.
        hide: columns that may not be read, by table.
        history: the pasts of the tables as well (``tasks_history``).

    Raises:
        DefinitionError: there is no table, view or column of a name that was given.
    """
    shapes = dict(database.query(text_of("shapes")))
    found: dict[str, Relation] = {}
    hidden = {table: set(columns) for table, columns in (hide or {}).items()}
    for name, kind, comment, _, columns, types, _ in database.query(text_of("relations")):
        past = name.endswith("_history") and name.removesuffix("_history") in shapes
        if past and not history and (tables is None or name not in set(tables)):
            continue
        shape = shapes.get(name)
        away = hidden.pop(name, set())
        if missing := away - set(columns):
            raise DefinitionError(f"hide: {name} has no column {min(missing)}; {near(min(missing), columns)}")
        shown = {column: type_ for column, type_ in zip(columns, types, strict=True) if column not in away}
        if not shown:
            raise DefinitionError(f"hide: nothing of {name} would be left; leave it out of the tables")
        found[name] = Relation(
            name,
            shown,
            partial=bool(away),
            kind="history" if past else "view" if kind in ("v", "m") else "table",
            versioned=shape is not None and not past,
            key=tuple(shape["key"]) or ("id",) if shape is not None else (),
            references={column: (table, other) for column, (table, other) in shape["references"].items()}
            if shape is not None
            else {},
            comment=comment,
        )
    if tables is None:
        if hidden:
            raise DefinitionError(f"hide: there is no table {min(hidden)}; {near(min(hidden), found)}")
        return list(found.values())
    wanted = list(dict.fromkeys(tables))
    for name in (*wanted, *hidden):
        if name not in found and name not in (hide or {}):
            raise DefinitionError(f"there is no table or view {name} in the warehouse; {near(name, found)}")
    return [found[name] for name in wanted]


def describe(
    reader: Reader,
    database: Database,
    *,
    values: bool = True,
    secret: Iterable[str] = (),
    as_of: datetime | None = None,
) -> str:
    """What a reader answers questions about, as a text for a model.

    Args:
        reader: whose tables.
        database: for how many rows there are, by its own guess.
        values: show the values of text columns that have few.
        secret: columns (``"table.column"``) whose values are not shown; nor are those whose name sounds like a secret.
        as_of: show the values of that moment, and no sizes: what came later would give an answer away.
    """
    sizes = _sizes(reader, database) if as_of is None else {}
    silent = set(secret)
    parts = []
    for relation in reader.relations:
        samples = _samples(reader, relation, silent, as_of) if values and relation.kind != "history" else {}
        parts.append(_told(relation, sizes.get((relation.schema, relation.name)), samples))
    parts.append(
        "One SELECT of PostgreSQL, over these only. Every table of the warehouse also has "
        + ", ".join(_OURS[:5])
        + ": where a row came from, when it was written, by which run."
    )
    return "\n".join(parts)


def _told(relation: Relation, rows: int | None, samples: Mapping[str, list[str]]) -> str:
    head = f"{relation.shown} ({relation.kind}{'' if rows is None else f', about {rows:,} rows'})"
    if relation.comment:
        head += f": {' '.join(relation.comment.split())[:200]}"
    lines = [head]
    shown = [name for name in relation.columns if name not in _OURS]
    for name in shown[:_MOST_COLUMNS]:
        words = [f"  {_as_written(name)} {relation.columns[name]}".rstrip()]
        if name in relation.key:
            words.append("key" if len(relation.key) == 1 else "part of the key")
        if name in relation.references:
            words.append("-> " + ".".join(_as_written(each) for each in relation.references[name]))
        if name in samples:
            words.append("values: " + ", ".join(f"'{value}'" for value in samples[name]))
        lines.append("; ".join(words))
    if len(shown) > _MOST_COLUMNS:
        lines.append(f"  … and {len(shown) - _MOST_COLUMNS} more columns")
    return "\n".join(lines)


def _as_written(name: str) -> str:
    return name if name.isidentifier() and name == name.lower() else quoted(name)


def _sizes(reader: Reader, database: Database) -> dict[tuple[str, str], int]:
    schemas = [each.schema for each in reader.relations]
    names = [each.name for each in reader.relations]
    counted = database.query(text_of("sizes"), [schemas, names])
    found = {(schema, name): rows for schema, name, rows in counted if rows >= 0}
    for each in reader.relations:
        # never analysed: small enough to count, as a rule
        if (each.schema, each.name) not in found and each.kind == "table":
            table = f"{quoted(each.schema)}.{quoted(each.name)}"
            answer = _asked(reader, text_of("count_up_to", table=table, most="100000"))
            if answer:
                found[each.schema, each.name] = answer[0][0]
    return found


def _samples(reader: Reader, relation: Relation, silent: set[str], as_of: datetime | None) -> dict[str, list[str]]:
    """The values of columns that have few, from the first rows."""
    columns = [
        name
        for name, kind in relation.columns.items()
        if kind.startswith(_TEXTS)
        and name not in _OURS
        and f"{relation.name}.{name}" not in silent
        and not is_secret_name(name)
    ][:_MOST_COLUMNS]
    if not columns:
        return {}
    table = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    bounds = {"longest": str(_LONGEST + 1), "most": str(_VALUES + 1)}
    parts = ", ".join(
        text_of("values_of", name=quoted(name), alias=f"c{at}", **bounds) for at, name in enumerate(columns)
    )
    names = ", ".join(quoted(name) for name in columns)
    rows = _asked(
        reader, text_of("some_values", names=names, table=table, looked_at=str(_LOOKED_AT), parts=parts), as_of
    )
    found = dict(zip(columns, rows[0][0] if rows else (), strict=False))
    return {name: values for name, values in found.items() if _are_few(values)}


def _are_few(values: object) -> bool:
    return isinstance(values, list) and 0 < len(values) <= _VALUES and all(len(each) <= _LONGEST for each in values)


def _asked(reader: Reader, text: str, as_of: datetime | None = None) -> list[list[Any]]:
    """The rows of a query of ours; none where it cannot be answered: a description is good without them."""
    try:
        return reader.query(text, as_of=as_of).rows
    except QueryError:
        return []
