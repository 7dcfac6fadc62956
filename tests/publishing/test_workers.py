"""What a notebook published runs in a process that has none of its code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..conftest import MakeContext, wait_until
from . import worker_child
from .conftest import KEY, OTHER_KEY, Notebook

CHILD = Path(worker_child.__file__)


@dataclass
class Worker:
    process: subprocess.Popen[str]
    log: Path

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def worker(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts ``worker_child.py`` in an empty folder and waits until it is ready."""
    made: list[Worker] = []

    def start(key: str | None = KEY) -> Worker:
        environment = {name: value for name, value in os.environ.items() if name != "DATAFLOWS_KEY"}
        if key is not None:
            environment["DATAFLOWS_KEY"] = key
        log = tmp_path / f"worker-{len(made)}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(CHILD), database_url],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=tmp_path,
            )  # fmt: skip
        made.append(Worker(process, log))
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready"), log.read_text()
        return made[-1]

    yield start
    for each in made:
        each.process.communicate(timeout=30)
        assert each.process.returncode == 0, each.said()


CELLS = (
    """\
import statistics
from dataclasses import dataclass
from enum import Enum
from functools import wraps
""",
    """\
class Size(Enum):
    SMALL = 1
    LARGE = 2

@dataclass
class Order:
    id: int
    prices: list
    size: Size = Size.SMALL
""",
    """\
FACTOR = 2
LABELS = {Size.SMALL: "small", Size.LARGE: "large"}

class TooMuch(Exception):
    pass

def counted(fn):
    @wraps(fn)
    def inner(*args):
        return fn(*args) * FACTOR
    return inner

@counted
def total(prices):
    return statistics.fmean(prices) * len(prices)

def check(order):
    if total(order.prices) > 100:
        raise TooMuch("too much")
    return order
""",
    """\
@df.workflow("published-report")
async def report(event: df.Event[Order], step):
    try:
        order = await step.run("check", check, event.payload)
    except TooMuch as error:
        return f"refused: {error}"
    sums = await step.map("sums", lambda prices: total(prices), [order.prices, [1]])
    again = await step.run("again", lambda: Order(order.id + 1, [], Size.LARGE))
    await step.wait_for_event("go")
    return [sums, LABELS[again.size], again]
""",
)


def test_a_notebook_cell_runs_in_another_process(
    notebook: Notebook, publisher: Any, worker: Callable[..., Worker]
) -> None:
    for cell in CELLS:
        notebook.run(cell)
    shown = publisher.publish(notebook["report"])
    assert shown.verified
    assert shown.problem is None
    worker()
    run = publisher.start(notebook["report"], notebook["Order"](1, [1.5, 2.5]))
    wait_until(lambda: run.status not in ("queued", "running"), "it waits")
    assert run.status == "waiting", run.error
    run.send_event("go")
    sums, label, again = run.result("30s")
    assert (sums, label) == ([8.0, 2.0], "large")
    # the classes have the same name on both sides
    assert again == notebook["Order"](2, [], notebook["Size"].LARGE)
    assert run.version == notebook["report"].version
    assert publisher.run(notebook["report"], notebook["Order"](1, [99]), timeout="30s").result() == "refused: too much"


def test_what_is_published_while_a_worker_runs_is_taken_up(
    notebook: Notebook, publisher: Any, worker: Callable[..., Worker]
) -> None:
    running = worker()
    notebook.run(
        '@df.workflow("later")\ndef later(event, step):\n    return step.run("n", lambda: event.payload + 1)\n'
    )
    run = publisher.start(notebook["later"], 1)
    publisher.publish(notebook["later"])
    assert run.result("20s") == 2
    publisher.unpublish("later")
    wait_until(lambda: "let go of workflow 'later'" in running.said(), "the worker heard of it")
    waits = publisher.start(notebook["later"], 1)
    notebook.run('@df.workflow("other")\ndef other(event, step):\n    return 7\n')
    publisher.publish(notebook["other"])
    assert publisher.run(notebook["other"], timeout="20s").result() == 7
    assert waits.status == "queued"
    assert "taken back" in str(waits.explain())
    publisher.publish(notebook["later"])
    assert waits.result("20s") == 2
    assert "ERROR" not in running.said()


def test_runs_in_flight_go_on_with_what_is_published_next(
    notebook: Notebook, publisher: Any, worker: Callable[..., Worker]
) -> None:
    cell = """\
@df.workflow("flight")
async def flight(event, step):
    first = await step.run("first", lambda: 1)
    await step.wait_for_event("go")
    return first + {number}
"""
    notebook.run(cell.format(number=10))
    old = publisher.publish(notebook["flight"])
    worker()
    run = publisher.start(notebook["flight"])
    wait_until(lambda: run.status == "waiting", "it waits")
    notebook.run(cell.format(number=20))
    new = publisher.publish(notebook["flight"])
    assert new.version != old.version
    assert new.created_at > old.created_at
    assert publisher.published("flight").source == new.source
    # from now on the worker has it: a run that begins now says so
    second = publisher.start(notebook["flight"])
    wait_until(lambda: second.status == "waiting", "it waits, too")
    for each in (second, run):
        each.send_event("go")
    assert second.result("20s") == 21
    assert run.result("20s") == 21, "recorded steps stay, the rest is today's code"


def test_a_flow_with_functions_and_lambdas(notebook: Notebook, publisher: Any, worker: Callable[..., Worker]) -> None:
    notebook.run("""\
LIMIT = 3
def load(event):
    return list(range(event.payload["n"]))
def key_of(item):
    return f"k{item}"
flow = (
    df.flow("sums 2")
    .step("load", load, retry=df.Retry(2, retry_on=(KeyError,)))
    .map("double", lambda item: item * 2, over="load", key=key_of)
    .condition("is_big", lambda double: len(double) > LIMIT)
    .step("big", lambda double: ("big", sum(double)), when="is_big")
    .step("small", lambda double: ("small", sum(double)), when="not is_big")
)
""")
    shown = publisher.publish(notebook["flow"])
    assert shown.kind == "flow"
    worker()
    run = publisher.run(notebook["flow"], {"n": 5}, timeout="30s")
    assert run.outputs()["steps"]["big"]["output"] == ("big", 20)
    small = publisher.run(notebook["flow"], {"n": 2}, timeout="30s")
    assert small.outputs()["steps"]["small"]["output"] == ("small", 2)
    assert run.version == shown.version


def test_a_flow_that_is_data_is_published_as_data(
    notebook: Notebook, publisher: Any, worker: Callable[..., Worker]
) -> None:
    flow = notebook.run('flow = df.flow("data").on_manual().function("check", "validate-order")')["flow"]
    publisher.functions.deploy("validate-order", "return {...input, valid: true}")
    shown = publisher.publish(flow)
    assert "bindings" not in shown.source
    worker()
    assert publisher.run(flow, {"b": 1}, timeout="20s").result() == {"b": 1, "valid": True}


@pytest.mark.parametrize("key", [OTHER_KEY, f"{OTHER_KEY},{OTHER_KEY[::-1]}"])
def test_a_worker_with_another_key_runs_nothing_and_says_so_once(
    key: str, notebook: Notebook, publisher: Any, worker: Callable[..., Worker]
) -> None:
    notebook.run('@df.workflow("foreign")\ndef foreign(event, step):\n    return 1\n')
    publisher.publish(notebook["foreign"])
    run = publisher.start(notebook["foreign"])
    running = worker(key)
    notebook.run('@df.workflow("second")\ndef second(event, step):\n    return 1\n')
    publisher.publish(notebook["second"])
    wait_until(lambda: "'second' is refused" in running.said(), "it looked again")
    assert running.said().count("'foreign' is refused: it is signed with key") == 1
    assert run.status == "queued"
    # a worker that accepts both keys takes it over
    worker(f"{OTHER_KEY}, {KEY}")
    assert run.result("20s") == 1


def test_a_worker_without_a_key_does_not_begin(
    database_url: str, make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataflows_sdk.errors import SigningKeyError

    monkeypatch.delenv("DATAFLOWS_KEY", raising=False)
    with pytest.raises(SigningKeyError, match="dataflows key new"):
        make_ctx(published=True)
    with pytest.raises(SigningKeyError, match="no key to sign and verify with"):
        make_ctx(work=False).publish(Notebook().run("def f(event, step): ...\nw = df.workflow('w', f)")["w"])
