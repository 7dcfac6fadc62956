from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry

from dataflows_sdk.errors import DefinitionError, InvalidInputSchemaError
from dataflows_sdk.triggers.inputs import InputProblem, InputSchema, check_input, check_schema

from ..conftest import examples

ORDER: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "email": {"type": "string", "format": "email"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1},
        "a/b~c": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["x"]}]},
    },
    "required": ["id"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"sku": {"pattern": "^[A-Z]{2}-\\d+$"}}, "required": ["sku"]}},
}


def pointers(schema: Any, data: Any) -> list[str]:
    return [problem.pointer for problem in check_input(schema, data)]


def test_what_fits() -> None:
    assert check_input(ORDER, {"id": 7, "email": "a@b.example", "lines": [{"sku": "AB-12"}], "a/b~c": "x"}) == []
    assert check_input(True, object()) == []


def test_every_problem_has_its_pointer() -> None:
    data = {"id": "x", "email": "nobody", "lines": [{"sku": "AB-12"}, {"sku": "ab"}, {}], "a/b~c": {}, "zz": 1}
    found = dict(check_input(ORDER, data))
    assert found == {
        "": "no other properties are allowed, and there is 'zz'",
        "/a~1b~0c": "{} is not valid under any of the given schemas; the closest: {} is not of type 'string'",
        "/email": "'nobody' is not a 'email'",
        "/id": "'x' is not of type 'integer'",
        "/lines/1/sku": "'ab' does not match '^[A-Z]{2}-\\\\d+$'",
        "/lines/2": "'sku' is a required property",
    }
    assert check_input(ORDER, [1]) == [InputProblem("", "[1] is not of type 'object'")]
    assert pointers(False, 1) == [""]


def test_problems_are_bounded() -> None:
    found = check_input({"items": {"type": "string"}}, [1] * 10_000)
    assert len(found) == 100
    assert len(check_input({"type": "integer"}, "x" * 1_000_000)[0].message) < 400


# --- regular expressions ----------------------------------------------------------------------------------

BOMB = "^(a+)+$"
TEXT = "a" * 5_000 + "!"


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"pattern": BOMB}, TEXT),
        ({"properties": {"x": {"items": {"pattern": BOMB}}}}, {"x": [TEXT]}),
        ({"patternProperties": {BOMB: False}, "minProperties": 2}, {TEXT: 1}),
        ({"patternProperties": {BOMB: {}}, "additionalProperties": False}, {TEXT: 1}),
        ({"patternProperties": {BOMB: {}}, "additionalProperties": {"type": "string"}}, {TEXT: 1}),
        ({"propertyNames": {"pattern": BOMB}}, {TEXT: 1}),
        ({"$ref": "#/hidden/x", "hidden": {"x": {"pattern": BOMB}}}, TEXT),
        (
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$defs": {"a": {"pattern": BOMB}},
                "$ref": "#/$defs/a",
            },
            TEXT,
        ),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": {"$ref": "#/x"}, "x": {"pattern": BOMB}},
            [TEXT],
        ),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "pattern": BOMB, "not": {"$ref": "#"}}, TEXT),
        ({"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", "pattern": BOMB}}}, TEXT),
        ({"anyOf": [{"if": {"pattern": BOMB}, "then": True, "else": False}]}, TEXT),
    ],
)
def test_a_regex_bomb_does_not_go_off(schema: Any, data: Any) -> None:
    """Python's own expressions would take longer than the universe is old."""
    began = time.monotonic()
    assert check_input(schema, data) != []
    assert time.monotonic() - began < 5


def test_what_the_bombs_are_made_of_hangs_python() -> None:
    """So that the test above means something: doubling with every character."""
    took = []
    for length in (17, 23):
        began = time.process_time()
        assert re.search(BOMB, "a" * length + "!") is None
        took.append(time.process_time() - began)
    assert took[1] > 8 * took[0]


def test_a_pattern_that_is_slow_in_re2_is_given_up() -> None:
    schema = InputSchema({"items": {"pattern": "(.{0,100}){10}x"}})
    assert schema.check(["ab" * 10]) == [InputProblem("/0", "'abababababababababab' does not match '(.{0,100}){10}x'")]
    began = time.monotonic()
    found = schema.check(["ab" * 5_000] * 100)
    assert time.monotonic() - began < 20
    assert "takes too long" in found[0].message
    # the next one begins anew
    assert schema.check(["x"]) == []


def test_a_schema_that_doubles_itself_is_given_up() -> None:
    bomb = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}
    began = time.monotonic()
    assert "takes too long" in check_input({"$defs": bomb, "$ref": "#/$defs/d0"}, 1)[0].message
    assert time.monotonic() - began < 60


def test_what_has_no_end() -> None:
    assert "nested too deeply" in check_input({"$ref": "#"}, 1)[0].message
    data: Any = {}
    for _ in range(20_000):
        data = {"next": data}
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}}
    assert "nested too deeply" in check_input(schema, data)[0].message
    deep: Any = {}
    for _ in range(20_000):
        deep = {"not": deep}
    assert "nested too deeply" in check_schema(deep)[0].message


def test_many_items_that_differ() -> None:
    """Comparing each with each would take hours."""
    items = [{"n": number} for number in range(60_000)]
    assert check_input({"uniqueItems": True}, items) == []
    assert "items 0 and 60000" in check_input({"uniqueItems": True}, [*items, {"n": 0.0}])[0].message


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, True], True),
        ([0, False], True),
        ([1, 1.0], False),
        (["1", 1], True),
        ([None, "None"], True),
        ([[], {}], True),
        ([[1], [True]], True),
        ([{"a": [1]}, {"a": [1]}], False),
        ([[], []], False),
        ([], True),
    ],
)
def test_unique_items(items: list[Any], unique: bool) -> None:
    assert (check_input({"uniqueItems": True}, items) == []) is unique
    assert check_input({"uniqueItems": False}, items) == []


def test_huge_numbers_and_broken_texts() -> None:
    assert "too large" in check_input({"multipleOf": 0.1}, 10**400)[0].message
    assert pointers({"pattern": "^a$"}, "\ud800") == [""]
    assert pointers({"patternProperties": {"^a$": False}}, {"\ud800": 1}) == []


# --- schemas ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "pointer", "says"),
    [
        (None, "", "a JSON Schema is a mapping"),
        ([], "", "not list"),
        ({"type": "strng"}, "/type", "'strng'"),
        ({"properties": 5}, "/properties", "5 is not of type 'object'"),
        ({"required": "id"}, "/required", "not of type 'array'"),
        ({"properties": {"a/b": {"minimum": "5"}}}, "/properties/a~1b/minimum", "'5'"),
        ({"pattern": "("}, "/pattern", "missing )"),
        ({"allOf": [{"pattern": "(?=a)"}]}, "/allOf/0/pattern", "no regular expression of RE2"),
        ({"pattern": "(a)\\1"}, "/pattern", "invalid escape"),
        ({"pattern": "a" * 1_001}, "/pattern", "longer than 1000"),
        ({"pattern": "[\\pL\\pN]{1,300}"}, "/pattern", "too large"),
        ({"patternProperties": {"a/(": {}}}, "/patternProperties/a~1(", "missing )"),
        ({"$ref": "#/$defs/nope"}, "/$ref", "leads nowhere"),
        ({"$ref": "#nope"}, "/$ref", "leads nowhere"),
        ({"$dynamicRef": "#nope"}, "/$dynamicRef", "leads nowhere"),
        ({"items": {"$ref": "http://127.0.0.1:9/x"}}, "/items/$ref", "other places are never asked"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "other places are never asked"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "/$ref", "other places are never asked"),
        ({"$id": "http://127.0.0.1:9/a", "$ref": "b"}, "/$ref", "other places are never asked"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema", "2020-12"),
        ({"$schema": 5}, "/$schema", "not '5'"),
        ({"$defs": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}, "/$defs/a/$schema", "dialect"),
        ({"unevaluatedProperties": False, "allOf": [{"patternProperties": {}}]}, "", "additionalProperties"),
        ({"$ref": "#/x/y", "x": {"y": {"pattern": "("}}}, "/$ref/pattern", "missing )"),
    ],
)
def test_schemas_that_are_none(schema: Any, pointer: str, says: str) -> None:
    found = check_schema(schema)
    assert [problem.pointer for problem in found] == [pointer]
    assert says in found[0].message
    with pytest.raises(InvalidInputSchemaError, match=re.escape(says)) as caught:
        check_input(schema, {})
    assert caught.value.problems == found
    assert isinstance(caught.value, DefinitionError)


def test_every_fault_of_a_schema_is_found_at_once() -> None:
    faults = {"properties": {"a": {"pattern": "("}, "b": {"$ref": "#x"}, "c": {"not": {"pattern": "*"}}}}
    assert {problem.pointer for problem in check_schema(faults)} == {
        "/properties/a/pattern",
        "/properties/b/$ref",
        "/properties/c/not/pattern",
    }


@pytest.mark.parametrize(
    "schema",
    [
        ORDER,
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}, "$schema": {}}},
        {"$ref": "#foo", "$defs": {"a": {"$anchor": "foo"}}},
        {"$id": "https://x.example/z", "$defs": {"a": {"$id": "b", "type": "string"}}, "$ref": "b"},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "items": [{"$ref": "#/definitions/a"}],
        },
        {"enum": [{"pattern": "("}], "default": {"$ref": "#nope"}},
        {"unevaluatedProperties": False, "properties": {"a": {}}},
    ],
)
def test_schemas_that_are_sound(schema: Any) -> None:
    assert check_schema(schema) == []


def test_other_keywords_that_rest_on_the_changed_ones() -> None:
    assert pointers({"unevaluatedProperties": False, "allOf": [{"properties": {"a": {}}}]}, {"a": 1, "b": 1}) == [""]
    assert pointers(
        {"patternProperties": {"^x": {"type": "string"}}, "additionalProperties": {"type": "null"}}, {"xa": 1, "y": 1}
    ) == [
        "/xa",
        "/y",
    ]
    assert pointers({"properties": {"a": {}}, "additionalProperties": True}, {"b": 1}) == []


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (
            "date-time",
            ["2026-01-01T00:00:00Z", "2026-01-01t00:00:00.123456789+05:45"],
            ["2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "x"],
        ),
        ("date", ["2026-02-28"], ["2026-02-29", "20260228", "2026-W01-1"]),
        ("time", ["10:00:00Z"], ["10:00:00", "25:00:00Z", "10:00Z"]),
        (
            "uuid",
            ["0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77"],
            ["0190d8f56c2e7b3a9f103c5d2e1a4b77", "x", "{0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b7}"],
        ),
        ("email", ["a@b"], ["a", "a b@c", "@"]),
        ("uri", ["https://a.example/b?c#d", "urn:x:y"], ["a", "http://a b", "//a"]),
        ("ipv4", ["127.0.0.1"], ["127.1", "256.0.0.1"]),
        ("ipv6", ["::1"], ["1", "::g"]),
        ("color", ["anything"], []),
    ],
)
def test_formats(format: str, good: list[str], bad: list[str]) -> None:
    schema = InputSchema({"format": format})
    assert [text for text in good if schema.check(text)] == []
    assert [text for text in bad if not schema.check(text)] == []
    assert schema.check(5) == []


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5])
    | st.sampled_from(["a", "ab", "x1", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "ab", "x1"]), inner, max_size=3),
    max_leaves=10,
)
patterns = st.sampled_from(["^a", "b$", "[0-9]", "^$"])
schemas = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "object", "array", "null"])})
    | st.fixed_dictionaries({"pattern": patterns})
    | st.fixed_dictionaries({"uniqueItems": st.booleans()}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "ab"]), inner, max_size=2),
            "patternProperties": st.dictionaries(patterns, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=8,
)


@given(schema=schemas, data=json_values, old=st.booleans())
@settings(max_examples=examples(100, 300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_says_what_jsonschema_says(schema: Any, data: Any, old: bool) -> None:
    if isinstance(schema, dict) and old:
        schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    reference = Draft7Validator if old and isinstance(schema, dict) else Draft202012Validator
    expected = reference(schema, registry=Registry()).is_valid(data)
    assert (check_input(schema, data) == []) is expected
