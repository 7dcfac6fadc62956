"""Whether a value of one annotation can be handed to a parameter of another: only sure mismatches count."""

from __future__ import annotations

import inspect
import types
import typing
from collections import abc
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin


class _Unknown:
    def __repr__(self) -> str:
        return "unknown"


#: an annotation that is missing, or says nothing
UNKNOWN: Any = _Unknown()

_STREAMS = {abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator, abc.AsyncIterable}
_AWAITABLES = {abc.Awaitable, abc.Coroutine}
_ONE_ITEM = {
    list,
    set,
    frozenset,
    abc.Sequence,
    abc.Iterable,
    abc.Collection,
    abc.Set,
    abc.MutableSequence,
    abc.MutableSet,
}
_MAPPINGS = {dict, abc.Mapping, abc.MutableMapping}
_TOWER = {float: (int,), complex: (int, float)}


def surely_incompatible(given: Any, wanted: Any) -> bool:
    """Whether no value of `given` can be meant for a parameter annotated `wanted`.

    Missing annotations, Any, type variables, protocols and whatever else cannot be judged are compatible. Of
    a union it is enough that one member fits. A wider class given for a narrower one passes: it may be the
    narrower one.
    """
    given, wanted = simplify(given), simplify(wanted)
    if given is UNKNOWN or wanted is UNKNOWN or wanted is object or given is object:
        return False
    if _is_union(given):
        return all(surely_incompatible(member, wanted) for member in get_args(given))
    if _is_union(wanted):
        return all(surely_incompatible(given, member) for member in get_args(wanted))
    if get_origin(given) is Literal or get_origin(wanted) is Literal:
        return _literals_clash(given, wanted)
    given_class, wanted_class = _class(given), _class(wanted)
    if given_class is None or wanted_class is None:
        return False
    if _classes_clash(given_class, wanted_class):
        return True
    return _arguments_clash(given, given_class, wanted, wanted_class)


def may_be_none(annotation: Any) -> bool:
    """Whether a parameter of this annotation takes None (unknown ones do)."""
    return not surely_incompatible(type(None), annotation)


def is_collection(annotation: Any) -> bool:
    """Whether a map may go over a value of this annotation (unknown ones may be); text and bytes are no
    collections.
    """
    annotation = simplify(annotation)
    if annotation is UNKNOWN:
        return True
    if _is_union(annotation):
        return any(is_collection(member) for member in get_args(annotation))
    if get_origin(annotation) is Literal:
        return False
    found = _class(annotation)
    if found is None or found is object or _is_protocol(found):
        return True
    if issubclass(found, str | bytes | bytearray):
        return False
    # pydantic models can be iterated over, and it is never what a map means
    if hasattr(found, "model_fields"):
        return False
    return hasattr(found, "__iter__") or hasattr(found, "__getitem__") or hasattr(found, "__aiter__")


def item_of(annotation: Any) -> Any:
    """The annotation of the items of a collection, UNKNOWN if it does not say."""
    annotation = simplify(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in _ONE_ITEM or origin in _MAPPINGS:
        return arguments[0] if arguments else UNKNOWN
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    return UNKNOWN


def list_of(item: Any) -> Any:
    """``list[item]``."""
    return list if item is UNKNOWN else types.GenericAlias(list, (item,))


def show(annotation: Any) -> str:
    """An annotation as its author wrote it, nearly."""
    if annotation is type(None) or annotation is None:
        return "None"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def simplify(annotation: Any) -> Any:
    """The annotation without what does not matter here (Annotated, Awaitable, NewType, aliases); UNKNOWN if
    nothing is left.
    """
    for _ in range(20):
        origin = get_origin(annotation)
        if annotation is None:
            return type(None)
        if annotation is inspect.Parameter.empty or annotation is Any or isinstance(annotation, str | TypeVar):
            return UNKNOWN
        if annotation in (typing.NoReturn, typing.Never) or isinstance(annotation, typing.ForwardRef):
            return UNKNOWN
        if origin is typing.Annotated or origin in (
            typing.Final,
            typing.ClassVar,
            typing.Required,
            typing.NotRequired,
        ):
            annotation = get_args(annotation)[0]
        elif origin in _AWAITABLES:
            annotation = get_args(annotation)[-1]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType" and hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return (
                UNKNOWN if (origin or annotation) in _STREAMS or (origin or annotation) in _AWAITABLES else annotation
            )
    return UNKNOWN


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _class(annotation: Any) -> type | None:
    found = get_origin(annotation) or annotation
    if not isinstance(found, type):
        return None
    return dict if typing.is_typeddict(found) else found


def _is_protocol(found: type) -> bool:
    return bool(getattr(found, "_is_protocol", False)) and found.__module__ != "collections.abc"


def _classes_clash(given: type, wanted: type) -> bool:
    if _is_protocol(given) or _is_protocol(wanted) or given in _TOWER.get(wanted, ()):
        return False
    # what the standard library itself takes for another (os.PathLike, numbers) is registered as a virtual
    # subclass
    try:
        if issubclass(given, wanted) or issubclass(wanted, given):
            return False
    except TypeError:
        return False
    # two abstract classes may have a common implementation that neither names
    return not (inspect.isabstract(given) and inspect.isabstract(wanted))


def _literals_clash(given: Any, wanted: Any) -> bool:
    if get_origin(given) is Literal:
        if get_origin(wanted) is Literal:
            return not any(value in get_args(wanted) for value in get_args(given))
        return all(surely_incompatible(type(value), wanted) for value in get_args(given))
    kinds = {type(value) for value in get_args(wanted)}
    return all(surely_incompatible(given, kind) for kind in kinds) and not _is_enum_of(given, kinds)


def _is_enum_of(given: Any, kinds: set[type]) -> bool:
    return isinstance(given, type) and issubclass(given, Enum) and any(issubclass(given, kind) for kind in kinds)


def _arguments_clash(given: Any, given_class: type, wanted: Any, wanted_class: type) -> bool:
    mine, theirs = get_args(given), get_args(wanted)
    if not mine or not theirs:
        return False
    if given_class is tuple:
        return _tuple_clash(mine, theirs, wanted_class)
    if wanted_class is tuple:
        return False
    if given_class in _ONE_ITEM and wanted_class in _ONE_ITEM:
        return surely_incompatible(mine[0], theirs[0])
    if given_class in _MAPPINGS:
        if wanted_class in _MAPPINGS and len(mine) == len(theirs) == 2:
            return surely_incompatible(mine[0], theirs[0]) or surely_incompatible(mine[1], theirs[1])
        return wanted_class in _ONE_ITEM and surely_incompatible(mine[0], theirs[0])
    return False


def _tuple_clash(mine: tuple[Any, ...], theirs: tuple[Any, ...], wanted_class: type) -> bool:
    open_mine = len(mine) == 2 and mine[1] is Ellipsis
    items = mine[:1] if open_mine else mine
    if wanted_class is tuple:
        if len(theirs) == 2 and theirs[1] is Ellipsis:
            return any(surely_incompatible(item, theirs[0]) for item in items)
        if open_mine:
            return any(surely_incompatible(items[0], item) for item in theirs)
        return len(mine) != len(theirs) or any(map(surely_incompatible, mine, theirs))
    return wanted_class in _ONE_ITEM and any(surely_incompatible(item, theirs[0]) for item in items)
