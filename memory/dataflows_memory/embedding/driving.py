"""What a generator decides, done in the calling thread or awaited: so it is decided in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from dataflows_sdk.errors import EmbeddingError

S = TypeVar("S")
T = TypeVar("T")


def drive(steps: Generator[S, Any, T], do: Callable[[S], Any]) -> T:
    """Do each step that is asked for, and give what the generator returns; an `EmbeddingError` is raised in it."""
    advance, given = steps.send, None
    while True:
        try:
            step = advance(given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        advance, given = steps.send, None
        try:
            given = do(step)
        except EmbeddingError as error:
            advance, given = steps.throw, error


async def adrive(steps: Generator[S, Any, T], do: Callable[[S], Awaitable[Any]]) -> T:
    """`drive`, awaited."""
    advance, given = steps.send, None
    while True:
        try:
            step = advance(given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        advance, given = steps.send, None
        try:
            given = await do(step)
        except EmbeddingError as error:
            advance, given = steps.throw, error
