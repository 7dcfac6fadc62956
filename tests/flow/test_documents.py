"""Documents: the twenty types, what is wrong with them all at once, and the fluent builder that makes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import dataflows_sdk as df
from dataflows_sdk.core.retry import next_delay
from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.diff import compare
from dataflows_sdk.nodes.registry import node_types

SEED_ONE = json.loads("""
{
"version": 1,
"nodes": [
{
"id": "trigger_1", "type": "trigger_record",
"config": { "object": "orders", "event": "created",
"conditions": [{ "field": "amount", "op": "gt", "value": 100 }] },
"on_error": "stop"
},
{
"id": "action_1", "type": "action_integration",
"config": { "connection_id": "conn_slack_123", "action_key": "send_message",
"params": { "channel": "#sales", "text": "New order: {{trigger.record.name}}" } },
"retry": { "max_retries": 3, "backoff": "exponential" },
"on_error": "continue", "timeout_seconds": 30
}
],
"edges": [
{ "id": "edge_1", "source": "trigger_1", "target": "action_1" }
]
}
""")
SEED_TWO = json.loads("""
{
"nodes": [
{"id": "trigger", "type": "trigger_record",
"config": {"event": "created", "object": "orders"}},
{"id": "validate", "type": "code_function",
"config": {"function_slug": "validate-order"}},
{"id": "notify", "type": "action_http",
"config": {"url": "https://hooks.slack.com/...", "method": "POST",
"body": {"text": "New order: {{trigger.record.id}}"}}}
],
"edges": [
{"id": "e1", "source": "trigger", "target": "validate"},
{"id": "e2", "source": "validate", "target": "notify"}
]
}
""")
TEXT = "New order: {{trigger.record.name}}"


def fluent_one() -> df.Flow:
    return (
        df.flow("one")
        .on_record("orders", "created", where=[("amount", "gt", 100)], id="trigger_1")
        .integration(
            "action_1",
            "conn_slack_123",
            "send_message",
            {"channel": "#sales", "text": TEXT},
            retry={"max_retries": 3, "backoff": "exponential"},
            on_error="continue",
            timeout=30,
        )
    )


def fluent_two() -> df.Flow:
    return (
        df.flow("two")
        .on_record("orders")
        .function("validate", "validate-order")
        .http("notify", "https://hooks.slack.com/...", json={"text": "New order: {{trigger.record.id}}"})
    )


@pytest.mark.parametrize(
    ("document", "fluent"), [(SEED_ONE, fluent_one()), (SEED_TWO, fluent_two())], ids=["one", "two"]
)
def test_the_seeds_are_accepted_and_equal_their_fluent_form(document: dict[str, Any], fluent: df.Flow) -> None:
    flow = df.Flow.from_json(document, name=fluent.name)
    assert flow.validate() == []
    assert fluent.validate() == []
    assert flow.spec.digest() == fluent.spec.digest()
    assert not compare(flow.spec, flow.spec)
    kept = flow.to_json()
    assert {key: kept[key] for key in document} == document


def every_type() -> df.Flow:
    return (
        df.flow("every")
        .on_manual({"type": "object"}, id="t1")
        .on_schedule("0 9 * * 1-5", tz="America/New_York", id="t2")
        .on_webhook("github", secret="s3cr3t-of-the-webhook", id="t3")
        .on_record("orders", ["created", "updated"], where=[("amount", "changed")], id="t4")
        .on_integration("conn", "push", id="t5")
        .condition("big", "{{trigger.amount}} > 100")
        .http("call", "https://example.com/{{trigger.id}}", after="big:true")
        .email("mail", "a@example.com", subject="{{trigger.id}}", body="hello")
        .notify("tell", "ops", message="{{steps.call.output.status}}")
        .record("write", "orders", "create", data={"id": "{{trigger.id}}"})
        .integration("act", "conn", "send", {"a": 1})
        .switch("way", "{{trigger.country}}", {"home": "DE", "abroad": "FR"}, default="else", after="big:false")
        .delay("wait", "5m", after="way:home")
        .approval("ask", "{{trigger.id}}?", approvers=["ann"], timeout="7d")
        .fan_out("both", meet="any", after="ask:approved")
        .snippet("js", "return input", input="{{trigger.id}}", after="both")
        .function("fn", "slug", after="both", on_error="goto:oops")
        .loop(
            "each",
            "{{trigger.items}}",
            lambda part: part.notify("one", "ops", message="{{loop.item}}"),
            after=["js", "fn"],
        )
        .subworkflow("child", "other", {"x": "{{steps.each.output.count}}"})
        .handler("oops")
    )


def test_the_builder_has_a_word_for_every_type_and_comes_back_from_json() -> None:
    flow = every_type()
    assert [str(problem) for problem in flow.validate()] == []
    assert {node.type for node in flow.spec.nodes} == set(df.NODE_TYPES)
    assert len(df.NODE_TYPES) == 20
    again = df.Flow.from_json(flow.to_json_text())
    assert again.spec == flow.spec
    assert again.to_json() == flow.to_json()
    assert again.portable


def test_what_react_flow_adds_is_kept() -> None:
    document = {
        "version": 1,
        "name": "drawn",
        "viewport": {"x": 1, "y": 2, "zoom": 1.5},
        "nodes": [
            {
                "id": "a",
                "type": "notification",
                "config": {"channel": "x"},
                "position": {"x": 10, "y": 20},
                "data": {"label": "A", "unknown": [1]},
                "measured": {"width": 5},
                "selected": True,
            }
        ],
        "edges": [],
    }
    flow = df.Flow.from_json(document)
    expected = {**document, "nodes": [{**document["nodes"][0], "type": "action_notification"}]}  # type: ignore[index]
    assert flow.to_json() == expected


def node(id: str, type: str, config: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "config": {} if config is None else config, **more}


def edge(source: str, target: str, handle: str | None = None) -> dict[str, Any]:
    return {"source": source, "target": target} | ({} if handle is None else {"sourceHandle": handle})


MANUAL = node("t", "trigger_manual")
TELL = {"channel": "x"}
#: (name, nodes, edges, (code, node, path)…)
FAULTS: list[tuple[str, list[Any], list[Any], set[tuple[str, str | None, str]]]] = [
    (
        "ids",
        [MANUAL, node("a", "notification", TELL), node("a", "notification", TELL)],
        [edge("t", "a")],
        {("duplicate-name", "a", "/nodes/2/id")},
    ),
    ("types", [MANUAL, node("a", "action_htpp")], [edge("t", "a")], {("unknown-type", "a", "/nodes/1/type")}),
    (
        "edges",
        [MANUAL, node("a", "notification", TELL)],
        [edge("t", "a"), edge("a", "b")],
        {("unknown-reference", "a", "/edges/1/target")},
    ),
    (
        "cycle",
        [MANUAL, node("a", "notification", TELL), node("b", "notification", TELL)],
        [edge("t", "a"), edge("a", "b"), edge("b", "a")],
        {("cycle", "a", "/nodes/1")},
    ),
    (
        "into a trigger",
        [MANUAL, node("a", "notification", TELL)],
        [edge("t", "a"), edge("a", "t")],
        {("edge-into-trigger", "t", "/edges/1"), ("cycle", "t", "/nodes/0")},
    ),
    (
        "config",
        [MANUAL, node("a", "http", {"method": "POST"})],
        [edge("t", "a")],
        {("bad-config", "a", "/nodes/1/config/url")},
    ),
    (
        "goto",
        [MANUAL, node("a", "notification", TELL, on_error="goto:nobody")],
        [edge("t", "a")],
        {("bad-on-error", "a", "/nodes/1/on_error")},
    ),
    (
        "goto back",
        [MANUAL, node("a", "notification", TELL), node("b", "notification", TELL, on_error="goto:a")],
        [edge("t", "a"), edge("a", "b")],
        {("goto-cycle", "a", "/nodes/1")},
    ),
    (
        "reference",
        [MANUAL, node("a", "notification", {"channel": "x", "message": "{{steps.nobody.output}}"})],
        [edge("t", "a")],
        {("unknown-reference", "a", "/nodes/1/config/message")},
    ),
    (
        "later node",
        [
            MANUAL,
            node("a", "notification", {"channel": "x", "message": "{{steps.b.output}}"}),
            node("b", "notification", TELL),
        ],
        [edge("t", "a"), edge("a", "b")],
        {("not-upstream", "a", "/nodes/1/config/message")},
    ),
    (
        "cron",
        [node("t", "trigger_schedule", {"cron": "61 * * * *"})],
        [],
        {("bad-config", "t", "/nodes/0/config/cron")},
    ),
    (
        "zone",
        [node("t", "trigger_schedule", {"cron": "0 9 * * *", "timezone": "Mars/Base"})],
        [],
        {("bad-config", "t", "/nodes/0/config/timezone")},
    ),
    (
        "handle",
        [MANUAL, node("c", "condition", {"expression": "true"}), node("a", "notification", TELL)],
        [edge("t", "c"), edge("c", "a", "perhaps")],
        {("unknown-handle", "a", "/edges/1/sourceHandle")},
    ),
    (
        "expression",
        [MANUAL, node("c", "condition", {"expression": "__import__('os')"}), node("a", "notification", TELL)],
        [edge("t", "c"), edge("c", "a", "true")],
        {("bad-config", "c", "/nodes/1/config/expression")},
    ),
    (
        "template",
        [MANUAL, node("a", "notification", {"channel": "{{ 1 + 2 }}"})],
        [edge("t", "a")],
        {("bad-template", "a", "/nodes/1/config/channel")},
    ),
    (
        "loop over a number",
        [MANUAL, node("l", "loop", {"items": 5}), node("a", "notification", TELL)],
        [edge("t", "l"), edge("l", "a", "body")],
        {("bad-config", "l", "/nodes/1/config/items")},
    ),
    ("loop without a body", [MANUAL, node("l", "loop", {"items": [1]})], [edge("t", "l")], {("loop-body", "l", "")}),
    (
        "into a body",
        [MANUAL, node("l", "loop", {"items": [1]}), node("a", "notification", TELL)],
        [edge("t", "l"), edge("l", "a", "body"), edge("t", "a")],
        {("loop-body", "a", "")},
    ),
    (
        "out of a body",
        [
            MANUAL,
            node("l", "loop", {"items": [1]}),
            node("a", "notification", TELL),
            node("b", "notification", {"channel": "x", "message": "{{steps.a.output}}"}),
        ],
        [edge("t", "l"), edge("l", "a", "body"), edge("l", "b", "done")],
        {("not-upstream", "b", "/nodes/3/config/message")},
    ),
    (
        "delay",
        [MANUAL, node("d", "delay", {"duration": "5 parsecs"})],
        [edge("t", "d")],
        {("bad-config", "d", "/nodes/1/config/duration")},
    ),
    (
        "two delays",
        [MANUAL, node("d", "delay", {"duration": "5m", "until": "2026-01-01"})],
        [edge("t", "d")],
        {("bad-config", "d", "/nodes/1/config")},
    ),
    (
        "verification",
        [node("t", "trigger_webhook", {"verification_type": "hmac"})],
        [],
        {("bad-config", "t", "/nodes/0/config/verification_config")},
    ),
    (
        "schema",
        [node("t", "trigger_manual", {"input_schema": {"type": "objekt"}})],
        [],
        {("bad-config", "t", "/nodes/0/config/input_schema/type")},
    ),
    (
        "record without an id",
        [MANUAL, node("r", "action_record", {"object": "orders", "operation": "delete"})],
        [edge("t", "r")],
        {("bad-config", "r", "/nodes/1/config")},
    ),
    (
        "join",
        [MANUAL, node("a", "notification", TELL), node("j", "notification", TELL, join="3-of-2")],
        [edge("t", "a"), edge("a", "j")],
        {("join-impossible", "j", "/nodes/2/join")},
    ),
    (
        "field",
        [MANUAL, node("a", "notification", {"channel": "x", "mesage": "y"})],
        [edge("t", "a")],
        {("unknown-field", "a", "/nodes/1/config/mesage")},
    ),
]


@pytest.mark.parametrize(
    ("nodes", "edges", "expected"), [each[1:] for each in FAULTS], ids=[each[0] for each in FAULTS]
)
def test_faults_are_found_and_placed(
    nodes: list[Any], edges: list[Any], expected: set[tuple[str, str | None, str]]
) -> None:
    flow = df.Flow.from_json({"version": 1, "name": "faulty", "nodes": nodes, "edges": edges})
    found = {(problem.code, problem.node, problem.path) for problem in flow.validate()}
    assert expected <= found
    assert len(found) <= len(expected) + 1, found  # "unreachable" may follow from another fault


def test_five_faults_list_five() -> None:
    document = {
        "version": 1,
        "name": "five",
        "nodes": [
            node("t", "trigger_schedule", {"cron": "61 * * * *"}),
            node("a", "http", {"url": 7}),
            node("b", "delay", {"duration": "soon"}),
            node("c", "condition", {"expression": "1 +"}),
            node("d", "notification", {}),
        ],
        "edges": [edge("t", "a"), edge("a", "b"), edge("b", "c"), edge("c", "d", "true")],
    }
    with pytest.raises(FlowValidationError) as caught:
        df.Flow.from_json(document).check()
    assert len(caught.value.problems) == 5
    assert [problem.node for problem in caught.value.problems] == ["t", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not JSON"),
        ([], "not a flow"),
        ({"version": 2, "nodes": []}, "version"),
        ({"nodes": [{"type": "http"}]}, "nodes.0.id"),
        ({"nodes": [{"id": "a", "type": "http", "retry": {"backoff": "now"}}]}, "backoff"),
    ],
)
def test_what_is_no_document_is_refused_with_the_place(document: Any, message: str) -> None:
    with pytest.raises(FlowValidationError, match=message):
        df.Flow.from_json(document)


@pytest.mark.parametrize("declared", node_types(), ids=lambda declared: declared.type)
def test_every_example_fits_its_type(declared: Any) -> None:
    from dataflows_sdk.flow.configs import config_faults, unknown_fields

    assert config_faults(declared.type, declared.example) == []
    assert unknown_fields(declared.type, declared.example) == []
    assert declared.summary
    assert declared.output


def test_a_field_with_a_template_is_judged_when_it_is_filled_in() -> None:
    flow = df.flow("x").loop(
        "each", "{{trigger.items}}", lambda part: part.delay("d", "{{loop.item}}"), max_iterations="{{trigger.n}}"
    )
    assert flow.validate() == []


def test_labels_are_handles_where_they_name_one() -> None:
    document = {
        "version": 1,
        "name": "labels",
        "nodes": [MANUAL, node("c", "condition", {"expression": "true"}), node("a", "notification", TELL)],
        "edges": [edge("t", "c"), {"source": "c", "target": "a", "label": "Else"}],
    }
    flow = df.Flow.from_json(document)
    assert flow.validate() == []
    assert flow.handles_used("c") == {"else"}


def test_files_and_pictures(tmp_path: Path) -> None:
    flow = every_type()
    file = flow.to_file(tmp_path / "every.json")
    assert df.Flow.from_file(file).spec == flow.spec
    (tmp_path / "unnamed.json").write_text('{"nodes": []}')
    assert df.Flow.from_file(tmp_path / "unnamed.json").name == "unnamed"
    root = ET.fromstring(flow.svg())
    boxes = root.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(boxes) == len(flow.spec.nodes)
    places = [(box.get("x"), box.get("y")) for box in boxes]
    assert len(set(places)) == len(places)
    assert flow.svg() == every_type().svg()
    assert "<script" not in df.flow("<script>").notify("<script>alert(1)</script>", "x").svg()
    assert df.flow("empty").svg().startswith("<svg")
    knot = df.flow("knot").notify("a", "x", after="b").notify("b", "x", after="a")
    assert knot.svg().count("<rect") == 2


def test_the_times_of_retries_are_as_written() -> None:
    flow = df.Flow.from_json(
        {"name": "r", "nodes": [node("a", "notification", TELL, retry={"max_retries": 3, "backoff": "exponential"})]}
    )
    retry = flow.retry_of("a")
    assert retry is not None
    assert [next_delay(retry, attempt, OSError(), 0.5) for attempt in (1, 2, 3, 4)] == [1, 2, 4, None]
