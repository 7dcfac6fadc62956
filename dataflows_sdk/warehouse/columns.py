"""What a table's columns are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: as the user wrote it.
        type: ``int``, ``decimal``, ``float``, ``bool``, ``text``, ``date``, ``time``, ``timestamp``, ``timestamptz``,
            ``interval``, ``uuid``, ``bytes`` or ``json``.
        nullable: whether a row may have nothing there.
    """

    name: str
    type: str
    nullable: bool = True
