"""`SnippetRunner`: code in, JSON value out."""

from __future__ import annotations

import asyncio
import json
import keyword
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

import pydantic_core

from dataflows_sdk.errors import DefinitionError, SnippetError, SnippetWorkerError
from dataflows_sdk.nodes.snippets import answers
from dataflows_sdk.nodes.snippets.engines import COLD, Engine, available, require
from dataflows_sdk.nodes.snippets.pool import Host, Pool, PoolClosedError, WorkerEndedError, WorkerLateError

_SIGNAL_OF_TIME = -24  # SIGXCPU: the process used up more processor time than the snippet may take
#: SIGABRT and SIGTRAP, and what Windows has of them: V8 ends its process when the heap is full
_ENDS_OF_V8 = (-6, -5, 134, 133, 0xC0000005, 0x80000003)
_SIGNALS_FROM_OUTSIDE = (-15, -9, -2, -1)
_OF_JAVASCRIPT: tuple[Engine, ...] = ("quickjs", "v8", "node", "deno")


class SnippetRunner:
    """Runs snippets in processes of their own.

    Processes start with the first snippet and stay warm; all end with `close`, and by themselves when this process
    ends, however it does. A runner belongs to the event loop of its first call.

    **JavaScript** sees `names` as global variables, plain objects that are its own: changing them changes nothing
    outside. There is no network, file, timer, module or host object; ``console.log`` goes to the Python log
    ``dataflows_sdk.snippets``. The output is what ``return`` at the top level gives, or else the value of the last
    expression; an object literal may stand alone. ``await`` works with ``return``. Every call has a fresh context.
    The engine is QuickJS (ES2025, small, quick to begin) or, on request, V8 (extra ``v8``; for heavy code).

    **Python** is trusted code: it can do whatever this user can. It has a process of its own, which is killed when
    its time is up, no environment variables with credentials, and a limit on memory where the system is Linux. The
    snippet is the body of a function; the last expression is its value where it has no ``return``. What it prints
    goes to the log.

    **WebAssembly** is text (WAT) or base64, and only computes: a command of WASI (``_start``) reads JSON and writes
    JSON, a function ``run`` or ``main`` takes the numbers of ``input``, one or a list. It runs in Wasmtime (extra
    ``wasm``) with fuel and a cap on its memory.

    **Node.js and Deno** run JavaScript as the others do, in a process without permissions that serves one snippet: for
    code that wants that engine, at 50 to 150 ms a call. Node's contexts are no wall against code that means harm
    (its own documentation says so); its permission model keeps files, processes and threads, but not the network.

    Values go in and out as JSON. In: dates, UUIDs and Decimals become texts, bytes base64, models and data classes
    objects, NaN and infinities null; JavaScript reads integers beyond 2**53 with the loss that its numbers have. Out:
    undefined becomes None (and is left out of an object), a Date its ISO text; NaN, infinities, BigInts, functions,
    symbols, Maps, Sets and the like are errors that say where. Texts come back as they are, also with NUL and lone
    surrogates.

    Args:
        workers: processes per engine, at the most; further calls wait for their turn, which is no part of the timeout.
        idle_seconds: an idle process ends after so long.
        longest_result: bytes of JSON that a snippet may give.

    Raises:
        DefinitionError: *workers* or *longest_result* is below 1, or *idle_seconds* below 0.
    """

    def __init__(self, workers: int = 2, idle_seconds: float = 60.0, longest_result: int = 10_000_000) -> None:
        for name, value in (("workers", workers), ("longest_result", longest_result)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DefinitionError(f"{name}={value!r}: a whole number above 0 is needed")
        if isinstance(idle_seconds, bool) or not isinstance(idle_seconds, int | float) or not idle_seconds >= 0:
            raise DefinitionError(f"idle_seconds={idle_seconds!r}: a number of seconds is needed")
        self._workers = workers
        self._idle_seconds = idle_seconds
        self._longest = min(longest_result, 1 << 31)
        self._pools: dict[Engine, Pool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def run(
        self,
        code: str,
        language: Literal["javascript", "python", "wasm"] = "javascript",
        names: Mapping[str, Any] | None = None,
        *,
        timeout_ms: int = 1_000,
        memory_mb: int = 64,
        engine: Literal["auto", "quickjs", "v8", "node", "deno"] = "auto",
        host: Host | None = None,
    ) -> Any:
        """Run *code* and give its value.

        A worker that somebody else ended in mid-snippet is replaced, and JavaScript, which has no effects, runs once
        more; a snippet that takes two workers down is an error.

        Args:
            code: the snippet.
            language: ``javascript``, ``python`` or ``wasm``.
            names: what the snippet sees, by variable name.
            timeout_ms: milliseconds of wall-clock time; the wait for a free worker and its start do not count.
                The engine stops in time by itself; where it cannot, its process is killed one second later.
            memory_mb: megabytes for the snippet's own values.
            engine: of JavaScript; ``auto`` is QuickJS, or V8 where only that is installed. ``node`` and ``deno`` are
                programs, with a process for each snippet.
            host: answers what the snippet asks through ``atlas``, in QuickJS and V8; without one there is none.

        Raises:
            SnippetError: it cannot be read, threw, needed too much memory, or gave something that is not JSON.
            SnippetTimeoutError: it took too long.
            SnippetWorkerError: its process did not start, or was ended from outside (and for JavaScript: again).
            MissingExtraError: the engine is not installed.
            DefinitionError: an argument makes no sense.
        """
        chosen = _engine(language, engine)
        asks = host if chosen in ("quickjs", "v8") else None
        body = _request(code, dict(names or {}), language, asks is not None)
        for name, value, most in (("timeout_ms", timeout_ms, 86_400_000), ("memory_mb", memory_mb, 65_536)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise DefinitionError(f"{name}={value!r}: a whole number from 1 to {most:,} is needed")
        pool = self._pool(chosen)
        attempts = 1 if chosen in COLD or asks is not None else 2
        while True:
            attempts -= 1
            try:
                answer = await pool.call(body, timeout_ms, memory_mb, self._longest, asks)
            except WorkerLateError:
                raise answers.timeout(timeout_ms) from None
            except PoolClosedError:
                raise SnippetWorkerError("the snippets' runner was closed before the snippet gave its value") from None
            except WorkerEndedError as ended:
                if ended.code == _SIGNAL_OF_TIME:
                    raise answers.timeout(timeout_ms) from None
                if attempts:
                    continue
                if chosen in ("node", "deno") and ended.code in _ENDS_OF_V8:
                    raise answers.memory(memory_mb) from None
                raise _ended(ended) from None
            return answers.value_of(answer, timeout_ms, memory_mb)

    async def close(self) -> None:
        """End all processes; snippets that run or wait fail with `SnippetWorkerError`. Closing again does nothing."""
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _pool(self, engine: Engine) -> Pool:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise SnippetWorkerError("the snippets' runner is closed")
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise DefinitionError("a SnippetRunner belongs to the event loop of its first call; make another one here")
        if engine not in self._pools:
            self._pools[engine] = Pool(engine, self._workers, self._idle_seconds)
        return self._pools[engine]


def _engine(language: str, engine: str) -> Engine:
    if language == "python":
        if engine != "auto":
            raise DefinitionError(f"engine={engine!r} is for JavaScript; leave it out for a snippet in Python")
        return "python"
    if language == "wasm":
        if engine != "auto":
            raise DefinitionError(f"engine={engine!r} is for JavaScript; WebAssembly has one")
        require("wasmtime")
        return "wasmtime"
    if language != "javascript":
        raise DefinitionError(f"language={language!r}: snippets are written in 'javascript', 'python' or 'wasm'")
    if engine == "auto":
        return "v8" if not available("quickjs") and available("v8") else "quickjs"
    for chosen in _OF_JAVASCRIPT:
        if engine == chosen:
            require(chosen)
            return chosen
    raise DefinitionError(f"engine={engine!r}: there are 'auto', {', '.join(map(repr, _OF_JAVASCRIPT))}")


def _request(code: str, names: dict[str, Any], language: str, host: bool) -> bytes:
    """The body of a request, in ASCII.

    Raises:
        DefinitionError: *code* is no text, a name is no variable name.
        SnippetError: a value has no JSON.
    """
    if not isinstance(code, str):
        raise DefinitionError(f"a snippet is a text, not {type(code).__name__}")
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or (language == "python" and keyword.iskeyword(name)):
            raise DefinitionError(f"names: {name!r} is no name for a variable")
    parts = (f"{json.dumps(name)}:{_json(name, value)}" for name, value in names.items())
    asks = ',"host":true' if host else ""
    return f'{{"code":{json.dumps(code)},"names":{{{",".join(parts)}}}{asks}}}'.encode()


def _json(name: str, value: Any) -> str:
    try:
        return pydantic_core.to_json(value, inf_nan_mode="null", bytes_mode="base64").decode()
    except (pydantic_core.PydanticSerializationError, ValueError, RecursionError) as error:
        first = error
    try:  # lone surrogates, which are no UTF-8, and dicts inside of them
        return json.dumps(_finite(value), default=pydantic_core.to_jsonable_python)
    except (pydantic_core.PydanticSerializationError, ValueError, TypeError, RecursionError):
        why = str(first).removeprefix("PydanticSerializationError: ")
        raise SnippetError(
            f"a snippet cannot be given `{name}`, which holds a value without JSON: {why}", "input"
        ) from first


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _ended(ended: WorkerEndedError) -> Exception:
    if ended.code in _SIGNALS_FROM_OUTSIDE:
        return SnippetWorkerError(
            f"the process of the snippet was {ended}; somebody ended it, or the system was out of memory"
        )
    return SnippetError(f"the snippet took its process down ({ended})", "ended")
