"""Functions by slug: Python callables that were registered, and source that was deployed."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, NonRetryableError
from dataflows_sdk.flow.builder import Flow, flow
from dataflows_sdk.flow.names import near_misses
from dataflows_sdk.flow.source import source_of, source_sha
from dataflows_sdk.nodes.host import Host
from dataflows_sdk.nodes.snippets import SnippetRunner

if TYPE_CHECKING:
    from dataflows_sdk.nodes.registry import Call

F = TypeVar("F", bound=Callable[..., Any])
FunctionEngine = Literal["callable", "quickjs", "v8", "node", "deno", "python", "wasmtime"]
SourceEngine = Literal["quickjs", "v8", "node", "deno", "python", "wasmtime"]

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class FunctionVersion(ShownAsTable):
    """One version of a function.

    Attributes:
        slug: its name.
        version: 16 hex digits, a hash of all that follows: the same content is the same version.
        engine: ``callable`` for a Python callable of this process, else what runs the source.
        source: the text; None where Python does not have it.
        timeout_ms, memory_mb: of deployed source; None for callables.
    """

    slug: str
    version: str
    engine: FunctionEngine
    source: str | None = None
    timeout_ms: int | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class _Callable:
    fn: Callable[..., Any]
    wants_call: bool


class FunctionRegistry:
    """Functions of this process by slug.

    Args:
        runner: runs deployed source where `invoke` gets no `Call`; without one, each such invocation starts and ends
            a process of its own.
    """

    def __init__(self, runner: SnippetRunner | None = None) -> None:
        self._runner = runner
        # by slug: every version by its hash in the order of deployment, the current one last
        self._versions: dict[str, dict[str, FunctionVersion]] = {}
        self._callables: dict[tuple[str, str], _Callable] = {}

    def register(self, slug: str, fn: Callable[..., Any]) -> FunctionVersion:
        """Make a Python callable known; another one under the same slug becomes its next version.

        Args:
            slug: letters, digits, ``.``, ``_`` and ``-``.
            fn: ``fn(input)`` or ``fn(input, call)``, blocking (it runs in a thread) or async.

        Raises:
            DefinitionError: the slug is none, or *fn* cannot be called so.
        """
        _check_slug(slug)
        wants_call = _wants_call(slug, fn)
        info = FunctionVersion(slug, source_sha(fn), "callable", source_of(fn))
        self._callables[slug, info.version] = _Callable(fn, wants_call)
        return self._add(info)

    def deploy(
        self,
        slug: str,
        source: str,
        engine: SourceEngine = "quickjs",
        timeout_ms: int = 1_000,
        memory_mb: int = 64,
    ) -> FunctionVersion:
        """Make source known, which sees what it is given as ``input``; the same content again is no new version.

        Source in Python is trusted code (see `SnippetRunner`). It is kept in this process only;
        ``ctx.functions.deploy`` keeps it in the database.

        Raises:
            DefinitionError: the slug, the engine or a limit makes no sense, or *source* is no text.
        """
        _check_slug(slug)
        if engine not in get_args(SourceEngine):
            known = ", ".join(map(repr, get_args(SourceEngine)))
            raise DefinitionError(f"function {slug!r}: engine={engine!r}: there are {known}")
        if not isinstance(source, str):
            raise DefinitionError(
                f"function {slug!r}: source is a text, not {type(source).__name__}; register() takes callables"
            )
        for name, value in (("timeout_ms", timeout_ms), ("memory_mb", memory_mb)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DefinitionError(f"function {slug!r}: {name}={value!r}: a whole number above 0 is needed")
        content = f"{engine}\n{timeout_ms}\n{memory_mb}\n{source}".encode("utf-8", "surrogatepass")
        version = hashlib.sha256(content).hexdigest()[:16]
        return self.learn(FunctionVersion(slug, version, engine, source, timeout_ms, memory_mb))

    def learn(self, info: FunctionVersion) -> FunctionVersion:
        """Take a version of a function that was deployed elsewhere as the current one."""
        return self._add(info)

    def is_callable(self, slug: str) -> bool:
        """Whether the current version of a function is a Python callable of this process."""
        versions = self._versions.get(slug)
        return versions is not None and next(reversed(versions.values())).engine == "callable"

    async def invoke(
        self, slug: str, input: Any = None, call: Call | None = None, *, version: str | None = None
    ) -> Any:
        """Call a function and give its value.

        Args:
            slug: which one.
            input: its argument.
            call: of the node that calls it; handed on to callables that take a parameter ``call``.
            version: of which content; the current one by default.

        Raises:
            NonRetryableError: there is no such function or version.
            Exception: whatever a callable raises; for deployed source see `SnippetRunner.run`.
        """
        info = self.get(slug, version)
        if info.engine == "callable":
            return await _call(self._callables[slug, info.version], input, call)
        if call is not None:
            return await _run(call.services.snippets, info, input, Host(call))
        if self._runner is not None:
            return await _run(self._runner, info, input)
        async with SnippetRunner(workers=1) as runner:
            return await _run(runner, info, input)

    def get(self, slug: str, version: str | None = None) -> FunctionVersion:
        """The function of that slug, its current version by default.

        Raises:
            NonRetryableError: there is none; the message names those that are spelled alike.
        """
        versions = self._versions.get(slug)
        if not versions:
            hint = near_misses(str(slug), self._versions) or (
                "it needs a @function(…), register() or deploy() in this process" if not self._versions else ""
            )
            raise NonRetryableError(f"there is no function {slug!r}" + (f"; {hint}" if hint else ""))
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise NonRetryableError(
                f"function {slug!r} has no version {version!r}; there are {', '.join(map(repr, versions))}"
            )
        return versions[version]

    def list(self) -> list[FunctionVersion]:
        """The current version of every function, by slug."""
        return [next(reversed(self._versions[slug].values())) for slug in sorted(self._versions)]

    def versions(self, slug: str) -> tuple[FunctionVersion, ...]:
        """All versions of one function, the current one last.

        Raises:
            NonRetryableError: there is no such function.
        """
        self.get(slug)
        return tuple(self._versions[slug].values())

    def _add(self, info: FunctionVersion) -> FunctionVersion:
        # copied, so that a reader in another thread never sees a table in the making
        versions = dict(self._versions.get(info.slug, {}))
        versions.pop(info.version, None)  # what comes back is current again
        versions[info.version] = info
        self._versions[info.slug] = versions
        return info


def calling(slug: str) -> Flow:
    """A flow that does nothing but call a function with what it is given."""
    return flow(f"function {slug}").on_manual().function("call", slug, input="{{trigger}}")


#: The functions of this process that `function` declared.
FUNCTIONS = FunctionRegistry()


def function(slug: str) -> Callable[[F], F]:
    """Declare a function for ``code_function`` nodes: a decorator for ``fn(input)`` or ``fn(input, call)``.

    Raises:
        DefinitionError: see `FunctionRegistry.register`.
    """
    _check_slug(slug)

    def declare(fn: F) -> F:
        FUNCTIONS.register(slug, fn)
        return fn

    return declare


def _check_slug(slug: str) -> None:
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise DefinitionError(
            f"a function's slug is letters, digits, '.', '_' and '-', such as 'validate-order', not {slug!r}"
        )


def _wants_call(slug: str, fn: Callable[..., Any]) -> bool:
    if not callable(fn):
        raise DefinitionError(f"function {slug!r}: {fn!r} is not callable; deploy() takes source")
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some builtins have none
        return False
    given = {"call": None} if "call" in signature.parameters else {}
    try:
        signature.bind(None, **given)
    except TypeError as error:
        raise DefinitionError(
            f"function {slug!r} is called with its input, and with call= where it has that parameter: {error}"
        ) from None
    return bool(given)


async def _call(known: _Callable, input: Any, call: Call | None) -> Any:
    named = {"call": call} if known.wants_call else {}
    if inspect.iscoroutinefunction(known.fn):
        return await known.fn(input, **named)

    def blocking() -> Any:
        try:
            return known.fn(input, **named)
        except StopIteration as error:  # a future cannot carry it
            raise RuntimeError("the function raised StopIteration") from error

    result = await asyncio.to_thread(blocking)
    # a callable object or a partial may turn out to be async only now
    return await result if inspect.isawaitable(result) else result


async def _run(runner: SnippetRunner, info: FunctionVersion, input: Any, host: Host | None = None) -> Any:
    assert info.source is not None
    assert info.timeout_ms is not None
    assert info.memory_mb is not None
    language, engine = _RUN_BY[info.engine]
    return await runner.run(
        info.source,
        language,
        {"input": input},
        timeout_ms=info.timeout_ms,
        memory_mb=info.memory_mb,
        engine=engine,
        host=host,
    )


#: language and engine as `SnippetRunner.run` takes them
_RUN_BY: dict[str, tuple[Any, Any]] = {
    "python": ("python", "auto"),
    "wasmtime": ("wasm", "auto"),
    **{engine: ("javascript", engine) for engine in ("quickjs", "v8", "node", "deno")},
}
