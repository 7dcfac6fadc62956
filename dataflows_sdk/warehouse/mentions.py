"""Which names a query mentions: found by DuckDB's own parser, so that strings, comments and columns are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from dataflows_sdk.store.sqlfiles import statement

#: the database of the mirrors; ``dataflows.runs`` is the same as ``runs``
OWN = "dataflows"
#: that of the views of other times
PAST = "dataflows_past"
#: the schema of the warehouse's tables; ``warehouse.tasks`` is the same as ``tasks``
WAREHOUSE = "warehouse"


@dataclass(slots=True)
class Mentions:
    """Names in a query.

    `tables` may be tables, views or the caller's variables, as written; `own` are those under ``dataflows.``,
    `warehouse` those under ``warehouse.``, and `functions` may be macros. When `sure` is false the parser could only
    give the words of the statement.
    """

    tables: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    warehouse: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    #: names that mean the mirrors of today, whatever the time that is asked for
    present: set[str] = field(default_factory=set)
    sure: bool = True

    def add(self, other: Mentions) -> None:
        """Take in what another text mentions."""
        self.tables |= other.tables
        self.own |= other.own
        self.warehouse |= other.warehouse
        self.functions |= other.functions
        self.present |= other.present


def mentions(connection: duckdb.DuckDBPyConnection, query: str) -> Mentions:
    """The names in one statement that parses."""
    # All rows are fetched, because DuckDB holds a connection busy until then.
    tree = json.loads(connection.execute(_sql("parse"), [query]).fetchall()[0][0])
    if tree.get("error"):  # not a SELECT: only those can be serialized
        return _of_words(query)
    found = Mentions()
    _walk(tree, found)
    return found


def words(query: str) -> Iterator[tuple[int, int, str]]:
    """The identifiers and keywords of a query: begin, end, and the name without its quotes."""
    tokens = duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(query.encode())]
    raw = query.encode()  # the parser counts bytes
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind not in (duckdb.token_type.identifier, duckdb.token_type.keyword):
            continue
        text = raw[start:end].decode(errors="replace").strip()
        begin = len(raw[:start].decode(errors="replace"))
        yield begin, begin + len(text), _unquoted(text)


def _unquoted(text: str) -> str:
    return text[1 : text.rfind('"')].replace('""', '"') if text.startswith('"') else text


def _of_words(query: str) -> Mentions:
    found = {name for _, _, name in words(query)}
    lower = {name.lower() for name in found}
    return Mentions(set(found), lower, set(found), set(found), present=lower & {OWN}, sure=False)


def _walk(node: Any, found: Mentions) -> None:
    if isinstance(node, dict):
        table, function = node.get("table_name"), node.get("function_name")
        if isinstance(table, str) and table:
            _table(node, table.strip('"'), found)
        if isinstance(function, str):
            found.functions.add(function)
        for value in node.values():
            _walk(value, found)
    elif isinstance(node, list):
        for value in node:
            _walk(value, found)


def _sql(name: str) -> str:
    return statement("lens", name, "dataflows_sdk.warehouse")


def _table(node: dict[str, Any], table: str, found: Mentions) -> None:
    path = [node.get("catalog_name") or "", node.get("schema_name") or ""]
    qualifiers = [part.lower() for part in path if part]
    if not qualifiers:
        found.tables.add(table)
        return
    if qualifiers[0] == OWN:
        found.present.add(f"{OWN}.{table}")
        if qualifiers[1:] in ([], ["main"]):
            found.own.add(table.lower())
    if [part for part in qualifiers if part != OWN] == [WAREHOUSE]:
        found.warehouse.add(table)
