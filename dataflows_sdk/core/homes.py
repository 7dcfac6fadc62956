"""Modules that are known in payloads and records by another name than the one under which they are loaded.

Code that was written in a notebook and published is loaded elsewhere as a module of its own, and a class of it keeps
the name that values have had from the beginning: ``__main__:Order``. Two such modules may each have an ``Order``, so
that a name is looked up in the code of the run first that is being executed.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

__all__ = ["SCOPE", "home_of", "is_renamed", "known_as"]

#: the namespace of the code that is being executed, where that is published code
SCOPE: ContextVar[dict[str, Any] | None] = ContextVar("dataflows_scope", default=None)
_HOMES: dict[str, str] = {}


def known_as(module: str, home: str) -> None:
    """Classes of *module* stand in payloads and records as those of *home*."""
    _HOMES[module] = home


def is_renamed(module: object) -> bool:
    """Whether the classes of this module have the name of another one."""
    return module in _HOMES


def home_of(cls: type) -> str:
    """The name of a class's module, as payloads and records have it."""
    return _HOMES.get(cls.__module__, cls.__module__)
