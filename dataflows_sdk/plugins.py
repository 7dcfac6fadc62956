"""What other packages hang on a context and on the command line, loaded when asked for.

Entry points of the groups ``dataflows_sdk.desks`` and ``dataflows_sdk.commands``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from dataflows_sdk.errors import MissingExtraError

_GROUP = "dataflows_sdk.desks"
_COMMANDS = "dataflows_sdk.commands"


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


def desk_in_use(name: str, context: Any) -> Any:
    """The desk of this name where it was ever used, else None: looking makes nothing, and loads no package for nothing.

    A plug-in's schema is called as its package is.
    """
    found = sorted(entry_points(group=_GROUP, name=name), key=lambda point: point.value)
    if not found or not context._read("shown", "schema", (found[0].module.partition(".")[0],))[0][0]:
        return None
    return getattr(context, name)


def added_commands() -> list[str]:
    """The names of the commands that installed packages add to ``dataflows``."""
    return sorted({point.name for point in entry_points(group=_COMMANDS)})


def added_command(name: str) -> Any:
    """The command of this name (click's); None if no installed package brings it."""
    found = sorted(entry_points(group=_COMMANDS, name=name), key=lambda point: point.value)
    return found[0].load() if found else None
