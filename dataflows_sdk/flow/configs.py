"""Configs of nodes against the models of their types, before and after their templates are filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from dataflows_sdk.errors import NodeConfigError
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.problems import short

_GONE: Any = object()


def config_faults(node_type: str, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a config as it stands in a document: JSON pointers into the config, and messages.

    A field with a template in it is whatever the template gives: it is judged when the node runs.
    """
    kind = kind_of(node_type)
    if kind is None or kind.config is None:
        return []
    found: list[tuple[str, str]] = []
    try:
        kind.config.model_validate(dict(config))
    except ValidationError as error:
        found = [
            (_pointer(config, detail["loc"]), _message(detail))
            for detail in error.errors(include_url=False)
            if not _templated(config, detail["loc"])
        ]
    if not found and kind.check is not None:
        found += kind.check(config)
    return found


def unknown_fields(node_type: str, config: Mapping[str, Any]) -> list[str]:
    """Fields of a config that its type does not know; they are kept."""
    kind = kind_of(node_type)
    if kind is None or kind.config is None:
        return []
    return [name for name in config if name not in _names(kind.config)]


def known_fields(node_type: str) -> list[str]:
    """The fields that a type knows."""
    kind = kind_of(node_type)
    return [] if kind is None or kind.config is None else sorted(_names(kind.config))


def _names(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    for name, info in model.model_fields.items():
        names.add(name)
        for alias in (info.alias, info.validation_alias):
            if isinstance(alias, str):
                names.add(alias)
            elif alias is not None:
                names |= {choice for choice in getattr(alias, "choices", ()) if isinstance(choice, str)}
    return names


def parse_config(node_type: str, node: str, config: Mapping[str, Any]) -> Any:
    """The config of a node that is about to run, as an instance of its model.

    Raises:
        NodeConfigError: it does not fit; the message lists every field.
    """
    kind = kind_of(node_type)
    if kind is None or kind.config is None:
        raise NodeConfigError(f"node {node!r}: the type {node_type!r} has no config")
    try:
        return kind.config.model_validate(dict(config))
    except ValidationError as error:
        faults = [(_pointer(config, detail["loc"]), _message(detail)) for detail in error.errors(include_url=False)]
        lines = "; ".join(f"{pointer.lstrip('/') or 'config'}: {message}" for pointer, message in faults)
        raise NodeConfigError(f"node {node!r} ({node_type}): {lines}") from None


def _message(detail: Any) -> str:
    if detail["type"] == "missing":
        return "is missing"
    text = str(detail["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    return text if detail["type"] == "value_error" else f"{text}, got {short(detail.get('input'))}"


def _pointer(config: Any, loc: tuple[Any, ...]) -> str:
    """The place in the config; what pydantic adds for the members of a union is no place."""
    parts: list[str] = []
    here = config
    for index, part in enumerate(loc):
        inside = _step(here, part)
        if inside is _GONE and index < len(loc) - 1:
            continue
        if inside is _GONE and not isinstance(here, Mapping):
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
        here = inside
    return "".join(f"/{part}" for part in parts)


def _templated(config: Any, loc: tuple[Any, ...]) -> bool:
    here = config
    for part in loc:
        inside = _step(here, part)
        if inside is _GONE:
            continue
        here = inside
        if isinstance(here, str) and "{{" in here:
            return True
    return False


def _step(here: Any, part: Any) -> Any:
    if isinstance(here, Mapping):
        return here.get(part, _GONE)
    if isinstance(here, list | tuple) and isinstance(part, int) and 0 <= part < len(here):
        return here[part]
    return _GONE
