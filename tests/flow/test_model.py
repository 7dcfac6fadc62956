"""The document and its model."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.model import (
    ContextInput,
    FlowSpec,
    NodeInput,
    ValueInput,
    parse_input,
    parse_join,
)

SEED_1: dict[str, Any] = {
    "version": 1,
    "nodes": [
        {
            "id": "trigger_1",
            "type": "trigger_record",
            "config": {
                "object": "orders",
                "event": "created",
                "conditions": [{"field": "amount", "op": "gt", "value": 100}],
            },
            "on_error": "stop",
        },
        {
            "id": "action_1",
            "type": "action_integration",
            "config": {
                "connection_id": "conn_slack_123",
                "action_key": "send_message",
                "params": {"channel": "#sales", "text": "New order: {{trigger.record.name}}"},
            },
            "retry": {"max_retries": 3, "backoff": "exponential"},
            "on_error": "continue",
            "timeout_seconds": 30,
        },
    ],
    "edges": [{"id": "edge_1", "source": "trigger_1", "target": "action_1"}],
}

REACT_FLOW: dict[str, Any] = {
    "version": 1,
    "nodes": [
        {
            "id": "a",
            "type": "python",
            "config": {},
            "position": {"x": 1.5, "y": -2},
            "data": {"label": "A", "nested": {"k": [1, None]}},
            "width": 150,
            "selected": False,
            "measured": {"width": 150, "height": 40},
            "retry": {"max_retries": 2, "initial_delay_ms": 250, "x-custom": 1},
        },
        {"id": "b", "type": "python", "config": {}, "data": None, "join": "2-of-3"},
    ],
    "edges": [
        {
            "id": "e",
            "source": "a",
            "target": "b",
            "sourceHandle": "out",
            "targetHandle": None,
            "label": "then",
            "animated": True,
        }
    ],
    "viewport": {"x": 0, "y": 0, "zoom": 1.25},
}


@pytest.mark.parametrize("document", [SEED_1, REACT_FLOW], ids=["seed", "react-flow"])
def test_document_comes_back_as_it_went_in(document: dict[str, Any]) -> None:
    assert FlowSpec.from_document(document).to_document() == document
    assert json.loads(df.Flow.from_json(json.dumps(document)).to_json_text()) == document


def test_version_defaults_to_one_and_another_is_refused() -> None:
    assert FlowSpec.from_document({"nodes": []}).version == 1
    with pytest.raises(FlowValidationError, match=r"version: input should be 1, got 7"):
        FlowSpec.from_document({"version": 7})


def test_every_fault_of_the_shape_is_listed_with_a_pointer() -> None:
    document = {
        "version": 2,
        "nodes": [
            {"id": "a"},
            {"id": "b", "type": "python", "timeout_seconds": "soon"},
            {"id": "c", "type": "python", "retry": {"backoff": "wild", "max_retries": -1}},
        ],
        "edges": [{"source": "a"}],
    }
    with pytest.raises(FlowValidationError) as caught:
        df.Flow.from_json(document)
    found = {(problem.path, problem.node) for problem in caught.value.problems}
    assert {
        ("/version", None),
        ("/nodes/0/type", "a"),
        ("/nodes/2/retry/backoff", "c"),
        ("/nodes/2/retry/max_retries", "c"),
        ("/edges/0/target", None),
    } <= found
    assert any(path.startswith("/nodes/1/timeout_seconds") for path, _ in found)


@pytest.mark.parametrize("document", ["{", "[]", "7", "null", 7, None, [], {"nodes": {}}, {"nodes": [7]}, b"\xff"])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(FlowValidationError):
        df.Flow.from_json(document)


def test_digest_is_about_meaning() -> None:
    spec = FlowSpec.from_document(REACT_FLOW)
    moved = json.loads(json.dumps(REACT_FLOW))
    moved["nodes"][0]["position"] = {"x": 9, "y": 9}
    moved["edges"][0]["id"] = "other"
    moved["nodes"][0]["description"] = "words"
    assert FlowSpec.from_document(moved).digest() == spec.digest()
    moved["nodes"][0]["config"] = {"n": 1}
    assert FlowSpec.from_document(moved).digest() != spec.digest()


def test_trigger_of_a_run_by_hand() -> None:
    spec = FlowSpec.from_document(SEED_1)
    assert spec.trigger is not None
    assert spec.trigger.id == "trigger_1"
    assert [node.id for node in spec.triggers] == ["trigger_1"]
    assert FlowSpec().trigger is None
    assert spec.node("action_1").timeout_seconds == 30
    with pytest.raises(KeyError):
        spec.node("nope")


@pytest.mark.parametrize(
    ("written", "n", "of", "shown"),
    [
        ("all", None, None, "all"),
        ("any", 1, None, "any"),
        (2, 2, None, "any 2"),
        ("2-of-3", 2, 3, "2-of-3"),
        ("2 of 3", 2, 3, "2-of-3"),
        ({"n": 2}, 2, None, "any 2"),
        ({"n": 2, "of": 3}, 2, 3, "2-of-3"),
    ],
)
def test_joins(written: Any, n: int | None, of: int | None, shown: str) -> None:
    rule = parse_join(written)
    assert (rule.n, rule.of, str(rule)) == (n, of, shown)


@pytest.mark.parametrize("written", ["most", "", True, None, 1.5, {"n": "2"}, {"m": 2}, {"n": True}, [2], "²-of-3"])
def test_bad_joins(written: Any) -> None:
    with pytest.raises(ValueError, match="a join is"):
        parse_join(written)


@pytest.mark.parametrize(
    "source",
    [
        NodeInput("load"),
        NodeInput("load", ("items", 0)),
        ContextInput("event", ("payload",)),
        ValueInput({"a": [1]}),
        ValueInput(None),
    ],
)
def test_inputs_round_trip(source: Any) -> None:
    assert parse_input(json.loads(json.dumps(source.to_json()))) == source


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_parse_input_takes_anything_or_says_value_error(document: Any) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_input(document), NodeInput | ContextInput | ValueInput)
