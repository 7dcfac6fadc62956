"""The source of a class, also of one that was defined in a notebook cell.

`inspect.getsource` looks for a class in the file of its module, which a notebook does not have. The cells are in
`linecache`; of those that define a class of that name, the one is taken that this class can have come from.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import linecache
import sys
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any

from dataflows_sdk.core.parsing import parse

__all__ = ["class_source"]

_ABSENT = object()


def class_source(cls: type) -> str | None:
    """The text of a class at the top level of a module or cell; None where it is not to be had."""
    for filename, newest_only in _places(cls):
        lines = linecache.getlines(filename)
        found = [node for node in _definitions(lines, cls.__name__) if _fits(node, cls)]
        if found and (newest_only or len(found) == 1):
            node = found[-1]
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join(lines[first - 1 : node.end_lineno]).rstrip()
    return None


def _places(cls: type) -> Iterator[tuple[str, bool]]:
    """Where it may stand, the surest first; the cells that ran last before those that ran earlier."""
    seen: dict[str, None] = {}
    for member in vars(cls).values():
        function = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", member)))
        if isinstance(function, types.FunctionType) and function.__qualname__.startswith(f"{cls.__qualname__}."):
            seen.setdefault(function.__code__.co_filename)
    yield from ((name, True) for name in seen if linecache.getlines(name))
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is not None:
        linecache.checkcache(file)
        yield file, True
    for name, entry in reversed(list(linecache.cache.items())):
        if len(entry) == 4 and entry[1] is None and name not in seen:
            yield name, True


def _definitions(lines: list[str], name: str) -> list[ast.ClassDef]:
    if not any(name in line for line in lines):
        return []
    try:
        tree = parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: list[ast.ClassDef] = []
    pending: list[ast.AST] = [tree]
    while pending:  # also under an if or a try, not within functions and other classes
        for node in ast.iter_child_nodes(pending.pop(0)):
            if isinstance(node, ast.ClassDef):
                if node.name == name:
                    found.append(node)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                pending.append(node)
    return found


def _fits(node: ast.ClassDef, cls: type) -> bool:
    """Whether this text can have made this class."""
    line = vars(cls).get("__firstlineno__")  # Python 3.13 and later
    if line is not None and line != min([node.lineno, *(each.lineno for each in node.decorator_list)]):
        return False
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    if not methods <= set(vars(cls)):
        return False
    hinted = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    if {each.target.id for each in hinted if isinstance(each.target, ast.Name)} != set(_annotations(cls)):
        return False
    return all(_same_value(each, cls) for each in node.body)


def _annotations(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = inspect.get_annotations(cls)
    return found


def _same_value(statement: ast.stmt, cls: type) -> bool:
    """Whether what the text gives a name, where it is a plain value, is what the class has."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, given = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, given = statement.target, statement.value
    else:
        return True
    if not isinstance(target, ast.Name):
        return True
    try:
        value = ast.literal_eval(given)
    except (ValueError, TypeError, SyntaxError):
        return True
    actual = _value(cls, target.id)
    return actual is _ABSENT or (type(actual) is type(value) and bool(actual == value))


def _value(cls: Any, name: str) -> Any:
    if issubclass(cls, Enum):
        member = cls.__members__.get(name)
        return member.value if member is not None else _ABSENT
    fields = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "model_fields", None) or {}
    if name in fields:
        default = fields[name].default
        return _ABSENT if default is dataclasses.MISSING else default
    found = vars(cls).get(name, _ABSENT)
    return _ABSENT if hasattr(found, "__get__") else found
