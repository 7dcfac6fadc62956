"""The page of node types is what the models say, and the JSON Schema accepts what the models accept."""

from __future__ import annotations

import runpy
from typing import Any

import jsonschema
import pytest

import dataflows_sdk as df

from .documents import ROOT


def test_the_page_is_made_of_the_models() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_nodes.py"))
    assert made["PAGE"].read_text() == made["page"](), "run: python docs/generate_nodes.py"


def test_the_schema_takes_what_the_builder_makes() -> None:
    flow = df.flow("x").on_schedule("0 9 * * *").http("call", "https://example.com/{{trigger.scheduled_at}}", timeout=5)
    flow = flow.loop(
        "each",
        "{{steps.call.output.body}}",
        lambda part: part.delay("d", "{{loop.item}}"),
        max_iterations="{{env.MAX}}",
    )
    schema = df.document_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(flow.to_json(), schema)


@pytest.mark.parametrize(
    "node",
    [
        {"id": "a", "type": "action_htpp"},
        {"id": "a", "type": "http", "config": {"url": 7}},
        {"type": "http", "config": {"url": "https://x"}},
        {"id": "a", "type": "loop", "config": {"items": [], "mode": "sideways"}},
        {"id": "a", "type": "delay", "config": {"duration": "1s"}, "on_error": "goto"},
    ],
)
def test_the_schema_refuses(node: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"nodes": [node], "edges": []}, df.document_schema())
