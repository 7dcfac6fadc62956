"""The SQL of a table, as text: names are the user's and quoted, values are parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.shape import ENDED, HISTORY, PROVENANCE, Change, Child, Shape

#: parameters of a write before those of its rows
BEFORE = 5


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of SQL, for statements that take no parameters."""
    if "\\" in text:
        return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def table_name(name: str) -> str:
    """The table, with its schema."""
    return f"warehouse.{quoted(name)}"


def past_name(name: str) -> str:
    """The table of the versions that are over, with its schema."""
    return f"warehouse_past.{quoted(name)}"


def history_name(name: str) -> str:
    """The view of all versions, with its schema."""
    return f"warehouse.{quoted(name + '_history')}"


def columns_of(shape: Shape) -> list[str]:
    """Every column of the table, ours too, in the order in which they are shown."""
    mine = [column.name for column in shape.columns]
    return [*([] if shape.own_id else ["id"]), *mine, *(name for name, _ in PROVENANCE)]


def _listed(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)


_WORD = re.compile(r"\{(\w+)\}")


def _filled(name: str, **words: str) -> str:
    # In one pass, so that a name of the user's which looks like a place in braces stays a name.
    return _WORD.sub(lambda found: words[found[1]], statement("tables", name, "dataflows_sdk.warehouse"))


def _at(last: str = "null::timestamptz") -> str:
    """When a write begins; *last* is the latest of the versions that it ends."""
    return _filled("part_at", last=last)


def _archived(shape: Shape, *, deleted: bool) -> str:
    """The part that keeps the versions which a write ends."""
    everything = columns_of(shape)
    return _filled(
        "part_archived",
        past=past_name(shape.name),
        all=_listed(everything),
        all_locked=_listed(everything, "l."),
        deleted=str(deleted).lower(),
    )


def _provenance(shape: Shape, values: Mapping[str, str]) -> dict[str, str]:
    """The columns of ours that an inserted row has, and what stands in them."""
    external = _external(shape.key, values)
    return {
        "provenance": _filled("part_provenance"),
        "provenance_new": _filled("part_provenance_new", external=external),
    }


# --- rows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Incoming:
    """Where the rows of a write come from: ``one`` (a parameter each column), ``lists``, ``staged``, ``changed``."""

    kind: str
    columns: tuple[Column, ...]

    @property
    def text(self) -> str:
        names = _listed(column.name for column in self.columns)
        numbered = list(enumerate(self.columns, BEFORE + 1))
        if self.kind == "one":
            casts = ", ".join(f"${at}::text::{each.postgres} as {quoted(each.name)}" for at, each in numbered)
            return _filled("rows_one", parameters=casts)
        if self.kind == "lists":
            casts = ", ".join(f"i.{quoted(each.name)}::{each.postgres} as {quoted(each.name)}" for each in self.columns)
            parameters = ", ".join(f"${at}::text[]" for at, _ in numbered)
            return _filled("rows_lists", casts=casts, parameters=parameters, names=names)
        return _filled(f"rows_{self.kind}", names=names)


def _external(key: Sequence[str], values: Mapping[str, str]) -> str:
    """The key as text, from how the columns of the row are written."""
    if not key:
        return "null::text"
    if len(key) == 1:
        return f"{values[key[0]]}::text"
    return "concat_ws(',', " + ", ".join(f"{values[name]}::text" for name in key) + ")"


def upsert(shape: Shape, incoming: Incoming) -> str:
    """The statement that inserts and updates rows; it answers with counts."""
    given = [column.name for column in incoming.columns]
    rest = [name for name in given if name not in shape.key]
    differs = _differs(rest, {name: "i." + quoted(name) for name in rest})
    return _filled(
        "upsert",
        **_parts(shape, {name: "i." + quoted(name) for name in given}, rest),
        at=_at("l.last"),
        incoming=incoming.text,
        or_differs=f"or {differs}" if rest else "",
        differs=differs,
        order=_listed(shape.key, "t."),
        order_incoming=_listed(shape.key, "i."),
        returning="1",
    )


def upsert_one(shape: Shape, columns: tuple[Column, ...]) -> str:
    """The statement that inserts or updates one row, a parameter for each column; it answers with the row."""
    values = {each.name: f"${at}::text::{each.postgres}" for at, each in enumerate(columns, BEFORE + 1)}
    rest = [each.name for each in columns if each.name not in shape.key]
    everything = columns_of(shape)
    return _filled(
        "upsert_one",
        **_parts(shape, values, rest),
        at=_at("l._synced_at"),
        differs=_differs(rest, values),
        returning=_listed(everything, "t."),
        row=_listed(everything, "u."),
        row_same=_listed(everything, "t."),
    )


def in_order(shape: Shape) -> str:
    """Inserted rows begin after they ended before."""
    return _filled(
        "in_order",
        table=table_name(shape.name),
        past=past_name(shape.name),
        key_t=_listed(shape.row_key, "t."),
        same_row=" and ".join(f"p.{quoted(name)} = t.{quoted(name)}" for name in shape.row_key),
    )


def _parts(shape: Shape, values: Mapping[str, str], rest: Sequence[str]) -> dict[str, str]:
    """What the statements for one row and for many have in common; *values* are the columns of the rows in SQL."""
    return {
        "table": table_name(shape.name),
        "on": " and ".join(f"t.{quoted(name)} = {values[name]}" for name in shape.key),
        "written": _filled("part_written"),
        "archived": _archived(shape, deleted=False),
        "sets": "".join(f"{quoted(name)} = {values[name]}, " for name in rest),
        "stamps": _filled("part_stamps"),
        "columns": _listed(values),
        "values": ", ".join(values.values()),
        "key": _listed(shape.key),
        **_provenance(shape, values),
    }


def _differs(names: Sequence[str], values: Mapping[str, str]) -> str:
    if not names:
        return "false"
    return f"({_listed(names, 't.')}) is distinct from ({', '.join(values[name] for name in names)})"


def insert(shape: Shape, incoming: Incoming, *, row: bool) -> str:
    """The statement that only inserts."""
    given = [column.name for column in incoming.columns]
    everything = columns_of(shape)
    answer = _filled("answer_inserted_row", row=_listed(everything, "u.")) if row else _filled("answer_inserted")
    return _filled(
        "insert",
        incoming=incoming.text,
        at=_at(),
        answer=answer,
        table=table_name(shape.name),
        columns=_listed(given),
        values=_listed(given, "i."),
        **_provenance(shape, {name: "i." + quoted(name) for name in given}),
        returning=_listed(everything, "t.") if row else "1",
    )


def delete(shape: Shape, condition: str) -> str:
    """The statement that deletes the rows of a condition over ``t``."""
    return _filled(
        "delete",
        at=_at("l.last"),
        archived=_archived(shape, deleted=True),
        table=table_name(shape.name),
        condition=condition,
        order=_listed(shape.row_key, "t."),
        same_row=" and ".join(f"t.{quoted(name)} = l.{quoted(name)}" for name in shape.row_key),
    )


def select(shape: Shape, condition: str, order: Sequence[tuple[str, bool]] = (), limit: str = "") -> str:
    """Rows of a condition over ``t``, all columns."""
    by = ", ".join(f"t.{quoted(name)}" + (" desc" if down else "") for name, down in order)
    return _filled(
        "select",
        columns=_listed(columns_of(shape), "t."),
        table=table_name(shape.name),
        condition=condition,
        order=f"order by {by}" if by else "",
        limit=limit,
    )


def count(shape: Shape, condition: str) -> str:
    """How many rows a condition over ``t`` has."""
    return _filled("count", table=table_name(shape.name), condition=condition)


def stage(columns: Sequence[Column]) -> str:
    """The temporary table for many rows."""
    return _filled("stage", definitions=", ".join(f"{quoted(each.name)} {each.postgres}" for each in columns))


def stage_copy(columns: Sequence[Column]) -> str:
    """COPY into it."""
    return _filled("stage_copy", names=_listed(column.name for column in columns))


def stage_new(shape: Shape, columns: Sequence[Column]) -> str:
    """The staged rows that are new or different, as a table of their own."""
    values = {each.name: "i." + quoted(each.name) for each in columns}
    rest = [name for name in values if name not in shape.key]
    parts = _parts(shape, values, rest)
    return _filled(
        "stage_new",
        values=parts["values"],
        table=parts["table"],
        on=parts["on"],
        or_differs=f"or {_differs(rest, values)}" if rest else "",
    )


def load(name: str, shape: Shape, columns: Sequence[Column] = (), words: Mapping[str, str] | None = None) -> str:
    """A statement of the first load, ``load_…``."""
    common = {
        "table": table_name(shape.name),
        "past": past_name(shape.name),
        "at": _at(),
        "names": _listed([*(column.name for column in columns), *(["_external_id"] if shape.key else [])]),
    }
    return _filled(name, **(common | dict(words or {})))


def fixed(name: str) -> str:
    """A statement without names of users."""
    return _filled(name)


# --- the table itself -------------------------------------------------------------------------------------


def create(shape: Shape) -> list[str]:
    """The table, its past and their history."""
    table, past = table_name(shape.name), past_name(shape.name)
    identity = [] if shape.own_id else ["id bigint generated by default as identity"]
    mine = [f"{quoted(each.name)} {each.postgres}" + ("" if each.nullable else " not null") for each in shape.columns]
    ours = [f"{name} {kind}" for name, kind in PROVENANCE]
    bare = [] if shape.own_id else ["id bigint"]
    before = [*bare, *(f"{quoted(each.name)} {each.postgres}" for each in shape.columns), *ours]
    before += [f"{name} {kind}" for name, kind in ENDED]
    texts = [
        f"create table {table} ({', '.join([*identity, *mine, *ours])})",
        f"create table {past} ({', '.join(before)})",
        f"create index on {table} (_write)",
        f"create index on {past} ({_listed(shape.row_key)}, _synced_at)",
        f"create index on {past} (_write)",
        f"create index on {past} (_ended_by)",
    ]
    if not shape.own_id:
        texts.append(f"alter table {table} add primary key (id)")
    if shape.key:
        unique = "primary key" if shape.own_id else "unique"
        texts.append(f"alter table {table} add {unique} ({_listed(shape.key)})")
    texts += [reference(shape, column) for column in shape.references]
    texts.append(history_view(shape))
    return texts


def reference(shape: Shape, column: str) -> str:
    """A foreign key, and the index by which the rows that refer are found."""
    target, other = shape.references[column]
    return (
        f"alter table {table_name(shape.name)} add foreign key ({quoted(column)}) "
        f"references {table_name(target)} ({quoted(other)}); "
        f"create index on {table_name(shape.name)} ({quoted(column)})"
    )


def belongs(shape: Shape, parent: Shape, child: Child) -> str:
    """The foreign key of a child table; its own key begins with the same columns, so that it needs no other index."""
    return (
        f"alter table {table_name(shape.name)} add foreign key ({_listed(child.parent)}) "
        f"references {table_name(parent.name)} ({_listed(parent.key)})"
    )


def drop_history(shape: Shape) -> str:
    """The view of the history stands on the columns, which cannot be changed under it."""
    return f"drop view if exists {history_name(shape.name)}"


def history_view(shape: Shape) -> str:
    """The view of all versions."""
    names = [name for name in columns_of(shape) if name not in {each for each, _ in PROVENANCE}]
    return _filled(
        "history",
        history=history_name(shape.name),
        table=table_name(shape.name),
        past=past_name(shape.name),
        columns=_listed(names, "t."),
        columns_past=_listed(names, "p."),
        **history_names(shape),
    )


def history_names(shape: Shape) -> dict[str, str]:
    """What our columns of the history are called there: as usual, or with a _ where the user has one of that name."""
    taken = {column.name.lower() for column in shape.columns}
    return {name: f"_{name}" if name in taken else name for name in HISTORY}


def alter(shape: Shape, change: Change) -> list[str]:
    """One step to another look; *shape* is the look afterwards."""
    both = (table_name(shape.name), past_name(shape.name))
    name = quoted(change.column)
    if change.kind == "rename":
        # Views that stand on them go on under the old name; that of the history says the new one.
        return [
            f"alter {what} rename column {quoted(str(change.old))} to {name}"
            for what in (*(f"table {each}" for each in both), f"view {history_name(shape.name)}")
        ]
    if change.kind == "reference":
        return [reference(shape, change.column)]
    column = shape.column(change.column)
    assert column is not None
    if change.kind == "add":
        return [f"alter table {each} add column {name} {column.postgres}" for each in both]
    using = "to_jsonb" if column.type == "json" else ""
    cast = f"{using}({name})" if using else f"{name}::{column.postgres}"
    return [f"alter table {each} alter column {name} type {column.postgres} using {cast}" for each in both]


def beyond(table: str, column: str, largest: int) -> str:
    """Whether a table has a number of a larger size in a column; both names are quoted."""
    return _filled("beyond", table=table, column=column, largest=str(largest))


# --- the past ---------------------------------------------------------------------------------------------


def as_of(shape: Shape, condition: str, order: Sequence[tuple[str, bool]] = (), limit: str = "") -> str:
    """Rows as they were at $1."""
    by = ", ".join(f"t.{quoted(name)}" + (" desc" if down else "") for name, down in order)
    return _filled(
        "as_of",
        columns=_listed(columns_of(shape), "t."),
        table=table_name(shape.name),
        past=past_name(shape.name),
        condition=condition,
        order=f"order by {by}" if by else "",
        limit=limit,
    )


def versions(shape: Shape, condition: str) -> str:
    """The versions of a row."""
    everything = columns_of(shape)
    return _filled(
        "versions",
        columns=_listed(everything, "v."),
        columns_t=_listed(everything, "t."),
        table=table_name(shape.name),
        past=past_name(shape.name),
        condition=condition,
    )


def changed(shape: Shape) -> str:
    """What a write did to the rows of a table."""
    everything = columns_of(shape)
    places = range(len(everything))
    keys = [everything.index(name) for name in shape.row_key]
    return _filled(
        "changed",
        both=", ".join([*(f"c.a{at}" for at in places), *(f"c.b{at}" for at in places)]),
        after=", ".join(f"t.{quoted(name)} as a{at}" for at, name in enumerate(everything)),
        before=", ".join(f"p.{quoted(name)} as b{at}" for at, name in enumerate(everything)),
        nothing=", ".join("null" for _ in places),
        columns_t=_listed(everything, "t."),
        table=table_name(shape.name),
        past=past_name(shape.name),
        same_row=" and ".join(f"p.{quoted(name)} = t.{quoted(name)}" for name in shape.row_key),
        order=", ".join(f"coalesce(c.a{at}, c.b{at})" for at in keys),
    )


def touched(shape: Shape, same_row: str) -> str:
    """Waits for rows that somebody wrote to; *same_row* compares ``t`` with the key of the wait ``q``."""
    words = {"table": table_name(shape.name), "past": past_name(shape.name), "same_row": same_row}
    return _WORD.sub(lambda found: words[found[1]], statement("waits", "touched", "dataflows_sdk.warehouse"))


def differences(shape: Shape) -> str:
    """Rows that are not the same at two moments."""
    everything = columns_of(shape)
    mine = [column.name for column in shape.columns]
    return _filled(
        "differences",
        columns=_listed(everything, "t."),
        columns_one=_listed(everything, "a."),
        columns_other=_listed(everything, "b."),
        table=table_name(shape.name),
        past=past_name(shape.name),
        same_rows=" and ".join(f"a.{quoted(name)} = b.{quoted(name)}" for name in shape.row_key),
        mine_one=_listed(mine, "a."),
        mine_other=_listed(mine, "b."),
        order=", ".join(f"coalesce(a.{quoted(name)}, b.{quoted(name)})" for name in shape.row_key),
    )
