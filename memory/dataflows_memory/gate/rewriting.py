"""What a query reads, with its schema; as it was at a moment, where asked for; and no more rows than are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dataflows_memory.gate.relations import PAST, WAREHOUSE, Relation, near
from dataflows_memory.gate.texts import text_of
from dataflows_sdk.warehouse.statements import literal, quoted

if TYPE_CHECKING:
    from sqlglot import exp


class Refuses(Protocol):
    """Whoever can tell the author of the query."""

    def refuse(self, problem: str, at: int | None = None, instead: str = "") -> Any: ...

    def place(self, name: str, *, call: bool = False) -> int | None: ...


Used = list[tuple[Any, Relation]]
Known = Mapping[tuple[str, str], Relation]


def used_by(gate: Refuses, tree: exp.Expression, known: Known) -> Used:
    """The tables of a tree, now with their schema, and what they are."""
    from sqlglot import exp

    found: Used = []
    for node in list(tree.find_all(exp.Table)):
        if not isinstance(node.this, exp.Identifier):
            continue
        if node.args.get("catalog") is not None:
            gate.refuse(
                f"the table {node.catalog}.{node.db}.{node.name} of a database by name",
                gate.place(node.catalog),
                "Name tables alone.",
            )
        if not node.db and is_named(node, node.name):
            continue
        relation = known.get((node.db or WAREHOUSE, node.name))
        if relation is None:
            _unknown(gate, node, known)
        assert relation is not None
        node.set("db", exp.to_identifier(relation.schema, quoted=True))
        found.append((node, relation))
    return found


def is_named(node: exp.Expression, name: str) -> bool:
    """Whether the name of a table is that of a part WITH names where the node stands."""
    child: Any = node
    parent: Any = node.parent
    while parent is not None:
        if type(parent).__name__ == "With":
            for each in parent.expressions:
                if each is child:
                    break
                if each.alias == name:
                    return True
        else:
            parts = parent.args.get("with_") or parent.args.get("with")
            if parts is not None and parts is not child and any(each.alias == name for each in parts.expressions):
                return True
        child, parent = parent, parent.parent
    return False


def _unknown(gate: Refuses, node: exp.Expression, known: Known) -> None:
    schema, name = node.text("db"), node.name
    at = gate.place(name)
    shown = f"{schema}.{name}" if schema else name
    readable = [each.shown for each in known.values()]
    if schema.startswith("pg_") or schema == "information_schema" or name.startswith("pg_"):
        gate.refuse(f"the table {shown} of PostgreSQL itself", at, near("\n", readable))
    if schema == "dataflows":
        gate.refuse(f"the table {shown}, which is not among those that may be read", at, near("\n", readable))
    gate.refuse(f"there is no table or view {shown} that may be read", at, near(name, readable))


def rewrite(gate: Refuses, used: Used, as_of: datetime | None) -> None:
    """Put a subquery where a table may be read in part only, or is read as it was."""
    for node, relation in used:
        if as_of is not None:
            _put(node, relation, _past(gate, relation, as_of))
        elif relation.partial:
            _put(
                node, relation, text_of("some_columns", names=_names(relation), table=_table(relation.schema, relation))
            )


def _names(relation: Relation, of: str = "") -> str:
    return ", ".join(of + quoted(name) for name in relation.columns)


def _past(gate: Refuses, relation: Relation, as_of: datetime) -> str:
    at = gate.place(relation.name)
    if relation.kind == "history":
        gate.refuse(
            f"{relation.shown} as of a moment: it has all versions",
            at,
            "Ask without as_of, and compare valid_from and valid_to with the moment.",
        )
    if not relation.versioned:
        gate.refuse(
            f"the {relation.kind} {relation.shown} as of a moment: only tables of the warehouse know what they were",
            at,
            "Ask the tables that it stands on.",
        )
    return text_of(
        "as_it_was",
        names=_names(relation, "t."),
        table=_table(relation.schema, relation),
        past=_table(PAST, relation),
        moment=f"cast({literal(as_of.astimezone(UTC).isoformat())} as timestamptz)",
    )


def _table(schema: str, relation: Relation) -> str:
    return f"{quoted(schema)}.{quoted(relation.name)}"


def _put(node: exp.Expression, relation: Relation, text: str) -> None:
    import sqlglot
    from sqlglot import exp

    from dataflows_memory.gate.dialect import Plain

    inner = sqlglot.parse_one(text, read=Plain)
    for name in inner.find_all(exp.Identifier):
        name.set("quoted", True)
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(relation.name, quoted=True))
    query = exp.Subquery(this=inner, alias=alias.copy())
    for part in ("joins", "laterals"):
        if node.args.get(part):
            query.set(part, node.args[part])
    node.replace(query)


def capped(tree: exp.Expression, most: int) -> exp.Expression:
    """The query with a limit, its own if that is lower."""
    from sqlglot import exp

    limit = tree.args.get("limit")
    simple = isinstance(tree, exp.Select | exp.SetOperation)
    if simple and limit is None:
        tree.set("limit", exp.Limit(expression=exp.Literal.number(most)))
        return tree
    given = limit.args.get("expression") or limit.args.get("count") if limit is not None else None
    options = limit.args.get("limit_options") if limit is not None else None
    odd = options is not None and any(options.args.get(each) for each in ("with_ties", "percent"))
    if simple and not odd and isinstance(given, exp.Literal) and not given.is_string and given.name.isdigit():
        tree.set("limit", exp.Limit(expression=exp.Literal.number(min(int(given.name), most))))
        return tree
    inner = tree.this if isinstance(tree, exp.Subquery) and tree.this is not None and not tree.alias else tree
    if isinstance(tree, exp.Subquery) and any(tree.args.get(each) for each in ("limit", "order", "offset", "with_")):
        inner = tree
    alias = exp.TableAlias(this=exp.to_identifier("answer", quoted=True))
    source: exp.Expression = (
        exp.Values(expressions=inner.expressions, alias=alias)
        if isinstance(inner, exp.Values)
        else exp.Subquery(this=inner, alias=alias)
    )
    whole = exp.Select(expressions=[exp.Star()]).from_(source)
    whole.set("limit", exp.Limit(expression=exp.Literal.number(most)))
    return whole
