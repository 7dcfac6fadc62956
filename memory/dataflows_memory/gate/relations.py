"""What a query may read: tables and views with their columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError

WAREHOUSE = "warehouse"
PAST = "warehouse_past"


@dataclass(frozen=True, slots=True)
class Relation(ShownAsTable):
    """A table or view that may be read.

    Attributes:
        name, schema: where it is.
        columns: which of its columns, in order, with their types; an empty type is an unknown one.
        partial: whether it has further columns, which may not be read.
        kind: ``"table"``, ``"view"`` or ``"history"`` (all versions of a table's rows).
        versioned: whether the warehouse keeps what its rows were, so that it can be read as of a moment.
    """

    name: str
    columns: Mapping[str, str]
    schema: str = WAREHOUSE
    partial: bool = False
    kind: str = "table"
    versioned: bool = False
    key: tuple[str, ...] = ()
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    comment: str | None = None

    @property
    def shown(self) -> str:
        """As a query may call it."""
        name = self.name if self.name.isidentifier() and self.name == self.name.lower() else f'"{self.name}"'
        return name if self.schema == WAREHOUSE else f"{self.schema}.{name}"


Allowed = Mapping[str, "Relation | Mapping[str, str] | Iterable[str]"]


def relations_of(allowed: Allowed | Iterable[Relation]) -> dict[tuple[str, str], Relation]:
    """By schema and name.

    Args:
        allowed: relations; or by name (``"tasks"``, ``"other.tasks"``) their columns, with types or without.

    Raises:
        DefinitionError: it is neither.
    """
    found: dict[tuple[str, str], Relation] = {}
    named = allowed.items() if isinstance(allowed, Mapping) else ((each.name, each) for each in allowed)
    for name, given in named:
        if isinstance(given, Relation):
            relation = given
        elif isinstance(given, str) or not isinstance(given, Iterable):
            raise DefinitionError(f"table {name!r}: its columns are a list of names, not {given!r:.100}")
        else:
            schema, _, bare = name.rpartition(".")
            columns = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "")
            relation = Relation(bare, columns, schema or WAREHOUSE)
        found[relation.schema, relation.name] = relation
    return found


def near(name: str, known: Iterable[str], label: str = "Did you mean") -> str:
    """A question that names what looks alike, or lists what there is when nothing does."""
    names = sorted(set(known))
    lower = {each.lower(): each for each in names}
    alike = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    alike += [each for each in names if each not in alike and name.lower() in each.lower()][: 3 - len(alike)]
    if alike:
        return f"{label} {' or '.join(alike)}?"
    listed = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    return f"There are: {listed}." if listed else "There is nothing that may be read."
