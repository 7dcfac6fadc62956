"""Expressions: what they mean, what they refuse, and that nothing else can happen."""

from __future__ import annotations

import decimal
import time
import warnings
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.expressions import Expression, Facts, parse_expression
from dataflows_sdk.flow.templates import Missing

ROOTS: dict[str, Any] = {
    "trigger": {
        "amount": 150,
        "price": 19.99,
        "money": Decimal("1.10"),
        "text": "150",
        "name": "Ada",
        "vip": True,
        "none": None,
        "nan": float("nan"),
        "inf": float("inf"),
        "huge": 10**2000,
        "items": [{"id": 1}, {"id": 2}],
        "numbers": [3, "4", None, 5.5],
        "tags": ["new", "vip"],
        "class": "first",
        "in": 5,
        "ﬁ": "ligature",
        "fi": "two letters",
        "हिन्दी": "ok",
        "due": datetime(2026, 11, 22, 9, tzinfo=UTC),
        "day": date(2026, 11, 22),
        "template": "{{env.KEY}}",
        "unit price": 9.5,
        "long": "x" * 4_000_000,
        "frame": pd.DataFrame({"a": [1]}),
    },
    "steps": {"a": {"output": {"total": 120}}, "new-order": {"output": {"total": 99}}},
    "env": {"KEY": "secret"},
    "len": "a root may be called as a function is",
}

MEANING = [
    ("{{steps.a.output.total}} > 100 and trigger.vip == true", True),
    ("{{ trigger.amount }} == 150", True),
    # paths
    ("trigger.items[1].id", 2),
    ("trigger.items.1.id", 2),
    ("trigger.items[-1]['id']", 2),
    ('trigger["unit price"]', 9.5),
    ('{{trigger["unit price"]}}', 9.5),
    ('steps["new-order"].output.total', 99),
    ("{{steps.new-order.output.total}} + 1", 100),
    ("trigger.class == 'first' and trigger.in == 5", True),
    ("{{trigger.class}}", "first"),
    ("trigger.ﬁ", "ligature"),
    ("trigger.हिन्दी", "ok"),
    ("trigger.nope", None),
    ("trigger.name.upper", None),
    ("trigger.__class__", None),
    ("trigger.template == '\\{{env.KEY}}'", True),
    ("trigger.template == env.KEY", False),
    ("len", "a root may be called as a function is"),
    # constants
    ("true", True),
    ("False or TRUE", True),
    ("null", None),
    ("None == null", True),
    ("1", 1),
    ("0.5", 0.5),
    (".5e1", 5.0),
    ("1" * 3999, int("1" * 3999)),
    ("'it\\'s' + \"\\u00fc\\n\\t\\\\\"", "it'sü\n\t\\"),
    (r"'\d'", r"\d"),
    ("'{{' + '}}'", "{{}}"),
    ("'and' + \"&& || ! === # {\"", "and&& || ! === # {"),
    ("[1, 'a', [true]]", [1, "a", [True]]),
    ("[]", []),
    # comparing
    ("trigger.text == 150", True),
    ("trigger.vip == 1", False),
    ("1 == 1.0", True),
    ("trigger.money == 1.1", True),
    ("trigger.none < 1", False),
    ("trigger.none >= null", False),
    ("trigger.nope != 5", True),
    ("1 < 2 < 3", True),
    ("1 < 3 < 2", False),
    ("1 === 1 && 'a' !== 'b' || false", True),
    ("trigger.due > '2026-11-22T09:30:00+01:00'", True),
    ("trigger.day == '2026-11-22'", True),
    ("trigger.nan == trigger.nan", False),
    ("trigger.huge > 1.5", True),
    ("trigger.huge == trigger.huge", True),
    ("trigger.tags == ['new', 'vip']", True),
    # membership
    ("'vip' in trigger.tags", True),
    ("2 in ['2']", True),
    ("trigger.name in ('Ada', 'Bob')", True),
    ("trigger.name not in ('Ada',)", False),
    ("'d' in trigger.name", True),
    ("1 in 'a1'", False),
    ("'amount' in trigger", True),
    ("1 in null", False),
    ("1 in[1]", True),
    # boolean
    ("not trigger.vip", False),
    ("NOT true OR true", True),
    ("!trigger.vip", False),
    ("!trigger.none == true", True),
    ("not trigger.none == true", True),
    ("!trigger.none == false", False),
    ("!(1 > 2) && !false", True),
    ("'a' and 5", True),
    ("null or 0 or '' or []", False),
    ("trigger.nan or false", False),
    ("false and trigger.huge * 2", False),
    ("trigger.frame and true", True),
    ("1 if 'x' else 2", 1),
    ("1 if 0 else 2 if 0 else 3", 3),
    ("1if 1else 2", 1),
    # arithmetic
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("7 / 2", 3.5),
    ("7 % 3", 1),
    ("-7 % 3", 2),
    ("trigger.money * 2", Decimal("2.20")),
    ("-7 % (trigger.money * 0 + 3)", Decimal(2)),
    ("trigger.money + 0.1", Decimal("1.20")),
    ("trigger.amount * 1.5", 225.0),
    ("trigger.text + 1", 151),
    ("'2.5' * 2", 5.0),
    ("'1' + '2'", "12"),
    ("'Total: ' + 5", None),
    ("'Total: ' + text(5)", "Total: 5"),
    ("[1] + [2]", [1, 2]),
    ("-trigger.amount", -150),
    ("- -5", 5),
    ("+5", 5),
    ("-'a'", None),
    ("trigger.amount-5", 145),
    ("trigger.amount-trigger.in", 145),
    ("trigger.in -len(trigger.tags)", 3),
    ("trigger.in-len(trigger.tags)", 3),
    ("1 / 0", None),
    ("1 % 0.0", None),
    ("trigger.nope + 1", None),
    ("true + 1", None),
    ("trigger.nan + 1", None),
    ("null == trigger.none + 1", True),
    ("trigger.items + 1", None),
    # functions
    ("len(trigger.items) == size('ab')", True),
    ("len(trigger)", 24),
    ("len(5)", None),
    ("len(trigger.nope) > 0", False),
    ("lower('ÄB') + upper('äb') + trim(' x ')", "äbÄBx"),
    ("lower(5)", None),
    ("text([1, null, 'ü'])", '[1, null, "ü"]'),
    ("text(null)", ""),
    ("number('1e2')", 100),
    ("number('1.5')", 1.5),
    ("number('x')", None),
    ("number(true)", None),
    ("number(trigger.money)", Decimal("1.10")),
    ("abs(-5) + abs('-1.5')", 6.5),
    ("abs(trigger.money - 2)", Decimal("0.90")),
    ("round(2.5)", 3),
    ("round(-2.5)", -3),
    ("round(2.675, 2)", 2.68),
    ("round(trigger.money, 1)", Decimal("1.1")),
    ("round(1234, -2)", 1200),
    ("round(1234.5, -2)", 1200),
    ("round(trigger.nan)", None),
    ("round(trigger.inf)", None),
    ("round(1, 'x')", None),
    ("round(1.5, 31)", None),
    ("round(trigger.money * 0 + 2.5)", 3),
    ("min(3, 1, 2)", 1),
    ("max(trigger.numbers)", 5.5),
    ("sum(trigger.numbers)", 12.5),
    ("max(1, trigger.money)", Decimal("1.10")),
    ("sum([])", 0),
    ("min([])", None),
    ("min(null, 5)", 5),
    ("sum(null)", None),
    ("sum(['x', 1])", None),
    ("max(['x', 1])", None),
    ("sum(trigger.tags)", None),
    ("contains('banana', 'nan') and contains(trigger.tags, 'vip') and contains(trigger, 'name')", True),
    ("contains(null, 'a')", False),
    ("starts_with(trigger.name, 'A') and ends_with(trigger.name, 'a')", True),
    ("starts_with(trigger.amount, 1)", False),
    (r"matches('order 17', '\d+$')", True),
    ("matches(trigger.amount, '1')", False),
    ("exists(trigger.none)", True),
    ("exists(trigger.nope)", False),
    ("exists({{trigger.name.x}})", False),
    ("coalesce(trigger.nope, trigger.none, 'x')", "x"),
    ("coalesce(trigger.nope)", None),
    ("coalesce(0, 1)", 0),
    ("len (trigger.tags)", 2),
    # spaces
    (" \n1\n+\t1 ", 2),
]


@pytest.mark.parametrize(("text", "value"), MEANING, ids=[text[:60] for text, _ in MEANING])
def test_meaning(text: str, value: Any) -> None:
    found = parse_expression(text).evaluate(ROOTS)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Python that is none of this language
        ("__import__('os')", "there is no __import__(); there are len, size"),
        ("().__class__", "only a path has parts"),
        ("''.__class__", "only a path has parts"),
        ("[].append(1)", "only a path has parts"),
        ("trigger.name.upper()", "functions stand before their value"),
        ("trigger.__class__()", "functions stand before their value"),
        ("lower('x').upper()", "only a path has parts"),
        ("lower('x').__class__", "only a path has parts"),
        ("lower('x')[0]", "brackets behind a path take"),
        ("[1][0]", "brackets behind a path take"),
        ("(trigger.name)[0]", "brackets behind a path take"),
        ("trigger.items[trigger.in]", "brackets behind a path take"),
        ("trigger.items[0:1]", "':' means nothing"),
        ("(len)(1)", "only a function can be called"),
        ("trigger.name ('x')", "there is no trigger.name()"),
        ("1(2)", "only a function can be called"),
        ("lambda: 1", "':' means nothing"),
        ("lambda x: x", "':' means nothing"),
        ("[x for x in trigger.items]", ""),
        ("(x for x in y)", ""),
        ("sum(x for x in y)", ""),
        ("{x for x in y}", "there are no objects"),
        ("{'a': 1}", "there are no objects"),
        ("{1}", "there are no objects"),
        ("f'{trigger}'", ""),
        ("f\"{__import__('os')}\"", ""),
        ("b'x'", ""),
        ("r'x'", ""),
        ("'a' 'b'", ""),
        ("'''a'''", ""),
        ("(a := 1)", "':' means nothing"),
        ("a = 1", "compare with =="),
        ("len(x=1)", "compare with =="),
        ("len(*trigger.items)", "this is not allowed"),
        ("len(**trigger)", "there is no power"),
        ("[*trigger.items]", "this is not allowed"),
        ("*trigger.items", ""),
        ("9**9**9", "there is no power"),
        ("'a'*10**9", "there is no power"),
        ("7 // 2", "there is only /"),
        ("1 @ 2", ""),
        ("1 & 2", "write && or and"),
        ("1 | 2", "write || or or"),
        ("~1", "'~' means nothing"),
        ("1 << 2", ""),
        ("1 ^ 2", "'^' means nothing"),
        ("a is b", ""),
        ("a is not b", ""),
        ("await x", ""),
        ("yield x", ""),
        ("import os", ""),
        ("1; 2", "';' means nothing"),
        ("1 # no", "'#' means nothing"),
        ("1, 2", "this is not allowed"),
        ("()", "this is not allowed"),
        ("(1, 2) == [1, 2]", "this is not allowed"),
        ("...", "only a path has parts"),
        ("a ? b : c", "'?' means nothing"),
        ("`a`", "'`' means nothing"),
        ("a\\\nb", ""),
        ("a\x00b", ""),
        # numbers
        ("007", ""),
        ("0x10", ""),
        ("1_000", ""),
        ("1j", ""),
        ("1e999", "beyond the numbers of JSON"),
        ("1.", "only a path has parts"),
        ("1.2.3", ""),
        # unfinished
        ("", "the expression is empty"),
        (" \n ", "the expression is empty"),
        ("1 +", ""),
        ("and", ""),
        ("not", ""),
        ("(1", "was never closed"),
        ("1)", "unmatched ')'"),
        ("(1]", ""),
        ("1 2", ""),
        ("'abc", "the text is not closed"),
        ('"abc\\"', "the text is not closed"),
        ("a if b", ""),
        ("in [1]", ""),
        ("trigger.", "only a path has parts"),
        ("trigger .name", "only a path has parts"),
        ("trigger.items[", ""),
        # braces
        ("{{trigger.amount > 5}}", "signs stand outside"),
        ("{{}}", "is not a path"),
        ("{{trigger.amount", "does not close it"),
        ("{{trigger}}.amount", "only a path has parts"),
        ("{{lower(trigger.name)}}", "is not a path"),
        ("'{{trigger.name}}' == 'Ada'", "a template in quotes is not filled in"),
        ("'Hi {{trigger.name}}'", "a template in quotes is not filled in"),
        # functions
        ("len()", "len() does not take 0 values, but 1"),
        ("len(1, 2)", "len() does not take 2 values, but 1"),
        ("round(1, 2, 3)", "round() does not take 3 values, but 1 to 2"),
        ("exists('x')", "exists() takes a path"),
        ("exists(trigger.x + 1)", "exists() takes a path"),
        ("matches(trigger.name, '(')", "is no regular expression of RE2"),
        ("eval('1')", "there is no eval()"),
        # hyphens
        ("steps.new-order.output.total > 1", 'write {{steps.new-order.output.total}} or steps["new-order"]'),
        ("steps.step-1.output", 'write {{steps.step-1.output}} or steps["step-1"]'),
        ("trigger.first-name == 'Ada'", 'write {{trigger.first-name}} or trigger["first-name"]'),
        ("trigger.a-b.c", "put spaces around the minus"),
        # size
        ("1" * 4001, "at most 4000 characters, this one has 4001"),
        ("(" * 2000 + ")" * 2000, ""),
        ("[" * 1999 + "]" * 1999, ""),
        ("(" * 4000, ""),
        ("-" * 3999 + "1", "nested more than 100 levels"),
        ("!" * 3999 + "1", "nested more than 100 levels"),
        ("not " * 999 + "1", "nested more than 100 levels"),
        ("1+" * 1999 + "1", "nested more than 100 levels"),
        ("len(" * 600 + "1" + ")" * 600, ""),
        ("1 if 1 else " * 300 + "1", "nested more than 100 levels"),
        ("x " * 1999, ""),
    ],
    ids=lambda value: value[:60].encode("ascii", "backslashreplace").decode(),
)
def test_what_is_no_expression_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_expression(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_message_points_at_the_place() -> None:
    with pytest.raises(ConditionError, match=r"at '1 2' \(character 13\)|at '2' \(character 15\)"):
        parse_expression("'ü' == x or 1 2")
    with pytest.raises(ConditionError, match=r"at '\?' \(character 10\): '\?' means nothing"):
        parse_expression("trigger  ?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trigger.huge + 1", "more than 1,230 digits"),
        ("1e308 * trigger.amount * trigger.money * 1e308", None),
        ("text(trigger.huge * 1)", "more than 1,230 digits"),
        ("trigger.long + trigger.long", "longer than 5,000,000"),
        ("trigger.pattern and matches(trigger.name, trigger.pattern)", "is no regular expression"),
        ("text(trigger.frame)", "has no text"),
        ("'1e999' / 0.5 * 2", "is too large"),
        ("round('1e999', 2) == '1e999'", None),
    ],
)
def test_what_cannot_be_calculated(text: str, message: str | None) -> None:
    roots = ROOTS | {"trigger": ROOTS["trigger"] | {"pattern": "("}}
    if message is None:
        parse_expression(text).evaluate(roots)
        return
    with pytest.raises(ConditionError, match="^expression .*" + message):
        parse_expression(text).evaluate(roots)


def test_values_that_misbehave_are_one_kind_of_error() -> None:
    class Hostile:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        def __bool__(self) -> bool:
            raise RuntimeError("no")

        __hash__ = None  # type: ignore[assignment]

    class Liar(dict[str, int]):
        def __len__(self) -> int:
            raise RuntimeError("no length today")

    roots = {"trigger": {"h": Hostile(), "l": Liar()}}
    assert parse_expression("trigger.h == 1 or trigger.h").evaluate(roots) is True
    with pytest.raises(ConditionError, match="no length today"):
        parse_expression("len(trigger.l)").evaluate(roots)


def test_missing_paths_are_noted_unless_asked_for() -> None:
    missing: list[Missing] = []
    text = "exists(trigger.a) or coalesce(trigger.b, null) or trigger.c or {{steps.x.output}} or false and trigger.d"
    expression = parse_expression(text)
    assert expression.evaluate(ROOTS, missing) is False
    assert [gone.text for gone in missing] == ["trigger.c", "steps.x.output"]
    assert "steps has no 'x'; it has 'a', 'new-order'" in str(missing[1])
    assert [found.text for found in expression.references] == [
        "trigger.a", "trigger.b", "trigger.c", "steps.x.output", "trigger.d",
    ]  # fmt: skip
    with pytest.raises(ConditionError, match=r"trigger has no 'c'.*The flow is strict: ask with exists"):
        expression.evaluate(ROOTS, strict=True)
    assert parse_expression("exists(trigger.a) and trigger.a > 1").evaluate(ROOTS, strict=True) is False


def test_a_record_is_asked_before_the_roots() -> None:
    expression = parse_expression("amount + trigger.in")
    assert expression.evaluate(ROOTS, base={"amount": 1}) == 6
    assert expression.evaluate(ROOTS, base={"amount": 1, "trigger": {"in": 10}}) == 11
    missing: list[Missing] = []
    parse_expression("a.b + trigger.x").evaluate(ROOTS, missing, base={"a": {"c": 1}})
    assert str(missing[0]) == "{{a.b}}: a has no 'b'; it has 'c'"
    assert str(missing[1]).startswith("{{trigger.x}}: trigger has no 'x'; it has 'amount'")


def test_the_context_of_decimals_and_the_depth_of_the_stack_do_not_matter() -> None:
    expression = parse_expression("trigger.money / 3")
    usual = expression.evaluate(ROOTS)
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = True
        assert expression.evaluate(ROOTS) == usual
        assert parse_expression("round(trigger.money * 3, 1) == '3.3' and -trigger.money < 0").evaluate(ROOTS) is True

    def deep(levels: int) -> Any:
        return deep(levels - 1) if levels else parse_expression("1" + "+1" * 99).evaluate({})

    assert deep(300) == 100


def test_reading_makes_no_warning_and_is_kept() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in (r"matches(trigger.name, '\d\w\.')", "1if 1else 0", "1in[1]", "'x' == 'y'and 0or 1"):
            assert parse_expression(text) is parse_expression(text)


def test_large_values_are_not_slow() -> None:
    began = time.process_time()
    roots = {"trigger": {"s": "a" * 4_000_000, "n": list(range(300_000))}}
    for text in ("trigger.s == trigger.s", "contains(trigger.s, 'ab')", "'x' in trigger.n", "trigger.s > 5",
                 "number(trigger.s)", "trigger.s * 2", "len(upper(trigger.s))"):  # fmt: skip
        parse_expression(text).evaluate(roots)
    assert time.process_time() - began < 3


# --- properties -------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    # a list of a hundred texts would be a page
    """( ) [ ] , + - * / % ** // == != < <= > >= = ! && || & | ~ and or not in if else is lambda for await yield true
    null 1 0 2.5 1e3 'a' "b" '\\d' '{{x}}' {{trigger.amount}} {{ }} { } : := ; # . .. trigger trigger.amount
    trigger.name trigger.items[0] trigger.items trigger.numbers trigger.huge trigger.long trigger.nan trigger.inf
    trigger.money trigger.due trigger.frame trigger.none trigger.nope steps.new-order len( lower( text( number( abs(
    round( min( max( sum( contains( starts_with( matches( exists( coalesce( __import__( ü \\ $ @ ` \0""".split()  # noqa: SIM905
)


@given(st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=40))
def test_nothing_but_a_condition_error_comes_out(text: str) -> None:
    try:
        expression = parse_expression(text)
        expression.evaluate(ROOTS, [])
        expression.evaluate({})
        expression.ask(Facts(ROOTS, base={"trigger": None}, strict=True))
    except ConditionError:
        pass


LEAVES = st.sampled_from(["1", "2.5", "'a'", "'7'", "true", "null", "trigger.x", "trigger.y", "[1, 'a']"])
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(
            inner,
            st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in"]),
            inner,
        ).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda part: f"(not {part})")
        | st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})")
        | inner.map(lambda part: f"coalesce(text({part}), len({part}), round({part}))")
    ),
    max_leaves=12,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def outcome(expression: Expression, roots: dict[str, Any]) -> str:
    try:
        return repr(expression.evaluate(roots))
    except ConditionError as error:
        return f"ConditionError: {error}"


@given(TREES, VALUES, VALUES)
def test_every_expression_of_the_grammar_reads_and_answers(text: str, x: Any, y: Any) -> None:
    expression = parse_expression(text)
    once, again = (outcome(expression, {"trigger": {"x": x, "y": y}}) for _ in range(2))
    assert once == again
    assert not once.startswith("ConditionError") or "too large" in once
