"""Return annotations against parameter annotations: sure mismatches only."""

# ruff: noqa: UP007, UP045 - both spellings of a union must be understood

from __future__ import annotations

import collections.abc as abc
import datetime as dt
import decimal
import enum
import os
import pathlib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.flow.annotations import is_collection, may_be_none, show, surely_incompatible


class Animal: ...


class Dog(Animal): ...


class Car: ...


class Order(pydantic.BaseModel):
    id: int


class Row(TypedDict):
    id: int


class Named(Protocol):
    name: str


class Color(enum.Enum):
    RED = "red"


class Level(enum.StrEnum):
    LOW = "low"


@dataclass
class Point:
    x: int


T = TypeVar("T")
UserId = NewType("UserId", int)

CLASH = [
    (int, str),
    (str, int),
    (None, int),
    (int, None),
    (list, dict),
    (dict, list[int]),
    (str, list[str]),
    (list[int], list[str]),
    (list[int], abc.Sequence[str]),
    (dict[str, int], dict[str, str]),
    (dict[str, int], dict[int, int]),
    (dict[str, int], abc.Iterable[int]),
    (tuple[int, str], tuple[int, int]),
    (tuple[int, int], tuple[int]),
    (tuple[int, ...], tuple[str, ...]),
    (tuple[int, str], list[int]),
    (tuple[int, str], abc.Sequence[int]),
    (int | str, list[int]),
    (Optional[int], str),
    (int, Union[str, list[int]]),
    (int, str | None),
    (Animal, Car),
    (Order, dict),
    (dict, Order),
    (Order, Point),
    (Row, list),
    (float, int),
    (int, abc.Iterable),
    (Annotated[int, "x"], str),
    (UserId, str),
    (abc.Awaitable[int], str),
    (Literal["a"], int),
    (Literal["a"], Literal["b"]),
    (int, Literal["a"]),
    (list[list[int]], list[list[str]]),
    (list[Optional[int]], list[str]),
    (dt.date, str),
    (Color, int),
]

FIT = [
    (int, int),
    (bool, int),
    (int, float),
    (int, complex),
    (Any, str),
    (int, Any),
    (int, object),
    (object, int),
    (T, int),
    (int, T),
    (Dog, Animal),
    (Animal, Dog),
    (list, list[str]),
    (list[int], list),
    (list[int], abc.Sequence[int]),
    (list[int], abc.Iterable[float]),
    (abc.Sequence[int], list[int]),
    (dict[str, int], abc.Mapping[str, float]),
    (dict[str, int], abc.Iterable[str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, ...], tuple[int, int]),
    (tuple[int, int], abc.Sequence[int]),
    (int | str, str),
    (Optional[int], int),
    (int, Optional[int]),
    (None, Optional[int]),
    (Row, dict),
    (dict, Row),
    (Order, Named),
    (Named, int),
    (UserId, int),
    (int, UserId),
    (abc.Awaitable[int], int),
    (Literal["a", "b"], Literal["b"]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (str, abc.Sequence[str]),
    (abc.Iterator[int], list[int]),
    (abc.Mapping, abc.Sequence),
    (pathlib.Path, os.PathLike),
    (Callable[[int], int], abc.Callable),
    (type[int], type),
    ("Unresolved", int),
    (typing.NoReturn, int),
    (Level, str),
    (bool, Literal[True]),
    (list["Later"], list[int]),  # type: ignore[name-defined]  # noqa: F821
    (Annotated[list[int], 1], Annotated[list[int], 2]),
    (decimal.Decimal, decimal.Decimal),
]


@pytest.mark.parametrize(("given_", "wanted"), CLASH, ids=str)
def test_sure_mismatches(given_: Any, wanted: Any) -> None:
    assert surely_incompatible(given_, wanted)


@pytest.mark.parametrize(("given_", "wanted"), FIT, ids=str)
def test_what_may_fit_passes(given_: Any, wanted: Any) -> None:
    assert not surely_incompatible(given_, wanted)


ATOMS: list[Any] = [
    int,
    str,
    float,
    bool,
    None,
    bytes,
    Any,
    Animal,
    Dog,
    Order,
    Row,
    T,
    Color,
    Literal["a", 1],
]
ANNOTATIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        inner.map(lambda a: list[a]),  # type: ignore[valid-type]
        inner.map(lambda a: Optional[a]),
        inner.map(lambda a: abc.Sequence[a]),  # type: ignore[valid-type]
        st.tuples(inner, inner).map(lambda p: dict[p[0], p[1]]),  # type: ignore[misc]
        st.tuples(inner, inner).map(lambda p: tuple[p[0], p[1]]),  # type: ignore[misc]
        st.tuples(inner, inner).map(lambda p: Union[p[0], p[1]]),
    ),
    max_leaves=5,
)


@given(ANNOTATIONS, ANNOTATIONS)
def test_any_two_annotations_can_be_compared(one: Any, other: Any) -> None:
    assert not surely_incompatible(one, one)
    assert not surely_incompatible(one, Any)
    assert not surely_incompatible(one, Union[one, other])
    assert isinstance(surely_incompatible(one, other), bool)
    assert isinstance(show(one), str)


def test_collections() -> None:
    for annotation in (
        list,
        list[int],
        abc.Iterable[int],
        dict,
        tuple[int, ...],
        set,
        Any,
        Optional[list[int]],
        Named,
    ):
        assert is_collection(annotation)
    for annotation in (int, None, str, bytes, Order, Literal["ab"], Optional[str], Point):
        assert not is_collection(annotation)


def test_none() -> None:
    assert may_be_none(Optional[int])
    assert may_be_none(Any)
    assert not may_be_none(int)


# --- in flows ---------------------------------------------------------------------------------------------


def found(flow: df.Flow) -> list[tuple[str, str | None, str]]:
    return [(problem.code, problem.node, problem.message) for problem in flow.validate()]


def numbers() -> list[int]:
    return [1]


async def number() -> int:
    return 1


def test_mismatch_is_named_on_both_sides() -> None:
    def shout(numbers: list[str]) -> None: ...

    flow = df.flow("f").step("numbers", numbers).step("shout", shout)
    assert found(flow) == [
        ("type-mismatch", "shout", "'numbers' returns list[int], but parameter 'numbers' takes list[str]")
    ]


def test_async_producers_and_predicates() -> None:
    def x(n: str) -> None: ...

    def ok(n: int) -> bool:
        return True

    flow = df.flow("f").step("n", number).step("x", x, when=ok)
    assert [code for code, _, _ in found(flow)] == ["type-mismatch"]
    swapped = df.flow("f").step("n", number).step("x", lambda: 1, when=x)
    assert found(swapped)[0][2] == "'n' returns int, but parameter 'n' of when= takes str"


def test_map_items_and_results() -> None:
    def upper(item: str) -> str:
        return item

    def total(upper: list[int]) -> int:
        return 1

    flow = df.flow("f").step("numbers", numbers).map("upper", upper, over="numbers").step("total", total)
    assert found(flow) == [
        ("type-mismatch", "upper", "the items of 'numbers' are int, but 'item' takes str"),
        ("type-mismatch", "total", "'upper' returns list[str], but parameter 'upper' takes list[int]"),
    ]


def test_literals_joins_models_and_parts() -> None:
    def order() -> Order:
        return Order(id=1)

    def literal(n: int) -> None: ...

    def join(both: list[int]) -> None: ...

    def model(order: dict[str, Any]) -> None: ...

    def part(n: str) -> None: ...

    flow = (
        df.flow("f")
        .step("order", order)
        .step("literal", literal, inputs={"n": df.value("x")})
        .parallel("both", {"a": lambda: 1, "b": lambda: 2})
        .step("join", join)
        .step("model", model)
        .step("part", part, inputs={"n": df.ref("order.id")})
    )
    assert [(code, node) for code, node, _ in found(flow)] == [
        ("type-mismatch", "literal"),
        ("type-mismatch", "join"),
        ("type-mismatch", "model"),
    ]


def test_a_node_that_may_fail_and_go_on_may_be_none() -> None:
    def strict(n: int) -> None: ...

    def lenient(n: int | None) -> None: ...

    def default(n: int = 3) -> None: ...

    flow = df.flow("f").step("n", number, on_error="continue")
    (problem,) = flow.step("x", strict).validate()
    assert (problem.code, problem.severity) == ("maybe-none", "warning")
    assert problem.hint == "annotate it int | None, or give it a default"
    assert flow.step("x", lenient).validate() == []
    assert flow.step("x", default).validate() == []
    assert flow.step("x", lambda n: n).validate() == []


def test_annotations_that_cannot_be_resolved_pass() -> None:
    def x(n: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert df.flow("f").step("n", number).step("x", x).validate() == []
