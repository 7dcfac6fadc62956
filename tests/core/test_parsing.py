"""Python is parsed from any thread, in spite of an interpreter that counts for all of them in one place."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from dataflows_sdk.core.parsing import parse


def test_what_came_between_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = ast.parse, [SystemError("AST constructor recursion depth mismatch (before=18, after=10)")] * 2

    def disturbed(*args: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args, **options)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert ast.unparse(parse("1 + x", mode="eval")) == "1 + x"
    assert not left
    left.extend([SystemError("for ever")] * 5)
    with pytest.raises(SystemError, match="for ever"):
        parse("1 + x")


def test_errors_are_those_of_python() -> None:
    with pytest.raises(SyntaxError) as caught:
        parse("1 +", "cell 7")
    assert caught.value.filename == "cell 7"
