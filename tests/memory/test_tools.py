"""Tools: their schemas, what models give them, and what models are told."""

from __future__ import annotations

import enum
import json
import math
import re
import threading
import time
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import dataflows_sdk as df
from dataflows_memory.tools import Parameters, Tool, ToolBox, result_text, strict_schema, tool_name
from dataflows_sdk.errors import ToolArgumentError, ToolError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Filter(BaseModel):
    field: str
    values: list[int] = []


def search(
    question: str,
    k: int = 5,
    since: date | None = None,
    colour: Colour = Colour.RED,
    mode: Literal["fast", "exact"] = "fast",
    where: Filter | None = None,
    model_name: str = "x",
) -> Any:
    """Find what was remembered
    about a question.

    More that only people read.

    Args:
        question: in words
            of any language.
        k, mode: how many, and how.
        since (date): not before.

    Returns:
        Hits.
    """
    return {"question": question, "k": k, "since": since, "colour": colour, "where": where, "model": model_name}


def check_openai_strict(schema: dict[str, Any]) -> None:
    """What OpenAI asks of a strict schema, as far as its documentation says."""
    if "$ref" in schema:
        assert set(schema) == {"$ref"}
        return
    assert not set(schema) & {"default", "oneOf", "allOf", "not", "title", "patternProperties"}
    assert {"type", "anyOf", "enum"} & set(schema)
    kinds = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]
    if "object" in kinds:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        for each in schema["properties"].values():
            check_openai_strict(each)
    if "array" in kinds:
        check_openai_strict(schema["items"])
    for each in (*schema.get("anyOf", ()), *schema.get("$defs", {}).values()):
        check_openai_strict(each)


def test_a_function_becomes_a_tool() -> None:
    tool = Tool.of(search, dangerous=True, wait=3)
    assert tool.name == "search"
    assert tool.description == "Find what was remembered about a question."
    properties = tool.parameters.schema["properties"]
    assert properties["question"] == {"type": "string", "description": "in words of any language."}
    assert properties["k"]["description"] == properties["mode"]["description"] == "how many, and how."
    assert properties["k"]["default"] == 5
    assert tool.parameters.schema["required"] == ["question"]
    assert "title" not in json.dumps(tool.parameters.schema)
    chat, responses, mcp = tool.openai(), tool.responses(), tool.mcp()
    assert chat["type"] == responses["type"] == "function"
    assert chat["function"]["strict"] is responses["strict"] is True
    assert chat["function"]["parameters"] == responses["parameters"]
    check_openai_strict(responses["parameters"])
    assert mcp["inputSchema"]["properties"]["question"]["type"] == "string"
    assert mcp["annotations"] == {"destructiveHint": True}
    for schema in (chat["function"]["parameters"], mcp["inputSchema"]):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_what_a_strict_model_gives_fits() -> None:
    tool = Tool.of(search)
    strict = tool.responses()["parameters"]
    given_ = {
        "question": "q",
        "k": None,
        "since": None,
        "colour": None,
        "mode": None,
        "where": None,
        "model_name": None,
    }
    jsonschema.validate(given_, strict)
    made = tool.call(json.dumps(given_))
    assert made["k"] == 5
    assert made["colour"] is Colour.RED
    full = {"question": "q", "k": 2, "since": "2026-01-31", "colour": "blue", "mode": "exact",
            "where": {"field": "f", "values": [1]}, "model_name": "y"}  # fmt: skip
    jsonschema.validate(full, strict)
    made = tool.call(full)
    assert made["since"] == date(2026, 1, 31)
    assert made["where"] == Filter(field="f", values=[1])


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "argument 'question' is missing"),
        ("", "argument 'question' is missing"),
        (None, "argument 'question' is missing"),
        ({"question": "q", "kk": 3}, "there is no argument 'kk'"),
        ({"question": "q", "sinse": 3}, "did you mean 'since'?"),
        ({"question": 7}, "argument 'question': Input should be a valid string, not 7"),
        ({"question": "q", "k": "five"}, "argument 'k': Input should be a valid integer"),
        ({"question": "q", "k": 1.5}, "argument 'k'"),
        ({"question": "q", "k": [1]}, "not a list"),
        ({"question": "q", "mode": "slow"}, "'fast' or 'exact'"),
        ({"question": "q", "colour": "green"}, "'red' or 'blue'"),
        ({"question": "q", "since": "yesterday"}, "argument 'since'"),
        ({"question": "q", "where": {"values": [1]}}, "argument 'where.field' is missing"),
        ({"question": "q", "where": {"field": "f", "values": ["x"]}}, "argument 'where.values.0'"),
        ([1], "the arguments are an object, not a list"),
        ("[1]", "the arguments are an object, not a list"),
        ("hello", "the arguments are no JSON"),
        ('{"question": ', "the arguments are no JSON"),
        ("[" * 100_000, "the arguments are no JSON"),
        ("7", "the arguments are an object, not 7"),
        ({1: 2}, "1 is none"),
        ('"x"' * 400_000, "more than 1,000,000 characters"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(given_: Any, said: str) -> None:
    tool = Tool.of(search)
    with pytest.raises(ToolArgumentError, match=re.escape(said)) as caught:
        tool.call(given_)
    assert caught.value.problems
    assert "It takes: question, k (optional)" in str(caught.value)
    assert len(str(caught.value)) < 2_000
    told = tool.tell(given_)
    assert told.error
    assert said in told.text


@pytest.mark.parametrize(
    "given_",
    [
        '{"question": "q", "where": "{\\"field\\": \\"f\\"}"}',
        json.dumps(json.dumps({"question": "q", "where": {"field": "f"}})),
        {"question": "q", "where": '{"field": "f", "values": []}'},
    ],
)
def test_an_object_as_json_text_is_read(given_: Any) -> None:
    assert Tool.of(search).call(given_)["where"].field == "f"


def test_many_faults_are_not_all_listed() -> None:
    with pytest.raises(ToolArgumentError, match="and 92 more"):
        Tool.of(search).call({f"x{at}": 1 for at in range(99)})


# --- where the parameters come from -----------------------------------------------------------------------


def test_a_model_is_given_whole() -> None:
    parameters = Parameters.of_model(Filter)
    assert parameters.arguments('{"field": "f"}') == {"input": Filter(field="f")}
    with pytest.raises(ToolArgumentError, match=r"'field' is missing.*It takes: field, values \(optional\)"):
        parameters.arguments({})


def test_a_type_that_is_no_object_is_wrapped() -> None:
    parameters = Parameters.of_type(list[Filter])
    assert parameters.schema["required"] == ["input"]
    assert parameters.arguments({"input": [{"field": "f"}]}) == {"input": [Filter(field="f")]}
    assert strict_schema(parameters.schema) is not None
    for wrong, said in (({}, "'input' is missing"), ({"inputs": []}, "did you mean 'input'"), ({"input": 3}, "list")):
        with pytest.raises(ToolArgumentError, match=said):
            parameters.arguments(wrong)


@dataclass
class Order:
    id: int
    amount: Decimal = Decimal(0)


def test_workflows() -> None:
    @df.workflow("tools-typed")
    def typed(event: df.Event[Order], step: Any) -> None: ...

    @df.workflow("tools-scalar")
    def scalar(event: df.Event[int], step: Any) -> None: ...

    @df.workflow("tools-free")
    def free(event: Any, step: Any) -> None: ...

    order = Parameters.of_workflow(typed)
    assert set(order.schema["properties"]) == {"id", "amount"}
    assert order.arguments({"id": 7}) == {"input": {"id": 7}}
    with pytest.raises(ToolArgumentError, match="argument 'id'"):
        order.arguments({"id": "seven"})
    assert Parameters.of_workflow(scalar).arguments({"input": 7}) == {"input": 7}
    assert Parameters.of_workflow(free).arguments({"input": [1]}) == {"input": [1]}
    assert Parameters.of_workflow(free).arguments({}) == {"input": None}
    with pytest.raises(ToolArgumentError, match="no argument 'other'"):
        Parameters.of_workflow(free).arguments({"other": 1})


def test_a_schema_of_a_manual_trigger() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1}},
        "required": ["n"],
        "additionalProperties": False,
    }
    parameters = Parameters.of_schema(schema)
    assert parameters.arguments({"n": 3}) == {"input": {"n": 3}}
    with pytest.raises(ToolArgumentError, match="/n"):
        parameters.arguments({"n": 0})
    with pytest.raises(ToolError, match="are an object"):
        Parameters.of_schema({"type": "array"})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}},
        {"type": "object"},
        {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "array", "items": {"type": "string"}},
    ],
)
def test_what_cannot_be_strict_is_not(schema: dict[str, Any]) -> None:
    assert strict_schema(schema) is None


def test_a_loose_tool_says_so() -> None:
    def free(data: dict[str, Any], anything=None) -> Any:  # type: ignore[no-untyped-def]
        return data

    shape = Tool.of(free).responses()
    assert shape["strict"] is False
    assert shape["parameters"]["properties"]["data"]["type"] == "object"
    assert Tool.of(free).call({"data": {"a": 1}}) == {"a": 1}


def test_annotated_fields_and_no_parameters() -> None:
    def tool(n: Annotated[int, Field(ge=1, le=9, description="a digit")]) -> int:
        return n

    assert Tool.of(tool).parameters.schema["properties"]["n"] == {
        "type": "integer", "minimum": 1, "maximum": 9, "description": "a digit",
    }  # fmt: skip
    with pytest.raises(ToolArgumentError, match="less than or equal to 9"):
        Tool.of(tool).call({"n": 10})

    def nothing() -> str:
        return "done"

    shape = Tool.of(nothing).responses()
    assert shape["strict"] is True
    assert shape["parameters"]["properties"] == {}
    assert Tool.of(nothing).tell("{}").text == '"done"'
    with pytest.raises(ToolArgumentError, match="It takes none"):
        Tool.of(nothing).call({"a": 1})


def _starred(*values: int) -> None: ...
def _double(**values: int) -> None: ...
def _positional(a: int, /) -> None: ...
def _odd(a: threading.Thread) -> None: ...
def _unknown_name(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [_starred, _double, _positional, _odd, _unknown_name, 7])
def test_functions_that_can_be_no_tool(function: Any) -> None:
    with pytest.raises(ToolError):
        Tool.of(function)


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("copy-orders", "copy-orders"),
        ("copy orders!", "copy_orders"),
        ("größe.m2", "gr_e_m2"),
        ("<lambda>", "lambda"),
        ("x" * 64, "x" * 64),
    ],
)
def test_names_that_models_can_call(name: str, wanted: str) -> None:
    assert tool_name(name) == wanted


def test_long_names_stay_apart() -> None:
    one, other = tool_name("a" * 100 + "1"), tool_name("a" * 100 + "2")
    assert one != other
    assert len(one) == len(other) == 64


@pytest.mark.parametrize("name", ["", "…", 7, None, "ประเทศ"])
def test_names_of_which_nothing_is_left(name: Any) -> None:
    with pytest.raises(ToolError):
        tool_name(name)


def test_two_tools_of_one_name_are_refused() -> None:
    one, other = Tool.of(search, name="copy orders"), Tool.of(search, name="copy.orders")
    with pytest.raises(ToolError, match=r"'copy orders' and 'copy\.orders'"):
        ToolBox([one, other])
    box = ToolBox([one])
    assert list(box) == ["copy_orders"]
    assert [each["name"] for each in box.mcp()] == [each["name"] for each in box.responses()] == ["copy_orders"]
    assert box.openai()[0]["function"]["name"] == "copy_orders"
    assert "did you mean copy_orders?" in box.tell("copy_order").text
    assert "there are: copy_orders" in box.tell("zzz").text
    assert not box.tell("copy_orders", {"question": "q"}).error


@pytest.mark.parametrize("wait", [0, -1, True, "5", 10_000, math.nan])
def test_waits_that_cannot_be(wait: Any) -> None:
    with pytest.raises(ToolError, match="wait="):
        Tool.of(search, wait=wait)


# --- calls ------------------------------------------------------------------------------------------------


def test_a_tool_that_hangs_is_left() -> None:
    go_on = threading.Event()

    def hangs() -> None:
        go_on.wait(20)

    begun = time.monotonic()
    told = Tool.of(hangs, wait=0.1).tell()
    go_on.set()
    assert time.monotonic() - begun < 5
    assert told.error
    assert "did not answer within 100 ms" in told.text


def test_a_tool_that_raises_is_told() -> None:
    def breaks() -> None:
        raise KeyError("x" * 10_000)

    told = Tool.of(breaks).tell()
    assert told.error
    assert told.text.startswith("KeyError")
    assert len(told.text) < 4_100


def test_a_coroutine_is_awaited() -> None:
    async def later(n: int) -> int:
        return n + 1

    assert Tool.of(later).tell({"n": 1}).text == "2"


# --- results ----------------------------------------------------------------------------------------------


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


_ENDLESS: list[Any] = []
_ENDLESS.append(_ENDLESS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ("é", '"é"'),
        (Decimal("1.50"), '"1.50"'),
        (datetime(2026, 1, 1), '"2026-01-01T00:00:00"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Filter(field="f"), '{"field":"f","values":[]}'),
        (Order(1), '{"id":1,"amount":"0"}'),
        ({Colour.RED: {1}}, '{"red":[1]}'),
        (Odd(), '"<odd>"'),
        ([math.nan, math.inf], '["NaN","Infinity"]'),
        (b"\xff", '"_w=="'),
    ],
)
def test_values_as_json(value: Any, text: str) -> None:
    assert result_text(value) == text


@pytest.mark.parametrize("value", [_ENDLESS, "\ud800", {"a": math.nan}])
def test_values_that_are_hard_to_write(value: Any) -> None:
    json.loads(result_text(value))


def test_long_results_say_what_is_missing() -> None:
    rows = [{"id": at, "text": "x" * 50} for at in range(10_000)]
    text = result_text({"rows": rows, "total": 10_000}, 5_000)
    assert len(text) <= 5_000
    found = json.loads(text)
    assert "all of it has" in found["cut"]
    assert found["result"]["total"] == 10_000
    assert found["result"]["rows"][-1].endswith("more of 10,000)")
    long = json.loads(result_text("y" * 100_000, 2_000))
    assert long["result"].endswith("more characters)")


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=50), inner, max_size=20),
    max_leaves=60,
)


@given(_json_values, st.integers(0, 3_000))
def test_a_result_is_json_and_no_longer_than_it_may(value: Any, limit: int) -> None:
    text = result_text(value, limit)
    json.loads(text)
    assert len(text) <= max(limit, 200)
