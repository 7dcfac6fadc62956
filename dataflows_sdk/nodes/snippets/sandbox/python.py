"""Snippets in Python: trusted code in a process of its own, which runs one snippet and is ended by its parent."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .limits import Limits
from .wire import failure

if TYPE_CHECKING:
    from .wire import Ask

_NAME = "<snippet>"
_LONGEST_TEXT = 4_000
_LONGEST_LOG = 32_000


class _NoJsonError(Exception):
    pass


class Python:
    """The snippet is the body of a function whose parameters are the names."""

    def __init__(self) -> None:
        # a thread that computes in C beside the first one counts twice
        self._limits = Limits("data", threads=os.cpu_count() or 1)

    def confine(self) -> None:
        """Trusted code: files, network and processes are its own affair."""

    def prepare(self) -> None:
        """The interpreter is all there is to prepare."""

    def __call__(self, body: bytes, seconds: float, memory: int, longest: int, _ask: Ask) -> bytes:
        printed = io.StringIO()
        sys.stdout = sys.stderr = printed
        answer: dict[str, Any]
        try:
            with self._limits.around(seconds, memory + 4 * len(body)):
                request = json.loads(body)
                answer = _answer(request["code"], request["names"], longest)
        except MemoryError:
            return failure("memory")
        log = printed.getvalue()[:_LONGEST_LOG]
        if log:
            answer["log"] = log
        return json.dumps(answer).encode()


def _answer(code: str, names: dict[str, Any], longest: int) -> dict[str, Any]:
    try:
        function = _function(code, list(names))
    except SyntaxError as error:
        return _failed("syntax", error, error.lineno, error.offset, error.msg)
    except (ValueError, RecursionError) as error:  # NUL, lone surrogates, a thousand brackets
        return _failed("syntax", error)
    try:
        value = function(**names)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit ends the snippet, not the process
        return _failed("thrown", error, *_place(error.__traceback__))
    try:
        _check(value, "$", 0)
        size = len(json.dumps(value, allow_nan=False))
    except (_NoJsonError, ValueError) as error:
        return {"error": {"kind": "result", "name": "", "message": str(error)}}
    except RecursionError:
        return {"error": {"kind": "result", "name": "", "message": "it holds itself, or is nested too deeply"}}
    if size > longest:
        message = f"it has {size:,} bytes of JSON, and {longest:,} is the most"
        return {"error": {"kind": "result", "name": "", "message": message}}
    return {"value": value}


def _function(code: str, names: list[str]) -> Any:
    tree = ast.parse(code, _NAME)
    body = list(tree.body)
    if body and isinstance(body[-1], ast.Expr) and not any(_returns(statement) for statement in body):
        last = body[-1]
        body[-1] = ast.copy_location(ast.Return(last.value), last)
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    function = ast.FunctionDef("snippet", arguments, body or [ast.Pass()], [])
    module = ast.fix_missing_locations(ast.Module([function], []))
    scope: dict[str, Any] = {"__name__": "__snippet__"}
    exec(compile(module, _NAME, "exec"), scope)  # noqa: S102 - this is what the process is for
    return scope["snippet"]


def _returns(node: ast.AST) -> bool:
    """Whether a statement holds a `return` that is not one of a function inside."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return False
    return isinstance(node, ast.Return) or any(_returns(child) for child in ast.iter_child_nodes(node))


def _check(value: Any, path: str, depth: int) -> None:
    if value is None or isinstance(value, str | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NoJsonError(f"{path} is {value!r}")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _NoJsonError(f"{path} has the key {key!r:.80}; the keys of a JSON object are texts")
            _check(item, f"{path}.{key:.80}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    else:
        kind = type(value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        raise _NoJsonError(f"{path} is of type {name}; convert it to a text, a number, a list or a dict")


def _failed(
    kind: str, error: BaseException, line: int | None = None, column: int | None = None, message: str | None = None
) -> dict[str, Any]:
    try:
        text = str(error) if message is None else message
    except Exception:  # noqa: BLE001 - a `__str__` of the snippet
        text = "an error that cannot be shown"
    answer = {"kind": kind, "name": type(error).__name__, "message": text[:_LONGEST_TEXT]}
    return {"error": {**answer, "line": line, "column": column}}


def _place(traceback: TracebackType | None) -> tuple[int | None, int | None]:
    """Line and column of the snippet that the exception came through last."""
    place: tuple[int | None, int | None] = (None, None)
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == _NAME:
            line, _, column, _ = list(code.co_positions())[traceback.tb_lasti // 2]
            place = (line or traceback.tb_lineno, None if column is None else column + 1)
        traceback = traceback.tb_next
    return place
