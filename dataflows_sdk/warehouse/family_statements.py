"""The SQL of lists that are tables of their own, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.statements import (
    _WORD,
    Incoming,
    _archived,
    _at,
    _differs,
    _listed,
    _parts,
    columns_of,
    past_name,
    quoted,
    table_name,
)

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.shape import Child, Shape


def _filled(name: str, **words: str) -> str:
    return _WORD.sub(lambda found: words[found[1]], statement("families", name, "dataflows_sdk.warehouse")).rstrip(";")


def given_columns(shape: Shape, child: Child) -> list[Column]:
    """The columns of a child table that name the parent's row."""
    return [column for name in child.parent if (column := shape.column(name)) is not None]


def listed(columns: Sequence[Column], first: int) -> str:
    """Keys that come as lists of texts, from the parameter *first* on."""
    numbered = list(enumerate(columns))
    return _filled(
        "listed",
        casts=", ".join(f"g.k{at}::{each.postgres}" for at, each in numbered),
        parameters=", ".join(f"${first + at}::text[]" for at, _ in numbered),
        names=", ".join(f"k{at}" for at, _ in numbered),
    )


def staged(columns: Sequence[Column]) -> str:
    """Keys that are staged."""
    return _filled("staged", names=", ".join(f"g.k{at}" for at, _ in enumerate(columns)))


def stage_owners(columns: Sequence[Column]) -> str:
    """The temporary table for them."""
    return _filled("stage_owners", definitions=", ".join(f"k{at} {each.postgres}" for at, each in enumerate(columns)))


def lock(shape: Shape, given: str) -> str:
    """Lock the rows of keys; *given* is one of the above."""
    return _filled("lock", table=table_name(shape.name), key=_listed(shape.key, "t."), given=given)


def doom(shape: Shape, condition: str) -> str:
    """Lock the rows of a condition over ``t`` and keep their keys."""
    return _filled(
        "doom",
        table=table_name(shape.name),
        key=_listed(shape.key),
        key_t=_listed(shape.key, "t."),
        condition=condition,
    )


def doomed(shape: Shape) -> str:
    """The condition that means those."""
    return _filled("doomed", key=_listed(shape.key), key_t=_listed(shape.key, "t."))


def belonging(shape: Shape, child: Child, condition: str) -> str:
    """The condition over a child table ``t`` that means what belongs to rows of a condition over the parent ``t``."""
    return _filled(
        "belonging",
        parent=_listed(child.parent, "t."),
        table=table_name(shape.name),
        key_t=_listed(shape.key, "t."),
        condition=condition,
    )


def gone(shape: Shape, child: Child, given: str, kept: str) -> str:
    """The condition over a child table ``t`` that means what lists have no more; *kept* is what they have."""
    on = " and ".join(f"t.{quoted(name)} = i.{quoted(name)}" for name in shape.key)
    return _filled("gone", parent=_listed(child.parent, "t."), given=given, kept=kept, on=on)


def replaced(shape: Shape, incoming: Incoming, gone: str) -> str:
    """The statement that makes lists what they are now; it answers with counts."""
    given = [column.name for column in incoming.columns]
    rest = [name for name in given if name not in shape.key]
    values = {name: "i." + quoted(name) for name in given}
    differs = _differs(rest, values)
    parts = _parts(shape, values, rest)
    parts.pop("written")
    everything = columns_of(shape)
    return _filled(
        "replace",
        **(parts | {"archived": _archived(shape, deleted=False)}),
        at=_at("greatest(l.last, g.last)"),
        incoming=incoming.text,
        or_differs=f"or {differs}" if rest else "",
        differs=differs,
        order=_listed(shape.key, "t."),
        order_incoming=_listed(shape.key, "i."),
        gone=gone,
        past=past_name(shape.name),
        all=_listed(everything),
        all_gone=_listed(everything, "g."),
        same_row=" and ".join(f"t.{quoted(name)} = g.{quoted(name)}" for name in shape.row_key),
    )
