"""The source of a callable, its hash for the document, and a fingerprint to tell callables apart in one
process.

Two questions, two answers. `source_sha` says whether the *text* is the same: it is stable over processes and
Python versions and goes into the JSON document. `fingerprint` says whether two callables of this process
*do* the same as far as can be seen: byte code, defaults and captured variables count, line numbers do not,
so that a notebook cell that was run again gives an equal flow. Neither looks into global functions that are
called.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import textwrap
import types
from enum import Enum
from typing import Any

from dataflows_sdk.core.parsing import parse

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
# file name → (the very list of lines that was parsed, definitions by line); a re-read file has a new list
_parsed: dict[str, tuple[list[str], str, dict[int, list[_Definition]]]] = {}
_PARSED_MAX = 64


def source_of(fn: Any) -> str | None:
    """The text of a function, a lambda alone without the line around it; None when it is not to be had."""
    fn = inspect.unwrap(_underlying(fn), stop=lambda f: not hasattr(f, "__wrapped__"))
    if inspect.isclass(fn):
        try:
            return textwrap.dedent(inspect.getsource(fn))
        except (OSError, TypeError):
            return None
    code = getattr(fn, "__code__", None)
    if not isinstance(code, types.CodeType):
        return None
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, getattr(fn, "__globals__", None))
    if not lines:
        return None
    try:
        text, definitions = _definitions(code.co_filename, lines)
    except (SyntaxError, ValueError, RecursionError):
        return None
    candidates = [node for node in definitions.get(code.co_firstlineno, ()) if _fits(node, code)]
    if len(candidates) > 1:
        candidates = [node for node in candidates if _holds(node, code)][-1:]
    if not candidates:
        return None
    found = candidates[0]
    if isinstance(found, ast.Lambda):
        return _segment(lines, found)
    first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    return textwrap.dedent("".join(lines[first - 1 : found.end_lineno])).rstrip() if text else None


def source_sha(fn: Any) -> str:
    """SHA-256 (hex, first 16 digits) of the source, of the byte code where there is no source."""
    text = source_of(fn)
    if text is not None:
        content = "\n".join(line.rstrip() for line in text.splitlines()).encode()
    else:
        content = repr(_code_key(_underlying(fn))).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint(value: Any) -> str:
    """A hash that is equal for callables which do the same; only to compare within one process."""
    return hashlib.sha256(repr(_key(value, ())).encode("utf-8", "backslashreplace")).hexdigest()


def _underlying(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.ismethod(fn):
        return fn.__func__
    if not (inspect.isroutine(fn) or inspect.isclass(fn)):
        return getattr(type(fn), "__call__", fn)  # noqa: B004
    return fn


def _definitions(filename: str, lines: list[str]) -> tuple[str, dict[int, list[_Definition]]]:
    known = _parsed.get(filename)
    if known is not None and known[0] is lines:
        return known[1], known[2]
    text = "".join(lines)
    definitions: dict[int, list[_Definition]] = {}
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            definitions.setdefault(first, []).append(node)
    if len(_parsed) >= _PARSED_MAX:
        _parsed.clear()
    _parsed[filename] = (lines, text, definitions)
    return text, definitions


def _segment(lines: list[str], node: ast.Lambda) -> str:
    # ast counts columns in UTF-8 bytes
    span = [line.encode() for line in lines[node.lineno - 1 : node.end_lineno]]
    span[-1] = span[-1][: node.end_col_offset]
    span[0] = span[0][node.col_offset :]
    return b"".join(span).decode()


def _fits(node: _Definition, code: types.CodeType) -> bool:
    """Whether the text at that line can be this code: in a file edited since its import it often is not."""
    if ("<lambda>" if isinstance(node, ast.Lambda) else node.name) != code.co_name:
        return False
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return tuple(names) == code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _holds(node: _Definition, code: types.CodeType) -> bool:
    """Whether the code's own columns lie inside the body: tells two lambdas on one line apart."""
    body = node.body if isinstance(node, ast.Lambda) else node
    start = (body.lineno, body.col_offset)
    end = (body.end_lineno or body.lineno, body.end_col_offset or 0)
    spots = [(line, column) for line, _, column, _ in code.co_positions() if line and column is not None]
    inside = [spot for spot in spots if start <= spot < end]
    # RESUME and the like stand at the line's beginning, outside of every body
    return bool(inside) and max(spots) < end


def _code_key(fn: Any) -> Any:
    code = getattr(fn, "__code__", None)
    if isinstance(code, types.CodeType):
        return _code(code)
    return (getattr(fn, "__module__", None), getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def _code(code: types.CodeType) -> Any:
    constants = tuple(
        _code(constant) if isinstance(constant, types.CodeType) else (type(constant).__name__, _sorted(constant))
        for constant in code.co_consts
    )
    flags, count = code.co_flags, (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code.hex(), constants, names, flags, count)


def _sorted(constant: Any) -> Any:
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


_PLAIN = (str, int, float, complex, bool, bytes, type(None), type(Ellipsis), range)


def _key(value: Any, seen: tuple[int, ...]) -> Any:  # noqa: C901
    if isinstance(value, (*_PLAIN, Enum)):
        return (type(value).__qualname__, repr(value))
    if id(value) in seen:
        return ("again", seen.index(id(value)))
    seen = (*seen, id(value))
    if isinstance(value, list | tuple):
        return (type(value).__qualname__, [_key(item, seen) for item in value])
    if isinstance(value, set | frozenset):
        return (type(value).__qualname__, sorted(repr(_key(item, seen)) for item in value))
    if isinstance(value, dict):
        return ("dict", [(_key(k, seen), _key(v, seen)) for k, v in value.items()])
    if isinstance(value, functools.partial):
        return ("partial", _key(value.func, seen), _key(value.args, seen), _key(value.keywords, seen))
    if inspect.ismethod(value):
        return ("method", _key(value.__func__, seen), _key(value.__self__, seen))
    if inspect.isfunction(value):
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(_key(cell.cell_contents, seen))
            except ValueError:  # the cell is still empty
                cells.append(("empty",))
        defaults = (_key(value.__defaults__, seen), _key(value.__kwdefaults__, seen))
        return ("function", value.__module__, _code(value.__code__), defaults, cells)
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    own = getattr(value, "__dataflows_fingerprint__", None)
    if callable(own) and not inspect.isclass(value):
        return ("own", own())
    if inspect.isclass(value) or inspect.isbuiltin(value):
        # a class of a notebook cell that is run again is another class: its identity tells them apart, not
        # its name
        known = value.__module__ != "__main__" and "<locals>" not in value.__qualname__
        bound = getattr(value, "__self__", None)
        owner = None if bound is None or isinstance(bound, types.ModuleType) else _key(bound, seen)
        return (
            "named",
            value.__module__,
            value.__qualname__,
            None if known else _class_key(value, seen),
            owner,
        )
    try:
        return (
            ("equal", type(value).__qualname__, hash(value)) if type(value).__hash__ is not None else ("id", id(value))
        )
    except TypeError:
        return ("id", id(value))


def _class_key(value: Any, seen: tuple[int, ...]) -> Any:
    if not inspect.isclass(value):
        return None
    functions = {name: item for name, item in vars(value).items() if inspect.isfunction(item)}
    annotations = repr(getattr(value, "__annotations__", {}))
    return (annotations, [(name, _key(item, seen)) for name, item in sorted(functions.items())])
