"""The columns of a query: are there such, in the tables it reads?

PostgreSQL would say so itself; asked beforehand, a model hears which names are meant. It also keeps the columns out
that no list names: those of PostgreSQL itself, such as ``ctid`` and ``tableoid``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_memory.gate import words
from dataflows_memory.gate.relations import Relation, near
from dataflows_memory.gate.rewriting import Refuses, Used

if TYPE_CHECKING:
    from sqlglot import exp

#: what PostgreSQL calls a column that nobody gave a name
_UNNAMED = words.listed("""
    ?column? case extract array row exists bool int4 int8 numeric btrim ltrim rtrim
""")


def check_columns(gate: Refuses, tree: exp.Expression, used: Used) -> None:
    """Refuse columns that no source of the query has."""
    from sqlglot import exp

    check_fields(gate, tree)
    sources = _sources(tree, used)
    free = _free_names(tree) | set(sources)
    everything = {name for _, relation in used for name in relation.columns}
    for column in tree.find_all(exp.Column):
        if column.args.get("catalog") is not None:
            gate.refuse(f"the name {column.sql()[:80]}", gate.place(column.catalog), "Columns are table.column.")
        if column.args.get("db") is not None:
            _schema(gate, column, used)
        name = column.name
        if isinstance(column.this, exp.Star) or not name:
            continue
        if column.table:
            _qualified(gate, column, sources)
        elif name not in everything and name not in free:
            gate.refuse(f"there is no column {name}", gate.place(name), _where(name, used))


def check_fields(gate: Refuses, tree: exp.Expression) -> None:
    """Refuse ``g.name`` where *g* is a function's row that has no such column.

    PostgreSQL takes it for a call: ``g.pg_sleep`` from ``generate_series(9, 9) as g`` sleeps. Only where a row is a
    single value can such a call do anything, and only functions in FROM give such rows.
    """
    from sqlglot import exp

    fields: dict[str, list[set[str]]] = {}
    for source in tree.find_all(exp.Table, exp.Unnest, exp.Lateral):
        call = source.this if isinstance(source, exp.Table | exp.Lateral) else source
        if isinstance(source, exp.Unnest) and isinstance(source.parent, exp.Lateral):
            continue  # the alias stands with LATERAL
        if isinstance(call, exp.Anonymous | exp.Unnest):
            name = str(call.this) if isinstance(call, exp.Anonymous) else "unnest"
            fields.setdefault(source.alias or name, []).append(_fields(source, name))
    for column in tree.find_all(exp.Column):
        if isinstance(column.this, exp.Star) or not column.table:
            continue
        for each in fields.get(column.table, ()):
            if column.name not in each:
                gate.refuse(
                    f"{column.table}.{column.name}: the function {column.table} has no column {column.name}",
                    gate.place(column.name),
                    f"It has: {', '.join(sorted(each))}. Give the other tables of that name another alias.",
                )


def _fields(source: exp.Expression, name: str) -> set[str]:
    alias = source.args.get("alias")
    given = {each.name for each in (alias.args.get("columns") or ())} if alias is not None else set()
    known = words.TABLE_FUNCTION_COLUMNS.get(name, ())
    # a function whose column has a name of its own keeps it, whatever the alias
    return (given or set(known) or {source.alias or name}) | {"ordinality"}


def _sources(tree: exp.Expression, used: Used) -> dict[str, list[Relation | None]]:
    """What stands behind each name before a dot; None for what has columns of its own making."""
    from sqlglot import exp

    found: dict[str, list[Relation | None]] = {}
    relations = {id(node): relation for node, relation in used}
    for table in tree.find_all(exp.Table):
        relation = relations.get(id(table))
        alias = table.args.get("alias")
        renamed = alias is not None and alias.args.get("columns")
        name = table.alias or (table.this.name if isinstance(table.this, exp.Identifier) else str(table.this.this))
        found.setdefault(name, []).append(None if renamed else relation)
    for alias in tree.find_all(exp.TableAlias):
        if not isinstance(alias.parent, exp.Table):
            found.setdefault(alias.name, []).append(None)
    return found


def _free_names(tree: exp.Expression) -> set[str]:
    """Names of columns that the query itself makes."""
    from sqlglot import exp

    found = set(_UNNAMED) | {each.alias for each in tree.find_all(exp.Alias)}
    for alias in tree.find_all(exp.TableAlias):
        found |= {each.name for each in alias.args.get("columns") or ()}
    for call in tree.find_all(exp.Anonymous):
        found |= {str(call.this), *words.TABLE_FUNCTION_COLUMNS.get(str(call.this), ())}
    for kind, names in ((exp.Unnest, ("unnest",)), (exp.Substring, ("substring",)), (exp.StrPosition, ("position",)),
                        (exp.Overlay, ("overlay",)), (exp.Pow, ("power",)), (exp.AtTimeZone, ("timezone",)),
                        (exp.CurrentDate, ("current_date",)), (exp.CurrentTimestamp, ("current_timestamp",)),
                        (exp.Interval, ("interval",))):  # fmt: skip
        if tree.find(kind):
            found.update(names)
    if tree.find(exp.Cast):
        found |= words.TYPES
    if tree.find(exp.Values):
        found |= {f"column{number}" for number in range(1, 100)}
    if any(each.args.get("ordinality") or each.args.get("offset") for each in tree.find_all(exp.Table, exp.Unnest)):
        found.add("ordinality")
    return found


def _schema(gate: Refuses, column: exp.Expression, used: Used) -> None:
    if not any(relation.schema == column.text("db") and relation.name == column.text("table") for _, relation in used):
        gate.refuse(f"the name {column.sql()[:80]}", gate.place(column.text("db")), "Columns are table.column.")
    column.set("db", None)


def _qualified(gate: Refuses, column: exp.Expression, sources: dict[str, list[Relation | None]]) -> None:
    table, name = column.text("table"), column.name
    behind = sources.get(table)
    if behind is None:
        gate.refuse(f"{table}.{name}: {table} is no table of this query", gate.place(table), near(table, sources))
    relations = [each for each in behind or () if each is not None]
    if len(relations) == len(behind or ()) and not any(name in each.columns for each in relations):
        gate.refuse(f"{relations[0].shown} has no column {name}", gate.place(name), near(name, relations[0].columns))


def _where(name: str, used: Used) -> str:
    places: dict[str, str] = {}
    for _, relation in used:
        for each in relation.columns:
            places[each] = f"{relation.shown}.{each}"
    if not places:
        return "The query reads no table."
    said = near(name, places)
    for each in sorted(places, key=len, reverse=True):
        if f" {each}?" in said or f" {each} or" in said:
            said = said.replace(f" {each}", f" {places[each]}", 1)
    return said
