"""Conditions as data: every operator against every kind of value, groups, and what is refused."""

from __future__ import annotations

import enum
import re
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.comparing import before, not_after, same, within
from dataflows_sdk.flow.conditions import OPERATORS, Facts, check, holds, references

NAN = float("nan")
HUGE = 10**2000
ID = UUID("0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77")
NINE = datetime(2026, 11, 22, 9, tzinfo=UTC)
TEN_IN_BERLIN = datetime(2026, 11, 22, 10, tzinfo=ZoneInfo("Europe/Berlin"))


class Colour(enum.Enum):
    RED = "red"


def asked(left: Any, op: str, *value: Any) -> bool:
    """Whether one comparison holds; without a left side the field is missing."""
    record = {} if left is ... else {"f": left}
    condition = {"field": "f", "op": op} | ({"value": value[0]} if value else {})
    answer = holds(condition, Facts({}, base=record))
    assert holds(condition | {"op": f"not.{op}"}, Facts({}, base=record)) is not answer
    assert holds({"not": condition}, Facts({}, base=record)) is not answer
    return answer


EQUAL = [
    (150, 150.0),
    (150, "150"),
    (150, " 150.0 "),
    (1.5, Decimal("1.50")),
    (0.1, Decimal("0.1")),
    (0.1, "0.1"),
    (-0.0, 0),
    (10**30, "1e30"),
    (HUGE, HUGE),
    (float("inf"), Decimal("Infinity")),
    (True, True),
    (None, None),
    ("ü", "ü"),
    ("", ""),
    ([1, "2", [3.0]], ("1", 2, [3])),
    ({"a": {"b": [1]}}, {"a": {"b": ["1"]}}),
    ({1, 2}, {2, 1}),
    (NINE, TEN_IN_BERLIN),
    (NINE, "2026-11-22T09:00:00Z"),
    (NINE, "2026-11-22 10:00+01:00"),
    (NINE, datetime(2026, 11, 22, 9)),
    (date(2026, 11, 22), "2026-11-22"),
    (datetime(2026, 11, 22), date(2026, 11, 22)),
    (ID, str(ID).upper()),
    (ID, ID),
    (Colour.RED, "red"),
    (b"x", b"x"),
    (timedelta(1), timedelta(1)),
]
DIFFERENT = [
    (True, 1),
    (False, 0),
    (True, "true"),
    (None, 0),
    (None, ""),
    (None, False),
    ("1", "1.0"),
    ("007", "7"),
    ("1e2", "100"),
    (NAN, NAN),
    (Decimal("NaN"), Decimal("NaN")),
    (Decimal("sNaN"), 1),
    (Decimal("sNaN"), Decimal("sNaN")),
    (0.1 + 0.2, 0.3),
    (2**53 + 1, float(2**53)),
    (HUGE, float("inf")),
    (10**1300, 10**1300 + 1),
    (150, "150x"),
    (150, "1_50"),
    (150, "١٥٠"),
    ("", 0),
    ([], {}),
    ([], ""),
    ([], None),
    ([1], 1),
    ([1, 2], [2, 1]),
    ([1], [1, 1]),
    ({"a": 1}, {"a": 1, "b": None}),
    ({1}, [1]),
    (NINE, date(2026, 11, 22)),
    (NINE, "2026-11-22T09:00:00+01:00"),
    (NINE, "tomorrow"),
    (NINE, NINE.timestamp()),
    (ID, "0190d8f5"),
    (b"x", "x"),
    (Colour.RED, Colour),
    (datetime.max, datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_equal(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        assert asked(one, "eq", other)
        assert not asked(one, "neq", other)
        assert same([one], [other])
        assert asked(one, "in", [object(), other])
        assert not asked(one, "nin", (other,))
        assert not asked(one, "gt", other)
        assert not asked(one, "lt", other)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        assert not asked(one, "eq", other)
        assert asked(one, "neq", other)
        assert not same({"a": one}, {"a": other})
        assert not asked(one, "in", [other])
        assert asked(one, "nin", [other])


SMALLER = [
    (99, 100),
    (99, "100"),
    ("99", 100),
    ("99", "100"),
    ("b99", "c"),
    ("10", "9a"),
    ("Z", "a"),
    (-1.5, Decimal(0)),
    (2**53, 2**53 + 1),
    (float(2**53), 2**53 + 1),
    (HUGE, HUGE + 1),
    (1, HUGE),
    (-HUGE, 1.5),
    ("9" * 60, HUGE),
    (1, float("inf")),
    (False, True),
    (NINE, datetime(2026, 11, 22, 9, 1, tzinfo=UTC)),
    (NINE, "2026-11-22T10:00"),
    ("2026-11-22T08:59:59Z", NINE),
    (date(2026, 11, 22), NINE),
    (date(2026, 11, 22), "2026-11-23"),
    (timedelta(1), timedelta(2)),
    (clock(9), clock(10)),
]
UNORDERED = [
    (None, 1),
    (None, None),
    (True, 0),
    (2, True),
    ("a", 1),
    ("", 1),
    ("1x", 0),
    (NAN, 1),
    (NAN, NAN),
    ("nan", 1),
    (Decimal("sNaN"), 1),
    ([1], [2]),
    ({"a": 1}, {"a": 2}),
    ([1], 2),
    (NINE, 5),
    (NINE, "now"),
    (timedelta(1), 86_401),
    (clock(9), clock(10, tzinfo=UTC)),
    (b"a", b"b"),
    (object(), object()),
]


@pytest.mark.parametrize(("small", "large"), SMALLER)
def test_smaller(small: Any, large: Any) -> None:
    assert asked(small, "lt", large)
    assert asked(small, "lte", large)
    assert asked(large, "gt", small)
    assert asked(large, "gte", small)
    assert not asked(small, "gt", large)
    assert not asked(small, "gte", large)
    assert not asked(large, "lt", small)
    assert not asked(large, "lte", small)
    assert not asked(small, "eq", large)


@pytest.mark.parametrize(("left", "right"), UNORDERED)
def test_what_has_no_order_is_neither_smaller_nor_larger(left: Any, right: Any) -> None:
    for op in ("gt", "gte", "lt", "lte"):
        assert not asked(left, op, right)
        assert not asked(right, op, left)


@pytest.mark.parametrize(
    ("left", "op", "value", "holding"),
    [
        (..., "gt", 100, False),
        (None, "gt", 100, False),
        (..., "eq", None, True),
        (..., "neq", 5, True),
        (..., "nin", [5], True),
        (..., "in", [None], True),
        (..., "contains", None, False),
        (..., "like", "%", False),
        (5, "in", "5", False),
        (5, "nin", "5", False),
        ("a", "in", {"a": 1}, False),
        ("x", "in", [], False),
        (5, "in", {4, 5}, True),
        ("banana", "contains", "nan", True),
        ("banana", "contains", "", True),
        ("banana", "contains", "NAN", False),
        ("a1", "contains", 1, False),
        (["1", 2], "contains", 1, True),
        ([[1]], "contains", ["1"], True),
        ([True], "contains", 1, False),
        ({"a": 1}, "contains", "a", True),
        ({"1": 1}, "contains", 1, False),
        (5, "contains", 5, False),
        ("Ünder", "starts_with", "Ü", True),
        ("Ünder", "starts_with", "ü", False),
        (["a"], "starts_with", "a", False),
        (150, "starts_with", "1", False),
        ("a.pdf", "ends_with", ".pdf", True),
        ("a.pdf", "ends_with", None, False),
        ("a.pdf", "like", "%.pdf", True),
        ("a.PDF", "like", "%.pdf", False),
        ("a.PDF", "ilike", "%.pdf", True),
        (150, "like", "1%", False),
        ("ÄÖ", "ilike", "ä_", True),
        ("ab12", "regex", r"\d{2}$", True),
        ("ab12", "regex", "^b", False),
        ("AB", "regex", "(?i)ab", True),
        (12, "regex", "1", False),
        ("x", "regex", None, False),
        ("\ud800", "regex", "a", False),
        (None, "is", None, True),
        (None, "is", "NULL", True),
        (..., "is", "null", True),
        (0, "is", "null", False),
        (0, "is", "not null", True),
        (..., "is", "not null", False),
        (True, "is", True, True),
        (True, "is", "true", True),
        (1, "is", True, False),
        ("true", "is", True, False),
        (False, "is", False, True),
        (None, "is", False, False),
        (5, "is", 5, False),
        ("abc", "is", "abc", False),
        ([], "is", [], False),
    ],
)
def test_operators(left: Any, op: str, value: Any, holding: bool) -> None:
    assert asked(left, op, value) is holding


@pytest.mark.parametrize(
    ("left", "is_null", "exists"), [(..., True, False), (None, True, True), (0, False, True), ("", False, True)]
)
def test_presence(left: Any, is_null: bool, exists: bool) -> None:
    for op, answer in (("is_null", is_null), ("not_null", not is_null), ("exists", exists)):
        assert asked(left, op) is answer
        assert asked(left, op, True) is answer
        assert asked(left, op, None) is answer
        assert asked(left, op, False) is not answer


@pytest.mark.parametrize(
    ("before_", "after", "changed"),
    [
        ({"f": 1}, {"f": 2}, True),
        ({"f": 1}, {"f": 1.0}, False),
        ({"f": NAN}, {"f": NAN}, False),
        ({"f": NAN}, {"f": 1}, True),
        ({}, {"f": None}, False),
        ({}, {"f": 1}, True),
        ({"f": 1}, {}, True),
        ({"f": {"a": [1]}}, {"f": {"a": [2]}}, True),
    ],
)
def test_changed(before_: dict[str, Any], after: dict[str, Any], changed: bool) -> None:
    facts = Facts({"f": "a root is not a field"}, base=after, before=before_)
    assert holds({"field": "f", "op": "changed"}, facts) is changed
    assert holds({"field": "f", "op": "changed", "value": False}, facts) is not changed
    assert holds({"field": "f", "op": "not.changed"}, facts) is not changed
    unknown = Facts({}, base=after)
    assert not holds({"field": "f", "op": "changed"}, unknown)
    assert not holds({"field": "f", "op": "changed", "value": False}, unknown)


def test_every_operator_is_in_the_list() -> None:
    assert " ".join(OPERATORS) == (
        "eq neq gt gte lt lte in nin contains starts_with ends_with like ilike is is_null not_null exists changed regex"
    )


# --- where values come from -------------------------------------------------------------------------------

ROOTS = {
    "trigger": {"record": {"amount": 150, "name": "{{env.KEY}}", "old": 150}, "limit": 100, "names": ["a", "b"]},
    "steps": {"new-order": {"output": {"total": 120}}},
    "env": {"KEY": "secret"},
}


@pytest.mark.parametrize(
    ("condition", "holding"),
    [
        ({"field": "trigger.record.amount", "op": "gt", "value": 100}, True),
        ({"field": "{{trigger.record.amount}}", "op": "gt", "value": "{{trigger.limit}}"}, True),
        ({"field": "amount", "op": "gt", "value": 100}, True),
        ({"field": "{{amount}}", "op": "is_null"}, True),
        ({"field": "amount", "value": "{{trigger.record.old}}"}, True),
        ({"field": "steps.new-order.output.total", "value": 120}, True),
        ({"field": '["unit price"]', "op": "lt", "value": 10}, True),
        ({"field": "<{{trigger.limit}}>", "value": "<100>"}, True),
        ({"field": "trigger.record.name", "value": "secret"}, False),
        ({"field": "trigger.record.name", "value": "\\{{env.KEY}}"}, True),
        ({"field": "{{trigger.record.name}}", "value": "{{trigger.record.name}}"}, True),
        ({"field": "{{trigger.limit}}", "op": "in", "value": [1, "{{trigger.limit}}"]}, True),
        ({"field": "b", "op": "in", "value": "{{trigger.names}}"}, False),
        ({"field": "shadow", "value": "record"}, True),
        ("amount > 100 and trigger.limit == 100", True),
        ("{{steps.new-order.output.total}} > 100", True),
        ({"expression": "amount > 100"}, True),
        ({"expression": False}, False),
        ([], True),
        (None, True),
        (True, True),
        (False, False),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"not": {"or": []}}, True),
        ([{"field": "amount", "value": 150}, "amount < 100"], False),
        ({"any": [{"field": "amount", "value": 150}, "amount < 100"]}, True),
        ({"all": [{"not": "amount < 100"}, {"or": [False, {"and": [True, "amount == 150"]}]}]}, True),
        ({"field": "amount", "op": "eq", "value": 150, "id": "row-7"}, True),
    ],
)
def test_conditions(condition: Any, holding: bool) -> None:
    facts = Facts(ROOTS | {"shadow": "root"}, base={"amount": 150, "unit price": 9.5, "shadow": "record"})
    assert holds(condition, facts) is holding
    assert list(check(condition)) == []


def test_missing_paths_are_noted_where_they_are_a_surprise() -> None:
    facts = Facts(ROOTS, base={"a": 1})
    for op in ("exists", "is_null", "not_null", "is", "changed"):
        holds({"field": "nope", "op": op, "value": True}, facts)
        if op != "changed":
            holds({"field": "{{trigger.nope}}", "op": op, "value": True}, facts)
    assert facts.missing == []
    holds([{"not": {"field": "nope", "op": "gt", "value": 1}}, "{{trigger.nope}} == null"], facts)
    holds({"field": "a", "op": "eq", "value": "{{trigger.gone}}"}, facts)
    assert [gone.text for gone in facts.missing] == ["nope", "trigger.nope", "trigger.gone"]
    assert "the run has no 'nope'; it has 'a'" in str(facts.missing[0])


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "nope", "op": "gt", "value": 1},
        {"field": "{{trigger.nope}}", "value": 1},
        {"field": "trigger.limit", "value": "{{trigger.nope}}"},
        "trigger.nope == 1",
    ],
)
def test_strict_facts_refuse_missing_paths(condition: Any) -> None:
    with pytest.raises(ConditionError, match=r"nope.*The flow is strict"):
        holds(condition, Facts(ROOTS, strict=True))
    guarded = {"and": [{"field": "trigger.nope", "op": "exists"}, condition]}
    assert not holds(guarded, Facts(ROOTS, strict=True))


def nest(word: str, depth: int) -> Any:
    condition: Any = True
    for _ in range(depth):
        condition = {"not": condition} if word == "not" else {word: [condition]} if word else [condition]
    return condition


BAD = [
    (5, "", "5 is no condition"),
    (b"x", "", "is no condition"),
    ({}, "", "is no condition"),
    ({"op": "eq", "value": 1}, "", "is no condition"),
    ({"field": ""}, "", "is no condition"),
    ({"field": 5, "op": "eq", "value": 1}, "", "is no condition"),
    ({"field": "a", "op": "=>", "value": 1}, "", "there is no op '=>'; there are eq, neq, gt"),
    ({"field": "a", "op": "not.not.eq", "value": 1}, "", "there is no op"),
    ({"field": "a", "op": None, "value": 1}, "", "there is no op None"),
    ({"field": "a", "operator": "gt", "value": 1}, "", "it has no 'op', but 'operator'"),
    ({"field": "a", "op": "gt"}, "", "'gt' needs a 'value'"),
    ({"field": "a"}, "", "'eq' needs a 'value'"),
    ({"field": "a b", "op": "eq", "value": 1}, "", "is not a path"),
    ({"field": "{{a b}}", "op": "eq", "value": 1}, "", "is not a path"),
    ({"field": "{{a}}", "op": "changed"}, "/field", "'changed' takes the plain name"),
    ({"field": "a", "op": "eq", "value": ["{{1 +}}"]}, "/value/0", "is not a path"),
    ({"and": [1], "or": []}, "", "'and' cannot stand beside 'or'"),
    ({"not": True, "field": "a"}, "", "'not' cannot stand beside 'field'"),
    ({"and": {"field": "a"}}, "", "'and' takes a list"),
    ({"or": "a > 1"}, "", "'or' takes a list"),
    ({"expression": 5}, "", "'expression' takes a text"),
    ({"and": [True, {"or": [{"not": "1 +"}]}]}, "/and/1/or/0/not", "cannot stand here"),
    ("", "", "the expression is empty"),
    ({"field": "a", "op": "regex", "value": "("}, "/value", "is no regular expression of RE2"),
    ({"field": "a", "op": "regex", "value": r"(a)\1"}, "/value", "is no regular expression of RE2"),
    ({"field": "a", "op": "regex", "value": "a" * 4001}, "/value", "at most 4000 characters"),
    ({"field": "a", "op": "like", "value": "a" * 4001}, "/value", "at most 4000 characters"),
    (nest("not", 52), "/not" * 51, "nested more than 50 levels"),
    (partial(nest, "and", 100_000), "/and/0" * 25 + "/and", "nested more than 50 levels"),
    (partial(nest, "", 100_000), "/0" * 51, "nested more than 50 levels"),
]


@pytest.mark.parametrize(("condition", "pointer", "message"), BAD)
def test_bad_conditions_are_refused_and_found(condition: Any, pointer: str, message: str) -> None:
    if isinstance(condition, partial):  # seconds to make, and a burden to all tests of the session once it is there
        condition = condition()
    with pytest.raises(ConditionError, match=re.escape(message)):
        holds(condition, Facts({"a": "x"}))
    ((where, what),) = check(condition, "/c")
    assert message in what
    assert where.startswith("/c")
    assert len(what) < 800
    if "nested" not in message and "RE2" not in message and "4000" not in message:
        assert where == f"/c{pointer}"
    list(references(condition))


@pytest.mark.parametrize(
    ("op", "value", "message"),
    [
        ("in", 5, "'in' takes a list, not 5"),
        ("not.nin", "a,b", "'not.nin' takes a list, not 'a,b'"),
        ("is", "yes", "'is' takes null, not null, true or false, not 'yes'"),
        ("starts_with", 5, "'starts_with' takes a text"),
        ("regex", None, "'regex' takes a text"),
        ("exists", "yes", "'exists' takes true or false, not 'yes'"),
    ],
)
def test_values_that_cannot_hold_are_found(op: str, value: Any, message: str) -> None:
    ((where, what),) = check([{"field": "a", "op": op, "value": value}])
    assert (where, message in what) == ("/0/value", True)
    assert not list(check({"field": "a", "op": op, "value": "{{trigger.x}}"}))


def test_references_of_a_condition() -> None:
    condition = {
        "and": [
            {"field": "trigger.record.amount", "op": "gt", "value": ["{{steps.a.output}}"]},
            {"not": {"field": "amount", "value": 5}},
            {"or": ["{{steps.new-order.output}} > trigger.x + amount", {"field": "{{env.A}}", "value": None}]},
            {"field": "broken path", "value": 1},
            "1 +",
        ]
    }
    assert [(where, found.path) for where, found in references(condition)] == [
        ("/and/0/field", ("trigger", "record", "amount")),
        ("/and/0/value/0", ("steps", "a", "output")),
        ("/and/1/not/field", ("amount",)),
        ("/and/2/or/0", ("steps", "new-order", "output")),
        ("/and/2/or/0", ("trigger", "x")),
        ("/and/2/or/0", ("amount",)),
        ("/and/2/or/1/field", ("env", "A")),
    ]


# --- properties -------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=5)
    | st.integers(-999, 999).map(str)
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.datetimes().map(datetime.isoformat)
    | st.uuids()
    | st.binary(max_size=3)
    | st.timedeltas()
    | st.times()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
)


@given(VALUES, VALUES)
def test_comparing_is_symmetric_and_consistent(left: Any, right: Any) -> None:
    assert same(left, right) is same(right, left)
    assert not (before(left, right) and before(right, left))
    if before(left, right):
        assert not_after(left, right)
        assert not not_after(right, left)
        assert not same(left, right)


def kind(value: Any) -> str:
    """The sorts of values between which nothing can be smaller; texts may be numbers or times."""
    if isinstance(value, bool):
        return "boolean"
    for sort, name in (((int, float, Decimal), "number"), (date, "time"), (str, "text")):
        if isinstance(value, sort):
            return name
    return type(value).__name__


@given(SCALARS, SCALARS)
def test_different_types_are_never_smaller_or_larger(left: Any, right: Any) -> None:
    kinds = {kind(left), kind(right)}
    if len(kinds) == 2 and not ("text" in kinds and kinds & {"number", "time", "UUID"}):
        assert not not_after(left, right)
        assert not not_after(right, left)
        assert not same(left, right)


@given(VALUES, st.sampled_from(OPERATORS), VALUES)
def test_negation_is_the_exact_complement(left: Any, op: str, value: Any) -> None:
    try:
        asked(left, op, value)  # holds the three forms against each other
        asked(..., op, value)
    except ConditionError:
        assert op in ("regex", "like", "ilike") or "{{" in str(value)


def test_what_cannot_be_compared_does_not_raise() -> None:
    frame = pd.DataFrame({"a": [1]})
    for other in (frame, frame.copy(), 1, None, "x", [frame]):
        assert not same(frame, other)
        assert not before(frame, other)
        assert not within(other, [frame])
    deep: list[Any] = []
    other_deep: list[Any] = []
    for _ in range(20_000):
        deep, other_deep = [deep], [other_deep]
    assert same(deep, other_deep)
    assert not same(deep, [other_deep])
