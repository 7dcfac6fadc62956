"""What other packages hang on a context: entry points of the group ``dataflows_sdk.desks``, loaded when asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from dataflows_sdk.errors import MissingExtraError

_GROUP = "dataflows_sdk.desks"


@cache
def desk(name: str) -> Callable[[Any], Any]:
    """What makes the desk of this name from a context.

    Raises:
        MissingExtraError: no installed package has it.
    """
    found = sorted(entry_points(group=_GROUP, name=name), key=lambda point: point.value)
    if not found:
        raise MissingExtraError(
            f"no installed package brings ctx.{name}; it comes with dataflows-sdk: install that again "
            "(pip install --force-reinstall --no-deps dataflows-sdk)"
        )
    made: Callable[[Any], Any] = found[0].load()
    return made
