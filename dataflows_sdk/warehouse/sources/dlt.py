"""Resources and sources of dlt: their extraction, with their incremental state kept beside our cursor.

Taken over: extraction with paging, transformers, filters and maps, the names and primary keys of resources, and the
state (``dlt.sources.incremental`` and what a resource keeps itself). Not taken over: dlt's normalisation into child
tables (nested data stays as JSON), schema contracts, write dispositions, destinations and staging.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

from dataflows_sdk.errors import DefinitionError, MissingExtraError, SourceNotFoundError, SyncError
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach, check_rows, is_row

__all__ = ["DltSource", "is_dlt"]

_CHUNK = 1_000


def is_dlt(given: object) -> bool:
    """Whether dlt made that: a resource, a source, or what its decorators give. dlt is not loaded for the question."""
    return any(each.__module__.startswith("dlt.") for each in type(given).__mro__)


class DltSource:
    """What a resource or a source of dlt yields, a resource after the other.

    A position is the resource, how many pages of it are stored, and the state that dlt had when the sync began. dlt
    knows no way into the middle of a resource, nor does it promise an order: in another process it is gone through
    again from its beginning with that state. Rows that are stored already are unchanged then, and write nothing.

    Args:
        make: gives the resource or source, a fresh one each time.
        description: as which another process finds it.
        named: what the sync is called if nobody says.
    """

    def __init__(self, make: Callable[[], Any], description: dict[str, Any], named: str | None = None) -> None:
        self._make = make
        self._description = description
        self._named = named
        self._bound = Bound("")
        self._names: list[str] = []
        self._name = ""
        self._key: tuple[str, ...] = ()
        self._under_way: tuple[dict[str, Any], Iterator[list[Any]], dict[str, Any]] | None = None

    def describe(self) -> dict[str, Any]:
        return self._description

    def name(self) -> str | None:
        return self._named

    def bind(self, bound: Bound) -> None:
        self._bound = bound
        if bound.field is not None:
            raise DefinitionError("a dlt resource has its own dlt.sources.incremental(…): leave sync(cursor=…) out")
        resources = self._resources()
        if bound.into is not None and len(resources) > 1:
            raise DefinitionError(
                f"this dlt source has several resources ({', '.join(resources)}), each with a table of its name: leave "
                "into= out, or sync one of them: source.resources[name]"
            )

    def _resources(self) -> dict[str, Any]:
        given = self._make()
        if is_dlt(given) and not hasattr(given, "selected_resources") and not hasattr(given, "compute_table_schema"):
            given = given()  # a function that @dlt.source wraps
        if not is_dlt(given):
            raise DefinitionError(f"{self._named!r} gave {type(given).__name__} instead of a resource or source of dlt")
        selected = getattr(given, "selected_resources", None)
        found = {given.name: given} if selected is None else dict(selected.items())
        if not found:
            raise DefinitionError("this dlt source has no selected resource")
        return found

    def fetch(self, position: Any, reach: Reach) -> Page:  # noqa: ARG002 - the port says so
        position = dict(position or {})
        resources = self._resources() if self._under_way is None or self._under_way[0] != _at(position) else None
        if resources is not None:
            names = list(resources)
            name = position.get("resource") or names[0]
            if name not in resources:
                raise SourceNotFoundError(
                    f"the dlt source has no resource {name!r} any more; it has {', '.join(names)}"
                )
            state = _state(position.get("base") or position.get("state"))
            pages = _pages(resources[name], state)
            self._under_way = (_at(position), pages, state)
            self._names, self._name, self._key = names, name, _key_of(resources[name])
        assert self._under_way is not None
        _, pages, state = self._under_way
        name, names = self._name, self._names
        table = None if self._bound.into is not None else name
        rows = next(pages, [])
        ahead = next(pages, None)
        checked = check_rows(rows, f"dlt resource {name!r}")
        if ahead is not None:
            after = {**position, "resource": name, "skip": position.get("skip", 0) + 1}
            self._under_way = (_at(after), itertools.chain((ahead,), pages), state)
            return Page(checked, after, more=True, table=table, key=self._key)
        self._under_way = None
        following = names[names.index(name) + 1 :]
        base = position.get("base") or position.get("state")
        after = {"state": _text(_merged(_state(position.get("state")), state))}
        if following:
            # a parent of two transformers is gone through for each of them: with the state of the beginning
            after |= {"resource": following[0], "skip": 0, "base": base if base is not None else _text({})}
        return Page(checked, after, more=bool(following), table=table, key=self._key)


def _at(position: dict[str, Any]) -> dict[str, Any]:
    return {name: position.get(name) or None for name in ("resource", "skip", "state", "base")}


def _pages(resource: Any, state: dict[str, Any]) -> Iterator[list[Any]]:
    """What a resource yields, in pages; dlt reads and writes *state*."""
    from dlt.common.configuration.container import Container
    from dlt.common.pipeline import StateInjectableContext

    with Container().injectable_context(StateInjectableContext(state=cast("Any", state))):
        items = iter(resource)
    rows = (row for item in items for row in _rows(item, resource.name))
    while chunk := list(itertools.islice(rows, _CHUNK)):
        yield chunk


def _rows(item: Any, name: str) -> list[Any]:
    if is_row(item) and not hasattr(item, "to_pylist"):
        return [item]
    if hasattr(item, "to_pylist"):  # Arrow
        return list(item.to_pylist())
    if hasattr(item, "to_dict") and hasattr(item, "columns"):  # pandas
        return list(item.to_dict("records"))
    if isinstance(item, list):
        return item
    raise SyncError(
        f"dlt resource {name!r} yields {type(item).__name__}; rows are mappings, Arrow tables or DataFrames"
    )


def _key_of(resource: Any) -> tuple[str, ...]:
    schema = resource.compute_table_schema()
    columns = schema.get("columns") or {}
    return tuple(name for name, column in columns.items() if column.get("primary_key"))


def _state(text: str | None) -> dict[str, Any]:
    from dlt.common.json import json

    return {} if text is None else dict(json.typed_loads(text))


def _text(state: dict[str, Any]) -> str:
    from dlt.common.json import json

    return str(json.typed_dumps(state))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both, where they differ the second."""
    found = dict(one)
    for name, value in other.items():
        known = found.get(name)
        found[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found


def need_dlt() -> None:
    """Raises MissingExtraError where dlt is not installed."""
    try:
        import dlt  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "this sync reads a resource of dlt, which is not installed: pip install 'dataflows-sdk[dlt]'"
        ) from error
