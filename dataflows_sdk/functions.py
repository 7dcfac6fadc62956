"""Functions that are deployed into the database: ``ctx.functions``.

A function that Python registered in a process (`dataflows_sdk.function`) is called there in preference to one of the
same slug in the database.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.errors import NonRetryableError
from dataflows_sdk.nodes.functions import FunctionRegistry, FunctionVersion, SourceEngine, calling

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.core.durations import Duration
    from dataflows_sdk.runs import Run


class Functions(ShownAsTable):
    """The functions of a database."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def deploy(
        self,
        slug: str,
        source: str,
        engine: SourceEngine = "quickjs",
        timeout_ms: int = 1_000,
        memory_mb: int = 64,
    ) -> FunctionVersion:
        """Make source callable by every process: what it is given is ``input``, what it returns the value.

        The same content again is no new version; other content becomes the current one, the old ones stay.

        Raises:
            DefinitionError: the slug, the engine or a limit makes no sense.
        """
        made = FunctionRegistry().deploy(slug, source, engine, timeout_ms, memory_mb)
        now = self._context._engine.clock.now()
        text = source.replace("\0", "\\0")
        row = (made.slug, made.version, made.engine, text, made.timeout_ms, made.memory_mb, now)
        self._context._read("functions", "deploy", row)
        return made

    def list(self) -> list[FunctionVersion]:
        """The current version of every function."""
        return Listing([FunctionVersion(*row) for row in self._context._read("functions", "current", (None,))])

    def versions(self, slug: str) -> tuple[FunctionVersion, ...]:
        """All versions of one function, the current one last.

        Raises:
            NonRetryableError: there is no such function.
        """
        rows = self._context._read("functions", "versions", (slug,))
        if not rows:
            raise NonRetryableError(f"there is no function {slug!r} in the database")
        return tuple(FunctionVersion(*row) for row in rows)

    def start(self, slug: str, input: Any = None) -> Run:
        """Call a function, as a run of its own: durable, and to be seen afterwards."""
        return self._context.start(calling(slug), input)

    def invoke(self, slug: str, input: Any = None, *, timeout: Duration | None = None) -> Any:
        """Call a function and wait for its value; `start` and ``result``."""
        return self.start(slug, input).result(timeout)

    async def find(self, slug: str) -> FunctionVersion | None:
        """The current version of a function, for nodes that call it."""
        rows = await asyncio.to_thread(self._context._read, "functions", "current", (slug,))
        return FunctionVersion(*rows[0]) if rows else None

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "functions")
