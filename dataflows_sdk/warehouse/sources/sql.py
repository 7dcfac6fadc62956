"""Rows of another database: PostgreSQL, or a file of SQLite or DuckDB."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, SyncError
from dataflows_sdk.warehouse.sources.connected import access_of, read_named
from dataflows_sdk.warehouse.sources.marks import largest_of
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach
from dataflows_sdk.warehouse.sources.secrets import fill

__all__ = ["SqlSource"]

_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "sqlite": "sqlite", "duckdb": "duckdb"}


@dataclass
class SqlSource(ShownAsTable):
    """Rows of a table or query of another database, for `Warehouse.sync`.

    Pages go by the key of the table (keyset paging), so that rows that come or go in the meantime shift nothing. An
    incremental sync goes by *cursor_column* and then the key; the next one begins with the largest value that was seen.
    Rows in which a column of the order is null are not read by it.

    Args:
        url: ``"postgresql://user@host/db"``, ``"sqlite:///orders.db"`` (four slashes for an absolute path) or
            ``"duckdb:///orders.duckdb"``. A password is not written into it: ``"{{env.CRM_URL}}"``, or *connection*.
        query: a select, or
        table: the name of a table, with its schema if it has one: ``"public.orders"``.
        cursor_column: a column that grows when a row changes.
        page_size: rows of a page.
        connection: for PostgreSQL: user and password of a connection with ``auth="basic"``, or the token of another one
            as the password of the user in the URL. Named as for `JsonApi`; its client has no *base_url*, which would
            say that its secret is for that server only.

    Raises:
        DefinitionError: an argument makes no sense, or the URL holds a password.
    """

    url: str
    query: str | None = None
    table: str | None = None
    cursor_column: str | None = None
    page_size: int = 1_000
    connection: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or ("{{" not in self.url and urlsplit(self.url).scheme not in _SCHEMES):
            raise DefinitionError(
                f"SqlSource: url is postgresql://…, sqlite:///file or duckdb:///file, not {_unsecret(self.url)!r}"
            )
        if "{{" not in self.url and urlsplit(self.url).password:
            raise DefinitionError(
                "SqlSource: the url holds a password, and a sync's source is kept in the journal: write "
                "'{{env.CRM_URL}}' "
                "and connect(services=df.Services(env=['CRM_URL']))"
            )
        if (self.query is None) == (self.table is None):
            raise DefinitionError("SqlSource: give a query or a table, one of them")
        if (
            isinstance(self.page_size, bool)
            or not isinstance(self.page_size, int)
            or not 1 <= self.page_size <= 100_000
        ):
            raise DefinitionError(f"SqlSource: page_size lies between 1 and 100,000, not {self.page_size!r}")
        self.connection = read_named("SqlSource", self.connection)
        if "{{" not in self.url:
            self._check_connection(self.url)
        self._bound = Bound("")

    def _check_connection(self, url: str) -> None:
        if self.connection is not None and _SCHEMES.get(urlsplit(url).scheme) != "postgresql":
            raise DefinitionError(
                f"SqlSource: {_unsecret(url)!r} is a file, which asks for no password; leave connection= out"
            )

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "sql",
            "url": self.url,
            "query": self.query,
            "table": self.table,
            "cursor_column": self.cursor_column,
            "page_size": self.page_size,
            "connection": self.connection,
        }

    def name(self) -> str | None:
        return self.table

    def bind(self, bound: Bound) -> None:
        if not bound.key:
            raise DefinitionError("SqlSource: pages go by the key of the table: sync(…, key='id')")
        if bound.field is not None and self.cursor_column is None:
            self.cursor_column = bound.field
        self._bound = bound

    def fetch(self, position: Any, reach: Reach) -> Page:
        position = dict(position or {})
        since, largest, by = position.get("since"), position.get("largest"), self.cursor_column
        order = [
            *([by] if by is not None and since is not None and by not in self._bound.key else []),
            *self._bound.key,
        ]
        url = str(fill(self.url, reach.services.env))
        self._check_connection(url)
        known = None if self.connection is None else access_of(self.connection, reach).credentials()
        rows = self._read(url, order, position.get("after"), since, known)
        what = f"the query of {self._bound.name!r}"
        self._check(rows, order, what)
        if by is not None:
            largest = largest_of(rows, by, largest, what)
        if len(rows) == self.page_size:
            after = [rows[-1][name] for name in order]
            return Page(rows, {"after": after, "since": since, "largest": largest}, more=True)
        return Page(rows, {"since": largest if largest is not None else since}, more=False)

    def _check(self, rows: Sequence[dict[str, Any]], order: Sequence[str], what: str) -> None:
        wanted = [*order, *([self.cursor_column] if self.cursor_column is not None else [])]
        missing = [name for name in wanted if rows and name not in rows[0]]
        if missing:
            raise SyncError(f"{what} has no column {missing[0]!r}; it has {', '.join(rows[0])}")

    def _read(
        self, url: str, order: list[str], after: Any, since: Any, known: tuple[str | None, str] | None
    ) -> list[dict[str, Any]]:
        kind = _SCHEMES.get(urlsplit(url).scheme)
        query = (
            self.query.strip().rstrip(";") if self.query is not None else "select * from " + _quoted(str(self.table))  # noqa: S608 - quoted
        )
        if kind == "postgresql":
            from dataflows_sdk.store.foreign import read_rows

            return read_rows(url, query, order, after, since, self.page_size, known)
        if kind is None:
            raise DefinitionError(
                f"SqlSource: {_unsecret(url)!r} is no postgresql://…, sqlite:///file or duckdb:///file"
            )
        names = ", ".join(_quoted(name, dots=False) for name in order)
        conditions = [f"{_quoted(name, dots=False)} is not null" for name in order]
        parameters: list[Any] = []
        if after is not None:
            conditions.append(f"({names}) > ({', '.join('?' for _ in order)})")
            parameters = list(after)
        elif since is not None:
            conditions.append(f"{_quoted(order[0], dots=False)} >= ?")
            parameters = [since]
        statement = (
            f"select * from ({query}\n) q where {' and '.join(conditions)} order by {names} limit {self.page_size}"  # noqa: S608
        )
        path = _file_of(url)
        return _sqlite(path, statement, parameters) if kind == "sqlite" else _duckdb(path, statement, parameters)


def _sqlite(path: Path, statement: str, parameters: list[Any]) -> list[dict[str, Any]]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            cursor = connection.execute(statement, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except sqlite3.Error as error:
        raise SyncError(f"SQLite cannot read {path}: {error}") from error


def _duckdb(path: Path, statement: str, parameters: list[Any]) -> list[dict[str, Any]]:
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            cursor = connection.execute(statement, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    except duckdb.Error as error:
        raise SyncError(f"DuckDB cannot read {path}: {error}") from error


def _file_of(url: str) -> Path:
    path = unquote(urlsplit(url).path)
    found = Path(path.removeprefix("/"))
    if not found.is_file():
        raise SyncError(f"there is no file {found} for {_unsecret(url)!r}; four slashes begin an absolute path")
    return found


def _quoted(name: str, *, dots: bool = True) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in (name.split(".") if dots else [name]))


def _unsecret(url: object) -> str:
    from dataflows_sdk.core.redact import REDACTOR

    return REDACTOR.redact_text(str(url))[:200]
