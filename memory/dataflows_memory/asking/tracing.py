"""From which rows of tables the rows of a query come, and which runs wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

    from dataflows_memory.gate import Relation

_RUN = "_execution_id"
_MOST = 4


@dataclass(frozen=True, slots=True)
class Traced:
    """A query that also gives where its rows come from.

    Attributes:
        text: it; the further columns are at its end.
        tables: of which table each is, and how many columns of its key there are; before these stands the run.
    """

    text: str
    tables: tuple[tuple[str, int], ...]

    @property
    def width(self) -> int:
        """How many columns are ours."""
        return sum(1 + count for _, count in self.tables)


def traced(text: str, relations: Sequence[Relation]) -> Traced | None:
    """The query with keys and runs behind its columns; None where a row of it does not stand for rows of tables.

    What comes out goes through the gate like anything else.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except (SqlglotError, RecursionError):
        return None
    if not isinstance(tree, exp.Select) or not _rows_are_rows(tree):
        return None
    known = {relation.name: relation for relation in relations}
    tables: list[tuple[str, int]] = []
    for table in _tables(tree):
        relation = known.get(table.name)
        if relation is None or _RUN not in relation.columns or any(key not in relation.columns for key in relation.key):
            continue
        columns = (_RUN, *relation.key)
        tree.select(
            *(exp.column(exp.to_identifier(name, quoted=True), table=table.alias_or_name) for name in columns),
            copy=False,
        )
        tables.append((relation.name, len(relation.key)))
    return Traced(tree.sql(dialect="postgres"), tuple(tables)) if tables else None


def behind(traced: Traced, row: Sequence[Any]) -> list[dict[str, Any]]:
    """Where one row comes from, of a row with our columns at its end."""
    found: list[dict[str, Any]] = []
    at = len(row) - traced.width
    for table, count in traced.tables:
        run, key = row[at], list(row[at + 1 : at + 1 + count])
        at += 1 + count
        if any(each is not None for each in key):  # an outer join may have found none
            found.append({"table": table, "key": key, "run": run})
    return found


def _tables(tree: exp.Select) -> list[exp.Table]:
    from sqlglot import exp

    places: Mapping[str, Any] = tree.args
    first = places.get("from_") or places.get("from")
    found = [] if first is None else [first.this]
    found += [join.this for join in places.get("joins") or ()]
    return [each for each in found if isinstance(each, exp.Table)][:_MOST]


def _rows_are_rows(tree: exp.Select) -> bool:
    from sqlglot import exp

    if any(tree.args.get(part) for part in ("group", "distinct", "having", "with", "with_", "windows")):
        return False
    return not any(each.find(exp.AggFunc, exp.Window) for each in tree.expressions)
