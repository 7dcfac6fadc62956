"""The value that goes with an answer, as fields that a person fills: made from a JSON Schema, and read again.

What the page sends are texts. They are made a value here, so that a page needs to know nothing of types; whether that
value fits the schema is for `Approvals.respond` to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.browsing import Field

#: what the names of the fields begin with; the whole value as JSON has just this name
NAME = "value"
#: properties of a schema that get a field each; of more there is one text of JSON
_FIELDS = 30
#: what stands for true and false
_FLAGS = ("true", "false")


def fields_of(value: Any, schema: Mapping[str, Any] | None) -> list[Field]:
    """What a person fills: a field for each property of a flat schema, or one for all of it, as JSON."""
    properties = _properties(value, schema)
    if properties is None:
        return [Field(NAME, "value as JSON", "" if value is None else _pretty(value), json=True)]
    given = value or {}
    return [_field(name, each, given, schema or {}) for name, each in properties.items()]


def value_of(given: Mapping[str, str], value: Any, schema: Mapping[str, Any] | None) -> Any:
    """The value that was filled in; None where nothing was.

    Args:
        given: texts by the names of the fields; others are left alone.
        value, schema: what the fields were made of.

    Raises:
        DefinitionError: a text stands for no value; it names the field.
    """
    filled = {name: text for name, text in given.items() if name == NAME or name.startswith(f"{NAME}.")}
    if not filled:
        return None
    properties = _properties(value, schema)
    known = [NAME] if properties is None else [f"{NAME}.{name}" for name in properties]
    if strange := sorted(filled.keys() - set(known)):
        raise DefinitionError(f"{strange[0]!r} is no field of this question: {', '.join(known)}")
    if properties is None:
        return read_json(filled[NAME], "the value")
    found = dict(value or {})  # what the schema says nothing of stays
    for name, each in properties.items():
        if f"{NAME}.{name}" not in filled:
            continue
        text = filled[f"{NAME}.{name}"]
        if not text.strip() and not (_type(each) == "string" and _is_text(found.get(name), text)):
            found.pop(name, None)
        else:
            found[name] = _read(name, each, text)
    return found


def read_json(text: Any, what: str, most: int = 100_000) -> Any:
    """A value that somebody wrote as JSON; nothing written is None.

    Raises:
        DefinitionError: it is no JSON, or longer than *most* characters.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    if not isinstance(text, str) or len(text) > most:
        raise DefinitionError(f"{what} is a text of JSON of at most {most:,} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DefinitionError(f"{what} is no JSON: {error}. Texts stand in double quotes") from None


def _properties(value: Any, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The properties that get a field each; None where the whole is better written as JSON."""
    found = (schema or {}).get("properties")
    if not isinstance(found, Mapping) or not 0 < len(found) <= _FIELDS or not isinstance(value, dict | None):
        return None
    return found if _type(schema) in ("object", None) else None


def _type(schema: Any) -> str | None:
    found = schema.get("type") if isinstance(schema, Mapping) else None
    return found if isinstance(found, str) else None


def _field(name: str, schema: Any, value: Mapping[str, Any], whole: Mapping[str, Any]) -> Field:
    about = schema if isinstance(schema, Mapping) else {}
    needed = name in whole.get("required", ())
    label = str(about.get("title") or name) + ("" if needed else " (may be empty)")
    now = value.get(name, about.get("default"))
    note = str(about.get("description") or "")
    if options := _options(about):
        text = "" if now is None and name not in value else _choice(now)
        return Field(f"{NAME}.{name}", label, text, ("", *options) if not needed or not text else options, note=note)
    if _type(about) == "string" and isinstance(now, str | None):
        return Field(f"{NAME}.{name}", label, now or "", note=note)
    text = "" if now is None and name not in value else json.dumps(now, ensure_ascii=False)
    if _type(about) in ("integer", "number"):
        return Field(f"{NAME}.{name}", label, text, note=note)
    return Field(f"{NAME}.{name}", f"{label}, as JSON", _pretty(now) if text else "", json=True, note=note)


def _options(schema: Mapping[str, Any]) -> list[str]:
    if isinstance(schema.get("enum"), list):
        return [_choice(each) for each in schema["enum"]]
    return list(_FLAGS) if _type(schema) == "boolean" else []


def _choice(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(name: str, schema: Any, text: str) -> Any:
    about = schema if isinstance(schema, Mapping) else {}
    if isinstance(about.get("enum"), list):
        return next((each for each in about["enum"] if _choice(each) == text), text)
    kind = _type(about)
    if kind == "string":
        return text
    if kind in ("integer", "number"):
        try:
            return json.loads(text)
        except ValueError:
            raise DefinitionError(f"{name}: {text!r} is no number; write 12 or 12.5") from None
    return read_json(text, name)


def _is_text(now: Any, text: str) -> bool:
    """Whether an empty text is what stood there before, and not nothing."""
    return isinstance(now, str) and now == text


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
