"""Rows that do not fit a table, and sources that are no rows at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dataflows_sdk.errors import DataflowsError


class BadRow(NamedTuple):
    """Why a row does not fit.

    Attributes:
        position: which row of the source it is; the first one is 0.
        column: the column that does not fit; None where it is the row as a whole.
        value: what is there, shortened.
        reason: what is wrong with it.
    """

    position: int
    column: str | None
    value: str
    reason: str

    def __str__(self) -> str:
        where = f"row {self.position}" + (f", {self.column} = {self.value}" if self.column is not None else "")
        return f"{where}: {self.reason}"


class BadRowsError(DataflowsError):
    """Rows do not fit their table; nothing was written."""

    def __init__(self, message: str | None = None, rows: Sequence[BadRow] = (), total: int = 0) -> None:
        super().__init__(message)
        #: the first of them, with what is wrong
        self.rows = list(rows)
        #: how many there are
        self.total = total


class UnreadableSourceError(DataflowsError):
    """A file, DataFrame or Arrow table cannot be read as rows."""
