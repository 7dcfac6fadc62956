"""Of tables, views, queries and syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dataflows_sdk.errors.base import DataflowsError, DefinitionError, NonRetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ShapeError(DefinitionError):
    """A table cannot look like this."""


class WarehouseError(DataflowsError):
    """A table or view of the warehouse cannot do this."""


class TableNotFoundError(WarehouseError):
    """There is no table of this name in the warehouse."""


class ViewNotFoundError(WarehouseError):
    """There is no such view in the warehouse."""


class BadRow(NamedTuple):
    """Why a row does not fit.

    Attributes:
        position: which row it is; the first one is 0.
        column: the column that does not fit; None where it is the row as a whole.
        value: what is there, shortened.
        reason: what is wrong with it.
    """

    position: int
    column: str | None
    value: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.position}" + (f", {self.column!r}" if self.column is not None else "") + f": {self.reason}"


class BadRowsError(WarehouseError):
    """Rows do not fit their table; nothing was written.

    Attributes:
        rows: the first of them, with what is wrong.
        count: how many there are.
    """

    def __init__(self, message: str, rows: Sequence[BadRow], count: int) -> None:
        super().__init__(message)
        self.rows = tuple(rows)
        self.count = count


class UnreadableSourceError(WarehouseError):
    """A file, DataFrame or Arrow table cannot be read as rows."""


class QueryError(DataflowsError):
    """A query cannot be answered."""


class QueryRefusedError(QueryError):
    """A query that may not be run.

    Attributes:
        problem: what was refused, for a model to read.
        line, column: where it stands in the text, from 1; None where no single place is to blame.
        instead: what may be written instead; may be empty.
    """

    def __init__(self, problem: str, *, line: int | None = None, column: int | None = None, instead: str = "") -> None:
        where = "" if line is None else f" (line {line}, column {column})"
        super().__init__(f"refused: {problem}{where}" + (f". {instead}" if instead else ""))
        self.problem = problem
        self.line = line
        self.column = column
        self.instead = instead


class SyncError(DataflowsError):
    """A sync cannot go on."""


class SyncCursorError(SyncError, NonRetryableError):
    """The cursor of a sync does not move forwards."""


class SyncDeleteError(SyncError, NonRetryableError):
    """Rows that a full sync did not find are not deleted."""


class SourceNotFoundError(SyncError, NonRetryableError):
    """The source of a sync is not to be had in this process."""
