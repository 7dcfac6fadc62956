"""Conditions over properties, as PostgreSQL looks at JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dataflows_sdk.errors import RecallError

_SIGNS = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def conditions(where: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """What has to be in the properties, as JSON, and what else has to hold, as a jsonpath. None: nothing.

    Equality goes into the first, because an index finds it.

    Raises:
        RecallError: a condition makes no sense.
    """
    if not isinstance(where, Mapping):
        raise RecallError(f"where={where!r} is no mapping: {{'project': 'alpha', 'hours': {{'gt': 3}}}}")
    having: dict[str, Any] = {}
    paths: list[str] = []
    for name, wanted in where.items():
        steps = _steps(name)
        tests = wanted if isinstance(wanted, Mapping) else {"in": wanted} if _is_list(wanted) else {"eq": wanted}
        if not tests:
            raise RecallError(f"where={{{name!r}: …}} has no condition")
        for op, value in tests.items():
            if op == "eq":
                inner = having
                for step in steps[:-1]:
                    inner = inner.setdefault(step, {})
                if inner.get(steps[-1], value) != value:
                    raise RecallError(f"where: {name!r} cannot be {inner[steps[-1]]!r} and {value!r}")
                inner[steps[-1]] = value
            else:
                paths.append(_path(name, steps, op, value))
    path = " && ".join(paths)
    return (json.dumps(having) if having else None), (f"$ ? ({path})" if path else None)


def _steps(name: Any) -> list[str]:
    if not isinstance(name, str) or not name or not all(name.split(".")):
        raise RecallError(f"where: {name!r} is no name of a property")
    return name.split(".")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)


def _path(name: str, steps: Sequence[str], op: str, value: Any) -> str:
    place = "@" + "".join(f".{json.dumps(step)}" for step in steps)
    if op == "exists":
        return f"exists({place})" if value else f"!exists({place})"
    if op == "in":
        if not _is_list(value) or not value:
            raise RecallError(f"where: {name!r} in {value!r}: give a list of values")
        return "(" + " || ".join(f"{place} == {_literal(name, each)}" for each in value) + ")"
    if op == "ne":  # also what does not have it
        return f"!({place} == {_literal(name, value)})"
    if op not in _SIGNS:
        raise RecallError(f"where: {name!r} has no condition {op!r}; there are {', '.join([*_SIGNS, 'in', 'exists'])}")
    return f"{place} {_SIGNS[op]} {_literal(name, value)}"


def _literal(name: str, value: Any) -> str:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise RecallError(f"where: {name!r} is compared with {value!r}, which is no text, number, boolean or None")
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise RecallError(f"where: {name!r} is compared with {value!r}, which is no number of JSON") from None
