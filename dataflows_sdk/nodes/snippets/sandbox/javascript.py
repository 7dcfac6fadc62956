"""Snippets in JavaScript: QuickJS or V8, a fresh context for each."""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .limits import Limits
from .wire import failure

if TYPE_CHECKING:
    from .wire import Ask

_STACK = 1 << 20  # bytes; a main thread has 8 MB almost everywhere, 2 MB on Windows
#: how a request ends whose snippet may ask a host
_ASKS = ',"host":true}'
_NEVER = "it is a promise that never settles; nothing in the sandbox could wake it"


def _script(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123 - pathlib takes longer to import than all of this module
        return file.read()


def _too_large(size: int, longest: int) -> bytes:
    return failure("result", f"it has {size:,} bytes of JSON, and {longest:,} is the most")


class QuickJS:
    """quickjs-ng: starts in a tenth of a millisecond, counts processor time."""

    def __init__(self) -> None:
        self._engine: ModuleType = __import__("_quickjs")
        self._driver = _script("driver.js")
        self._host = _script("host.js")
        if not self._engine.Context().eval("typeof ''.isWellFormed === 'function'"):
            raise RuntimeError(
                "the module that was found is the older package `quickjs`, which has the same name: "
                "pip uninstall quickjs, then pip install --force-reinstall quickjs-ng"
            )
        self._limits = Limits("all")
        self._context: Any = None
        self._step: Any = None
        self.prepare()

    def confine(self) -> None:
        self._limits.close_the_doors()

    def prepare(self) -> None:
        """A fresh context with the driver in it: two thirds of what a small snippet takes."""
        self._step = None
        self._context = self._engine.Context()
        self._context.set_max_stack_size(_STACK)
        self._step = self._context.eval(self._driver)

    def __call__(self, body: bytes, seconds: float, memory: int, longest: int, ask: Ask) -> bytes:
        self._context.set_memory_limit(memory)
        try:
            # twice: the answer is copied out of the engine before it is measured
            with self._limits.around(seconds, 2 * memory + 4 * len(body)):
                answer = self._run(body.decode(), seconds, ask)
                if len(answer) > longest:
                    return _too_large(len(answer), longest)
                encoded = answer.encode()
        except MemoryError:
            return failure("memory")
        except (self._engine.JSException, UnicodeDecodeError) as error:
            return self._without_answer(str(error))
        return encoded if len(encoded) <= longest else _too_large(len(encoded), longest)

    def _run(self, body: str, seconds: float, ask: Ask) -> str:
        until = time.perf_counter() + seconds
        context, step = self._context, self._step
        host: Any = context.eval(self._host) if body.endswith(_ASKS) else None
        context.set_time_limit(seconds)
        answer: str = step(body)
        while not answer:
            left = until - time.perf_counter()
            if left <= 0:
                return failure("timeout").decode()
            context.set_time_limit(left)
            more = context.execute_pending_job()
            answer = step("")
            if not more and not answer:
                calls = host("?") if host is not None else ""
                if not calls:
                    return failure("result", _NEVER).decode()
                host("!" + ask(calls.encode()).decode())
        return answer

    @staticmethod
    def _without_answer(text: str) -> bytes:
        # Only what no `catch` of JavaScript can hold gets here.
        if "interrupted" in text:
            return failure("timeout")
        if "out of memory" in text or text.strip() in {"", "null"}:
            return failure("memory")
        return failure("thrown", text[:4_000])


class V8:
    """V8 by mini-racer: twenty times faster in loops, sixty megabytes larger, milliseconds to begin."""

    def __init__(self) -> None:
        self._engine: ModuleType = __import__("py_mini_racer")
        self._driver = _script("driver.js")
        self._host = _script("host.js")
        self._isolate: Any = None
        self._step: Any = None
        self.prepare()  # the first one takes as long as fifty others
        # the heap's limit is V8's own; this one is for typed arrays, which lie beside the heap
        self._limits = Limits("data", spare=192 << 20, threads=(os.cpu_count() or 1) + 1)

    def confine(self) -> None:
        """V8 starts threads when it likes to."""

    def prepare(self) -> None:
        """A fresh isolate with the driver in it; the last one is closed, never left to the garbage collector."""
        if self._isolate is not None:
            self._step = None
            self._isolate.close()
        self._isolate = self._engine.MiniRacer()
        self._step = self._isolate.eval(self._driver)

    def __call__(self, body: bytes, seconds: float, memory: int, longest: int, ask: Ask) -> bytes:
        engine, isolate, step = self._engine, self._isolate, self._step
        text = body.decode()
        with self._limits.around(seconds, 2 * memory + 4 * len(body)):
            try:
                isolate.set_hard_memory_limit(memory)
                host: Any = isolate.eval(self._host) if text.endswith(_ASKS) else None
                until = time.perf_counter() + seconds
                answer = step(text, timeout_sec=seconds)
                while not answer:  # a promise; what it waited for has run when the call was over
                    answer = step("", timeout_sec=max(until - time.perf_counter(), 0.001))
                    if answer:
                        break
                    left = max(until - time.perf_counter(), 0.001)
                    calls = host("?", timeout_sec=left) if host is not None else ""
                    if not calls:
                        return failure("result", _NEVER)
                    told = "!" + ask(calls.encode()).decode()
                    if time.perf_counter() >= until:
                        return failure("timeout")
                    host(told, timeout_sec=max(until - time.perf_counter(), 0.001))
                if len(answer) > longest:
                    return _too_large(len(answer), longest)
                encoded: bytes = answer.encode()
            except engine.JSTimeoutException:
                return failure("timeout")
            except (engine.JSOOMException, MemoryError):
                return failure("memory")
            except engine.JSEvalException as error:
                # an end for want of memory arrives under several names
                if isolate.was_hard_memory_limit_reached():
                    return failure("memory")
                return failure("thrown", str(error)[:4_000])
            if encoded.startswith(b'{"error":{"kind":"syntax"'):
                encoded = self._placed(isolate, text, encoded)
        return encoded if len(encoded) <= longest else _too_large(len(encoded), longest)

    def _placed(self, isolate: Any, body: str, answer: bytes) -> bytes:
        """A syntax error with its place, which V8 tells its host only."""
        import json

        code = json.loads(body)["code"]
        try:
            isolate.eval(f"(async function(){{\n{code}\n}})", timeout_sec=1)
        except self._engine.JSParseException as error:
            head, _, rest = str(error).partition(": ")
            lines = rest.split("\n")
            parsed = json.loads(answer)
            column = lines[2].find("^") + 1 if len(lines) > 2 else 1
            parsed["error"].update(stack=f"    at snippet.js{head[head.rfind(':') :]}:{column}", lines=1, columns=0)
            return json.dumps(parsed).encode()
        except (self._engine.JSEvalException, UnicodeEncodeError):
            pass
        return answer
