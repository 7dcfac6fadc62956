"""A source from what a user gives, and from what the journal keeps of one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from dataflows_sdk.core.ids import new_id
from dataflows_sdk.errors import DefinitionError, SourceNotFoundError
from dataflows_sdk.warehouse.sources.dlt import DltSource, is_dlt, need_dlt
from dataflows_sdk.warehouse.sources.files import FileSource
from dataflows_sdk.warehouse.sources.functions import FunctionSource
from dataflows_sdk.warehouse.sources.json_api import JsonApi
from dataflows_sdk.warehouse.sources.page import Source
from dataflows_sdk.warehouse.sources.registry import declared, find_place
from dataflows_sdk.warehouse.sources.sql import SqlSource

__all__ = ["open_source", "source_of"]

_KINDS: dict[str, type] = {"json_api": JsonApi, "sql": SqlSource, "files": FileSource}
#: sources that exist in this process alone, by their tokens; the oldest ones are forgotten
_LOCAL: OrderedDict[str, Source] = OrderedDict()
_MOST_LOCAL = 1_000
_lock = threading.Lock()


def source_of(given: Any) -> Source:
    """The source that a user means.

    Raises:
        DefinitionError: it is none.
        MissingExtraError: it needs dlt.
    """
    if isinstance(given, JsonApi | SqlSource | FileSource):
        return open_source(given.describe())  # a sync changes what it binds
    if isinstance(given, str):
        found = declared(given)
        if found is None:
            raise DefinitionError(
                f"no source is called {given!r} in this process: import the module that declares it with "
                f"@df.source({given!r}), or give the source itself"
            )
        given = found.fn
    token = new_id()
    known = declared(given) if callable(given) else None
    if known is not None:
        return open_source({"kind": "declared", "name": known.name})
    if is_dlt(given):
        need_dlt()
        made: Source = DltSource(lambda: given, {"kind": "local", "token": token, "what": _name(given)}, _name(given))
    elif callable(given) or hasattr(given, "__iter__") or hasattr(given, "__aiter__"):
        made = FunctionSource(given, local=token)
    else:
        raise DefinitionError(
            f"{type(given).__name__} is no source: df.JsonApi, df.SqlSource, df.FileSource, a function of the "
            "cursor, an "
            "iterable of pages, a name of @df.source, or a resource of dlt"
        )
    if made.describe()["kind"] == "local":
        with _lock:
            _LOCAL[token] = made
            while len(_LOCAL) > _MOST_LOCAL:
                _LOCAL.popitem(last=False)
    return made


def open_source(description: Mapping[str, Any]) -> Source:
    """The source of a description.

    Raises:
        SourceNotFoundError: it cannot be had in this process.
    """
    kind = description.get("kind")
    if kind in _KINDS:
        return _KINDS[kind](**{name: value for name, value in description.items() if name != "kind"})  # type: ignore[no-any-return]
    if kind == "declared":
        name = str(description["name"])
        found = declared(name)
        if found is None:
            raise SourceNotFoundError(
                f"the pages of this sync come from the source {name!r}, which this process does not have: import "
                "the module "
                f"that declares it with @df.source({name!r}), and call sync(…) again: it goes on where it stopped"
            )
        return _function(found.fn, dict(description), name)
    if kind == "function":
        fn = find_place(str(description["place"]))
        return _function(fn, dict(description), getattr(fn, "__name__", None))
    if kind == "local":
        with _lock:
            known = _LOCAL.get(str(description["token"]))
        if known is None:
            raise SourceNotFoundError(
                f"the pages of this sync came from {description.get('what')!r}, an object of the process that "
                "started it; "
                "that one is gone. What is stored is kept: call sync(…) again, and declare the source with "
                '@df.source("name") in a module, so that another process can go on with it'
            )
        return known
    raise SourceNotFoundError(f"this version knows no source of the kind {kind!r}")


def _function(fn: Any, description: dict[str, Any], name: str | None) -> Source:
    if is_dlt(fn):
        need_dlt()
        return DltSource(lambda: fn, description, name)
    return FunctionSource(fn, ordered=description.get("ordered", True))


def _name(given: Any) -> str:
    return str(getattr(given, "name", type(given).__name__))
