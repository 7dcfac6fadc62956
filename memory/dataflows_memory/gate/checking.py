"""A query that a model wrote: may it run, and what is it that runs then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory.gate import lexing, words
from dataflows_memory.gate.bounds import MOST_CHARACTERS, MOST_ROWS, STRETCHING, UnboundedError, rows_of_series, whole
from dataflows_memory.gate.final import check_final
from dataflows_memory.gate.lexing import Source, Token
from dataflows_memory.gate.names import check_columns, check_fields
from dataflows_memory.gate.nodes import ALLOWED, ASIDE, CASTS, MEANINGS
from dataflows_memory.gate.relations import WAREHOUSE, Allowed, Relation, near, relations_of
from dataflows_memory.gate.rewriting import capped, rewrite, used_by
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, MissingExtraError, QueryRefusedError

if TYPE_CHECKING:
    from sqlglot import exp

ROWS = 200
_MOST_ROWS = 100_000
_READS = "Only one SELECT (or WITH … SELECT, VALUES) is run; it reads and changes nothing."
_TABLE_SAID = "Write SELECT * and the table after FROM."


@dataclass(frozen=True, slots=True)
class Checked(ShownAsTable):
    """A query that may run.

    Attributes:
        sql: what runs: one statement, every name in quotes, tables with their schema. Its limit is one row more than
            are shown, so that it is known whether there are more.
        relations: what it reads.
        rows: how many are shown at the most.
        as_of: the moment at which it reads the tables; None for now.
        text: what was asked.
    """

    sql: str
    relations: tuple[Relation, ...]
    rows: int
    as_of: datetime | None
    text: str


def check_query(
    text: str,
    allowed: Allowed | Iterable[Relation],
    *,
    row_cap: int = ROWS,
    as_of: datetime | None = None,
) -> Checked:
    """Whether a query only reads what it may, and the statement to run for it. Asks no database.

    Args:
        text: one SELECT of PostgreSQL, as a model wrote it. Bare names are tables of the warehouse.
        allowed: what it may read: `Relation` objects, or columns by the name of their table.
        row_cap: rows of its answer at the most.
        as_of: read the tables as they were at this moment, which has a zone.

    Raises:
        QueryRefusedError: it may not run; the message says what, where, and what to write instead.
        DefinitionError: the other arguments cannot be.
        MissingExtraError: sqlglot is not installed.
    """
    if isinstance(row_cap, bool) or not isinstance(row_cap, int) or not 1 <= row_cap <= _MOST_ROWS:
        raise DefinitionError(f"row_cap={row_cap!r} lies between 1 and {_MOST_ROWS:,}")
    if as_of is not None and as_of.tzinfo is None:
        raise DefinitionError(f"as_of={as_of.isoformat()} has no time zone")
    known = relations_of(allowed)
    read = lexing.tokens(text)
    gate = _Gate(Source(text), read, known)
    tree = gate.parsed(lexing.spelled(read))
    gate.inspect(tree)
    used = used_by(gate, tree, known)
    check_columns(gate, tree, used)
    rewrite(gate, used, as_of)
    sql = gate.written(capped(tree, row_cap + 1))
    relations = tuple({(each.schema, each.name): each for _, each in used}.values())
    return Checked(sql, relations, row_cap, as_of, text)


class _Gate:
    """One query on its way."""

    def __init__(self, source: Source, read: list[Token], known: dict[tuple[str, str], Relation]) -> None:
        self._source = source
        self._read = read
        self._known = known

    def refuse(self, problem: str, at: int | None = None, instead: str = "") -> Any:
        """Raise the error; *at* is a place in the text."""
        self._source.refuse(problem, at, instead)

    def place(self, name: str, *, call: bool = False) -> int | None:
        """Where a name stands in the text first; *call*: before a parenthesis."""
        for at, token in enumerate(self._read):
            if token.kind in ("word", "name") and token.value.lower() == name.lower():
                following = self._read[at + 1] if at + 1 < len(self._read) else None
                if not call or (following is not None and following.value == "("):
                    return token.at
        return None

    # --- from text to tree and back ------------------------------------------------------------------------

    def parsed(self, text: str) -> exp.Expression:
        """The tree of a statement that is a query."""
        self._begins_well()
        tree = self._tree(text)
        if not isinstance(tree, _exp().Query | _exp().Values):
            if type(tree).__name__ in MEANINGS:
                self._refuse_kind(tree, type(tree).__name__)
            kind = self._read[0].value.upper()
            self.refuse(_begins(kind), self._read[0].at, _READS)
        return tree

    def _begins_well(self) -> None:
        first = next((token for token in self._read if token.value != "("), self._read[0])
        if first.kind != "word" or first.value not in ("select", "with", "values"):
            instead = f"{_TABLE_SAID} {_READS}" if first.value == "table" else _READS
            self.refuse(_begins(first.spelled()), first.at, instead)
        for before, token in zip(self._read, self._read[1:], strict=False):
            if before.kind == token.kind == "text":
                self.refuse("two texts side by side", token.at, "Write one text, or put || between them.")
        for one, text, cast in zip(self._read, self._read[1:], self._read[2:], strict=False):
            # a cast binds closer than the arrow, and whoever writes this nearly always means the other
            if one.value in ("->", "->>", "#>", "#>>") and text.kind in ("text", "number") and cast.value == "::":
                self.refuse(
                    f"{one.value} {text.spelled()[:30]}::",
                    cast.at,
                    f"It would cast the key. Write (column {one.value} {text.spelled()[:30]})::type.",
                )
        for token in self._read:
            if token.kind == "word" and token.value in ASIDE:
                self._word_aside(token)

    def _word_aside(self, token: Token) -> None:
        """A word of statements that write, unless it is plainly a name; only for a better message than the tree's."""
        at = self._read.index(token)
        before = self._read[at - 1] if at else None
        following = self._read[at + 1] if at + 1 < len(self._read) else None
        names = before is not None and before.value in (".", "as", "for", "key")
        named = following is not None and following.value in (".", ",", ")", "=", "from", "as", "is", "::")
        if not names and not named and not any(token.value in each.columns for each in self._known.values()):
            self.refuse(ASIDE[token.value].format(token.value.upper()), token.at, _READS)

    def _tree(self, text: str) -> exp.Expression:
        import logging

        sqlglot, dialect = _parser()
        noisy = logging.getLogger("sqlglot")
        try:
            disabled, noisy.disabled = noisy.disabled, True
            try:
                found = sqlglot.parse(text, read=dialect)
            finally:
                noisy.disabled = disabled
        except sqlglot.errors.SqlglotError as error:
            said = error.errors[0] if getattr(error, "errors", None) else {}
            near_to = str(said.get("highlight") or "")
            problem = str(said.get("description") or "it is no SQL").split("<class", maxsplit=1)[0].strip().rstrip(".")
            where = f" near {near_to[:40]!r}" if near_to else ""
            self.refuse(f"the query cannot be read as one SELECT of PostgreSQL{where}: {problem}", self.place(near_to))
        except RecursionError:
            self.refuse("the query is nested too deep", None, "Use WITH to name the parts.")
        if len(found) != 1 or found[0] is None:
            self.refuse("several statements in one text", None, "Send one SELECT.")
        tree: exp.Expression = found[0]
        return tree

    def written(self, tree: exp.Expression) -> str:
        """The statement, proven to be that tree and to say nothing that is on no list."""
        sql = generated(tree)
        again = self._tree(sql)
        if generated(again) != sql:
            self.refuse("a query that cannot be written down faithfully", None, "Write it in a simpler way.")
        self.inspect(again)
        check_fields(self, again)
        check_final(sql, again, self._known)
        return sql

    # --- the tree -----------------------------------------------------------------------------------------

    def inspect(self, tree: exp.Expression) -> None:
        """Look at every node: what is on no list is refused."""
        try:
            for node in tree.walk():
                self._node(node)
        except RecursionError:
            self.refuse("the query is nested too deep", None, "Use WITH to name the parts.")

    def _node(self, node: Any) -> None:
        kind = type(node).__name__
        if kind not in ALLOWED:
            self._refuse_kind(node, kind)
        if kind == "With" and node.args.get("recursive"):
            self.refuse("WITH RECURSIVE", self.place("recursive"), "Queries that repeat themselves are not run.")
        elif kind == "Identifier":
            self._identifier(node)
        elif kind == "DataType":
            self._type(node)
        elif kind == "Anonymous":
            self._call(node)
        elif kind == "Select" and (
            node.args.get("kind") or node.args.get("hint") or node.args.get("operation_modifiers")
        ):
            self.refuse("SELECT with modifiers of other databases")
        elif kind == "Table":
            self._table_function(node)
        elif kind in ("Lateral", "Unnest"):
            self._lateral(node)
        elif kind == "Collate" and node.expression.name not in ("C", "POSIX", "default", "ucs_basic", "unicode"):
            self.refuse(f"the collation {node.expression.name!r}", self.place("collate"), 'Use "C".')
        elif kind == "Extract" and node.name.lower() not in words.DATE_PARTS:
            self.refuse(f"the part {node.name!r} of a date", self.place("extract"), near(node.name, words.DATE_PARTS))

    def _refuse_kind(self, node: exp.Expression, kind: str) -> None:
        if kind in MEANINGS:
            problem, instead = MEANINGS[kind]
            word = "for" if kind == "Lock" else problem.split(" ", maxsplit=1)[0]
            self.refuse(problem, self.place(word), instead or _READS)
        if kind == "Dot":
            names = [each.name for each in node.find_all(_exp().Identifier)]
            calls = [str(each.this) for each in node.find_all(_exp().Anonymous)]
            what = f"the function {'.'.join([*names, *calls])}" if calls else f"{'.'.join(names)}"
            self.refuse(
                f"{what} with a schema before it" if calls else f"the name {generated(node, forgiving=True)[:80]}",
                self.place((names or calls)[0]),
                "Functions are PostgreSQL's own and named without a schema; columns are table.column.",
            )
        shown = generated(node, forgiving=True)
        self.refuse(f"{shown[:60]!r} ({kind})", self.place(shown.split("(")[0].split(" ")[0]), _READS)

    def _identifier(self, node: exp.Expression) -> None:
        if not node.args.get("quoted"):
            node.set("this", "".join(each.lower() if each.isascii() else each for each in node.name))
            node.set("quoted", True)

    def _type(self, node: exp.Expression) -> None:
        name = getattr(node.this, "name", str(node.this))
        if name not in CASTS:
            shown = generated(node, forgiving=True)
            self.refuse(
                f"the type {shown.strip(chr(34)).lower()}",
                self.place(shown.strip('"')),
                "Types that may be used: integer, bigint, numeric, double precision, boolean, text, date, timestamp, "
                "timestamptz, time, interval, uuid, json, jsonb, and arrays of these.",
            )

    def _call(self, node: exp.Expression) -> None:
        written = node.this
        name = (written if isinstance(written, str) else written.name).lower()
        at = self.place(name, call=True)
        if name not in words.FUNCTIONS and name not in words.CONSTRUCTORS:
            self.refuse(f"the function {name}()", at, words.INSTEAD.get(name) or _functions_like(name))
        node.set("this", name)  # without quotes, in which it may have been
        if name in STRETCHING:
            self._stretch(node, name, at)
        if name == "generate_series":
            try:
                rows = rows_of_series(node.expressions)
            except UnboundedError as error:
                self.refuse(f"generate_series(): {error}", at, f"It may give {MOST_ROWS:,} rows.")
            if rows > MOST_ROWS:
                self.refuse(f"generate_series() with {rows:,} rows", at, f"It may give {MOST_ROWS:,} rows.")

    def _stretch(self, node: exp.Expression, name: str, at: int | None) -> None:
        size = whole(node.expressions[1]) if len(node.expressions) > 1 else None
        if size is None or size > MOST_CHARACTERS:
            self.refuse(f"{name}() to an unknown or great length", at, f"Write a number up to {MOST_CHARACTERS:,}.")
        inner = [each for each in node.find_all(_exp().Anonymous) if each is not node]
        if any(str(each.this).lower() in (*STRETCHING, "string_agg", "replace", "regexp_replace") for each in inner):
            self.refuse(f"{name}() of a text that is made longer itself", at)

    def _table_function(self, node: exp.Expression) -> None:
        inner = node.this
        if node.args.get("rows_from"):
            self.refuse("ROWS FROM", self.place("rows"), "Join the functions with LATERAL.")
        if node.args.get("only"):
            self.refuse("ONLY before a table", self.place("only"))
        if inner is not None and type(inner).__name__ == "Anonymous":
            self._rows(inner)

    def _lateral(self, node: exp.Expression) -> None:
        inner = node.this
        if type(node).__name__ == "Lateral" and type(inner).__name__ == "Anonymous":
            self._rows(inner)
        if node.args.get("view") or node.args.get("cross_apply") is not None or node.args.get("explode_array"):
            self.refuse("a lateral view of another database")

    def _rows(self, call: exp.Expression) -> None:
        name = (call.this if isinstance(call.this, str) else call.this.name).lower()
        if name not in words.TABLE_FUNCTIONS:
            self.refuse(
                f"the function {name}() in the place of a table",
                self.place(name, call=True),
                f"There may stand: {', '.join(sorted(words.TABLE_FUNCTIONS))}.",
            )


def generated(tree: exp.Expression, *, forgiving: bool = False) -> str:
    """The SQL of a tree, every name in quotes."""
    sqlglot, dialect = _parser()
    level = sqlglot.errors.ErrorLevel.IGNORE if forgiving else sqlglot.errors.ErrorLevel.RAISE
    try:
        text: str = tree.sql(
            dialect=dialect, identify=True, normalize_functions=False, comments=False, unsupported_level=level
        )
    except sqlglot.errors.UnsupportedError as error:
        raise QueryRefusedError(f"PostgreSQL cannot do this: {error}") from None
    except RecursionError:
        raise QueryRefusedError("the query is nested too deep", instead="Use WITH to name the parts.") from None
    return text


def _begins(word: str) -> str:
    return f"a statement that begins with {word[:30].upper()}"


def _functions_like(name: str) -> str:
    return near(name, words.FUNCTIONS) if not name.startswith(("pg_", "lo_", "dblink")) else (
        "Only functions that compute with their arguments may be called."
    )  # fmt: skip


def _parser() -> Any:
    try:
        import sqlglot

        from dataflows_memory.gate.dialect import Plain
    except ImportError as error:
        raise MissingExtraError(
            'queries of agents are checked with sqlglot: pip install "dataflows-sdk[memory]"'
        ) from error
    return sqlglot, Plain


def _exp() -> Any:
    return _parser()[0].exp


__all__ = ["ROWS", "WAREHOUSE", "Checked", "check_query"]
