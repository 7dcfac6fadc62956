"""Writes `reference/nodes.md` from the models of the node types; a test compares the page with what this makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataflows_sdk.flow.kinds import ALIASES
from dataflows_sdk.nodes.registry import NodeType, node_types

PAGE = Path(__file__).parent / "reference" / "nodes.md"
HEAD = """# Node types

<!-- made by docs/generate_nodes.py: change the models and run it -->

The twenty types that a document may count on everywhere, and `trigger_event`. Every string of a config may hold
[templates](templates.md), a field that is no string may be one template. Fields that a type does not know are kept,
and `validate()` warns about them. `retry`, `timeout_seconds`, `on_error` and `join` stand beside `config` and mean the
same for all types; a node without `retry` is tried once.

Others register their own with `df.node`, or bring them along by an entry point of the group `dataflows_sdk.nodes`:

```python
import pydantic

import dataflows_sdk as df


class Score(pydantic.BaseModel):
    text: str


@df.node("acme_score", config=Score, example={"text": "{{trigger.text}}"}, output="a number")
async def score(config, call):
    \"\"\"Scores a text.\"\"\"
    return len(config.text) / 10


ctx = df.connect()
flow = df.flow("scored").on_manual().node("rate", "acme_score", {"text": "{{trigger.text}}"})
assert ctx.run(flow, {"text": "hello"}).result() == 0.5
```
"""
FAMILIES = {
    "trigger": "Triggers",
    "action": "Actions",
    "logic": "Logic",
    "code": "Code",
    "meta": "Meta",
}


def page() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for family, title in FAMILIES.items():
        parts.append(f"\n## {title}\n")
        parts += [_section(each) for each in node_types() if each.family == family]
    return "".join(parts)


def _section(declared: NodeType) -> str:
    assert declared.kind.config is not None
    short = [alias for alias, full in ALIASES.items() if full == declared.type]
    lines = [f"\n### `{declared.type}`\n", f"\n{declared.summary}"]
    if short:
        lines.append(f" Short: `{short[0]}`.")
    lines.append("\n")
    schema = declared.kind.config.model_json_schema(by_alias=True)
    fields = schema.get("properties", {})
    if fields:
        lines.append("\n| field | | default | |\n| --- | --- | --- | --- |\n")
        required = set(schema.get("required", ()))
        lines += [_row(name, field, name in required, schema.get("$defs", {})) for name, field in fields.items()]
    handles = declared.kind.handles(declared.example) if declared.kind.handles is not None else None
    if handles:
        lines.append(f"\nHandles: {', '.join(f'`{handle}`' for handle in handles)}.\n")
    if declared.output:
        lines.append(f"\n{'`trigger` is' if declared.kind.trigger else 'Output:'} {declared.output}.\n")
    lines.append(f"\n```json\n{json.dumps(declared.example, indent=2, ensure_ascii=False)}\n```\n")
    return "".join(lines)


def _row(name: str, field: dict[str, Any], required: bool, definitions: dict[str, Any]) -> str:
    default = "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
    text = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
    return f"| `{name}` | {_kind(field, definitions)} | {default} | {text} |\n"


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        inner = definitions.get(field["$ref"].rpartition("/")[2], {})
        return _kind(inner, definitions)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        kinds = dict.fromkeys(_kind(each, definitions) for each in field["anyOf"] if each.get("type") != "null")
        return " or ".join(kinds)
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), definitions)}"
    if field.get("type") == "object" and "properties" in field:
        return "{" + ", ".join(field["properties"]) + "}"
    return {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "object": "object"}.get(
        field.get("type", ""), "anything"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
