"""Which classes a payload may name. Nothing is ever imported because a payload names it."""

from __future__ import annotations

import dataclasses
import functools
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel

from dataflows_sdk.core.homes import SCOPE, home_of, is_renamed
from dataflows_sdk.errors import NotSerializableError, UnknownTypeError

__all__ = ["TYPES", "TypeRegistry", "is_value_class", "type_name"]

C = TypeVar("C", bound=type)

_MAX_ANNOTATED = 2_000


def type_name(cls: type) -> str:
    """The name under which a class stands in payloads: ``module:qualname``."""
    return f"{home_of(cls)}:{cls.__qualname__}"


def is_value_class(cls: object) -> bool:
    """Whether a class is of a kind that can be rebuilt: Enum, dataclass, pydantic model or NamedTuple."""
    return isinstance(cls, type) and (
        issubclass(cls, (Enum, BaseModel))
        or dataclasses.is_dataclass(cls)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


class TypeRegistry:
    """The classes that this process can rebuild from payloads.

    A class is known if it was registered, or if the code of a known function can see it: among its
    globals, what its closure holds, its annotations (and the fields of the classes found there), and in
    modules that are among its globals. Scopes are looked at when a class is asked for, so a notebook cell
    that defines a class anew is followed. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._registered: dict[str, type] = {}
        # by the identity of the code's namespace; a re-run notebook cell has the same globals
        self._namespaces: dict[int, dict[str, Any]] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._annotated: dict[str, type] | None = None

    def register(self, cls: C, *aliases: str) -> C:
        """Make a class known; usable as a decorator. A later class of the same name takes its place.

        Args:
            cls: an Enum, dataclass, pydantic model or NamedTuple, not defined within a function.
            aliases: former names (``"shop.models:Order"``), under which old payloads know the class.

        Raises:
            TypeError: not a class of such a kind, or an alias that is not ``module:qualname``.
            NotSerializableError: the class is local to a function.
        """
        if not is_value_class(cls):
            raise TypeError(
                f"register() takes an Enum, dataclass, pydantic model or NamedTuple class, not {cls!r:.100}"
            )
        if "<locals>" in cls.__qualname__:
            raise NotSerializableError(_local(cls))
        for alias in aliases:
            if not isinstance(alias, str) or alias.count(":") != 1:
                raise TypeError(f"an alias reads 'module:qualname', not {alias!r:.100}")
        with self._lock:
            for name in (type_name(cls), *aliases):
                self._registered[name] = cls
        return cls

    def add_scope(self, scope: Callable[..., Any] | types.ModuleType) -> None:
        """Make known what a function or a module can see; the engine does this for workflows and steps.

        Partials, methods, decorated functions (``__wrapped__``), classes and callable objects are looked
        through to the function; a builtin has no scope and is ignored.

        Raises:
            TypeError: neither callable nor a module.
        """
        if isinstance(scope, types.ModuleType):
            with self._lock:
                self._namespaces[id(vars(scope))] = vars(scope)
            return
        if not callable(scope):
            raise TypeError(f"add_scope() takes a function or a module, not {scope!r:.100}")
        for function in _functions(scope):
            with self._lock:
                self._namespaces[id(function.__globals__)] = function.__globals__
                self._functions[f"{function.__module__}:{function.__qualname__}"] = function
                self._annotated = None

    def resolve(self, name: str) -> type:
        """The class of this name.

        Raises:
            UnknownTypeError: no class of exactly this name is registered or visible; the message says
                what to do.
        """
        found = self.find(name)
        if found is None:
            raise UnknownTypeError(
                f"this process does not know the type {name!r:.200}. Import it in the module of the "
                "workflow or "
                f"step that uses it, or register it: types.register({name.rpartition(':')[2][:100]})"
            )
        return found

    def find(self, name: str) -> type | None:
        """Like `resolve`, with None for a class that is not known."""
        module, colon, qualname = name.partition(":")
        if not colon or not qualname:
            return None
        scope = SCOPE.get()
        if scope is not None and (own := _in_namespace(scope, module, qualname)) is not None:
            return own
        with self._lock:
            # a copy of the list: looking into a namespace may run the code of lazy modules
            namespaces, registered = list(self._namespaces.values()), self._registered.get(name)
            functions = list(self._functions.values())
        if registered is not None:
            return registered
        # What was published from a notebook has its name, and must not stand in the way of the notebook itself.
        namespaces.sort(key=lambda namespace: is_renamed(namespace.get("__name__")))
        for namespace in namespaces:
            found = _in_namespace(namespace, module, qualname)
            if found is not None:
                return found
        return self._by_annotation(functions).get(name)

    def _by_annotation(self, functions: list[Callable[..., Any]]) -> dict[str, type]:
        with self._lock:
            if self._annotated is None:
                known: dict[str, type] = {}
                for function in functions:
                    for cls in _visible_classes(function):
                        known.setdefault(type_name(cls), cls)
                self._annotated = known
            return self._annotated


def _local(cls: type) -> str:
    return (
        f"the class {type_name(cls)} is defined within a function: another process could never find "
        "it again. "
        "Define it at the top level of a module or notebook cell"
    )


def _functions(scope: Any) -> Iterator[types.FunctionType]:
    """The Python functions behind a callable."""
    for _ in range(100):  # partials of partials of methods …, but no endless chain of __wrapped__
        if isinstance(scope, types.FunctionType):
            yield scope
            if not hasattr(scope, "__wrapped__"):
                return
            # the wrapper's own globals count too, and so do those of what it wraps
            scope = scope.__wrapped__
        elif isinstance(scope, (functools.partial, functools.partialmethod)):
            scope = scope.func
        elif isinstance(scope, types.MethodType):
            scope = scope.__func__
        elif hasattr(scope, "__wrapped__"):
            scope = scope.__wrapped__
        elif isinstance(scope, type):
            for member in vars(scope).values():
                if isinstance(member, types.FunctionType):
                    yield member
            return
        elif isinstance(type(scope).__call__, types.FunctionType):
            scope = type(scope).__call__
        else:
            return


def _in_namespace(namespace: dict[str, Any], module: str, qualname: str) -> type | None:
    top, *rest = qualname.split(".")
    for place in _places(namespace, top):
        found = _descend(place, rest)
        if _is_named(found, module, qualname):
            return found
    # under another name: "from shop.models import Order as ShopOrder"
    for value in list(namespace.values()):
        if isinstance(value, type) and home_of(value) == module and value.__qualname__ == top:
            found = _descend(value, rest)
            if _is_named(found, module, qualname):
                return found
    return None


def _places(namespace: dict[str, Any], top: str) -> Iterator[Any]:
    if top in namespace:
        yield namespace[top]
    for value in list(namespace.values()):
        # through vars(), not getattr(): a module's __getattr__ may import
        if isinstance(value, types.ModuleType) and top in vars(value):
            yield vars(value)[top]


def _descend(value: Any, rest: list[str]) -> Any:
    for name in rest:
        if not isinstance(value, type):
            return None
        value = vars(value).get(name)
    return value


def _is_named(value: Any, module: str, qualname: str) -> typing.TypeGuard[type]:
    return is_value_class(value) and home_of(value) == module and value.__qualname__ == qualname


def _visible_classes(function: Any) -> Iterator[type]:
    """Classes in the annotations and the closure of a function, and in the fields of those classes."""
    todo = list(_hints(function))
    for cell in function.__closure__ or ():
        try:
            todo.append(cell.cell_contents)
        except ValueError:  # a name that has no value yet
            continue
    seen: set[int] = set()
    while todo and len(seen) < _MAX_ANNOTATED:
        hint = todo.pop()
        if id(hint) in seen:
            continue
        seen.add(id(hint))
        todo.extend(typing.get_args(hint))
        value = getattr(hint, "__value__", None) if not isinstance(hint, type) else None  # type X = …
        if value is not None:
            todo.append(value)
        origin = typing.get_origin(hint) or hint
        for cls in {id(c): c for c in (hint, origin) if is_value_class(c)}.values():
            yield cls
            todo.extend(_hints(cls))
            if issubclass(cls, BaseModel):
                todo.extend(cls.__pydantic_generic_metadata__["args"])


def _hints(thing: Any) -> list[Any]:
    try:
        return list(typing.get_type_hints(thing, include_extras=True).values())
    except Exception:  # noqa: BLE001 - annotations may name what exists for type checkers only
        return [hint for hint in _raw_hints(thing) if not isinstance(hint, str)]


def _raw_hints(thing: Any) -> list[Any]:
    """Every annotation that can be evaluated alone, where one of them cannot."""
    namespace = getattr(thing, "__globals__", None) or getattr(sys.modules.get(thing.__module__), "__dict__", {})
    hints: list[Any] = []
    for hint in list(getattr(thing, "__annotations__", {}).values()):
        if isinstance(hint, str):
            # only plain and dotted names are looked up: source text of annotations is not evaluated here
            top, *rest = hint.split(".")
            value = namespace.get(top)
            for name in rest:
                value = vars(value).get(name) if isinstance(value, (type, types.ModuleType)) else None
            hints.append(value)
        else:
            hints.append(hint)
    return hints


#: the types of the process
TYPES = TypeRegistry()

#: make a class known to every context of this process
register_type = TYPES.register
