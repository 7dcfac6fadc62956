"""What a workflow catches, it catches again when it is replayed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dataflows_sdk import errors
from dataflows_sdk.core.retry import NO_RETRY

from ..conftest import MakeContext
from .workflows import declare


class OutOfStock(Exception):
    """An exception of the user's own, whose constructor wants something."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"{item} is out of stock")
        self.item = item
        self.left = left


def fails(kind: str) -> None:
    if kind == "own":
        raise OutOfStock("tea", 3)
    if kind == "status":
        raise errors.HttpStatusError("no such page", 404, "not here", {"x-a": "1"})
    if kind == "file":
        open("/nothing/of/the/kind")  # noqa: PTH123, SIM115
    raise httpx.ConnectTimeout("too slow")


def catches(event: Any, step: Any) -> Any:
    try:
        step.run("fails", fails, event.payload, retry=NO_RETRY)
    except OutOfStock as error:
        found: Any = ["own", error.item, error.left]
    except errors.HttpStatusError as error:
        found = ["status", error.status, error.body, error.headers]
    except FileNotFoundError as error:
        found = ["file", error.errno, error.filename]
    except httpx.TimeoutException as error:
        found = ["late", str(error)]
    step.sleep("a while", "10ms")
    return [step.run(f"after {found[0]}", lambda: found), found]


@pytest.mark.parametrize("always_replay", [False, True])
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("own", ["own", "tea", 3]),
        ("status", ["status", 404, "not here", {"x-a": "1"}]),
        ("file", ["file", 2, "/nothing/of/the/kind"]),
        ("late", ["late", "too slow"]),
    ],
)
def test_what_is_caught_is_caught_again(make_ctx: MakeContext, always_replay: bool, kind: str, found: Any) -> None:
    ctx = make_ctx(linger="0s", always_replay=always_replay)
    run = ctx.run(declare(catches), kind, timeout="30s")
    assert run.result() == [found, found]


def test_the_error_of_a_run_has_its_cause(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    def lets_go(event: Any, step: Any) -> Any:
        step.run("fails", fails, "own", retry=NO_RETRY)

    run = ctx.start(declare(lets_go))
    with pytest.raises(errors.StepFailed) as caught:
        run.result("30s")
    assert isinstance(caught.value.__cause__, OutOfStock)
    assert (caught.value.__cause__.item, caught.value.__cause__.left) == ("tea", 3)


@pytest.mark.parametrize("retry", [0, 3, "3", {"max_retries": 3}])
def test_a_policy_that_is_none_is_said(make_ctx: MakeContext, retry: Any) -> None:
    def asks(event: Any, step: Any) -> Any:
        return step.run("x", len, "abc", retry=retry)

    def transacts(event: Any, step: Any) -> Any:
        return step.transaction("x", lambda connection: 1, retry=retry)

    ctx = make_ctx()
    for fn in (asks, transacts):
        with pytest.raises(errors.RunFailed, match=r"df\.Retry\(3\)"):
            ctx.run(declare(fn)).result("30s")
