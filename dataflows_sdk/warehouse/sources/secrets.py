"""Secrets of a source: named where the source is described, read where it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dataflows_sdk.core.redact import REDACTOR, Secret, is_secret_name
from dataflows_sdk.errors import DefinitionError, SourceNotFoundError

__all__ = ["check_named", "fill"]

_ENV = re.compile(r"\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def check_named(what: str, name: str, value: object) -> None:
    """Refuse a secret that stands there literally: descriptions of sources are kept in the journal.

    Raises:
        DefinitionError: it does.
    """
    if isinstance(value, Secret):
        literal = True
    elif isinstance(value, str):
        literal = bool(is_secret_name(name) and value and not _ENV.search(value)) or REDACTOR.has_literal(value)
    else:
        literal = False
    if literal:
        raise DefinitionError(
            f"{what} {name!r} holds a secret, and a sync's source is kept in the journal: write '{{{{env.NAME}}}}' and "
            "connect(services=df.Services(env=['NAME']))"
        )


def fill(value: Any, env: Mapping[str, str]) -> Any:
    """The same value with ``{{env.NAME}}`` replaced in its texts.

    Raises:
        SourceNotFoundError: a variable that this process does not let flows read.
    """
    if isinstance(value, Mapping):
        return {name: fill(each, env) for name, each in value.items()}
    if isinstance(value, list):
        return [fill(each, env) for each in value]
    if not isinstance(value, str) or "{{" not in value:
        return value

    def found(match: re.Match[str]) -> str:
        name = match[1]
        if name not in env:
            raise SourceNotFoundError(
                f"the source of this sync reads the environment variable {name!r}, which this process does not "
                "let flows "
                f"read: connect(services=df.Services(env=[{name!r}]))"
            )
        # the address of an API may stand in a variable, and in every row that it gives
        REDACTOR.add(env[name], passing=True, masked_only=not is_secret_name(name))
        return env[name]

    return _ENV.sub(found, value)
