"""Signatures, how values are handed over, sources and fingerprints."""

from __future__ import annotations

import contextlib
import functools
import linecache
import operator
import os
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.flow.callables import callable_name, hints_of, signature_of
from dataflows_sdk.flow.inputs import follow, gather, split_path
from dataflows_sdk.flow.model import ContextInput, NodeInput, ValueInput
from dataflows_sdk.flow.source import fingerprint, source_of, source_sha


def everything(a: int, b: int = 2, /, c: int = 3, *args: int, d: int, e: int = 5, **rest: int) -> Any:
    return a, b, c, args, d, e, rest


async def coroutine(x: int) -> str:
    return ""


class Service:
    def __call__(self, x: int) -> str:
        return ""

    def method(self, y: int) -> str:
        return ""


class Order(pydantic.BaseModel):
    id: int
    note: str = ""


def names(fn: Any) -> tuple[str, ...] | None:
    signature = signature_of(fn)
    return None if signature is None else signature.names


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x, y=1: 0, ("x", "y")),
        (everything, ("a", "b", "c", "d", "e")),
        (coroutine, ("x",)),
        (Service(), ("x",)),
        (Service().method, ("y",)),
        (Service.method, ("self", "y")),
        (Service, ()),
        (Order, ("id", "note")),
        (functools.partial(everything, 1, d=4), ("b", "c", "e")),
        (functools.partial(functools.partial(lambda x, y: 0, x=1), y=2), ()),
        (functools.lru_cache(lambda z: z), ("z",)),
        (operator.attrgetter("x"), None),
        (int, None),
        (dict, None),
        (len, ("obj",)),
        ("".join, ("iterable",)),
    ],
)
def test_parameters(fn: Any, expected: tuple[str, ...] | None) -> None:
    found = names(fn)
    # a few builtins got a signature in later Pythons
    assert found == expected or expected is None


def test_optional_and_open_ended() -> None:
    signature = signature_of(everything)
    assert signature is not None
    assert signature.open_ended
    assert signature.optional == {"b", "c", "e"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": 1, "d": 4}, (1, 2, 3, (), 4, 5, {})),
        ({"a": 1, "b": 9, "c": 8, "d": 7, "e": 6, "z": 0}, (1, 9, 8, (), 7, 6, {"z": 0})),
    ],
)
def test_arguments_reach_every_kind_of_parameter(values: dict[str, int], expected: Any) -> None:
    signature = signature_of(everything)
    assert signature is not None
    args, kwargs = signature.arguments(values)
    assert everything(*args, **kwargs) == expected


def test_a_gap_among_positional_only_parameters_takes_the_default() -> None:
    def fn(a: int = 1, b: int = 2, /) -> tuple[int, int]:
        return a, b

    signature = signature_of(fn)
    assert signature is not None
    args, kwargs = signature.arguments({"b": 9})
    assert fn(*args, **kwargs) == (1, 9)


def test_a_missing_argument_is_left_for_python_to_name() -> None:
    signature = signature_of(everything)
    assert signature is not None
    args, kwargs = signature.arguments({"d": 1})
    with pytest.raises(TypeError, match="'a'"):
        everything(*args, **kwargs)


def test_hints() -> None:
    assert hints_of(coroutine) == {"x": int, "return": str}
    assert hints_of(Service()) == {"x": int, "return": str}
    assert hints_of(Service().method)["return"] is str
    assert hints_of(Order)["return"] is Order
    assert hints_of(int)["return"] is int
    assert hints_of(functools.partial(coroutine, 1))["return"] is str
    assert hints_of(len) == {}
    assert hints_of(lambda x: x) == {}


def test_names_of_callables() -> None:
    assert callable_name(coroutine).endswith(":coroutine")
    assert callable_name(Service()).endswith(":Service")
    assert callable_name(Service().method).endswith(":Service.method")
    assert callable_name(functools.partial(coroutine)).endswith(":coroutine")
    assert callable_name(len) == "builtins:len"


# --- source -----------------------------------------------------------------------------------------------


def test_source_of_lambdas_is_the_lambda_alone() -> None:
    pair = [lambda x: x + 1, lambda x: x + 2]
    assert [source_of(fn) for fn in pair] == ["lambda x: x + 1", "lambda x: x + 2"]
    chain = df.flow("ü").step("a", lambda load: sum(load)).step("b", lambda a, k="ü": (a, k))
    assert source_of(chain.binding("a")) == "lambda load: sum(load)"
    assert source_of(chain.binding("b")) == 'lambda a, k="ü": (a, k)'


def test_source_of_functions_is_dedented_with_decorators() -> None:
    @functools.wraps(coroutine)
    def wrapped() -> None: ...

    def inner(x: int) -> int:
        return x

    assert source_of(inner) == "def inner(x: int) -> int:\n    return x"
    assert source_of(wrapped) == source_of(coroutine)
    assert str(source_of(coroutine)).startswith("async def coroutine")
    assert str(source_of(Service)).startswith("class Service")
    assert str(source_of(Service().method)).startswith("def method")
    assert source_of(functools.partial(inner, 1)) == source_of(inner)


def test_no_source() -> None:
    scope: dict[str, Any] = {}
    exec("def f(x): return x", scope)
    assert source_of(scope["f"]) is None
    assert source_of(len) is None
    assert source_of(int) is None
    assert len(source_sha(scope["f"])) == 16
    assert source_sha(scope["f"]) != source_sha(len)


def test_sha_ignores_place_but_not_text() -> None:
    def in_file(name: str, text: str) -> Any:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        scope: dict[str, Any] = {}
        exec(compile(text, name, "exec"), scope)
        return scope["f"]

    one = in_file("<one>", "def f(x):\n    return x\n")
    two = in_file("<two>", "\n\n# more\ndef f(x):   \n    return x\n")
    three = in_file("<three>", "def f(x):\n    return -x\n")
    assert source_sha(one) == source_sha(two) != source_sha(three)
    assert fingerprint(one) == fingerprint(two) != fingerprint(three)


def test_a_file_that_was_edited_since_gives_no_wrong_source() -> None:
    name = "<edited>"
    text = "def f(x):\n    return x\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope: dict[str, Any] = {}
    exec(compile(text, name, "exec"), scope)
    assert source_of(scope["f"]) == "def f(x):\n    return x"
    edited = "def other(y):\n    return y\n"
    linecache.cache[name] = (len(edited), None, edited.splitlines(keepends=True), name)
    assert source_of(scope["f"]) is None
    broken = "def f(x:\n"
    linecache.cache[name] = (len(broken), None, broken.splitlines(keepends=True), name)
    assert source_of(scope["f"]) is None


def test_fingerprints_tell_apart_what_is_captured() -> None:
    def make(captured: Any) -> Any:
        return lambda: captured

    same = [1, 1.5, "x", None, (1, [2]), {"k": {1, 2}}, len, os, Order, make(1)]
    for item in same:
        assert fingerprint(make(item)) == fingerprint(make(item))
    assert len({fingerprint(make(item)) for item in [*same, 2, True, "y", (1, [3]), sum, make(2)]}) == 16


def test_fingerprint_of_recursive_and_empty_captures() -> None:
    def recursive(n: int) -> int:
        return recursive(n - 1)

    def outer() -> Any:
        def early() -> Any:
            return later

        found = fingerprint(early)
        later = 1
        return found, later

    loop: list[Any] = []
    loop.append(loop)
    assert fingerprint(recursive) == fingerprint(recursive)
    assert outer() == outer()  # its variable was still empty when the fingerprint was taken
    assert fingerprint(loop) == fingerprint(loop)
    assert fingerprint(Service().method) != fingerprint(Service().__call__)
    assert fingerprint(object()) != fingerprint([])


# --- paths and values -------------------------------------------------------------------------------------


def test_paths() -> None:
    assert split_path("items[0].id") == ("items", 0, "id")
    assert split_path(".a.12.b") == ("a", 12, "b")
    assert split_path("") == ()


def test_follow() -> None:
    value = {"rows": [{"id": 7}], "order": Order(id=3), "1": "one", 2: "two"}
    assert follow(value, ("rows", 0, "id"), "load") == 7
    assert follow(value, ("order", "id"), "load") == 3
    assert follow(value, (1,), "load") == "one"
    assert follow(value, (2,), "load") == "two"
    assert follow(value, (), "load") is value


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("nope",), "load has no 'nope'; it has 'rows', 'text'"),
        (("rows", 3), "load.rows has no index 3; its length is 1"),
        (("rows", "x"), "load.rows is list and has no 'x'"),
        (("text", 0), "load.text is str and has no 0"),
        (("rows", 0, "__class__"), "load.rows[0] is int and has no '__class__'"),
    ],
)
def test_follow_says_how_far_it_came(path: tuple[str | int, ...], words: str) -> None:
    with pytest.raises(LookupError) as caught:
        follow({"rows": [1], "text": "abc"}, path, "load")
    assert words in str(caught.value)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)),
    st.lists(st.text() | st.integers(0)),
)
def test_follow_raises_nothing_but_lookup_errors(root: Any, path: list[str | int]) -> None:
    with contextlib.suppress(LookupError):
        follow(root, tuple(path), "x")


def test_gather() -> None:
    inputs = {
        "a": NodeInput("load", ("n",)),
        "gone": NodeInput("skipped"),
        "part": NodeInput("skipped", ("x",)),
        "optional": NodeInput("skipped"),
        "n": ContextInput("event", ("payload",)),
        "error": ContextInput("error"),
        "v": ValueInput([1]),
    }
    values = gather(inputs, {"load": {"n": 1}}, {"event": {"payload": 2}}, {"optional"})
    assert values == {"a": 1, "gone": None, "part": None, "n": 2, "error": None, "v": [1]}
