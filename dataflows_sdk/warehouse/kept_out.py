"""Rows in which a declared secret stands are refused: a table, its history and its exports keep them for long.

All rows of a write are looked through at once. Which one it was, is found out only where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dataflows_sdk.core.kept_out import Finder, refusal
from dataflows_sdk.errors import NotSerializableError
from dataflows_sdk.warehouse.rows import Bad, Texts

__all__ = ["check_aside", "check_csv", "check_rows"]

#: no secret has it: what stands in two values is none
_BETWEEN = "\0"
_PART = 2_000


def check_rows(finder: Finder | None, table: str, groups: Sequence[Texts]) -> None:
    """Look through rows that are about to be written.

    Raises:
        NotSerializableError: a declared secret stands in one; table, row and column are named.
    """
    finds = None if finder is None else finder()
    if finds is None:
        return
    for group in groups:
        for begin in range(0, len(group.rows), _PART):
            part = group.rows[begin : begin + _PART]
            if not finds(_BETWEEN.join(value for row in part for value in row if value is not None).encode()):
                continue
            for at, row in enumerate(part, begin):
                for column, value in zip(group.columns, row, strict=True):
                    if value is not None and finds(value.encode()):
                        raise _refused(table, group.positions[at], column.name)
            raise refusal(f"table {table!r}: a row")


def check_csv(finder: Finder | None, table: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks of lines, looked through as they pass."""
    finds = None if finder is None else finder()
    for chunk in chunks:
        # in CSV a quotation mark is written twice
        if finds is not None and finds(chunk.replace(b'""', b'"')):
            raise refusal(f"table {table!r}: a row")
        yield chunk


def check_aside(finder: Finder | None, table: str, bad: Bad) -> None:
    """Look through rows that do not fit and would be set aside."""
    finds = None if finder is None else finder()
    if finds is not None and finds(_BETWEEN.join(part for pair in bad.aside for part in pair).encode()):
        raise refusal(f"table {table!r}: a row that does not fit, which would be set aside,")


def _refused(table: str, position: int, column: str) -> NotSerializableError:
    return refusal(f"table {table!r}: column {column!r} of row {position}")
