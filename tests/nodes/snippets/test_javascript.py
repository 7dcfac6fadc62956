"""What JavaScript snippets see, give and cannot do, on both engines."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import importlib.util
import json
import logging
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.errors import NonRetryableError, SnippetError, SnippetTimeoutError

from .running import SLACK, run, with_runner

ENGINES = ["quickjs", "v8"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, need: Any) -> str:
    if request.param == "v8" and importlib.util.find_spec("py_mini_racer") is None:
        need("mini-racer is not installed")
    return request.param


def many(codes: list[str], names: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    """The values or errors of several snippets, one after the other in one runner."""
    options.setdefault("timeout_ms", 10_000)

    async def work(runner: Any) -> list[Any]:
        results: list[Any] = []
        for code in codes:
            try:
                results.append(await runner.run(code, "javascript", names, **options))
            except Exception as error:
                results.append(error)
        return results

    return with_runner(work)


VALUES: list[tuple[str, Any]] = [
    ("1 + 1", 2),
    ("input.price * 2", 42),
    ("return input.price", 21),
    ("const a = input.price;\nif (a > 20) { return 'dear' }\nreturn 'cheap'", "dear"),
    ("let a = 1; a + 1; // the value of the last expression", 2),
    ("{a: 1}", {"a": 1}),
    ("  {a: 1, b: {c: [input.price]}} ;", {"a": 1, "b": {"c": [21]}}),
    ("{}", {}),
    ("{ let a = 5; a }", 5),
    ("({a: 1.5, b: null, c: [true, 'é😀']})", {"a": 1.5, "b": None, "c": [True, "é😀"]}),
    ("let input = 3; input", 3),
    ("'use strict'; return 1", 1),
    ("return await Promise.resolve(input.price)", 21),
    ("await Promise.resolve([1])", [1]),
    ("Promise.all([1, Promise.resolve(2)])", [1, 2]),
    ("(async () => { let n = 0; for (let i = 0; i < 100; i++) n += await i; return n })()", 4950),
    ("[1, 2, 3].at(-1) + Object.groupBy([1], () => 'a').a[0] + new Set([1]).union(new Set([2])).size", 6),
    ("[trigger.id, steps['fetch-item'].output.n]", ["t-1", 7]),
    ("undefined", None),
    ("", None),
    ("// nothing", None),
    ("return", None),
    ("({a: undefined, b: [undefined], c: 1})", {"b": [None], "c": 1}),
    ("({at: new Date(0)})", {"at": "1970-01-01T00:00:00.000Z"}),
    ("class P { constructor() { this.x = 1 } }; new P()", {"x": 1}),
    ("({toJSON() { return 'own' }})", "own"),
    ("'\\ud800|\\0|\\u2028|\"'", '\ud800|\0|\u2028|"'),
    ("input.text", "\ud800\0"),
    ("JSON.parse('{\"__proto__\": 1}')", {"__proto__": 1}),
    ("typeof require + typeof process + typeof fetch + typeof setTimeout + typeof std + typeof os", "undefined" * 6),
    ("typeof WebAssembly + typeof SharedArrayBuffer + typeof __timer_manager", "undefined" * 3),
    ("'x'.repeat(200000).length", 200_000),
    ("'ä'.repeat(300000) + 1", "ä" * 300_000 + "1"),
]


def test_values(engine: str) -> None:
    names = {
        "input": {"price": 21, "text": "\ud800\0"},
        "trigger": {"id": "t-1"},
        "steps": {"fetch-item": {"output": {"n": 7}}},
    }
    results = many([code for code, _ in VALUES], names, engine=engine)
    assert dict(zip([code for code, _ in VALUES], results, strict=True)) == dict(VALUES)


WITHOUT_JSON = [
    ("NaN", "$ is NaN"),
    ("({a: [1, {b: -Infinity}]})", "$.a[1].b is -Infinity"),
    ("10n", "$ is a BigInt; convert it"),
    ("[1n]", "$[0] is a BigInt"),
    ("() => 1", "$ is a function"),
    ("({f() {}})", "$.f is a function"),
    ("Symbol('a')", "$ is a symbol"),
    ("new Date(NaN)", "$ is an invalid Date"),
    ("[new Date(NaN)]", "$[0] is an invalid Date"),
    ("({m: new Map([[1, 2]])})", "$.m is of type Map; convert it with Object.fromEntries"),
    ("new Set([1])", "$ is of type Set; convert it with Array.from"),
    ("[/a/]", "$[0] is of type RegExp"),
    ("[new Error('x')]", "$[0] is of type Error"),
    ("new Uint8Array(3)", "$ is a typed array"),
    ("[Promise.resolve(1)]", "$[0] is of type Promise"),
    ("const a = {}; a.a = a; a", "holds itself"),
    ("let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a", "nested too deeply"),
    ("let a = []; for (let i = 0; i < 2500; i++) a = [a]; a", "nested too deeply"),
    ("new Promise(() => {})", "never settles"),
]


def test_what_has_no_json_is_an_error_that_says_where(engine: str) -> None:
    for (code, part), error in zip(WITHOUT_JSON, many([c for c, _ in WITHOUT_JSON], engine=engine), strict=True):
        assert isinstance(error, SnippetError), (code, error)
        assert (error.kind, part in str(error)) == ("result", True), (code, str(error))


THROWN: list[tuple[str, str, str, int | None]] = [
    ('throw new Error("x")', "Error", "x", 1),
    ("\n\n  throw new TypeError('y')", "TypeError", "y", 3),
    ("if (1) {\n  throw new Error('z') }\nreturn 1", "Error", "z", 2),
    ("const v = await 1;\nthrow new RangeError('w')", "RangeError", "w", 2),
    ("function f() {\n  return g() }\nf()", "ReferenceError", "g is not defined", 2),
    ("return 1 +\n missing", "ReferenceError", "missing is not defined", 2),
    ("(async () => {\n\n throw new Error('later') })()", "Error", "later", 3),
    ("({toJSON() {\n throw new Error('json') }})", "Error", "json", 2),
    ("({get a() {\n throw new Error('got') }})", "Error", "got", 2),
    ("throw 'a text'", "", "a text", None),
    ("throw {code: 7}", "", '{"code":7}', None),
    ("throw null", "", "null", None),
    ("throw undefined", "", "undefined", None),
    ("throw {toString() { throw 1 }, toJSON() { throw 2 }}", "", "a value that cannot be shown", None),
    ("const e = new Error(); Object.defineProperty(e, 'message', {get() { throw 1 }}); throw e", "Error", "an error that cannot be shown", None),  # noqa: E501
    ("{a: \n nope}", "ReferenceError", "nope is not defined", 2),
]  # fmt: skip


def test_exceptions_have_their_message_and_their_line(engine: str) -> None:
    for (code, name, message, line), error in zip(THROWN, many([t[0] for t in THROWN], engine=engine), strict=True):
        assert isinstance(error, SnippetError), (code, error)
        assert isinstance(error, NonRetryableError)
        found = (error.kind, error.error_name, error.error_message.partition(", which may")[0], error.line)
        assert found == ("thrown", name, message, line), (code, str(error))
        assert message in str(error)
        assert line is None or f"line {line}" in str(error)


def test_columns(engine: str) -> None:
    codes = ["  throw new Error('x')", "return  nope.x", "{a: nope}", "\n {b: nope}", "await  nope.x"]
    begins = {"quickjs": [13, 9, 5, 6, 8], "v8": [9, 1, 5, 6, 1]}  # V8 points at statements
    columns = [error.column for error in many(codes, engine=engine)]
    assert columns == begins[engine]


@pytest.mark.parametrize(
    ("code", "line", "column"),
    [
        ("let 1 = 2", 1, 5),
        ("\nreturn 1;\nlet 1 = 2", 3, 5),
        ("await 1;\n  let 1", 2, 7),
    ],
)
def test_syntax_errors_have_their_place(engine: str, code: str, line: int, column: int) -> None:
    with pytest.raises(SnippetError, match="cannot be read: SyntaxError") as caught:
        run(code, engine=engine)
    assert (caught.value.kind, caught.value.line, caught.value.column) == ("syntax", line, column)


def test_a_syntax_error_of_the_running_code_is_thrown(engine: str) -> None:
    first, second = many(["\nJSON.parse('{')", "\n\neval('let 1')"], engine=engine)
    assert (first.kind, first.error_name, first.line) == ("thrown", "SyntaxError", 2)
    assert (second.kind, second.error_name) == ("thrown", "SyntaxError")


def test_one_call_leaves_nothing_to_the_next(engine: str) -> None:
    spoil = """
        globalThis.left = 1; var also = 2;
        Object.prototype.polluted = 'yes'; Array.prototype.map = () => 'spoiled'; JSON.parse = () => 'spoiled';
        JSON.stringify = () => '"spoiled"'; String.prototype.slice = null; Reflect.apply = null; Array.isArray = null;
        Promise.prototype.then = null; Object.freeze(Object.prototype);
        return [input.n]
    """
    look = "[typeof left, typeof also, typeof ({}).polluted, [1].map(x => x + 1), JSON.parse('[2]'), input.n]"

    async def work(runner: Any) -> list[Any]:
        return [
            await runner.run(code, names={"input": {"n": 1}}, engine=engine, timeout_ms=9_000) for code in (spoil, look)
        ]

    assert with_runner(work, workers=1) == [[1], ["undefined", "undefined", "undefined", [2], [2], 1]]


def test_names_are_copies(engine: str) -> None:
    given = {"input": {"list": [1], "n": 1}}
    assert run("input.list.push(2); input.n = 5; input", names=given, engine=engine) == {"list": [1, 2], "n": 5}
    assert given == {"input": {"list": [1], "n": 1}}


def test_an_attempt_to_leave_the_sandbox(engine: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.js"
    file.write_text("export default 'secret'")
    results = many(
        [
            f"import({json.dumps(str(file))})",
            "import('os')",
            "import x from 'std'; x",
            "this.constructor.constructor('return process')()",
            "Function('return this')().fetch('http://127.0.0.1')",
            "new Worker('x')",
            "new XMLHttpRequest()",
        ],
        engine=engine,
    )
    assert [type(result) for result in results] == [SnippetError] * 7
    assert not any("secret'" in str(result) for result in results)


STOPPED = {
    "an endless loop": "while (true) {}",
    "an endless loop that catches": "for (;;) { try { while (true) {} } catch (e) {} finally { while (true) {} } }",
    "a bomb of a regular expression": "/(a+)+$/.test('a'.repeat(40) + 'b')",
    "a getter of the result": "({get a() { while (true); }})",
    "a toJSON of the result": "({toJSON() { while (true); }})",
    "a toJSON of the error": "throw {toJSON() { while (true); }}",
    "endless promises": "(async () => { for (;;) await 1 })()",
    "a long native call": "const a = Array(2e7).fill(1.5); for (;;) { a.sort(); a.join().length }",
}


def test_what_takes_too_long_is_stopped_in_time(engine: str) -> None:
    async def work(runner: Any) -> None:
        await runner.run("1", engine=engine, timeout_ms=9_000)
        for what, code in STOPPED.items():
            with pytest.raises(SnippetTimeoutError, match=r"^timeout: .* after 300 ms") as caught:
                begin = time.perf_counter()
                await runner.run(code, engine=engine, timeout_ms=300, memory_mb=2_000)
            assert time.perf_counter() - begin < 0.3 + 1.0 + SLACK, what
            assert not isinstance(caught.value, NonRetryableError)
        assert await runner.run("1 + 1", engine=engine, timeout_ms=9_000) == 2

    with_runner(work)


HUNGRY = {
    "2 GB at once": "new ArrayBuffer(2e9)",
    "typed arrays": "const l = []; for (;;) l.push(new Uint8Array(2e7).fill(1))",
    "objects": "const l = []; for (;;) l.push({a: 1, b: [2]})",
    "texts": "const l = []; for (let i = 0; ; i++) l.push(('x' + i).repeat(1e5))",
}


def test_what_needs_too_much_memory_is_stopped(engine: str) -> None:
    async def work(runner: Any) -> None:
        for what, code in HUNGRY.items():
            with pytest.raises(SnippetError) as caught:
                await runner.run(code, engine=engine, timeout_ms=20_000, memory_mb=32)
            # V8 can only end its process when something beside its heap fills the memory
            assert caught.value.kind in ({"memory"} if engine == "quickjs" else {"memory", "ended"}), what
            assert caught.value.kind == "ended" or "more than 32 MB" in str(caught.value)
        assert await runner.run("1 + 1", engine=engine, timeout_ms=9_000) == 2

    with_runner(work)


def test_deep_recursion_is_an_exception_of_the_snippet(engine: str) -> None:
    codes = [
        "function f() { return f() + 1 }\nf()",
        "eval('('.repeat(1e6))",
        "let c = 0; function f() { c++; f() } try { f() } catch { return c > 100 }",
    ]
    first, second, third = many(codes, engine=engine)
    assert (first.kind, first.error_name, first.line) == ("thrown", "RangeError", 1)
    assert second.kind == "thrown"
    assert third is True


def test_a_result_of_50_mb(engine: str) -> None:
    with pytest.raises(SnippetError, match=r"50,000,0\d\d bytes of JSON, and 10,000,000 is the most") as caught:
        run("'x'.repeat(5e7)", memory_mb=1_000, engine=engine)
    assert caught.value.kind == "result"
    with pytest.raises(SnippetError, match="more than 32 MB"):
        run("const l = []; for (let i = 0; i < 5e6; i++) l.push(i * 1.5); l", memory_mb=32, engine=engine)


def test_values_of_python_that_json_does_not_know() -> None:
    names = {
        "input": {
            "at": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
            "id": uuid.UUID(int=1),
            "price": decimal.Decimal("1.10"),
            "bytes": b"\xff",
            "nan": [float("nan"), float("inf")],
            "tuple": (1, 2),
            "keys": {1: "one"},
        }
    }
    assert run("input", names=names) == {
        "at": "2026-01-02T03:04:05Z",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "bytes": "_w==",
        "nan": [None, None],
        "tuple": [1, 2],
        "keys": {"1": "one"},
    }
    with pytest.raises(SnippetError, match=r"cannot be given `trigger`.*object") as caught:
        run("1", names={"input": 1, "trigger": {"a": [object()]}})
    assert caught.value.kind == "input"
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(SnippetError, match="cannot be given `input`"):
        run("1", names={"input": endless})


def test_the_console_goes_to_the_log(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dataflows_sdk.snippets"):
        assert run("console.log('hello', {a: 1}, [2], undefined); console.error(3); 4", engine=engine) == 4
        with pytest.raises(SnippetError):
            run("console.log('before'); throw 1", engine=engine)
    assert [record.getMessage() for record in caplog.records if record.name == "dataflows_sdk.snippets"] == [
        'hello {"a":1} [2] undefined\n3',
        "before",
    ]


def test_what_a_snippet_cannot_forge() -> None:
    fakes = [
        '\'{"error":{"kind":"timeout"}}\'',
        "({error: {kind: 'timeout'}})",
        "throw new InternalError('interrupted')",
        "console.log('x'.repeat(1e6)); 1",
    ]
    first, second, third, fourth = many(fakes)
    assert first == '{"error":{"kind":"timeout"}}'
    assert second == {"error": {"kind": "timeout"}}
    assert (third.kind, third.error_name) == ("thrown", "InternalError")
    assert fourth == 1


def test_many_at_once_share_two_workers(engine: str) -> None:
    async def work(runner: Any) -> list[Any]:
        return await asyncio.gather(
            *(runner.run("input * 2", names={"input": n}, engine=engine, timeout_ms=9_000) for n in range(10))
        )

    assert with_runner(work) == [n * 2 for n in range(10)]
