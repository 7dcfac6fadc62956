"""Sources by name: what one process writes into the journal, another finds here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dataflows_sdk.errors import DefinitionError, SourceNotFoundError

__all__ = ["Declared", "declared", "source"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declared:
    """A function that was declared as a source.

    Attributes:
        name: by which other processes find it.
        fn: the function.
        ordered: whether numbers and moments that it gives as cursors only grow.
    """

    name: str
    fn: Callable[..., Any]
    ordered: bool = True


_lock = threading.Lock()
_DECLARED: dict[str, Declared] = {}


def source(name: str, *, ordered: bool = True) -> Callable[[F], F]:
    """Declare a function that gives pages, so that every process that imports its module can go on with a sync.

    The function gets the cursor (None at the beginning), if it has a parameter, and returns a page, or an iterable of
    pages or rows::

        @df.source("shop-orders")
        def orders(cursor):
            answer = httpx.get(URL, params={"after": cursor}).json()
            return df.Page(answer["orders"], cursor=answer["next"])

    It may be ``async def``, and it may return a resource of dlt.

    Args:
        name: unique and stable; also what the sync is called.
        ordered: numbers and moments that it gives as cursors only grow, so that one that goes backwards is an error.

    Raises:
        DefinitionError: a bad name, or no function.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        raise DefinitionError(f'a source has a printable name: @df.source("shop-orders"), not {name!r:.100}')

    def declare(fn: F) -> F:
        if not callable(fn):
            raise DefinitionError(f"source {name!r}: {fn!r:.100} is not callable")
        with _lock:
            known = _DECLARED.get(name)
            if known is not None and _place(known.fn) != _place(fn) and "<locals>" not in _place(fn)[1]:
                raise DefinitionError(
                    f"source {name!r} is already {'.'.join(_place(known.fn))}; give {'.'.join(_place(fn))} another name"
                )
            _DECLARED[name] = Declared(name, fn, ordered)
        return fn

    return declare


def declared(given: Callable[..., Any] | str) -> Declared | None:
    """What was declared under a name, or as which a function was declared."""
    with _lock:
        if isinstance(given, str):
            return _DECLARED.get(given)
        return next((each for each in _DECLARED.values() if each.fn is given), None)


def any_declared() -> bool:
    """Whether this process has declared sources, so that it can take on syncs."""
    return bool(_DECLARED)


def place_of(fn: Callable[..., Any]) -> str | None:
    """``module:name`` of a function that other processes find there; None for one of a notebook or a function."""
    module, name = _place(fn)
    if not module or module == "__main__" or "<" in name:
        return None
    return f"{module}:{name}" if _at(module, name) is fn else None


def find_place(place: str) -> Callable[..., Any]:
    """The function of ``module:name``. Names that stand in a database are looked up, and never imported.

    Raises:
        SourceNotFoundError: this process has not imported it.
    """
    module, _, name = place.partition(":")
    found = _at(module, name)
    if not callable(found):
        raise SourceNotFoundError(
            f"the pages of this sync come from {name!r} in the module {module!r}, which this process "
            f"{'does not have' if module in sys.modules else 'has not imported'}; import it (a worker: "
            f"dataflows worker {module}) and call sync(…) again: it goes on where it stopped"
        )
    return found  # type: ignore[no-any-return]


def _place(fn: Callable[..., Any]) -> tuple[str, str]:
    return getattr(fn, "__module__", "") or "", getattr(fn, "__qualname__", repr(fn))


def _at(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
