"""What can be known about a callable without calling it: its parameters, and how to pass them."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that can be wired."""

    name: str
    required: bool
    positional_only: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class CallSignature:
    """The parameters of a callable that can be given a value by name.

    `*args` is never filled, `**kwargs` takes whatever is wired explicitly (`open_ended`). A keyword that a
    ``functools.partial`` has already fixed is not a parameter any more.
    """

    parameters: tuple[Parameter, ...]
    open_ended: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def optional(self) -> frozenset[str]:
        """The names of those that have a default."""
        return frozenset(parameter.name for parameter in self.parameters if not parameter.required)

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments that hand over `values`, also to positional-only parameters."""
        positional: list[Any] = []
        rest = dict(values)
        leading = [parameter for parameter in self.parameters if parameter.positional_only]
        while leading and leading[-1].name not in values:
            leading.pop()
        for parameter in leading:
            # a gap before a given value is filled with the default; a missing required one is left for
            # Python to name
            if parameter.name not in values and parameter.required:
                break
            positional.append(rest.pop(parameter.name, parameter.default))
        return positional, rest


def signature_of(fn: Callable[..., Any]) -> CallSignature | None:
    """The signature of any callable; None for the few builtins that have none (`int`, `dict.get`, …)."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            signature = inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
        else:
            signature = inspect.signature(fn)
    except (ValueError, TypeError, AttributeError, NameError):
        return None
    fixed = _fixed_keywords(fn)
    parameters: list[Parameter] = []
    open_ended = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in fixed:
            required = parameter.default is parameter.empty
            parameters.append(
                Parameter(
                    parameter.name,
                    required,
                    parameter.kind is parameter.POSITIONAL_ONLY,
                    None if required else parameter.default,
                )
            )
    return CallSignature(tuple(parameters), open_ended)


def _fixed_keywords(fn: Any) -> set[str]:
    fixed: set[str] = set()
    while isinstance(fn, functools.partial):
        fixed.update(fn.keywords)
        fn = fn.func
    return fixed


def hints_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations by parameter, and ``"return"``; empty when they cannot be resolved."""
    target: Any = fn
    while isinstance(target, functools.partial):
        target = target.func
    returns: Any = None
    if inspect.isclass(target):
        returns = target
        init = target.__init__
        target = init if inspect.isfunction(init) else None
    elif not (inspect.isroutine(target) or hasattr(target, "__annotations__")):
        target = getattr(type(target), "__call__", None)  # noqa: B004
    try:
        hints = typing.get_type_hints(target) if target is not None else {}
    except (NameError, TypeError, AttributeError, SyntaxError, ValueError):
        hints = {}
    if returns is not None:
        hints["return"] = returns
    return hints


def callable_name(fn: Any) -> str:
    """``"module:qualname"``, for people and for re-binding; never imported from a document."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not hasattr(fn, "__qualname__"):
        fn = type(fn)
    return f"{getattr(fn, '__module__', None) or 'builtins'}:{fn.__qualname__}"
