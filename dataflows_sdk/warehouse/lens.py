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
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

import duckdb

from dataflows_sdk.errors import QueryError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.answer import Answer
from dataflows_sdk.warehouse.callers import Scopes, Variables, caller_frames
from dataflows_sdk.warehouse.deadline import interruptible
from dataflows_sdk.warehouse.mentions import OWN, PAST, WAREHOUSE, Mentions, mentions, words
from dataflows_sdk.warehouse.mirror import TABLES, Mirrors
from dataflows_sdk.warehouse.table_mirror import folded
from dataflows_sdk.warehouse.view_rows import bring_views

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

T = TypeVar("T")

__all__ = ["Lens", "caller_frames"]

_OTHER_DATABASE = re.compile(r'write to database "((?:[^"]|"")+)"')
#: clocks differ: as_of may lie so far ahead of the database's
_SLACK = timedelta(minutes=1)
_SIZE = re.compile(r"([\d.]+) ?([KMGTP]?i?B|bytes)")
#: statements that DuckDB does not run in a transaction, or that have nothing to do with one
_BARE = frozenset({"VACUUM", "CHECKPOINT", "LOAD", "ATTACH", "DETACH", "SET", "VARIABLE_SET", "PRAGMA"})

#: statements that change rows or tables that are there
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "MERGE_INTO"})


class Tables(Protocol):
    """What a lens looks at: tables in the databases ``dataflows`` and ``dataflows_past`` of its DuckDB."""

    def refresh(
        self, tables: Collection[str], others: Collection[str] = (), *, past: bool = False, anew: bool = False
    ) -> set[str]:
        """Bring up to date what a query reads; gives those of *others* that are tables."""
        ...

    def newest(self) -> datetime:
        """Until when the tables can know."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


#: makes tables on a connection of a lens
Source = Callable[[duckdb.DuckDBPyConnection], Tables]


class Lens:
    """DuckDB for one context. Thread-safe.

    Args:
        source: what gives the tables: the database, or an archive of one.
        memory_limit: for example ``"4GB"``; beyond it DuckDB moves data to a temporary directory. By default half of
            what DuckDB would take, which is 40% of the machine's memory.
        now: a clock, where time is virtual.
    """

    def __init__(
        self,
        source: Database | Source,
        memory_limit: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="dataflows-lens-"))  # nobody else may look in
        self._now = now
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
        cursor = self._root.cursor()
        self._database = None if callable(source) else source
        self._mirrors: Tables = source(cursor) if callable(source) else Mirrors(source, cursor, directory)

    def sql(
        self,
        query: str,
        parameters: Sequence[Any],
        scopes: Scopes,
        *,
        as_of: datetime | None = None,
        timeout: float | None = None,
        anew: bool = False,
    ) -> Answer:
        """Run a query (or several statements, and give the last one's answer).

        Args:
            query: DuckDB's SQL. Tables: ``runs``, ``steps``, ``events`` (also as ``dataflows.runs``), those of the
                warehouse and their histories (also as ``warehouse.tasks``), what earlier queries created, DataFrames,
                Arrow tables and relations of *scopes*, and files: ``'orders.csv'``.
            parameters: for ``?`` and ``$1`` in order, or one mapping for ``$name``.
            scopes: where variables are looked up, nearest first; see `caller_frames`.
            as_of: the journal and the tables of the warehouse as they were then; None is now.
            timeout: seconds after which each statement is interrupted.
            anew: read the tables of the warehouse as a whole, because somebody changed large ones by hand.

        Returns:
            The answer: a DuckDB relation.

        Raises:
            QueryError: DuckDB cannot answer it, it took too long, or *as_of* lies in the future.
            StoreError: the database cannot be read.
        """
        if not isinstance(query, str) or not query.strip():
            raise QueryError(f"a query is SQL text such as 'from runs', not {query!r}")
        if as_of is not None and as_of > self._now():
            self._has_been(as_of)
        connection = self._cursor(as_of)
        try:
            statements = connection.extract_statements(query)
        except duckdb.Error as error:
            raise self._explained(error, query, None, ()) from error
        if not statements:
            raise QueryError("there is only a comment in this query")
        if len(statements) > 1 and parameters:
            raise QueryError("parameters belong to one statement; write several statements as several calls of sql()")
        answer: duckdb.DuckDBPyRelation | None = None
        for found in statements:
            answer = self._statement(connection, found.query, found.type.name, parameters, scopes, as_of, timeout, anew)
            connection = self._cursor(as_of)
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

    def look(self, ask: Callable[[], T]) -> T:
        """What *ask* gives, which uses the connection of the tables; one at a time.

        Raises:
            QueryError: the lens is closed.
        """
        with self._lock:
            if self._closed:
                raise QueryError("it is closed; open it again")
            return ask()

    def _has_been(self, as_of: datetime) -> None:
        last = max(self._mirrors.newest(), self._now())
        if as_of > last + _SLACK:
            raise QueryError(
                f"as_of lies in the future: {as_of:%Y-%m-%d %H:%M:%S%z}, and it is {last:%Y-%m-%d %H:%M:%S%z}"
            )

    def _cursor(self, as_of: datetime | None) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._closed:
                raise QueryError("the context is closed; connect() makes a new one")
            connection = self._root.cursor()
        if as_of is None:
            connection.execute(_sql("session"))
        else:
            connection.execute(_sql("session_as_of").replace("$moment", as_of.astimezone(UTC).isoformat()))
        return connection

    # --- one statement -----------------------------------------------------------------------------------

    def _statement(
        self,
        connection: duckdb.DuckDBPyConnection,
        text: str,
        kind: str,
        parameters: Sequence[Any],
        scopes: Scopes,
        as_of: datetime | None,
        timeout: float | None,
        anew: bool,
    ) -> duckdb.DuckDBPyRelation:
        self._refuse(text, kind)
        if kind == "CREATE":
            text = _lasting(text)
        found = self._expanded(connection, mentions(connection, text))
        bare = {folded(name) for name in found.tables}.difference(self._objects)
        own = (bare | found.own).intersection(TABLES)
        others = bare.difference(TABLES) | {folded(name) for name in found.warehouse}
        if as_of is not None:
            self._refuse_then(text, kind, found)
        variables = Variables(connection, self._directory)
        tables: set[str] = set()
        try:
            if own or others:
                tables = self._mirrors.refresh(own, others, past=as_of is not None, anew=anew)
            if rest := {folded(name) for name in found.tables}.difference(TABLES, self._objects, tables):
                tables = tables | self._views(connection, rest, as_of)
            taken = {*TABLES, *self._objects, *tables}
            variables.register((name for name in found.tables if folded(name) not in taken), scopes)
            bound = _bound(parameters)
            return interruptible(connection, timeout, lambda: self._execute(connection, text, kind, bound, tables))
        except duckdb.Error as error:
            raise self._explained(error, text, variables if found.sure else None, tables) from error
        finally:
            variables.close()

    def _views(self, connection: duckdb.DuckDBPyConnection, names: Collection[str], as_of: datetime | None) -> set[str]:
        """Views of the warehouse among *names*, read for this query."""
        if self._database is None:
            return set()
        found = bring_views(self._database, connection, names, self._directory)
        if found and as_of is not None:
            raise QueryError(
                f"{min(found)} is a view of PostgreSQL, which answers as of now; ask its tables with as_of instead"
            )
        return found

    def _execute(
        self, connection: duckdb.DuckDBPyConnection, text: str, kind: str, parameters: Any, tables: Collection[str]
    ) -> duckdb.DuckDBPyRelation:
        if kind in _BARE:
            return _run(connection, text, parameters)
        try:
            return self._guarded(connection, text, kind, parameters, tables, guard=True)
        except duckdb.TransactionException as error:
            # It writes to a database that the user attached; then it cannot write to the mirrors either.
            other = _OTHER_DATABASE.search(str(error))
            if other is None or other[1] in (OWN, PAST, "memory"):
                raise
            return self._guarded(connection, text, kind, parameters, tables, guard=False)

    def _guarded(
        self,
        connection: duckdb.DuckDBPyConnection,
        text: str,
        kind: str,
        parameters: Any,
        tables: Collection[str],
        *,
        guard: bool,
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
            objects = self._objects if kind in ("SELECT", "EXPLAIN") else self._look_at_objects(connection, tables)
            connection.execute("commit")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                connection.execute("rollback")
            raise
        self._objects = objects
        return answer

    def _look_at_objects(self, connection: duckdb.DuckDBPyConnection, tables: Collection[str]) -> dict[str, str | None]:
        objects: dict[str, str | None] = {}
        for name, kind, definition in connection.execute(_sql("objects")).fetchall():
            if name.lower() in TABLES and kind != "macro":
                raise QueryError(f"{name} is a table of the journal; choose another name for your {kind}")
            if folded(name) in tables and kind != "macro" and folded(name) not in self._objects:
                raise QueryError(f"{name} is a table of the warehouse; choose another name for your {kind}")
            if not _is_guard(name):
                objects[folded(name)] = definition
        return objects

    # --- what it speaks of -------------------------------------------------------------------------------

    def _refuse(self, text: str, kind: str) -> None:
        if kind == "TRANSACTION":
            raise QueryError("each sql() is a transaction of its own; begin, commit and rollback have no place in it")
        if kind in ("ATTACH", "DETACH"):
            taken = {name.lower() for _, _, name in words(text)}.intersection((OWN, PAST, WAREHOUSE))
            if taken:
                raise QueryError(
                    f"the name {taken.pop()!r} stands for tables of PostgreSQL; attach yours under another"
                )
        if kind == "CREATE" and [name.lower() for _, _, name in words(text)][1:2] == ["schema"]:
            raise QueryError(
                "tables that you make lie beside each other, without schemas; attach a database for others"
            )

    @staticmethod
    def _refuse_then(text: str, kind: str, found: Mentions) -> None:
        """What cannot be asked of another time."""
        if found.present:
            name = min(found.present)
            raise QueryError(
                f"as_of turns back tables by their bare names, and {name} would answer as of now; write "
                f"{name.rpartition('.')[2] if '.' in name else 'runs'} without {OWN!r} before it"
            )
        if kind in _CHANGES:
            raise QueryError(
                "as_of is for questions, and for `create table mine as select ...`: the past stays as it was"
            )
        if kind == "CREATE" and {name.lower() for _, _, name in words(text)}.intersection(
            ("view", "macro", "function")
        ):
            raise QueryError("a view or macro has no time of its own; make it without as_of, and ask it with as_of")

    def _expanded(self, connection: duckdb.DuckDBPyConnection, found: Mentions) -> Mentions:
        """With the names that stand in the views and macros it uses."""
        seen: set[str] = set()
        while True:
            names = {folded(name) for name in (*found.tables, *found.functions)} - seen
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

    def _explained(
        self, error: duckdb.Error, text: str, variables: Variables | None, tables: Collection[str]
    ) -> QueryError:
        message = str(error).strip()
        if isinstance(error, duckdb.TransactionException) and re.search(f'database "({OWN}|{PAST})"', message):
            what = f"{', '.join(TABLES)} are copies of the journal"
            if tables:
                what = f"{', '.join(sorted(tables))}: these are copies of tables in PostgreSQL"
            return QueryError(
                f"{what} and can only be read; `create table mine as select ...` gives you a table of your own"
            )
        lines = [message]
        if isinstance(error, duckdb.CatalogException | duckdb.ParserException | duckdb.BinderException):
            known = ", ".join((*TABLES, *sorted(tables)))
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
