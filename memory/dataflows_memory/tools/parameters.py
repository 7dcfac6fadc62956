"""The arguments of a tool: their schema, and whether those that a model gave fit it."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from dataflows_memory.tools.schema import plain_schema
from dataflows_sdk.errors import ToolArgumentError, ToolError

#: the argument by which a call that is repeated does nothing twice
KEY = "idempotency_key"
_LONGEST_KEY = 200
_KEY_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": _LONGEST_KEY,
    "description": "Unique to this call: when it is repeated with the same key and arguments, nothing begins twice.",
}
_SHOWN = 8
_LONGEST_TEXT = 1_000_000
_ARGS = re.compile(r"^\s*(?:Args|Arguments|Parameters):\s*$")
_SECTION = re.compile(r"^\s*(?:Returns|Raises|Yields|Examples?|Notes?|Attributes):\s*$")
_ENTRY = re.compile(r"^(\s+)(\*{0,2}\w[\w, *]*?)(?:\s*\([^)]*\))?:\s*(.*)$")


class Parameters:
    """A JSON schema of an object, and what checks arguments with it.

    Attributes:
        schema: of the arguments, without what only a person reads.

    Args:
        schema: the JSON schema.
        check: gives the arguments to call with, from a dict of JSON values; raises ``ToolArgumentError``.
    """

    def __init__(self, schema: Mapping[str, Any], check: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        if schema.get("type") != "object":
            raise ToolError(f"the arguments of a tool are an object, and this schema is of {schema.get('type')!r}")
        self.schema = plain_schema(schema)
        self._check = check

    @classmethod
    def of_function(cls, function: Callable[..., Any], name: str | None = None) -> Parameters:
        """The parameters of a function, from its annotations, defaults and the ``Args:`` of its docstring.

        Raises:
            ToolError: it takes arguments that have no name, or has an annotation that JSON cannot hold.
        """
        name = str(name or getattr(function, "__name__", "tool"))
        described = descriptions(inspect.getdoc(function) or "")[1]
        fields: dict[str, tuple[Any, Any]] = {}
        try:
            hints = typing.get_type_hints(function, include_extras=True)
            signature = inspect.signature(function)
        except (NameError, TypeError, ValueError) as error:
            raise ToolError(f"tool {name!r}: its signature cannot be read: {error}") from None
        for each, parameter in signature.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise ToolError(f"tool {name!r}: a model gives arguments by name, and cannot give {parameter}")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[each] = (hints.get(each, Any), default)
        return cls.of_fields(name, fields, described)

    @classmethod
    def of_fields(
        cls, name: str, arguments: Mapping[str, tuple[Any, Any]], described: Mapping[str, str] | None = None
    ) -> Parameters:
        """Arguments of any names: for each its annotation and its default, ``...`` where it has to be given.

        Args:
            name: of the tool, for errors.
            arguments: by name.
            described: for the model, by name.

        Raises:
            ToolError: an annotation that JSON cannot hold.
        """
        from pydantic import ConfigDict, Field, create_model
        from pydantic.errors import PydanticUserError

        fields: dict[str, Any] = {}
        aliases: dict[str, str] = {}
        for at, (each, (kind, default)) in enumerate(arguments.items()):
            # under names of our own: pydantic keeps some to itself (model_…, _private)
            aliases[f"p{at}"] = each
            # None given outright would hide the description of an Annotated field
            told: Any = {"description": described[each]} if described and each in described else {}
            fields[f"p{at}"] = (kind, Field(default, alias=each, **told))
        try:
            model = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
            return cls._of_model(model, lambda made: {each: getattr(made, key) for key, each in aliases.items()})
        except (PydanticUserError, TypeError) as error:
            first = str(error).split("\n", maxsplit=1)[0]
            raise ToolError(f"tool {name!r}: a parameter cannot be given as JSON: {first}") from None

    @classmethod
    def of_model(cls, model: Any) -> Parameters:
        """A pydantic model; the function is called with one argument, ``input``, which is the model."""
        return cls._of_model(model, lambda made: {"input": made})

    @classmethod
    def of_type(cls, kind: Any) -> Parameters:
        """Any annotation; what is no object becomes one with the argument ``input``. Called with ``input``."""
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            adapter: Any = TypeAdapter(kind)
            schema = adapter.json_schema()
        except PydanticUserError as error:
            raise ToolError(f"{kind!r} cannot be given as JSON: {str(error).splitlines()[0]}") from None
        if schema.get("type") == "object":
            return cls(schema, _with_adapter(adapter, schema, lambda value: {"input": value}))
        definitions = schema.pop("$defs", None)
        whole = {
            "type": "object",
            "properties": {"input": schema},
            "required": ["input"],
            "additionalProperties": False,
        }
        if definitions:
            whole["$defs"] = definitions

        def check(given: dict[str, Any]) -> dict[str, Any]:
            _known(given, whole)
            if "input" not in given:
                raise _faulty(["argument 'input' is missing"], whole)
            return _with_adapter(adapter, whole, lambda value: {"input": value}, inner="input")(given)

        return cls(whole, check)

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> Parameters:
        """A JSON schema; called with ``input``, which is what came, as it came."""
        from dataflows_sdk.triggers.inputs import check_input

        def check(given: dict[str, Any]) -> dict[str, Any]:
            problems = check_input(schema, given)
            if problems:
                raise _faulty([f"{each.pointer or 'the arguments'}: {each.message}" for each in problems], schema)
            return {"input": given}

        return cls(schema, check)

    @classmethod
    def of_workflow(cls, workflow: Any) -> Parameters:
        """What a workflow takes: by its manual trigger's schema, the type of its event's payload, or anything.

        The function is called with ``input``, the payload, as JSON: the workflow makes its own of it.
        """
        schema = getattr(workflow, "input_schema", None)
        if isinstance(schema, Mapping) and schema.get("type") == "object":
            return cls.of_schema(schema)
        kind = getattr(workflow, "payload_type", None)
        if kind is not None:
            typed = cls.of_type(kind)
            wrapped = set(typed.schema.get("properties", ())) == {"input"}
            return cls(typed.schema, _as_it_came(typed, wrapped))
        free = {
            "type": "object",
            "properties": {"input": {"description": "what the workflow gets as its event's payload"}},
            "additionalProperties": False,
        }

        def check(given: dict[str, Any]) -> dict[str, Any]:
            _known(given, free)
            return {"input": given.get("input")}

        return cls(free, check)

    def with_key(self) -> Parameters:
        """The same with an ``idempotency_key``, which the function is called with where it is given.

        Where the arguments have one of their own that stays what it is.
        """
        properties = self.schema.get("properties", {})
        if KEY in properties:
            return self
        schema = {**self.schema, "properties": {**properties, KEY: _KEY_SCHEMA}}

        def check(given: dict[str, Any]) -> dict[str, Any]:
            rest = {name: value for name, value in given.items() if name != KEY}
            found, key = self._check(rest), given.get(KEY)
            return found if key is None else {**found, KEY: checked_key(key)}

        return Parameters(schema, check)

    def arguments(self, given: Any) -> dict[str, Any]:
        """What to call with, from what a model gave: an object, or its JSON text.

        Raises:
            ToolArgumentError: it does not fit; the message is for the model.
        """
        return self._check(self._nothing_given(self._object(given)))

    def _object(self, given: Any) -> dict[str, Any]:
        if isinstance(given, str | bytes):
            if len(given) > _LONGEST_TEXT:
                raise _faulty([f"the arguments have more than {_LONGEST_TEXT:,} characters"], self.schema)
            if not given.strip():
                return {}
            try:
                given = json.loads(given)
                if isinstance(given, str):  # an object as JSON, as JSON
                    given = json.loads(given)
            except (ValueError, RecursionError) as error:
                raise _faulty([f"the arguments are no JSON: {error}"], self.schema) from None
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise _faulty([f"the arguments are an object, not {_kind(given)}"], self.schema)
        if odd := [key for key in given if not isinstance(key, str)]:
            raise _faulty([f"arguments have names, and {odd[0]!r} is none"], self.schema)
        return dict(given)

    def _nothing_given(self, given: dict[str, Any]) -> dict[str, Any]:
        """A strict schema makes models say null for what they do not give."""
        properties = self.schema.get("properties", {})
        optional = set(properties) - set(self.schema.get("required", ()))
        return {
            name: value
            for name, value in given.items()
            if not (value is None and name in optional and not _takes_null(properties[name]))
        }

    @classmethod
    def _of_model(cls, model: Any, use: Callable[[Any], dict[str, Any]]) -> Parameters:
        from pydantic import TypeAdapter

        schema = model.model_json_schema(by_alias=True)
        schema.pop("description", None)
        return cls(schema, _with_adapter(TypeAdapter(model), schema, use))


def checked_key(key: Any) -> str:
    """An idempotency key as a model or a client gave it.

    Raises:
        ToolArgumentError: it is none.
    """
    if not isinstance(key, str) or not key.strip() or len(key) > _LONGEST_KEY or "\0" in key:
        told = f"argument {KEY!r} is a text of 1 to {_LONGEST_KEY} characters, not {_kind(key)}"
        raise ToolArgumentError(f"the arguments do not fit: {told}", [told])
    return key


def descriptions(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the whole (its first paragraph), and of each parameter."""
    lines = doc.strip().splitlines()
    first: list[str] = []
    for line in lines:
        if not line.strip() or _ARGS.match(line) or _SECTION.match(line):
            break
        first.append(line.strip())
    found: dict[str, str] = {}
    names: list[str] = []
    inside, indent = False, 0
    for line in lines:
        if _ARGS.match(line):
            inside = True
            continue
        if not inside:
            continue
        if _SECTION.match(line):
            break
        entry = _ENTRY.match(line)
        if entry and (not names or len(entry[1]) <= indent):
            names = [each.strip(" *") for each in entry[2].split(",")]
            indent = len(entry[1])
            found.update(dict.fromkeys(names, entry[3].strip()))
        elif names and line.strip():
            for each in names:
                found[each] = f"{found[each]} {line.strip()}".strip()
    return " ".join(first), found


def _with_adapter(
    adapter: Any, schema: Mapping[str, Any], use: Callable[[Any], dict[str, Any]], inner: str | None = None
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from pydantic import ValidationError

    def check(given: dict[str, Any]) -> dict[str, Any]:
        value = given if inner is None else given[inner]
        try:
            return use(adapter.validate_python(value))
        except ValidationError as error:
            again = _unpacked(value, error) if inner is None else None
            if again is not None:
                try:
                    return use(adapter.validate_python(again))
                except ValidationError as second:
                    error = second
            raise _faulty([_told(each, schema) for each in error.errors(include_url=False)], schema) from None

    return check


def _unpacked(given: Any, error: Any) -> dict[str, Any] | None:
    """The arguments with texts read as JSON where an object or a list is wanted and a text came."""
    if not isinstance(given, dict):
        return None
    changed = dict(given)
    for each in error.errors(include_url=False, include_context=False):
        name = each["loc"][0] if each["loc"] else None
        value = changed.get(name) if isinstance(name, str) else None
        if isinstance(value, str) and value.strip()[:1] in ("{", "["):
            try:
                changed[name] = json.loads(value)
            except (ValueError, RecursionError):
                continue
    return changed if changed != given else None


def _as_it_came(typed: Parameters, wrapped: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(given: dict[str, Any]) -> dict[str, Any]:
        typed._check(given)
        return {"input": given["input"] if wrapped else given}

    return check


def _known(given: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    if unknown := [name for name in given if name not in schema["properties"]]:
        raise _faulty([_unknown(name, schema) for name in unknown], schema)


def _unknown(name: str, schema: Mapping[str, Any]) -> str:
    import difflib

    names = list(schema.get("properties", ()))
    alike = difflib.get_close_matches(name, names, n=1)
    return f"there is no argument {name!r}" + (f"; did you mean {alike[0]!r}?" if alike else "")


def _told(fault: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    loc, kind = fault["loc"], fault["type"]
    path = ".".join(str(each) for each in loc) or "the arguments"
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), schema) if len(loc) == 1 else f"there is no {path!r}"
    if kind in ("missing", "missing_argument"):
        return f"argument {path!r} is missing"
    given = fault.get("input")
    return f"argument {path!r}: {fault['msg']}, not {_kind(given)}"


def _kind(value: Any) -> str:
    """What a value is, for a message; not all of it."""
    names = {dict: "an object", list: "a list", type(None): "null", bool: "true or false"}
    if type(value) in names and not (isinstance(value, bool)):
        return names[type(value)]
    return f"{value!r:.60}"


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    if "$ref" in schema:
        return False
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        return any(_takes_null(each) for each in options)
    if "enum" in schema:
        return None in schema["enum"]
    return kinds is None and "const" not in schema


def _faulty(problems: list[str], schema: Mapping[str, Any]) -> ToolArgumentError:
    shown = problems[:_SHOWN]
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    required = set(schema.get("required", ()))
    names = [f"{name}{'' if name in required else ' (optional)'}" for name in schema.get("properties", {})]
    takes = f" It takes: {', '.join(names[:30])}." if names else " It takes none."
    return ToolArgumentError(f"the arguments do not fit: {'; '.join(shown)}{more}.{takes}", problems)
