"""The last look at the text that runs, which trusts no parser: only words, signs and names that are on a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_memory.gate import words
from dataflows_memory.gate.lexing import Token, tokens
from dataflows_memory.gate.relations import PAST
from dataflows_memory.gate.rewriting import Known, is_named
from dataflows_sdk.errors import QueryRefusedError

if TYPE_CHECKING:
    from sqlglot import exp

#: types whose name may stand before a number in parentheses
_SIZED = frozenset(
    {"numeric", "decimal", "varchar", "char", "bpchar", "time", "timetz", "timestamp", "timestamptz", "interval"}
)


def check_final(sql: str, tree: exp.Expression, known: Known) -> None:
    """Refuse a generated text that says more than it may.

    Args:
        tree: what the text was read as.

    Raises:
        QueryRefusedError: it does.
    """
    from sqlglot import exp

    found = tokens(sql, plain=True)
    calls = 0
    for at, token in enumerate(found):
        following = found[at + 1] if at + 1 < len(found) else None
        before = found[at - 1] if at else None
        if token.kind == "word":
            _word(token, before, following, found[at + 2] if at + 2 < len(found) else None)
        elif token.kind == "name" and following is not None and following.value == "(" and following.kind == "mark":
            calls += 1
    # a name before a parenthesis is the alias of a table whose columns are named, and nothing else
    named = sum(1 for each in tree.find_all(exp.TableAlias) if each.args.get("columns"))
    if calls != named:
        raise QueryRefusedError("a name in quotes before a parenthesis", instead="Call functions without quotes.")
    for table in tree.find_all(exp.Table):
        _table(table, known)


def _word(token: Token, before: Token | None, following: Token | None, after: Token | None) -> None:
    word = token.value
    if word not in words.VOCABULARY or (before is not None and before.value == "." and before.kind == "mark"):
        raise QueryRefusedError(f"the word {word}", instead='A name is written in quotes: "name".')
    if following is None or following.kind != "mark" or following.value != "(":
        return
    if word in words.FUNCTIONS or word in words.CONSTRUCTORS or word in words.BEFORE_PARENTHESIS:
        return
    if word not in _SIZED or after is None or after.kind != "number":
        raise QueryRefusedError(f"the function {word}()")


def _table(table: exp.Expression, known: Known) -> None:
    from sqlglot import exp

    if not isinstance(table.this, exp.Identifier):
        return  # a function, whose name was looked at as a word
    schema, name = table.text("db"), table.name
    if not schema and is_named(table, name):
        return
    past = schema == PAST and any(each.versioned and each.name == name for each in known.values())
    if table.args.get("catalog") is not None or not (past or (schema, name) in known):
        raise QueryRefusedError(f"there is no table {schema}.{name} that may be read")
