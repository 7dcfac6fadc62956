"""The JSON Schema of documents, for editors, agents and visual builders; made of the models, so that it cannot lie."""

from __future__ import annotations

from typing import Any

from dataflows_sdk.flow.kinds import ALIASES
from dataflows_sdk.flow.model import EdgeSpec, RetrySpec
from dataflows_sdk.nodes.registry import node_types

_TEMPLATE = {"type": "string", "pattern": r"\{\{", "description": "a template"}


def document_schema() -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of a flow: every registered node type with its config.

    A schema sees one node at a time. What concerns several (unknown edges, cycles, templates that name a later node)
    is found by `Flow.validate`.
    """
    definitions: dict[str, Any] = {}
    variants: list[dict[str, Any]] = []
    for declared in node_types():
        name = "".join(word.title() for word in declared.type.split("_"))
        assert declared.kind.config is not None
        config = declared.kind.config.model_json_schema(
            by_alias=True, ref_template="#/$defs/{model}", mode="validation"
        )
        for inner, schema in config.pop("$defs", {}).items():
            definitions[inner] = _with_templates(schema)
        definitions[f"{name}Config"] = _with_templates(config)
        short = [alias for alias, full in ALIASES.items() if full == declared.type]
        variants.append({"$ref": f"#/$defs/{name}"})
        definitions[name] = {
            "type": "object",
            "title": declared.kind.label,
            "description": declared.summary,
            "required": ["id", "type"],
            "properties": {
                "type": {"enum": [declared.type, *short]},
                "config": {"$ref": f"#/$defs/{name}Config"},
            },
            "allOf": [{"$ref": "#/$defs/Node"}],
        }
    definitions["Node"] = _NODE
    for model in (RetrySpec, EdgeSpec):
        definitions[model.__name__] = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dataflows flow",
        "type": "object",
        "required": ["nodes"],
        "properties": {
            "version": {"const": 1, "default": 1},
            "name": {"type": "string"},
            "description": {"type": "string"},
            "meta": {"type": "object", "properties": {"strict": {"type": "boolean"}}},
            "nodes": {"type": "array", "items": {"oneOf": variants}},
            "edges": {"type": "array", "items": {"$ref": "#/$defs/EdgeSpec"}},
        },
        "$defs": definitions,
    }


_NODE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 100},
        "retry": {"$ref": "#/$defs/RetrySpec"},
        "timeout_seconds": {"type": "number", "exclusiveMinimum": 0},
        "on_error": {"type": "string", "pattern": "^(stop|continue|goto:.+)$", "default": "stop"},
        "join": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "object"}], "default": "all"},
        "description": {"type": "string"},
        "position": {"type": "object"},
        "data": {"type": "object"},
    },
}


def _with_templates(schema: dict[str, Any]) -> dict[str, Any]:
    """Every field of a config may be a template instead of what it is."""
    properties = schema.get("properties")
    if not properties:
        return schema
    return {**schema, "properties": {name: _or_template(each) for name, each in properties.items()}}


def _or_template(schema: dict[str, Any]) -> dict[str, Any]:
    if not schema.keys() - {"description", "title", "default"} or schema == {"type": "string"}:
        return schema
    kept: dict[str, Any] = {key: schema[key] for key in ("description", "title", "default") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in kept}
    return {**kept, "anyOf": [inner, _TEMPLATE]}
