"""Templates: paths, what they find, and what becomes of them in a text."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import re
import time
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from dataflows_sdk.errors import TemplateError
from dataflows_sdk.flow.templates import (
    ABSENT,
    Missing,
    Reference,
    Template,
    escape,
    lookup,
    parse_path,
    parse_template,
    references,
    render,
    write_path,
)
from dataflows_sdk.flow.texts import as_text


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    kind = "class attribute"

    @property
    def secret(self) -> str:
        return "computed"

    def method(self) -> int:
        return 1


class Order(BaseModel):
    model_config = ConfigDict(extra="allow")
    total: Decimal
    lines: list[str] = []


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


Pair = namedtuple("Pair", "left right")  # noqa: PYI024

ROOTS: dict[str, Any] = {
    "trigger": {
        "record": {"name": "Ada", "amount": 150, "vip": True, "note": None, "unit price": 9.5},
        "items": [{"id": 1}, {"id": 2}],
        "class": "first",
        "in": 5,
        "Straße": "Weg 1",
        "हिन्दी": "ok",
        "a-b": "hyphen",
        "007": "Bond",
        "7": "seven",
        'q"\\': "quotes",
        "": "empty",
        "{{x}}": "braces",
        "items()": "call",
        "$type": "T",
        "@id": "I",
        "big": 10**30,
        "ints": {1: "one"},
    },
    "steps": {"new-order": {"output": {"total": 1.5}}, "p": {"output": Point(1, 2)}},
    "objects": {"order": Order(total=Decimal("1.10"), extra="more"), "pair": Pair(1, 2)},  # type: ignore[call-arg]
    "env": {"REGION": "eu"},
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("trigger", ("trigger",)),
        (" trigger.record.name ", ("trigger", "record", "name")),
        ("steps.code_1.output.total", ("steps", "code_1", "output", "total")),
        ("steps.new-order.output", ("steps", "new-order", "output")),
        ("items.0.id", ("items", 0, "id")),
        ("items[0].id", ("items", 0, "id")),
        ("items[-1]", ("items", -1)),
        ("items.-1", ("items", "-1")),
        ("codes.007", ("codes", "007")),
        ('a["b c"]', ("a", "b c")),
        ("a['b.c'][0]['d']", ("a", "b.c", 0, "d")),
        (r'a["q\"\\"]', ("a", 'q"\\')),
        ('a["}}"]', ("a", "}}")),
        ('a[""]', ("a", "")),
        ('["unit price"]', ("unit price",)),
        ("a.class.in.not", ("a", "class", "in", "not")),
        ("a.Straße.हिन्दी.😀", ("a", "Straße", "हिन्दी", "😀")),
        ("a.$type.@id", ("a", "$type", "@id")),
        ("2nd", ("2nd",)),
        ("a.1234567890", ("a", "1234567890")),
    ],
)
def test_paths(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text).path == path
    assert parse_path(text).text == text.strip()
    (only,) = parse_template("{{" + text + "}}").references
    assert only.path == path


NO_PATHS = [
    "",
    " ",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    "a. b",
    "a[",
    "a[]",
    "a[x]",
    "a[01]",
    "a[1.5]",
    "a[1:2]",
    "a[٣]",
    'a["b]',
    'a["b"x]',
    "a['b\"]",
    "a[1234567890]",
    "[0]",
    "a()",
    "a.b()",
    "a.items()",
    "a + b",
    "a+b",
    "a|upper",
    "a | upper",
    "a, b",
    "a if b else c",
    "__import__('os').system('x')",
    "a > 5",
    "'text'",
    "{a}",
    "{{a",
    "a\x00b",
    "#each items",
    "/each",
    "%s",
    "a\\b",
]


@pytest.mark.parametrize("text", NO_PATHS)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="is not a path such as"):
        parse_path(text)
    with pytest.raises(TemplateError, match=r"is not a path such as|does not close it"):
        parse_template("before {{" + text + "}} after")


@pytest.mark.parametrize(
    "text", ["{{", "a {{b", "{{a}", "{{a} }", '{{a["}}', "{{a}} {{b", "{{{a}}", "{{a}b}}", "{{it's}}"]
)
def test_braces_that_hold_no_path_are_refused(text: str) -> None:
    with pytest.raises(TemplateError, match=r"is not a path such as|opens \{\{ and does not close it"):
        parse_template(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{trigger.record.amount}}", 150),
        ("{{ trigger.record.vip }}", True),
        ("{{\ttrigger.record.note\n}}", None),
        ("{{trigger.items}}", [{"id": 1}, {"id": 2}]),
        ("{{trigger.items.1.id}}", 2),
        ("{{trigger.items[-1].id}}", 2),
        ('{{trigger.record["unit price"]}}', 9.5),
        ("{{trigger.class}}", "first"),
        ("{{trigger.in}}", 5),
        ("{{trigger.Straße}}", "Weg 1"),
        ("{{trigger.हिन्दी}}", "ok"),
        ("{{trigger.a-b}}", "hyphen"),
        ("{{trigger.007}}", "Bond"),
        ("{{trigger.7}}", "seven"),
        ("{{trigger[7]}}", "seven"),
        ("{{trigger.ints.1}}", "one"),
        (r'{{trigger["q\"\\"]}}', "quotes"),
        ('{{trigger[""]}}', "empty"),
        ('{{trigger["{{x}}"]}}', "braces"),
        ('{{trigger["items()"]}}', "call"),
        ("{{trigger.$type}}{{trigger.@id}}", "TI"),
        ("{{steps.new-order.output.total}}", 1.5),
        ("{{steps.p.output.x}}", 1),
        ("{{objects.order.total}}", Decimal("1.10")),
        ("{{objects.order.extra}}", "more"),
        ("{{objects.pair.left}}{{objects.pair[1]}}", "12"),
        ("{{trigger.big}}", 10**30),
        ("no template", "no template"),
        ("a } b }} c { d", "a } b }} c { d"),
        ("C:\\dir\\", "C:\\dir\\"),
        (r"\{{trigger.in}}", "{{trigger.in}}"),
        (r"\\{{trigger.in}}", r"\5"),
        (r"\\\{{trigger.in}}", r"\{{trigger.in}}"),
        (r"a\b {{trigger.in}}", r"a\b 5"),
        ("{{trigger.in}}}}", "5}}"),
        ("Hi {{trigger.record.name}}, {{trigger.record.amount}}!", "Hi Ada, 150!"),
        (" {{trigger.in}}", " 5"),
        ("[{{trigger.record.note}}]", "[]"),
        ("{{trigger.record.vip}} {{trigger.items}}", 'true [{"id": 1}, {"id": 2}]'),
    ],
)
def test_rendering(text: str, value: Any) -> None:
    missing: list[Missing] = []
    rendered = render(text, ROOTS, missing, strict=True)
    assert rendered == value
    assert type(rendered) is type(value)
    assert missing == []


def test_a_config_keeps_its_shape_and_its_keys() -> None:
    config = {"{{trigger.in}}": ["{{trigger.in}}", ("x{{trigger.in}}", 1.5, None, True)], "o": {"p": "{{trigger.in}}"}}
    assert render(config, ROOTS) == {"{{trigger.in}}": [5, ("x5", 1.5, None, True)], "o": {"p": 5}}
    assert render({"n": "{{trigger.record.amount}}"}, ROOTS) == {"n": 150}


@pytest.mark.parametrize(
    "path",
    [
        "steps.p.output.__class__",
        "steps.p.output.method",
        "steps.p.output.secret",
        "steps.p.output.kind",
        "steps.p.output.__dict__",
        "steps.p.output.0",
        "trigger.__class__",
        "trigger.keys",
        "trigger.record.name.upper",
        "trigger.record.name.0",
        "trigger.items.append",
        "trigger.items.__len__",
        "objects.order.model_fields",
        "objects.order.model_dump",
        "objects.order.__pydantic_extra__",
        "objects.pair._fields",
        "objects.pair.count",
        "trigger.big.real",
        "__builtins__",
        "env.__class__.__init__.__globals__",
    ],
)
def test_no_attribute_of_python_can_be_reached(path: str) -> None:
    assert lookup(ROOTS, parse_path(path).path) is ABSENT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nope", "the run has no 'nope'; it has 'trigger', 'steps', 'objects', 'env'"),
        ("trigger.record.nope", "trigger.record has no 'nope'; it has 'name', 'amount', 'vip', 'note', 'unit price'"),
        ("trigger.items.2", "trigger.items is a list of 2 and has no 2"),
        ("trigger.items[-3].id", "trigger.items is a list of 2 and has no -3"),
        ("trigger.items.id", "trigger.items is a list of 2 and has no 'id'"),
        ("trigger.record.name.first", "trigger.record.name is str and has no 'first'"),
        ("trigger.record.note.first", "trigger.record.note is null and has no 'first'"),
        ("steps.new-order.output.total.x", "steps.new-order.output.total is float and has no 'x'"),
    ],
)
def test_a_missing_path_is_null_with_a_reason(path: str, reason: str) -> None:
    template, missing = "{{" + path + "}}", list[Missing]()
    assert render(template, ROOTS, missing) is None
    assert render(f"Hi {template}!", ROOTS, missing) == "Hi !"
    assert [str(gone) for gone in missing] == [f"{template}: {reason}"] * 2
    assert render(template, ROOTS) is None
    for text in (template, f"Hi {template}!"):
        with pytest.raises(TemplateError, match=re.escape(f"{template}: {reason}. The flow is strict")):
            render(text, ROOTS, strict=True)


def test_messages_stay_short() -> None:
    data = {"trigger": {"k" * 100_000: 1} | {str(n): n for n in range(1000)}}
    missing: list[Missing] = []
    render("{{trigger." + "x" * 100_000 + "}}", data, missing)
    assert len(str(missing[0])) < 700
    with pytest.raises(TemplateError) as caught:
        parse_template("{{" + "x y" * 100_000 + "}}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (1e22, "1e+22"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ([1, float("nan"), None], '[1, "nan", null]'),
        (Decimal("1.10"), "1.10"),
        ([Decimal("1.10")], '["1.10"]'),
        ("ü😀", "ü😀"),
        ({"ü": "😀", "n": {1: None}}, '{"ü": "😀", "n": {"1": null}}'),
        ({None: 1, True: 2, date(2026, 1, 2): 3}, '{"": 1, "true": 2, "2026-01-02": 3}'),
        ((1, "a"), '[1, "a"]'),
        ({"b", "a", "c"}, '["a", "b", "c"]'),
        (frozenset({2, "x"}), '["x", 2]'),
        (b"\xff", "/w=="),
        (datetime(2026, 11, 22, 9, 30, tzinfo=UTC), "2026-11-22T09:30:00+00:00"),
        ([date(2026, 11, 22)], '["2026-11-22"]'),
        (timedelta(days=1, seconds=2, microseconds=500_000), "PT86402.5S"),
        (timedelta(seconds=-90), "-PT90S"),
        (timedelta(0), "PT0S"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        ([Colour.RED, Word.YES], '["red", "yes"]'),
        (Word.YES, "yes"),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        (Order(total=Decimal(1), extra=[1]), '{"total": "1", "lines": [], "extra": [1]}'),  # type: ignore[call-arg]
        (OrderedDict(a=1), '{"a": 1}'),
    ],
)
def test_values_within_a_text(value: Any, text: str) -> None:
    assert as_text(value) == text
    assert render("<{{v}}>", {"v": value}) == f"<{text}>"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), pd.DataFrame({"a": [1]}), [lambda: 1], int, 10**5000, [10**5000], nested(101), nested(10**5), circle()],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_text_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TemplateError, match=r"^\{\{trigger\.v\}\}: "):
        render("a {{trigger.v}}", {"trigger": {"v": value}})
    assert render("{{trigger.v}}", {"trigger": {"v": value}}) is value


def test_texts_and_configs_have_a_limit() -> None:
    with pytest.raises(TemplateError, match="becomes longer than 50,000,000 characters"):
        render("{{v}}" * 20, {"v": "x" * 4_000_000})
    with pytest.raises(TemplateError, match="nested more than 100 levels"):
        render(nested(10**6), {})
    ((pointer, error),) = references(nested(101))
    assert pointer == "/0" * 100
    assert isinstance(error, TemplateError)
    assert render(nested(100), {}) == nested(100)


def test_references_with_their_places() -> None:
    config = {"a/b~c": ["{{trigger.x}} {{steps.new-order.output}}", 5], "bad": "{{1 +}}", "none": r"\{{x}}"}
    found = list(references(config))
    assert [(where, ref.path) for where, ref in found if isinstance(ref, Reference)] == [
        ("/a~1b~0c/0", ("trigger", "x")),
        ("/a~1b~0c/0", ("steps", "new-order", "output")),
    ]
    assert [ref.node for _, ref in found if isinstance(ref, Reference)] == [None, "new-order"]
    assert [where for where, ref in found if isinstance(ref, TemplateError)] == ["/bad"]


# --- properties -------------------------------------------------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
BRACES = st.lists(st.sampled_from(["{{", "}}", "{", "}", "\\", '"', "'", "a", ".b", "[0]", " ", "{{a}}", "\n"])).map(
    "".join
)
TEXTS = st.text() | BRACES


@given(st.lists(st.text() | BRACES | st.integers(-3, 9), max_size=6), JSON)
def test_the_value_at_a_path_is_that_very_value(parts: list[str | int], value: Any) -> None:
    data = value
    for part in reversed(parts):
        data = {part: data} if isinstance(part, str) else [data] * 10
    roots = {"trigger": data}
    text = write_path(("trigger", *parts))
    assert parse_path(text).path == ("trigger", *parts)
    assert render("{{" + text + "}}", roots, strict=True) is value
    assert render(["{{ " + text + " }}"], roots, strict=True)[0] is value


@given(TEXTS)
def test_no_template_in_data_is_rendered(text: str) -> None:
    roots = {"trigger": {"v": text, "secret": "s"}, "v": {"{{trigger.secret}}": "{{trigger.secret}}"}}
    assert render("{{trigger.v}}", roots) == text
    assert render("<{{trigger.v}}>{{trigger.v}}", roots) == f"<{text}>{text}"
    assert json.loads(render(" {{v}}", roots)) == roots["v"]


@given(TEXTS)
def test_a_text_without_braces_comes_back(text: str) -> None:
    text = text.replace("{{", "{")
    while "{{" in text:
        text = text.replace("{{", "{")
    assert render(text, {}, strict=True) == text
    assert Template(text).references == ()


@given(TEXTS)
def test_an_escaped_text_comes_back(text: str) -> None:
    assert render(escape(text), {}, strict=True) == text


@given(TEXTS)
def test_every_text_is_a_template_or_an_error(text: str) -> None:
    try:
        template = parse_template(text)
    except TemplateError:
        return
    assert all(parse_path(reference.text) == reference for reference in template.references)


ATTACKS: dict[str, Callable[[int], str]] = {
    "open": lambda n: "{{" * n,
    "paths": lambda n: "{{a.b}} " * (n // 4),
    "slashes": lambda n: "\\" * n,
    "slashes-open": lambda n: "\\" * n + "{{a}}",
    "escaped": lambda n: "\\{{" * n,
    "quotes": lambda n: '{{"' * n,
    "brackets": lambda n: "{{a['" * n,
    "slashes-in-quotes": lambda n: "{{a['" + "\\" * n,
    "spaces": lambda n: "{{" + " " * n,
    "spaces-after": lambda n: "{{a" + " " * n,
    "long-path": lambda n: "{{a" + ".a" * n + "}}",
    "long-path-open": lambda n: "{{a" + ".a" * n,
    "long-index-open": lambda n: "{{a" + "[0]" * n,
    "long-word": lambda n: "{{" + "a" * n + "!}}",
    "close": lambda n: "}}" * n,
}


def spent(work: Callable[[str], object], text: str) -> float:
    """Seconds of the processor, the least of three."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(TemplateError):
            work(text)
        seconds.append(time.process_time() - began)
    return min(seconds)


@pytest.mark.parametrize("work", [Template, escape], ids=lambda work: work.__name__)
@pytest.mark.parametrize("name", ATTACKS)
def test_reading_takes_time_linear_in_the_length(name: str, work: Callable[[str], object]) -> None:
    few, many = (spent(work, ATTACKS[name](length)) for length in (10_000, 100_000))
    # ten times the length; a hundred times the time would be quadratic
    assert many < 40 * few + 0.02, f"{few:.4f} s, {many:.4f} s"
