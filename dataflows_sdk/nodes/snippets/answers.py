"""What a worker answered, as a value or as one of the library's errors."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from dataflows_sdk.core.codec_write import MAX_DEPTH
from dataflows_sdk.errors import SnippetError, SnippetTimeoutError, SnippetWorkerError

#: more cannot be stored as a step's result either
_DEEPEST = MAX_DEPTH
_log = logging.getLogger("dataflows_sdk.snippets")
# a frame of a stack: the function, where the engine has one, and the place
_FRAME = re.compile(r"^ +at (?:(?P<function>.*) \()?(?P<file><input>|.*snippet\.js):(?P<line>\d+):(?P<column>\d+)\)?$")


def value_of(answer: bytes, timeout_ms: int, memory_mb: int) -> Any:
    """The value in an answer; what the snippet printed goes to the log ``dataflows_sdk.snippets``.

    Raises:
        SnippetError: see its ``kind``.
        SnippetTimeoutError: the engine stopped it.
        SnippetWorkerError: this is no answer.
    """
    try:
        said = json.loads(answer)
    except RecursionError:
        raise SnippetError("the snippet's result cannot be used: it is nested too deeply", "result") from None
    except ValueError as error:
        raise SnippetWorkerError(f"the process for snippets answered something that is no JSON: {error}") from error
    if not isinstance(said, dict) or not said.keys() & {"value", "error"}:
        raise SnippetWorkerError(f"the process for snippets answered {said!r:.100}")
    if said.get("log"):
        _log.info("%s", said["log"].rstrip("\n"))
    if "error" in said:
        raise _error(said["error"], timeout_ms, memory_mb)
    if _is_deeper_than(said["value"], _DEEPEST):
        raise SnippetError("the snippet's result cannot be used: it is nested too deeply", "result")
    return said["value"]


def _is_deeper_than(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested deeper; how deep a parser goes differs from one Python to the next."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for each in level
            if type(each) in (list, dict)
            for child in (each.values() if type(each) is dict else each)
            if type(child) in (list, dict)
        ]
        if not level:
            return False
    return True


def timeout(timeout_ms: int) -> SnippetTimeoutError:
    """The error of a snippet that took too long."""
    return SnippetTimeoutError(
        f"timeout: the snippet was stopped after {timeout_ms:,} ms; timeout_ms= gives it more time"
    )


def memory(memory_mb: int) -> SnippetError:
    """The error of a snippet that needed too much."""
    return SnippetError(f"the snippet needed more than {memory_mb} MB of memory; memory_mb= gives it more", "memory")


def _error(told: dict[str, Any], timeout_ms: int, memory_mb: int) -> Exception:
    kind, name, message = told["kind"], told.get("name", ""), told.get("message", "")
    if kind == "timeout":
        return timeout(timeout_ms)
    if kind == "memory":
        return memory(memory_mb)
    if kind == "result":
        return SnippetError(f"the snippet's result cannot be used: {message}", kind)
    if kind == "engine":
        return SnippetWorkerError(f"the engine for snippets failed: {message}")
    line, column = (told.get("line"), told.get("column")) if "line" in told else _place(told)
    text = ": ".join(part for part in (name, message) if part) or "an empty value"
    verb = "cannot be read" if kind == "syntax" else "threw"
    where = f" (line {line}, column {column})" if line and column else f" (line {line})" if line else ""
    joint = ": " if kind == "syntax" else " "
    return SnippetError(f"the snippet {verb}{joint}{text}{where}", kind, name, message, line, column)


def _place(told: dict[str, Any]) -> tuple[int | None, int | None]:
    """The first place of a stack that is the snippet's, without the lines that the engine's wrapping put before it."""
    frames = told.get("stack", "").split("\n")
    for index, frame in enumerate(frames):
        if "__dataflows" in frame:
            break
        match = _FRAME.match(frame)
        if match is None or (index + 1 < len(frames) and " at parse (native)" in frames[index + 1]):
            continue  # native code, or a place in a text that JSON.parse was given
        line = int(match["line"]) - told.get("lines", 0)
        column = int(match["column"]) - (told.get("columns", 0) if line == 1 else 0)
        if line >= 1:
            return line, max(column, 1)  # a statement that begins in the wrapping begins with the snippet
    return None, None
