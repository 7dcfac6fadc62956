"""Running snippets in tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

from dataflows_sdk.nodes.snippets import SnippetRunner

#: how much later than it should an answer may be on a busy machine, in seconds
SLACK = 3.0


def with_runner(work: Callable[[SnippetRunner], Awaitable[Any]], **options: Any) -> Any:
    """The value of ``work(runner)`` on a loop of its own; the runner is closed in the end."""

    async def main() -> Any:
        async with SnippetRunner(**options) as runner:
            return await work(runner)

    return asyncio.run(main())


def run(code: str, language: str = "javascript", names: dict[str, Any] | None = None, **options: Any) -> Any:
    """The value of one snippet."""
    options.setdefault("timeout_ms", 10_000)
    return with_runner(lambda runner: runner.run(code, language, names, **options))


async def seconds_of(work: Awaitable[Any]) -> float:
    """How long it takes, whether it fails or not."""
    begin = time.perf_counter()
    await asyncio.gather(work, return_exceptions=True)
    return time.perf_counter() - begin


def workers() -> list[psutil.Process]:
    """The processes for snippets that this one started and that live."""
    found = []
    for child in psutil.Process().children():
        try:
            if "sandbox.child" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.Error:  # gone in the meantime
            continue
    return found


async def until(fact: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The value of *fact* once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s until {what}"
        await asyncio.sleep(0.005)
    return value
