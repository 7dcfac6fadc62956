"""Node.js, Deno and WebAssembly: what they compute, and what they are kept from."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from typing import Any

import pytest

from dataflows_sdk.errors import DefinitionError, MissingExtraError, SnippetError, SnippetTimeoutError
from dataflows_sdk.nodes.functions import FunctionRegistry
from dataflows_sdk.nodes.snippets import SnippetRunner, engines

from .running import SLACK, run, with_runner, workers

PROGRAMS = ["node", "deno"]


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    """An engine that is a program; where it is missing, the test is skipped, and fails on the machine for checks."""
    name: str = request.param
    if not engines.available(name):  # type: ignore[arg-type]
        if os.environ.get("DATAFLOWS_CI") == "1":
            pytest.fail(f"no program {name!r} on the machine for checks", pytrace=False)
        pytest.skip(f"no program {name!r} here")
    return name


# --- programs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("input.x * 2", 4),
        ("return input.x * 2", 4),
        ("return await (async () => { await 1; return input.x })()", 2),
        ("await Promise.all([1, 2].map(async n => n * input.x))", [2, 4]),
        ("{a: input.x}", {"a": 2}),
        ("'ä\\u0000\\ud800'", "ä\0\ud800"),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("undefined", None),
    ],
)
def test_programs_compute_what_the_other_engines_do(program: str, code: str, value: Any) -> None:
    assert run(code, names={"input": {"x": 2}}, engine=program) == value
    assert run(code, names={"input": {"x": 2}}) == value


@pytest.mark.parametrize(
    ("code", "kind"),
    [("throw new TypeError('x')", "thrown"), ("return 1 +", "syntax"), ("return 1n", "result"), ("null.x", "thrown")],
)
def test_errors_of_programs_are_those_of_the_other_engines(program: str, code: str, kind: str) -> None:
    with pytest.raises(SnippetError) as caught:
        run(code, engine=program)
    assert caught.value.kind == kind


def test_a_program_that_goes_on_for_ever_is_stopped_and_others_go_on(program: str) -> None:
    async def work(runner: SnippetRunner) -> list[Any]:
        endless = runner.run("for (;;) {}", engine=program, timeout_ms=700)  # type: ignore[arg-type]
        other = runner.run("return 7", engine=program, timeout_ms=20_000)  # type: ignore[arg-type]
        return list(await asyncio.gather(endless, other, return_exceptions=True))

    begin = time.perf_counter()
    late, value = with_runner(work)
    assert isinstance(late, SnippetTimeoutError)
    assert value == 7
    assert time.perf_counter() - begin < 0.7 + 1.0 + 2 * SLACK
    assert workers() == []


def test_a_program_that_takes_all_memory_is_stopped(program: str) -> None:
    with pytest.raises(SnippetError, match="more than 64 MB") as caught:
        run("const all = []; for (;;) all.push(new Array(1e5).fill(all.length))", engine=program, timeout_ms=60_000)
    assert caught.value.kind == "memory"


@pytest.mark.parametrize(
    "name",
    ["process", "require", "Deno", "fetch", "Buffer", "setTimeout", "WebSocket", "Worker", "WebAssembly", "navigator"],
)
def test_programs_give_nothing_of_their_own(program: str, name: str) -> None:
    assert run(f"typeof {name}", engine=program) == "undefined"
    assert run(f"this.constructor.constructor('return typeof {name}')()", engine=program) == "undefined"


@pytest.mark.parametrize("module", ["node:fs", "node:net", "node:child_process", "fs", "https://example.com/x.js"])
def test_programs_import_nothing(program: str, module: str) -> None:
    code = f"""
        const found = await import({module!r});
        return (found.readFileSync ?? found.connect ?? found.execSync)('/etc/passwd').toString();
    """
    with pytest.raises(SnippetError):
        run(code, engine=program)


def test_what_a_stack_shows_of_the_host_is_of_no_use(program: str) -> None:
    code = """
        Error.prepareStackTrace = (error, sites) => sites;
        const found = new Error().stack.flatMap(site => [site.getThis?.(), site.getFunction?.()]);
        for (const each of found) {
            try {
                const outside = each?.constructor?.constructor?.("return typeof process + typeof Deno")();
                if (outside && outside !== "undefinedundefined") return outside;
            } catch {}
        }
        return "nothing";
    """
    assert run(code, engine=program) == "nothing"


def test_changes_do_not_outlive_a_snippet(program: str) -> None:
    async def work(runner: SnippetRunner) -> list[Any]:
        spoils = "Object.prototype.x = 1; globalThis.y = 2"
        await runner.run(spoils, engine=program, timeout_ms=10_000)  # type: ignore[arg-type]
        return [await runner.run("[({}).x, typeof y]", engine=program, timeout_ms=10_000)]  # type: ignore[arg-type]

    assert with_runner(work) == [[None, "undefined"]]


def test_a_result_that_is_too_long(program: str) -> None:
    async def work(runner: SnippetRunner) -> Any:
        return await runner.run("'x'.repeat(2000)", engine=program, timeout_ms=10_000)  # type: ignore[arg-type]

    with pytest.raises(SnippetError, match=r"2,0[01]2 bytes of JSON"):
        with_runner(work, longest_result=1_000)


def test_a_program_that_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    engines.require.cache_clear()
    try:
        for name in PROGRAMS:
            with pytest.raises(MissingExtraError, match=name):
                run("1", engine=name)
            assert not engines.available(name)  # type: ignore[arg-type]
    finally:
        engines.require.cache_clear()
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.4\n")
    old.chmod(0o755)
    with pytest.raises(MissingExtraError, match=r"v18\.20\.4"):
        engines._permission(str(old))


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ("v20.20.2", "--experimental-permission"),
        ("v22.12.0", "--experimental-permission"),
        ("v22.13.0", "--permission"),
        ("v23.4.0", "--experimental-permission"),
        ("v23.5.0", "--permission"),
        ("v25.0.0", "--permission"),
    ],
)
def test_the_flag_of_nodes_permissions(tmp_path: Any, version: str, flag: str) -> None:
    program = tmp_path / "node"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    assert engines._permission(str(program)) == flag


# --- WebAssembly ------------------------------------------------------------------------------------------

ADD = '(module (func (export "run") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))'
FLOATS = """(module (func (export "main") (param f64) (result f64 i32)
    local.get 0 f64.const 2 f64.mul i32.const 7))"""
ENDLESS = '(module (func (export "run") (loop br 0)))'
GREEDY = """(module (memory 1) (func (export "run") (result i32)
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (memory.size)))"""
DIVIDES = '(module (func (export "run") (param i32) (result i32) i32.const 1 local.get 0 i32.div_s))'
DEEP = '(module (func $f (export "run") call $f))'
ECHO = """(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
SAYS = """(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 16) "no JSON")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 7))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
EXITS = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
    (func (export "_start") i32.const %d call $exit))"""
OPENS = """(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1) (data (i32.const 16) "/etc/passwd")
    (func (export "_start") (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 11)
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0)))))"""


def wasm(code: str, input: Any = None, **options: Any) -> Any:
    return run(code, "wasm", {"input": input}, **options)


def binary(code: str) -> str:
    import wasmtime

    return base64.b64encode(wasmtime.wat2wasm(code)).decode()


@pytest.mark.parametrize(
    ("code", "input", "value"),
    [
        (ADD, [2, 40], 42),
        (binary(ADD), [2, 40], 42),
        (FLOATS, 1.25, [2.5, 7]),
        (FLOATS, 3, [6.0, 7]),
        (DIVIDES, 1, 1),
        (ECHO, {"a": [1, "ä", None]}, {"a": [1, "ä", None]}),
        (EXITS % 0, None, None),
    ],
)
def test_webassembly_computes(code: str, input: Any, value: Any) -> None:
    assert wasm(code, input) == value


@pytest.mark.parametrize(
    ("code", "input", "kind", "message"),
    [
        ("(module", None, "syntax", "expected"),
        ("return 1", None, "syntax", "neither WebAssembly text"),
        (base64.b64encode(b"no module").decode(), None, "syntax", "magic|module"),
        (ADD, [1], "thrown", "takes 2 numbers"),
        (ADD, ["1", "2"], "thrown", "takes 2 numbers"),
        (ADD, [1.5, 2], "thrown", "whole numbers"),
        (ADD, {"a": 1}, "thrown", "takes 2 numbers"),
        ("(module)", None, "thrown", "nothing to call"),
        ('(module (import "env" "f" (func)))', None, "thrown", "env"),
        ('(module (memory (export "run") 1))', None, "thrown", "no function"),
        (DIVIDES, 0, "thrown", "divide by zero"),
        (DEEP, None, "thrown", "stack"),
        (SAYS, None, "result", "no JSON"),
        (EXITS % 3, None, "thrown", "exit code 3"),
        (OPENS, None, "thrown", "exit code 8"),  # EBADF: there is no directory to open anything in
    ],
)
def test_what_webassembly_cannot_do_is_said(code: str, input: Any, kind: str, message: str) -> None:
    with pytest.raises(SnippetError, match=message) as caught:
        wasm(code, input)
    assert caught.value.kind == kind


def test_webassembly_that_goes_on_for_ever_is_stopped_by_itself() -> None:
    async def work(runner: SnippetRunner) -> list[Any]:
        with pytest.raises(SnippetTimeoutError):
            await runner.run(ENDLESS, "wasm", timeout_ms=300)
        (process,) = workers()
        value = await runner.run(ADD, "wasm", {"input": [1, 2]}, timeout_ms=10_000)
        return [value, [each.pid for each in workers()] == [process.pid]]

    assert with_runner(work) == [3, True]


def test_webassembly_gets_no_more_memory_than_it_may_have() -> None:
    pages = wasm(GREEDY, memory_mb=16)
    assert 15 * 16 < pages <= 16 * 16


def test_calls_of_one_module_know_nothing_of_each_other() -> None:
    counts = """(module (global $n (mut i32) (i32.const 0)) (func (export "run") (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"""

    async def work(runner: SnippetRunner) -> list[Any]:
        return [await runner.run(counts, "wasm", timeout_ms=10_000) for _ in range(3)]

    assert with_runner(work, workers=1) == [1, 1, 1]


def test_arguments_that_do_not_go_together() -> None:
    for language, engine in (("wasm", "quickjs"), ("javascript", "wasmtime"), ("javascript", "bun"), ("rust", "auto")):
        with pytest.raises(DefinitionError):
            run("1", language, engine=engine)


# --- as functions -----------------------------------------------------------------------------------------


def test_functions_run_by_their_engine(program: str) -> None:
    functions = FunctionRegistry()
    functions.deploy("double", "return input.x * 2", engine=program, timeout_ms=20_000)  # type: ignore[arg-type]
    functions.deploy("add", ADD, engine="wasmtime", timeout_ms=20_000)
    assert asyncio.run(functions.invoke("double", {"x": 2})) == 4
    assert asyncio.run(functions.invoke("add", [2, 2])) == 4
    with pytest.raises(DefinitionError, match="'wasmtime'"):
        functions.deploy("x", "1", engine="javy")  # type: ignore[arg-type]
