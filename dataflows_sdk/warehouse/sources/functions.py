"""Pages from a function, an iterator or a generator of the user's."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from dataflows_sdk.errors import DefinitionError, SourceNotFoundError, SyncCursorError, SyncError
from dataflows_sdk.warehouse.sources.dlt import DltSource, is_dlt
from dataflows_sdk.warehouse.sources.marks import largest_of, precedes
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach, as_page, is_row
from dataflows_sdk.warehouse.sources.registry import declared, place_of

__all__ = ["FunctionSource"]

#: rows of a page, where a function gives rows and no pages
_CHUNK = 1_000


class _IsDlt(Exception):
    """The function gave a resource or source of dlt."""


class FunctionSource:
    """What a callable, or an iterable of pages, gives.

    A position is the cursor that the function gave last, and how many pages came since. An iterator that gives no
    cursors can only be gone through again from its beginning, in another process or after a failure; rows that are
    stored already are unchanged then, and write nothing.

    Args:
        given: a function of the cursor (or of nothing), or an iterable.
        ordered: whether numbers and moments that it gives as cursors only grow.
        local: a token by which this process alone finds it again.
    """

    def __init__(self, given: Any, *, ordered: bool = True, local: str = "") -> None:
        self._given = given
        self._local = local
        known = declared(given) if callable(given) else None
        self._declared = known
        self.ordered = known.ordered if known is not None else ordered
        self._callable = callable(given)
        if not self._callable and not isinstance(given, Iterable):
            raise DefinitionError(
                f"{given!r:.100} is no source: a function of the cursor, an iterable of pages, df.JsonApi, "
                "df.SqlSource, "
                "df.FileSource, or a resource of dlt"
            )
        self._takes_cursor = self._callable and _takes_cursor(given)
        self._once = not self._callable and iter(given) is given
        self._bound = Bound("")
        self._dlt: DltSource | None = None
        #: an iterator that is under way, where it stands, and the page that it gave last with its position
        self._under_way: tuple[dict[str, Any], Iterator[Any]] | None = None
        self._last: tuple[dict[str, Any], Page] | None = None

    def describe(self) -> dict[str, Any]:
        if self._declared is not None:
            return {"kind": "declared", "name": self._declared.name}
        place = place_of(self._given) if self._callable else None
        if place is not None:
            return {"kind": "function", "place": place, "ordered": self.ordered}
        return {"kind": "local", "token": self._local, "what": self._what()}

    def name(self) -> str | None:
        if self._declared is not None:
            return self._declared.name
        found = getattr(self._given, "__name__", None)
        return found if isinstance(found, str) and found.isidentifier() else None

    def bind(self, bound: Bound) -> None:
        self._bound = bound

    def _what(self) -> str:
        return str(getattr(self._given, "__qualname__", type(self._given).__name__))

    def fetch(self, position: Any, reach: Reach) -> Page:
        position = dict(position or {})
        if self._dlt is None and "state" in position:
            self._hand_over()
        if self._dlt is not None:
            return self._dlt.fetch(position, reach)
        try:
            return self._fetch(position, reach)
        except _IsDlt:
            return self._hand_over().fetch(position, reach)

    def _hand_over(self) -> DltSource:
        """The function gives what dlt made."""
        self._dlt = DltSource(self._given, {}, self._what())
        self._dlt.bind(self._bound)
        return self._dlt

    def _fetch(self, position: dict[str, Any], reach: Reach) -> Page:
        at = {"cursor": position.get("cursor"), "skip": position.get("skip", 0)}
        page = self._page(at, reach)
        largest = position.get("largest")
        if self._bound.field is not None:
            largest = largest_of(page.rows, self._bound.field, largest, self._what())
        return self._onwards(page, at, largest)

    def _onwards(self, page: Page, at: dict[str, Any], largest: Any) -> Page:
        """The same page with the position after it in place of the function's own cursor."""
        streaming = self._under_way is not None
        given = page.cursor
        goes_on = page.more if page.more is not None else (streaming or given is not None)
        if given == at["cursor"] and given is not None and page.more is None and not page.rows and not page.deleted:
            goes_on = False  # nothing new since that cursor
        self._check(given, at["cursor"], page, goes_on)
        if goes_on:
            after = {"cursor": at["cursor"], "skip": at["skip"] + 1} if given is None else {"cursor": given, "skip": 0}
            if given is None and not streaming:
                raise SyncError(f"{self._what()} says that a page follows (more=True), and gives no cursor for it")
        else:
            kept = given if given is not None else largest if self._bound.field is not None else at["cursor"]
            after = {"cursor": kept, "skip": 0}
        if self._bound.field is not None:
            after["largest"] = largest
        if streaming and self._under_way is not None:
            self._under_way = (_place(after), self._under_way[1]) if goes_on else None
        return Page(page.rows, after, page.deleted, goes_on, page.table, page.wait_until, page.total, page.key)

    def _check(self, given: Any, before: Any, page: Page, goes_on: bool) -> None:
        """A cursor that stays where it is would never end, and one that goes back would lose rows."""
        if given is None or before is None:
            return
        what = f"source {self._what()!r}"
        if goes_on and given == before:
            raise SyncCursorError(
                f"{what}: the cursor does not move: the page at {before!r} has {len(page.rows)} rows and names "
                f"{given!r} "
                "as the next one. Give None, or more=False, when there are no more"
            )
        if self.ordered and self._bound.field is None and precedes(given, before):
            raise SyncCursorError(
                f"{what}: the cursor goes backwards: the page at {before!r} names {given!r} as the next one. If "
                "that is "
                "meant, say @df.source(name, ordered=False)"
            )

    def _page(self, at: dict[str, Any], reach: Reach) -> Page:
        if self._last is not None and self._last[0] == at:
            return self._last[1]  # what was fetched before the database failed
        if self._under_way is None or self._under_way[0] != at:
            self._under_way = None
            given = self._open(at, reach)
            if isinstance(given, Page):
                return given
            self._under_way = (at, given)
        iterator = self._under_way[1]
        try:
            page = next(iterator, None)
        except BaseException:
            self._under_way = None  # a generator that raised is at its end
            raise
        if page is None:
            page = Page((), None, more=False)
        self._last = (at, page)
        return page

    def _open(self, at: dict[str, Any], reach: Reach) -> Page | Iterator[Page]:
        given = self._given
        if self._callable:
            given = given(at["cursor"]) if self._takes_cursor else given()
            if isinstance(given, Awaitable):
                given = reach.call(_result(given))
            if isinstance(given, Page | tuple | list) and not (isinstance(given, list) and given and _pages(given)):
                return as_page(given, self._what())
        if is_dlt(given):
            raise _IsDlt
        if hasattr(given, "__aiter__"):
            given = _blocking(given, reach)
        if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict):
            return as_page(given, self._what())
        if self._once and self._last is not None:
            raise SourceNotFoundError(
                f"the pages of {self._what()} were given once, and page {at['skip'] + 1} is not the next one; "
                "give a function that makes the iterator, so that it can begin again"
            )
        return _chunked(iter(given), self._what())


async def _result(work: Awaitable[Any]) -> Any:
    return await work


def _place(position: dict[str, Any]) -> dict[str, Any]:
    return {"cursor": position["cursor"], "skip": position["skip"]}


def _takes_cursor(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    needed = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    missing = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty]
    if len([each for each in needed if each.default is each.empty]) > 1 or missing:
        raise DefinitionError(
            f"a source is a function of one cursor, or of nothing: {getattr(fn, '__qualname__', fn)} wants more"
        )
    return bool(needed)


def _pages(given: list[Any]) -> bool:
    """Whether a list holds pages rather than rows."""
    return isinstance(given[0], Page | tuple | list)


def _chunked(items: Iterator[Any], what: str) -> Iterator[Page]:
    """Pages of an iterator that gives pages, or rows."""
    first = next(items, None)
    if first is None:
        return
    items = itertools.chain((first,), items)
    if not is_row(first) or isinstance(first, Page):
        for item in items:
            yield as_page(item, what)
        return
    while chunk := list(itertools.islice(items, _CHUNK)):
        yield as_page(chunk, what)


def _blocking(items: Any, reach: Reach) -> Iterator[Any]:
    """An asynchronous iterator, for a thread."""
    iterator = items.__aiter__()
    while True:
        try:
            yield reach.call(_result(iterator.__anext__()))
        except StopAsyncIteration:
            return
