"""Snippets in Python: a process for each."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.errors import NonRetryableError, SnippetError, SnippetTimeoutError, SnippetWorkerError
from dataflows_sdk.nodes.snippets import SnippetRunner

from .running import SLACK, run, seconds_of, until, with_runner, workers

NAMES = {"input": {"x": 21, "text": "\ud800\0é"}, "trigger": None, "steps": {"a": {"output": [1]}}}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("return input['x'] * 2", 42),
        ("input['x'] * 2", 42),
        ("if trigger is None:\n    return steps['a']['output']\n5", [1]),
        ("def f(n):\n    return n + input['x']\nf(1)", 22),
        ("f = lambda: 1\nreturn [f() for _ in range(3)]", [1, 1, 1]),
        ("input = input or {}\ninput['x'] += 1\ninput", {"x": 22, "text": "\ud800\0é"}),
        ("import math, json\nreturn math.floor(2.5), json.dumps(None)", [2, "null"]),
        ("x = 1", None),
        ("", None),
        ("# nothing", None),
        ("return {'a': [1, 2.5, True, None, '\\ud800\\0é😀'], 'b': 10**30}", {"a": [1, 2.5, True, None, "\ud800\0é😀"], "b": 10**30}),  # noqa: E501
        ("import asyncio\nasync def f():\n    return 7\nasyncio.run(f())", 7),
        ("import sys, os\nprint('x' * 100_000)\nos.write(1, b'junk')\nsys.__stdout__.write('m')\n3", 3),
        ("import os\n[name for name in os.environ if 'SECRET' in name]", []),
    ],
)  # fmt: skip
def test_values(code: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    assert run(code, "python", NAMES) == value


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("float('nan')", "$ is nan"),
        ("return {'a': [1, {2, 3}]}", "$.a[1] is of type set"),
        ("return {1: 2}", "$ has the key 1"),
        ("object", "$ is of type type"),
        ("import datetime\ndatetime.date(2026, 1, 1)", "$ is of type datetime.date"),
        ("yield 1", "$ is of type generator"),
        ("a = []\na.append(a)\na", "holds itself"),
        ("10 ** 5000", "4300 digits"),
        ("'x' * 50_000_000", "50,000,002 bytes of JSON, and 10,000,000 is the most"),
    ],
)
def test_what_has_no_json_is_an_error_that_says_where(code: str, part: str) -> None:
    with pytest.raises(SnippetError) as caught:
        run(code, "python", memory_mb=500)
    assert (caught.value.kind, part in str(caught.value)) == ("result", True), str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind", "name", "message", "line", "column"),
    [
        ("raise ValueError('x')", "thrown", "ValueError", "x", 1, 1),
        ("\n\ndef f():\n    return 1 / 0\nf()", "thrown", "ZeroDivisionError", "division by zero", 4, 12),
        ("import json\njson.loads('{')", "thrown", "JSONDecodeError", "Expecting property name", 2, 1),
        ("import sys\nsys.exit(3)", "thrown", "SystemExit", "3", 2, 1),
        ("raise KeyboardInterrupt", "thrown", "KeyboardInterrupt", "", 1, 1),
        ("def f(): return f()\nf()", "thrown", "RecursionError", "maximum recursion", 1, 17),
        ("x = 1\nif x\n  pass", "syntax", "SyntaxError", "expected ':'", 2, 5),
        ("x = '\0'", "syntax", "SyntaxError", "null bytes", None, None),
        ("x = '\ud800'", "syntax", "UnicodeEncodeError", "surrogates", None, None),
        ("class E(Exception):\n  def __str__(self): raise KeyError\nraise E", "thrown", "E", "cannot be shown", 3, 1),
    ],
)
def test_exceptions(code: str, kind: str, name: str, message: str, line: int | None, column: int | None) -> None:
    with pytest.raises(SnippetError) as caught:
        run(code, "python")
    error = caught.value
    assert isinstance(error, NonRetryableError)
    assert (error.kind, error.line, error.column) == (kind, line, column)
    assert error.error_name == name
    assert message in error.error_message


def test_the_time_limit_is_a_kill() -> None:
    async def work(runner: SnippetRunner) -> None:
        for code in ("while True: pass", "import time; time.sleep(60)", "9 ** (9 ** 9)"):
            assert await seconds_of(runner.run(code, "python", timeout_ms=300)) < 0.3 + 1.0 + SLACK
            with pytest.raises(SnippetTimeoutError, match=r"^timeout: .* after 300 ms"):
                await runner.run(code, "python", timeout_ms=300)
        await until(lambda: not workers(), "the processes are gone")

    with_runner(work)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a limit on memory")
@pytest.mark.parametrize(
    "code", ["[0] * 10 ** 9", "b'x' * (2 << 30)", "l = []\nwhile True: l.append('x' * 10 ** 6 + str(len(l)))"]
)
def test_memory(code: str) -> None:
    with pytest.raises(SnippetError, match="more than 64 MB of memory") as caught:
        run(code, "python", timeout_ms=30_000)
    assert caught.value.kind == "memory"


@pytest.mark.parametrize(
    ("code", "kind", "part"),
    [
        ("import os; os._exit(3)", SnippetError, "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", SnippetError, "signal 11"),
        ("import os; os.kill(os.getpid(), 9)", SnippetWorkerError, "signal 9"),
    ],
)
def test_a_snippet_that_takes_its_process_down(code: str, kind: type[Exception], part: str) -> None:
    with pytest.raises(kind, match=part):
        run(code, "python")


def test_prints_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dataflows_sdk.snippets"):
        assert run("import sys\nprint('one', 2)\nprint('three', file=sys.stderr)\n4", "python") == 4
        with pytest.raises(SnippetError, match="boom"):
            run("print('before')\nraise ValueError('boom')", "python")
    texts = [record.getMessage() for record in caplog.records if record.name == "dataflows_sdk.snippets"]
    assert texts == ["one 2\nthree", "before"]


def test_no_more_at_once_than_allowed_and_none_is_left(tmp_path: Path) -> None:
    code = """
import os, pathlib, time
mine = pathlib.Path(input, str(os.getpid()))
mine.touch()
time.sleep(0.2)
count = len(os.listdir(input))
mine.unlink()
return count
"""

    async def work(runner: SnippetRunner) -> list[Any]:
        names = {"input": str(tmp_path)}
        return await asyncio.gather(*(runner.run(code, "python", names, timeout_ms=20_000) for _ in range(6)))

    assert max(with_runner(work)) == 2
    assert workers() == []
