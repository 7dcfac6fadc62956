"""Parsing Python, from any thread.

Until Python 3.13 the interpreter counts how deep a tree is in one place for all threads: where two parse at once, one
of them may be told ``SystemError: AST constructor recursion depth mismatch``. We parse one after another, and once more
where somebody else's code came between.
"""

from __future__ import annotations

import ast
import threading
from typing import Any

_LOCK = threading.RLock()
_TRIES = 5


def parse(source: str, filename: str = "<unknown>", **options: Any) -> Any:
    """`ast.parse`; its errors, too."""
    for _ in range(_TRIES - 1):
        try:
            with _LOCK:
                return ast.parse(source, filename, **options)
        except SystemError:
            continue
    with _LOCK:
        return ast.parse(source, filename, **options)
