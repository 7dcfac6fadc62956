"""`ctx.sql`: DuckDB, in process, over mirrors of the journal, the caller's DataFrames and files.

An answer is taken when it is asked for, into a temporary table of a connection of its own, which lives as long as a
relation needs it. So later queries, refreshes, changes of a DataFrame and other threads cannot touch it, errors come
from `sql` itself, and DuckDB moves a large answer to disk when it passes its memory limit.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb

from dataflows_sdk.errors import QueryError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.answer import Answer
from dataflows_sdk.warehouse.callers import Scopes, Variables, caller_frames
from dataflows_sdk.warehouse.mentions import OWN, Mentions, mentions, words
from dataflows_sdk.warehouse.mirror import TABLES, Mirrors

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

__all__ = ["Lens", "caller_frames"]

_OTHER_DATABASE = re.compile(r'write to database "((?:[^"]|"")+)"')
_SIZE = re.compile(r"([\d.]+) ?([KMGTP]?i?B|bytes)")
#: statements that DuckDB does not run in a transaction, or that have nothing to do with one
_BARE = frozenset({"VACUUM", "CHECKPOINT", "LOAD", "ATTACH", "DETACH", "SET", "VARIABLE_SET", "PRAGMA"})


class Lens:
    """DuckDB for one context. Thread-safe.

    Args:
        database: where the journal is.
        memory_limit: for example ``"4GB"``; beyond it DuckDB moves data to a temporary directory. By default half of
            what DuckDB would take, which is 40% of the machine's memory.
    """

    def __init__(self, database: Database, memory_limit: str | None = None) -> None:
        directory = Path(tempfile.mkdtemp(prefix="dataflows-lens-"))  # nobody else may look in
        self._directory = directory
        self._finalizer = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self._root = duckdb.connect(
            ":memory:",
            config={"python_enable_replacements": False, "temp_directory": str(directory / "spill")},
        )
        self._root.execute("set global timezone = 'UTC'")
        self._root.execute("set global memory_limit = ?", [memory_limit or _half_of_memory(self._root)])
        self._lock = threading.Lock()
        self._closed = False
        #: what users made, by lower-case name: the definition of a view or macro, or None
        self._objects: dict[str, str | None] = {}
        self._mirrors = Mirrors(database, self._root.cursor(), directory)

    def sql(self, query: str, parameters: Sequence[Any], scopes: Scopes) -> Answer:
        """Run a query (or several statements, and give the last one's answer).

        Args:
            query: DuckDB's SQL. Tables: ``runs``, ``steps``, ``events`` (also as ``dataflows.runs``), what earlier
                queries created, DataFrames, Arrow tables and relations of *scopes*, and files: ``'orders.csv'``.
            parameters: for ``?`` and ``$1`` in order, or one mapping for ``$name``.
            scopes: where variables are looked up, nearest first; see `caller_frames`.

        Returns:
            The answer as of now: a DuckDB relation.

        Raises:
            QueryError: DuckDB cannot answer it.
            StoreError: the journal cannot be read.
        """
        if not isinstance(query, str) or not query.strip():
            raise QueryError(f"a query is SQL text such as 'from runs', not {query!r}")
        connection = self._cursor()
        try:
            statements = connection.extract_statements(query)
        except duckdb.Error as error:
            raise self._explained(error, query, None) from error
        if not statements:
            raise QueryError("there is only a comment in this query")
        if len(statements) > 1 and parameters:
            raise QueryError("parameters belong to one statement; write several statements as several calls of sql()")
        answer: duckdb.DuckDBPyRelation | None = None
        for found in statements:
            answer = self._statement(connection, found.query, found.type.name, parameters, scopes)
            connection = self._cursor()
        assert answer is not None
        return Answer(answer)

    def close(self) -> None:
        """Let go of the mirrors; relations that were given out stay usable. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._mirrors.close()
                # Closing the first connection would close the relations' too; without it they end with the relations.
                del self._root
        self._finalizer()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._closed:
                raise QueryError("the context is closed; connect() makes a new one")
            connection = self._root.cursor()
        connection.execute(_sql("session"))
        return connection

    # --- one statement -----------------------------------------------------------------------------------

    def _statement(
        self, connection: duckdb.DuckDBPyConnection, text: str, kind: str, parameters: Sequence[Any], scopes: Scopes
    ) -> duckdb.DuckDBPyRelation:
        self._refuse(text, kind)
        if kind == "CREATE":
            text = _lasting(text)
        found = self._expanded(connection, mentions(connection, text))
        own = {name.lower() for name in found.tables if name.lower() not in self._objects} | found.own
        wanted = own.intersection(TABLES)
        variables = Variables(connection, self._directory)
        try:
            if wanted:
                self._mirrors.refresh(wanted)
            taken = {*TABLES, *self._objects}
            variables.register((name for name in found.tables if name.lower() not in taken), scopes)
            return self._execute(connection, text, kind, _bound(parameters))
        except duckdb.Error as error:
            raise self._explained(error, text, variables if found.sure else None) from error
        finally:
            variables.close()

    def _execute(
        self, connection: duckdb.DuckDBPyConnection, text: str, kind: str, parameters: Any
    ) -> duckdb.DuckDBPyRelation:
        if kind in _BARE:
            return _run(connection, text, parameters)
        try:
            return self._guarded(connection, text, kind, parameters, guard=True)
        except duckdb.TransactionException as error:
            # It writes to a database that the user attached; then it cannot write to the mirrors either.
            other = _OTHER_DATABASE.search(str(error))
            if other is None or other[1] in (OWN, "memory"):
                raise
            return self._guarded(connection, text, kind, parameters, guard=False)

    def _guarded(
        self, connection: duckdb.DuckDBPyConnection, text: str, kind: str, parameters: Any, *, guard: bool
    ) -> duckdb.DuckDBPyRelation:
        name = f"_{uuid4().hex}"
        connection.execute("begin")
        try:
            if guard:
                connection.execute(_sql("guard").replace("$name", name))
            if _is_query(text, kind):
                connection.execute(f"{_sql('answer')}\n{text}\n", parameters)
                answer = connection.sql(_sql("read_answer"))
            else:
                answer = _run(connection, text, parameters)
            if guard:
                connection.execute(_sql("unguard").replace("$name", name))
            objects = self._objects if kind in ("SELECT", "EXPLAIN") else self._look_at_objects(connection)
            connection.execute("commit")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                connection.execute("rollback")
            raise
        self._objects = objects
        return answer

    def _look_at_objects(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
        objects: dict[str, str | None] = {}
        for name, kind, definition in connection.execute(_sql("objects")).fetchall():
            if name.lower() in TABLES and kind != "macro":
                raise QueryError(f"{name} is a table of the journal; choose another name for your {kind}")
            if not _is_guard(name):
                objects[name.lower()] = definition
        return objects

    # --- what it speaks of -------------------------------------------------------------------------------

    def _refuse(self, text: str, kind: str) -> None:
        if kind == "TRANSACTION":
            raise QueryError("each sql() is a transaction of its own; begin, commit and rollback have no place in it")
        if kind in ("ATTACH", "DETACH") and any(name.lower() == OWN for _, _, name in words(text)):
            raise QueryError(f"the database {OWN!r} holds the mirrors of the journal; attach yours under another name")

    def _expanded(self, connection: duckdb.DuckDBPyConnection, found: Mentions) -> Mentions:
        """With the names that stand in the views and macros it uses."""
        seen: set[str] = set()
        while True:
            names = {name.lower() for name in (*found.tables, *found.functions)} - seen
            more = [definition for name in names if (definition := self._objects.get(name))]
            seen |= names
            if not more:
                return found
            for definition in more:
                try:
                    inner = mentions(connection, definition)
                except duckdb.Error:  # a macro that is an expression is no statement
                    inner = mentions(connection, f"select {definition}")
                found.add(inner)

    def _explained(self, error: duckdb.Error, text: str, variables: Variables | None) -> QueryError:
        message = str(error).strip()
        if isinstance(error, duckdb.TransactionException) and f'database "{OWN}"' in message:
            return QueryError(
                f"{', '.join(TABLES)} are copies of the journal and can only be read; "
                "`create table mine as select ...` gives you a table of your own"
            )
        lines = [message]
        if isinstance(error, duckdb.CatalogException | duckdb.ParserException | duckdb.BinderException):
            known = ", ".join(TABLES)
            if self._objects:
                known += f"; made here: {', '.join(sorted(self._objects))}"
            lines.append(f"Tables: {known}; also DataFrames, Arrow tables and relations in variables; 'files.csv'.")
        if variables is not None:
            lines += [f"The variable {name} is no table: {what}." for name, what in variables.refused.items()]
        if isinstance(error, duckdb.ParserException) and any(name == "at" for _, _, name in _words_or_none(text)):
            lines.append('The column "at" is written with quotes, or as events.at: the bare word is one of SQL.')
        return QueryError("\n".join(lines))


def _run(connection: duckdb.DuckDBPyConnection, text: str, parameters: Any) -> duckdb.DuckDBPyRelation:
    relation = connection.sql(text, params=parameters) if parameters else connection.sql(text)
    return relation if relation is not None else connection.sql(_sql("no_answer"))


def _bound(parameters: Sequence[Any]) -> Any:
    if len(parameters) == 1 and isinstance(parameters[0], Mapping):
        return dict(parameters[0])
    return list(parameters)


def _lasting(text: str) -> str:
    """A temporary table or view lives as long as the context, not only as long as the connection of this query."""
    found = list(words(text))[:5]
    for (begin, _, word), (following, _, _) in pairwise(found[1:]):
        if word.lower() in ("temp", "temporary"):
            return text[:begin] + text[following:]
        if word.lower() not in ("or", "replace"):
            break
    return text


def _is_query(text: str, kind: str) -> bool:
    """Whether the statement can stand after ``create table as``."""
    first = _first_word(text)
    return (kind == "SELECT" and first != "show") or (kind == "MULTI" and first in ("pivot", "unpivot", "with", "from"))


def _first_word(text: str) -> str:
    return next((name.lower() for _, _, name in words(text)), "")


def _words_or_none(text: str) -> list[tuple[int, int, str]]:
    try:
        return list(words(text))
    except duckdb.Error:
        return []


def _is_guard(name: str) -> bool:
    return re.fullmatch(r"_[0-9a-f]{32}", name) is not None


def _half_of_memory(connection: duckdb.DuckDBPyConnection) -> str:
    found = _SIZE.fullmatch(connection.execute(_sql("memory_limit")).fetchall()[0][0])
    return f"{float(found[1]) / 2}{found[2]}" if found is not None else "2GB"


def _sql(name: str) -> str:
    return statement("lens", name, "dataflows_sdk.warehouse")
