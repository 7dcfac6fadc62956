"""Explicit wiring: `df.ref("load.total")`, `df.value(3)`, and how a path is followed."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.flow.model import ContextInput, Input, NodeInput, Path
from dataflows_sdk.flow.problems import short


@dataclass(frozen=True, slots=True)
class Ref:
    """A node's output or a part of it, by name; resolved when the flow is complete."""

    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """A literal."""

    value: Any


def ref(text: str) -> Ref:
    """Wire a parameter to a node's output, or a part of it: ``ref("load")``, ``ref("load.items[0].id")``.

    ``ref("event.payload.n")`` takes a part of the trigger's event.
    """
    if not isinstance(text, str):
        raise TypeError(f'ref() takes the name of a node, as in ref("load.total"), not {text!r}')
    return Ref(text)


def value(literal: Any) -> Value:
    """Wire a parameter to a literal, which must be JSON (numbers, text, booleans, None, lists, dicts)."""
    return Value(literal)


_PART = re.compile(r"([^.\[\]]+)|\[(\d{1,9})\]")


def split_path(text: str) -> Path:
    """``"items[0].id"`` → ``("items", 0, "id")``; a part of digits only is an index."""
    parts: list[str | int] = []
    for match in _PART.finditer(text):
        word, index = match.groups()
        parts.append(int(index) if index is not None else int(word) if word.isascii() and word.isdigit() else word)
    return tuple(parts)


def follow(root: Any, path: Path, name: str) -> Any:
    """The part of a value at a path: keys of mappings, indexes of sequences, public attributes of objects.

    Args:
        root: the output of a node, or something of the run.
        path: its parts, outermost first.
        name: what the root is called, for the message.

    Raises:
        LookupError: there is no such part; the message says how far it went and what is there.
    """
    found = root
    walked = name
    for part in path:
        if isinstance(found, Mapping):
            key = part if part in found or str(part) not in found else str(part)
            if key not in found:
                raise LookupError(f"{walked} has no {part!r}; it has {_some(found)}")
            found = found[key]
        elif isinstance(part, int) and isinstance(found, Sequence) and not isinstance(found, str | bytes):
            if part >= len(found):
                raise LookupError(f"{walked} has no index {part}; its length is {len(found)}")
            found = found[part]
        elif isinstance(part, str) and not part.startswith("_") and hasattr(found, part):
            found = getattr(found, part)
        else:
            raise LookupError(f"{walked} is {type(found).__name__} and has no {part!r}")
        walked = f"{walked}[{part}]" if isinstance(part, int) else f"{walked}.{part}"
    return found


def gather(
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Any],
    context: Mapping[str, Any],
    optional: Container[str] = (),
) -> dict[str, Any]:
    """The values of a node's parameters.

    Args:
        inputs: where each comes from (`model.node_inputs`).
        outputs: the outputs of the nodes that completed.
        context: event, step, run, … by name; a name that is missing gives None.
        optional: parameters that have a default: they are left out if their node has no output, because it
            was skipped or failed. Any other parameter is None then.

    Raises:
        LookupError: an output has no such part.
    """
    values: dict[str, Any] = {}
    for name, source in inputs.items():
        if isinstance(source, NodeInput):
            if source.node in outputs:
                values[name] = follow(outputs[source.node], source.path, source.node)
            elif name not in optional:
                values[name] = None
        elif isinstance(source, ContextInput):
            found = context.get(source.name)
            values[name] = None if found is None else follow(found, source.path, source.name)
        else:
            values[name] = source.value
    return values


def _some(found: Mapping[Any, Any]) -> str:
    names = [repr(key) for _, key in zip(range(10), found, strict=False)]
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return ", ".join(names) + more if names else "nothing"


def not_json(value: Any, place: str = "$") -> str | None:
    """Where a value is not plain JSON, None if it is."""
    if value is None or isinstance(value, bool | int | str):
        return None
    if isinstance(value, float):
        return None if value - value == 0 else f"{place} ({value!r})"
    if type(value) is list:
        children = ((item, f"{place}[{index}]") for index, item in enumerate(value))
        return next((found for item, where in children if (found := not_json(item, where))), None)
    if type(value) is dict:
        for key, item in value.items():
            if not isinstance(key, str):
                return f"{place} (the key {short(key)})"
            if found := not_json(item, f"{place}.{key}"):
                return found
        return None
    return f"{place} ({type(value).__name__})"
