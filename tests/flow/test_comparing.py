"""LIKE and regular expressions: what they find, and that no pattern makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.comparing import like, matches


def reference_like(text: str, pattern: str) -> bool:
    """LIKE as a regular expression that may backtrack."""
    regex = re.sub(
        r"\\(.)|(%)|(_)|(.)",
        lambda m: ".*" if m[2] else "." if m[3] else re.escape(m[1] or m[4]),
        pattern,
        flags=re.DOTALL,
    )
    return re.fullmatch(regex, text, re.DOTALL) is not None


@given(
    st.text("ab_%\\\n", max_size=12),
    st.lists(st.sampled_from(["a", "b", "%", "_", "\\", "\\%", "\n", "%%"]), max_size=9),
)
def test_like_is_like_its_reference(text: str, signs: list[str]) -> None:
    pattern = "".join(signs)
    assert like(text, pattern) is reference_like(text, pattern)
    assert like(text.upper(), pattern, fold=True) is reference_like(text, pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "fold", "holding"),
    [
        ("50%", r"50\%", False, True),
        ("500", r"50\%", False, False),
        ("a\\", "a\\", False, True),
        ("", "", False, True),
        ("", "%", False, True),
        ("", "_", False, False),
        ("😀", "_", False, True),
        ("a\nb", "a%b", False, True),
        ("aba", "ab%ba", False, False),
        ("STRASSE", "straße", True, False),
        ("STRAẞE", "straße", True, True),
        ("ΟΔΟΣ", "οδος", True, True),
        ("İx", "_x", True, True),
        ("ÄB", "ä%", True, True),
    ],
)
def test_like(text: str, pattern: str, fold: bool, holding: bool) -> None:
    assert like(text, pattern, fold=fold) is holding


@pytest.mark.parametrize(
    "pattern",
    ["%" * 4000, "%" + "_" * 3990 + "x%", "%" + "a_" * 1990 + "b%", "%a" * 1999 + "b", "%" + "a" * 3990 + "b%"],
)
def test_like_is_never_slow(pattern: str) -> None:
    began = time.process_time()
    like("a" * 400_000, pattern, fold=True)
    assert time.process_time() - began < 2


def test_regular_expressions_are_never_slow() -> None:
    text = "a" * 400_000
    began = time.process_time()
    assert not matches(text, "(a+)+$b")
    assert not matches(text, "(a|a)*b")
    assert time.process_time() - began < 2
    with pytest.raises(ConditionError, match=r"is too large \(\d+ instructions\) for a text of 400000 bytes"):
        matches(text, ".*a.{900}c")
