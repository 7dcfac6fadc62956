"""JSON schemas of arguments, in the shapes that models are given them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from dataflows_sdk.errors import ToolError

#: what both OpenAI and MCP take
_LONGEST_NAME = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
#: formats that a strict schema may name
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
#: keywords that strict schemas do not know, and without which the schema would say something else
_NOT_STRICT = frozenset(
    """
    allOf oneOf not if then else patternProperties propertyNames dependentRequired dependentSchemas
    unevaluatedProperties prefixItems contains uniqueItems minProperties maxProperties
""".split()  # noqa: SIM905 - reads better
)
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


class _LooseError(Exception):
    """It cannot be strict."""


def tool_name(name: object) -> str:
    """A name that models can call, as near to *name* as can be: letters, digits, ``_`` and ``-``, at most 64.

    Raises:
        ToolError: nothing of it would be left.
    """
    if not isinstance(name, str):
        raise ToolError(f"a tool has a name such as 'copy_orders', not {name!r:.100}")
    plain = _ODD.sub("_", name).strip("_")
    if not plain:
        raise ToolError(
            f"no letter of {name!r:.100} can stand in the name of a tool; give it one such as 'copy_orders'"
        )
    if len(plain) > _LONGEST_NAME:
        plain = f"{plain[: _LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return plain


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without the titles that pydantic gives everything: they cost tokens and say nothing."""
    found: dict[str, Any] = _without_titles(schema)
    return found


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: {name: _without_titles(each) for name, each in value.items()}
            if key in _MAPS and isinstance(value, Mapping)
            else _without_titles(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_without_titles(each) for each in schema] if isinstance(schema, list) else schema


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode wants it: every argument required, optional ones null when not given.

    Returns:
        None where that would not say the same: for objects with free keys, values of any kind, ``oneOf`` and the like.
    """
    if schema.get("type") != "object":
        return None
    try:
        found: dict[str, Any] = _strict(schema)
    except _LooseError:
        return None
    return found


def _strict(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or not schema or _NOT_STRICT & schema.keys():
        raise _LooseError
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}  # it may have nothing beside it
    if not {"type", "anyOf", "enum", "const"} & schema.keys():
        raise _LooseError
    found = {
        key: value
        for key, value in schema.items()
        if key not in ("default", "examples", "const", "format", "additionalProperties", "discriminator")
    }
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if schema.get("format") in _FORMATS:
        found["format"] = schema["format"]
    if "anyOf" in schema:
        found["anyOf"] = [_strict(each) for each in schema["anyOf"]]
    if "$defs" in schema:
        found["$defs"] = {name: _strict(each) for name, each in schema["$defs"].items()}
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "array" in kinds:
        found["items"] = _strict(schema.get("items"))
    if "object" in kinds:
        _strict_object(schema, found)
    return found


def _strict_object(schema: Mapping[str, Any], found: dict[str, Any]) -> None:
    if schema.get("additionalProperties") not in (None, False):
        raise _LooseError
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or (not properties and schema.get("additionalProperties") is not False):
        raise _LooseError
    required = set(schema.get("required", ()))
    found["properties"] = {
        name: _strict(each) if name in required else _or_null(_strict(each)) for name, each in properties.items()
    }
    found["required"] = list(properties)
    found["additionalProperties"] = False


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        if any(each.get("type") == "null" for each in schema["anyOf"]):
            return schema
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "$ref" in schema or "enum" in schema or not isinstance(schema.get("type"), str):
        outer = {key: schema[key] for key in ("description",) if key in schema}
        inner = {key: value for key, value in schema.items() if key not in outer}
        return {**outer, "anyOf": [inner, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}
