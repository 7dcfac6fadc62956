"""What a source gives: a page of rows, and where the next page begins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import SyncError

if TYPE_CHECKING:
    from dataflows_sdk.nodes.services import Services
    from dataflows_sdk.warehouse.sources.connected import Connector

__all__ = ["Bound", "Page", "Reach", "Source", "as_page", "check_rows"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(ShownAsTable):
    """Some rows, and where the next ones begin.

    Attributes:
        rows: mappings, dataclasses or pydantic models.
        cursor: where the next page begins: a text, a number, a moment, or anything that is JSON with types. None is the
            end.
        deleted: keys of rows that the other side no longer has. A key of several columns is a tuple.
        more: whether a page follows; by default one follows where there is a cursor. ``more=False`` with a cursor ends
            this sync, and the next one begins there.
        table: the table that the rows belong to, where a source has rows for several.
        wait_until: no page is asked for before, because the other side said so.
        total: how many rows there are in all, if the other side tells; for the progress bar.
        key: the columns that tell rows of its table apart, where the source knows them.
    """

    rows: Sequence[Any] = ()
    cursor: Any = None
    deleted: Sequence[Any] = ()
    more: bool | None = None
    table: str | None = None
    wait_until: datetime | None = None
    total: int | None = None
    key: Sequence[str] = ()

    @property
    def goes_on(self) -> bool:
        """Whether another page follows."""
        return self.cursor is not None if self.more is None else self.more


@dataclass(frozen=True, slots=True)
class Bound:
    """What a sync says of itself to its source.

    Attributes:
        name: of the sync.
        key: the columns that tell rows apart.
        field: the field whose largest value says how far an incremental sync came.
        into: the table, where there is one.
    """

    name: str
    key: tuple[str, ...] = ()
    field: str | None = None
    into: str | None = None


@dataclass(frozen=True)
class Reach:
    """What a source may reach while it fetches: the services of the process, the engine's loop, connections."""

    services: Services
    loop: asyncio.AbstractEventLoop
    now: datetime
    run: str = ""
    attempt: int = 1
    names: Mapping[str, str] = field(default_factory=dict)
    connections: Connector | None = None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, from a thread beside the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


class Source(Protocol):
    """A place to read from. Its methods are called in a thread, one at a time."""

    def describe(self) -> dict[str, Any]:
        """Itself as JSON, without secrets: what the journal keeps, and another process makes it from."""
        ...

    def name(self) -> str | None:
        """What a sync of it is called, if nobody says."""
        ...

    def bind(self, bound: Bound) -> None:
        """Take in what the sync says. Raises DefinitionError where that does not fit."""
        ...

    def fetch(self, position: Any, reach: Reach) -> Page:
        """The page at a position; None is the beginning."""
        ...


def as_page(given: Any, what: str) -> Page:
    """What a function of a user gave, as a page.

    Raises:
        SyncError: it is none.
    """
    if isinstance(given, Page):
        return Page(
            check_rows(given.rows, what), given.cursor, list(given.deleted), given.more, given.table,
            given.wait_until, given.total, tuple(given.key),
        )  # fmt: skip
    if isinstance(given, tuple) and len(given) == 2 and not isinstance(given[0], str | bytes | Mapping):
        return Page(check_rows(given[0], what), given[1])
    if isinstance(given, list):
        return Page(check_rows(given, what))
    raise SyncError(
        f"{what} gave {_short(given)}; a page is df.Page(rows, cursor), the pair (rows, next_cursor), or a list of rows"
    )


def check_rows(given: Any, what: str) -> list[Any]:
    """Rows as a list.

    Raises:
        SyncError: something among them is no row; its place is named.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise SyncError(f"{what} gave {_short(given)} as the rows of a page; they are a list of mappings")
    rows = list(given)
    for number, row in enumerate(rows):
        if not is_row(row):
            raise SyncError(f"{what}: row {number} of the page is {_short(row)}; a row is a mapping or a model")
    return rows


def is_row(value: Any) -> bool:
    """Whether that is a row: a mapping, a dataclass or a pydantic model."""
    return isinstance(value, Mapping) or (
        not isinstance(value, type) and (hasattr(value, "__dataclass_fields__") or hasattr(value, "model_dump"))
    )


def value_of(row: Any, name: str) -> Any:
    """A field of a row; None where it has none."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _short(value: Any) -> str:
    from dataflows_sdk.core.redact import REDACTOR

    return f"{type(value).__name__} {REDACTOR.redact_repr(value, 80)}"
