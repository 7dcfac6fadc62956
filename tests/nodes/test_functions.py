"""Functions by slug."""

from __future__ import annotations

import asyncio
import functools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dataflows_sdk.errors import DefinitionError, NonRetryableError, SnippetError, SnippetTimeoutError
from dataflows_sdk.nodes import functions
from dataflows_sdk.nodes.functions import FUNCTIONS, FunctionRegistry, FunctionVersion, function
from dataflows_sdk.nodes.snippets import SnippetRunner


def invoke(registry: FunctionRegistry, *args: Any, **options: Any) -> Any:
    return asyncio.run(registry.invoke(*args, **options))


def blocking(order: dict[str, Any]) -> Any:
    return {"ok": order["amount"] > 0, "thread": threading.current_thread() is threading.main_thread()}


async def with_call(order: Any, call: Any) -> Any:
    await asyncio.sleep(0)
    return [order, call and call.run_id]


class Scale:
    async def __call__(self, value: int) -> int:
        return value * 10


def test_callables_of_every_sort() -> None:
    registry = FunctionRegistry()
    registry.register("validate-order", blocking)
    registry.register("with-call", with_call)
    registry.register("scale", Scale())
    registry.register("partial", functools.partial(lambda factor, value: factor * value, 3))
    registry.register("length", len)
    registry.register("keyword", lambda value, *, call=None: call)
    assert invoke(registry, "validate-order", {"amount": 5}) == {"ok": True, "thread": False}
    assert invoke(registry, "with-call", 1) == [1, None]
    call: Any = SimpleNamespace(run_id="r-1")
    assert invoke(registry, "with-call", 1, call) == [1, "r-1"]
    assert invoke(registry, "keyword", 1, call) is call
    assert invoke(registry, "scale", 4) == 40
    assert invoke(registry, "partial", 4) == 12
    assert invoke(registry, "length", [1, 2]) == 2


def test_a_blocking_function_does_not_hold_the_loop() -> None:
    registry, free = FunctionRegistry(), threading.Event()
    registry.register("wait", lambda _: free.wait(20))

    async def main() -> Any:
        waiting = asyncio.create_task(registry.invoke("wait"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        free.set()
        return await waiting

    assert asyncio.run(main()) is True


def raises(error: BaseException) -> Any:
    def fn(_: Any) -> Any:
        raise error

    return fn


def test_exceptions_of_a_callable_are_its_own() -> None:
    registry = FunctionRegistry()
    registry.register("key", raises(KeyError("k")))
    registry.register("stop", raises(StopIteration(1)))
    with pytest.raises(KeyError, match="k"):
        invoke(registry, "key")
    with pytest.raises(RuntimeError, match="StopIteration"):
        invoke(registry, "stop")


def test_deployed_source_runs_on_each_engine(need: Any) -> None:
    registry = FunctionRegistry()
    registry.deploy("double", "input.x*2", engine="quickjs")
    registry.deploy("half", "return input['x'] / 2", engine="python", timeout_ms=20_000)
    registry.deploy("heavy", "let n = 0; for (let i = 0; i < 1e7; i++) n += i % 2; n", "v8", 20_000, 128)
    assert invoke(registry, "double", {"x": 2}) == 4
    assert invoke(registry, "half", {"x": 3}) == 1.5
    if not __import__("importlib").util.find_spec("py_mini_racer"):
        need("mini-racer is not installed")
    assert invoke(registry, "heavy") == 5_000_000


def test_deployed_source_uses_the_runner_that_is_there() -> None:
    async def main() -> None:
        async with SnippetRunner() as own, SnippetRunner() as of_call:
            registry = FunctionRegistry(own)
            registry.deploy("one", "1")
            call: Any = SimpleNamespace(services=SimpleNamespace(snippets=of_call))
            assert await registry.invoke("one") == 1
            await own.close()
            assert await registry.invoke("one", None, call) == 1

    asyncio.run(main())


def test_limits_of_deployed_source_hold() -> None:
    registry = FunctionRegistry()
    registry.deploy("endless", "while (true) {}", timeout_ms=100)
    registry.deploy("hungry", "new ArrayBuffer(1e8)", memory_mb=32, timeout_ms=10_000)
    with pytest.raises(SnippetTimeoutError, match="100 ms"):
        invoke(registry, "endless")
    with pytest.raises(SnippetError, match="32 MB"):
        invoke(registry, "hungry")


def test_versions_by_content() -> None:
    registry = FunctionRegistry()
    first = registry.deploy("f", "1", timeout_ms=9_000)
    assert registry.deploy("f", "1", timeout_ms=9_000) == first
    second = registry.deploy("f", "2", timeout_ms=9_000)
    others = {
        registry.deploy("g", "1", timeout_ms=9_001).version,
        registry.deploy("g", "1", timeout_ms=9_000, memory_mb=65).version,
        registry.deploy("g", "1", "python", timeout_ms=9_000).version,
    }
    assert len({first.version, second.version} | others) == 5
    assert registry.deploy("h", "1", timeout_ms=9_000).version == first.version
    assert registry.versions("f") == (first, second)
    assert invoke(registry, "f") == 2
    assert invoke(registry, "f", version=first.version) == 1
    registry.deploy("f", "1", timeout_ms=9_000)
    assert (registry.versions("f"), registry.get("f")) == ((second, first), first)
    with pytest.raises(NonRetryableError, match=f"'f' has no version 'none'; there are '{second.version}', "):
        invoke(registry, "f", version="none")


def test_a_callable_registered_again_is_the_next_version() -> None:
    registry = FunctionRegistry()
    first = registry.register("f", lambda value: value + 1)
    second = registry.register("f", lambda value: value + 2)
    assert first.version != second.version
    assert first.engine == "callable"
    assert "value + 1" in (first.source or "")
    assert (invoke(registry, "f", 1), invoke(registry, "f", 1, version=first.version)) == (3, 2)
    registry.deploy("f", "input + 3", timeout_ms=9_000)
    assert invoke(registry, "f", 1) == 4


def test_list_has_the_current_versions_by_slug() -> None:
    registry = FunctionRegistry()
    assert registry.list() == []
    registry.deploy("b", "1")
    a = registry.register("a", blocking)
    b = registry.deploy("b", "2", "python", 5, 6)
    assert registry.list() == [a, b]
    assert b == FunctionVersion("b", b.version, "python", "2", 5, 6)


def test_an_unknown_slug_names_those_spelled_alike() -> None:
    registry = FunctionRegistry()
    with pytest.raises(NonRetryableError, match=r"no function 'x'; it needs a @function"):
        invoke(registry, "x")
    registry.deploy("validate-order", "1")
    with pytest.raises(NonRetryableError, match="no function 'validate_ordr'; did you mean 'validate-order'"):
        invoke(registry, "validate_ordr")
    with pytest.raises(NonRetryableError, match=r"no function 'x'$"):
        invoke(registry, "x")
    with pytest.raises(NonRetryableError, match="no function None"):
        invoke(registry, None)
    with pytest.raises(NonRetryableError):
        registry.versions("x")


def test_the_decorator_registers_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    own = FunctionRegistry()
    monkeypatch.setattr(functions, "FUNCTIONS", own)

    @function("validate-order")
    async def validate(order: dict[str, Any]) -> bool:
        return order["amount"] > 0

    assert asyncio.run(validate({"amount": 1})) is True
    assert invoke(own, "validate-order", {"amount": -1}) is False
    assert "validate-order" not in {info.slug for info in FUNCTIONS.list()}


@pytest.mark.parametrize("slug", ["", "-a", "a b", "a/b", "ä", "a" * 101, None, 1])
def test_bad_slugs(slug: Any) -> None:
    registry = FunctionRegistry()
    for declare in (
        lambda: registry.register(slug, len),
        lambda: registry.deploy(slug, "1"),
        lambda: function(slug),
    ):
        with pytest.raises(DefinitionError, match="slug is letters"):
            declare()


@pytest.mark.parametrize(
    ("fn", "part"),
    [
        ("text", "not callable; deploy"),
        (lambda: 1, "too many positional arguments"),
        (lambda a, b: 1, "missing a required argument: 'b'"),
        (lambda call: 1, "multiple values"),
    ],
)
def test_bad_callables(fn: Any, part: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        FunctionRegistry().register("f", fn)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"engine": "bun"}, "engine='bun'"),
        ({"source": len}, "register() takes callables"),
        ({"timeout_ms": 0}, "timeout_ms=0"),
        ({"timeout_ms": True}, "timeout_ms=True"),
        ({"memory_mb": 1.5}, "memory_mb=1.5"),
    ],
)
def test_bad_deployments(wrong: dict[str, Any], part: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        FunctionRegistry().deploy(**{"slug": "f", "source": "1", **wrong})
    assert part in str(caught.value)
