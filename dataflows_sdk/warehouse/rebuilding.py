"""Views that others stand on cannot be changed in place: those above are dropped, and made again in order.

PostgreSQL knows what stands on what, and can write down every view as it is, whoever made it; with what hangs on it
(grants, comments, indexes, triggers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.errors import ViewNotFoundError, WarehouseError
from dataflows_sdk.store.statements import RefusedError, alone, named

#: how long a definition waits for those who read a view or write a table
PATIENCE = "30s"


@dataclass(frozen=True, slots=True)
class Relation:
    """A view in the database."""

    oid: int
    schema: str
    name: str
    kind: str

    @property
    def shown(self) -> str:
        return self.name if self.schema == "warehouse" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A view that is to be made again, and how."""

    relation: Relation
    statements: tuple[str, ...]


def run(connection: Any, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """A statement of ``views.sql``."""
    return named(connection, "views", name, parameters, package="dataflows_sdk.warehouse")


def lock(connection: Any) -> None:
    """One definition at a time."""
    run(connection, "lock")


def more(refused: RefusedError) -> str:
    """What PostgreSQL has to add to a refusal."""
    return f" ({refused.detail})" if refused.detail else ""


def missing(connection: Any, name: object) -> ViewNotFoundError:
    """The error for a view that is not there."""
    rows = run(connection, "list", None)
    if any(row[0] == name for row in rows):
        return ViewNotFoundError(
            f"view {name!r} was dropped by hand; ctx.warehouse.view({name!r}, sql) makes it again, and .versions() of "
            "ctx.warehouse.views has its texts"
        )
    there = ", ".join(row[0] for row in rows) or "none"
    return ViewNotFoundError(f"there is no view {name!r}; there are: {there}")


@contextmanager
def path(connection: Any, first: str) -> Iterator[None]:
    """Look up bare names in this schema first; with an empty text nowhere."""
    before = run(connection, "path", first)[0][0]
    yield
    run(connection, "restore_path", before)


def dependants(connection: Any, oids: Sequence[int]) -> list[Relation]:
    """The views that stand on relations, directly or not, in the order in which they can be made."""
    return [Relation(*row) for row in run(connection, "dependants", list(oids))]


def take_down(connection: Any, oids: Sequence[int]) -> list[Kept]:
    """Drop the views that stand on relations, and remember how they are made."""
    found = dependants(connection, oids)
    with path(connection, ""):
        kept = [Kept(each, tuple(run(connection, "remake", each.oid)[0][0])) for each in found]
    for each in reversed(found):
        drop(connection, each)
    return kept


def put_up(connection: Any, kept: Sequence[Kept], because: str) -> None:
    """Make views again.

    Raises:
        WarehouseError: one of them does not fit any more.
    """
    with path(connection, ""):
        for each in kept:
            for text in each.statements:
                try:
                    alone(connection, text)
                except RefusedError as refused:
                    raise WarehouseError(
                        f"view {each.relation.shown!r} stands on {because} and does not fit it any more: "
                        f"{refused.message}; nothing was changed. Change or drop {each.relation.shown!r} first"
                    ) from refused
    filled = [each.relation.name for each in kept if each.relation.kind == "m" and each.relation.schema == "warehouse"]
    if filled:
        run(connection, "refilled", filled, run(connection, "now")[0][1])


def drop(connection: Any, relation: Relation) -> None:
    """Drop one view that nothing stands on any more."""
    alone(connection, run(connection, "drop", relation.schema, relation.name, relation.kind)[0][0])


@contextmanager
def rebuilding(connection: Any, *tables: str, whole: bool = True) -> Iterator[list[str]]:
    """Change tables on which views stand: these are dropped before, and made again after, in the same transaction.

    Views of the pasts of the tables are among them; the ``<table>_history`` views themselves are left to the caller.
    Enter this before anything locks the tables: whoever defines a view at the same moment waits on the same lock.

    Args:
        connection: with an open transaction, which the caller commits.
        tables: names in the schema warehouse; one that does not exist has no views.
        whole: False where only the ``<table>_history`` views are made anew, as for a column that is added: what stands
            on the tables alone stays.

    Yields:
        the names of the views that are away meanwhile.

    Raises:
        WarehouseError: a view does not fit the changed tables, or cannot be dropped; the caller's transaction is to be
            rolled back then.
    """
    lock(connection)
    try:
        kept = take_down(connection, [row[0] for row in run(connection, "oids", list(tables), whole)])
    except RefusedError as refused:
        raise WarehouseError(
            f"the views that stand on {', '.join(map(repr, tables))} cannot be set aside: {refused.message}"
            + (f" ({refused.detail})" if refused.detail else "")
        ) from refused
    yield [each.relation.shown for each in kept]
    put_up(connection, kept, ", ".join(map(repr, tables)))
