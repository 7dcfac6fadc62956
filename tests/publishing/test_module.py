"""The text of a module: what comes along, in which order, and what is refused by name."""

from __future__ import annotations
import __future__

import ast
import asyncio
import inspect
import linecache
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.engine.catalog import CATALOG
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import PublishError
from dataflows_sdk.publishing.expressions import expression
from dataflows_sdk.publishing.loading import load_text
from dataflows_sdk.publishing.module import module_text

from .conftest import Notebook

WORKFLOW = '@df.workflow("w")\ndef w(event, step):\n    return {}\n'


def text_of(notebook: Notebook, returns: str, *cells: str) -> str:
    for cell in cells:
        notebook.run(cell)
    return module_text(notebook.run(WORKFLOW.format(returns))["w"])


def called(text: str, name: str = "w", *args: Any) -> Any:
    found = load_text(name, text, "__main__")
    assert found is not None
    return found.fn(*(args or (None, None)))


# --- what comes along ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_version_and_source_are_the_same(kind: str, notebook: Notebook) -> None:
    cell = f'@df.workflow("same")\n{kind} same(event, step):\n    """Says."""\n\n    return 1\n    # after the end\n'
    made: Workflow = notebook.run(cell)["same"]
    loaded = load_text("same", module_text(made), "__main__")
    assert loaded is not None
    assert (loaded.version, loaded.source, loaded.is_async) == (made.version, made.source, made.is_async)
    assert inspect.getsource(loaded.fn) == made.source
    assert CATALOG.get("same") is None, "what is loaded does not register itself in the process"
    result = loaded.fn(None, None)
    assert (asyncio.run(result) if inspect.isawaitable(result) else result) == 1


def test_helpers_constants_and_imports_in_an_order_that_loads(notebook: Notebook) -> None:
    text = text_of(
        notebook,
        "Child().total(), mapped, even(4), os.path.basename('a/b'), later()",
        "import os, json as j\nfrom functools import reduce as fold",
        "def base():\n    return Base\nclass Base:\n    def total(self):\n        return fold(add, NUMBERS)\n",
        "def add(a, b):\n    return a + b\nNUMBERS = [1, 2, 3]\nclass Child(base()):\n    pass\n",
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\n",
        "mapped = {'a': (1, 2.5, None, b'x'), 2: frozenset({'p', 'q'})}\nunused = object()\n",
        "def later(n=add(1, 1)):\n    return j.dumps([n, __name__[:19]])\n",
    )
    assert called(text) == (6, notebook["mapped"], True, "b", '[2, "dataflows_published"]')
    assert "unused" not in text
    assert "import json as j" in text


def test_nothing_but_what_is_used(notebook: Notebook) -> None:
    text = text_of(notebook, "event.secret_name", "secret_name = object()\nimport os\n")
    assert "secret_name = " not in text
    assert "import os" not in text


def test_closures_become_names_of_the_module(notebook: Notebook) -> None:
    notebook.run("""\
def make(factor, helper):
    @df.workflow("closed")
    def closed(event, step):
        return helper(event) * factor
    return closed
def plus(n):
    return n + 1
closed = make(3, plus)
""")
    assert called(module_text(notebook["closed"]), "closed", 4, None) == 15


def test_decorated_functions(notebook: Notebook) -> None:
    text = text_of(
        notebook,
        "cached(3), twice(3), aliased(1), short(2)",
        "from functools import lru_cache, wraps, partial\n",
        "def doubled(fn):\n    @wraps(fn)\n    def inner(*a):\n        return 2 * fn(*a)\n    return inner\n",
        "@lru_cache(maxsize=9)\ndef cached(n):\n    return n\n@doubled\n@doubled\ndef twice(n):\n    return n\n",
        "aliased = twice\nshort = partial(max, 5)\n",
    )
    assert called(text) == (3, 12, 4, 5)


def test_annotations_that_are_text(notebook: Notebook) -> None:
    notebook.run("from dataclasses import dataclass\nfrom typing import TYPE_CHECKING\n")
    notebook.run("@dataclass\nclass Row:\n    next: Row | None = None\n", __future__.annotations.compiler_flag)
    notebook.run(
        "def helper(rows: list[Row], other: OnlyForCheckers) -> Row:\n    return rows[0]\n",
        __future__.annotations.compiler_flag,
    )
    text = text_of(notebook, "helper([1], 2)")
    assert "from __future__ import annotations" in text
    assert "class Row" in text
    assert called(text) == 1


def test_a_class_that_was_defined_again_is_the_one_in_use(notebook: Notebook) -> None:
    cell = "@dataclass\nclass Point:\n    x: int = {}\n"
    notebook.run("from dataclasses import dataclass")
    for number in (1, 2, 1):  # the last cell has the name of the first, and its place among the cells
        notebook.run(cell.format(number))
    assert "x: int = 1" in text_of(notebook, "Point().x")
    notebook.run(cell.format(2))
    assert "x: int = 2" in text_of(notebook, "Point().x")


def test_pydantic_models_and_child_workflows(notebook: Notebook) -> None:
    notebook.run("""\
from pydantic import BaseModel, field_validator
class Inner(BaseModel):
    n: int = 1
class Model(BaseModel):
    inner: Inner = Inner()
    @field_validator("inner")
    @classmethod
    def check(cls, value):
        return value
""")
    notebook.run('@df.workflow("child")\ndef child(event, step):\n    return Model().inner.n\n')
    text = text_of(notebook, "child, sub, child(event, step)", 'sub = df.flow("sub").step("one", lambda: 1)\n')
    made, sub, value = called(text)
    assert isinstance(made, Workflow)
    assert made.version == notebook["child"].version
    assert sub.name == "sub"
    assert value == 1


def test_a_workflow_that_was_declared_by_a_call(notebook: Notebook) -> None:
    notebook.run('def plain(event, step):\n    return 5\ndeclared = df.workflow("declared", plain)\n')
    assert called(module_text(notebook["declared"]), "declared") == 5


def test_triggers_come_along(notebook: Notebook) -> None:
    notebook.run(
        'AT = "0 9 * * *"\n@df.workflow("daily", trigger=df.on_schedule(AT))\ndef daily(event, step):\n    return 1\n'
    )
    loaded = load_text("daily", module_text(notebook["daily"]), "__main__")
    assert loaded is not None
    assert loaded.triggers == notebook["daily"].triggers


def test_other_modules_are_imported_unless_they_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             notebook: Notebook) -> None:  # fmt: skip
    (tmp_path / "beside_the_notebook.py").write_text("UNIT = 2\ndef weigh(n):\n    return n * UNIT\n")
    monkeypatch.syspath_prepend(tmp_path)
    notebook.run("from beside_the_notebook import weigh")
    text = text_of(notebook, "weigh(4)")
    assert "from beside_the_notebook import weigh" in text
    whole = module_text(notebook["w"], include=["beside_the_notebook"])
    assert "beside_the_notebook" not in whole
    assert called(whole) == 8
    monkeypatch.delitem(sys.modules, "beside_the_notebook")


def test_an_exported_module_runs_by_itself(notebook: Notebook, tmp_path: Path, database_url: str) -> None:
    notebook.run("GREETING = 'hello'\ndef greet(name):\n    return f'{GREETING} {name}'\n")
    notebook.run(
        '@df.workflow("exported")\ndef exported(event, step):\n    return step.run("g", greet, event.payload)\n'
    )
    path = df.export_module(notebook["exported"], tmp_path / "exported_module.py")
    ast.parse(path.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "run", f"{path}:exported", '"you"', "--url", database_url],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "hello you"), done.stderr


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "returns", "said"),
    [
        ("import threading\nlock = threading.Lock()", "lock", r"w\(\) uses 'lock', which is of the type _thread\.lock"),
        ("import pandas\nframe = pandas.DataFrame()", "frame", r"'frame', .*DataFrame: it is data, not code"),
        ("import socket\nclient = socket.socket()\nclient.close()\ndef helper():\n    return client", "helper()",
         r"w\(\) → helper\(\) uses 'client'"),
        ("key = df.Secret('abc')", "key", r"'key', which is .*Secret: it is a secret"),
        ("PASSWORD = 'postgresql://me:hunter2@host/db'", "PASSWORD", r"'PASSWORD' has what looks like a secret"),
        ("values = []\nvalues.append(values)", "values", "it contains itself"),
        ("class A:\n    pass\nthing = A()", "thing", r"'thing', which is of the type __main__\.A"),
        ("def make():\n    class Local: ...\n    return Local\nLocal = make()", "Local()", "within a function"),
        ("", "undefined_thing", r"w\(\) uses 'undefined_thing', which is not defined"),
        ("undefined = 1", "undefind", "did you mean 'undefined'"),
        ("", "__file__", "uses __file__"),
        ("exec('def hidden(): return 1')", "hidden()", "'hidden'.*its source is not known"),
        ("def twice(fn):\n    def inner():\n        return fn()\n    return inner\ndef one(): ...\none = twice(one)",
         "one()", "the name 'one' means two things"),
        ("from functools import lru_cache\ndef one():\n    return 1\none = lru_cache(one)", "one()",
         "it was decorated after it was defined"),
        ("big = 'x' * 1_100_000", "big", "1,100,0.. for|most of them .* for 'big'"),
        ("import sys\nmain = sys.modules['__main__']", "main", "the notebook or script itself"),
    ],
)  # fmt: skip
def test_what_cannot_come_along_is_named(cells: str, returns: str, said: str, notebook: Notebook) -> None:
    with pytest.raises(PublishError, match=f"(?s)workflow 'w' cannot be published: .*{said}"):
        text_of(notebook, returns, cells)


def test_an_open_context_is_refused(notebook: Notebook, publisher: Any) -> None:
    notebook.names["ctx"] = publisher
    with pytest.raises(PublishError, match=r"'ctx', which is .*Context: it is the connection of this process"):
        text_of(notebook, "ctx.kv.get('x')")


def test_lambdas_methods_and_other_things(notebook: Notebook) -> None:
    notebook.run('w = df.workflow("lambda", lambda event, step: 1)\n')
    with pytest.raises(PublishError, match="workflow 'lambda' cannot be published: it is a lambda"):
        module_text(notebook["w"])
    notebook.run('class T:\n    def go(self, event, step):\n        return 1\nm = df.workflow("method", T().go)\n')
    with pytest.raises(PublishError, match="it is a method of T"):
        module_text(notebook["m"])
    with pytest.raises(PublishError, match="a workflow or a flow can be published, not int"):
        module_text(3)


def test_state_of_the_function_around_is_refused(notebook: Notebook) -> None:
    notebook.run("""\
def make():
    count = 0
    @df.workflow("counter")
    def counter(event, step):
        nonlocal count
        count += 1
        return count
    return counter
counter = make()
""")
    with pytest.raises(PublishError, match=r"counter\(\) changes 'count' of the function around it"):
        module_text(notebook["counter"])


def test_a_module_that_does_not_load_says_where(notebook: Notebook) -> None:
    # at the time of the cell the name meant something else
    notebook.run("SIZE = 1\ndef sized(n=10 // SIZE):\n    return n\nSIZE = 0\n")
    with pytest.raises(PublishError, match=r"ZeroDivisionError: .* \(line \d+: def sized\(n=10 // SIZE\):\)"):
        text_of(notebook, "sized()")
    assert not [name for name in sys.modules if name.startswith("dataflows_published.") and "rehearsal" in name]
    assert not [name for name in linecache.cache if "rehearsal" in name]


# --- values -------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.datetimes(timezones=st.timezones()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=40), inner, max_size=8),
        st.frozensets(st.integers(), max_size=5),
        st.sets(st.text(), max_size=5),
    ),
    max_leaves=30,
)


def test_what_is_no_number_is_written_too() -> None:
    for value in (float("nan"), complex("nan+infj"), Decimal("NaN"), Decimal("sNaN1")):
        made = eval(expression(value, lambda thing: str(thing.__name__)), {"Decimal": Decimal})
        assert repr(made) == repr(value)


def same(one: Any, other: Any) -> bool:
    return bool(repr(one) == repr(other) or one == other)


@settings(deadline=None)
@given(VALUES)
def test_a_written_value_is_the_value(value: Any) -> None:
    names: dict[str, Any] = {}

    def refer(thing: Any) -> str:
        names[thing.__name__] = thing
        return str(thing.__name__)

    text = expression(value, refer)
    assert same(eval(text, names), value)
    # and the same text as one of the lines of a module
    module: dict[str, Any] = dict(names)
    exec(f"x = {text}\n", module)
    assert expression(module["x"], refer) == text


def test_two_threads_can_load_at_once(notebook: Notebook) -> None:
    text = text_of(notebook, "N + len(event)", "N = 1\n")
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(called(text, "w", "abc", None))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [4] * 8
