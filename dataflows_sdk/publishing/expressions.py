"""Values as Python expressions: plain data, and what is made of it by calling a class."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pprint
import re
import types
import typing
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from dataflows_sdk.core.redact import Secret

__all__ = ["Unwritable", "expression", "is_plain"]

_WIDTH = 110
_SCALARS = (str, int, bool, bytes, type(None), type(Ellipsis))
#: their repr is a call of the class with plain arguments, if the class is called by its name alone
_CALLS = (Decimal, UUID, PurePath, timedelta, date, time)
_NUMPY = ("numpy", "pandas", "polars", "pyarrow", "duckdb", "torch")


class Unwritable(Exception):
    """A value that is no source; the text says why, and what to do."""


def is_plain(value: Any) -> bool:
    """Whether a value is data of the language's own types through and through."""
    return _is_plain(value, ())


def _is_plain(value: Any, around: tuple[int, ...]) -> bool:
    kind = type(value)
    if kind in _SCALARS or kind in (float, complex, range):
        return True
    if id(value) in around:
        return False
    inside = (*around, id(value))
    if kind in (list, tuple, set, frozenset):
        return all(_is_plain(each, inside) for each in value)
    return kind is dict and all(_is_plain(part, inside) for pair in value.items() for part in pair)


def expression(value: Any, refer: Callable[[Any], str]) -> str:
    """Source that makes an equal value.

    Args:
        refer: gives the name by which a class, function or module can be used.

    Raises:
        Unwritable: there is none.
    """
    return _Writer(refer).write(value, ())


class _Writer:
    def __init__(self, refer: Callable[[Any], str]) -> None:
        self._refer = refer

    def write(self, value: Any, around: tuple[int, ...]) -> str:
        kind = type(value)
        if kind in _SCALARS:
            return pprint.pformat(value, width=_WIDTH) if kind is str and len(value) > _WIDTH else repr(value)
        if kind is float:
            return repr(value) if value - value == 0 else f"float({str(value)!r})"
        if kind is complex:  # its own repr loses the sign of a zero
            return f"complex({self.write(value.real, around)}, {self.write(value.imag, around)})"
        if id(value) in around:
            raise Unwritable("it contains itself")
        inside = (*around, id(value))
        if kind in (list, tuple, set, frozenset, dict):
            return self._container(value, inside)
        return self._other(value, inside)

    def _container(self, value: Any, inside: tuple[int, ...]) -> str:
        kind = type(value)
        if kind is dict:
            pairs = [f"{self.write(key, inside)}: {self.write(item, inside)}" for key, item in value.items()]
            return _brackets("{", pairs, "}")
        items = [self.write(item, inside) for item in value]
        if kind is list:
            return _brackets("[", items, "]")
        if kind is tuple:
            return f"({items[0]},)" if len(items) == 1 else _brackets("(", items, ")")
        # in one order, so that the same set is the same text in every process
        literal = _brackets("{", sorted(items), "}") if items else ""
        return literal or "set()" if kind is set else f"frozenset({literal})"

    def _other(self, value: Any, inside: tuple[int, ...]) -> str:
        if isinstance(value, Secret):
            raise Unwritable("it is a secret, and would stand in the database: read it in the step that uses it, "
                             'for example os.environ["…"]')  # fmt: skip
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | functools._lru_cache_wrapper):
            return self._refer(value)
        if isinstance(value, Enum):
            if value.name in type(value).__members__:
                return f"{self._refer(type(value))}[{value.name!r}]"
            return self._call(type(value), value.value)  # several flags together
        if type(value) is range:
            return repr(value)
        if isinstance(value, datetime) or type(value) in (time, timezone) or isinstance(value, ZoneInfo):
            return self._moment(value, inside)
        if isinstance(value, Path):  # of whichever system the worker has
            return self._call(Path, str(value))
        if isinstance(value, _CALLS):
            name, arguments = repr(value).split("(", 1)
            return f"{self._refer(type(value))}({arguments}" if name else repr(value)
        if isinstance(value, re.Pattern):
            return f"{self._refer(re.compile)}({value.pattern!r}, {value.flags & ~_implied(value)})"
        if isinstance(value, logging.Logger):
            return f"{self._refer(logging.getLogger)}({value.name!r})"
        if isinstance(value, functools.partial):
            given = [self.write(each, inside) for each in (value.func, *value.args)]
            given += [f"{name}={self.write(each, inside)}" for name, each in value.keywords.items()]
            return f"{self._refer(functools.partial)}({', '.join(given)})"
        if (made := self._type(value, inside)) is not None:
            return made
        if (made := self._record(value, inside)) is not None:
            return made
        raise Unwritable(_why_not(value))

    def _call(self, cls: type, *arguments: Any) -> str:
        return f"{self._refer(cls)}({', '.join(self.write(each, ()) for each in arguments)})"

    def _moment(self, value: Any, inside: tuple[int, ...]) -> str:
        if isinstance(value, ZoneInfo):
            return self._call(ZoneInfo, value.key)
        if isinstance(value, timezone):
            return f"{self._refer(timezone)}({self.write(value.utcoffset(None), inside)})"
        more = [] if value.tzinfo is None else [f"tzinfo={self.write(value.tzinfo, inside)}"]
        more += ["fold=1"] if value.fold else []
        plain = value.replace(tzinfo=None, fold=0)
        made = f"{self._refer(type(value))}.fromisoformat({plain.isoformat()!r})"
        return f"{made}.replace({', '.join(more)})" if more else made

    def _type(self, value: Any, inside: tuple[int, ...]) -> str | None:
        """``list[str]``, ``int | None``, ``Literal["a"]``."""
        origin, arguments = typing.get_origin(value), typing.get_args(value)
        if origin is None:
            return None
        if origin in (typing.Union, types.UnionType):
            return " | ".join("None" if each is type(None) else self.write(each, inside) for each in arguments)
        if origin is typing.Literal:
            return f"{self._refer(typing.Literal)}[{', '.join(self.write(each, inside) for each in arguments)}]"
        if not isinstance(origin, type) or not arguments:
            return None
        inner = ", ".join("None" if each is type(None) else self.write(each, inside) for each in arguments)
        return f"{self._refer(origin)}[{inner}]"

    def _record(self, value: Any, inside: tuple[int, ...]) -> str | None:
        """Dataclasses and named tuples, by their constructor."""
        kind = type(value)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            names: list[str] = list(kind._fields)
        elif dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            if not all(field.init for field in fields):
                raise Unwritable(f"its class {kind.__name__} has fields that its constructor does not take")
            names = [each.name for each in fields if not _is_default(getattr(value, each.name), each.default)]
        else:
            return None
        given = [f"{name}={self.write(getattr(value, name), inside)}" for name in names]
        return f"{self._refer(kind)}{_brackets('(', given, ')')}"


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and is_plain(value) and repr(value) == repr(default)


def _brackets(before: str, items: list[str], after: str) -> str:
    line = f"{before}{', '.join(items)}{after}"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    inner = "".join(f"    {_indented(item)},\n" for item in items)
    return f"{before}\n{inner}{after}"


def _indented(text: str) -> str:
    # no line of it begins inside of a literal: line ends are escaped there
    return text.replace("\n", "\n    ")


def _implied(pattern: re.Pattern[Any]) -> int:
    return int(re.UNICODE) if isinstance(pattern.pattern, str) else 0


def _why_not(value: Any) -> str:
    kind = type(getattr(value, "__self__", value)) if isinstance(value, types.MethodType) else type(value)
    module = kind.__module__.partition(".")[0]
    if module in _NUMPY:
        return "it is data, not code: read it in a step, give it as the payload, or keep it in a table"
    if kind.__name__ == "Context" and module == "dataflows_sdk":
        return "it is the connection of this process: use the verbs of `step`, or connect in a step of the workflow"
    if module in {"IPython", "ipykernel"}:
        return "it is the notebook itself, which a worker does not have"
    return (
        "it lives in this process alone: make it in the step that uses it, or import it from a module that workers "
        "have, too"
    )
