"""The caller's variables as tables: DataFrames, Arrow tables, relations.

DuckDB would look for them in the frame that called it, and that is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from dataflows_sdk.warehouse.answer import Answer

#: where a name is looked up, nearest first
Scopes = Sequence[Mapping[str, Any]]


def caller_frames(depth: int) -> Scopes:
    """The local and global variables of the frame that many calls up; 1 is the caller of this function.

    A comprehension or lambda is also looked at from outside: its text does not name the variable, so that Python did
    not make it known in there.
    """
    frame = sys._getframe(depth)
    scopes: list[Mapping[str, Any]] = [frame.f_locals]
    top = frame.f_globals
    while frame.f_code.co_name in ("<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>"):
        if frame.f_back is None or frame.f_back.f_globals is not top:
            break
        frame = frame.f_back
        scopes.append(frame.f_locals)
    scopes.append(top)
    return scopes


class Variables:
    """The caller's variables that a query reads, as views of one DuckDB connection, until `close`.

    Args:
        connection: of this query alone.
        directory: for what can only come by way of a file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self._registered: list[str] = []
        self._files: list[Path] = []
        #: variables of these names exist and are no tables: what they are
        self.refused: dict[str, str] = {}

    def register(self, names: Iterable[str], scopes: Scopes) -> None:
        """Make those variables that exist and are tables known to DuckDB; remember those that are not."""
        for name in sorted(names):
            for scope in scopes:
                if name in scope:
                    self._one(name, scope[name])
                    break

    def _one(self, name: str, value: Any) -> None:
        try:
            if isinstance(value, Answer):
                value = value.relation
            if isinstance(value, duckdb.DuckDBPyRelation):
                value = self._by_file(value)
            self._connection.register(name, value)
        except (duckdb.Error, TypeError, ValueError) as error:
            what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            reason = str(error).partition("\n")[0].removeprefix("Invalid Input Error: ")
            self.refused[name] = what if "not suitable" in reason or not reason else f"{what} ({reason})"
        else:
            self._registered.append(name)

    def _by_file(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        # A relation belongs to a connection, and an answer is a temporary table there.
        path = self._directory / f"{uuid4().hex}.parquet"
        self._files.append(path)
        relation.write_parquet(str(path))
        return self._connection.read_parquet(str(path))

    def close(self) -> None:
        """Let go of the variables: the answer does not need them."""
        for name in self._registered:
            self._connection.unregister(name)
        for path in self._files:
            path.unlink(missing_ok=True)
