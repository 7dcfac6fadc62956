"""A tool, and a set of tools, in the shapes in which models are offered them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflows_memory.tools.parameters import KEY, Parameters, checked_key, descriptions
from dataflows_memory.tools.results import LIMIT, plain, result_text
from dataflows_memory.tools.schema import strict_schema, tool_name
from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.core.shown import Sheet, ShownAsTable
from dataflows_sdk.errors import DataflowsError, ToolArgumentError, ToolError

#: seconds that a call may take, where nothing else is said
WAIT = 30.0
_LONGEST_DESCRIPTION = 1_024


@dataclass(frozen=True, slots=True)
class ToolResult(ShownAsTable):
    """What a model is told of its call.

    Attributes:
        text: JSON, or what went wrong.
        error: whether it did.
    """

    text: str
    error: bool = False


@dataclass(frozen=True)
class Tool(ShownAsTable):
    """Something that a model may call.

    Attributes:
        name: as models call it.
        description: for the model: what it does, and when to use it.
        parameters: of its arguments.
        function: is called with them, by name; may be a coroutine function.
        dangerous: whether a person has to agree to each call.
        wait: seconds that a call may take.
        limit: characters of an answer.
        reads: whether a call changes nothing.
        keyed: whether the function takes an ``idempotency_key``, by which a repeated call does nothing twice.
        redactor: masks secrets in what the model is told.
    """

    name: str
    description: str
    parameters: Parameters
    function: Callable[..., Any]
    dangerous: bool = False
    wait: float = WAIT
    limit: int = LIMIT
    #: what the name was before it was made one that models can call
    origin: str = field(default="", compare=False)
    reads: bool = False
    keyed: bool = False
    redactor: Redactor = field(default=REDACTOR, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.name != tool_name(self.name):
            raise ToolError(f"{self.name!r} is no name that models can call; {tool_name(self.name)!r} would be")
        if not callable(self.function):
            raise ToolError(f"tool {self.name!r}: {self.function!r} cannot be called")
        if isinstance(self.wait, bool) or not isinstance(self.wait, int | float) or not 0 < self.wait <= 3_600:
            raise ToolError(f"tool {self.name!r}: wait={self.wait!r} lies between 0 and 3,600 seconds")

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        dangerous: bool = False,
        wait: float = WAIT,
        limit: int = LIMIT,
    ) -> Tool:
        """A tool that calls a function, described by its signature and docstring.

        Raises:
            ToolError: a model cannot call it: it has parameters without a name, or that are no JSON.
        """
        if not callable(function):
            raise ToolError(f"{function!r:.100} cannot be called, and so is no tool")
        given = str(name or getattr(function, "__name__", type(function).__name__))
        told = description if description is not None else descriptions(inspect.getdoc(function) or "")[0]
        parameters = Parameters.of_function(function, given)
        return cls(tool_name(given), told, parameters, function, dangerous, wait, limit, given)

    # --- shapes --------------------------------------------------------------------------------------------

    def openai(self) -> dict[str, Any]:
        """For ``tools=`` of OpenAI's chat completions."""
        return {"type": "function", "function": self._shape()}

    def responses(self) -> dict[str, Any]:
        """For ``tools=`` of OpenAI's responses."""
        return {"type": "function", **self._shape()}

    def mcp(self) -> dict[str, Any]:
        """As ``tools/list`` of MCP tells it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.parameters.schema,
            "annotations": {"readOnlyHint": True} if self.reads else {"destructiveHint": self.dangerous},
        }

    def _shape(self) -> dict[str, Any]:
        strict = strict_schema(self.parameters.schema)
        return {
            "name": self.name,
            "description": self.description[:_LONGEST_DESCRIPTION],
            "parameters": self.parameters.schema if strict is None else strict,
            "strict": strict is not None,
        }

    # --- calls ---------------------------------------------------------------------------------------------

    def call(self, given: Any = None, *, key: str | None = None) -> Any:
        """Call it with arguments that a model gave, and give its value; a coroutine is to be awaited.

        Args:
            given: an object, or its JSON text.
            key: of the call, for a tool that is *keyed*; what a model gave itself goes before it.

        Raises:
            ToolArgumentError: they do not fit.
        """
        arguments = self.parameters.arguments(given)
        if key is not None and self.keyed:
            arguments.setdefault(KEY, checked_key(key))
        return self.function(**arguments)

    def tell(self, given: Any = None, *, key: str | None = None) -> ToolResult:
        """Call it, wait no longer than it may take, and give what to tell the model, also when it raises."""
        box: list[ToolResult] = []
        self._thread(lambda: box.append(self._told(given, key))).join(self.wait)
        return box[0] if box else self._too_long()

    async def atell(self, given: Any = None, *, key: str | None = None) -> ToolResult:
        """`tell`, to be awaited: who stops awaiting waits no more, and a coroutine function is cancelled."""
        if inspect.iscoroutinefunction(self.function):
            try:
                async with asyncio.timeout(self.wait):
                    return self._shown(await self.call(given, key=key))
            except TimeoutError:
                return self._too_long()
            except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model hears of it
                return self._raised(error)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[ToolResult] = loop.create_future()

        def work() -> None:
            told = self._told(given, key)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(told))

        self._thread(work)
        try:
            return await asyncio.wait_for(done, self.wait)
        except TimeoutError:
            return self._too_long()

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        # one of its own, for a tool that hangs would keep one of a pool for ever
        thread = threading.Thread(target=work, name=f"tool-{self.name}", daemon=True)
        thread.start()
        return thread

    def _told(self, given: Any, key: str | None) -> ToolResult:
        try:
            value = self.call(given, key=key)
            if inspect.isawaitable(value):
                value = asyncio.run(_awaited(value))
            return self._shown(value)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model hears of it
            return self._raised(error)

    def _shown(self, value: Any) -> ToolResult:
        # masked before it is cut: half a secret is not recognised any more
        whole = self.redactor.redact_value(plain(value))
        return ToolResult(self.redactor.redact_text(result_text(whole, self.limit)))

    def _raised(self, error: Exception) -> ToolResult:
        if isinstance(error, ToolArgumentError):
            text = f"{self.name}: {error}"
        else:
            text = str(error) if isinstance(error, DataflowsError) else f"{type(error).__name__}: {error}"
        return ToolResult(_brief(self.redactor.redact_text(text)), error=True)

    def _too_long(self) -> ToolResult:
        waited = format_duration(self.wait)
        return ToolResult(f"{self.name} did not answer within {waited}. It may still go on; ask later.", error=True)


class ToolBox(ShownAsTable, Mapping[str, Tool]):
    """Tools by name.

    Args:
        tools: in the order in which a model sees them.

    Raises:
        ToolError: two have one name.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for each in tools:
            other = self._tools.get(each.name)
            if other is not None:
                raise ToolError(
                    f"two tools are called {each.name!r}: {other.origin or other.name!r} and "
                    f"{each.origin or each.name!r}; give one of them another name="
                )
            self._tools[each.name] = each

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def openai(self) -> list[dict[str, Any]]:
        """For OpenAI's chat completions."""
        return [each.openai() for each in self._tools.values()]

    def responses(self) -> list[dict[str, Any]]:
        """For OpenAI's responses."""
        return [each.responses() for each in self._tools.values()]

    def mcp(self) -> list[dict[str, Any]]:
        """For MCP."""
        return [each.mcp() for each in self._tools.values()]

    def functions(self) -> dict[str, Callable[..., Any]]:
        """The tools as plain functions by name: they check their arguments, give values, and raise."""
        return {name: _plainly(tool) for name, tool in self._tools.items()}

    def call(self, name: str, given: Any = None) -> str:
        """Call a tool by the name and with the arguments (a dict, or JSON) that a model gave; the text to tell it."""
        return self.tell(name, given).text

    def tell(self, name: str, given: Any = None, *, key: str | None = None) -> ToolResult:
        """`call`, which also says whether it went wrong; an unknown tool is told, too. For *key* see `Tool.call`."""
        tool = self._tools.get(name) if isinstance(name, str) else None
        return self._unknown(name) if tool is None else tool.tell(given, key=key)

    async def atell(self, name: str, given: Any = None, *, key: str | None = None) -> ToolResult:
        """`tell`, to be awaited."""
        tool = self._tools.get(name) if isinstance(name, str) else None
        return self._unknown(name) if tool is None else await tool.atell(given, key=key)

    def _unknown(self, name: object) -> ToolResult:
        import difflib

        alike = difflib.get_close_matches(str(name), self._tools, n=3)
        there = f"did you mean {' or '.join(alike)}?" if alike else f"there are: {', '.join(self._tools)}"
        return ToolResult(f"there is no tool {name!r:.100}; {there}", error=True)

    def _sheet(self) -> Sheet:
        rows = [(each.name, each.description) for each in self._tools.values()]
        return Sheet(f"{len(rows)} tools", rows, ("tool", "what it does"), total=len(rows))


def _plainly(tool: Tool) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return tool.call(arguments)

    call.__name__, call.__doc__ = tool.name, tool.description
    return call


async def _awaited(value: Any) -> Any:
    return await value


def _brief(text: str) -> str:
    return text if len(text) <= 4_000 else f"{text[:4_000]}… ({len(text) - 4_000:,} more characters)"
