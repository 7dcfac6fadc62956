"""Does an input fit its JSON Schema? Neither the schema nor the data can hang the process or make it call somebody.

The dialect is Draft 2020-12, or Draft 7 where the schema says so. Patterns are searched for by RE2, in time linear in
the text; it knows no lookaround and no backreference. A ``$ref`` leads to a place in the same schema. The formats
date-time, date, time, uuid, email, uri, ipv4 and ipv6 are checked; others are remarks. All work is counted, and a
check that would take many seconds is given up with a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry, Specification
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7, DRAFT202012

from dataflows_sdk.errors import InvalidInputSchemaError
from dataflows_sdk.triggers.keywords import FORMATS, LIMITED, MAX_MESSAGE, TooMuch, compiled, counting

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing._core import Resolver

__all__ = ["InputProblem", "InputSchema", "check_input", "check_schema"]

_MAX_PROBLEMS: Final = 100


class InputProblem(NamedTuple):
    """What does not fit, and where.

    Attributes:
        pointer: JSON pointer into the input, or into the schema for `check_schema`; empty for the whole.
        message: for the person who sent it.
    """

    pointer: str
    message: str


class InputSchema:
    """A JSON Schema that inputs can be checked with; make it once, use it from any thread.

    Args:
        schema: a mapping, or True (everything fits) or False (nothing does).

    Raises:
        InvalidInputSchemaError: it is none, or uses what is not offered here; `.problems` lists every fault.
    """

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        problems = check_schema(schema)
        if problems:
            lines = "\n".join(f"- {pointer or '/'}: {message}" for pointer, message in problems)
            raise InvalidInputSchemaError(f"the input schema cannot be used:\n{lines}", problems)
        validator, _ = _dialect(schema)
        # with "$schema" in it, jsonschema would go back to its own class, and to patterns without a limit
        plain = schema if isinstance(schema, bool) else {key: schema[key] for key in schema if key != "$schema"}
        self._validator: Validator = LIMITED[validator](plain, registry=Registry(), format_checker=FORMATS)

    def check(self, data: Any, limit: int = _MAX_PROBLEMS) -> list[InputProblem]:
        """What does not fit, sorted by pointer; an empty list if all does.

        Args:
            data: a JSON value as Python has it.
            limit: how many problems at most.
        """
        problems: list[InputProblem] = []
        try:
            with counting():
                for error in islice(self._validator.iter_errors(data), limit):
                    # one by one: those before the check was given up are told as well
                    problems.append(InputProblem(_pointer(error.absolute_path), _message(error)))  # noqa: PERF401
        except TooMuch:
            problems.append(InputProblem("", "the input takes too long to check; send a smaller one"))
        except RecursionError:
            problems.append(InputProblem("", "the input, or a schema that refers to itself, is nested too deeply"))
        except OverflowError:
            problems.append(InputProblem("", "a number in the input is too large to check"))
        return sorted(set(problems), key=lambda problem: problem.pointer)


def check_input(schema: Mapping[str, Any] | bool, data: Any) -> list[InputProblem]:
    """What of an input does not fit a JSON Schema; an empty list if all does, a hundred problems at most.

    Raises:
        InvalidInputSchemaError: the schema is none; see `check_schema`.
    """
    return InputSchema(schema).check(data)


# --- the schema -------------------------------------------------------------------------------------------

_DIALECTS: Final[dict[str, tuple[Any, Specification[Any]]]] = {
    "https://json-schema.org/draft/2020-12/schema": (Draft202012Validator, DRAFT202012),
    "http://json-schema.org/draft-07/schema": (Draft7Validator, DRAFT7),
}
#: keywords that hold a mapping of schemas, a list of schemas, a schema
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE: Final = (
    *("items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties"),
    *("propertyNames", "not", "if", "then", "else"),
)


def check_schema(schema: Mapping[str, Any] | bool) -> list[InputProblem]:
    """Everything that is wrong with a schema of inputs; an empty list if it can be used.

    Besides what breaks JSON Schema: a pattern that RE2 cannot read, a ``$ref`` that leads out of the schema or nowhere,
    another dialect, and ``unevaluatedProperties`` together with ``patternProperties``.
    """
    if isinstance(schema, bool):
        return []
    if not isinstance(schema, dict):
        return [InputProblem("", f"a JSON Schema is a mapping, True or False, not {type(schema).__name__}")]
    dialect = schema.get("$schema", "")
    if not isinstance(dialect, str) or (dialect and dialect.rstrip("#") not in _DIALECTS):
        return [InputProblem("/$schema", f"the dialect is one of {' and '.join(_DIALECTS)}, not {str(dialect)[:80]!r}")]
    validator, specification = _dialect(schema)
    try:
        errors = islice(validator(validator.META_SCHEMA).iter_errors(schema), _MAX_PROBLEMS)
        found = [InputProblem(_pointer(error.absolute_path), _message(error)) for error in errors]
        # what is no JSON Schema cannot be walked through
        return list(dict.fromkeys(found or islice(_Walk(schema, specification).problems(), _MAX_PROBLEMS)))
    except RecursionError:
        return [InputProblem("", "the schema is nested too deeply")]


def _dialect(schema: Mapping[str, Any] | bool) -> tuple[Any, Specification[Any]]:
    named = "" if isinstance(schema, bool) else schema.get("$schema", "")
    return _DIALECTS[named.rstrip("#") or next(iter(_DIALECTS))]


class _Walk:
    """Goes through every schema that a check may come to: those inside of it, and those that a reference leads to."""

    def __init__(self, schema: Mapping[str, Any], specification: Specification[Any]) -> None:
        self.schema = schema
        self.specification = specification
        self.seen: set[int] = set()

    def problems(self) -> Iterator[InputProblem]:
        root = self.specification.create_resource(self.schema)
        resolver: Resolver[Any] = Registry[Any]().resolver_with_root(root)
        inside: list[tuple[str, Any, Resolver[Any]]] = [("", self.schema, resolver)]
        behind: list[tuple[str, Any, Resolver[Any]]] = []
        if {"unevaluatedProperties", "patternProperties"} <= _words(self.schema):
            yield InputProblem(
                "", "unevaluatedProperties and patternProperties cannot be used in one schema; use additionalProperties"
            )
        while inside or behind:
            # references last, so that the pointer of a problem is the place where it is written
            pointer, schema, resolver = (inside or behind).pop(0 if inside else -1)
            if not isinstance(schema, dict) or id(schema) in self.seen:
                continue
            self.seen.add(id(schema))
            if schema is not self.schema:
                resolver = resolver.in_subresource(self.specification.create_resource(schema))
                if "$schema" in schema:
                    yield InputProblem(f"{pointer}/$schema", "a schema inside of another has its dialect")
            yield from self._patterns(pointer, schema)
            for keyword in ("$ref", "$dynamicRef"):
                if isinstance(schema.get(keyword), str):
                    try:
                        target = resolver.lookup(schema[keyword])
                    except (Unresolvable, ValueError, TypeError, KeyError, IndexError):
                        yield InputProblem(f"{pointer}/{keyword}", _nowhere(schema[keyword]))
                    else:
                        behind.append((f"{pointer}/{keyword}", target.contents, target.resolver))
            inside += [(pointer + path, part, resolver) for path, part in _parts(schema)]

    @staticmethod
    def _patterns(pointer: str, schema: Mapping[str, Any]) -> Iterator[InputProblem]:
        named = schema.get("patternProperties")
        patterns = [(f"{pointer}/patternProperties/{_escape(one)}", one) for one in named] if named else []
        if isinstance(schema.get("pattern"), str):
            patterns.append((f"{pointer}/pattern", schema["pattern"]))
        for path, pattern in patterns:
            try:
                compiled(pattern)
            except ValueError as error:
                yield InputProblem(path, str(error))


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, dict):
            yield from ((f"/{keyword}/{_escape(name)}", part) for name, part in value.items())
        elif keyword in _LISTED and isinstance(value, list):
            yield from ((f"/{keyword}/{number}", part) for number, part in enumerate(value))
        elif keyword in _SINGLE:
            yield f"/{keyword}", value


def _words(value: Any) -> set[str]:
    """Every key in a JSON value."""
    found: set[str] = set()
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            found |= part.keys()
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return found


def _nowhere(reference: str) -> str:
    if reference.startswith("#"):
        return f"{reference[:80]!r} leads nowhere in this schema"
    return f"{reference[:80]!r} is not in this schema, and other places are never asked; put it under $defs"


def _escape(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _pointer(path: Iterable[Any]) -> str:
    return "".join(f"/{_escape(part)}" for part in path)


def _message(error: ValidationError) -> str:
    text = error.message
    if error.validator in {"anyOf", "oneOf"} and error.context:
        closest = best_match(error.context)
        while closest.context:
            closest = best_match(closest.context)
        below = _pointer(list(closest.absolute_path)[len(error.absolute_path) :])
        text = f"{_cut(text)}; the closest: {below + ': ' if below else ''}{closest.message}"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]} … {text[-MAX_MESSAGE // 2 :]}"
